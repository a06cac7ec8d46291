import Basics
import Domain
import HTTP
import SocketIO
import WebSocket
import Wire

/// The requests of Engine.IO: handshakes, polls, and what clients POST. Answered, refusals too, to the
/// letter as the server of the protocol's authors answers them, because clients act on it.
extension GatewayShard {
    /// A stock Python client drops a connection whose poll brings more packets.
    static let packetsPerPoll = 16
    /// A poll that comes between "3probe" and "5" waits so long: the client may have sent "5" on its
    /// other connection before it.
    static let upgradeHoldMs = 50

    /// Which Engine.IO path this is, if any; one that ends with a slash.
    func engineFace(
        _ path: [String], _ head: RequestHead, _ bytes: Span<UInt8>
    ) -> EngineFace? {
        guard bytes[head.path.upperBound - 1] == UInt8(ascii: "/") else { return nil }
        if configuration.isBench, path == ["bench", "socket.io"] { return .bench }
        guard path.count == 1 else { return nil }
        if path[0] == configuration.socketIOPath { return .socketIO }
        if configuration.isConformance, path[0] == "engine.io" { return .echo }
        return nil
    }

    func serveEngine(
        _ connection: Connection, _ request: HTTPRequest, _ face: EngineFace, _ head: RequestHead,
        _ bytes: Span<UInt8>, _ body: Span<UInt8>
    ) {
        var request = request
        request.route = .engine
        request.allowsCredentials = true
        func value(_ name: StaticString) -> String? {
            QueryString.lastValue(of: name, in: bytes, query: head.query).text
        }
        let transport = value("transport")
        guard transport == "polling" || transport == "websocket" else {
            refuse(connection, request, .unknownTransport)
            return
        }
        let isSocket = head.upgradesToWebSocket
        if let sid = Self.engineSID(head, bytes) {
            let id = sid.flatMap { EngineID($0.utf8.span) }
            guard let id, let engine = engine(id), engine.face == face else {
                if let id, request.method == .get, !isSocket, let words = takeFarewell(of: id) {
                    answerPackets(connection, request, words)
                    return
                }
                refuse(connection, request, .unknownSession)
                return
            }
            guard isSocket == (transport == "websocket"), isSocket || engine.isPolling else {
                refuse(connection, request, .badRequest)
                return
            }
            let name = value("t").map { stableHash($0) }
            if isSocket {
                upgradeEngine(connection, request, head, bytes, isNew: false) {
                    beginProbe(engine, connection)
                }
            } else if request.method == .get {
                poll(engine, connection, request, name: name)
            } else if request.method == .post {
                post(engine, connection, request, head, bytes, body, name: name)
            } else {
                refuse(connection, request, .badRequest)
            }
            return
        }
        if request.method != .get {
            refuse(connection, request, .badHandshakeMethod)
        } else if isSocket != (transport == "websocket") {
            refuse(connection, request, .badRequest)
        } else if value("EIO") != "4" {
            refuse(connection, request, .unsupportedProtocol)
        } else if isSocket {
            upgradeEngine(connection, request, head, bytes, isNew: true) {
                guard let engine = openEngine(face, on: connection) else { return }
                say(engine, openPacket(engine))
            }
        } else {
            openPolling(face, connection, request)
        }
    }

    /// The session id of a request: nil where there is none, nil inside where it cannot be read.
    static func engineSID(_ head: RequestHead, _ bytes: Span<UInt8>) -> String?? {
        switch QueryString.lastValue(of: "sid", in: bytes, query: head.query) {
        case .absent: return nil
        case .malformed: return .some(nil)
        case .value(let text): return text.isEmpty ? nil : .some(text)
        }
    }

    /// A client that says goodbye has a poll under way, mostly; on its other connection that may come
    /// in behind the goodbye. It is answered as one that had waited, once.
    func beginFarewell(of engine: EngineSession) {
        keep([EnginePacket.noop.rawValue], for: engine, inMs: Self.farewellMs)
    }

    /// The last words to a session that is over, for a poll that comes in time.
    func keep(_ words: [UInt8], for engine: EngineSession, inMs milliseconds: Int) {
        farewells = farewells.filter { $0.value.until > now.instant }
        guard farewells.count < Self.maximumFarewells else { return }
        farewells[engine.id] = Farewell(
            words: words, until: now.instant.advanced(byMilliseconds: milliseconds))
    }

    private func takeFarewell(of id: EngineID) -> [UInt8]? {
        guard let farewell = farewells.removeValue(forKey: id), farewell.until > now.instant else {
            return nil
        }
        return farewell.words
    }

    struct Farewell {
        var words: [UInt8]
        var until: Instant
    }

    private static let farewellMs = 20
    /// How long a client between two polls may take for the next one.
    static let lastWordsMs = 5_000
    private static let maximumFarewells = 4_096

    private func openPolling(
        _ face: EngineFace, _ connection: Connection, _ request: HTTPRequest
    ) {
        if let error = refusalOfHandshake(connection) {
            answer(connection, request, error)
            return
        }
        guard let engine = openEngine(face, on: nil) else {
            answer(
                connection, request,
                CommandError(
                    .serviceUnavailable, "this server has no room; try again",
                    retryAfterMs: 1_000 + Int(identifiers.bits() % 4_000)))
            return
        }
        answerPackets(connection, request, openPacket(engine))
    }

    private func refuse(
        _ connection: Connection, _ request: HTTPRequest, _ refusal: EngineRefusal
    ) {
        counters[.httpErrors] += 1
        finish(connection, request, status: 400) { output, response in
            response.field("Content-Type", "application/json", into: &output)
            return Self.body(of: refusal)
        }
    }

    /// `{"code":…,"message":…}`.
    static func body(of refusal: EngineRefusal) -> [UInt8] {
        var json = JSONWriter(capacity: 64)
        json.beginObject()
        json.key("code")
        json.integer(refusal.rawValue)
        json.key("message")
        json.string(literal: refusal.message)
        json.endObject()
        return json.bytes
    }

    // MARK: GET

    private func poll(
        _ engine: EngineSession, _ connection: Connection, _ request: HTTPRequest,
        name: UInt64?
    ) {
        if let name, name == engine.answeredPoll {
            // Browsers and others ask once more, by themselves, where a connection is lost under its
            // answer: what that held has not arrived, and the client's next pong would say it had.
            end(engine, .sessionOver, poll: .refused)
            refuse(connection, request, .unknownSession)
            return
        }
        guard engine.poll == nil else {
            // Two at once: nobody could say which of them is given what.
            end(engine, .sessionOver, poll: .closePacket)
            answerStatus(connection, request, 400)
            return
        }
        var noopDue: Instant?
        if engine.probe?.isAnswered == true {
            noopDue = now.instant.advanced(byMilliseconds: Self.upgradeHoldMs)
        }
        connection.http?.isAnswering = true
        connection.deadline = nil
        connection.http?.served = engine
        engine.poll = ParkedPoll(
            connection: connection.key, request: request, name: name, noopDue: noopDue)
        if engine.main.outbox.isEmpty {
            scheduleCheck(engine.main)
        } else {
            answerPoll(of: engine.main)
        }
    }

    /// Gives the poll that waits what has gathered; nothing where either is missing.
    func answerPoll(of main: Connection) {
        main.outbox.keepRun(returningTo: &pool)
        guard let engine = main.ownEngine, engine.poll != nil, !main.outbox.isEmpty else {
            main.isBlocked = true
            return
        }
        let pending = main.outbox.copyPending(in: pool)
        let count = PollingPayload.cut(
            pending.span, packets: Self.packetsPerPoll, bytes: limits.frameBytes)
        counters[.outboxBytes] -= count
        main.outbox.consume(count, returningTo: &pool)
        main.isBlocked = false
        // Without the separator behind the last.
        answerPoll(engine, Array(pending[..<max(0, count - 1)]))
        resumeJobs(on: main)
    }

    func answerPoll(_ engine: EngineSession, _ packets: [UInt8]) {
        guard let poll = takePoll(of: engine) else { return }
        answerPackets(poll.connection, poll.request, packets)
    }

    func endPoll(_ engine: EngineSession, _ ending: PollEnding) {
        guard let poll = takePoll(of: engine) else { return }
        switch ending {
        case .closePacket:
            answerPackets(poll.connection, poll.request, [EnginePacket.close.rawValue])
        case .noop:
            answerPackets(poll.connection, poll.request, [EnginePacket.noop.rawValue])
        case .refused:
            refuse(poll.connection, poll.request, .badRequest)
        case .unavailable(let retryAfterMs):
            answer(
                poll.connection, poll.request,
                CommandError(
                    .draining, "this server is stopping; connect anew", retryAfterMs: retryAfterMs))
        }
    }

    private func takePoll(
        of engine: EngineSession
    ) -> (connection: Connection, request: HTTPRequest)? {
        guard let poll = engine.poll else { return nil }
        engine.poll = nil
        engine.answeredPoll = poll.name
        guard let connection = connection(poll.connection) else { return nil }
        connection.http?.served = nil
        return (connection, poll.request)
    }

    private func answerPackets(
        _ connection: Connection, _ request: HTTPRequest, _ packets: [UInt8]
    ) {
        finish(connection, request, status: 200) { output, response in
            response.field("Content-Type", "text/plain; charset=UTF-8", into: &output)
            response.field("Cache-Control", "no-store", into: &output)
            return packets
        }
    }

    // MARK: POST

    /// A body of this session has begun to come. Two at once would leave their order open.
    func beginPost(_ engine: EngineSession, _ connection: Connection) {
        engine.post = connection.key
        connection.http?.served = engine
    }

    /// Bytes of one message or body. Who has not said who they are says little.
    func maximumPayload(of engine: EngineSession) -> Int {
        isUnknown(engine)
            ? unknownPeerLimits.messageBytes : maximumPayload
    }

    /// The same of one who has: what the handshake tells.
    var maximumPayload: Int { min(limits.frameBytes, limits.requestBodyBytes) }

    /// Nobody has joined a namespace yet, where somebody has to.
    func isUnknown(_ engine: EngineSession) -> Bool {
        engine.face == .socketIO && !engine.hasJoined && !configuration.isConformance
    }

    private func post(
        _ engine: EngineSession, _ connection: Connection, _ request: HTTPRequest,
        _ head: RequestHead, _ bytes: Span<UInt8>, _ body: Span<UInt8>, name: UInt64?
    ) {
        if let name, name == engine.takenPost {
            // Its "ok" was lost on the way, and the browser asks again by itself: all was taken in.
            answerTaken(connection, request)
            return
        }
        if let other = engine.post {
            engine.post = nil
            end(engine, .sessionOver, poll: .closePacket)
            if let first = self.connection(other) {
                first.http?.served = nil
                close(first)
            }
            answerStatus(connection, request, 400)
            return
        }
        if head.contentLength ?? 0 > maximumPayload(of: engine) {
            answerStatus(connection, request, 413)
            return
        }
        if let type = head.value(of: "content-type", in: bytes),
            bytes.extracting(type).isEqual(to: "application/octet-stream")
        {
            end(engine, .malformedPacket, poll: .refused)
            answerStatus(connection, request, 400)
            return
        }
        engine.takenPost = name
        guard take(engine, body) else {
            end(engine, .malformedPacket, poll: .refused)
            answerStatus(connection, request, 400)
            return
        }
        answerTaken(connection, request)
    }

    private func answerTaken(_ connection: Connection, _ request: HTTPRequest) {
        finish(connection, request, status: 200) { output, response in
            response.field("Content-Type", "text/html", into: &output)
            return Array("ok".utf8)
        }
    }

    /// The packets of a body, until one of them ends the session. False where one is no packet.
    private func take(_ engine: EngineSession, _ body: Span<UInt8>) -> Bool {
        var position = 0
        while engines[engine.id] === engine,
            let record = PollingPayload.next(in: body, at: &position)
        {
            switch record {
            case .malformed:
                return false
            case .binary(let part):
                counters[.messagesReceived] += 1
                receive(engine, binary: part)
            case .text(let range):
                counters[.messagesReceived] += 1
                let text = body.extracting(range)
                guard let type = EnginePacket.type(of: text), type != .ping,
                    UTF8Validator.isValid(text)
                else {
                    return false
                }
                receive(engine, text: text)
            }
        }
        return true
    }

    private func answerStatus(_ connection: Connection, _ request: HTTPRequest, _ status: UInt16) {
        counters[.httpErrors] += 1
        finish(connection, request, status: status) { _, _ in [] }
    }
}
