import Basics
import Gateway
import Testing
import WebSocket

@Suite("What somebody may send who has not said who they are")
struct UnknownPeerTests {
    /// A socket that has not authenticated.
    private func open(_ node: TestNode) -> TestSocket {
        let socket = node.connect()
        #expect(socket.upgrade(fields: ["Sec-WebSocket-Protocol: martlet.v1"]).status == 101)
        return socket
    }

    /// A `session.auth` with a good token, so many bytes long.
    private func greeting(_ node: TestNode, count: Int) -> [UInt8] {
        let text = #"{"type":"session.auth","payload":{"token":"\#(node.token("alice"))"}}"#
        return Array((text + String(repeating: " ", count: count - text.utf8.count)).utf8)
    }

    /// A frame that is no request and no bad input either.
    private func padded(to count: Int) -> [UInt8] {
        let text = #"{"type":"nothing","payload":{}}"#
        return Array((text + String(repeating: " ", count: count - text.utf8.count)).utf8)
    }

    /// A text in as many frames, the last ones empty.
    private func fragments(_ text: [UInt8], _ count: Int) -> [UInt8] {
        var frames = TestSocket.frame(.text, text, isFinal: count == 1)
        for index in 1..<max(count, 1) {
            frames += TestSocket.frame(.continuation, [], isFinal: index == count - 1)
        }
        return frames
    }

    @Test(
        "Before the token a frame has at most 16 KiB, one byte more is close 1009",
        arguments: [(16_383, nil), (16_384, nil), (16_385, 1009)] as [(Int, Int?)])
    func frameLimit(length: Int, code: Int?) {
        let node = TestNode()
        let socket = open(node)
        socket.send(TestSocket.frame(.text, greeting(node, count: length)))
        #expect(socket.types() == (code == nil ? ["session.ready"] : []))
        #expect(socket.closeCode == code)
    }

    @Test("Before the token a frame of more than 16 KiB is refused by its header alone")
    func frameLimitByHeader() {
        let node = TestNode()
        let socket = open(node)
        let frame = TestSocket.frame(.text, greeting(node, count: 16_385))
        socket.send(Array(frame[..<3]))
        #expect(socket.closeCode == nil)
        socket.send([frame[3]])
        #expect(socket.closeCode == 1009)
    }

    @Test(
        "Before the token the fragments of a message have at most 16 KiB together",
        arguments: [(16_383, nil), (16_384, nil), (16_385, 1009)] as [(Int, Int?)])
    func messageLimit(length: Int, code: Int?) {
        let node = TestNode()
        let socket = open(node)
        let text = greeting(node, count: length)
        socket.send(TestSocket.frame(.text, Array(text[..<8_000]), isFinal: false))
        socket.send(TestSocket.frame(.continuation, Array(text[8_000...])))
        #expect(socket.types() == (code == nil ? ["session.ready"] : []))
        #expect(socket.closeCode == code)
    }

    @Test(
        "Before the token a message has at most eight fragments, one more is close 1008",
        arguments: [(7, nil), (8, nil), (9, 1008)] as [(Int, Int?)])
    func fragmentLimit(count: Int, code: Int?) {
        let node = TestNode()
        let socket = open(node)
        socket.send(fragments(greeting(node, count: 1_000), count))
        #expect(socket.types() == (code == nil ? ["session.ready"] : []))
        #expect(socket.closeCode == code)
    }

    @Test("From the token on the limits are those of the node, also in the same piece")
    func afterTheToken() {
        let node = TestNode()
        let socket = open(node)
        socket.send(
            TestSocket.frame(.text, greeting(node, count: 16_384))
                + TestSocket.frame(.text, padded(to: 16_385)) + fragments(padded(to: 100), 9))
        #expect(socket.types() == ["session.ready", "error", "error"])
        #expect(socket.closeCode == nil)
    }

    @Test("A node's own limits hold before the token too, where they are lower")
    func lowerLimits() {
        let limits = ["frame": "1000", "message": "1200", "messageFragments": "3"]
        func code(_ frames: (TestNode) -> [UInt8]) -> Int? {
            let node = TestNode(limits: limits)
            let socket = open(node)
            socket.send(frames(node))
            return socket.closeCode
        }
        #expect(code { TestSocket.frame(.text, greeting($0, count: 1_000)) } == nil)
        #expect(code { TestSocket.frame(.text, greeting($0, count: 1_001)) } == 1009)
        for (length, expected) in [(1_200, nil), (1_201, 1009)] as [(Int, Int?)] {
            #expect(
                code { node in
                    let text = greeting(node, count: length)
                    return TestSocket.frame(.text, Array(text[..<600]), isFinal: false)
                        + TestSocket.frame(.continuation, Array(text[600...]))
                } == expected)
        }
        #expect(code { fragments(greeting($0, count: 900), 3) } == nil)
        #expect(code { fragments(greeting($0, count: 900), 4) } == 1008)
    }
}
