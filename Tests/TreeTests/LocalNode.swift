import Basics
import Domain
import Foundation
import Gateway
import HTTP
import Identity
import StoreCore
import StoreSQLite
import WebSocket

/// One shard, its commit lane and an embedded store in a temporary folder, driven by hand: no
/// socket, no thread, and a clock that moves when it is told to.
final class LocalNode {
    private let folder: URL
    private let store: SQLiteStore
    private let shard: GatewayShard
    private let minter: TokenMinter
    private var lane: CommitLane
    private var now = Now(
        instant: Instant(nanoseconds: 1_000_000_000),
        wall: WallTime(milliseconds: 1_800_000_000_000))
    private var received: [ConnectionKey: [UInt8]] = [:]
    private var closed: Set<ConnectionKey> = []

    init() throws {
        folder = FileManager.default.temporaryDirectory
            .appendingPathComponent("martlet-tree-\(UUID().uuidString)")
        store = try SQLiteStore.open(folder: folder.path)
        let secret = try Secret(String(repeating: "s", count: Secret.minimumCount))
        minter = TokenMinter(secret: secret)
        let limits = Limits()
        lane = CommitLane(limits: limits)
        shard = GatewayShard(
            index: 0, shardCount: 1,
            configuration: GatewayConfiguration(
                limits: limits, tokenKeys: [.hs256(secret)], version: "test", instance: 1),
            status: NodeStatus(shards: 1), busReachesOthers: false,
            random: SystemRandomNumberGenerator(), now: now)
    }

    deinit {
        store.close()
        try? FileManager.default.removeItem(at: folder)
    }

    func token(user: String, device: String?) throws -> String {
        try minter.mint(
            user: user, deviceId: device, lifetimeSeconds: 86_400,
            nowMilliseconds: now.wall.milliseconds)
    }

    // MARK: Sockets

    func connect() -> ConnectionKey? {
        tick { shard.accept(address: IPAddress(v4: 0x7F00_0001)) }
    }

    func send(_ bytes: [UInt8], to key: ConnectionKey) {
        var bytes = bytes
        tick {
            var span = bytes.mutableSpan
            shard.receive(key, &span)
        }
        settle()
    }

    func disconnect(_ key: ConnectionKey) {
        tick { shard.failed(key) }
        settle()
    }

    /// What has come and was not taken yet.
    func take(from key: ConnectionKey) -> [UInt8] {
        received.removeValue(forKey: key) ?? []
    }

    // MARK: Time

    func pass(milliseconds: Int) {
        now.instant = now.instant.advanced(byMilliseconds: milliseconds)
        now.wall.milliseconds += Int64(milliseconds)
        tick {}
        settle()
    }

    /// Ticks until nothing is to be done before time passes.
    private func settle() {
        while shard.hasUrgentWork || !lane.isIdle { tick {} }
    }

    private func tick<Result>(_ input: () -> Result) -> Result {
        shard.beginTick(now)
        let result = input()
        shard.endTick()
        carryOut(shard.takeOutput())
        unsafe shard.flush { key, chunks in
            var count = 0
            for index in 0..<chunks.count {
                unsafe received[key, default: []].append(contentsOf: chunks[index])
                unsafe count += chunks[index].count
            }
            return count
        }
        carryOut(shard.takeOutput())
        return result
    }

    private func carryOut(_ output: GatewayShard.Output) {
        for item in output.laneItems { precondition(lane.enqueue(item), "the lane is full") }
        while let batch = lane.nextBatch(now: now.instant) {
            store.submit(batch) { result in
                let answers = self.lane.complete(result, now: self.now.instant).map(\.answer)
                self.shard.receive(.answers(answers))
            }
        }
        for (_, mail) in output.mail { shard.receive(mail) }
        closed.formUnion(output.closed)
    }
}
