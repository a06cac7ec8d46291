import Basics
import BusCore
import Domain
import Foundation
import Gateway
import StoreCore
import TestSupport
import Testing

/// A client as the stock JavaScript one is: it remembers `pid` and the last offset, and shows them when it
/// comes back.
final class RecoveringClient {
    let user: String
    let namespace: String
    let extra: String
    private(set) var client: EngineClient
    private(set) var pid: String?
    private(set) var offset: String?
    private(set) var sid = ""
    /// What the last CONNECT came to.
    private(set) var isRecovered = false
    private(set) var refusal: String?
    /// Everything that ever came, by name and argument.
    private(set) var events: [(name: String, payload: JSONValue)] = []

    init(_ user: String, namespace: String = "", extra: String = "") {
        self.user = user
        self.namespace = namespace
        self.extra = extra
        client = EngineClient(TestNode())
    }

    /// Connects, with what it has.
    func connect(
        to node: TestNode, shard: Int = 0, isPolling: Bool = false, as other: String? = nil,
        token: String? = nil
    ) {
        client = EngineClient(node, shard: shard)
        if isPolling { client.openPolling() } else { client.openSocket() }
        var auth = #"{"token":"\#(token ?? node.token(other ?? user))"\#(extra)"#
        if let pid {
            auth += #","pid":"\#(pid)""#
            if let offset { auth += #","offset":"\#(offset)""# }
        }
        client.send("40\(namespace)\(auth)}")
        refusal = nil
        read()
    }

    /// Takes in what came; at most so many packets of it arrive, and the others are lost.
    func read(atMost bound: Int = .max) {
        for packet in client.received().prefix(bound) {
            if packet == "2" {
                client.send("3")
            } else if packet.hasPrefix("40\(namespace){") {
                let body = JSONValue(parsing: Array(packet.dropFirst(2 + namespace.count).utf8))
                sid = body.sid.stringValue ?? ""
                let shown = body.pid.stringValue
                isRecovered = shown != nil && shown == pid
                pid = shown
            } else if packet.hasPrefix("42\(namespace)["),
                case .array(let arguments) = JSONValue(
                    parsing: Array(packet.dropFirst(2 + namespace.count).utf8))
            {
                events.append((arguments[0].stringValue ?? "?", arguments[1]))
                if pid != nil, let last = arguments.last?.stringValue { offset = last }
            } else if packet.hasPrefix("44") {
                refusal = packet
            }
        }
    }

    func emit(_ event: String) { client.send("42\(namespace)1\(event)") }

    /// The same client, by another connection.
    func copy() -> RecoveringClient {
        let copy = RecoveringClient(user, namespace: namespace, extra: extra)
        copy.pid = pid
        copy.offset = offset
        return copy
    }

    /// Its connection breaks, and the server notices.
    func cut() { client.socket?.end() }

    /// As if a message, and what came behind it, had been lost on the way.
    func forget(_ content: String) {
        guard
            let place = events.firstIndex(where: {
                $0.payload.encryptedContent.stringValue == content
            })
        else { return }
        let lost = events[place...]
        events.removeSubrange(place...)
        if lost.contains(where: { $0.payload.seq != .missing }) {
            offset = events.last { $0.payload.seq != .missing && $0.payload.chatId != .missing }
                .flatMap { entry in
                    guard let chat = entry.payload.chatId.stringValue else { return nil }
                    return "\(entry.payload.seq.text):\(chat)"
                }
        }
    }

    var contents: [String] {
        events.filter {
            $0.name == "message" || $0.name == "new_message" || $0.name == "message.new"
        }
        .compactMap(\.payload.encryptedContent.stringValue)
    }

    func count(_ name: String) -> Int { events.count { $0.name == name } }
}

@Suite("Connection state recovery")
struct RecoveryTests {
    private static let window = ["recoveryWindow": "120000", "sends": "off", "connects": "off"]

    private func node(_ shards: Int = 1, chats: Int = 2) -> TestNode {
        let node = TestNode(shards: shards, limits: Self.window)
        for index in 0..<chats { node.group("c\(index)", ["bob", "alice"]) }
        return node
    }

    /// Two instances of one store.
    private func pair() -> (TestNode, TestNode) {
        let store = ModelStore()
        let here = TestNode(
            shards: 2, limits: Self.window, isShared: true, instance: 0x1_0000_00A1, store: store)
        let there = TestNode(
            shards: 2, limits: Self.window, isShared: true, instance: 0x1_0000_00B2, store: store)
        for index in 0..<2 { here.group("c\(index)", ["bob", "alice"]) }
        reach(here, there)
        return (here, there)
    }

    private func reach(_ here: TestNode, _ there: TestNode) {
        here.others["10.0.0.2:1"] = there
        there.others["10.0.0.1:1"] = here
        here.tell(.reached(instance: there.instance, at: "10.0.0.2:1"))
        there.tell(.reached(instance: here.instance, at: "10.0.0.1:1"))
    }

    private func live(_ node: TestNode, _ content: String, in chat: String = "c0") {
        node.arrive(
            .entry(node.append(chat, by: "bob", content)), on: .chat(ChatID(trusted: chat)))
    }

    // MARK: What goes out

    @Test("Off, a CONNECT's answer is its sid alone, and no event has an offset")
    func off() {
        let node = TestNode()
        node.group("c0", ["bob", "alice"])
        let alice = EngineClient(node)
        alice.openSocket()
        alice.connect("alice", extra: #","pid":"x","offset":"1:c0""#)
        let greeting = alice.received()[0]
        #expect(greeting.hasPrefix(#"40{"sid":""#) && !greeting.contains("pid"))
        live(node, "x")
        let text = alice.received().first ?? ""
        #expect(text.hasSuffix("}]"), "\(text)")
    }

    @Test(
        "On, each entry has its offset behind it, whatever the family and transport; nothing else",
        arguments: ["", "/messages,"], [true, false])
    func offsets(namespace: String, isPolling: Bool) {
        let node = node(chats: 1)
        node.group("odd\"name", ["bob", "alice"])
        let alice = RecoveringClient("alice", namespace: namespace)
        alice.connect(to: node, isPolling: isPolling)
        #expect(alice.sid.utf8.count == 16 && alice.pid?.utf8.count == 83)
        for chat in [#"c0"#, #"odd\"name"#] {
            alice.emit(#"["join_conversation",{"chatId":"\#(chat)"}]"#)
        }
        _ = alice.client.received()
        live(node, "x")
        live(node, "y", in: "odd\"name")
        node.arrive(
            .typing(
                Typing(
                    chat: ChatID(trusted: "c0"), user: UserID(trusted: "bob"), isTyping: true)),
            on: .chat(ChatID(trusted: "c0")))
        let packets = alice.client.received()
        guard packets.count == 3 else {
            Issue.record("\(packets)")
            return
        }
        #expect(packets[0].hasSuffix(#","1:c0"]"#))
        #expect(packets[1].hasSuffix(#","1:odd\"name"]"#))
        #expect(packets[2].hasSuffix("}]"))
    }

    // MARK: Here

    @Test(
        "What was missed comes, in order, once, and then it is live",
        arguments: [1, 3], [true, false])
    func missed(shards: Int, isPolling: Bool) {
        let node = node(shards)
        let alice = RecoveringClient("alice")
        alice.connect(to: node, isPolling: isPolling)
        live(node, "a")
        live(node, "b", in: "c1")
        alice.read()
        if isPolling { node.advance(100_000) } else { alice.cut() }
        live(node, "c")
        live(node, "d", in: "c1")
        live(node, "e")
        let sid = alice.sid
        alice.connect(to: node, shard: shards - 1, isPolling: isPolling)
        #expect(alice.isRecovered && alice.sid == sid)
        #expect(alice.events.last { $0.name == "authenticated" }?.payload.recovered == true)
        live(node, "f")
        alice.read()
        #expect(alice.contents.prefix(2) == ["a", "b"])
        #expect(Set(alice.contents.dropFirst(2).dropLast()) == ["c", "d", "e"])
        #expect(alice.contents.count == 6 && alice.contents.last == "f")
        #expect(isPolling || alice.client.received().isEmpty)
        #expect(node.shards.reduce(0) { $0 + $1.counters[.sessionsRecovered] } == 1)
    }

    @Test("The offset says how far it came, over all chats", arguments: 0...6)
    func lost(arrived: Int) {
        let node = node()
        let alice = RecoveringClient("alice")
        alice.connect(to: node)
        for index in 0..<6 { live(node, "m\(index)", in: "c\(index % 2)") }
        // The others were given to a socket that nobody read.
        alice.read(atMost: arrived)
        #expect(alice.contents.count == arrived)
        alice.cut()
        alice.connect(to: node)
        #expect(alice.isRecovered)
        #expect(alice.contents.sorted() == (0..<6).map { "m\($0)" })
        #expect(alice.contents.count == 6)
    }

    @Test("Messages that a pong covered are not replayed where the offset is old")
    func acknowledged() {
        let node = node()
        let alice = RecoveringClient("alice")
        alice.connect(to: node)
        live(node, "a")
        alice.read()
        for round in 0..<300 { live(node, "r\(round)", in: "c\(round % 2)") }
        alice.read()
        node.advance(1_000)
        alice.read()
        live(node, "last")
        // Not read: "last" is lost.
        alice.cut()
        alice.connect(to: node)
        #expect(alice.isRecovered)
        #expect(alice.contents.count == 302 && alice.contents.last == "last")
    }

    @Test("More than the order remembers comes twice rather than not at all")
    func overflow() {
        let node = node()
        let alice = RecoveringClient("alice")
        alice.connect(to: node)
        // Chat after chat, so that each stands alone; no pong in between.
        for round in 0..<400 { live(node, "r\(round)", in: "c\(round % 2)") }
        alice.read(atMost: 50)
        alice.cut()
        alice.connect(to: node)
        #expect(alice.isRecovered)
        #expect(Set(alice.contents) == Set((0..<400).map { "r\($0)" }))
        #expect(Set(alice.events.compactMap(\.payload.id.stringValue)).count == 400)
    }

    @Test("An offset of an earlier session says nothing of this one")
    func staleOffset() {
        let node = node()
        let alice = RecoveringClient("alice", namespace: "/messages,")
        alice.connect(to: node)
        alice.emit(#"["join_conversation",{"chatId":"c0"}]"#)
        live(node, "a")
        live(node, "b")
        alice.read()
        alice.cut()
        node.advance(200_000)
        // Its time is over: a new session, and the client still names "2:c0".
        alice.connect(to: node)
        #expect(!alice.isRecovered)
        alice.emit(#"["join_conversation",{"chatId":"c1"}]"#)
        _ = alice.client.received()
        live(node, "lost", in: "c1")
        alice.emit(#"["join_conversation",{"chatId":"c0","since":0}]"#)
        live(node, "lost too")
        // "2:c0" was given again, behind "lost"; none of it arrives.
        alice.cut()
        alice.connect(to: node)
        #expect(alice.isRecovered)
        #expect(Set(alice.contents) == ["a", "b", "lost", "lost too"])
    }

    @Test("A client that goes in the middle of its recovery comes back to where it was")
    func interrupted() {
        let node = node()
        let alice = RecoveringClient("alice")
        alice.connect(to: node)
        live(node, "a")
        alice.read()
        alice.cut()
        for index in 0..<5 { live(node, "m\(index)") }
        // Its CONNECT's answer arrives, and two of the five.
        alice.connect(to: node)
        alice.cut()
        alice.connect(to: node)
        #expect(alice.isRecovered)
        #expect(alice.contents == ["a", "m0", "m1", "m2", "m3", "m4"])
        // Before its answer has come from the store.
        alice.cut()
        live(node, "n")
        node.holdsAnswers = true
        alice.connect(to: node)
        alice.cut()
        node.holdsAnswers = false
        alice.connect(to: node)
        #expect(alice.isRecovered)
        #expect(alice.contents.last == "n" && alice.contents.count == 7)
    }

    @Test("A connection that nobody knows to be dead gives its session up")
    func halfOpen() {
        let node = node()
        let alice = RecoveringClient("alice")
        alice.connect(to: node)
        let dead = alice.client
        live(node, "a")
        alice.connect(to: node)
        #expect(alice.isRecovered)
        #expect(alice.contents == ["a"])
        live(node, "b")
        alice.read()
        #expect(alice.contents == ["a", "b"])
        _ = dead.received()
        #expect(dead.socket?.closing?.code == 4202)
    }

    @Test("ns: what was joined is followed again, what was left is not")
    func joined() {
        let node = node(chats: 3)
        let alice = RecoveringClient("alice", namespace: "/messages,")
        alice.connect(to: node)
        for chat in ["c0", "c1", "c2"] {
            alice.emit(#"["join_conversation",{"chatId":"\#(chat)"}]"#)
        }
        alice.emit(#"["leave_conversation",{"chatId":"c2"}]"#)
        live(node, "a")
        alice.read()
        alice.cut()
        for chat in ["c0", "c1", "c2"] { live(node, "missed \(chat)", in: chat) }
        alice.connect(to: node)
        #expect(alice.isRecovered)
        for chat in ["c0", "c1", "c2"] { live(node, "live \(chat)", in: chat) }
        alice.read()
        #expect(
            alice.contents.sorted()
                == ["a", "live c0", "live c1", "missed c0", "missed c1"])
        // The family's code joins again, whatever it was told: nothing comes twice.
        alice.emit(#"["join_conversation",{"chatId":"c0"}]"#)
        live(node, "again")
        alice.read()
        #expect(alice.contents.count == 6 && alice.contents.last == "again")
    }

    @Test("Who was brought into a chat meanwhile, or removed from one, is told so")
    func membership() {
        let node = node()
        node.group("new", ["bob"])
        node.append("new", by: "bob", "before")
        let alice = RecoveringClient("alice")
        alice.connect(to: node)
        alice.cut()
        node.change("new", .added, "alice", by: "bob")
        live(node, "welcome", in: "new")
        live(node, "bye", in: "c1")
        node.change("c1", .removed, "alice", by: "bob")
        live(node, "not for her", in: "c1")
        alice.connect(to: node)
        #expect(alice.isRecovered)
        #expect(alice.contents.sorted() == ["bye", "welcome"])
        #expect(alice.count("chat.changed") == 2)
        live(node, "more", in: "new")
        live(node, "not for her", in: "c1")
        alice.read()
        #expect(alice.contents.last == "more" && alice.contents.count == 3)
    }

    @Test("Topics are subscribed again")
    func topics() {
        let store = ModelStore()
        let node = TestNode(limits: Self.window, isShared: true, store: store)
        let alice = RecoveringClient("alice", namespace: "/notifications,")
        alice.connect(to: node)
        alice.emit(#"["subscribe",{"topics":["job:1"]}]"#)
        alice.cut()
        alice.connect(to: node)
        #expect(alice.isRecovered)
        node.say(#"{"type":"JOB_UPDATE","payload":{"n":1}}"#, on: .topic(TopicName("job:1")!))
        alice.read()
        #expect(
            alice.count("JOB_UPDATE") + alice.count("topic.event") + alice.count("job_update") == 1)
    }

    // MARK: What is no recovery

    @Test("Who ended it does not get it back: by DISCONNECT, by a backend, by waiting too long")
    func ended() {
        let store = ModelStore()
        let node = TestNode(limits: Self.window, isShared: true, store: store)
        node.group("c0", ["bob", "alice"])
        let alice = RecoveringClient("alice")
        alice.connect(to: node)
        alice.client.send("41")
        alice.cut()
        alice.connect(to: node)
        #expect(!alice.isRecovered)
        node.say(#"{"type":"disconnect"}"#, on: .user(UserID(trusted: "alice")))
        alice.connect(to: node)
        #expect(!alice.isRecovered)
        // Also where none of the user's connections is there when the backend says so.
        alice.cut()
        node.say(#"{"type":"disconnect"}"#, on: .user(UserID(trusted: "alice")))
        alice.connect(to: node)
        #expect(!alice.isRecovered)
        alice.cut()
        node.advance(119_000)
        alice.connect(to: node)
        #expect(alice.isRecovered)
        alice.cut()
        node.advance(120_000)
        alice.connect(to: node)
        #expect(!alice.isRecovered && alice.refusal == nil)
        #expect(node.shards[0].counters[.recoveriesRefused] == 4)
        live(node, "live all the same")
        alice.read()
        #expect(alice.contents == ["live all the same"])
    }

    @Test(
        "A user's sessions without a connection are as many as connections may be: the oldest goes")
    func retainedOfUser() {
        let limits = Self.window.merging(["socketsPerUser": "2"]) { $1 }
        let node = TestNode(limits: limits)
        node.group("c0", ["bob", "alice"])
        let tabs = (0..<3).map { _ in RecoveringClient("alice") }
        for tab in tabs[..<2] {
            tab.connect(to: node)
            tab.cut()
        }
        #expect(node.store.state.keptCount == 2)
        for tab in tabs[..<2] {
            tab.connect(to: node)
            #expect(tab.isRecovered)
            tab.cut()
        }
        tabs[2].connect(to: node)
        tabs[2].cut()
        node.advance(1_000)
        #expect(node.store.state.keptCount == 2)
        for tab in tabs[1...] {
            tab.connect(to: node)
            #expect(tab.isRecovered)
            tab.cut()
        }
        tabs[0].connect(to: node)
        #expect(!tabs[0].isRecovered && tabs[0].refusal == nil)
    }

    @Test("A pass is its user's, its device's, its namespace's, and nobody can make one")
    func passes() throws {
        let node = node()
        node.group("c0", ["bob", "alice", "eve"])
        let alice = RecoveringClient("alice", extra: #","deviceId":"phone""#)
        alice.connect(to: node)
        let pid = try #require(alice.pid)
        alice.cut()
        func answer(_ user: String, _ namespace: String, _ pid: String, _ extra: String) -> String {
            let client = EngineClient(node)
            client.openSocket()
            client.connect(user, namespace: namespace, extra: #","pid":"\#(pid)"\#(extra)"#)
            return client.received().first ?? ""
        }
        let phone = #","deviceId":"phone""#
        #expect(!answer("eve", "", pid, phone).contains(pid))
        #expect(!answer("alice", "/messages,", pid, phone).contains(pid))
        #expect(!answer("alice", "", pid, #","deviceId":"tv""#).contains(pid))
        #expect(!answer("alice", "", pid, "").contains(pid))
        for index in [0, 1, 20, 30, pid.count - 1] {
            var bad = Array(pid)
            bad[index] = bad[index] == "A" ? "B" : "A"
            let answer = answer("alice", "", String(bad), phone)
            #expect(answer.hasPrefix("40{") && !answer.contains(String(bad)))
        }
        for junk in [
            "", "x", String(repeating: "A", count: 99), String(repeating: "A", count: 400),
        ] {
            #expect(answer("alice", "", junk, phone).hasPrefix("40{"))
        }
        #expect(answer("alice", "", pid, phone).contains(pid), "it was hers all the time")
    }

    @Test(
        "What is no offset is none",
        arguments: [
            "", "1", ":c0", "x:c0", "-1:c0", "0:c0", "99999999999999999999:c0", "1:", "7:other",
            "5000:c0", "1:c0\\u0000", "[1]",
        ])
    func badOffsets(_ offset: String) {
        let node = node()
        let alice = RecoveringClient("alice")
        alice.connect(to: node)
        alice.cut()
        live(node, "a", in: "c1")
        let client = EngineClient(node)
        client.openSocket()
        client.connect("alice", extra: #","pid":"\#(alice.pid ?? "")","offset":"\#(offset)""#)
        let texts = client.received()
        #expect(texts.first?.contains(alice.pid ?? "?") == true)
        #expect(texts.last?.contains(#""encryptedContent":"a""#) == true)
    }

    // MARK: Elsewhere

    @Test(
        "On another instance, through its owner's internal listener", arguments: ["", "/messages,"])
    func elsewhere(namespace: String) {
        let (here, there) = pair()
        let alice = RecoveringClient("alice", namespace: namespace)
        alice.connect(to: there, shard: 1)
        for chat in ["c0", "c1"] {
            alice.emit(#"["join_conversation",{"chatId":"\#(chat)"}]"#)
        }
        for index in 0..<4 { live(there, "m\(index)", in: "c\(index % 2)") }
        alice.read(atMost: 3 + (namespace.isEmpty ? 2 : 0))
        alice.cut()
        alice.connect(to: here)
        #expect(alice.isRecovered)
        #expect(here.peerRequests.count == 1)
        #expect(alice.contents.sorted() == ["m0", "m1", "m2", "m3"])
        live(here, "on here")
        alice.read()
        #expect(alice.contents.last == "on here")
        // And back, and to and fro: each knows where it has gone.
        for (index, node) in [there, here, here, there, here].enumerated() {
            alice.cut()
            live(node, "r\(index)")
            alice.connect(to: node, shard: index % 2)
            #expect(alice.isRecovered, "round \(index)")
            #expect(alice.contents.last == "r\(index)")
        }
        #expect(alice.contents.count == 10)
    }

    @Test(
        "After its instance was killed: what the store knows, perhaps twice, nothing left out",
        arguments: ["", "/messages,"], ["", #","deviceId":"phone""#])
    func killed(namespace: String, device: String) {
        let (here, there) = pair()
        here.append("c0", by: "bob", "long ago")
        here.advance(100_000)
        there.advance(100_000)
        let alice = RecoveringClient("alice", namespace: namespace, extra: device)
        alice.connect(to: there)
        if !namespace.isEmpty {
            for chat in ["c0", "c1"] {
                alice.emit(#"["join_conversation",{"chatId":"\#(chat)"}]"#)
            }
        }
        for index in 0..<4 { live(there, "m\(index)", in: "c\(index % 2)") }
        alice.read()
        #expect(alice.contents.count == 4)
        there.advance(1_000)
        alice.read()
        there.advance(1_000)
        // Acknowledged so far; these are not, and the last one never arrives.
        live(there, "m4")
        alice.read()
        live(there, "m5", in: "c1")
        // Killed.
        kill(there, seenFrom: here)
        here.advance(5_000)
        alice.connect(to: here)
        #expect(alice.isRecovered)
        #expect(Set(alice.contents) == Set((0..<6).map { "m\($0)" }), "\(alice.contents)")
        #expect(alice.contents.count == 6, "the offset is of the chat that was not acknowledged")
        live(here, "live")
        live(here, "live too", in: "c1")
        alice.read()
        #expect(alice.contents.suffix(2) == ["live", "live too"])
        // It is here now, and can be recovered as any other, once its client has said that it is here.
        here.advance(1_000)
        alice.read()
        alice.cut()
        live(here, "more")
        alice.connect(to: here)
        #expect(alice.isRecovered && alice.contents.last == "more")
        #expect(alice.contents.count == 9, "\(alice.contents)")
    }

    @Test("Killed, and its user removed from a chat meanwhile: everything up to that is given")
    func killedAndRemoved() {
        let (here, there) = pair()
        let alice = RecoveringClient("alice")
        alice.connect(to: there)
        live(there, "a")
        alice.read()
        kill(there, seenFrom: here)
        here.append("c0", by: "bob", "b")
        here.append("c1", by: "bob", "c")
        here.change("c1", .removed, "alice", by: "bob")
        here.append("c1", by: "bob", "not for her")
        alice.connect(to: here)
        #expect(alice.isRecovered)
        #expect(alice.contents == ["a", "b", "c"] && alice.count("chat.changed") == 1)
    }

    private func kill(_ there: TestNode, seenFrom here: TestNode) {
        here.others = [:]
        here.tell(.reached(instance: there.instance, at: nil))
    }

    @Test("What one was given whose client was elsewhere all the while says nothing of the client")
    func givenToNobody() {
        let (here, there) = pair()
        let alice = RecoveringClient("alice")
        alice.connect(to: there)
        live(there, "a")
        alice.read()
        // She came here once, in between, and did not wait; they do not reach each other.
        kill(there, seenFrom: here)
        let ghost = alice.copy()
        ghost.connect(to: here)
        #expect(ghost.isRecovered)
        let lost = there.append("c0", by: "bob", "on its way")
        let seen = there.append("c1", by: "bob", "seen")
        here.arrive(.entry(lost), on: .chat(lost.chat))
        here.arrive(.entry(seen), on: .chat(seen.chat))
        there.arrive(.entry(seen), on: .chat(seen.chat))
        alice.read()
        #expect(alice.contents == ["a", "seen"])
        alice.cut()
        // The store says that she is here.
        alice.connect(to: here)
        #expect(alice.isRecovered && alice.contents.contains("on its way"), "\(alice.contents)")
    }

    @Test("Brought into a chat, killed, and removed from it: what came in between is given")
    func broughtInAndKilled() {
        let (here, there) = pair()
        here.group("new", ["bob"])
        let alice = RecoveringClient("alice")
        alice.connect(to: there)
        for entry in here.change("new", .added, "alice", by: "bob") {
            there.arrive(.entry(entry), on: .chat(entry.chat))
            there.arrive(
                .joined(entry.chat, since: entry.seq - 1), on: .user(UserID(trusted: "alice")))
        }
        live(there, "first", in: "new")
        alice.read()
        #expect(alice.contents == ["first"])
        kill(there, seenFrom: here)
        here.append("new", by: "bob", "second")
        here.change("new", .removed, "alice", by: "bob")
        alice.connect(to: here)
        #expect(alice.isRecovered)
        #expect(Set(alice.contents) == ["first", "second"], "\(alice.contents)")
        #expect(alice.count("chat.changed") >= 2, "she is told of her removal")
    }

    @Test("Killed with much missing: all of it comes")
    func muchMissing() {
        let (here, there) = pair()
        let alice = RecoveringClient("alice")
        alice.connect(to: there)
        kill(there, seenFrom: here)
        for index in 0..<300 { here.append("c0", by: "bob", "x\(index)") }
        alice.connect(to: here)
        #expect(alice.isRecovered && alice.contents == (0..<300).map { "x\($0)" })
    }

    @Test(
        "A session of more chats than are kept is recovered from its owner, and not from the store")
    func manyChats() {
        let (here, there) = pair()
        for index in 2..<501 { here.group("c\(index)", ["bob", "alice"]) }
        let alice = RecoveringClient("alice")
        alice.connect(to: there)
        alice.cut()
        live(there, "a", in: "c400")
        alice.connect(to: here)
        #expect(alice.isRecovered && alice.contents == ["a"])
        // One of these two is the 501st.
        alice.connect(to: there)
        kill(there, seenFrom: here)
        alice.connect(to: here)
        #expect(!alice.isRecovered && alice.refusal == nil)
    }

    @Test("Two tabs of one device: what the one has acknowledged, the other is given all the same")
    func sharedDevice() {
        let (here, there) = pair()
        let tabs = (0..<2).map { _ in
            RecoveringClient("alice", extra: #","deviceId":"phone""#)
        }
        for tab in tabs { tab.connect(to: there) }
        for index in 0..<3 { live(there, "m\(index)") }
        // The first one's connection is dead, and nobody knows.
        for _ in 0..<3 {
            tabs[1].read()
            there.advance(1_000)
        }
        #expect(
            here.store.state.watermarks(
                of: UserID(trusted: "alice"), device: DeviceID(trusted: "phone"),
                in: ChatID(trusted: "c0")
            ).delivered == 3)
        kill(there, seenFrom: here)
        tabs[0].connect(to: here)
        #expect(tabs[0].isRecovered && tabs[0].contents == ["m0", "m1", "m2"])
    }

    @Test(
        "Killed in the middle of a replay that was asked for: it goes on",
        arguments: ["", "/messages,"])
    func killedInReplay(namespace: String) {
        let (here, there) = pair()
        for index in 0..<600 { here.append("c0", by: "bob", "old \(index)") }
        let alice = RecoveringClient("alice", namespace: namespace)
        alice.connect(to: there)
        alice.emit(#"["join_conversation",{"chatId":"c0","since":100}]"#)
        // Most of it does not arrive.
        alice.read(atMost: 60)
        kill(there, seenFrom: here)
        alice.connect(to: here)
        #expect(alice.isRecovered)
        #expect(Set(alice.contents) == Set((100..<600).map { "old \($0)" }))
    }

    @Test(
        "A client that goes back, and is cut off in the replay: what it had before says nothing of it",
        arguments: [false, true], [false, true])
    func rewound(isKilled: Bool, hasOffsetOfAnother: Bool) {
        let (here, there) = pair()
        for index in 1...40 { here.append("c0", by: "bob", "old \(index)") }
        let alice = RecoveringClient("alice")
        alice.connect(to: there)
        live(there, "41")
        alice.read()
        // A ping is under way that covers it.
        there.advance(800)
        if hasOffsetOfAnother {
            live(there, "other", in: "c1")
            alice.read()
        }
        alice.emit(#"["join_conversation",{"chatId":"c0","since":10}]"#)
        // Its pong comes behind the join; the replay is lost.
        alice.client.send("3")
        there.advance(2_000)
        if isKilled { kill(there, seenFrom: here) } else { alice.cut() }
        alice.connect(to: isKilled ? here : there)
        #expect(alice.isRecovered)
        #expect(Set(alice.contents).isSuperset(of: (11...40).map { "old \($0)" } + ["41"]))
        // And when it has arrived, it has.
        there.advance(800)
        here.advance(800)
        alice.read()
        let count = alice.contents.count
        alice.cut()
        alice.connect(to: isKilled ? here : there)
        #expect(alice.isRecovered && alice.contents.count == count)
    }

    @Test(
        "Joined again while the store takes no writes: the client is sent away, and not left deaf")
    func rejoinUnkept() {
        let node = node()
        let alice = RecoveringClient("alice", namespace: "/messages,")
        alice.connect(to: node)
        alice.emit(#"["join_conversation",{"chatId":"c0"}]"#)
        node.fate = { batch in batch.operations.contains(where: \.isWrite) ? .fails : .commits }
        alice.emit(#"["join_conversation",{"chatId":"c0"}]"#)
        _ = alice.client.received()
        #expect(alice.client.socket?.closing?.code == 4202)
        node.fate = { _ in .commits }
        node.advance(3_000)
        live(node, "a")
        alice.connect(to: node)
        #expect(alice.isRecovered && alice.contents == ["a"])
    }

    @Test("Two at once: the one that comes later is told to come again, and neither lies")
    func concurrent() {
        let (here, there) = pair()
        let third = TestNode(
            shards: 1, limits: Self.window, isShared: true, instance: 0x1_0000_00C3,
            store: here.store)
        // The nodes of tests have the same random numbers; it draws some.
        _ = third.socketIO("bob")
        let alice = RecoveringClient("alice")
        alice.connect(to: there)
        kill(there, seenFrom: here)
        let other = alice.copy()
        // Both have read who had it before either has written that it does.
        func hasRead(_ node: TestNode) -> Bool {
            node.batches.last?.operations.contains {
                if case .findSession = $0 { true } else { false }
            } ?? false
        }
        for (client, node) in [(alice, here), (other, third)] {
            node.holdsAnswers = true
            client.connect(to: node)
            for _ in 0..<10 where !hasRead(node) { node.releaseOne() }
            #expect(hasRead(node))
        }
        here.holdsAnswers = false
        alice.read()
        third.holdsAnswers = false
        other.read()
        #expect(alice.isRecovered)
        #expect(!other.isRecovered && other.refusal == nil)
        #expect(other.client.socket?.closing?.code == 4202)
        live(here, "a")
        alice.read()
        #expect(alice.contents == ["a"])
    }

    @Test("Left, removed, and brought in again: it is followed, and recovered")
    func leftAndBroughtIn() {
        let node = node()
        let alice = RecoveringClient("alice")
        alice.connect(to: node)
        alice.emit(#"["leave_conversation",{"chatId":"c1"}]"#)
        node.change("c1", .removed, "alice", by: "bob")
        let entry = node.change("c1", .added, "alice", by: "bob")[0]
        node.arrive(
            .joined(ChatID(trusted: "c1"), since: entry.seq - 1),
            on: .user(UserID(trusted: "alice")))
        live(node, "a", in: "c1")
        alice.read()
        #expect(alice.contents == ["a"])
        alice.cut()
        live(node, "b", in: "c1")
        alice.connect(to: node)
        #expect(alice.isRecovered && alice.contents == ["a", "b"])
    }

    @Test("Removed and brought in again over a dead connection: what came before is given")
    func broughtInUnheard() {
        let node = node()
        let alice = RecoveringClient("alice")
        alice.connect(to: node)
        live(node, "a", in: "c1")
        alice.read()
        node.advance(1_000)
        alice.read()
        // From here on nothing arrives.
        live(node, "b", in: "c1")
        for kind in [MembershipChange.Kind.removed, .added] {
            let entry = node.change("c1", kind, "alice", by: "bob")[0]
            node.arrive(.entry(entry), on: .chat(ChatID(trusted: "c1")))
            if kind == .added {
                node.arrive(
                    .joined(ChatID(trusted: "c1"), since: entry.seq - 1),
                    on: .user(UserID(trusted: "alice")))
            }
        }
        live(node, "c", in: "c1")
        alice.connect(to: node)
        #expect(alice.isRecovered)
        #expect(alice.contents == ["a", "b", "c"] && alice.count("chat.changed") == 2)
    }

    @Test(
        "Ended, it does not come back from the store, whatever became of its instance",
        arguments: 0..<3)
    func endedAndKilled(way: Int) {
        let (here, there) = pair()
        let alice = RecoveringClient("alice")
        alice.connect(to: there)
        switch way {
        case 0: alice.client.send("41")
        case 1: there.say(#"{"type":"disconnect"}"#, on: .user(UserID(trusted: "alice")))
        default:
            alice.cut()
            there.advance(140_000)
        }
        kill(there, seenFrom: here)
        alice.connect(to: here)
        #expect(!alice.isRecovered && alice.refusal == nil)
    }

    @Test(
        "An owner that is out of reach, and comes back: what it still has of the session counts no more"
    )
    func staleOwner() {
        let (here, there) = pair()
        let alice = RecoveringClient("alice")
        alice.connect(to: there)
        live(there, "a")
        alice.read()
        there.advance(1_000)
        alice.read()
        // Given to a connection that is dead: chat c1 before the last of c0.
        live(there, "b", in: "c1")
        live(there, "c")
        here.others = [:]
        alice.connect(to: here)
        #expect(alice.isRecovered && alice.contents.sorted() == ["a", "b", "c"])
        // As if only the first of the replay had arrived.
        alice.forget("b")
        alice.cut()
        reach(here, there)
        alice.connect(to: there)
        #expect(alice.isRecovered)
        live(there, "d")
        alice.read()
        #expect(Set(alice.contents) == ["a", "b", "c", "d"])
        there.advance(140_000)
        #expect(here.store.state.keptCount == 1, "the window of the stale one drops nothing")
    }

    @Test(
        "A join that cannot be written down is refused, where the session says it can be recovered")
    func joinUnkept() {
        let node = node()
        let alice = RecoveringClient("alice", namespace: "/messages,")
        alice.connect(to: node)
        node.fate = { batch in batch.operations.contains(where: \.isWrite) ? .fails : .commits }
        alice.emit(#"["join_conversation",{"chatId":"c0"}]"#)
        #expect(alice.client.received().last?.contains(#""code":"SERVICE_UNAVAILABLE""#) == true)
        // Who comes now has a session that cannot be.
        let late = RecoveringClient("alice", namespace: "/messages,")
        late.connect(to: node)
        #expect(late.pid == nil && late.count("authenticated") == 1)
        late.emit(#"["join_conversation",{"chatId":"c0"}]"#)
        live(node, "a")
        late.read()
        #expect(late.contents == ["a"])
    }

    @Test("A chat that was left is not given, nor what an earlier stay in one had")
    func leftAndReadded() {
        let node = node(chats: 3)
        node.append("c2", by: "bob", "of the first stay")
        node.change("c2", .removed, "alice", by: "bob")
        node.append("c1", by: "bob", "long ago")
        let alice = RecoveringClient("alice")
        alice.connect(to: node)
        alice.emit(#"["leave_conversation",{"chatId":"c1"}]"#)
        alice.read()
        alice.cut()
        live(node, "left", in: "c1")
        node.change("c2", .added, "alice", by: "bob")
        live(node, "of the second stay", in: "c2")
        alice.connect(to: node)
        live(node, "left still", in: "c1")
        alice.read()
        #expect(alice.isRecovered && alice.contents == ["of the second stay"])
    }

    @Test(
        "Cut off again before a chat's last entries have come: they come the next time",
        arguments: [false, true])
    func formerTwice(isKilled: Bool) {
        let (here, there) = pair()
        let alice = RecoveringClient("alice")
        alice.connect(to: there)
        if !isKilled { alice.cut() }
        if isKilled { kill(there, seenFrom: here) }
        here.append("c1", by: "bob", "bye")
        here.change("c1", .removed, "alice", by: "bob")
        alice.connect(to: here)
        #expect(alice.contents == ["bye"])
        alice.forget("bye")
        alice.cut()
        alice.connect(to: here)
        #expect(alice.isRecovered && alice.contents == ["bye"])
    }

    @Test("ns killed before it joined anything is recovered, and joins as any other")
    func killedUnjoined() {
        let (here, there) = pair()
        let alice = RecoveringClient("alice", namespace: "/messages,")
        alice.connect(to: there)
        kill(there, seenFrom: here)
        alice.connect(to: here)
        #expect(alice.isRecovered)
        alice.emit(#"["join_conversation",{"chatId":"c0"}]"#)
        live(here, "a")
        alice.read()
        #expect(alice.contents == ["a"])
    }

    @Test(
        "An owner that answers nonsense, or nothing, is gone",
        arguments: [
            "", "HTTP/1.1 404 Not Found\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n\u{9}",
            "HTTP/1.1 200 OK\r\n\r\n\u{1}\u{0}",
        ])
    func nonsense(_ answer: String) {
        let (here, there) = pair()
        let alice = RecoveringClient("alice")
        alice.connect(to: there)
        live(there, "a")
        here.others = [:]
        here.says = Array(answer.utf8)
        alice.connect(to: here)
        #expect(alice.isRecovered)
        #expect(alice.contents == ["a"])
    }

    @Test("What the store keeps of a session goes with it")
    func kept() {
        let node = node()
        let alice = RecoveringClient("alice", namespace: "/messages,")
        alice.connect(to: node)
        #expect(node.store.state.keptCount == 1)
        alice.emit(#"["join_conversation",{"chatId":"c0"}]"#)
        #expect(node.store.state.keptCount == 1)
        alice.cut()
        #expect(node.store.state.keptCount == 1)
        node.advance(140_000)
        #expect(node.store.state.keptCount == 0)
        alice.connect(to: node)
        alice.emit(#"["join_conversation",{"chatId":"c0"}]"#)
        alice.client.send("41/messages,")
        #expect(node.store.state.keptCount == 0)
    }

    @Test("While the store is away a client that comes back is sent away, and recovers later")
    func storeAway() {
        let node = node()
        let alice = RecoveringClient("alice")
        alice.connect(to: node)
        alice.cut()
        live(node, "a")
        node.fate = { _ in .fails }
        alice.connect(to: node)
        #expect(alice.client.socket?.closing?.code == 4202)
        node.fate = { _ in .commits }
        node.advance(5_000)
        alice.connect(to: node)
        #expect(alice.isRecovered && alice.contents == ["a"])
    }
}

@Suite("What recovery is told, by anybody")
struct RecoveryReaderTests {
    private static func corpus() throws -> [String: [UInt8]] {
        let folder = URL(filePath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "Fuzz/Corpus/recovery")
        let files = try FileManager.default.contentsOfDirectory(
            at: folder, includingPropertiesForKeys: nil)
        return try Dictionary(
            uniqueKeysWithValues: files.map {
                ($0.lastPathComponent, [UInt8](try Data(contentsOf: $0)))
            })
    }

    @Test("The fuzzer's corpus, cut anywhere and with each byte changed, holds its invariants")
    func corpus() throws {
        let files = try Self.corpus()
        #expect(files.count >= 18)
        for bytes in files.values {
            for end in 0...bytes.count { RecoveryExercise.run(Array(bytes[..<end])) }
            for index in bytes.indices {
                for value in [0, 1, 0x7F, 0xFF] as [UInt8] {
                    var changed = bytes
                    changed[index] = value
                    RecoveryExercise.run(changed)
                }
            }
        }
    }

    @Test("What is none is not taken for one")
    func taken() throws {
        let files = try Self.corpus()
        func found(_ name: String) -> RecoveryExercise.Found {
            RecoveryExercise.run(files[name] ?? [])
        }
        for name in ["answer-held", "answer-held-empty", "answer-unknown"] {
            #expect(found(name).isAnswer, "\(name)")
        }
        for name in ["answer-cut", "answer-negative-seq", "answer-more-than-it-holds"] {
            #expect(!found(name).isAnswer, "\(name)")
        }
        for name in ["state", "state-not-whole", "state-left", "state-rewound"] {
            #expect(found(name).isState, "\(name)")
        }
        #expect(!found("state-other-release").isState)
        for name in ["offset", "offset-colons", "offset-large"] {
            #expect(found(name).isOffset, "\(name)")
        }
        #expect(!found("offset-too-large").isOffset)
        #expect(!found("pass").isPass && !found("pass-with-device").isPass)
    }
}

@Suite("legacyTokenGrace")
struct TokenGraceTests {
    private func node(_ grace: String = "600", store: ModelStore = ModelStore()) -> TestNode {
        TestNode(
            limits: ["legacyTokenGrace": grace, "connects": "off"], isShared: true,
            store: store)
    }

    private func code(_ client: RecoveringClient) -> String {
        JSONValue(parsing: Array((client.refusal ?? "").utf8.dropFirst(2))).data.code.stringValue
            ?? ""
    }

    @Test("Without it, a token ends its session, and opens no other")
    func off() {
        let node = node("0")
        let token = node.token("alice", seconds: 10)
        let alice = RecoveringClient("alice")
        alice.connect(to: node, token: token)
        node.advance(10_000)
        alice.read()
        #expect(alice.client.socket?.closing?.code == 4002)
        node.advance(61_000)
        alice.connect(to: node, token: token)
        #expect(code(alice) == "TOKEN_EXPIRED")
        #expect(node.store.state.keptCount == 0)
    }

    @Test(
        "With it a stock client outlives its token, here and on another instance, to the last second",
        arguments: [false, true])
    func outlives(isPolling: Bool) {
        let store = ModelStore()
        let (here, there) = (node(store: store), node(store: store))
        here.group("c0", ["alice", "bob"])
        let token = here.token("alice", seconds: 10)
        let alice = RecoveringClient("alice")
        alice.connect(to: here, token: token)
        func wait(_ milliseconds: Int) {
            here.advance(milliseconds)
            there.advance(milliseconds)
        }
        if !isPolling {
            for _ in 0..<20 {
                wait(5_000)
                alice.read()
            }
            #expect(alice.client.socket?.closing == nil)
            alice.cut()
        } else {
            wait(100_000)
        }
        alice.connect(to: here, isPolling: isPolling, token: token)
        #expect(alice.refusal == nil && alice.count("authenticated") == 2)
        alice.cut()
        wait(509_000)
        alice.connect(to: there, isPolling: isPolling, token: token)
        #expect(alice.refusal == nil && alice.count("authenticated") == 3)
        // Its session ends where its grace does.
        let live = alice.client
        wait(1_000)
        let last = live.received().last ?? ""
        #expect(last.contains("TOKEN_EXPIRED"), "\(last)")
        alice.connect(to: there, isPolling: isPolling, token: token)
        #expect(code(alice) == "TOKEN_EXPIRED")
    }

    @Test("Only a token that opened a session while it was good, of the same user, unrevoked")
    func unknown() {
        let node = node()
        let used = node.token("alice", seconds: 10)
        let unused = node.token("alice", seconds: 11)
        let alice = RecoveringClient("alice")
        alice.connect(to: node, token: used)
        #expect(node.store.state.keptCount == 1)
        node.advance(80_000)
        alice.connect(to: node, token: unused)
        #expect(code(alice) == "TOKEN_EXPIRED")
        alice.connect(to: node, token: String(used.dropLast()) + (used.last == "A" ? "B" : "A"))
        #expect(code(alice) == "INVALID_TOKEN")
        alice.connect(to: node, token: used)
        #expect(alice.refusal == nil)
        node.say(#"{"type":"disconnect"}"#, on: .user(UserID(trusted: "alice")))
        alice.connect(to: node, token: used)
        #expect(code(alice) == "TOKEN_EXPIRED")
    }

    @Test("v1 over Socket.IO renews its token, and has no grace")
    func canonical() {
        let node = node()
        let token = node.token("alice", seconds: 10)
        let alice = RecoveringClient("alice", extra: #","proto":1"#)
        alice.connect(to: node, token: token)
        node.advance(10_000)
        alice.read()
        #expect(alice.client.socket?.closing?.code == 4002)
        node.advance(61_000)
        alice.connect(to: node, token: token)
        #expect(code(alice) == "TOKEN_EXPIRED")
    }

    @Test("While the store is away the client is sent away for a moment, and not refused for good")
    func storeAway() {
        let node = node()
        let token = node.token("alice", seconds: 10)
        let alice = RecoveringClient("alice")
        alice.connect(to: node, token: token)
        alice.cut()
        node.advance(80_000)
        node.fate = { _ in .fails }
        alice.connect(to: node, token: token)
        #expect(alice.refusal == nil && alice.client.socket?.closing?.code == 4202)
        node.fate = { _ in .commits }
        node.advance(5_000)
        alice.connect(to: node, token: token)
        #expect(alice.refusal == nil && alice.count("authenticated") == 2)
        // A second CONNECT of the namespace, while the first waits, is one too many.
        alice.cut()
        node.holdsAnswers = true
        alice.connect(to: node, token: token)
        alice.client.send("40{\"token\":\"\(token)\"}")
        node.holdsAnswers = false
        alice.read()
        #expect(alice.client.socket?.closing?.code == 1002)
    }
}
