import Basics
import BusCore
import Domain
import Identity
import SocketIO
import Wire

/// Socket.IO 5 over an Engine.IO session: who joins which namespace, and what their events mean, which
/// is what the same frames mean on a plain WebSocket.
///
/// A client whose CONNECT is refused by a packet, or that is disconnected by one, does not come back.
/// So that is said only where coming back would change nothing; whatever passes ends the transport.
extension GatewayShard {
    /// The name of a namespace, echoed to a client that asks for one that is not there.
    private static let maximumNamespaceBytes = 128

    // MARK: Packets

    /// The text behind a message's "4".
    func receive(_ engine: EngineSession, packet text: Span<UInt8>) {
        guard engine.assembling == nil, let packet = SocketPacket.parse(text) else {
            end(engine, .malformedPacket, poll: .refused)
            return
        }
        if packet.attachments > 0 {
            // Its parts are waited for only where they can make it whole.
            guard packet.kind == .binaryEvent ? event(packet, text) != nil : isAck(packet, text)
            else {
                end(engine, .malformedPacket, poll: .refused)
                return
            }
            engine.assembling = BinaryEvent(
                packet: packet, text: text.copied(),
                deadline: now.instant.advanced(byMilliseconds: limits.messageTimeoutMs))
            scheduleCheck(engine.main)
        } else {
            perform(packet, text, [], engine)
        }
    }

    /// A binary message: the next part of the event before it.
    func receive(_ engine: EngineSession, part: [UInt8]) {
        guard let event = engine.assembling else {
            end(engine, .malformedPacket, poll: .refused)
            return
        }
        engine.assembling = nil
        event.byteCount += part.count
        guard event.byteCount <= limits.messageBytes else {
            end(engine, .messageTooBig, poll: .refused)
            return
        }
        event.parts.append(part)
        if event.isComplete {
            let text = event.text
            perform(event.packet, text.span, event.parts, engine)
        } else {
            engine.assembling = event
        }
    }

    private func perform(
        _ packet: SocketPacket, _ text: Span<UInt8>, _ parts: [[UInt8]], _ engine: EngineSession
    ) {
        if engine.face == .bench {
            performBench(packet, text, engine)
            return
        }
        if configuration.isConformance {
            performConformance(packet, text, parts, engine)
            return
        }
        var namespace: Namespace? = .root
        if let name = packet.namespace { namespace = Namespace(named: text.extracting(name)) }
        let client = namespace.flatMap { engine.client(in: $0) }
        switch packet.kind {
        case .connect:
            if let namespace {
                connect(engine, namespace, packet, text)
            } else {
                refuseNamespace(engine, packet, text)
            }
        case .disconnect:
            guard let client, packet.payload.isEmpty else {
                end(engine, .malformedPacket, poll: .refused)
                return
            }
            engine.clients.removeAll { $0.session === client.session }
            client.session.recovery?.isOver = true
            engine.acknowledged.forget(client.session.key)
            leave(client.session)
            if engine.clients.isEmpty {
                // As at the beginning: a session is for somebody.
                engine.hasJoined = false
                setDeadline(engine.main, inMs: limits.authTimeoutMs)
            }
        case .event, .binaryEvent:
            guard let client, let event = event(packet, text) else {
                end(engine, .malformedPacket, poll: .refused)
                return
            }
            perform(event, packet.id, text.extracting(packet.payload), client)
        case .ack, .binaryAck:
            // Nothing is sent that asks for one.
            guard client != nil, isAck(packet, text) else {
                end(engine, .malformedPacket, poll: .refused)
                return
            }
        case .connectError:
            end(engine, .malformedPacket, poll: .refused)
        }
    }

    /// The arguments of an event, its name first, left in the reader; nil where it has none, or one
    /// that no event may have, or it names a part that does not come with it.
    func event(_ packet: SocketPacket, _ text: Span<UInt8>) -> JSONNode? {
        let payload = text.extracting(packet.payload)
        guard let root = parsed(payload), json.kind(root) == .array else { return nil }
        var arguments = json.elements(root)
        guard let name = json.next(&arguments) else { return nil }
        switch json.kind(name) {
        case .number: break
        case .string:
            for reserved in SocketPacket.reservedEvents
            where json.stringEquals(name, reserved, in: payload) {
                return nil
            }
        default: return nil
        }
        guard packet.kind.hasAttachments else { return root }
        return placeholdersFit(root, payload, count: packet.attachments) ? root : nil
    }

    /// An ack has a list of arguments, or nothing.
    func isAck(_ packet: SocketPacket, _ text: Span<UInt8>) -> Bool {
        let payload = text.extracting(packet.payload)
        if payload.isEmpty { return packet.attachments == 0 }
        guard let root = parsed(payload), json.kind(root) == .array else { return false }
        return !packet.kind.hasAttachments
            || placeholdersFit(root, payload, count: packet.attachments)
    }

    func parsed(_ payload: Span<UInt8>) -> JSONNode? {
        do throws(JSONError) {
            return try json.parse(payload)
        } catch {
            return nil
        }
    }

    /// Whether each `{"_placeholder":true,"num":n}` names a part that came. Without recursion: a
    /// stack of what is still to be looked at, as deep and wide as the reader allows.
    func placeholdersFit(_ root: JSONNode, _ payload: Span<UInt8>, count: Int) -> Bool {
        var rest = [root]
        while let node = rest.popLast() {
            switch json.kind(node) {
            case .array:
                var elements = json.elements(node)
                while let element = json.next(&elements) { rest.append(element) }
            case .object:
                if let mark = json.member(node, "_placeholder", in: payload),
                    json.bool(mark) == true
                {
                    guard let number = json.member(node, "num", in: payload),
                        let index = json.integer(number, in: payload), index >= 0,
                        index < Int64(count)
                    else { return false }
                    continue
                }
                var members = json.members(node)
                while let member = json.next(&members) { rest.append(member.value) }
            default: break
            }
        }
        return true
    }

    private func perform(
        _ event: JSONNode, _ id: Int64?, _ payload: Span<UInt8>, _ client: NamespaceClient
    ) {
        var frame = CommandDecoder.decode(
            event: event, id: id, with: json, in: payload, limits: limits)
        if let name = frame.name, let namespace = client.session.encoding.namespace,
            !namespace.takes(name)
        {
            frame.command = .failure(
                CommandError(
                    .unknownEvent, "this namespace does not take that event; see the protocol"))
        }
        perform(frame, client.session)
    }

    // MARK: Namespaces

    private func connect(
        _ engine: EngineSession, _ namespace: Namespace, _ packet: SocketPacket,
        _ text: Span<UInt8>
    ) {
        // Once is enough: a second one would be a second client with the first one's name.
        guard engine.client(in: namespace) == nil, !engine.awaited.contains(namespace) else {
            end(engine, .malformedPacket, poll: .refused)
            return
        }
        guard !engine.joins.add(limit: Self.joinsPerMinute + 1, windowMs: 60_000, now: now.instant)
        else {
            counters[.rateLimited] += 1
            end(engine, .tooManyStrikes, poll: .unavailable(retryAfterMs: 60_000))
            return
        }
        guard !isDraining else {
            end(engine, .draining, poll: .unavailable(retryAfterMs: 1_000))
            return
        }
        let payload = text.extracting(packet.payload)
        guard let auth = auth(payload) else {
            end(engine, .malformedPacket, poll: .refused)
            return
        }
        guard let token = auth.token else {
            refuse(
                engine, namespace,
                CommandError(
                    .unauthorized, "send a token: io(url, {auth: {token}}), or as a function of it")
            )
            return
        }
        switch verifier.verify(token, nowMilliseconds: now.wall.milliseconds) {
        case .valid(let claims):
            open(engine, namespace, claims, auth)
        case .expired(let claims) where mayOutlive(claims, auth):
            askWhetherKnown(engine, namespace, claims, auth)
        case .expired:
            counters[.authenticationsFailed] += 1
            refuse(engine, namespace, Self.tokenError(isExpired: true))
        case .invalid:
            counters[.authenticationsFailed] += 1
            refuse(engine, namespace, Self.tokenError(isExpired: false))
        }
    }

    /// CONNECTs of one session: each asks the store for somebody's chats, or has a token verified.
    static let joinsPerMinute = 20

    /// nil where the payload is no object.
    private func auth(_ payload: Span<UInt8>) -> SocketAuth? {
        var auth = SocketAuth()
        guard !payload.isEmpty else { return auth }
        guard let root = parsed(payload), json.kind(root) == .object else { return nil }
        auth.token = json.member(root, "token", in: payload)
            .flatMap { json.string($0, in: payload) }
            .map { $0.hasPrefix("Bearer ") ? String($0.dropFirst(7)) : $0 }
        auth.device = json.member(root, "deviceId", in: payload)
            .flatMap { json.identifier($0, in: payload) }.map(DeviceID.init(trusted:))
        auth.isCanonical =
            json.member(root, "proto", in: payload)
            .flatMap { json.integer($0, in: payload) } == 1
        guard recovers else { return auth }
        auth.pass = json.member(root, "pid", in: payload)
            .flatMap {
                json.text($0, maximumUTF8Count: RecoveryPass.maximumCharacters, in: payload)
            }
        auth.offset = json.member(root, "offset", in: payload)
            .flatMap { json.text($0, maximumUTF8Count: RecoveryOffset.maximumBytes, in: payload) }
            .flatMap { RecoveryOffset($0) }
        return auth
    }

    func open(
        _ engine: EngineSession, _ namespace: Namespace, _ claims: Claims, _ auth: SocketAuth
    ) {
        guard let user = UserID(claims.userId) else {
            refuse(engine, namespace, Self.tooManySessions)
            return
        }
        let named = claims.deviceId.flatMap { DeviceID($0) } ?? auth.device
        let pass = auth.pass.flatMap {
            RecoveryPass(
                $0, in: namespace, of: user, named: named, keys: configuration.tunnelKeys)
        }
        // A client that comes back is one already, where its end has not been noticed.
        guard pass.map({ recoverable[$0.name] != nil }) ?? false || mayOpen(user, on: engine.main)
        else {
            refuse(engine, namespace, Self.tooManySessions)
            return
        }
        let device =
            named ?? pass?.device ?? engine.device
            ?? DeviceID(trusted: identifiers.next(at: now.wall).text)
        if named == nil { engine.device = device }
        let session = seatSession(
            on: engine.main,
            encoding: Encoding(
                namespace, isCanonical: auth.isCanonical, isPolling: engine.isPolling,
                hasOffsets: recovers),
            user, claims, device: device)
        noteToken(of: session, auth, claims)
        status.noteSocketIO()
        engine.clients.append(NamespaceClient(session: session, email: claims.email))
        joined(engine)
        if let pass, let shown = auth.pass {
            recover(session, pass, shown: shown, at: auth.offset)
            return
        }
        if recovers {
            if auth.pass != nil { counters[.recoveriesRefused] += 1 }
            makeRecoverable(
                session, in: namespace, made: named == nil ? device : nil, offset: auth.offset)
        }
        begin(session)
    }

    /// The namespace is joined: `40{"sid":…}`, which the client waits for before it speaks.
    func confirm(_ session: Session, _ namespace: Namespace, pass: String?) {
        guard let engine = transport(of: session)?.ownEngine else { return }
        var text = JSONWriter(appendingTo: Self.packet("40", namespace))
        text.beginObject()
        text.key("sid")
        text.string(session.recovery?.pass.name.text ?? identifiers.next(at: now.wall).text)
        if let pass {
            text.key("pid")
            text.string(pass)
        }
        text.endObject()
        say(engine, text.bytes)
    }

    /// The first namespace was joined: the deadline for that is over.
    func joined(_ engine: EngineSession) {
        guard !engine.hasJoined else { return }
        engine.hasJoined = true
        engine.main.deadline = nil
    }

    static func packet(_ types: StaticString, _ namespace: Namespace) -> [UInt8] {
        var text: [UInt8] = []
        text.append(types)
        text.append(namespace.prefix)
        return text
    }

    /// For good: `44{"message":…,"data":{code,…}}`.
    func refuse(
        _ engine: EngineSession, _ namespace: Namespace, _ error: CommandError
    ) {
        var text = JSONWriter(appendingTo: Self.packet("44", namespace))
        text.beginObject()
        text.key("message")
        text.string(error.message)
        text.key("data")
        text.beginObject()
        EventEncoder.write(error, to: &text)
        text.endObject()
        text.endObject()
        say(engine, text.bytes)
    }

    func refuseNamespace(
        _ engine: EngineSession, _ packet: SocketPacket, _ text: Span<UInt8>
    ) {
        guard let name = packet.namespace, name.count <= Self.maximumNamespaceBytes else {
            end(engine, .malformedPacket, poll: .refused)
            return
        }
        var answer = Array("44".utf8)
        answer += text.extracting(name).copied()
        answer += Array(#",{"message":"Invalid namespace"}"#.utf8)
        say(engine, answer)
    }

    /// A backend ends the user's connections: they are not to come back by themselves.
    func revoke(_ session: Session) {
        if let namespace = session.encoding.namespace, let connection = transport(of: session),
            let engine = connection.ownEngine
        {
            say(engine, Self.packet("41", namespace))
        }
        session.recovery?.isOver = true
        disconnect(session, .revoked)
    }

    /// Of the session's token, where others may be told.
    func email(of session: Session) -> String? {
        guard session.encoding.namespace != nil, let engine = transport(of: session)?.ownEngine
        else { return nil }
        return engine.clients.first { $0.session === session }?.email
    }

    // MARK: Implicit delivery

    /// How far each topic has been given to the client, when it is pinged: its pong says that all of
    /// this arrived.
    func notePinged(_ engine: EngineSession) {
        engine.pinged = []
        for client in engine.clients {
            client.session.recovery?.ping()
            let isRecoverable = client.session.recovery != nil
            for subscription in client.session.subscriptions {
                guard let topic = topics[Int(subscription.topic)],
                    case .chat(let chat) = topic.channel
                else { continue }
                // A message in a large group would have everybody tell everybody.
                let isTold = topic.memberCount <= limits.typingMembers
                guard isTold || isRecoverable else { continue }
                let seq = topic.deliveredSeq(of: Int(subscription.member))
                let place = DeliveredMark.Place(session: client.session.key, chat: chat)
                guard seq > engine.acknowledged[place] ?? 0 else { continue }
                engine.pinged.append(DeliveredMark(place: place, seq: seq, isTold: isTold))
            }
        }
    }

    /// A chat is about to be followed, by a session that can be recovered: what came before the replay its
    /// client has, or was never given. It is raised by the client's word alone: what it was given before, and
    /// perhaps does not have, is no other for that it is joined again.
    func noteOpened(_ chat: CatchUp.Chat, _ job: CatchUp, _ session: Session) {
        guard chat.access != .none, let recovery = session.recovery,
            let engine = transport(of: session)?.ownEngine
        else { return }
        recovery.left.remove(chat.id)
        let place = DeliveredMark.Place(session: session.key, chat: chat.id)
        let floor = min(chat.since ?? chat.sentThrough, chat.lastSeq)
        guard let known = engine.acknowledged[place] else {
            engine.acknowledged[place] = floor
            return
        }
        guard chat.since != nil else { return }
        switch job.kind {
        case .join, .resume: break
        case .leave, .followAll, .broughtIn, .establish, .recover: return
        }
        guard floor < max(known, chat.lastGiven) else {
            // By its own word it has that.
            engine.acknowledged[place] = max(known, floor)
            return
        }
        // Its client goes back, and what it acknowledges of before says nothing of the replay.
        engine.acknowledged[place] = min(known, floor)
        engine.pinged.removeAll { $0.place == place }
        recovery.rewind(chat.id, from: max(known, chat.lastGiven))
    }

    /// A chat is followed from here on: what came before `known` the client has, or was never given. nil:
    /// it was followed before, and what was acknowledged of it then holds.
    func noteFollowed(_ session: Session, _ topic: Topic, known: Seq?, given: Seq) {
        guard let connection = transport(of: session), let engine = connection.ownEngine,
            case .chat(let chat) = topic.channel
        else { return }
        let place = DeliveredMark.Place(session: session.key, chat: chat)
        if session.recovery == nil, let known { engine.acknowledged[place] = known }
        if given > engine.acknowledged[place] ?? known ?? 0 { oweReceipt(connection) }
    }

    func acknowledgePinged(_ engine: EngineSession) {
        for mark in engine.pinged {
            let chat = mark.place.chat
            guard let session = self.session(mark.place.session),
                followedTopic(.chat(chat), by: session) != nil
            else { continue }
            engine.acknowledged[mark.place] = max(engine.acknowledged[mark.place] ?? 0, mark.seq)
            guard mark.isTold else { continue }
            move(
                AdvanceCursor(
                    chat: chat, user: session.user.id, device: session.device,
                    delivered: .seq(mark.seq), read: nil, isReadPrivate: false, at: now.wall),
                nil, of: session)
        }
        let pinged = engine.pinged
        engine.pinged = []
        for client in engine.clients {
            guard let recovery = client.session.recovery else { continue }
            let session = client.session
            var moved = Set(
                pinged.lazy.filter { $0.place.session == session.key }.map(\.place.chat))
            for given in recovery.pong() {
                let place = DeliveredMark.Place(session: session.key, chat: given.chat)
                guard let known = engine.acknowledged[place] else { continue }
                engine.acknowledged[place] = max(known, given.seqs.upperBound)
                moved.insert(given.chat)
            }
            noteMoved(moved, session)
        }
    }
}

/// What a client says of itself in a CONNECT.
struct SocketAuth: Sendable {
    var token: String?
    var device: DeviceID?
    var isCanonical = false
    /// What a client that comes back shows: `pid`, and the last offset that it was given.
    var pass: String?
    var offset: RecoveryOffset?
}
