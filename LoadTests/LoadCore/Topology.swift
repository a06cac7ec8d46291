/// Who is where: connections, users, rooms ("blocks"), channels, and which worker has whom.
///
/// Users stand in blocks of one size; a user has one or more connections; a block shares one or more
/// channels (chats, or one room). All of it is arithmetic, so that no worker needs a table.
package struct Topology: Sendable, Equatable {
    package let connections: Int
    package let perUser: Int
    package let users: Int
    /// Users a block; the last one may have fewer.
    package let blockSize: Int
    package let blocks: Int
    package let channelsPerBlock: Int
    /// The first users of a block send.
    package let sendersPerBlock: Int
    private let slow: Double

    package init(_ scenario: Scenario) {
        connections = scenario.connections
        perUser = scenario.connectionsPerUser
        users = (connections + perUser - 1) / perUser
        blockSize = min(scenario.effectiveRoomSize, users)
        blocks = (users + blockSize - 1) / blockSize
        channelsPerBlock = scenario.effectiveChatsPerUser
        sendersPerBlock = min(scenario.effectiveSenders, blockSize)
        slow = scenario.slow
    }

    package func user(of connection: Int) -> Int { connection / perUser }
    package func block(of connection: Int) -> Int { connection / perUser / blockSize }
    /// The place of its user in the block.
    package func rank(of connection: Int) -> Int { connection / perUser % blockSize }
    package func users(in block: Int) -> Range<Int> {
        (block * blockSize)..<min(users, (block + 1) * blockSize)
    }
    package func channel(_ block: Int, _ index: Int) -> Int { block * channelsPerBlock + index }
    package var channels: Int { blocks * channelsPerBlock }

    /// Whether it stops reading in the measured window: spread evenly over all connections.
    package func isSlow(_ connection: Int) -> Bool {
        guard slow > 0 else { return false }
        return Int(Double(connection + 1) * slow) > Int(Double(connection) * slow)
    }

    /// One connection of each of the first users of a block; nobody sends who does not read.
    package func isSender(_ connection: Int) -> Bool {
        connection % perUser == 0 && rank(of: connection) < sendersPerBlock && !isSlow(connection)
    }

    /// The connections of a worker. Whole blocks, unless there are fewer blocks than workers.
    package func connections(of worker: Int, among workers: Int) -> Range<Int> {
        let size = perUser * (blocks >= workers ? blockSize : 1)
        let units = (connections + size - 1) / size
        let first = units * worker / workers * size
        let end = units * (worker + 1) / workers * size
        return min(first, connections)..<min(end, connections)
    }

    /// Whether a worker has all connections of each of its blocks.
    package func isWhole(among workers: Int) -> Bool { blocks >= workers }

    /// The senders of all, for dividing a rate.
    package func senderCount(in range: Range<Int>) -> Int { range.count(where: isSender) }
}
