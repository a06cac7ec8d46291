import Client
import ServerSupport
import Testing
import Wire

/// Many connections over several shards: the kernel spreads them, so what one sends crosses over to
/// the others' threads.
struct ShardTests {
    @Test(
        "P3 Each of 40 connections in a group gets each of 500 messages once and in order",
        arguments: [2, 3])
    func oneGroup(shards: Int) throws {
        var options = TestServer.Options()
        options.shards = shards
        let server = try TestServer(options)
        let users = (0..<40).map { "user\($0)" }
        let chat = try server.api(users[0])
            .createChat(type: "group", members: Array(users.dropFirst())).id
        let clients = try users.map { try TestClient(server, user: $0) }
        for client in clients { try client.join(chat) }

        let senders = clients.prefix(5)
        var asked: [String: [Int64]] = [:]
        for number in 1...100 {
            for sender in senders {
                asked[sender.user, default: []].append(
                    try sender.begin {
                        Frames.send(
                            "\(sender.user) \(number)", to: chat, clientMessageID: nil, id: $0)
                    })
            }
            if number.isMultiple(of: 10) { for client in clients { try client.pumpAll() } }
        }
        var contents: [Int64: String] = [:]
        for sender in senders {
            for (index, id) in (asked[sender.user] ?? []).enumerated() {
                let seq = try #require(try sender.ack(id).seq)
                #expect(contents[seq] == nil, "a seq is given once")
                contents[seq] = "\(sender.user) \(index + 1)"
            }
            let own = contents.filter { $0.value.hasPrefix("\(sender.user) ") }.keys.sorted()
            #expect(own.compactMap { contents[$0] } == (1...100).map { "\(sender.user) \($0)" })
        }
        #expect(contents.keys.sorted() == Array(1...500))
        for client in clients {
            let expected = contents.filter { !$0.value.hasPrefix("\(client.user) ") }
            var heard: [Int64] = []
            while heard.count < expected.count {
                let message = try client.message()
                #expect(contents[message.seq] == message.content)
                heard.append(message.seq)
            }
            #expect(heard == expected.keys.sorted(), "\(client.user)")
        }
        try Self.nothingMore(clients, chat, seq: 501)
    }

    /// A last message: what comes before it is all there was.
    private static func nothingMore(
        _ clients: [TestClient], _ chat: String, seq: Int64
    ) throws {
        try clients[0].send("the last", to: chat)
        for client in clients.dropFirst() {
            #expect(try client.message().seq == seq, "\(client.user) heard something twice")
        }
    }

    @Test("30 users in 30 chats hear all that is said in theirs, in order, and nothing else")
    func manyChats() throws {
        let server = try TestServer()
        let users = (0..<30).map { "user\($0)" }
        var chats: [(id: String, members: [Int])] = []
        for number in 0..<30 {
            let members = [0, 1, 4, 11, 17].map { (number + $0) % 30 }
            let id = try server.api(users[number])
                .createChat(type: "group", members: members.dropFirst().map { users[$0] }).id
            chats.append((id, members))
        }
        // They follow all their chats unasked; an ack of a join comes after that has begun.
        let clients = try users.map { try TestClient(server, user: $0, dialect: .ws) }
        for (number, client) in clients.enumerated() { try client.join(chats[number].id) }

        var said: [String: Int] = [:]
        for round in 1...5 {
            for (id, members) in chats {
                for member in members {
                    _ = try clients[member].begin {
                        Frames.send("\(round)", to: id, clientMessageID: nil, id: $0)
                    }
                    said[id, default: 0] += 1
                }
            }
            for client in clients { try client.pumpAll() }
        }
        for (number, client) in clients.enumerated() {
            let own = chats.filter { $0.members.contains(number) }
            let expected = own.reduce(0) { $0 + (said[$1.id] ?? 0) }
            var heard: [String: [Int64]] = [:]
            for _ in 0..<expected {
                let message = try client.message()
                heard[message.chat, default: []].append(message.seq)
            }
            #expect(Set(heard.keys) == Set(own.map(\.id)), "\(client.user)")
            for (id, seqs) in heard { #expect(seqs == Array(1...Int64(said[id] ?? 0))) }
        }
    }

    @Test("P4 The same message from two connections at the same time is stored once")
    func sameMessageTwice() throws {
        let server = try TestServer()
        let chat = try server.api("alice").openDirectChat(with: "bob").id
        let clients = try (0..<8).map { _ in try TestClient(server, user: "alice") }
        for round in 1...20 {
            let asked = try clients.map { client in
                try client.begin {
                    Frames.send("same", to: chat, clientMessageID: "m-\(round)", id: $0)
                }
            }
            let acks = try zip(clients, asked).map { try $0.ack($1) }
            #expect(Set(acks.map(\.messageID)).count == 1)
            #expect(acks.allSatisfy { $0.seq == Int64(round) })
            #expect(acks.count { $0.isDuplicate == false } == 1)
        }
    }
}
