import Basics
import BusCore
import Domain
import Gateway
import HTTP
import Identity
import StoreCore
import TestSupport
import Testing

/// A whole node under a clock that the test moves: shards, their mailboxes, the commit lane and the
/// model store, run to a standstill after each thing that happens. Nothing sleeps.
final class TestNode {
    /// What becomes of a batch.
    enum Fate {
        case commits
        /// Committed, and the reply is lost.
        case commitsSilently
        /// Not committed, and nobody can say so.
        case vanishes
        /// Certainly not stored.
        case fails
    }

    enum Input {
        case bytes(ConnectionKey, [UInt8])
        case ended(ConnectionKey)
        case writable(ConnectionKey)
        case mail(ShardMail)
        case peerAnswer(SubscriberKey, [UInt8]?)
    }

    private(set) var now = Now(
        instant: Instant(nanoseconds: 1_000_000_000_000),
        wall: WallTime(milliseconds: 1_767_225_600_000))
    let limits: Limits
    let status: NodeStatus
    let instance: UInt64
    private(set) var shards: [GatewayShard] = []
    private var lane: CommitLane
    private let secret: Secret
    private var inputs: [[Input]]
    private var sockets: [[UInt64: TestSocket]]

    let store: ModelStore
    /// Decides what becomes of each batch.
    var fate: (Batch) -> Fate = { _ in .commits }
    /// While true the store works, and its answers wait.
    var holdsAnswers = false { didSet { if !holdsAnswers { run() } } }
    private var held: BatchResult?
    /// The batches that the store was given, resubmissions too.
    private(set) var batches: [Batch] = []

    /// What the shards asked of a bus that others share; nil where the node is alone.
    private(set) var interests: [InterestChange]?
    /// What was given to that bus.
    private(set) var published: [Publication] = []
    /// While true a follow holds as soon as it is asked for.
    var followsHold = true

    /// While true no shard's publications get to homes on others.
    var losesPublications = false

    /// After so many inputs of a tick, what answers them is written before the next; nil: never.
    var repliesAfter: Int?
    /// False: each write is made when it is offered.
    var holdsWrites = true
    private var heldWrites = HeldWrites()
    /// How many were held each time that the shard asked what had become of them.
    private(set) var settled: [Int] = []

    /// Connections that go to another instance.
    private(set) var tunnels: [Tunnel] = []
    /// The other instances, by the addresses of their internal listeners.
    var others: [String: TestNode] = [:]
    /// What comes from where none of them is.
    var says: [UInt8]?
    /// What was asked of them.
    private(set) var peerRequests: [PeerRequest] = []
    /// Connections that a shard handed to another.
    private(set) var handovers = 0

    /// While true nothing runs by itself; `tick` is called by the test.
    private var isGathering = false

    init(
        shards count: Int = 1, limits overrides: [String: String] = [:],
        origins: [String] = [], trusting proxies: [String] = [], isBench: Bool = false,
        isShared: Bool = false, instance: UInt64 = 77, store: ModelStore = ModelStore()
    ) {
        self.store = store
        self.instance = instance
        interests = isShared ? [] : nil
        var limits = Limits()
        for (name, text) in overrides {
            if let complaint = limits.set(name, to: text) { preconditionFailure(complaint) }
        }
        self.limits = limits
        secret = Self.makeSecret("a-secret-of-tests-a-secret-of-tests")
        status = NodeStatus(shards: count)
        lane = CommitLane(limits: limits)
        inputs = Array(repeating: [], count: count)
        sockets = Array(repeating: [:], count: count)
        var configuration = GatewayConfiguration(
            limits: limits, tokenKeys: [.hs256(secret)], allowedOrigins: origins,
            forwardedFor: ForwardedFor(trusted: proxies.map(Self.block)), isBench: isBench,
            version: "1.2.3", instance: instance, isStoreShared: isShared, isBridged: isShared)
        configuration.tunnelKeys = [Self.makeSecret("a-deployment-of-tests-a-deployment")]
        shards = (0..<count).map { index in
            GatewayShard(
                index: index, shardCount: count, configuration: configuration, status: status,
                busReachesOthers: isShared,
                random: Numbers(seed: UInt64(index) + 1), now: now)
        }
    }

    private static func makeSecret(_ text: String) -> Secret {
        do throws(SecretError) { return try Secret(text) } catch { preconditionFailure("\(error)") }
    }

    private static func block(_ text: String) -> CIDR {
        do throws(CIDR.ParseError) {
            return try CIDR(text)
        } catch {
            preconditionFailure("\(error)")
        }
    }

    // MARK: Time

    /// Moves both clocks on, with every timer on the way.
    func advance(_ milliseconds: Int) {
        let target = now.instant.advanced(byMilliseconds: milliseconds)
        while true {
            var next = target
            for shard in shards {
                if let deadline = shard.nextDeadline(), deadline > now.instant {
                    next = min(next, deadline)
                }
            }
            if let retry = lane.retryAt, retry > now.instant { next = min(next, retry) }
            move(to: next)
            run()
            if next == target { return }
        }
    }

    private func move(to instant: Instant) {
        let passed = instant.nanoseconds(since: now.instant) / 1_000_000
        now = Now(
            instant: instant,
            wall: WallTime(milliseconds: now.wall.milliseconds + Int64(passed)))
    }

    /// Sets the wall clock alone: somebody corrected it.
    func jumpWall(_ milliseconds: Int64) {
        now.wall.milliseconds += milliseconds
    }

    // MARK: Connections

    /// A TCP connection; nil where the shard has no place for it.
    func accept(
        shard: Int = 0, address: String = "203.0.113.1", isInternal: Bool = false
    ) -> TestSocket? {
        guard let address = IPAddress(address) else { preconditionFailure("no address") }
        let gateway = shards[shard]
        gateway.beginTick(now)
        let key = gateway.accept(address: address, isInternal: isInternal)
        let socket = key.map { TestSocket(node: self, shard: shard, key: $0) }
        if let socket { sockets[shard][socket.key.packed] = socket }
        finishTick(shard)
        run()
        return socket
    }

    func connect(
        shard: Int = 0, address: String = "203.0.113.1", isInternal: Bool = false
    ) -> TestSocket {
        guard let socket = accept(shard: shard, address: address, isInternal: isInternal) else {
            preconditionFailure("the shard accepts no connection")
        }
        return socket
    }

    func give(_ input: Input, to shard: Int) {
        inputs[shard].append(input)
        run()
    }

    /// Everything that is given inside arrives in one tick; the test may also call `tick` itself.
    func together(_ body: () -> Void) {
        isGathering = true
        body()
        isGathering = false
        run()
    }

    // MARK: The tick

    func run() {
        guard !isGathering else { return }
        for _ in 0..<100_000 {
            var isBusy = pumpLane()
            for index in shards.indices where isDue(index) {
                tick(index)
                isBusy = true
            }
            if !isBusy { return }
        }
        Issue.record("the node does not come to rest")
    }

    private func isDue(_ index: Int) -> Bool {
        if !inputs[index].isEmpty || shards[index].hasUrgentWork { return true }
        guard let deadline = shards[index].nextDeadline() else { return false }
        return deadline <= now.instant
    }

    func tick(_ index: Int) {
        let shard = shards[index]
        shard.beginTick(now)
        let given = inputs[index]
        inputs[index] = []
        let mark = shard.flushMark
        for (place, input) in given.enumerated() {
            if let repliesAfter, place > 0, place.isMultiple(of: repliesAfter) {
                unsafe shard.flushReplies(since: mark) { key, chunks in
                    unsafe write(key, chunks, index)
                } settle: { tell in
                    settle(index, tell)
                }
            }
            switch input {
            case .bytes(let key, let bytes):
                var bytes = bytes
                var span = bytes.mutableSpan
                shard.receive(key, &span)
            case .ended(let key): shard.peerEnded(key)
            case .writable(let key): shard.writable(key)
            case .mail(let mail): shard.receive(mail)
            case .peerAnswer(let key, let bytes): shard.receive(peerAnswer: bytes, for: key)
            }
        }
        finishTick(index)
    }

    private func finishTick(_ index: Int) {
        let shard = shards[index]
        shard.endTick()
        carryOut(shard.takeOutput(), index)
        unsafe shard.flush { key, chunks in
            unsafe write(key, chunks, index)
        } settle: { tell in
            settle(index, tell)
        }
        carryOut(shard.takeOutput(), index)
    }

    private func write(
        _ key: ConnectionKey, _ chunks: UnsafeBufferPointer<UnsafeRawBufferPointer>, _ index: Int
    ) -> Int? {
        if unsafe holdsWrites && heldWrites.hold(key.packed, chunks) { return nil }
        guard let socket = sockets[index][key.packed] else { return -1 }
        return unsafe socket.take(chunks)
    }

    private func settle(_ index: Int, _ tell: (ConnectionKey, Int, Int) -> Void) {
        settled.append(heldWrites.count)
        heldWrites.settle {
            self.sockets[index][$0]?.take($1) ?? -1
        } _: {
            tell(ConnectionKey(packed: $0), $1, $2)
        }
    }

    private func carryOut(_ output: GatewayShard.Output, _ index: Int) {
        for item in output.laneItems where !lane.enqueue(item) {
            inputs[index].append(
                .mail(.answers([LaneAnswer(ticket: item.ticket, result: .notStored)])))
        }
        if interests != nil {
            interests?.append(contentsOf: output.interests)
            published += output.publications
            for case .follow(let channel, let ticket) in output.interests where followsHold {
                inputs[index].append(.mail(.bus(.following(channel, ticket: ticket))))
            }
        }
        for (home, batch) in InProcessBus.byHome(
            output.publications, shards: shards.count, from: index)
        where !losesPublications {
            inputs[home].append(.mail(.bus(.publications(batch))))
        }
        for (shard, mail) in output.mail { inputs[shard].append(.mail(mail)) }
        for (key, home, moved) in output.handedOver {
            guard let socket = sockets[index].removeValue(forKey: key.packed) else { continue }
            guard let new = shards[home].adopt(moved) else {
                socket.isClosed = true
                continue
            }
            handovers += 1
            socket.move(to: home, as: new)
            sockets[home][new.packed] = socket
            inputs[home].append(.bytes(new, moved.bytes))
        }
        tunnels += output.tunnels.map(\.1)
        for request in output.peerRequests {
            peerRequests.append(request)
            inputs[index].append(.peerAnswer(request.session, ask(request)))
        }
        for key in output.halfClosed { sockets[index][key.packed]?.isHalfClosed = true }
        for key in output.closed {
            sockets[index].removeValue(forKey: key.packed)?.isClosed = true
        }
    }

    /// As the driver does: a connection to the other's internal listener, until it ends.
    private func ask(_ request: PeerRequest) -> [UInt8]? {
        guard let other = others[request.address] else { return says }
        let socket = other.connect(isInternal: true)
        socket.send(request.bytes)
        return socket.takeBytes()
    }

    // MARK: The store

    /// Whether the lane did something.
    private func pumpLane() -> Bool {
        if let result = held, !holdsAnswers {
            held = nil
            complete(result)
            return true
        }
        guard held == nil else { return false }
        guard let batch = lane.nextBatch(now: now.instant) else { return false }
        batches.append(batch)
        let result = submit(batch)
        if holdsAnswers {
            held = result
        } else {
            complete(result)
        }
        return true
    }

    /// Gives out the answer that waits, and holds back the next one.
    func releaseOne() {
        guard let result = held else { return }
        held = nil
        complete(result)
        run()
    }

    private func submit(_ batch: Batch) -> BatchResult {
        let failure = StoreFailure(.unavailable, "told to fail")
        switch fate(batch) {
        case .commits: return .committed(store.state.apply(batch))
        case .commitsSilently:
            _ = store.state.apply(batch)
            return .unknown(failure)
        case .vanishes: return .unknown(failure)
        case .fails: return .notStored(failure)
        }
    }

    private func complete(_ result: BatchResult) {
        for (shard, answer) in lane.complete(result, now: now.instant) {
            inputs[shard].append(.mail(.answers([answer])))
        }
        if case .failing(let failure) = lane.health {
            status.set(failure: failure)
        } else {
            status.set(failure: nil)
        }
    }

    /// Has the store do something behind the node's back, as another instance would.
    @discardableResult
    func commit(_ operation: Operation) -> Outcome {
        store.state.apply(Batch(operations: [operation]))[0]
    }

    /// What another instance publishes arrives at the channel's home.
    func arrive(_ content: Publication.Content, on channel: Channel) {
        give(
            .mail(
                .bus(
                    .publications([
                        Publication(
                            channel: channel, content: content,
                            origin: Origin(instance: 99, subscriber: 5))
                    ]))), to: channel.home(of: shards.count))
    }

    /// The bus says something to every shard.
    func tell(_ news: BusNews) {
        for shard in shards.indices { give(.mail(.bus(news)), to: shard) }
    }

    /// A backend speaks on the public name of a channel.
    func say(_ json: String, on channel: Channel) {
        give(
            .mail(.bus(.foreign(channel, Array(json.utf8)))), to: channel.home(of: shards.count))
    }

    // MARK: Chats

    /// A group, its first member the owner.
    func group(_ id: String, _ members: [String]) {
        commit(
            .createConversation(
                CreateConversation(
                    id: ChatID(trusted: id), kind: .group, name: nil,
                    creator: UserID(trusted: members[0]),
                    members: members.map { UserID(trusted: $0) }, createdAt: now.wall)))
    }

    /// Another instance's message: committed, and not yet heard of here.
    @discardableResult
    func append(_ chat: String, by author: String, _ content: String) -> LogEntry {
        numbers += 1
        let outcome = commit(
            .append(
                AppendMessage(
                    id: MessageID(trusted: "other-\(instance)-\(numbers)"),
                    chat: ChatID(trusted: chat),
                    author: UserID(trusted: author), device: DeviceID(trusted: "elsewhere"),
                    clientMessageID: nil, createdAt: now.wall,
                    message: Message(encryptedContent: Array(content.utf8), type: "text"))))
        guard case .appended(let entry) = outcome else { preconditionFailure("\(outcome)") }
        return entry
    }

    /// Another instance changes the members.
    @discardableResult
    func change(
        _ chat: String, _ kind: MembershipChange.Kind, _ user: String, by author: String
    ) -> [LogEntry] {
        numbers += 1
        let outcome = commit(
            .changeMembership(
                ChangeMembership(
                    chat: ChatID(trusted: chat), author: UserID(trusted: author),
                    device: DeviceID(trusted: "elsewhere"), kind: kind,
                    users: [UserID(trusted: user)],
                    entryIDs: [MessageID(trusted: "other-\(instance)-\(numbers)")],
                    maximumMembers: 10_000,
                    at: now.wall)))
        guard case .membership(let entries) = outcome else { preconditionFailure("\(outcome)") }
        return entries
    }

    private var numbers = 0
    var addresses = 0

    func log(_ chat: String) -> [LogEntry] { store.state.entries(of: ChatID(trusted: chat)) }

    /// The contents of a chat's messages.
    func contents(_ chat: String) -> [String] {
        log(chat).compactMap { entry in
            guard case .message(let message) = entry.body else { return nil }
            return String(decoding: message.encryptedContent, as: UTF8.self)
        }
    }

    // MARK: Tokens

    func token(
        _ user: String, device: String? = nil, seconds: Int64 = 3_600, role: String? = nil,
        issued: Int64 = 0
    ) -> String {
        do throws(TokenMintError) {
            return try TokenMinter(secret: secret).mint(
                user: user, deviceId: device, role: role, lifetimeSeconds: seconds,
                nowMilliseconds: now.wall.milliseconds + issued * 1_000)
        } catch {
            preconditionFailure("\(error.text)")
        }
    }

    /// A token that ended before the leeway.
    func expiredToken(_ user: String) -> String { token(user, seconds: 1, issued: -62) }

    func counter(_ counter: Counter) -> Int {
        shards.reduce(0) { $0 + $1.counters[counter] }
    }
}

/// SplitMix64: the same numbers from the same seed.
struct Numbers: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }
}
