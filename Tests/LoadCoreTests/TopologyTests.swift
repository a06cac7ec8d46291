import LoadCore
import Testing

struct TopologyTests {
    private static func topology(_ text: String) throws -> Topology {
        Topology(try Scenario(text: text))
    }

    private static let shapes = [
        "layout = echo\nconnections = 7\ntraffic = message\nin-flight = 1",
        "layout = room\nconnections = 11\ntraffic = message\nrate = 1",
        "layout = rooms\nconnections = 25\nroom-size = 4\ntraffic = message\nrate = 1",
        "layout = group\nconnections = 40\nconnections-per-user = 3\nroom-size = 5\n"
            + "chats-per-user = 2\nsenders = 2\ntraffic = message\nrate = 1",
    ]

    @Test("Workers have every connection exactly once", arguments: shapes, [1, 2, 3, 5])
    func partition(text: String, workers: Int) throws {
        let topology = try Self.topology(text)
        let all = (0..<workers).flatMap { Array(topology.connections(of: $0, among: workers)) }
        #expect(all == Array(0..<topology.connections))
    }

    @Test("Blocks stay whole where there are enough of them", arguments: shapes, [1, 2, 3])
    func wholeBlocks(text: String, workers: Int) throws {
        let topology = try Self.topology(text)
        guard topology.isWhole(among: workers) else { return }
        for worker in 0..<workers {
            let mine = topology.connections(of: worker, among: workers)
            guard let first = mine.first, first > 0 else { continue }
            #expect(topology.block(of: first) != topology.block(of: first - 1))
        }
    }

    @Test("A room of everybody has one sender, rooms have as many as members")
    func senders() throws {
        let room = try Self.topology(Self.shapes[1])
        #expect(room.blocks == 1 && room.senderCount(in: 0..<11) == 1)
        let rooms = try Self.topology(Self.shapes[2])
        #expect(rooms.blocks == 7 && rooms.senderCount(in: 0..<25) == 25)
        #expect(rooms.users(in: 6) == 24..<25)
        let group = try Self.topology(Self.shapes[3])
        // 14 users in blocks of 5, 5 and 4, two senders each, one connection of each user.
        #expect(group.senderCount(in: 0..<40) == 6)
        #expect(group.channels == 6)
    }

    @Test("The slow are as many as asked for, evenly spread, and do not send")
    func slow() throws {
        let topology = try Self.topology(
            "layout = rooms\nconnections = 100\nslow = 0.1\ntraffic = message\nrate = 1")
        let slow = (0..<100).filter(topology.isSlow)
        #expect(slow.count == 10)
        #expect(zip(slow, slow.dropFirst()).allSatisfy { $1 - $0 == 10 })
        #expect(slow.allSatisfy { !topology.isSender($0) })
        #expect(topology.senderCount(in: 0..<100) == 90)
    }
}
