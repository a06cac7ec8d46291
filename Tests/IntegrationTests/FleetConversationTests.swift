import Basics
import Client
import ServerSupport
import Synchronization
import Testing
import Wire

/// Several instances are one to their clients.
struct FleetConversationTests {
    @Test(
        "Users at two instances talk: messages, typing, delivery and reading reach the other",
        arguments: Dialect.plain)
    func talk(dialect: Dialect) async throws {
        try await apart {
            let fleet = try Fleet()
            let chat = try fleet[0].api("alice").openDirectChat(with: "bob").id
            let alice = try fleet.client("alice", at: 0, device: "a1", dialect: dialect)
            let bob = try fleet.client("bob", at: 1, device: "b1", dialect: dialect)
            try alice.join(chat)
            try bob.join(chat)

            try alice.plain.send(text: Frames.typing(chat, isTyping: true))
            try check(try Self.typing(bob) == ["alice", "true"], "alice types")
            let sent = try alice.send("hello", to: chat, id: "m-1")
            try check(try Self.typing(bob) == ["alice", "false"], "alice has sent")
            let message = try bob.message()
            try check(
                message.id == sent.messageID && message.seq == 1 && message.sender == "alice"
                    && message.senderDevice == "a1" && message.createdAt == sent.createdAt
                    && message.content == "hello", "\(message) is not \(sent)")
            try bob.plain.send(text: Frames.delivered(chat, seq: 1))
            try check(try Self.receipt(alice).deliveredSeq == 1, "delivered")
            try bob.plain.send(text: Frames.read(chat, seq: 1))
            let read = try Self.receipt(alice)
            try check(read.readSeq == 1 && read.user == "bob", "\(read)")

            for number in 2...20 {
                let (from, to) = number.isMultiple(of: 2) ? (bob, alice) : (alice, bob)
                try from.send("\(number)", to: chat)
                var heard = try to.message()
                // Legacy clients hear their own messages too.
                while heard.seq < number { heard = try to.message() }
                try check(heard.seq == number && heard.content == "\(number)", "\(heard)")
            }
        }
    }

    private static func typing(_ client: TestClient) throws -> [String] {
        try client.next("typing") { event in
            if case .typing(_, let user, let isTyping) = event {
                [user, "\(isTyping)"]
            } else {
                nil
            }
        }
    }

    private static func receipt(_ client: TestClient) throws -> ServerEvent.Receipt {
        try client.next("receipt") { event in
            if case .receipt(let receipt) = event { receipt } else { nil }
        }
    }

    @Test("P3 What is sent at three instances at once arrives at all of them once and in one order")
    func oneOrder() async throws {
        try await apart {
            let fleet = try Fleet.together(.init(instances: 3))
            let report = try Talk.during(fleet) { talk in
                // What they had to ask when they first heard of each other is behind them then.
                try talk.awaitMessages(100)
                let gaps = try fleet.gaps()
                try talk.awaitMessages(150)
                try check(try fleet.gaps() == gaps, "a healthy bus has no gaps: \(gaps)")
            }
            try check(report.refusals == 0 && report.unknowns == 0, "\(report)")
        }
    }

    @Test("P3 The sends of a connection take their seqs in sending order, whatever others send")
    func sendingOrder() async throws {
        try await apart {
            let fleet = try Fleet()
            let chat = try fleet[0].api("alice").openDirectChat(with: "bob").id
            let clients = [
                try fleet.client("alice", at: 0), try fleet.client("bob", at: 1),
            ]
            for client in clients { try client.join(chat) }
            var asked: [[Int64]] = [[], []]
            for number in 1...100 {
                for (index, client) in clients.enumerated() {
                    asked[index].append(
                        try client.begin {
                            Frames.send(
                                "\(client.user) \(number)", to: chat, clientMessageID: nil, id: $0)
                        })
                }
            }
            var all: [Int64] = []
            for (client, ids) in zip(clients, asked) {
                let seqs = try ids.compactMap { try client.ack($0).seq }
                try check(seqs == seqs.sorted() && seqs.count == 100, "\(client.user): \(seqs)")
                all += seqs
            }
            try check(all.sorted() == Array(1...200), "the seqs are 1...200")
            for (index, client) in clients.enumerated() {
                let heard = try (1...100).map { _ in try client.message() }
                try check(
                    heard.map(\.content)
                        == (1...100).map { "\(clients[1 - index].user) \($0)" },
                    "\(client.user) hears the other's in order")
                try check(heard.map(\.seq) == heard.map(\.seq).sorted(), "seqs rise")
            }
        }
    }

    @Test("P4 The same message sent at two instances at once is stored once, and one ack says so")
    func sameMessageAtTwo() async throws {
        try await apart {
            let fleet = try Fleet()
            let chat = try fleet[0].api("alice").openDirectChat(with: "bob").id
            let clients = try [0, 1].map { try fleet.client("alice", at: $0) }
            let bob = try fleet.client("bob", at: 1)
            try bob.join(chat)
            for round in 1...30 {
                let asked = try clients.map { client in
                    try client.begin {
                        Frames.send("same", to: chat, clientMessageID: "m-\(round)", id: $0)
                    }
                }
                let acks = try zip(clients, asked).map { try $0.ack($1) }
                try check(
                    acks.allSatisfy { $0.seq == Int64(round) && $0.messageID == acks[0].messageID },
                    "\(acks)")
                try check(acks.count { $0.isDuplicate == true } == 1, "\(acks)")
                try check(acks.count { $0.isDuplicate == false } == 1, "\(acks)")
            }
            try bob.expect(Array(repeating: "same", count: 30), in: chat, from: 1)
            let other = try clients[1].request {
                Frames.send("another", to: chat, clientMessageID: "m-1", id: $0)
            }
            try check(other.problem?.code == "IDEMPOTENCY_CONFLICT", "\(other)")
            try check(try clients[0].send("next", to: chat).seq == 31, "no seq was burnt")
            try bob.expect(["next"], in: chat, from: 31)
        }
    }

    // MARK: What another instance has taken

    @Test("P2 History and resume are the same at an instance that took none of the messages")
    func resumeElsewhere() async throws {
        try await apart {
            let fleet = try Fleet()
            let chat = try fleet[0].api("alice").openDirectChat(with: "bob").id
            let alice = try fleet.client("alice", at: 0)
            let contents = (1...150).map { "message \($0)" }
            let bob = try fleet.client("bob", at: 0, device: "b")
            try bob.join(chat)
            for content in contents.prefix(3) { try alice.send(content, to: chat) }
            try bob.expect(Array(contents.prefix(3)), in: chat, from: 1)
            bob.plain.abort(reset: true)
            for content in contents.dropFirst(3) { try alice.send(content, to: chat) }
            let history = try Fleet.history(chat, of: "bob", at: fleet[1])
            try check(history.map(\.seq) == Array(1...150), "\(history.map(\.seq))")

            let back = try fleet.client("bob", at: 1, device: "b")
            let ack = try back.resume([(chat, 3)])
            try check(ack.refused.isEmpty, "\(ack)")
            // Live, behind what was missed.
            try alice.send("live", to: chat)
            try back.expect(contents.dropFirst(3) + ["live"], in: chat, from: 4)
            try check(try back.caughtUp()[chat] ?? 0 >= 150, "caughtUp")
        }
    }

    @Test("P8 A device's cursors and a user's receipts are shared by the instances")
    func sharedCursors() async throws {
        try await apart {
            let fleet = try Fleet()
            let chat = try fleet[0].api("alice").openDirectChat(with: "bob").id
            let alice = try fleet.client("alice", at: 0)
            try alice.join(chat)
            for number in 1...10 { try alice.send("\(number)", to: chat) }
            let first = try fleet.client("bob", at: 1, device: "b")
            try first.join(chat, since: 0)
            try first.request { Frames.delivered(chat, seq: 8, id: $0) }
            try first.request { Frames.read(chat, seq: 5, id: $0) }
            let back = try fleet.client("bob", at: 0, device: "b")
            let ack = try back.join(chat)
            try check(ack.readSeq == 5 && ack.lastSeq == 10, "\(ack)")
            for node in fleet.nodes {
                let bob = try node.api("alice").members(of: chat).first { $0.user == "bob" }
                try check(bob?.deliveredSeq == 8 && bob?.readSeq == 5, "\(String(describing: bob))")
            }
            // Behind what is known already: nobody is told of it.
            try back.request { Frames.read(chat, seq: 3, id: $0) }
            try back.request { Frames.read(chat, seq: 7, id: $0) }
            var read: [Int64] = []
            while read.last != 7 {
                if let seq = try Self.receipt(alice).readSeq { read.append(seq) }
            }
            try check(Set(read).isSubset(of: [5, 7]) && read == read.sorted(), "\(read)")
        }
    }

    // MARK: Membership

    @Test("Who is brought into a chat at another instance follows it unasked, from then on")
    func broughtIn() async throws {
        try await apart {
            let fleet = try Fleet()
            let bob = try fleet.client("bob", at: 0, dialect: .ws)
            let carol = try fleet.client("carol", at: 0, dialect: .ws)
            // They follow unasked from when their lists have been read: behind that is an answer.
            let own = try fleet[0].api("bob").createChat(type: "group", members: ["carol"]).id
            try bob.join(own)
            try carol.join(own)
            let alice = try fleet.client("alice", at: 1, dialect: .v1)
            let chat = try fleet[1].api("alice").createChat(type: "group", members: ["bob"]).id
            try alice.send("hello", to: chat)
            try bob.expect(["hello"], in: chat, from: 1)
            try fleet[1].api("alice").addMembers(["carol"], to: chat)
            try check(try Self.change(carol).user == "carol", "carol hears that she came")
            let second = try alice.send("to three", to: chat)
            try carol.expect(["to three"], in: chat, from: second.seq ?? 0)
            try bob.expect(["to three"], in: chat, from: second.seq ?? 0)
            try carol.send("thanks", to: chat)
            try check(try bob.message().content == "thanks", "carol may answer")
        }
    }

    private static func change(_ client: TestClient) throws -> ServerEvent.MembershipChange {
        try client.next("a change") { event in
            if case .changed(let change) = event { change } else { nil }
        }
    }

    @Test(
        "P14 Who is removed at one instance hears nothing behind that at any, and stays removed",
        arguments: Dialect.plain)
    func removed(dialect: Dialect) async throws {
        try await apart {
            let fleet = try Fleet()
            let api = try fleet[0].api("alice")
            let chat = try api.createChat(type: "group", members: ["bob", "carol"]).id
            let alice = try fleet.client("alice", at: 0)
            let bobs = try [0, 1].map { try fleet.client("bob", at: $0, dialect: dialect) }
            let carol = try fleet.client("carol", at: 1, dialect: dialect)
            for client in bobs + [carol] { try client.join(chat) }

            // Messages all the while: the removal is one entry among them.
            let isRemoved = Mutex(false)
            let sender: @Sendable () throws -> Void = {
                let client = try fleet.client("alice", at: 1)
                for _ in 1...2_000 {
                    try client.send("on", to: chat)
                    if isRemoved.withLock({ $0 }) { break }
                }
            }
            let remover: @Sendable () throws -> Void = {
                defer { isRemoved.withLock { $0 = true } }
                try fleet[0].api("alice").removeMember("bob", from: chat)
            }
            try inParallel([sender, remover])
            let last = try alice.send("without bob", to: chat)
            var removal: Int64 = 0
            while removal == 0 {
                let change = try Self.change(carol)
                if change.kind == "memberRemoved", change.user == "bob" { removal = change.seq }
            }
            var content = ""
            while content != "without bob" { content = try carol.message().content }

            for bob in bobs {
                let change = try Self.change(bob)
                try check(change.seq == removal && change.user == "bob", "\(change)")
                // Whatever came of it is there before the answer to what was asked after it.
                let refused = try bob.request {
                    Frames.send("still here", to: chat, clientMessageID: nil, id: $0)
                }
                try check(refused.problem?.code == "NOT_FOUND", "\(refused)")
                for case .message(let message) in bob.takeEvents() {
                    try check(
                        message.seq < removal,
                        "removed at \(removal), and heard \(message.seq) of \(last.seq ?? 0)")
                }
            }
            try check(
                try fleet[1].api("alice").members(of: chat).map(\.user).sorted()
                    == ["alice", "carol"], "the members")
        }
    }
}

extension Fleet {
    /// How often each instance had reason to compare its chats with the database.
    func gaps() throws -> [Int] { try nodes.map { try Metrics($0)["martlet_bus_gaps_total"] } }
}
