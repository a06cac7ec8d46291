import Basics
import Testing
import WebSocket

@testable import Client

@Suite("The conversation of the terminal client")
struct ConnectModelTests {
    // MARK: Messages

    @Test("A message shows as sending, stored, delivered and read as the server tells")
    func messageStates() {
        let chat = Conversation.live()
        let frame = chat.send("hello")
        #expect(frame?.type == "message.send")
        #expect(chat.transcript == ["… alice: hello"])
        chat.receive(.ack(id: .number(frame?.id ?? -1), Conversation.ok(seq: 1)))
        #expect(chat.transcript == ["✓ alice: hello"])
        chat.receive(Conversation.receipt(delivered: 1))
        #expect(chat.transcript == ["✓✓ alice: hello"])
        chat.receive(Conversation.receipt(read: 1))
        #expect(chat.transcript == ["✓✓ read alice: hello"])
    }

    @Test("A receipt marks the messages up to its seq and none above it")
    func receiptCoversUpTo() {
        let chat = Conversation.live()
        for seq in 1...3 {
            let frame = chat.send("m\(seq)")
            chat.receive(.ack(id: .number(frame?.id ?? -1), Conversation.ok(seq: Int64(seq))))
        }
        chat.receive(Conversation.receipt(delivered: 2))
        #expect(chat.transcript == ["✓✓ alice: m1", "✓✓ alice: m2", "✓ alice: m3"])
    }

    @Test("A receipt that is older than one before changes nothing")
    func olderReceipt() {
        let chat = Conversation.live()
        let frame = chat.send("m")
        chat.receive(.ack(id: .number(frame?.id ?? -1), Conversation.ok(seq: 5)))
        chat.receive(Conversation.receipt(read: 5))
        _ = chat.take()
        chat.receive(Conversation.receipt(delivered: 4, read: 3))
        #expect(chat.take() == [])
        #expect(chat.transcript == ["✓✓ read alice: m"])
    }

    @Test("A receipt of somebody else than the other user marks nothing")
    func receiptOfOneself() {
        let chat = Conversation.live()
        let frame = chat.send("m")
        chat.receive(.ack(id: .number(frame?.id ?? -1), Conversation.ok(seq: 1)))
        var receipt = ServerEvent.Receipt()
        receipt.chat = "c"
        receipt.user = "alice"
        receipt.readSeq = 1
        chat.receive(.receipt(receipt))
        #expect(chat.transcript == ["✓ alice: m"])
    }

    @Test("One message is under way at a time, and the next follows its ack")
    func oneUnderWay() {
        let chat = Conversation.live()
        let first = chat.send("a")
        #expect(chat.send("b") == nil)
        #expect(chat.model.unsentCount == 2)
        _ = chat.take()
        chat.receive(.ack(id: .number(first?.id ?? -1), Conversation.ok(seq: 1)))
        #expect(chat.requests.map(\.type) == ["message.send"])
        #expect(chat.requests.first?.clientMessageID != first?.clientMessageID)
        #expect(chat.model.unsentCount == 1)
    }

    @Test("A refusal for good shows its reason, and the next message goes out")
    func refused() {
        let chat = Conversation.live()
        let first = chat.send("a")
        _ = chat.send("b")
        _ = chat.take()
        chat.receive(
            .ack(id: .number(first?.id ?? -1), Conversation.refusal("VALIDATION_ERROR")))
        #expect(chat.transcript == ["✗ alice: a (because)", "… alice: b"])
        #expect(chat.requests.count == 1)
    }

    @Test(
        "A refusal for now is sent again after its wait, under the same clientMsgId",
        arguments: [
            "RATE_LIMITED", "SERVICE_UNAVAILABLE", "DRAINING", "INTERNAL_ERROR",
        ])
    func retried(code: String) {
        let chat = Conversation.live()
        let first = chat.send("a")
        _ = chat.take()
        chat.receive(
            .ack(
                id: .number(first?.id ?? -1), Conversation.refusal(code, retryAfterMs: 700)))
        chat.pass(699)
        chat.tick()
        #expect(chat.requests == [])
        chat.pass(1)
        chat.tick()
        #expect(chat.requests.map(\.clientMessageID) == [first?.clientMessageID])
        #expect(chat.transcript == ["… alice: a"])
    }

    @Test(
        "A text of the server's limit is sent, a byte more is refused here",
        arguments: [
            (1_000, true), (1_001, false),
        ])
    func longestText(count: Int, isSent: Bool) {
        let chat = Conversation.live()
        var ready = ServerEvent.Ready()
        ready.user = "alice"
        ready.ciphertextBytes = 1_000
        chat.receive(.ready(ready))
        let frame = chat.send(String(repeating: "a", count: count))
        #expect((frame != nil) == isSent)
        #expect(chat.model.unsentCount == (isSent ? 1 : 0))
    }

    @Test("Messages of a pipe keep below 15 a second after a burst of 40")
    func pace() {
        let chat = Conversation.live()
        for index in 0..<100 { chat.model.submit("m\(index)", now: chat.now) }
        func answerAll(_ chat: Conversation) -> Int {
            var count = 0
            while let frame = chat.requests.last, frame.type == "message.send" {
                _ = chat.take()
                count += 1
                chat.receive(
                    .ack(id: .number(frame.id ?? -1), Conversation.ok(seq: Int64(count))))
            }
            return count
        }
        #expect(answerAll(chat) == 40)
        chat.pass(1_000)
        chat.tick()
        #expect(answerAll(chat) == 15)
    }

    // MARK: The log

    @Test("An entry that comes twice is shown once")
    func dedupe() {
        let chat = Conversation.live()
        for seq in [1, 2, 2, 1, 3] as [Int64] { chat.receive(Conversation.message(seq, "m\(seq)")) }
        #expect(chat.transcript == ["bob: m1", "bob: m2", "bob: m3"])
    }

    @Test("Entries up to the start are not shown, and messages of other chats never")
    func beforeTheStart() {
        let chat = Conversation.live(since: 7)
        chat.receive(Conversation.message(7, "old"))
        chat.receive(Conversation.message(8, "new"))
        var other = ServerEvent.Message()
        other.chat = "another"
        other.seq = 9
        chat.receive(.message(other))
        #expect(chat.transcript == ["bob: new"])
    }

    @Test("An ack that overtakes the entry before it leaves no hole in what is resumed from")
    func ackOvertakes() {
        let chat = Conversation.live()
        let frame = chat.send("mine")
        chat.receive(.ack(id: .number(frame?.id ?? -1), Conversation.ok(seq: 2)))
        #expect(chat.model.lastSeq == 0)
        chat.receive(Conversation.message(1, "theirs"))
        #expect(chat.model.lastSeq == 2)
    }

    @Test("A message of the user's other device shows as the user's own")
    func otherDevice() {
        let chat = Conversation.live()
        chat.receive(Conversation.message(1, "from the phone", from: "alice", device: "phone"))
        #expect(chat.transcript == ["✓ alice: from the phone"])
        chat.receive(Conversation.receipt(read: 1))
        #expect(chat.transcript == ["✓✓ read alice: from the phone"])
    }

    // MARK: Reconnecting

    @Test("The first connection joins from the start, the next resumes from the last entry")
    func joinThenResume() {
        let chat = Conversation(since: 5)
        chat.goLive(replay: [Conversation.message(6, "a")])
        #expect(chat.requests.first?.type == "chat.join")
        #expect(chat.requests.first?.since == 5)
        _ = chat.take()
        chat.lose()
        chat.pass(500)
        chat.model.opened(now: chat.now)
        #expect(chat.requests.first?.text.contains(#""resume""#) == true)
        #expect(chat.requests.first?.text.contains(#"{"c":6}"#) == true)
    }

    @Test("A message without its ack is sent again under the same clientMsgId, once caught up")
    func resend() {
        let chat = Conversation.live()
        let first = chat.send("a")
        chat.lose()
        _ = chat.take()
        chat.pass(500)
        chat.model.opened(now: chat.now)
        chat.ready()
        #expect(chat.requests.map(\.type) == ["resume"])
        chat.receive(.ack(id: .number(chat.requests[0].id ?? -1), Conversation.ok()))
        #expect(chat.requests.map(\.type) == ["resume"])
        chat.receive(.caughtUp(["c": 0]))
        #expect(chat.requests.map(\.type) == ["resume", "message.send"])
        #expect(chat.requests.last?.clientMessageID == first?.clientMessageID)
    }

    @Test(
        "A message whose ack was lost is shown once, though the replay holds it",
        arguments: [
            "d1", "d2",
        ])
    func lostAck(nextDevice: String) {
        let chat = Conversation.live()
        _ = chat.send("a")
        chat.lose()
        _ = chat.take()
        chat.pass(500)
        chat.goLive(
            device: nextDevice,
            replay: [
                Conversation.message(1, "b"),
                Conversation.message(2, "a", from: "alice", device: "d1"),
                Conversation.message(3, "c"),
            ])
        let again = chat.requests.last { $0.type == "message.send" }
        chat.receive(
            .ack(id: .number(again?.id ?? -1), Conversation.ok(seq: 2, duplicate: true)))
        #expect(chat.transcript == ["✓ alice: a", "bob: b", "bob: c"])
        #expect(chat.model.lastSeq == 3)
        #expect(chat.model.unsentCount == 0)
    }

    @Test("An entry of this device that is another message than the resent one is shown too")
    func heldAndReleased() {
        let chat = Conversation.live()
        _ = chat.send("a")
        chat.lose()
        _ = chat.take()
        chat.pass(500)
        chat.goLive(replay: [Conversation.message(1, "earlier", from: "alice", device: "d1")])
        let again = chat.requests.last { $0.type == "message.send" }
        chat.receive(.ack(id: .number(again?.id ?? -1), Conversation.ok(seq: 2)))
        #expect(chat.transcript == ["✓ alice: a", "✓ alice: earlier"])
    }

    @Test("A message entered while offline waits and goes out after the reconnect")
    func enteredOffline() {
        let chat = Conversation.live()
        chat.lose()
        #expect(chat.send("later") == nil)
        chat.pass(500)
        chat.goLive()
        #expect(chat.requests.last { $0.type == "message.send" }?.text.contains("later") == true)
    }

    @Test("Waits between attempts double from 0.5 s to 10 s, the upper half at random")
    func backoff() {
        for seed in 1...20 as ClosedRange<UInt64> {
            let chat = Conversation.live(seed: seed)
            for bound in [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000] {
                chat.lose()
                let wait = chat.retryMs ?? -1
                #expect((bound / 2...bound).contains(wait))
                chat.pass(wait)
            }
            chat.goLive()
            chat.lose()
            #expect((250...500).contains(chat.retryMs ?? -1))
        }
    }

    @Test("A lost connection is told once, however many attempts fail, and so is its return")
    func toldOnce() {
        let chat = Conversation.live()
        chat.lose()
        chat.lose(.failed(.timedOut("x")))
        chat.lose(.failed(.timedOut("x")))
        chat.goLive()
        let notices = chat.model.lines.map { PlainLines.text(of: $0, user: "alice") }
        #expect(
            notices == [
                "* connection lost (the server ended the connection); reconnecting",
                "* connected again",
            ])
    }

    @Test("The server's retryMs is waited for")
    func retryMs() {
        let chat = Conversation.live()
        chat.lose(.closed(.draining, reason: #"{"retryMs":7000}"#))
        #expect(chat.retryMs == 7_000)
    }

    @Test(
        "Close codes 4000 to 4099 end it, all others reconnect",
        arguments: [
            (1000, false), (1001, false), (1011, false), (3999, false), (4000, true), (4001, true),
            (4002, true), (4099, true), (4100, false), (4200, false), (4999, false),
        ] as [(UInt16, Bool)])
    func closeCodes(code: UInt16, ends: Bool) {
        let chat = Conversation.live()
        chat.lose(.closed(CloseCode(rawValue: code), reason: ""))
        #expect((chat.model.phase == .ended) == ends)
    }

    @Test("An expired token is no end where new ones can be made")
    func expiredToken() {
        let chat = Conversation.live(canRenewToken: true)
        chat.lose(.closed(.tokenExpired, reason: ""))
        #expect(chat.retryMs != nil)
    }

    @Test(
        "HTTP refusals end it, but for 408, 429 and 5xx",
        arguments: [
            (400, true), (401, true), (403, true), (404, true), (408, false), (429, false),
            (500, false), (503, false),
        ])
    func refusedUpgrade(status: Int, ends: Bool) {
        let chat = Conversation.live()
        chat.lose(
            .failed(.refused(status: status, code: nil, message: "", retryAfterMs: nil)))
        #expect((chat.model.phase == .ended) == ends)
    }

    @Test("A chat that is not the user's any more ends it; a store that is down does not")
    func resumeRefused() {
        let gone = Conversation.live()
        gone.lose()
        gone.model.opened(now: gone.now)
        var ack = Conversation.ok()
        ack.refused = ["c": "NOT_FOUND"]
        gone.receive(.ack(id: .number(gone.requests.last?.id ?? -1), ack))
        #expect(gone.model.phase == .ended)

        let down = Conversation.live()
        down.lose()
        down.model.opened(now: down.now)
        let request = down.requests.last?.id ?? -1
        down.receive(.ack(id: .number(request), Conversation.refusal("SERVICE_UNAVAILABLE")))
        #expect(down.retryMs != nil)
        #expect(down.take().contains(.disconnect))
    }

    @Test("A token of another user ends it")
    func anotherUser() {
        let chat = Conversation()
        chat.model.opened(now: chat.now)
        chat.ready(user: "mallory")
        #expect(chat.take().last == .end("the token is for mallory; use --as mallory"))
    }

    @Test("A server that is silent for two ping intervals and 5 s is a lost connection")
    func silence() {
        let chat = Conversation.live()
        var ready = ServerEvent.Ready()
        ready.user = "alice"
        ready.pingIntervalMs = 10_000
        chat.receive(.ready(ready))
        chat.pass(24_999)
        chat.tick()
        #expect(chat.model.phase == .live)
        chat.pass(1)
        chat.tick()
        #expect(chat.retryMs != nil)
        #expect(chat.take().contains(.disconnect))
    }

    @Test("A message without an ack for 15 s is a lost connection")
    func missingAck() {
        let chat = Conversation.live()
        _ = chat.send("a")
        chat.pass(14_999)
        chat.lastHeard = chat.now
        chat.tick()
        #expect(chat.model.phase == .live)
        chat.pass(1)
        chat.tick()
        #expect(chat.retryMs != nil)
    }

    // MARK: Receipts

    @Test("Messages of the other are reported delivered and read once a tick, cumulatively")
    func receipts() {
        let chat = Conversation.live()
        chat.receive(Conversation.message(1, "a"))
        chat.receive(Conversation.message(2, "b"))
        #expect(chat.requests == [])
        chat.tick()
        #expect(chat.requests.map(\.type) == ["delivery.ack", "read.set"])
        #expect(chat.requests.map(\.seq) == [2, 2])
        _ = chat.take()
        chat.tick()
        #expect(chat.requests == [])
    }

    @Test("Nothing is reported beyond a hole")
    func receiptsStopAtHole() {
        let chat = Conversation.live()
        chat.receive(Conversation.message(1, "a"))
        chat.receive(Conversation.message(3, "c"))
        chat.tick()
        #expect(chat.requests.map(\.seq) == [1, 1])
    }

    @Test("The user's own messages are not reported")
    func ownAreNotReported() {
        let chat = Conversation.live()
        chat.receive(Conversation.message(1, "a", from: "alice", device: "phone"))
        chat.tick()
        #expect(chat.requests == [])
    }

    @Test("What was reported is reported again on the next connection")
    func reportedAgain() {
        let chat = Conversation.live()
        chat.receive(Conversation.message(1, "a"))
        chat.tick()
        chat.lose()
        _ = chat.take()
        chat.pass(500)
        chat.goLive()
        chat.tick()
        #expect(chat.requests.map(\.type).suffix(2) == ["delivery.ack", "read.set"])
    }

    // MARK: Typing

    @Test("Typing is told at most once in 2 s")
    func typingPace() {
        let chat = Conversation.live()
        var told: [Int] = []
        for step in 0..<50 {
            _ = chat.take()
            chat.model.typed(isEmpty: false, now: chat.now)
            if chat.requests.contains(where: { $0.isTyping == true }) { told.append(step * 100) }
            chat.pass(100)
        }
        #expect(told == [0, 2_000, 4_000])
    }

    @Test("Typing ends when the line is cleared or sent, and only if it had been told")
    func typingEnds() {
        let chat = Conversation.live()
        chat.model.typed(isEmpty: true, now: chat.now)
        #expect(chat.requests == [])
        chat.model.typed(isEmpty: false, now: chat.now)
        chat.model.typed(isEmpty: true, now: chat.now)
        #expect(chat.requests.map(\.isTyping) == [true, false])
        _ = chat.take()
        chat.pass(2_000)
        chat.model.typed(isEmpty: false, now: chat.now)
        chat.model.submit("hello", now: chat.now)
        #expect(chat.requests.map(\.type) == ["typing", "typing", "message.send"])
        #expect(chat.requests[1].isTyping == false)
    }

    @Test("Nothing is told of typing while not connected")
    func typingOffline() {
        let chat = Conversation.live()
        chat.lose()
        _ = chat.take()
        chat.model.typed(isEmpty: false, now: chat.now)
        #expect(chat.requests == [])
    }

    @Test("The other's typing ends with false, with a message, after 8 s, or with the connection")
    func peerTyping() {
        let start = ServerEvent.typing(chat: "c", user: "bob", isTyping: true)
        let chat = Conversation.live()
        chat.receive(start)
        #expect(chat.model.peerIsTyping)
        #expect(chat.take() == [.typingBegan])
        chat.receive(start)
        #expect(chat.take() == [])
        chat.receive(.typing(chat: "c", user: "bob", isTyping: false))
        #expect(!chat.model.peerIsTyping)
        chat.receive(start)
        chat.receive(Conversation.message(1, "done"))
        #expect(!chat.model.peerIsTyping)
        chat.receive(start)
        chat.pass(7_999)
        chat.tick()
        #expect(chat.model.peerIsTyping)
        chat.pass(1)
        chat.tick()
        #expect(!chat.model.peerIsTyping)
        chat.receive(start)
        chat.lose()
        #expect(!chat.model.peerIsTyping)
    }

    @Test("Typing of another chat, or of the user, is not the other's")
    func typingOfOthers() {
        let chat = Conversation.live()
        chat.receive(.typing(chat: "d", user: "bob", isTyping: true))
        chat.receive(.typing(chat: "c", user: "alice", isTyping: true))
        #expect(!chat.model.peerIsTyping)
    }

    // MARK: Commands and the end

    @Test("/quit ends it, /help and an unknown command send nothing, // sends a slash")
    func commands() {
        let chat = Conversation.live()
        #expect(chat.send("/help") == nil)
        #expect(chat.send("/dance") == nil)
        #expect(chat.send("//etc")?.text.contains(#""encryptedContent":"/etc""#) == true)
        _ = chat.take()
        chat.model.submit("/quit", now: chat.now)
        #expect(chat.take() == [.end(nil)])
    }

    @Test("The end of a pipe waits for the acks of all its lines, also across a reconnect")
    func finishes() {
        let chat = Conversation.live()
        _ = chat.send("a")
        chat.model.finishWhenSent()
        chat.tick()
        #expect(chat.model.phase == .live)
        chat.lose()
        chat.tick()
        chat.pass(500)
        chat.goLive()
        let again = chat.requests.last { $0.type == "message.send" }
        chat.receive(.ack(id: .number(again?.id ?? -1), Conversation.ok(seq: 1)))
        chat.tick()
        #expect(chat.model.phase == .ended)
    }

    @Test("A session that will expire asks for a new token where one can be made")
    func renewal() {
        let chat = Conversation.live(canRenewToken: true)
        chat.receive(.expiring(inMs: 60_000))
        #expect(chat.take() == [.renewToken])
        chat.model.renewed("new.token.here")
        #expect(chat.requests.last?.text.contains("new.token.here") == true)
    }

    @Test("The transcript keeps at most 2,000 lines, and a line that went is still told of")
    func bounded() {
        let chat = Conversation.live()
        let frame = chat.send("first")
        for seq in 1...2_500 as ClosedRange<Int64> {
            chat.receive(Conversation.message(seq, "m"))
        }
        #expect(chat.model.lines.count <= ConnectModel.maximumLines)
        _ = chat.take()
        chat.receive(.ack(id: .number(frame?.id ?? -1), Conversation.ok(seq: 2_501)))
        let updated = chat.take().contains { effect in
            if case .updated(let line) = effect {
                line.content == .own("first", .stored(seq: 2_501))
            } else {
                false
            }
        }
        #expect(updated)
        #expect(chat.transcript.allSatisfy { $0 == "bob: m" })
    }
}

@Suite("Which entries have been seen")
struct SeenEntriesTests {
    @Test("An entry is new once, in any order, and the end moves over what is whole")
    func order() {
        var seen = SeenEntries(through: 10)
        let early = [10, 12, 12].map { seen.insert($0) }
        #expect(early == [false, true, false])
        #expect(seen.through == 10)
        let late = [11, 12].map { seen.insert($0) }
        #expect(late == [true, false])
        #expect(seen.through == 12)
    }

    @Test("Being caught up passes over entries that do not exist for the user")
    func reached() {
        var seen = SeenEntries(through: 0)
        seen.insert(4)
        seen.reached(3)
        #expect(seen.through == 4)
        seen.reached(2)
        #expect(seen.through == 4)
    }

    @Test("The last possible seq does not trap")
    func last() {
        var seen = SeenEntries(through: .max - 1)
        let isNew = [Int64.max, .max].map { seen.insert($0) }
        #expect(isNew == [true, false])
        #expect(seen.through == .max)
    }
}
