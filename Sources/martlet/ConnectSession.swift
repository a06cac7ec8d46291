import Basics
import Client
import Glibc

/// The loop of `martlet connect`: keyboard and socket in, frames and screen out. What any of it
/// means is in `ConnectModel`; this file only carries it.
///
/// One thread, one poll(2) a turn. Connecting blocks it for up to 3 s; keys wait in the terminal.
final class ConnectSession {
    private let api: ChatAPI
    private let tokens: TokenSource
    private var model: ConnectModel
    private var client: PlainClient?
    private var events = ServerEventReader()
    private var input: ConnectInput
    private var complaint: String?
    /// No terminal: lines in, lines out.
    private var isPlain = true
    private var isScreenStale = true
    private var finishDeadline: Instant?

    /// What a connection, or a request, may take.
    private static let connectTimeoutMs = 3_000
    /// How long the end of a pipe waits for the acks of what it sent.
    private static let finishTimeoutMs = 30_000
    /// Messages that are shown of those before.
    private static let shownHistory: Int64 = 20

    /// Finds or makes the direct chat.
    init(
        url: URLParts, user: String, peer: String, tokens: TokenSource
    ) throws(ClientError) {
        let now = MonotonicClock.now()
        self.tokens = tokens
        api = ChatAPI(url: url, token: tokens.next)
        let chat = try api.openDirectChat(with: peer)
        model = ConnectModel(
            user: user, peer: peer, chat: chat.id, since: chat.lastSeq - Self.shownHistory,
            canRenewToken: tokens.isRenewable, seed: .random(in: .min ... .max), now: now)
        model.notice("\(url.hostField) · chat \(chat.id)")
        model.notice("this demo client does not encrypt: the server stores your lines as they are")
        for member in try api.members(of: chat.id) where member.user == peer {
            model.watermarks(delivered: member.deliveredSeq, read: member.readSeq)
        }
        input = ConnectInput()
    }

    /// Runs until the user or the server ends it. Returns what went wrong, nil for nothing.
    func run() -> String? {
        let screen = ConnectTerminal()
        isPlain = screen == nil
        while model.phase != .ended {
            turn(screen)
        }
        client?.close(timeoutMs: 500)
        screen?.restore()
        if let complaint { return complaint }
        let unsent = model.unsentCount
        return unsent == 0 ? nil : "\(unsent) message\(unsent == 1 ? " was" : "s were") not sent"
    }

    private func turn(_ screen: ConnectTerminal?) {
        var now = MonotonicClock.now()
        if case .offline(let retryAt) = model.phase, now >= retryAt {
            if let screen { draw(screen) }
            connect()
        }
        receive()
        if isPlain { submitLines() }
        now = MonotonicClock.now()
        model.tick(lastHeard: client?.lastHeard ?? now, now: now)
        endAtDeadline(now)
        carryOut()
        if let screen { draw(screen) }
        guard model.phase != .ended else { return }
        wait()
        if ConnectSignals.shouldEnd { model.submit("/quit", now: now) }
    }

    // MARK: The socket

    private func connect() {
        isScreenStale = true
        do throws(ClientError) {
            let client = try PlainClient(
                connecting: api.url.socket, token: tokens.next,
                timeoutMs: Self.connectTimeoutMs)
            client.sendTimeoutMs = Self.connectTimeoutMs
            self.client = client
            model.opened(now: MonotonicClock.now())
        } catch {
            model.lost(.failed(error), now: MonotonicClock.now())
        }
        carryOut()
    }

    /// Takes everything that has arrived.
    private func receive() {
        while let client {
            do throws(ClientError) {
                switch try client.receive(timeoutMs: 0) {
                case .timedOut: return
                case .text(let text):
                    model.received(events.read(text), now: MonotonicClock.now())
                    carryOut()
                case .binary, .pong: break
                case .close(let code, let reason): lose(.closed(code, reason: reason))
                case .ended: lose(.failed(.ended))
                }
            } catch {
                lose(.failed(error))
            }
        }
    }

    private func lose(_ loss: ConnectModel.Loss) {
        client?.close(timeoutMs: 0)
        client = nil
        model.lost(loss, now: MonotonicClock.now())
        isScreenStale = true
    }

    // MARK: Effects

    private func carryOut() {
        while true {
            let effects = model.takeEffects()
            guard !effects.isEmpty else { return }
            isScreenStale = true
            for effect in effects { carryOut(effect) }
        }
    }

    private func carryOut(_ effect: ConnectModel.Effect) {
        switch effect {
        case .send(let text):
            // After a loss the rest of that connection's frames have no one to go to.
            guard let client else { return }
            do throws(ClientError) {
                try client.send(text: text)
            } catch {
                lose(.failed(error))
            }
        case .appended(let line), .updated(let line):
            if isPlain { printLine(PlainLines.text(of: line, user: model.user)) }
        case .typingBegan:
            if isPlain { printLine("* " + TerminalText.escaped(model.peer) + " is typing…") }
        case .fetchWatermarks: fetchWatermarks()
        case .renewToken: model.renewed(tokens.next)
        case .disconnect:
            client?.abort()
            client = nil
        case .end(let reason): complaint = reason
        }
    }

    /// Receipts that were given while nobody listened here.
    private func fetchWatermarks() {
        do throws(ClientError) {
            var api = api
            api.token = tokens.next
            api.timeoutMs = Self.connectTimeoutMs
            for member in try api.members(of: model.chat) where member.user == model.peer {
                model.watermarks(delivered: member.deliveredSeq, read: member.readSeq)
            }
        } catch {
            model.notice("the marks ✓✓ may be behind: \(error)")
        }
    }

    private func printLine(_ line: String) { ConnectTerminal.write(line + "\n") }

    // MARK: The user

    private func wait() {
        let wantsInput = !input.isAtEnd && (!isPlain || model.canTakeMore)
        // A negative descriptor is passed over by poll(2).
        var entries = [
            pollfd(fd: wantsInput ? 0 : -1, events: Int16(POLLIN), revents: 0),
            pollfd(fd: client?.descriptor ?? -1, events: Int16(POLLIN), revents: 0),
        ]
        let count = unsafe poll(&entries, 2, waitMs())
        if count < 0 { isScreenStale = true }  // A signal: the window may have another size.
        guard count > 0, entries[0].revents != 0 else { return }
        if isPlain {
            input.read()
            submitLines()
        } else {
            typeKeys()
        }
    }

    private func waitMs() -> Int32 {
        let now = MonotonicClock.now()
        var wait = 1_000
        func until(_ instant: Instant?) {
            guard let instant else { return }
            wait = min(wait, Int(clamping: (instant.nanoseconds(since: now) + 999_999) / 1_000_000))
        }
        if case .offline(let retryAt) = model.phase { until(retryAt) }
        until(model.nextSendAt)
        if model.peerIsTyping || !isLive { isScreenStale = true }
        return Int32(clamping: wait)
    }

    private var isLive: Bool { model.phase == .live }

    private func submitLines() {
        while model.phase != .ended, model.canTakeMore, let line = input.nextLine() {
            model.submit(line, now: MonotonicClock.now())
        }
        if input.isAtEnd, !input.hasLine, finishDeadline == nil {
            model.finishWhenSent()
            finishDeadline = MonotonicClock.now().advanced(byMilliseconds: Self.finishTimeoutMs)
        }
    }

    private func endAtDeadline(_ now: Instant) {
        if let finishDeadline, now >= finishDeadline { model.submit("/quit", now: now) }
    }

    private func typeKeys() {
        let now = MonotonicClock.now()
        for outcome in input.readKeys() {
            isScreenStale = true
            switch outcome {
            case .none: break
            case .changed: model.typed(isEmpty: input.editor.isEmpty, now: now)
            case .line(let line): model.submit(line, now: now)
            case .interrupt, .endOfInput: model.submit("/quit", now: now)
            }
        }
        if input.isAtEnd { model.submit("/quit", now: now) }
    }

    private func draw(_ screen: ConnectTerminal) {
        guard isScreenStale else { return }
        isScreenStale = false
        let size = screen.size
        ConnectTerminal.write(
            TerminalScreen.frame(
                model, input.editor, columns: size.columns, rows: size.rows,
                now: MonotonicClock.now()))
    }
}
