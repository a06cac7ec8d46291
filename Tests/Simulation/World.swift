import Basics
import BusCore
import Domain
import Gateway
import Identity
import StoreCore
import TestSupport

/// One seed's whole world: up to three gateways of two or three shards, a bus between them, a
/// store, a network and some people, under virtual time.
///
/// Ten virtual seconds of chatter and faults, then everything heals, and within another minute
/// everybody must have everything.
package final class World {
    package struct Result: Sendable {
        package let seed: UInt64
        package let violations: [String]
        package let acked: Int
        package let deliveries: Int
        package let crashes: Int
        package let longestDelayMs: Int
        package let trace: [String]
    }

    var scheduler = Scheduler()
    var store = ModelState()
    let oracle = Oracle()
    private(set) var isFaulty = true
    private(set) var crashes = 0
    private var random: SeededRandom
    private let seed: UInt64
    private var nodes: [SimulatedNode] = []
    private var bus: SimulatedBus?
    private var clients: [SimulatedClient] = []
    private let shardCount: Int
    private let keepsTrace: Bool
    private(set) var traceLines: [String] = []
    private var fateMode = Fate.commits
    let chats: [ChatID]
    let secret: Secret
    private(set) var acknowledged: [String: Seq] = [:]
    /// When each entry was committed, by chat and seq, as far as its commit was answered.
    private(set) var commitTimes: [ChatID: [UInt64]] = [:]
    /// The longest that a connection which was live all the time waited for an entry.
    private(set) var longestDelay: UInt64 = 0

    static let faultyNanoseconds: UInt64 = 10_000_000_000
    static let healingNanoseconds: UInt64 = 70_000_000_000
    static let longestDelayAllowed: UInt64 = 5_000_000_000

    /// Runs one seed. Bugs in `planted` are made part of the gateway.
    package static func run(
        seed: UInt64, planted: Set<PlantedBug> = [], keepsTrace: Bool = false
    ) -> Result {
        let world = World(seed: seed, planted: planted, keepsTrace: keepsTrace)
        world.run()
        return Result(
            seed: seed, violations: world.oracle.violations, acked: world.oracle.acked,
            deliveries: world.oracle.deliveries, crashes: world.crashes,
            longestDelayMs: Int(world.longestDelay / 1_000_000), trace: world.traceLines)
    }

    private init(seed: UInt64, planted: Set<PlantedBug>, keepsTrace: Bool) {
        self.seed = seed
        self.keepsTrace = keepsTrace
        random = SeededRandom(seed: seed)
        // Alone it needs no bus, and takes the ways of one process.
        let nodeCount = [1, 2, 3, 3, 3][random.below(5)]
        shardCount = random.within(2...(nodeCount == 1 ? 4 : 3))
        chats = [ChatID(trusted: "group"), ChatID(trusted: "pair"), ChatID(trusted: "circle")]
        do throws(SecretError) {
            secret = try Secret("0123456789abcdef0123456789abcdef")
        } catch {
            preconditionFailure("\(error)")
        }
        var limits = Limits()
        for name in ["connects", "http", "joins", "sends", "sendBurst", "typing"] {
            _ = limits.set(name, to: "off")
        }
        // Over Socket.IO some can be recovered, and some worlds do not know what that is.
        if random.chance(60) { _ = limits.set("recoveryWindow", to: "30000") }
        // Small, so that pages, pauses and coalescing happen often.
        _ = limits.set("batch", to: "\(random.within(1...16))")
        if nodeCount > 1 {
            bus = SimulatedBus(world: self, nodes: nodeCount, random: random.fork())
        }
        for index in 0..<nodeCount {
            var configuration = GatewayConfiguration(
                limits: limits, tokenKeys: [.hs256(secret)], version: "simulated",
                instance: 1, planted: planted)
            configuration.tunnelKeys = [secret]
            nodes.append(
                SimulatedNode(
                    index: index, world: self, bus: bus, configuration: configuration,
                    shards: shardCount, random: random.fork()))
        }
        makeChats()
        makeClients()
    }

    private func makeChats() {
        let users = ["ann", "ben", "cat", "guest"].map { UserID(trusted: $0) }
        let operations: [Operation] = [
            .createConversation(
                CreateConversation(
                    id: chats[0], kind: .group, name: "g", creator: users[0], members: users,
                    createdAt: now.wall)),
            .createConversation(
                CreateConversation(
                    id: chats[1], kind: .direct, name: nil, creator: users[0],
                    members: [users[0], users[1]], createdAt: now.wall)),
            .createConversation(
                CreateConversation(
                    id: chats[2], kind: .group, name: nil, creator: users[1],
                    members: [users[1], users[2]], createdAt: now.wall)),
        ]
        _ = store.apply(Batch(operations: operations))
    }

    private func makeClients() {
        // Two devices for ann, so that a user's own devices are told apart; one legacy client.
        let people: [(String, String, Bool, [Int])] = [
            ("ann", "ann-1", false, [0, 1]), ("ann", "ann-2", false, [0, 1]),
            ("ben", "ben-1", false, [0, 1, 2]), ("cat", "cat-1", false, [0, 2]),
            ("guest", "guest-1", false, [0]), ("cat", "cat-old", true, [0, 2]),
            ("guest", "guest-old", true, [0]),
        ]
        for (user, device, isLegacy, places) in people {
            clients.append(
                SimulatedClient(
                    world: self, user: UserID(trusted: user), device: device, isLegacy: isLegacy,
                    face: random.chance(isLegacy ? 60 : 40) ? .socketIO : .plain,
                    chats: places.map { chats[$0] },
                    random: random.fork()))
        }
    }

    // MARK: Running

    private func run() {
        for node in nodes { node.start() }
        for client in clients {
            scheduler.after(microseconds: random.within(0...200_000)) { client.start() }
        }
        planFaults()
        let end = scheduler.now + Self.faultyNanoseconds
        while let at = scheduler.nextAt, at < end { scheduler.next()?() }
        heal()
        let last = scheduler.now + Self.healingNanoseconds
        while let at = scheduler.nextAt, at < last, oracle.violations.isEmpty {
            scheduler.next()?()
            if isQuiet { break }
        }
        oracle.checkEnd(
            store: store, chats: chats,
            devices: clients.map { ($0.device, $0.user, $0.frontiers()) })
        for client in clients {
            let unsettled = client.unsettled
            if unsettled > 0 {
                oracle.violate(
                    "P2", "\(client.device) still waits for \(unsettled) acks at the end")
            }
        }
    }

    private func heal() {
        trace("everything heals")
        isFaulty = false
        fateMode = .commits
        for node in nodes {
            node.cancelDeath()
            if !node.isUp { node.start() }
        }
        bus?.heal()
        // A device that was half-open finds out by itself; nothing else is done for it.
        for client in clients { client.stopTalking() }
    }

    /// Nothing is under way and everybody has everything: the rest of the time would be silence.
    private var isQuiet: Bool {
        quietChecks += 1
        guard quietChecks % 200 == 0 else { return false }
        return clients.allSatisfy { $0.unsettled == 0 && $0.isLive }
            && clients.allSatisfy { client in
                let has = client.frontiers()
                return client.chats.allSatisfy { chat in
                    let end = Seq(store.entries(of: chat).count)
                    let from = has[chat] ?? 0
                    return stride(from: from + 1, through: end, by: 1).allSatisfy {
                        !store.shows($0, of: chat, to: client.user)
                    }
                }
            }
    }
    private var quietChecks = 0

    private func planFaults() {
        for _ in 0..<random.within(0...(nodes.count + 1)) {
            scheduler.after(microseconds: random.within(300_000...9_000_000)) { [unowned self] in
                nodes[random.below(nodes.count)].dieSoon(withinEffects: random.within(1...200))
            }
        }
        for _ in 0..<(bus == nil ? 0 : random.within(0...5)) {
            scheduler.after(microseconds: random.within(100_000...9_000_000)) { [unowned self] in
                bus?.hurt()
            }
        }
        for _ in 0..<random.within(0...8) {
            scheduler.after(microseconds: random.within(100_000...9_500_000)) { [unowned self] in
                clients[random.below(clients.count)].loseConnection(
                    isHalfOpen: random.chance(40))
            }
        }
        for _ in 0..<random.within(0...3) {
            scheduler.after(microseconds: random.within(100_000...9_000_000)) { [unowned self] in
                let modes: [Fate] = [.commitsSilently, .vanishes, .fails]
                fateMode = modes[random.below(3)]
                scheduler.after(microseconds: random.within(1_000...600_000)) { [unowned self] in
                    fateMode = .commits
                }
            }
        }
        for _ in 0..<random.within(0...6) {
            scheduler.after(microseconds: random.within(200_000...9_500_000)) { [unowned self] in
                changeMembership()
            }
        }
    }

    /// The owner removes the guest, or brings them back.
    private func changeMembership() {
        let isMember = store.shows(
            Seq(store.entries(of: chats[0]).count + 1), of: chats[0],
            to: UserID(trusted: "guest"))
        let token = token(user: "ann", device: "ann-admin")
        let request: String
        if isMember {
            request =
                "DELETE /api/v1/chats/group/members/guest HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \(token)\r\n\r\n"
        } else {
            let body = #"{"userIds":["guest"]}"#
            request =
                "POST /api/v1/chats/group/members HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \(token)\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
        }
        trace("the owner \(isMember ? "removes" : "adds") the guest")
        let link = connect(client: nil)
        if let link { clientSent(link, Array(request.utf8)) }
    }

    /// P6: whoever was connected and caught up when it was committed has it within 5 s.
    func delivered(_ chat: ChatID, _ seq: Seq, to device: String, liveSince: UInt64?) {
        guard let times = commitTimes[chat], seq >= 1, seq <= times.count, let liveSince,
            times[Int(seq) - 1] > liveSince
        else { return }
        let delay = scheduler.now - times[Int(seq) - 1]
        longestDelay = max(longestDelay, delay)
        if delay > Self.longestDelayAllowed {
            oracle.violate(
                "P6", "\(device) waited \(delay / 1_000_000) ms for seq \(seq) of \(chat.text)")
        }
    }

    func nextFate() -> Fate { isFaulty ? fateMode : .commits }

    func committed(_ outcomes: [Outcome]) {
        for chat in chats {
            // All that came since the last look came now.
            let count = store.entries(of: chat).count
            let known = commitTimes[chat]?.count ?? 0
            for _ in known..<max(known, count) {
                commitTimes[chat, default: []].append(scheduler.now)
            }
        }
        guard keepsTrace else { return }
        for outcome in outcomes {
            switch outcome {
            case .appended(let entry):
                trace("committed \(entry.chat.text) \(entry.seq) \(entry.id.text)")
            case .membership(let entries):
                for entry in entries {
                    trace("committed \(entry.chat.text) \(entry.seq), membership")
                }
            default: break
            }
        }
    }

    func nodeDied(_ index: Int) {
        crashes += 1
        guard isFaulty else { return }
        scheduler.after(microseconds: random.within(100_000...1_500_000)) { [unowned self] in
            if !nodes[index].isUp { nodes[index].start() }
        }
    }

    func acknowledges(_ chat: ChatID, _ user: UserID, _ seq: Seq) {
        let key = chat.text + "/" + user.text
        acknowledged[key] = max(acknowledged[key] ?? 0, seq)
    }

    // MARK: The bus

    var hasBus: Bool { bus != nil }

    func withNode(_ index: Int, _ body: (SimulatedNode) -> Void) { body(nodes[index]) }

    func busLinkUp(_ index: Int) {
        trace("node \(index) has a link to the bus")
        nodes[index].busLinkUp()
    }

    func busLinkDown(_ index: Int) {
        trace("node \(index) lost its link to the bus")
        nodes[index].busLinkDown()
    }

    func notify(_ news: BusNews, from index: Int) {
        for node in nodes where node.index != index {
            scheduler.after(microseconds: random.within(100...3_000)) { node.notified(news) }
        }
    }

    func busHeard(_ index: Int, _ word: SimulatedBus.Word) { nodes[index].busHeard(word) }

    // MARK: Time and tokens

    var now: Now {
        Now(
            instant: Instant(nanoseconds: scheduler.now),
            wall: WallTime(milliseconds: 1_795_000_000_000 + Int64(scheduler.now / 1_000_000)))
    }

    func token(user: String, device: String) -> String {
        do throws(TokenMintError) {
            return try TokenMinter(secret: secret).mint(
                user: user, deviceId: device, lifetimeSeconds: 86_400,
                nowMilliseconds: now.wall.milliseconds)
        } catch {
            preconditionFailure("\(error.text)")
        }
    }

    func trace(_ line: @autoclosure () -> String) {
        guard keepsTrace else { return }
        let microseconds = scheduler.now / 1_000
        traceLines.append(
            "\(microseconds / 1_000_000).\(String(1_000_000 + microseconds % 1_000_000).dropFirst()) \(line())"
        )
    }

    // MARK: The network

    /// nil where nobody listens.
    func connect(client: SimulatedClient?) -> SimulatedLink? {
        let alive = nodes.filter(\.isUp)
        guard !alive.isEmpty else { return nil }
        let node = alive[random.below(alive.count)]
        let link = SimulatedLink(
            node: node.index, shard: random.below(shardCount), incarnation: node.incarnation)
        link.client = client
        node.give(.accept(link), to: link.shard, incarnation: link.incarnation)
        return link
    }

    /// A node asks another over its internal listener.
    func ask(_ request: PeerRequest, _ whenOver: @escaping ([UInt8]?) -> Void) {
        let peer = SimulatedLink.Peer(whenOver)
        // As the driver does.
        scheduler.after(microseconds: 2_000_000) { peer.end(nil) }
        guard let index = Int(request.address.dropFirst("node:".count)), nodes[index].isUp else {
            scheduler.after(microseconds: random.within(50...2_000)) { peer.end(nil) }
            return
        }
        let node = nodes[index]
        let link = SimulatedLink(
            node: index, shard: random.below(shardCount), incarnation: node.incarnation)
        link.peer = peer
        node.give(.accept(link), to: link.shard, incarnation: link.incarnation)
        clientSent(link, request.bytes)
    }

    func clientSent(_ link: SimulatedLink, _ bytes: [UInt8]) {
        guard link.state == .open else { return }
        for piece in cut(bytes) {
            let at = arrival(after: link.lastToServer)
            link.lastToServer = at
            scheduler.at(at) { [unowned self] in
                guard link.state == .open else { return }
                nodes[link.node].give(
                    .bytes(link, piece), to: link.shard, incarnation: link.incarnation)
            }
        }
    }

    func serverSent(_ link: SimulatedLink, _ bytes: [UInt8]) {
        guard link.state == .open else { return }
        if let peer = link.peer {
            let at = arrival(after: link.lastToClient)
            link.lastToClient = at
            scheduler.at(at) { peer.answer += bytes }
            return
        }
        guard let client = link.client else { return }
        for piece in cut(bytes) {
            let at = arrival(after: link.lastToClient)
            link.lastToClient = at
            scheduler.at(at) {
                if link.state == .open { client.received(link, piece) }
            }
        }
    }

    /// The server closed, or died: the client learns of it behind the bytes that are still on the
    /// way.
    func serverGone(_ link: SimulatedLink) {
        guard link.state == .open else { return }
        if let peer = link.peer {
            scheduler.at(arrival(after: link.lastToClient)) { peer.end(peer.answer) }
            return
        }
        guard let client = link.client else { return }
        scheduler.at(arrival(after: link.lastToClient)) {
            guard link.state == .open else { return }
            link.state = .reset
            client.connectionEnded(link)
        }
    }

    func serverHalfClosed(_ link: SimulatedLink) {
        guard link.state == .open, link.peer != nil || link.client != nil else { return }
        scheduler.at(arrival(after: link.lastToClient)) { [unowned self] in
            guard link.state == .open else { return }
            link.state = .reset
            link.client?.connectionEnded(link)
            link.peer?.end(link.peer?.answer)
            nodes[link.node].give(
                .ended(link), to: link.shard, incarnation: link.incarnation)
        }
    }

    /// The client's end is gone. Half-open: the server is not told.
    func clientGone(_ link: SimulatedLink, isHalfOpen: Bool) {
        guard link.state == .open else { return }
        link.state = isHalfOpen ? .halfOpen : .reset
        guard !isHalfOpen else { return }
        scheduler.after(microseconds: random.within(100...20_000)) { [unowned self] in
            nodes[link.node].give(
                .ended(link), to: link.shard, incarnation: link.incarnation)
        }
    }

    private func arrival(after last: UInt64) -> UInt64 {
        let delay = random.chance(5) ? random.within(1_000...80_000) : random.within(50...2_000)
        return max(last + 1, scheduler.now + UInt64(delay) * 1_000)
    }

    private func cut(_ bytes: [UInt8]) -> [[UInt8]] {
        guard bytes.count > 1, random.chance(30) else { return [bytes] }
        var pieces: [[UInt8]] = []
        var start = 0
        while start < bytes.count {
            let end = min(bytes.count, start + random.within(1...max(1, bytes.count / 2)))
            pieces.append(Array(bytes[start..<end]))
            start = end
        }
        return pieces
    }
}
