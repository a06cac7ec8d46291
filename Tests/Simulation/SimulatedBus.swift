import Basics
import BusCore
import Domain

/// The Redis of the simulation: one broker that all nodes talk to, which drops, repeats, delays and
/// reorders what is published, loses its links, and sometimes lies hung, swallowing what it is told
/// or keeping it until it wakes.
///
/// What a node asks for (`subscribe`) and what it is told arrives in order on its link, as over TCP;
/// publications of different links overtake each other, as do, in a faulty time, those of one.
final class SimulatedBus {
    enum Word {
        case publication(Publication)
        case digest(Digest)
    }

    enum Hang {
        case none, swallows
        case keeps(until: UInt64)
    }

    private struct Link {
        /// Counts the link's lives: what was under way when it broke is gone.
        var life = 0
        var isUp = false
        var subscribed: Set<Channel> = []
        /// It was taken its subscriptions, and not told.
        var isDeaf = false
        var lastToBroker: UInt64 = 0
        var lastToNode: UInt64 = 0
    }

    private unowned let world: World
    private var random: SeededRandom
    private var links: [Link]
    private var hang = Hang.none
    private var isDown = false
    private var isolatedUntil: [UInt64]

    init(world: World, nodes: Int, random: SeededRandom) {
        self.world = world
        self.random = random
        links = Array(repeating: Link(), count: nodes)
        isolatedUntil = Array(repeating: 0, count: nodes)
    }

    // MARK: Faults

    /// One fault, for up to two seconds.
    func hurt() {
        switch random.below(6) {
        case 0:
            let node = random.below(links.count)
            world.trace("the bus loses the link of node \(node)")
            breakLink(node)
        case 1:
            world.trace("the bus goes down")
            isDown = true
            for node in links.indices { breakLink(node) }
            world.scheduler.after(microseconds: random.within(10_000...2_500_000)) {
                [unowned self] in
                isDown = false
            }
        case 2:
            world.trace("the bus hangs and swallows")
            hang = .swallows
            recoverLater()
        case 3:
            let until = world.scheduler.now + UInt64(random.within(10_000...6_000_000)) * 1_000
            world.trace("the bus hangs and keeps")
            hang = .keeps(until: until)
            world.scheduler.at(until) { [unowned self] in hang = .none }
        case 4:
            // Alone: it cannot come back, and the others hear nothing of it.
            let node = random.below(links.count)
            world.trace("node \(node) is cut off from the bus")
            isolatedUntil[node] =
                world.scheduler.now + UInt64(random.within(500_000...25_000_000)) * 1_000
            breakLink(node)
        default:
            // One-way: nothing reaches this node for a while, and nobody is told.
            let node = random.below(links.count)
            world.trace("node \(node) hears nothing of the bus")
            links[node].subscribed = []
            links[node].isDeaf = true
            world.scheduler.after(microseconds: random.within(1_000_000...5_000_000)) {
                [unowned self] in breakLink(node)
            }
        }
    }

    private func recoverLater() {
        world.scheduler.after(microseconds: random.within(10_000...6_000_000)) { [unowned self] in
            hang = .none
            // A broker that comes back empty has lost every subscription.
            for node in links.indices { breakLink(node) }
        }
    }

    func heal() {
        isDown = false
        hang = .none
        // Who was cut off without a word finds out by the keep-alive of TCP. Who is isolated stays
        // so for a while: what they commit must not have to wait for that.
        for node in links.indices where links[node].isDeaf { breakLink(node) }
    }

    private func breakLink(_ node: Int) {
        guard links[node].isUp else { return }
        drop(node)
        let life = links[node].life
        world.scheduler.after(microseconds: random.within(100...50_000)) { [unowned self] in
            guard links[node].life == life else { return }
            world.busLinkDown(node)
            connect(node)
        }
    }

    private func drop(_ node: Int) {
        links[node].life += 1
        links[node].isUp = false
        links[node].isDeaf = false
        links[node].subscribed = []
    }

    // MARK: Links

    /// The node, newly started or having lost its link, wants one.
    func connect(_ node: Int) {
        drop(node)
        let life = links[node].life
        world.scheduler.after(microseconds: random.within(200...60_000)) { [unowned self] in
            guard links[node].life == life else { return }
            guard !isDown, world.scheduler.now >= isolatedUntil[node], case .none = hang else {
                connect(node)
                return
            }
            links[node].isUp = true
            world.busLinkUp(node)
        }
    }

    /// The node's process is gone.
    func forget(_ node: Int) { drop(node) }

    // MARK: Words

    func subscribe(_ node: Int, _ channels: [Channel]) {
        toBroker(node) { [unowned self] in
            for channel in channels { links[node].subscribed.insert(channel) }
            toNode(node) { node in for channel in channels { node.busSubscribed(channel) } }
        }
    }

    func unsubscribe(_ node: Int, _ channels: [Channel]) {
        toBroker(node) { [unowned self] in
            for channel in channels { links[node].subscribed.remove(channel) }
        }
    }

    func publish(_ node: Int, _ word: Word) {
        guard links[node].isUp else { return }
        toBroker(node) { [unowned self] in spread(word) }
    }

    private func spread(_ word: Word) {
        for node in links.indices where links[node].isUp {
            switch word {
            case .publication(let publication):
                guard links[node].subscribed.contains(publication.channel) else { continue }
            case .digest:
                break
            }
            if world.isFaulty, random.chance(4) { continue }
            let copies = world.isFaulty && random.chance(4) ? 2 : 1
            for _ in 0..<copies { deliver(word, to: node) }
        }
    }

    private func deliver(_ word: Word, to node: Int) {
        if world.isFaulty, random.chance(10) {
            // It overtakes, or is overtaken.
            let life = links[node].life
            world.scheduler.after(microseconds: random.within(100...400_000)) { [unowned self] in
                guard links[node].life == life, links[node].isUp else { return }
                world.busHeard(node, word)
            }
            return
        }
        toNode(node) { $0.busHeard(word) }
    }

    private func toBroker(_ node: Int, _ action: @escaping () -> Void) {
        guard links[node].isUp else { return }
        let life = links[node].life
        let delay = UInt64(random.within(20...(random.chance(5) ? 20_000 : 300))) * 1_000
        let at = max(links[node].lastToBroker + 1, world.scheduler.now + delay)
        links[node].lastToBroker = at
        world.scheduler.at(at) { [unowned self] in arrive(node, life, action) }
    }

    private func arrive(_ node: Int, _ life: Int, _ action: @escaping () -> Void) {
        guard links[node].life == life else { return }
        switch hang {
        case .none: action()
        case .swallows: break
        case .keeps(let until):
            world.scheduler.at(until + 1) { [unowned self] in arrive(node, life, action) }
        }
    }

    private func toNode(_ node: Int, _ action: @escaping (SimulatedNode) -> Void) {
        let life = links[node].life
        let delay = UInt64(random.within(20...(random.chance(5) ? 20_000 : 300))) * 1_000
        let at = max(links[node].lastToNode + 1, world.scheduler.now + delay)
        links[node].lastToNode = at
        world.scheduler.at(at) { [unowned self] in
            guard links[node].life == life, links[node].isUp else { return }
            world.withNode(node, action)
        }
    }
}
