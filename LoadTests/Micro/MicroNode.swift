import Basics
import BusCore
import Domain
import Gateway
import HTTP
import Identity
import StoreCore
import TestSupport
import WebSocket

/// The shards of a node without sockets and threads: the same calls in the same order, on one
/// thread, so that its instructions can be counted. Its store is the tests' model, but for messages,
/// which are stored by a number alone: what a store costs is not what is counted here.
final class MicroNode {
    private let now = Now(
        instant: Instant(nanoseconds: 1_000_000_000_000),
        wall: WallTime(milliseconds: 1_767_225_600_000))
    private var shards: [GatewayShard] = []
    private var mail: [[ShardMail]]
    private let store = ModelStore()
    private let secret: Secret
    private let address: IPAddress
    private var scratch: [UInt8] = []
    private(set) var bytesWritten = 0
    private var written: [(ConnectionKey, Int)] = []
    private var seq: Seq = 0

    init(shards count: Int) {
        guard let address = IPAddress("203.0.113.1") else { preconditionFailure("no address") }
        self.address = address
        do throws(SecretError) {
            secret = try Secret("a-secret-of-benches-a-secret-of-benches")
        } catch {
            preconditionFailure("\(error)")
        }
        mail = Array(repeating: [], count: count)
        var limits = Limits()
        for name in ["connects", "http", "sends", "sendBurst", "joins", "socketsPerUser"] {
            if let complaint = limits.set(name, to: "off") { preconditionFailure(complaint) }
        }
        let configuration = GatewayConfiguration(
            limits: limits, tokenKeys: [.hs256(secret)], isBench: true, version: "0", instance: 7)
        let status = NodeStatus(shards: count)
        shards = (0..<count).map {
            GatewayShard(
                index: $0, shardCount: count, configuration: configuration, status: status,
                busReachesOthers: false, random: SystemRandomNumberGenerator(), now: now)
        }
    }

    // MARK: Setting up

    /// A connection that has become a WebSocket.
    func connect(_ target: String, shard: Int = 0, token: String? = nil) -> ConnectionKey {
        let key = accept(shard: shard)
        let before = bytesWritten
        give(key, Self.handshake(target, token: token).requestBytes(), to: shard)
        precondition(bytesWritten > before, "the handshake of \(target) is not answered")
        return key
    }

    static func handshake(_ target: String, token: String? = nil) -> ClientHandshake {
        ClientHandshake(
            host: "bench", target: target, nonce: Array(repeating: 1, count: 16),
            subprotocols: token == nil ? [] : ["martlet.v1"],
            fields: token.map { [("Authorization", "Bearer \($0)")] } ?? [])
    }

    /// A TCP connection that has said nothing yet.
    func accept(shard: Int) -> ConnectionKey {
        shards[shard].beginTick(now)
        guard let key = shards[shard].accept(address: address) else {
            preconditionFailure("the shard accepts no connection")
        }
        finishTick(shard)
        return key
    }

    /// Its peer has gone.
    func end(_ key: ConnectionKey) {
        shards[0].beginTick(now)
        shards[0].peerEnded(key)
        finishTick(0)
    }

    func token(_ user: String) -> String {
        do throws(TokenMintError) {
            return try TokenMinter(secret: secret).mint(
                user: user, lifetimeSeconds: 3_600, nowMilliseconds: now.wall.milliseconds)
        } catch {
            preconditionFailure("\(error.text)")
        }
    }

    func group(_ id: String, _ members: [String]) {
        _ = store.state.apply(
            Batch(operations: [
                .createConversation(
                    CreateConversation(
                        id: ChatID(trusted: id), kind: .group, name: nil,
                        creator: UserID(trusted: members[0]),
                        members: members.map { UserID(trusted: $0) }, createdAt: now.wall))
            ]))
        // The creation's entries come first in the log.
        seq = Seq(store.state.entries(of: ChatID(trusted: id)).count)
    }

    // MARK: Running

    /// Bytes arrive, and everything that follows from them happens.
    func give(_ key: ConnectionKey, _ bytes: [UInt8], to shard: Int = 0) {
        // A local one for as long as a span looks into it.
        var buffer: [UInt8] = []
        swap(&buffer, &scratch)
        buffer.removeAll(keepingCapacity: true)
        buffer.append(contentsOf: bytes)
        shards[shard].beginTick(now)
        var span = buffer.mutableSpan
        shards[shard].receive(key, &span)
        finishTick(shard)
        swap(&buffer, &scratch)
        run()
    }

    private func run() {
        while true {
            var isBusy = false
            for index in shards.indices where !mail[index].isEmpty || shards[index].hasUrgentWork {
                isBusy = true
                let items = mail[index]
                mail[index].removeAll(keepingCapacity: true)
                shards[index].beginTick(now)
                for item in items { shards[index].receive(item) }
                finishTick(index)
            }
            if !isBusy { return }
        }
    }

    private func finishTick(_ index: Int) {
        shards[index].endTick()
        carryOut(shards[index].takeOutput(), index)
        // As where the kernel takes many writes at once: what became of them is told later.
        unsafe shards[index].flush { key, chunks in
            var count = 0
            for chunk in 0..<chunks.count { unsafe count += chunks[chunk].count }
            written.append((key, count))
            return nil
        } settle: { tell in
            for (key, count) in written {
                bytesWritten += count
                tell(key, count, count)
            }
            written.removeAll(keepingCapacity: true)
        }
        carryOut(shards[index].takeOutput(), index)
    }

    private func carryOut(_ output: GatewayShard.Output, _ index: Int) {
        if !output.laneItems.isEmpty {
            let answers = output.laneItems.map {
                LaneAnswer(ticket: $0.ticket, result: .outcome(perform($0.operation)))
            }
            mail[index].append(.answers(answers))
        }
        if !output.publications.isEmpty {
            for (home, batch) in InProcessBus.byHome(
                output.publications, shards: shards.count, from: index)
            {
                mail[home].append(.bus(.publications(batch)))
            }
        }
        for (shard, item) in output.mail { mail[shard].append(item) }
    }

    private func perform(_ operation: Operation) -> Outcome {
        guard case .append(let append) = operation else {
            return store.state.apply(Batch(operations: [operation]))[0]
        }
        seq += 1
        return .appended(
            LogEntry(
                chat: append.chat, seq: seq, id: append.id, author: append.author,
                device: append.device, createdAt: append.createdAt, body: .message(append.message)))
    }
}
