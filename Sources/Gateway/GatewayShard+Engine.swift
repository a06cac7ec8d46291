import Basics
import Domain
import HTTP
import SocketIO
import WebSocket
import Wire

/// Engine.IO 4: sessions over HTTP long-polling and WebSocket, the way from the one to the other, and
/// their ends. What their messages mean is in +SocketIO.
///
/// Ends are told so that stock clients come back where they should: an HTTP error or a closed
/// WebSocket makes every one of them reconnect, while the Engine.IO packet "1" stops the Python
/// client for good. It goes out only where the protocol's tests ask for it.
extension GatewayShard {
    // MARK: Opening

    /// A session whose connection is `connection`, or one without a socket where there is none.
    ///
    /// - Returns: the session, or nil where there is no place for one.
    func openEngine(_ face: EngineFace, on connection: Connection?) -> EngineSession? {
        let main: Connection
        if let connection {
            main = connection
            main.phase = .engine
        } else {
            guard let slot = acceptWithoutSocket() else { return nil }
            main = slot
        }
        let id = EngineID(
            high: identifiers.bits(), low: UInt32(truncatingIfNeeded: identifiers.bits()),
            owner: UInt32(truncatingIfNeeded: configuration.instance), shard: UInt16(index))
        let engine = EngineSession(
            id: id, face: face, main: main,
            heartbeat: Heartbeat(openedAt: now.instant, intervalMs: limits.pingIntervalMs))
        engines[id] = engine
        main.engine = engine
        if case .socketIO = face { setDeadline(main, inMs: limits.authTimeoutMs) }
        scheduleCheck(main)
        return engine
    }

    private func acceptWithoutSocket() -> Connection? {
        guard openConnections < max(1, limits.connections / shardCount), let key = takeSlot() else {
            counters[.connectionsShed] += 1
            return nil
        }
        let connection = Connection(key: key, address: IPAddress(bits: 0), now: now.instant)
        connection.http = nil
        connection.phase = .polling
        connections[Int(key.slot)] = connection
        return connection
    }

    /// The first packet: `0{"sid":…,"upgrades":…,…}`.
    func openPacket(_ engine: EngineSession) -> [UInt8] {
        var json = JSONWriter(appendingTo: [EnginePacket.open.rawValue])
        json.beginObject()
        json.key("sid")
        json.string(engine.id.text)
        json.key("upgrades")
        json.beginArray()
        if engine.isPolling { json.string(literal: "websocket") }
        json.endArray()
        json.key("pingInterval")
        json.integer(limits.pingIntervalMs)
        json.key("pingTimeout")
        json.integer(limits.pongTimeoutMs)
        json.key("maxPayload")
        json.integer(maximumPayload)
        json.endObject()
        return json.bytes
    }

    /// The living session of an id. One whose time is over ends here: its client may come back in
    /// the very millisecond in which it does.
    func engine(_ id: EngineID) -> EngineSession? {
        guard let engine = engines[id] else { return nil }
        checkHeartbeat(of: engine)
        return engines[id]
    }

    // MARK: Out

    /// Says a packet of Engine.IO.
    func say(_ engine: EngineSession, _ text: [UInt8]) {
        guard engine.main.isOpen else { return }
        let framing = engine.framing
        append(to: engine.main) { framing.append(text: text, to: &$0) }
        closeIfTooSlow(engine.main)
    }

    func say(_ engine: EngineSession, binary: [UInt8]) {
        guard engine.main.isOpen else { return }
        let framing = engine.framing
        append(to: engine.main) { framing.append(binary: binary, to: &$0) }
        closeIfTooSlow(engine.main)
    }

    // MARK: Heartbeat

    func checkHeartbeat(of engine: EngineSession) {
        switch engine.heartbeat.step(now: now.instant, timeoutMs: limits.pongTimeoutMs) {
        case .nothing: break
        case .ping: ping(engine)
        case .dead: end(engine, .pongTimeout, poll: .refused)
        }
        if let deadline = engine.assembling?.deadline, deadline <= now.instant {
            end(engine, .messageTimeout, poll: .refused)
            return
        }
        if let due = engine.poll?.noopDue, due <= now.instant {
            answerPoll(engine, [EnginePacket.noop.rawValue])
        }
    }

    private func ping(_ engine: EngineSession) {
        notePinged(engine)
        say(engine, [EnginePacket.ping.rawValue])
    }

    /// It was given entries, and a ping within the second has the client say that they arrived.
    func owePing(_ engine: EngineSession) {
        engine.isOwedPing = true
        if owedPings.isEmpty {
            schedule(.owedPings, 0, at: now.instant.advanced(byMilliseconds: Self.owedPingMs))
        }
        owedPings.append(engine)
    }

    static let owedPingMs = 750

    func sendOwedPings() {
        let owed = owedPings
        owedPings = []
        for engine in owed where engines[engine.id] === engine {
            engine.isOwedPing = false
            if engine.heartbeat.pingEarly(now: now.instant) {
                ping(engine)
                scheduleCheck(engine.main)
            } else {
                // One is under way, and its pong says nothing of what was given after it.
                owePing(engine)
            }
        }
    }

    // MARK: In

    /// A message of the WebSocket that carries the session.
    func receiveEngine(
        _ engine: EngineSession, _ kind: MessageKind, _ range: Range<Int>, _ bytes: Span<UInt8>
    ) {
        let message = bytes.extracting(range)
        if kind == .text {
            receive(engine, text: message)
        } else {
            receive(engine, binary: message.copied())
        }
    }

    /// A text packet, on either transport.
    func receive(_ engine: EngineSession, text: Span<UInt8>) {
        switch EnginePacket.type(of: text) {
        case .message:
            let message = text.extracting(1..<text.count)
            switch engine.face {
            case .socketIO, .bench: receive(engine, packet: message)
            case .echo: say(engine, text.copied())
            }
        case .pong:
            engine.heartbeat.pong(now: now.instant, intervalMs: limits.pingIntervalMs)
            if configuration.planted.contains(.pongAcknowledgesAll) { notePinged(engine) }
            acknowledgePinged(engine)
        case .close:
            if engine.isPolling, engine.poll == nil, engine.probe == nil {
                beginFarewell(of: engine)
            }
            end(engine, .sessionOver, poll: .noop)
        case .open, .upgrade, .noop:
            break
        case nil where !text.isEmpty && text[0] == UInt8(ascii: "b"):
            // A binary message of a client that was told to write base64.
            guard let part = Base64.decode(text.extracting(1..<text.count)) else { fallthrough }
            receive(engine, binary: part)
        case .ping, nil:
            // A ping from this side is a heartbeat in the wrong direction.
            end(engine, .malformedPacket, poll: .refused)
        }
    }

    func receive(_ engine: EngineSession, binary: [UInt8]) {
        switch engine.face {
        case .socketIO, .bench: receive(engine, part: binary)
        case .echo: say(engine, binary: binary)
        }
    }

    // MARK: Upgrade

    /// A WebSocket came with the session's id, and has had its 101. A session has one at a time: a
    /// further one is closed, in the way of WebSocket, because its client would take a refusal of the
    /// handshake for a broken server.
    func beginProbe(_ engine: EngineSession, _ connection: Connection) {
        connection.phase = .probing
        guard engine.isPolling, engine.probe == nil else {
            disconnect(connection, .notUpgradable)
            return
        }
        connection.engine = engine
        engine.probe = Probe(connection: connection.key)
        setDeadline(connection, inMs: limits.requestHeadTimeoutMs)
    }

    func receiveProbe(
        _ engine: EngineSession, _ connection: Connection, _ kind: MessageKind,
        _ range: Range<Int>, _ bytes: Span<UInt8>
    ) {
        let message = bytes.extracting(range)
        if kind == .text, message.isEqual(to: "2probe"), engine.probe?.isAnswered == false {
            engine.probe?.isAnswered = true
            append(to: connection) {
                EngineFraming(isPolling: false).append(text: Array("3probe".utf8), to: &$0)
            }
            // The client waits for its poll to end before it goes on.
            if engine.poll != nil { answerPoll(engine, [EnginePacket.noop.rawValue]) }
        } else if kind == .text, message.isEqual(to: "5") {
            completeUpgrade(engine, connection)
        } else {
            // Only this socket: the session goes on as it was.
            disconnect(connection, .malformedPacket)
        }
    }

    /// The session moves: what waits for polls is said on the WebSocket first.
    private func completeUpgrade(_ engine: EngineSession, _ connection: Connection) {
        let polling = engine.main
        engine.probe = nil
        engine.post = nil
        let pending = polling.outbox.copyPending(in: pool)
        connection.phase = .engine
        connection.engine = engine
        connection.mayResume = polling.mayResume
        connection.deadline = polling.deadline
        engine.main = connection
        for client in engine.clients {
            let session = client.session
            session.encoding = session.encoding.moved(toPolling: false)
            transports[Int(session.place)] = connection.key.slot
            for subscription in session.subscriptions {
                topics[Int(subscription.topic)]?.setEncoding(
                    session.encoding, of: Int(subscription.member))
            }
        }
        polling.engine = nil
        close(polling)
        // A poll that came between "3probe" and "5" belongs to the transport that is no more.
        if engine.poll != nil { endPoll(engine, .refused) }
        if sessions(on: connection).contains(where: { $0.job?.isDue ?? false }) {
            resumable.append(connection.key)
        }
        append(to: connection) { output in
            var position = 0
            while position < pending.count,
                let record = PollingPayload.next(in: pending.span, at: &position)
            {
                let framing = EngineFraming(isPolling: false)
                switch record {
                case .text(let range): framing.append(text: Array(pending[range]), to: &output)
                case .binary(let part): framing.append(binary: part, to: &output)
                case .malformed: break
                }
            }
        }
        scheduleCheck(connection)
        closeIfTooSlow(connection)
    }

    // MARK: The end

    /// What a poll that waits is told when its session ends.
    enum PollEnding {
        /// "1": by the protocol, of a session that the server ends.
        case closePacket
        /// "6": of one that the client ended.
        case noop
        /// 400: the client connects anew.
        case refused
        /// 503, and when to come back.
        case unavailable(retryAfterMs: Int)
    }

    /// Ends a session, and what carries it.
    func end(_ engine: EngineSession, _ reason: DisconnectReason, poll: PollEnding) {
        guard engines[engine.id] === engine else { return }
        if engine.isPolling {
            endPoll(engine, poll)
            close(engine.main)
        } else {
            disconnect(engine.main, reason)
        }
    }

    /// A session that polls ends for a reason of the gateway's own. What it was told last goes along
    /// with its poll; without one the client learns by its next request that it is over.
    func endPolling(_ connection: Connection, _ reason: DisconnectReason) {
        guard let engine = connection.ownEngine else { return }
        if reason == .slowConsumer { counters[.slowConsumersClosed] += 1 }
        if reason.hasLastWords, !connection.outbox.isEmpty {
            let words = lastWords(of: connection)
            if engine.poll != nil {
                answerPoll(engine, words)
            } else {
                keep(words, for: engine, inMs: Self.lastWordsMs)
            }
        }
        switch reason {
        case .draining: end(engine, reason, poll: .unavailable(retryAfterMs: 1_000))
        default: end(engine, reason, poll: .refused)
        }
    }

    /// The last packets that wait, as many as one poll takes. What waits before them is in the log.
    private func lastWords(of main: Connection) -> [UInt8] {
        var words = main.outbox.copyPending(in: pool)
        words.removeLast()
        var packets = 1
        for index in words.indices.reversed() where words[index] == PollingPayload.separator {
            if packets == Self.packetsPerPoll { return Array(words[(index + 1)...]) }
            packets += 1
        }
        return words
    }

    /// A connection that had to do with the session is gone, or about to be closed.
    func leave(_ engine: EngineSession, _ connection: Connection) {
        if engine.main === connection {
            engines[engine.id] = nil
            for client in engine.clients {
                retain(client.session, of: engine)
                leave(client.session)
            }
            engine.clients = []
            engine.assembling = nil
            if engine.poll != nil { endPoll(engine, .refused) }
            if let probe = engine.probe, let socket = self.connection(probe.connection) {
                engine.probe = nil
                socket.engine = nil
                disconnect(socket, .sessionOver)
            }
        } else if engine.probe?.connection == connection.key {
            let wasAnswered = engine.probe?.isAnswered ?? false
            engine.probe = nil
            // A client that has read "3probe" stays silent on polling for ever, where its WebSocket
            // dies before "5". It is told to begin anew.
            if wasAnswered { end(engine, .sessionOver, poll: .refused) }
        } else if engine.poll?.connection == connection.key {
            engine.poll = nil
            end(engine, .sessionOver, poll: .refused)
        } else if engine.post == connection.key {
            engine.post = nil
            end(engine, .sessionOver, poll: .refused)
        }
    }
}

extension Span<UInt8> {
    func isEqual(to text: StaticString) -> Bool {
        guard count == text.utf8CodeUnitCount else { return false }
        for index in 0..<count {
            // Below its count.
            guard unsafe self[index] == text.utf8Start[index] else { return false }
        }
        return true
    }

    func copied() -> [UInt8] { unsafe withUnsafeBufferPointer { unsafe Array($0) } }
}
