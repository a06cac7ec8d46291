import Basics
import BusCore
import Domain
import Gateway
import HTTP
import Identity
import StoreCore
import TestSupport

/// One gateway process under virtual time: shards, their mailboxes, the commit lane and its end of
/// the bus, with the gateway's own code unchanged inside. It can die at any boundary between two effects; then only
/// the store is left.
final class SimulatedNode {
    enum Input {
        case accept(SimulatedLink)
        case bytes(SimulatedLink, [UInt8])
        case ended(SimulatedLink)
        case writable(ConnectionKey)
        case mail(ShardMail)
        case peerAnswer(SubscriberKey, [UInt8]?)
    }

    let index: Int
    private unowned let world: World
    /// nil where the node is alone.
    private let bus: SimulatedBus?
    private var relay: BusRelay?
    private var relayDeadline: UInt64?
    private let configuration: GatewayConfiguration
    private let shardCount: Int
    private(set) var isUp = false
    private(set) var incarnation = 0
    private(set) var instance: UInt64 = 0
    private var shards: [GatewayShard] = []
    private var inputs: [[Input]] = []
    private var isTickDue: [Bool] = []
    private var deadlines: [UInt64?] = []
    private var links: [[UInt64: SimulatedLink]] = []
    private var heldWrites = HeldWrites()
    private var lane: CommitLane
    /// When the last mail from a sender to a receiver arrives: one sender's mail keeps its order.
    /// The lane is the last sender but one, the bus the last.
    private var lastArrival: [[UInt64]] = []
    private var random: SeededRandom
    private var effects = 0
    private var diesAtEffect: Int?

    init(
        index: Int, world: World, bus: SimulatedBus?, configuration: GatewayConfiguration,
        shards: Int, random: SeededRandom
    ) {
        self.index = index
        self.bus = bus
        self.world = world
        self.configuration = configuration
        shardCount = shards
        self.random = random
        lane = CommitLane(limits: configuration.limits)
    }

    // MARK: Life

    func start() {
        incarnation += 1
        isUp = true
        world.trace("node \(index) starts, incarnation \(incarnation)")
        var configuration = configuration
        configuration.instance = random.next() | 1
        configuration.isStoreShared = bus != nil
        instance = configuration.instance
        let status = NodeStatus(shards: shardCount)
        shards = (0..<shardCount).map { index in
            GatewayShard(
                index: index, shardCount: shardCount, configuration: configuration,
                status: status, busReachesOthers: bus != nil, random: random.fork(), now: world.now)
        }
        inputs = Array(repeating: [], count: shardCount)
        isTickDue = Array(repeating: false, count: shardCount)
        deadlines = Array(repeating: nil, count: shardCount)
        links = Array(repeating: [:], count: shardCount)
        lane = CommitLane(limits: configuration.limits)
        lastArrival = Array(
            repeating: Array(repeating: 0, count: shardCount + 2), count: shardCount + 2)
        relayDeadline = nil
        if let bus {
            relay = BusRelay(
                instance: configuration.instance, address: "node:\(index)", shards: shardCount,
                now: world.now.instant)
            turnRelay { _, _ in }
            bus.connect(index)
        }
    }

    /// The process dies at the boundary before the effect that is so many away.
    func dieSoon(withinEffects count: Int) { diesAtEffect = effects + count }

    func cancelDeath() { diesAtEffect = nil }

    private func die() {
        guard isUp else { return }
        isUp = false
        effects = 0
        diesAtEffect = nil
        world.trace("node \(index) dies")
        bus?.forget(index)
        relay = nil
        var lost = links.flatMap { $0.sorted { $0.key < $1.key }.map(\.value) }
        // Who is in the backlog, accepted by the kernel alone, is reset too.
        for input in inputs.joined() {
            if case .accept(let link) = input { lost.append(link) }
        }
        inputs = Array(repeating: [], count: shardCount)
        links = Array(repeating: [:], count: shardCount)
        for link in lost { world.serverGone(link) }
        world.nodeDied(index)
    }

    /// Whether the process still lives after this boundary.
    private func survives() -> Bool {
        effects += 1
        if effects == diesAtEffect {
            die()
            return false
        }
        return isUp
    }

    // MARK: In

    func give(_ input: Input, to shard: Int, incarnation: Int) {
        guard isUp, incarnation == self.incarnation else { return }
        inputs[shard].append(input)
        wake(shard, inMicroseconds: random.within(1...300))
    }

    private func wake(_ shard: Int, inMicroseconds delay: Int) {
        guard !isTickDue[shard] else { return }
        isTickDue[shard] = true
        let incarnation = incarnation
        // Now and then the kernel lets a thread wait.
        let pause = world.isFaulty && random.chance(2) ? random.within(1_000...30_000) : 0
        world.scheduler.after(microseconds: delay + pause) { [unowned self] in
            guard isUp, self.incarnation == incarnation else { return }
            isTickDue[shard] = false
            tick(shard)
        }
    }

    private func tick(_ index: Int) {
        let shard = shards[index]
        let incarnation = incarnation
        shard.beginTick(world.now)
        let given = inputs[index]
        inputs[index] = []
        let mark = shard.flushMark
        for input in given {
            take(input, shard, index)
            // Answers may go out before the others are looked at.
            if random.chance(20) { flush(shard, index, since: mark) }
            guard isUp, self.incarnation == incarnation else { return }
        }
        shard.endTick()
        carryOut(shard.takeOutput(), index)
        guard isUp, self.incarnation == incarnation else { return }
        flush(shard, index)
        guard isUp, self.incarnation == incarnation else { return }
        carryOut(shard.takeOutput(), index)
        guard isUp, self.incarnation == incarnation else { return }
        scheduleDeadline(shard, index)
    }

    private func take(_ input: Input, _ shard: GatewayShard, _ index: Int) {
        switch input {
        case .accept(let link):
            guard
                let key = shard.accept(
                    address: IPAddress(v4: 0x7F00_0001), isInternal: link.peer != nil)
            else {
                world.serverGone(link)
                return
            }
            link.key = key.packed
            links[index][key.packed] = link
        case .bytes(let link, let bytes):
            guard let key = link.key, !link.serverClosed else { return }
            var bytes = bytes
            var span = bytes.mutableSpan
            shard.receive(ConnectionKey(packed: key), &span)
        case .ended(let link):
            guard let key = link.key, !link.serverClosed else { return }
            shard.failed(ConnectionKey(packed: key))
        case .writable(let key):
            shard.writable(key)
        case .mail(let mail):
            shard.receive(mail)
        case .peerAnswer(let key, let bytes):
            shard.receive(peerAnswer: bytes, for: key)
        }
    }

    private func scheduleDeadline(_ shard: GatewayShard, _ index: Int) {
        guard let deadline = shard.nextDeadline() else { return }
        if shard.hasUrgentWork {
            wake(index, inMicroseconds: 1)
            return
        }
        if let known = deadlines[index], known <= deadline.nanoseconds, known > world.scheduler.now
        {
            return
        }
        deadlines[index] = deadline.nanoseconds
        let incarnation = incarnation
        world.scheduler.at(deadline.nanoseconds) { [unowned self] in
            guard isUp, self.incarnation == incarnation else { return }
            deadlines[index] = nil
            if !isTickDue[index] { tick(index) }
        }
    }

    // MARK: Out

    private func carryOut(_ output: GatewayShard.Output, _ index: Int) {
        if !output.laneItems.isEmpty {
            guard survives() else { return }
            post(from: index, to: shardCount) { node in node.take(output.laneItems) }
        }
        let batches = InProcessBus.byHome(output.publications, shards: shardCount, from: index)
        if bus != nil, !output.interests.isEmpty {
            guard survives() else { return }
            post(from: index, to: shardCount + 1) { node in
                node.turnRelay { $0.change(output.interests, effects: &$1) }
            }
        }
        for (home, batch) in batches {
            guard survives() else { return }
            mail(.bus(.publications(batch)), from: index, to: home)
        }
        if bus != nil, !output.publications.isEmpty {
            guard survives() else { return }
            post(from: index, to: shardCount + 1) { node in
                node.turnRelay { $0.publish(output.publications, effects: &$1) }
            }
        }
        for (shard, item) in output.mail {
            guard survives() else { return }
            mail(item, from: index, to: shard)
        }
        for request in output.peerRequests {
            guard survives() else { return }
            let incarnation = incarnation
            world.ask(request) { [unowned self] answer in
                give(
                    .peerAnswer(request.session, answer), to: index, incarnation: incarnation)
            }
        }
        for key in output.halfClosed {
            if let link = links[index][key.packed] { world.serverHalfClosed(link) }
        }
        for key in output.closed {
            guard let link = links[index].removeValue(forKey: key.packed) else { continue }
            link.serverClosed = true
            world.serverGone(link)
        }
    }

    private func mail(_ mail: ShardMail, from: Int, to shard: Int) {
        post(from: from, to: shard) { node in
            node.give(.mail(mail), to: shard, incarnation: node.incarnation)
        }
    }

    private func post(
        from: Int, to: Int, _ arrive: @escaping (SimulatedNode) -> Void
    ) {
        let delay = UInt64(random.within(1...(random.chance(10) ? 5_000 : 200))) * 1_000
        let at = max(world.scheduler.now + delay, lastArrival[from][to] + 1)
        lastArrival[from][to] = at
        let incarnation = incarnation
        world.scheduler.at(at) { [unowned self] in
            guard isUp, self.incarnation == incarnation else { return }
            arrive(self)
        }
    }

    /// - Parameter mark: only who was given something since then; nil for all.
    private func flush(_ shard: GatewayShard, _ index: Int, since mark: Int? = nil) {
        func write(
            _ key: ConnectionKey, _ chunks: UnsafeBufferPointer<UnsafeRawBufferPointer>
        ) -> Int? {
            // The kernel may take several at once: then nobody knows yet.
            if unsafe random.chance(50) && heldWrites.hold(key.packed, chunks) { return nil }
            var bytes: [UInt8] = []
            for chunk in 0..<chunks.count { unsafe bytes.append(contentsOf: chunks[chunk]) }
            return self.write(key, bytes, index)
        }
        func settle(_ tell: (ConnectionKey, Int, Int) -> Void) {
            heldWrites.settle {
                self.write(ConnectionKey(packed: $0), $1, index)
            } _: {
                tell(ConnectionKey(packed: $0), $1, $2)
            }
        }
        if let mark {
            unsafe shard.flushReplies(since: mark, write, settle: settle)
        } else {
            unsafe shard.flush(write, settle: settle)
        }
    }

    private func write(_ key: ConnectionKey, _ offered: [UInt8], _ index: Int) -> Int {
        guard isUp, survives() else { return 0 }
        guard let link = links[index][key.packed] else { return offered.count }
        if link.state == .reset { return -1 }
        var bytes = offered
        if random.chance(5), bytes.count > 1 {
            // The socket is full for a moment.
            bytes.removeLast(random.within(1...(bytes.count - 1)))
            let incarnation = incarnation
            world.scheduler.after(microseconds: random.within(100...5_000)) { [unowned self] in
                give(.writable(key), to: index, incarnation: incarnation)
            }
        }
        world.serverSent(link, bytes)
        return bytes.count
    }

    // MARK: The bus

    /// A round of the thread that the bus lives on.
    private func turnRelay(_ body: (inout BusRelay, inout [BusRelay.Effect]) -> Void) {
        guard isUp, relay != nil else { return }
        var effects: [BusRelay.Effect] = []
        body(&relay!, &effects)
        relay!.turn(world.now.instant, effects: &effects)
        for effect in effects {
            guard survives() else { return }
            switch effect {
            case .publish(let publication): bus?.publish(index, .publication(publication))
            case .publishDigest(let digest): bus?.publish(index, .digest(digest))
            case .subscribe(let channels): bus?.subscribe(index, channels)
            case .unsubscribe(let channels): bus?.unsubscribe(index, channels)
            case .tell(let shard, let news): mail(.bus(news), from: shardCount + 1, to: shard)
            }
        }
        guard let due = relay?.deadline?.nanoseconds else { return }
        if let known = relayDeadline, known <= due, known > world.scheduler.now { return }
        relayDeadline = due
        let incarnation = incarnation
        world.scheduler.at(due) { [unowned self] in
            guard isUp, self.incarnation == incarnation else { return }
            relayDeadline = nil
            turnRelay { _, _ in }
        }
    }

    func busLinkUp() { turnRelay { $0.linkUp(self.world.now.instant, effects: &$1) } }

    func busLinkDown() { turnRelay { $0.linkDown(self.world.now.instant, effects: &$1) } }

    func busSubscribed(_ channel: Channel) {
        turnRelay { $0.subscribed(channel, self.world.now.instant, effects: &$1) }
    }

    func busHeard(_ word: SimulatedBus.Word) {
        turnRelay {
            switch word {
            case .publication(let publication): $0.received(publication)
            case .digest(let digest):
                $0.received(digest, self.world.now.instant, effects: &$1)
            }
        }
    }

    // MARK: The commit lane

    private func take(_ items: [LaneItem]) {
        var refused: [(shard: Int, answer: LaneAnswer)] = []
        for item in items where !lane.enqueue(item) {
            refused.append((item.shard, LaneAnswer(ticket: item.ticket, result: .notStored)))
        }
        answer(refused)
        pump()
    }

    private func pump() {
        guard isUp, let batch = lane.nextBatch(now: world.now.instant) else { return }
        let incarnation = incarnation
        let fate = world.nextFate()
        let seen = configuration.planted.contains(.lockAndDecisionInOne) ? world.store : nil
        // Now and then the database takes its time, and other nodes commit meanwhile.
        let isSlow = world.isFaulty && random.chance(4)
        let duration = random.within(isSlow ? 5_000...400_000 : 50...2_000)
        world.scheduler.after(microseconds: duration) { [unowned self] in
            guard isUp, self.incarnation == incarnation, survives() else { return }
            var result: BatchResult
            let failure = StoreFailure(.inputOutput, "simulated")
            switch fate {
            case .commits: result = .committed(world.store.apply(batch, decidingOn: seen))
            case .commitsSilently:
                announce(world.store.apply(batch, decidingOn: seen))
                result = .unknown(failure)
            case .vanishes: result = .unknown(failure)
            case .fails:
                result = batch.attempt > 1 ? .unknown(failure) : .notStored(failure)
            }
            if case .committed(let outcomes) = result {
                world.committed(outcomes)
                announce(outcomes)
            }
            world.scheduler.after(microseconds: random.within(10...500)) { [unowned self] in
                guard isUp, self.incarnation == incarnation, survives() else { return }
                answer(lane.complete(result, now: world.now.instant))
                guard let retryAt = lane.retryAt else {
                    pump()
                    return
                }
                world.scheduler.at(retryAt.nanoseconds) { [unowned self] in
                    if self.incarnation == incarnation { pump() }
                }
            }
        }
    }

    /// What the database tells the other nodes at COMMIT, while the bus does not.
    private func announce(_ outcomes: [Outcome]) {
        guard let relay, !relay.isHealthy, !configuration.planted.contains(.cutOffAndSilent)
        else { return }
        for outcome in outcomes {
            switch outcome {
            case .appended(let entry): world.notify(.written(entry.chat), from: index)
            case .cursor(let receipt?, _, _): world.notify(.written(receipt.chat), from: index)
            case .membership(let entries):
                for entry in entries {
                    world.notify(.written(entry.chat), from: index)
                    if case .membership(let change) = entry.body, !change.endsMembership {
                        world.notify(.arrived(change.user), from: index)
                    }
                }
            default: break
            }
        }
    }

    /// Of another node, by the database.
    func notified(_ news: BusNews) {
        let channel: Channel
        switch news {
        case .written(let chat): channel = .chat(chat)
        case .arrived(let user): channel = .user(user)
        default: return
        }
        guard isUp else { return }
        give(.mail(.bus(news)), to: channel.home(of: shardCount), incarnation: incarnation)
    }

    private func answer(_ answers: [(shard: Int, answer: LaneAnswer)]) {
        var byShard = [[LaneAnswer]](repeating: [], count: shardCount)
        for (shard, answer) in answers { byShard[shard].append(answer) }
        for (shard, batch) in byShard.enumerated() where !batch.isEmpty {
            guard survives() else { return }
            mail(.answers(batch), from: shardCount, to: shard)
        }
    }
}

/// What becomes of a batch.
enum Fate {
    case commits
    /// Committed, and the reply lost.
    case commitsSilently
    /// Not committed, and nobody can say so.
    case vanishes
    /// Certainly not stored.
    case fails
}
