import Basics
import BusCore
import Domain
import Gateway
import Testing
import Wire

@Suite("Topics: subscribing, and what backends say on job:{id}")
struct TopicTests {
    private func node(
        _ limits: [String: String] = [:], shards: Int = 2, isShared: Bool = true
    ) -> TestNode {
        TestNode(shards: shards, limits: limits, isShared: isShared)
    }

    private func topic(_ id: String) throws -> Channel {
        .topic(try #require(TopicName("job:\(id)")))
    }

    private func list(_ ids: String...) -> JSONValue { list(ids) }

    private func list(_ ids: [String]) -> JSONValue {
        ["topics": .array(ids.map { .string("job:\($0)") })]
    }

    private func update(_ number: Int) -> String {
        #"{"type":"JOB_UPDATE","payload":{"n":\#(number)}}"#
    }

    /// What was asked of the bus about topics, those of each in their order: `+job:1`, `-job:1`.
    private func interests(_ node: TestNode) -> [String] {
        let asked: [(topic: String, sign: String)] = (node.interests ?? []).compactMap { change in
            switch change {
            case .follow(.topic(let topic), _): (topic.text, "+")
            case .unfollow(.topic(let topic)): (topic.text, "-")
            default: nil
            }
        }
        // Of two topics the homes may be two shards.
        return Set(asked.map(\.topic)).sorted().flatMap { topic in
            asked.filter { $0.topic == topic }.map { $0.sign + topic }
        }
    }

    /// The numbers of the updates that came since the last call, from either dialect.
    private func numbers(_ socket: TestSocket) -> [Int?] {
        socket.events().map { event in
            (event.type == "topic.event" ? event.payload["payload"] : event.payload)["n"].intValue
        }
    }

    // MARK: Delivery

    @Test("An update reaches the subscribers on every shard, each in its dialect, and nobody else")
    func delivery() throws {
        let node = node(shards: 3)
        let sockets = [
            node.client("alice"), node.client("alice", dialect: .ws, shard: 1),
            node.client("bob", shard: 2), node.client("carol", dialect: .ws),
        ]
        let other = node.client("alice", shard: 1)
        #expect(other.ask("topic.subscribe", list("43")).ok == true)
        for (socket, type) in zip(
            sockets, ["topic.subscribe", "SUBSCRIBE", "subscribe", "TOPIC_SUBSCRIBE"])
        {
            #expect(socket.ask(type, list("42")) == ["ok": true, "topics": ["job:42"]])
        }
        node.say(update(1), on: try topic("42"))
        for (socket, type) in zip(
            sockets, ["topic.event", "JOB_UPDATE", "topic.event", "JOB_UPDATE"])
        {
            let events = socket.events()
            #expect(events.map(\.type) == [type])
            let whole: JSONValue = ["topic": "job:42", "type": "JOB_UPDATE", "payload": ["n": 1]]
            #expect(events.first?.payload == (type == "JOB_UPDATE" ? ["n": 1] : whole))
        }
        #expect(other.events().isEmpty)
        #expect(node.counter(.foreignEvents) == 1 && node.counter(.foreignUnreadable) == 0)
    }

    @Test("Updates come in the order in which the topic's home heard them")
    func order() throws {
        let node = node()
        let socket = node.client("alice", shard: 1)
        #expect(socket.ask("topic.subscribe", list("42")).ok == true)
        node.together { for number in 1...50 { try? node.say(update(number), on: topic("42")) } }
        #expect(numbers(socket) == Array(1...50))
    }

    @Test(
        "Garbage on a topic is counted and dropped, and what comes after it arrives",
        arguments: [
            "", "no json", #"{"type":"JOB_UPDATE"}"#, #"{"type":"JOB_UPDATE","payload":7}"#,
            #"{"type":"JOB_CLOSED","payload":{}}"#, #"{"type":"disconnect"}"#,
            #"{"type":"notification","payload":{}}"#, String(repeating: "[", count: 100_000),
        ])
    func garbage(text: String) throws {
        let node = node()
        let socket = node.client("alice", dialect: .ws)
        #expect(socket.ask("SUBSCRIBE", list("42")).ok == true)
        node.say(text, on: try topic("42"))
        #expect(socket.events().isEmpty && socket.closeCode == nil)
        #expect(node.counter(.foreignUnreadable) == 1 && node.counter(.foreignEvents) == 0)
        node.say(update(2), on: try topic("42"))
        #expect(numbers(socket) == [2])
    }

    @Test("What an instance of ours said there is nothing new")
    func own() throws {
        let node = node()
        let socket = node.client("alice")
        #expect(socket.ask("topic.subscribe", list("42")).ok == true)
        node.say(#"{"origin":"martlet","type":"JOB_UPDATE","payload":{}}"#, on: try topic("42"))
        #expect(socket.events().isEmpty && node.counter(.foreignUnreadable) == 0)
    }

    @Test("A chat, a user and a topic of one name are three channels")
    func namesakes() throws {
        let node = node()
        node.group("job:42", ["job:42", "bob"])
        let member = node.member("job:42", of: "job:42")
        let subscriber = node.client("bob")
        #expect(subscriber.ask("topic.subscribe", list("42")).ok == true)
        node.say(update(1), on: try topic("42"))
        #expect(member.events().isEmpty && numbers(subscriber) == [1])
    }

    // MARK: Ends

    @Test("After unsubscribing nothing comes; the ack names what was asked, followed or not")
    func unsubscribe() throws {
        let node = node()
        let socket = node.client("alice", dialect: .ws)
        #expect(socket.ask("SUBSCRIBE", list("1", "2", "3")).ok == true)
        #expect(
            socket.ask("UNSUBSCRIBE", list("2", "9"))
                == ["ok": true, "topics": ["job:2", "job:9"]])
        for id in ["1", "2", "3"] { node.say(update(Int(id) ?? 0), on: try topic(id)) }
        #expect(numbers(socket) == [1, 3])
        #expect(socket.ask("SUBSCRIBE", list("2")).ok == true)
        node.say(update(4), on: try topic("2"))
        #expect(numbers(socket) == [4])
    }

    @Test("Without an id both are silent, and work")
    func silent() throws {
        let node = node()
        let socket = node.client("alice")
        socket.say("topic.subscribe", list("1"))
        node.say(update(1), on: try topic("1"))
        socket.say("topic.unsubscribe", list("1"))
        node.say(update(2), on: try topic("1"))
        #expect(numbers(socket) == [1])
    }

    @Test("The bus is asked once an instance, and let go with the last subscriber")
    func interest() throws {
        let node = node(shards: 3)
        let sockets = (0..<3).map { node.client("user-\($0)", shard: $0) }
        for socket in sockets { #expect(socket.ask("topic.subscribe", list("42")).ok == true) }
        let second = node.client("user-0")
        #expect(second.ask("topic.subscribe", list("42", "42")).ok == true)
        #expect(interests(node) == ["+job:42"])
        #expect(sockets[0].ask("topic.unsubscribe", list("42")).ok == true)
        second.end()
        sockets[1].send(TestSocket.close(1000))
        #expect(interests(node) == ["+job:42"])
        sockets[2].end()
        #expect(interests(node) == ["+job:42", "-job:42"])
        #expect(sockets[0].ask("topic.subscribe", list("42")).ok == true)
        node.say(update(1), on: try topic("42"))
        #expect(numbers(sockets[0]) == [1])
        #expect(interests(node) == ["+job:42", "-job:42", "+job:42"])
    }

    @Test("Subscribing again is no second subscription: updates come once, one end ends it")
    func again() throws {
        let node = node(["topics": "2"])
        let socket = node.client("alice", shard: 1)
        for _ in 0..<3 {
            #expect(socket.ask("topic.subscribe", list("1", "2")).ok == true)
        }
        #expect(node.counter(.subscriptions) == 3)  // and the user's own channel
        node.say(update(7), on: try topic("1"))
        #expect(numbers(socket) == [7])
        #expect(socket.ask("topic.unsubscribe", list("1")).ok == true)
        node.say(update(8), on: try topic("1"))
        #expect(numbers(socket).isEmpty)
        #expect(node.counter(.subscriptions) == 2)
    }

    // MARK: Waiting

    @Test("The ack waits until the bus follows; a later request waits behind it")
    func waiting() throws {
        let node = node()
        node.followsHold = false
        let socket = node.client("alice")
        socket.say("topic.subscribe", list("1"), id: 1)
        socket.say("topic.unsubscribe", list("1"), id: 2)
        socket.say("topic.subscribe", list("1", "2"), id: 3)
        #expect(socket.answer(to: 1) == .missing && socket.answer(to: 2) == .missing)
        try hold("1", node)
        #expect(socket.answer(to: 1).ok == true && socket.answer(to: 2).ok == true)
        #expect(socket.answer(to: 3) == .missing)
        // It was let go and asked for anew: the first follow's answer says nothing any more.
        #expect(interests(node) == ["+job:1", "-job:1", "+job:1", "+job:2"])
        try hold("2", node)
        #expect(socket.answer(to: 3) == .missing)
        try hold("1", node)
        #expect(socket.answer(to: 3).topics == ["job:1", "job:2"])
        node.say(update(1), on: try topic("1"))
        node.say(update(2), on: try topic("2"))
        #expect(numbers(socket) == [1, 2])
    }

    /// The bus says that the latest follow of a topic holds.
    private func hold(_ id: String, _ node: TestNode) throws {
        let channel = try topic(id)
        var latest: UInt64?
        for case .follow(channel, let ticket) in node.interests ?? [] { latest = ticket }
        node.give(
            .mail(.bus(.following(channel, ticket: try #require(latest)))),
            to: channel.home(of: node.shards.count))
    }

    @Test("Who goes while waiting leaves nothing behind, and the next one is served")
    func goneWhileWaiting() throws {
        let node = node()
        node.followsHold = false
        let gone = node.client("alice")
        gone.say("topic.subscribe", list("1", "2"), id: 1)
        gone.say("topic.subscribe", list("3"), id: 2)
        gone.end()
        #expect(interests(node) == ["+job:1", "-job:1", "+job:2", "-job:2"])
        let next = node.client("bob")
        next.say("topic.subscribe", list("1"), id: 1)
        try hold("1", node)
        #expect(next.answer(to: 1).ok == true)
        next.end()
        #expect(interests(node).prefix(5) == ["+job:1", "-job:1", "+job:1", "-job:1", "+job:2"])
        #expect(node.counter(.subscriptions) == 0)
    }

    @Test("While the store is away a topic is subscribed to all the same, also behind a join")
    func storeAway() throws {
        let node = node()
        node.group("c1", ["alice", "bob"])
        let socket = node.client("alice")
        node.holdsAnswers = true
        socket.say("chat.join", ["chatId": "c1"], id: 1)
        #expect(socket.ask("topic.subscribe", list("1")).ok == true)
        node.say(update(1), on: try topic("1"))
        #expect(numbers(socket) == [1])
        node.holdsAnswers = false
        #expect(socket.answer(to: 1).ok == true)
    }

    @Test("An instance that is alone takes subscriptions too", arguments: [1, 3])
    func alone(shards: Int) {
        let node = node(shards: shards, isShared: false)
        for shard in 0..<shards {
            let socket = node.client("alice", shard: shard)
            let ids = (0..<20).map(String.init)
            #expect(socket.ask("topic.subscribe", list(ids)).topics.elements.count == 20)
            #expect(socket.ask("topic.unsubscribe", list(ids)).ok == true)
        }
    }

    // MARK: Limits

    @Test(
        "A connection has as many topics as the limit, by one command or by many",
        arguments: [(2, true), (3, true), (4, false)])
    func limit(count: Int, isTaken: Bool) throws {
        let ids = (0..<count).map(String.init)
        let whole = node(["topics": "3"]).client("alice")
        let answer = whole.ask("topic.subscribe", list(ids))
        #expect((answer.ok == true) == isTaken)
        #expect(isTaken || answer.error.code == "RATE_LIMITED")
        #expect(isTaken || (answer.error.retryAfterMs.intValue ?? 0) > 0)
        let single = node(["topics": "3"]).client("alice", dialect: .ws)
        for id in ids {
            let answer = single.ask("SUBSCRIBE", list(id))
            #expect((answer.ok == true) == (id < "3"))
        }
    }

    @Test("One that would be too many refuses its whole command; what is followed already is free")
    func atomic() throws {
        let node = node(["topics": "3"])
        let socket = node.client("alice")
        #expect(socket.ask("topic.subscribe", list("1", "2")).ok == true)
        let refusal = socket.ask("topic.subscribe", list("2", "3", "4"))
        #expect(refusal.ok == false && refusal.error.code == "RATE_LIMITED")
        #expect(node.counter(.rateLimited) == 1)
        #expect(interests(node) == ["+job:1", "+job:2"])
        #expect(socket.ask("topic.subscribe", list("1", "2", "3")).ok == true)
        for id in 1...4 { node.say(update(id), on: try topic("\(id)")) }
        #expect(numbers(socket) == [1, 2, 3])
        // Another connection of the same user has a count of its own; room can be made.
        #expect(node.client("alice").ask("topic.subscribe", list("4", "5", "6")).ok == true)
        #expect(socket.ask("topic.unsubscribe", list("2")).ok == true)
        #expect(socket.ask("topic.subscribe", list("4")).ok == true)
    }

    @Test("One name that is no topic refuses its whole command")
    func invalid() {
        let node = node()
        let socket = node.client("alice")
        for topics: JSONValue in [["job:1", "chat:c1"], ["job:1", 7], ["job:1", "job:"], []] {
            let refusal = socket.ask("topic.subscribe", ["topics": topics])
            #expect(refusal.ok == false && refusal.error.code == "INVALID_INPUT")
        }
        socket.say("topic.subscribe", ["topics": ["user:bob"]])
        let error = socket.events("error")
        #expect(error.first?.code == "INVALID_INPUT" && error.first?.event == "topic.subscribe")
        #expect(interests(node).isEmpty && socket.closeCode == nil)
    }

    @Test("Both commands are counted with the joins, and ten refusals close", arguments: [2, 3, 4])
    func rate(count: Int) {
        let node = node(["joins": "3"])
        let socket = node.client("alice")
        for number in 0..<count {
            let type = number.isMultiple(of: 2) ? "topic.subscribe" : "topic.unsubscribe"
            #expect((socket.ask(type, list("1")).ok == true) == (number < 3))
        }
        #expect(node.counter(.rateLimited) == max(0, count - 3))
        for _ in 0..<13 - count { socket.say("topic.subscribe", list("1")) }
        #expect(socket.closeCode == 4102)
    }

    @Test(
        "As many requests may wait for the bus as joins may for the store",
        arguments: [63, 64, 65])
    func queue(count: Int) {
        let node = node(["joins": "off"])
        node.followsHold = false
        let socket = node.client("alice")
        for number in 0..<count { socket.say("topic.subscribe", list("\(number)"), id: 1) }
        #expect(socket.events().count == max(0, count - 64))
    }

    @Test("Before it has said who it is a connection subscribes to nothing")
    func unauthenticated() {
        let node = node()
        let socket = node.connect()
        #expect(socket.upgrade().status == 101)
        socket.say("SUBSCRIBE", list("1"))
        #expect(socket.closeCode == 4001 && interests(node).isEmpty)
    }

    @Test("A reader that takes nothing is closed, and leaves its topics")
    func slowReader() throws {
        let node = node(["outbox": "16384"])
        let slow = node.client("alice")
        let quick = node.client("bob", dialect: .ws, shard: 1)
        for socket in [slow, quick] {
            #expect(socket.ask("topic.subscribe", list("1")).ok == true)
        }
        slow.limit(to: 0)
        let text = String(repeating: "x", count: 3_000)
        for _ in 0..<10 {
            node.say(
                #"{"type":"JOB_UPDATE","payload":{"n":1,"text":"\#(text)"}}"#, on: try topic("1"))
        }
        #expect(numbers(quick).count == 10)
        #expect(node.counter(.slowConsumersClosed) == 1)
        quick.end()
        #expect(interests(node) == ["+job:1", "-job:1"])
    }
}
