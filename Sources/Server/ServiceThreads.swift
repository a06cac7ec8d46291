import Basics
import BusCore
import BusRedis
import Domain
import Gateway
import Logging
import Reactor
import StoreCore
import StorePostgres
import StoreSQLite

/// The threads of what is neither a shard nor a client: the commit lane with its store, and the bus.
///
///     embedded store     lane:  SQLite blocks it, so it has the thread to itself
///                        io:    Redis, where there is one
///     Postgres           io:    the lane, Postgres and Redis on one loop
struct ServiceThreads {
    private let links: ShardLinks
    private var threads: [JoinOnce] = []

    /// Opens the store, or says why not. When this returns the lane takes operations.
    init(
        _ configuration: Configuration, _ instance: UInt64, reachedAt: String?,
        _ links: ShardLinks,
        _ status: NodeStatus
    ) throws(StartError) {
        self.links = links
        if configuration.databaseURL != nil {
            threads.append(
                try Self.start(
                    "io", configuration, instance, reachedAt: reachedAt, links, status,
                    hasLane: true, hasBus: true))
            return
        }
        threads.append(
            try Self.start(
                "lane", configuration, instance, reachedAt: reachedAt, links, status, hasLane: true,
                hasBus: false))
        if configuration.redis != nil {
            threads.append(
                try Self.start(
                    "io", configuration, instance, reachedAt: reachedAt, links, status,
                    hasLane: false, hasBus: true))
        }
    }

    /// The shards have ended. What they submitted is committed, then the store is closed; the bus is
    /// last, because it says to the others that all was said.
    func stop() {
        links.lane.post(.stop, bytes: 0, canRefuse: false)
        // On threads of their own the bus must not end before the lane; on one they have their order.
        if threads.count > 1 { threads[0].join() }
        links.shared?.mailbox.post(.stop, bytes: 0, canRefuse: false)
        for thread in threads { thread.join() }
    }

    private static func start(
        _ name: String, _ configuration: Configuration, _ instance: UInt64, reachedAt: String?,
        _ links: ShardLinks,
        _ status: NodeStatus, hasLane: Bool, hasBus: Bool
    ) throws(StartError) -> JoinOnce {
        let opened = Handover<StartError?>()
        let thread: JoinOnce
        do throws(SystemError) {
            thread = try JoinOnce(name: name) {
                // What lives on this thread is made on it.
                var services: Services
                do throws(StartError) {
                    services = try Services(
                        configuration, instance, reachedAt: reachedAt, links, status,
                        hasLane: hasLane, hasBus: hasBus)
                } catch {
                    opened.give(error)
                    return
                }
                opened.give(nil)
                do throws(SystemError) {
                    try services.run()
                } catch {
                    links.log.critical(
                        "a service thread failed",
                        metadata: ["thread": "\(name)", "error": "\(error)"])
                    System.die()
                }
            }
        } catch {
            throw StartError("\(error)")
        }
        if let failure = opened.wait() {
            thread.join()
            throw failure
        }
        return thread
    }
}

/// What lives on one of the threads, from its making to its end.
private struct Services {
    private let loop: EventLoop
    private var lane: LaneDriver?
    private var bus: BusDriver?
    private var closeStore: () -> Void = {}
    /// Whether the store is to tell the other instances what it commits.
    private var announce: (Bool) -> Void = { _ in }

    init(
        _ configuration: Configuration, _ instance: UInt64, reachedAt: String?,
        _ links: ShardLinks,
        _ status: NodeStatus, hasLane: Bool, hasBus: Bool
    ) throws(StartError) {
        do throws(SystemError) {
            loop = try EventLoop()
        } catch {
            throw StartError("\(error)")
        }
        if hasLane {
            let store = try openStore(configuration, links)
            do throws(SystemError) {
                let lane = try LaneDriver(
                    store: store, loop: loop, links: links, status: status,
                    limits: configuration.limits)
                loop.add(lane)
                self.lane = lane
            } catch {
                throw StartError("\(error)")
            }
        }
        guard hasBus, let shared = links.shared, let address = configuration.redis else { return }
        do throws(SystemError) {
            let bus = try BusDriver(
                bus: shared, address: address, bridge: configuration.bridge, instance: instance,
                reachedAt: reachedAt,
                loop: loop, links: links, status: status)
            let announce = announce
            bus.onHealth = { announce(!$0) }
            loop.add(bus)
            self.bus = bus
        } catch {
            throw StartError("\(error)")
        }
    }

    private mutating func openStore(
        _ configuration: Configuration, _ links: ShardLinks
    ) throws(StartError) -> any Store {
        do throws(StoreFailure) {
            guard let url = configuration.databaseURL else {
                let store = try SQLiteStore.open(folder: configuration.data)
                closeStore = { store.close() }
                return store
            }
            let store = try PostgresStore.open(
                url: url, loop: loop, random: SystemRandomNumberGenerator())
            let shards = links.mailboxes.count
            store.onNotice = { notice in
                switch notice {
                case .chat(let chat):
                    links.post(.bus(.written(chat)), to: Channel.chat(chat).home(of: shards))
                case .user(let user):
                    links.post(.bus(.arrived(user)), to: Channel.user(user).home(of: shards))
                }
            }
            // Until the bus says that it works; without one there is nobody else to hear.
            store.announcesWrites = links.shared != nil
            announce = { store.announcesWrites = $0 }
            store.onConnected = {
                // What was written meanwhile, by services that only tell the database.
                for shard in 0..<shards { links.post(.bus(.gap), to: shard) }
            }
            closeStore = { store.close() }
            return store
        } catch {
            throw StartError(error.text)
        }
    }

    /// Until told to stop.
    mutating func run() throws(SystemError) {
        while !(lane?.isDone ?? true) { try loop.runOnce() }
        if let bus {
            while !bus.mayEnd { try loop.runOnce() }
            bus.end()
            while !bus.isStopped { try loop.runOnce() }
        }
        closeStore()
    }
}
