import Basics
import Gateway
import Testing
import WebSocket

@Suite("RFC 6455 as the gateway keeps it")
struct FrameTests {
    // MARK: Ping and pong

    @Test("§5.5.3: a ping is answered with its payload", arguments: [0, 1, 125])
    func ping(length: Int) {
        let socket = TestNode().client("alice")
        let payload = (0..<length).map { UInt8($0) }
        socket.send(TestSocket.frame(.ping, payload))
        socket.decodeFrames()
        #expect(socket.pongs == [payload])
    }

    @Test("A silent client is pinged after 25 s, and closed with 4201 20 s later")
    func pongTimeout() {
        let socket = TestNode().client("alice")
        socket.node.advance(24_980)
        socket.decodeFrames()
        #expect(socket.pings.isEmpty)
        socket.node.advance(40)
        socket.decodeFrames()
        #expect(socket.pings.count == 1)
        socket.node.advance(19_940)
        #expect(socket.closeCode == nil)
        socket.node.advance(60)
        #expect(socket.closeCode == 4201)
        #expect(socket.pings.count == 1)
    }

    @Test("A client that answers stays, and is pinged again after 25 s of silence")
    func answeredPings() {
        let socket = TestNode().client("alice")
        for round in 1...4 {
            socket.node.advance(25_050)
            socket.decodeFrames()
            #expect(socket.pings.count == round)
            socket.send(TestSocket.frame(.pong, []))
        }
        #expect(socket.closeCode == nil)
    }

    @Test("Whoever talks is not pinged")
    func talkers() {
        let socket = TestNode().client("alice")
        for _ in 0..<10 {
            socket.node.advance(20_000)
            socket.sendText(#"{"type":"nothing"}"#)
        }
        socket.decodeFrames()
        #expect(socket.pings.isEmpty && socket.closeCode == nil)
    }

    @Test("Anything that comes after the ping counts as life")
    func anyAnswer() {
        let socket = TestNode().client("alice")
        socket.node.advance(25_050)
        socket.node.advance(19_000)
        socket.sendText(#"{"type":"nothing"}"#)
        socket.node.advance(20_000)
        #expect(socket.closeCode == nil)
    }

    // MARK: Closing

    @Test(
        "§5.5.1: a close frame is answered with its code, and our half is shut",
        arguments: [
            1000, 1001, 3000, 4999, nil,
        ] as [UInt16?])
    func closeHandshake(code: UInt16?) {
        let node = TestNode()
        let socket = node.client("alice")
        socket.send(TestSocket.close(code, code == nil ? "" : "bye"))
        socket.decodeFrames()
        #expect(socket.closing != nil && socket.closing?.code == code.map(Int.init))
        #expect(socket.isHalfClosed)
        #expect(node.counter(.activeConnections) == 0)
        #expect(node.counter(.authenticatedConnections) == 0)
        socket.end()
        #expect(socket.isClosed)
    }

    @Test("Frames after a close frame are not acted on")
    func nothingAfterClose() {
        let node = TestNode()
        node.group("c1", ["alice"])
        let socket = node.client("alice")
        let send = TestSocket.say("message.send", ["chatId": "c1", "encryptedContent": "x"])
        socket.send(TestSocket.close(1000) + send)
        socket.send(send)
        socket.send(TestSocket.close(1000))
        socket.decodeFrames()
        #expect(node.log("c1").isEmpty)
    }

    @Test("A peer that never ends its half is closed after the closing time")
    func drainTimeout() {
        let socket = TestNode().client("alice")
        socket.send(TestSocket.close(1000))
        socket.node.advance(4_950)
        #expect(!socket.isClosed)
        socket.node.advance(80)
        #expect(socket.isClosed)
    }

    @Test("After our close frame the peer's is awaited, and then the connection ends")
    func ourClose() {
        let socket = TestNode().client("alice")
        socket.send(TestSocket.frame(.binary, [1]))
        #expect(socket.closeCode == 1003)
        #expect(!socket.isHalfClosed, "the peer's half of the handshake is still to come")
        socket.send(TestSocket.close(1003))
        #expect(socket.isHalfClosed)
        socket.end()
        #expect(socket.isClosed)
    }

    @Test("A peer that does not answer our close frame is closed after the closing time")
    func closeTimeout() {
        let socket = TestNode().client("alice")
        socket.send(TestSocket.frame(.binary, [1]))
        socket.node.advance(4_950)
        #expect(!socket.isClosed)
        socket.node.advance(80)
        #expect(socket.isClosed)
    }

    @Test("What a peer sends after our close frame is not acted on, pings neither")
    func ignoredWhileClosing() {
        let node = TestNode()
        node.group("c1", ["alice"])
        let socket = node.client("alice")
        socket.send(TestSocket.frame(.binary, [1]))
        socket.say("message.send", ["chatId": "c1", "encryptedContent": "x"])
        socket.send(TestSocket.frame(.ping, [1]))
        socket.send(TestSocket.frame(.text, [0xFF]))
        socket.decodeFrames()
        #expect(node.log("c1").isEmpty && socket.pongs.isEmpty)
        #expect(socket.closing?.code == 1003)
    }

    @Test("A connection that ends without a word leaves nothing behind")
    func abruptEnd() {
        let node = TestNode()
        node.group("c1", ["alice"])
        let socket = node.member("alice", of: "c1")
        #expect(node.counter(.subscriptions) == 1)
        socket.end()
        #expect(socket.isClosed)
        #expect(node.counter(.subscriptions) == 0)
        #expect(node.counter(.activeConnections) == 0)
        #expect(node.counter(.outboxBytes) == 0)
        #expect(node.shards[0].isEmpty)
    }

    // MARK: What is no text

    @Test("A binary frame is close 1003")
    func binary() {
        let socket = TestNode().client("alice")
        socket.send(TestSocket.frame(.binary, Array(#"{"type":"x"}"#.utf8)))
        #expect(socket.closeCode == 1003)
    }

    @Test(
        "§8.1: text that is not UTF-8 is close 1007",
        arguments: [
            [0xFF], [0xC3], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80],
        ] as [[UInt8]])
    func invalidUTF8(bytes: [UInt8]) {
        let socket = TestNode().client("alice")
        socket.send(TestSocket.frame(.text, Array(#"{"type":""#.utf8) + bytes))
        #expect(socket.closeCode == 1007)
    }

    @Test(
        "A broken rule of the framing is close 1002",
        arguments: [
            [0x81, 0x01, 0x41], [0x91, 0x80, 0, 0, 0, 0], [0x83, 0x80, 0, 0, 0, 0],
            [0x80, 0x80, 0, 0, 0, 0], [0x09, 0x80, 0, 0, 0, 0], [0x88, 0x81, 0, 0, 0, 0, 0],
        ] as [[UInt8]])
    func protocolErrors(bytes: [UInt8]) {
        let socket = TestNode().client("alice")
        socket.send(bytes)
        #expect(socket.closeCode == 1002)
    }

    // MARK: Sizes and deadlines

    private func padded(to count: Int) -> [UInt8] {
        let frame = #"{"type":"nothing","payload":{}}"#
        return Array((frame + String(repeating: " ", count: count - frame.utf8.count)).utf8)
    }

    @Test(
        "A frame as long as the limit is read, one byte more is close 1009",
        arguments: [
            (199, nil), (200, nil), (201, 1009),
        ] as [(Int, Int?)])
    func frameLimit(length: Int, code: Int?) {
        let node = TestNode(limits: ["frame": "200"])
        let socket = node.client("alice")
        socket.send(TestSocket.frame(.text, padded(to: length)))
        #expect(socket.closeCode == code)
        if code == nil { #expect(socket.events("error").first?.code == "UNKNOWN_EVENT") }
    }

    @Test("A frame over the limit is refused by its header alone")
    func frameLimitByHeader() {
        let socket = TestNode(limits: ["frame": "200"]).client("alice")
        socket.send(Array(TestSocket.frame(.text, padded(to: 201))[..<4]))
        #expect(socket.closeCode == 1009)
    }

    @Test(
        "Fragments as long as the limit together are read, one byte more is 1009",
        arguments: [
            (299, nil), (300, nil), (301, 1009),
        ] as [(Int, Int?)])
    func messageLimit(length: Int, code: Int?) {
        let socket = TestNode(limits: ["frame": "200", "message": "300"]).client("alice")
        let text = padded(to: length)
        socket.send(TestSocket.frame(.text, Array(text[..<150]), isFinal: false))
        socket.send(TestSocket.frame(.continuation, Array(text[150...])))
        #expect(socket.closeCode == code)
    }

    @Test(
        "A message has at most as many fragments as the limit",
        arguments: [
            (3, nil), (4, nil), (5, 1008),
        ] as [(Int, Int?)])
    func fragmentLimit(count: Int, code: Int?) {
        let socket = TestNode(limits: ["messageFragments": "4"]).client("alice")
        socket.send(TestSocket.frame(.text, padded(to: 40), isFinal: false))
        for index in 1..<count {
            socket.send(TestSocket.frame(.continuation, [], isFinal: index == count - 1))
        }
        #expect(socket.closeCode == code)
        if code == nil { #expect(socket.events("error").count == 1) }
    }

    @Test("A message in pieces of a byte, with a ping inside, is read")
    func dripping() {
        let node = TestNode()
        node.group("c1", ["alice"])
        let socket = node.client("alice")
        let text = Array(
            #"{"type":"message.send","id":1,"payload":{"chatId":"c1","content":"ü€"}}"#.utf8)
        let bytes =
            TestSocket.frame(.text, Array(text[..<20]), isFinal: false)
            + TestSocket.frame(.ping, [9])
            + TestSocket.frame(.continuation, Array(text[20...]))
        for byte in bytes { socket.send([byte]) }
        #expect(socket.answer(to: 1).ok == true)
        #expect(socket.pongs == [[9]])
        #expect(node.contents("c1") == ["ü€"])
    }

    @Test("A message that takes longer than its time is close 1008, however it drips")
    func messageDeadline() {
        let socket = TestNode(limits: ["messageTimeout": "10000"]).client("alice")
        let frame = TestSocket.frame(.text, padded(to: 200))
        for index in 0..<9 {
            socket.send([frame[index]])
            node(socket, 1_000)
        }
        socket.send([frame[9]])
        node(socket, 900)
        #expect(socket.closeCode == nil)
        node(socket, 150)
        #expect(socket.closeCode == 1008)
    }

    private func node(_ socket: TestSocket, _ milliseconds: Int) {
        socket.node.advance(milliseconds)
    }

    @Test("Each message has a time of its own, also where the next begins in the same piece")
    func deadlinePerMessage() {
        let socket = TestNode(limits: ["messageTimeout": "10000"]).client("alice")
        let frame = TestSocket.frame(.text, padded(to: 60))
        socket.send(Array(frame[..<30]))
        for _ in 0..<4 {
            node(socket, 8_000)
            socket.send(Array(frame[30...] + frame[..<30]))
        }
        #expect(socket.closeCode == nil)
        #expect(socket.events("error").count == 4)
        node(socket, 10_050)
        #expect(socket.closeCode == 1008)
    }

    @Test("A control frame between fragments moves no deadline")
    func deadlineWithPings() {
        let socket = TestNode(limits: ["messageTimeout": "10000"]).client("alice")
        socket.send(TestSocket.frame(.text, padded(to: 60), isFinal: false))
        for _ in 0..<10 {
            node(socket, 1_000)
            socket.send(TestSocket.frame(.ping, []))
        }
        node(socket, 50)
        #expect(socket.closeCode == 1008)
    }

    // MARK: What is no request

    @Test(
        "What cannot be read is INVALID_INPUT, and the connection stays",
        arguments: [
            "no JSON", "{", "[]", "7", "{}", #"{"type":7}"#, #"{"type":"chat.join","id":{}}"#,
            #"{"type":"chat.join","id":1.5,"payload":{"chatId":"c"}}"#,
            #"{"type":"a","type":"b"}"#,
        ])
    func unreadable(text: String) {
        let node = TestNode()
        let socket = node.client("alice")
        socket.sendText(text)
        #expect(socket.events("error").map(\.code) == ["INVALID_INPUT"])
        #expect(socket.closeCode == nil)
        #expect(node.counter(.badInputs) == 1)
    }

    @Test("Nine frames that cannot be read leave the connection open, the tenth closes it: 4006")
    func tenBadFrames() {
        let socket = TestNode().client("alice")
        for _ in 0..<9 { socket.sendText("x") }
        #expect(socket.events("error").count == 9)
        #expect(socket.closeCode == nil)
        socket.sendText("x")
        #expect(socket.closeCode == 4006)
    }

    @Test("Bad frames are counted by connection: those of a user's two do not add up")
    func badFramesOfTwoConnections() {
        let node = TestNode()
        let first = node.client("alice")
        let second = node.client("alice")
        for _ in 0..<9 {
            first.sendText("x")
            second.sendText("x")
        }
        #expect(first.closeCode == nil && second.closeCode == nil)
        first.sendText("x")
        #expect(first.closeCode == 4006 && second.closeCode == nil)
        let third = node.client("alice")
        for _ in 0..<9 { third.sendText("x") }
        #expect(third.closeCode == nil)
        second.sendText("x")
        third.sendText("x")
        #expect(second.closeCode == 4006 && third.closeCode == 4006)
        #expect(node.counter(.badInputs) == 30)
    }

    @Test("Ten bad frames in more than a minute are no reason to close")
    func slowBadFrames() {
        let socket = TestNode().client("alice")
        for _ in 0..<9 { socket.sendText("x") }
        for _ in 0..<3 {
            socket.node.advance(20_001)
            socket.send(TestSocket.frame(.pong, []))
        }
        for _ in 0..<9 { socket.sendText("x") }
        #expect(socket.closeCode == nil)
    }

    @Test("An unknown event, or one whose fields are wrong, is refused and not counted")
    func notCounted() {
        let node = TestNode()
        let socket = node.client("alice")
        for _ in 0..<15 {
            socket.sendText(#"{"type":"what.ever","payload":{}}"#)
            socket.sendText(#"{"type":"chat.join","payload":{}}"#)
        }
        let codes = Set(socket.events("error").compactMap(\.code.stringValue))
        #expect(codes == ["UNKNOWN_EVENT", "INVALID_INPUT"])
        #expect(socket.closeCode == nil && node.counter(.badInputs) == 0)
    }

    @Test("Draining closes every socket with 4200 and a hint when to come back")
    func draining() {
        let node = TestNode()
        let socket = node.client("alice")
        let unauthenticated = node.connect()
        unauthenticated.upgrade()
        node.give(.mail(.drain), to: 0)
        for socket in [socket, unauthenticated] {
            #expect(socket.closeCode == 4200)
            let hint = JSONValue(parsing: Array((socket.closing?.reason ?? "").utf8))
            #expect((hint.retryMs.intValue ?? 0) > 0)
        }
    }
}
