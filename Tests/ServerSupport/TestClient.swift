import Basics
import Client
import Foundation
import WebSocket
import Wire

/// A client of the plain-JSON face that keeps what came until a test asks for it. Every wait has a
/// deadline. It belongs to the thread that made it.
package final class TestClient {
    package let plain: PlainClient
    package let user: String
    /// What came and was not taken yet, in order.
    package private(set) var events: [ServerEvent] = []
    /// How the server closed, once it has.
    package private(set) var closed: (code: CloseCode?, reason: String)?
    package private(set) var hasEnded = false
    private var reader = ServerEventReader()
    private var lastID: Int64 = 0

    /// How long a wait for one thing lasts. Generous: the machine may be busy with other tests.
    package static let patienceMs = 20_000

    /// Connects as `user`, and waits for `session.ready`.
    package init(
        _ server: TestServer, user: String, device: String? = nil, dialect: Dialect = .v1,
        tokenPlace: PlainClient.TokenPlace = .subprotocol, receiveBufferBytes: Int? = nil
    ) throws {
        self.user = user
        plain = try PlainClient(
            connecting: server.url.socket, token: try server.token(user: user, device: device),
            dialect: dialect, tokenPlace: tokenPlace, receiveBufferBytes: receiveBufferBytes,
            timeoutMs: Self.patienceMs)
        plain.sendTimeoutMs = Self.patienceMs
        try ready()
    }

    /// Connects without a token, or with one that is wrong: nothing is waited for.
    package init(
        _ server: TestServer, token: String?, dialect: Dialect = .v1,
        tokenPlace: PlainClient.TokenPlace = .subprotocol
    ) throws {
        user = ""
        plain = try PlainClient(
            connecting: server.url.socket, token: token, dialect: dialect, tokenPlace: tokenPlace,
            timeoutMs: Self.patienceMs)
    }

    /// Waits for `session.ready`.
    @discardableResult
    package func ready() throws -> ServerEvent.Ready {
        try next("session.ready") { event in
            if case .ready(let ready) = event { ready } else { nil }
        }
    }

    // MARK: Asking

    /// Sends a request and waits for its ack, be it a refusal.
    @discardableResult
    package func request(_ frame: (Int64) -> [UInt8]) throws -> ServerEvent.Ack {
        let id = try begin(frame)
        return try ack(id)
    }

    /// Sends a request. Returns its id.
    package func begin(_ frame: (Int64) -> [UInt8]) throws -> Int64 {
        lastID += 1
        try plain.send(text: frame(lastID))
        return lastID
    }

    package func ack(_ id: Int64) throws -> ServerEvent.Ack {
        try next("the ack of \(id)") { event in
            if case .ack(.number(id), let ack) = event { ack } else { nil }
        }
    }

    @discardableResult
    package func join(_ chat: String, since: Int64? = nil) throws -> ServerEvent.Ack {
        try accepted("join", try request { Frames.join(chat, since: since, id: $0) })
    }

    @discardableResult
    package func resume(_ chats: [(chat: String, seq: Int64)]) throws -> ServerEvent.Ack {
        try accepted("resume", try request { Frames.resume(chats, id: $0) })
    }

    /// Sends a message and waits until it is stored.
    @discardableResult
    package func send(
        _ content: String, to chat: String, id clientMessageID: String? = nil
    ) throws -> ServerEvent.Ack {
        try accepted(
            "message",
            try request { Frames.send(content, to: chat, clientMessageID: clientMessageID, id: $0) }
        )
    }

    private func accepted(_ what: String, _ ack: ServerEvent.Ack) throws -> ServerEvent.Ack {
        if let problem = ack.problem {
            throw SupportError("\(user): \(what) was refused: \(problem.code) \(problem.message)")
        }
        return ack
    }

    // MARK: Hearing

    /// The first event that `match` recognises; it is taken out, those before it stay.
    package func next<Found>(
        _ what: String, withinMs: Int = patienceMs, _ match: (ServerEvent) -> Found?
    ) throws -> Found {
        let deadline = MonotonicClock.now().advanced(byMilliseconds: withinMs)
        var looked = 0
        while true {
            while looked < events.count {
                if let found = match(events[looked]) {
                    events.remove(at: looked)
                    return found
                }
                looked += 1
            }
            let left = deadline.milliseconds(since: MonotonicClock.now())
            guard left > 0, !hasEnded else {
                throw SupportError(
                    "\(user): no \(what)\(hasEnded ? "; the connection ended" : "")"
                        + (closed.map { " with \($0.code?.rawValue ?? 0) \($0.reason)" } ?? "")
                        + "; unread: \(events.suffix(3))")
            }
            try pump(timeoutMs: left)
        }
    }

    package func message(withinMs: Int = patienceMs) throws -> ServerEvent.Message {
        try next("message", withinMs: withinMs) { event in
            if case .message(let message) = event { message } else { nil }
        }
    }

    package func error() throws -> ServerEvent.Problem {
        try next("error") { event in
            if case .error(let problem, _) = event { problem } else { nil }
        }
    }

    package func caughtUp() throws -> [String: Int64] {
        try next("caughtUp") { event in
            if case .caughtUp(let chats) = event { chats } else { nil }
        }
    }

    /// Reads on until the server has closed. Returns the code, nil where it ended without one.
    package func close(withinMs: Int = patienceMs) throws -> CloseCode? {
        let deadline = MonotonicClock.now().advanced(byMilliseconds: withinMs)
        while closed == nil, !hasEnded {
            let left = deadline.milliseconds(since: MonotonicClock.now())
            guard left > 0 else { throw SupportError("\(user): the server did not close") }
            try pump(timeoutMs: left)
        }
        return closed?.code
    }

    /// Waits for one thing to come, and keeps it. False where nothing did.
    @discardableResult
    package func pump(timeoutMs: Int) throws -> Bool {
        guard !hasEnded else { return false }
        switch try plain.receive(timeoutMs: timeoutMs) {
        case .text(let text):
            let event = reader.read(text)
            if case .unreadable(let reason) = event {
                throw SupportError("\(user): the server sent what is no event: \(reason)")
            }
            events.append(event)
        case .binary: throw SupportError("\(user): the server sent a binary message")
        case .pong: break
        case .close(let code, let reason): closed = (code, reason)
        case .ended: hasEnded = true
        case .timedOut: return false
        }
        return true
    }

    /// Everything that has arrived so far is in `events` afterwards.
    package func pumpAll() throws {
        while try pump(timeoutMs: 0) {}
    }

    /// What came and was not taken yet; nothing is left.
    package func takeEvents() -> [ServerEvent] {
        let taken = events
        events = []
        return taken
    }
}
