import Basics
import Domain
import TestSupport
import WebSocket
import Wire

/// A device of a user: connects, resumes, sends until it is acked, acknowledges what it gets, and
/// tells the oracle everything. It speaks real bytes: handshake, masked frames, JSON.
final class SimulatedClient {
    let user: UserID
    let device: String
    let isLegacy: Bool
    let face: ClientFace
    let chats: [ChatID]
    private unowned let world: World
    private var random: SeededRandom
    private var isTalking = true

    private enum Phase { case away, opening, ready }
    private var phase = Phase.away
    private var link: SimulatedLink?
    private var handshake: ClientHandshake?
    private var token = ""
    private var inbound: [UInt8] = []
    private var decoder = MessageDecoder(role: .client)
    private var reader = JSONReader(hashSeed: 1)

    /// The last seq that was given, by chat. A legacy device forgets it with the connection.
    private var last: [ChatID: Seq] = [:]
    /// The highest seq that came over this connection, by chat: what a pong acknowledges.
    private var given: [ChatID: Seq] = [:]
    private var known: Set<String> = []
    private var refused: Set<ChatID> = []
    /// By which a legacy device comes back over Socket.IO, and the last offset that it was given.
    private var pass: String?
    private var offset: String?
    /// Chats of which it has been given nothing since it came back: some of what it has may come again.
    private var mayRepeat: Set<ChatID> = []
    private var isResuming = false
    /// Since when nothing has to be asked for; nil while something has.
    private var liveSince: UInt64?
    private var resumes = 0
    private var receipts: [String: Seq] = [:]

    private struct Attempt {
        var chat: ChatID
        var number: Int
        /// An earlier try may have been stored.
        var isUncertain = false
        var sentAs: Int?
    }
    private var outstanding: [String: Attempt] = [:]
    private var order: [String] = []
    private var messages = 0
    private var requestID = 0
    private var requests: [Int: String] = [:]
    private var answered: Set<Int> = []
    private var resumeID = 0
    private var ackPlaces: [ChatID: (request: Int, seq: Seq)] = [:]

    init(
        world: World, user: UserID, device: String, isLegacy: Bool, face: ClientFace,
        chats: [ChatID], random: SeededRandom
    ) {
        self.face = face
        self.world = world
        self.user = user
        self.device = device
        self.isLegacy = isLegacy
        self.chats = chats
        self.random = random
    }

    var unsettled: Int { outstanding.count }
    var isLive: Bool { phase == .ready && !isResuming }

    /// By chat, the seq through which everything the user may see was given, or was this device's
    /// own and is known.
    func frontiers() -> [ChatID: Seq] {
        var result: [ChatID: Seq] = [:]
        for chat in chats {
            var frontier = last[chat] ?? 0
            let log = world.store.entries(of: chat)
            if isLegacy, last[chat] == nil {
                // It was promised nothing of what came before.
                result[chat] = Seq(log.count)
                continue
            }
            while frontier < Seq(log.count) {
                let entry = log[Int(frontier)]
                guard entry.device.text == device, known.contains(entry.id.text) else { break }
                frontier += 1
            }
            result[chat] = frontier
        }
        return result
    }

    // MARK: Life

    func start() {
        connect()
        talkLater()
        watch()
    }

    func stopTalking() { isTalking = false }

    private func talkLater() {
        world.scheduler.after(microseconds: random.within(20_000...900_000)) { [unowned self] in
            guard isTalking else { return }
            talk()
            talkLater()
        }
    }

    private func talk() {
        // Bursts, so that sends of one connection are in flight together.
        for _ in 0..<(random.chance(30) ? random.within(2...5) : 1) {
            messages += 1
            let clientMessageID = "\(device)-\(messages)"
            let chat = chats[random.below(chats.count)]
            outstanding[clientMessageID] = Attempt(chat: chat, number: messages)
            order.append(clientMessageID)
            if phase == .ready { send(clientMessageID) }
        }
        if phase == .ready, random.chance(20) {
            let chat = chats[random.below(chats.count)]
            say("typing", "{\"chatId\":\"\(chat.text)\",\"isTyping\":\(random.chance(60))}")
        }
    }

    /// What waited too long is sent again; what was refused is asked for again; who is away tries
    /// again.
    private func watch() {
        world.scheduler.after(microseconds: 500_000) { [unowned self] in
            if phase == .away { connect() }
            if phase == .ready, !isLegacy, !refused.isEmpty, !isResuming {
                resume(refused.sorted { $0.text < $1.text })
            }
            if phase == .ready {
                for id in order where outstanding[id] != nil && outstanding[id]?.sentAs == nil {
                    send(id)
                }
            }
            watch()
        }
    }

    func loseConnection(isHalfOpen: Bool) {
        guard let link, link.state == .open else { return }
        world.trace("\(device) loses its connection\(isHalfOpen ? ", half-open" : "")")
        world.clientGone(link, isHalfOpen: isHalfOpen)
        ended()
    }

    func connectionEnded(_ link: SimulatedLink) {
        guard link === self.link else { return }
        world.trace("\(device) is disconnected")
        ended()
    }

    private func ended() {
        liveSince = nil
        link = nil
        given = [:]
        phase = .away
        isResuming = false
        requests = [:]
        answered = []
        ackPlaces = [:]
        receipts = [:]
        if isLegacy, pass == nil { last = [:] }
        mayRepeat = []
        for id in order {
            if outstanding[id]?.sentAs != nil { outstanding[id]?.isUncertain = true }
            outstanding[id]?.sentAs = nil
        }
        order.removeAll { outstanding[$0] == nil }
    }

    private func connect() {
        guard let link = world.connect(client: self) else { return }
        self.link = link
        phase = .opening
        inbound = []
        decoder = MessageDecoder(role: .client)
        let token = world.token(user: user.text, device: device)
        let nonce = (0..<16).map { _ in UInt8(random.below(256)) }
        let handshake =
            face == .plain
            ? ClientHandshake(
                host: "x", target: "/ws", nonce: nonce,
                subprotocols: (isLegacy ? [] : ["martlet.v1"]) + ["bearer.\(token)"])
            : ClientHandshake(
                host: "x", target: "/socket.io/?EIO=4&transport=websocket", nonce: nonce,
                subprotocols: [])
        self.token = token
        self.handshake = handshake
        world.clientSent(link, handshake.requestBytes())
    }

    // MARK: Out

    private func say(_ type: String, _ payload: String, id: Int? = nil) {
        say(face.text(type, payload, id: id))
    }

    private func say(_ text: String) {
        guard let link else { return }
        let text = Array(text.utf8)
        let mask = MaskingKey(word: UInt32(truncatingIfNeeded: random.next()))
        var frame: [UInt8] = []
        FrameHeader.encode(opcode: .text, length: text.count, mask: mask, into: &frame)
        let start = frame.count
        frame += text
        let end = frame.count
        var span = frame.mutableSpan
        Masking.apply(mask, to: &span, in: start..<end)
        world.clientSent(link, frame)
    }

    private func send(_ clientMessageID: String) {
        guard let attempt = outstanding[clientMessageID] else { return }
        requestID += 1
        outstanding[clientMessageID]?.sentAs = requestID
        requests[requestID] = clientMessageID
        say(
            "message.send",
            "{\"chatId\":\"\(attempt.chat.text)\",\"clientMsgId\":\"\(clientMessageID)\",\"encryptedContent\":\"\(clientMessageID)\"}",
            id: requestID)
    }

    private func resume(_ chats: [ChatID]) {
        liveSince = nil
        isResuming = true
        requestID += 1
        resumeID = requestID
        resumes += 1
        if chats.count == 1, random.chance(50) {
            say(
                "chat.join", "{\"chatId\":\"\(chats[0].text)\",\"since\":\(last[chats[0]] ?? 0)}",
                id: requestID)
            return
        }
        let list = chats.map { "\"\($0.text)\":\(last[$0] ?? 0)" }.joined(separator: ",")
        say("resume", "{\"chats\":{\(list)}}", id: requestID)
    }

    // MARK: In

    func received(_ link: SimulatedLink, _ bytes: [UInt8]) {
        guard link === self.link else { return }
        if let handshake {
            inbound += bytes
            let gathered = inbound
            switch handshake.check(gathered.span) {
            case .needMore: return
            case .accepted(let length, _, _):
                let rest = Array(inbound[length...])
                inbound = []
                self.handshake = nil
                readFrames(rest)
            case .refused, .invalid:
                world.clientGone(link, isHalfOpen: false)
                ended()
            }
            return
        }
        readFrames(bytes)
    }

    /// Apart, so that the span's life ends before anything else touches the buffer.
    private static func next(
        _ decoder: inout MessageDecoder, _ bytes: inout [UInt8], _ offset: inout Int
    ) -> DecodedItem {
        var span = bytes.mutableSpan
        return decoder.next(in: &span, at: &offset, limits: MessageLimits())
    }

    private func readFrames(_ bytes: [UInt8]) {
        var bytes = bytes
        var offset = 0
        let link = link
        while self.link === link {
            switch Self.next(&decoder, &bytes, &offset) {
            case .needMore: return
            case .message(_, let payload):
                let text = payload.copy(from: bytes.span)
                if face == .plain { readText(text) } else { readPacket(text) }
            case .close:
                if let link { world.clientGone(link, isHalfOpen: false) }
                ended()
            case .ping:
                pong()
            case .pong:
                break
            case .violation(let violation):
                world.oracle.violate("P12", "the server broke RFC 6455: \(violation.text)")
                return
            }
        }
    }

    private func pong() {
        guard let link else { return }
        var frame: [UInt8] = []
        FrameHeader.encode(
            opcode: .pong, length: 0, mask: MaskingKey(word: 1), into: &frame)
        world.clientSent(link, frame)
    }

    private func readPacket(_ text: [UInt8]) {
        switch ClientFace.read(text) {
        case .open:
            var auth = "\"token\":\"\(token)\""
            if !isLegacy { auth += ",\"proto\":1" }
            if let pass { auth += ",\"pid\":\"\(pass)\"" }
            if pass != nil, let offset { auth += ",\"offset\":\"\(offset)\"" }
            say("40{\(auth)}")
        case .joined(let new):
            guard isLegacy else { return }
            if new != nil, new == pass {
                world.trace("\(device) is recovered")
                mayRepeat = Set(last.keys)
            } else {
                last = [:]
            }
            pass = new
        case .ping:
            // It says that all that was given before it arrived, what the device sent itself included.
            for chat in chats { world.acknowledges(chat, user, givenThrough(chat)) }
            say("3")
        case .frame(let frame, let offset):
            if isLegacy, let offset { self.offset = offset }
            readText(frame)
        case .nothing: break
        case .broken:
            let said = String(decoding: text, as: UTF8.self)
            world.oracle.violate("P12", "the server broke Socket.IO: \(said)")
        }
    }

    /// The last seq that was given, and behind it what is this device's own.
    private func givenThrough(_ chat: ChatID) -> Seq {
        // What it resumed from it has said it has.
        var seq = max(given[chat] ?? 0, isLegacy && pass == nil ? 0 : last[chat] ?? 0)
        let log = world.store.entries(of: chat)
        while seq < Seq(log.count), log[Int(seq)].device.text == device { seq += 1 }
        return seq
    }

    private func readText(_ text: [UInt8]) {
        let root: JSONNode
        do throws(JSONError) {
            root = try reader.parse(text.span)
        } catch {
            world.oracle.violate("P12", "the server sent no JSON: \(error)")
            return
        }
        guard let typeNode = reader.member(root, "type", in: text.span),
            let type = reader.string(typeNode, in: text.span),
            let payload = reader.member(root, "payload", in: text.span)
        else {
            world.oracle.violate("P12", "the server sent a frame without type or payload")
            return
        }
        world.trace("\(device) < \(String(decoding: text, as: UTF8.self))")
        switch type {
        case "session.ready", "READY": ready()
        case "ack", "ACK": acked(root, payload, text)
        case "message.new", "MESSAGE", "chat.changed", "CHAT_CHANGED": entry(payload, text)
        case "caughtUp", "CAUGHT_UP":
            isResuming = false
            liveSince = world.scheduler.now
        case "receipt", "RECEIPT": receipt(payload, text)
        default: break
        }
    }

    private func string(_ name: StaticString, _ node: JSONNode, _ text: [UInt8]) -> String? {
        reader.member(node, name, in: text.span).flatMap { reader.string($0, in: text.span) }
    }

    private func integer(_ name: StaticString, _ node: JSONNode, _ text: [UInt8]) -> Int64? {
        reader.member(node, name, in: text.span).flatMap { reader.integer($0, in: text.span) }
    }

    private func ready() {
        phase = .ready
        refused = []
        if !isLegacy { resume(chats) }
        for id in order where outstanding[id] != nil { send(id) }
    }

    private func acked(_ root: JSONNode, _ payload: JSONNode, _ text: [UInt8]) {
        guard let id = integer("id", root, text).map(Int.init) else { return }
        let isOK = reader.member(payload, "ok", in: text.span).flatMap { reader.bool($0) } ?? false
        if !answered.insert(id).inserted {
            world.oracle.violate("P5", "\(device): request \(id) was answered twice")
        }
        if id == resumeID {
            resumed(isOK, payload, text)
            return
        }
        guard let clientMessageID = requests.removeValue(forKey: id),
            let attempt = outstanding[clientMessageID]
        else { return }
        guard isOK else {
            let error = reader.member(payload, "error", in: text.span)
            let code = error.flatMap { string("code", $0, text) } ?? ""
            world.oracle.refused(
                clientMessageID: clientMessageID, chat: attempt.chat,
                hadUncertain: attempt.isUncertain, store: world.store)
            if code == "NOT_FOUND" {
                outstanding[clientMessageID] = nil
                order.removeAll { $0 == clientMessageID }
            } else {
                outstanding[clientMessageID]?.sentAs = nil
            }
            return
        }
        let seq = integer("seq", payload, text) ?? 0
        let message = string("messageId", payload, text) ?? ""
        known.insert(message)
        outstanding[clientMessageID] = nil
        order.removeAll { $0 == clientMessageID }
        world.oracle.acked(
            Oracle.Ack(
                chat: attempt.chat, seq: seq, id: message, clientMessageID: clientMessageID,
                user: user), store: world.store)
        let isDuplicate =
            reader.member(payload, "duplicate", in: text.span).flatMap { reader.bool($0) } ?? false
        guard !isDuplicate, !attempt.isUncertain else { return }
        if let before = ackPlaces[attempt.chat], (before.request < id) != (before.seq < seq) {
            world.oracle.violate(
                "P3", "\(device): request \(before.request) has seq \(before.seq), \(id) has \(seq)"
            )
        }
        ackPlaces[attempt.chat] = (id, seq)
    }

    private func resumed(_ isOK: Bool, _ payload: JSONNode, _ text: [UInt8]) {
        guard isOK else {
            isResuming = false
            refused = Set(chats)
            return
        }
        refused = []
        if let list = reader.member(payload, "refused", in: text.span) {
            var members = reader.members(list)
            while let (key, _) = reader.next(&members) {
                if let chat = reader.string(key, in: text.span) {
                    refused.insert(ChatID(trusted: chat))
                }
            }
        }
    }

    private func entry(_ payload: JSONNode, _ text: [UInt8]) {
        guard let id = string("id", payload, text), let chatText = string("chatId", payload, text),
            let seq = integer("seq", payload, text)
        else {
            world.oracle.violate("P12", "an entry without id, chatId or seq")
            return
        }
        let chat = ChatID(trusted: chatText)
        known.insert(id)
        // Its own sends come to a v1 device as acks: they are no holes.
        if mayRepeat.remove(chat) != nil, let had = last[chat], seq <= had {
            // Its instance was killed: from the store comes what it may have had, and all behind it.
            last[chat] = seq - 1
        }
        var previous = last[chat] ?? (isLegacy ? seq - 1 : 0)
        let log = world.store.entries(of: chat)
        while previous + 1 < seq, previous < Seq(log.count),
            log[Int(previous)].device.text == device, !isLegacy
        {
            previous += 1
        }
        let content = string("encryptedContent", payload, text)
        // A membership that ends and begins again makes it ask anew.
        world.delivered(chat, seq, to: device, liveSince: refused.isEmpty ? liveSince : nil)
        world.oracle.delivered(
            chat: chat, seq: seq, id: id, content: content, to: user, device: device,
            previous: max(previous, last[chat] ?? previous), store: world.store)
        last[chat] = max(seq, last[chat] ?? 0)
        given[chat] = max(seq, given[chat] ?? 0)
        // Brought in or out: what a legacy device gets next starts anew.
        if isLegacy, string("userId", payload, text) == user.text { last[chat] = nil }
        if string("userId", payload, text) == user.text {
            // Brought in or out. What the last word says, holds; marks are told anew.
            receipts = receipts.filter { !$0.key.hasPrefix(chatText + "/") }
            if string("kind", payload, text) == "memberAdded" {
                refused.remove(chat)
            } else {
                refused.insert(chat)
            }
        }
        if random.chance(40) {
            let seq = last[chat] ?? seq
            world.acknowledges(chat, user, seq)
            say(
                random.chance(70) ? "delivery.ack" : "read.set",
                "{\"chatId\":\"\(chat.text)\",\"seq\":\(seq)}")
        }
    }

    /// P8: marks only rise, and never pass what a device has acknowledged.
    private func receipt(_ payload: JSONNode, _ text: [UInt8]) {
        guard let chat = string("chatId", payload, text), let who = string("userId", payload, text)
        else { return }
        for (name, key) in [("deliveredSeq" as StaticString, "d"), ("readSeq", "r")] {
            guard let seq = integer(name, payload, text) else { continue }
            let mark = chat + "/" + who + "/" + key
            // After a gap of the bus a mark may be told again.
            if seq < receipts[mark] ?? 0 || (seq == receipts[mark] && !world.hasBus) {
                world.oracle.violate(
                    "P8", "\(device) saw \(mark) go from \(receipts[mark] ?? 0) to \(seq)")
            }
            receipts[mark] = seq
            if seq > world.acknowledged[chat + "/" + who] ?? 0 {
                world.oracle.violate(
                    "P8", "\(device) saw \(mark) at \(seq), ahead of what was acknowledged")
            }
        }
    }
}
