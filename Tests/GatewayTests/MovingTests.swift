import Basics
import BusCore
import Domain
import Gateway
import HTTP
import Testing

/// Requests that arrive at an instance which does not have their session.
@Suite("Tunnels to the instance that has the session, and PROXY headers")
struct MovingTests {
    private func pair() -> (TestNode, TestNode) {
        let here = TestNode(shards: 2, isShared: true, instance: 0x1_0000_00A1)
        let there = TestNode(shards: 2, isShared: true, instance: 0x1_0000_00B2)
        here.tell(.reached(instance: there.instance, at: "10.0.0.2:3002"))
        return (here, there)
    }

    @Test("A poll, a POST and an upgrade reach the owner, whatever instance they come to")
    func tunnels() throws {
        let (here, there) = pair()
        there.group("c1", ["alice", "bob"])
        let bob = there.socketIO("bob", isPolling: true)
        let stray = here.connect(shard: 1, address: "203.0.113.5")
        stray.send(TestSocket.request("POST", bob.target("polling"), body: "3"))
        let tunnel = try #require(here.tunnels.last)
        #expect(tunnel.address == "10.0.0.2:3002")
        // The driver joins the two.
        let joined = there.connect(shard: 1, isInternal: true)
        joined.send(tunnel.opening)
        let answer = joined.response()
        #expect(answer.text == "ok")
        #expect(answer.field("Connection") == "close", "the next request may be another client's")
        let socket = here.connect()
        socket.send(TestSocket.upgrade(bob.target("websocket")))
        let upgraded = there.connect(isInternal: true)
        upgraded.send(try #require(here.tunnels.last).opening)
        #expect(upgraded.switched().status == 101)
        upgraded.sendText("2probe")
        #expect(upgraded.takeTexts() == ["3probe"])
    }

    @Test("Where the owner is gone the client hears that its session is unknown")
    func gone() throws {
        let (here, there) = pair()
        let bob = there.socketIO("bob", isPolling: true)
        here.connect().send(TestSocket.request("GET", bob.target("polling")))
        let refusal = String(decoding: try #require(here.tunnels.last).refusal, as: UTF8.self)
        #expect(refusal.hasPrefix("HTTP/1.1 400 "))
        #expect(refusal.hasSuffix(#"{"code":1,"message":"Session ID unknown"}"#))
        here.tell(.reached(instance: there.instance, at: nil))
        #expect(
            here.connect().request("GET", bob.target("polling")).text
                == #"{"code":1,"message":"Session ID unknown"}"#)
    }

    @Test("A greeting that is not the deployment's, or was made for another process, opens nothing")
    func badGreetings() throws {
        let (here, there) = pair()
        let bob = there.socketIO("bob", isPolling: true)
        here.connect().send(TestSocket.request("GET", bob.target("polling")))
        let opening = try #require(here.tunnels.last).opening
        for index in [0, 8, 23, 24, 55] {
            var bad = opening
            bad[index] ^= 1
            let socket = there.connect(isInternal: true)
            socket.send(bad)
            #expect(socket.isClosed)
        }
        let other = TestNode(isShared: true, instance: 0x1_0000_00C3)
        let socket = other.connect(isInternal: true)
        socket.send(opening)
        #expect(socket.isClosed)
        // Without one the listener answers nothing at all.
        let bare = there.connect(isInternal: true)
        bare.send(TestSocket.request("GET", "/health/with-a-long-enough-path-to-fill-the-greeting"))
        #expect(bare.isClosed && !bare.hasUnread)
        #expect(there.shards[0].counters[.tunnelsRefused] == 6)
    }

    @Test("Through a tunnel there is nothing but sessions, and it leads no further")
    func narrow() throws {
        let (here, there) = pair()
        there.tell(.reached(instance: here.instance, at: "10.0.0.1:3002"))
        let bob = there.socketIO("bob", isPolling: true)
        here.connect().send(TestSocket.request("GET", bob.target("polling")))
        let greeting = Array(try #require(here.tunnels.last).opening.prefix(56))
        let socket = there.connect(isInternal: true)
        socket.send(greeting + TestSocket.request("GET", "/health"))
        #expect(socket.response().status == 404)
        let alice = here.socketIO("alice", isPolling: true)
        let loop = there.connect(isInternal: true)
        loop.send(greeting + TestSocket.request("GET", alice.target("polling")))
        #expect(loop.response().text.contains(#""code":1"#))
        #expect(there.tunnels.isEmpty)
    }

    @Test("A greeting in pieces is waited for, on the head's deadline")
    func slowGreeting() throws {
        let (here, there) = pair()
        let bob = there.socketIO("bob", isPolling: true)
        here.connect().send(TestSocket.request("POST", bob.target("polling"), body: "3"))
        let socket = there.connect(isInternal: true)
        for byte in try #require(here.tunnels.last).opening { socket.send([byte]) }
        #expect(socket.response().text == "ok")
        let silent = there.connect(isInternal: true)
        silent.send([77])
        there.advance(30_000)
        #expect(silent.isClosed || silent.isHalfClosed)
    }

    // MARK: PROXY

    private let proxied: [UInt8] =
        [13, 10, 13, 10, 0, 13, 10, 81, 85, 73, 84, 10, 0x21, 0x11, 0, 12]
        + [203, 0, 113, 9, 10, 0, 0, 1, 0x1F, 0x90, 0, 80]

    @Test("A trusted balancer's header says whose connection it is; then limits are that client's")
    func proxyHeader() {
        let node = TestNode(limits: ["connects": "1"], trusting: ["10.0.0.0/8"])
        func handshake(_ lead: [UInt8], _ address: String) -> Int {
            let socket = node.connect(address: address)
            socket.send(lead + TestSocket.request("GET", "/socket.io/?EIO=4&transport=polling"))
            return socket.response().status
        }
        for _ in 0..<5 { #expect(handshake(proxied, "10.0.0.1") == 200) }
        #expect(handshake(proxied, "10.0.0.2") == 429, "the same client behind another balancer")
        #expect(handshake([], "10.0.0.1") == 200, "the balancer itself, without a header")
        #expect(handshake(proxied, "192.0.2.1") == 400, "nobody else's counts")
    }

    @Test("It goes along when the connection moves to another shard")
    func proxyMoves() {
        let node = TestNode(shards: 2, trusting: ["10.0.0.0/8"])
        let bob = node.socketIO("bob", isPolling: true)
        let socket = node.connect(shard: 1, address: "10.0.0.1")
        for byte in proxied + TestSocket.request("POST", bob.target("polling"), body: "3") {
            socket.send([byte])
        }
        #expect(socket.response().text == "ok")
        #expect(node.handovers == 1)
    }
}
