import Basics
import Testing
import Wire

@testable import Client

/// A conversation of alice with bob in the chat "c", driven by hand: the test is the server.
final class Conversation {
    var model: ConnectModel
    var now = Instant(nanoseconds: 1_000_000_000_000)
    var lastHeard: Instant
    /// Effects since the last look.
    var effects: [ConnectModel.Effect] = []

    init(since: Int64 = 0, canRenewToken: Bool = false, seed: UInt64 = 1) {
        lastHeard = now
        model = ConnectModel(
            user: "alice", peer: "bob", chat: "c", since: since, canRenewToken: canRenewToken,
            seed: seed, now: now)
    }

    /// One that is joined and caught up, with nothing left to look at.
    static func live(
        since: Int64 = 0, canRenewToken: Bool = false, seed: UInt64 = 1
    ) -> Conversation {
        let conversation = Conversation(since: since, canRenewToken: canRenewToken, seed: seed)
        conversation.goLive()
        _ = conversation.take()
        return conversation
    }

    /// Opens the connection and answers its join or resume, with `replay` in between.
    func goLive(device: String = "d1", replay: [ServerEvent] = []) {
        model.opened(now: now)
        ready(device: device)
        let request = requests.last?.id
        receive(.ack(id: .number(request ?? -1), Self.ok()))
        for event in replay { receive(event) }
        receive(.caughtUp(["c": model.lastSeq]))
    }

    func ready(device: String = "d1", user: String = "alice") {
        var ready = ServerEvent.Ready()
        ready.user = user
        ready.device = device
        receive(.ready(ready))
    }

    func receive(_ event: ServerEvent) {
        lastHeard = now
        model.received(event, now: now)
    }

    func tick() { model.tick(lastHeard: lastHeard, now: now) }

    func pass(_ milliseconds: Int) { now = now.advanced(byMilliseconds: milliseconds) }

    /// The effects since the last look, and forgets them.
    func take() -> [ConnectModel.Effect] {
        defer { effects = [] }
        effects += model.takeEffects()
        return effects
    }

    /// The frames among the effects that have not been taken.
    var requests: [Frame] {
        effects += model.takeEffects()
        return effects.compactMap {
            if case .send(let text) = $0 { Frame(text) } else { nil }
        }
    }

    /// Sends `text` and answers nothing. Returns its frame.
    func send(_ text: String) -> Frame? {
        _ = take()
        model.submit(text, now: now)
        return requests.last
    }

    func lose(_ loss: ConnectModel.Loss = .failed(.ended)) {
        model.lost(loss, now: now)
    }

    /// The wait before the next attempt, in milliseconds.
    var retryMs: Int? {
        guard case .offline(let retryAt) = model.phase else { return nil }
        return retryAt.milliseconds(since: now)
    }

    /// What is on the screen, notices left out.
    var transcript: [String] {
        model.lines.compactMap {
            if case .notice = $0.content { return nil }
            return PlainLines.text(of: $0, user: "alice")
        }
    }

    static func ok(seq: Int64? = nil, duplicate: Bool = false) -> ServerEvent.Ack {
        var ack = ServerEvent.Ack()
        ack.isOK = true
        ack.seq = seq
        ack.isDuplicate = duplicate
        return ack
    }

    static func refusal(_ code: String, retryAfterMs: Int64? = nil) -> ServerEvent.Ack {
        var ack = ServerEvent.Ack()
        ack.problem = ServerEvent.Problem(
            code: code, message: "because", retryAfterMs: retryAfterMs)
        return ack
    }

    static func message(
        _ seq: Int64, _ text: String, from sender: String = "bob", device: String = "x"
    ) -> ServerEvent {
        var message = ServerEvent.Message()
        message.id = "m\(seq)"
        message.chat = "c"
        message.seq = seq
        message.sender = sender
        message.senderDevice = device
        message.content = text
        return .message(message)
    }

    static func receipt(delivered: Int64? = nil, read: Int64? = nil) -> ServerEvent {
        var receipt = ServerEvent.Receipt()
        receipt.chat = "c"
        receipt.user = "bob"
        receipt.deliveredSeq = delivered
        receipt.readSeq = read
        return .receipt(receipt)
    }
}

/// A client's frame, read back by eye of a test.
struct Frame: Equatable {
    var text: String
    var type: String
    var id: Int64?
    var clientMessageID: String?
    var seq: Int64?
    var since: Int64?
    var isTyping: Bool?

    init(_ bytes: [UInt8]) {
        text = String(decoding: bytes, as: UTF8.self)
        type = ""
        var json = JSONReader()
        let span = bytes.span
        do throws(JSONError) {
            let root = JSONFields(try json.parse(span))
            let payload = JSONFields(root.node("payload", json, span))
            type = root.string("type", json, span) ?? ""
            id = root.integer("id", json, span)
            clientMessageID = payload.string("clientMsgId", json, span)
            seq = payload.integer("seq", json, span)
            since = payload.integer("since", json, span)
            isTyping = payload.bool("isTyping", json, span)
        } catch {
            Issue.record("a frame that is not JSON: \(text)")
        }
    }
}
