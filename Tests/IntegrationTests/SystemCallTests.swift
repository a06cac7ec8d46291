import Client
import Foundation
import ServerSupport
import Testing

/// The two ways to read and write: many sockets a system call, and one.
struct SystemCallTests {
    private static func server(_ words: [String], shards: Int = 1) throws -> TestServer {
        var options = TestServer.Options(arguments: ["--bench"] + words)
        options.shards = shards
        return try TestServer(options)
    }

    /// Descriptors of io_uring that it has open.
    private static func rings(_ server: TestServer) throws -> Int {
        let folder = "/proc/\(server.process.id)/fd"
        return try FileManager.default.contentsOfDirectory(atPath: folder).count {
            let target = try? FileManager.default.destinationOfSymbolicLink(
                atPath: "\(folder)/\($0)")
            return target?.contains("io_uring") ?? false
        }
    }

    /// A text frame; a client's has a mask, which changes nothing here.
    private static func frame(_ payload: [UInt8], isClient: Bool) -> [UInt8] {
        let mark: UInt8 = isClient ? 0x80 : 0
        var frame: [UInt8] = [0x81]
        switch payload.count {
        case ..<126: frame.append(mark | UInt8(payload.count))
        case ..<65_536:
            frame += [mark | 126, UInt8(payload.count >> 8), UInt8(payload.count & 0xFF)]
        default:
            frame.append(mark | 127)
            frame += (0..<8).map { UInt8(truncatingIfNeeded: payload.count >> (56 - 8 * $0)) }
        }
        return frame + (isClient ? [0, 0, 0, 0] : []) + payload
    }

    private static func socket(
        _ server: TestServer, _ path: String, receiveBufferBytes: Int32? = nil
    ) throws -> RawSocket {
        let socket = try RawSocket(port: server.port, receiveBufferBytes: receiveBufferBytes)
        socket.send(
            "GET \(path) HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        var head = ""
        while !head.hasSuffix("\r\n\r\n") {
            guard case .bytes(let bytes) = socket.receive(timeoutMs: 5_000) else {
                throw SupportError("no answer to the handshake: \(head)")
            }
            head += String(decoding: bytes, as: UTF8.self)
        }
        try check(head.hasPrefix("HTTP/1.1 101"), head)
        return socket
    }

    @Test("io_uring is used where the kernel offers it, one ring a way and shard, unless it is off")
    func rings() throws {
        try #expect(Self.rings(try Self.server(["--io-uring", "off"], shards: 2)) == 0)
        let server = try Self.server(["--log-level", "info"], shards: 2)
        try #expect(Self.rings(server) == (IOUring.isOffered ? 4 : 0))
        #expect(server.said.contains("offers no io_uring") != IOUring.isOffered)
    }

    @Test(
        "Each gets its own bytes back, whole and in order, whatever their size, and who ends too",
        arguments: ["auto", "off"])
    func echoes(mode: String) throws {
        let server = try Self.server(["--io-uring", mode])
        let sockets = try (0..<60).map { _ in try Self.socket(server, "/bench/echo") }
        // Around what is read at once, and far beyond; a frame has up to 14 bytes more.
        let sizes = [0, 1, 125, 126, 4_080, 4_088, 4_089, 4_096, 4_097, 8_192, 12_288, 60_000]
        for round in 0..<5 {
            var expected: [[UInt8]] = []
            for (index, socket) in sockets.enumerated() {
                let payloads = (0...(round == 4 ? 0 : index % 3)).map { piece in
                    [UInt8](
                        repeating: UInt8(97 + (index + piece + round) % 26),
                        count: sizes[(index + piece * 5 + round) % sizes.count])
                }
                expected.append(payloads.flatMap { Self.frame($0, isClient: false) })
                #expect(socket.send(payloads.flatMap { Self.frame($0, isClient: true) }))
                if round == 4 { socket.endSending() }
            }
            for (index, socket) in sockets.enumerated() {
                var heard: [UInt8] = []
                while heard.count < expected[index].count {
                    guard case .bytes(let bytes) = socket.receive(timeoutMs: 5_000) else { break }
                    heard += bytes
                }
                #expect(heard == expected[index], "round \(round), \(index)")
            }
        }
        for socket in sockets { #expect(socket.drain(timeoutMs: 5_000) != nil, "it ends, too") }
    }

    @Test(
        "Who does not read holds up nobody in the room, and is let go", arguments: ["auto", "off"])
    func slowReader(mode: String) throws {
        let server = try Self.server(["--io-uring", mode, "--limit", "outbox=65536"])
        let slow = try Self.socket(server, "/bench/room/r", receiveBufferBytes: 4_096)
        let quick = try (0..<6).map { _ in try Self.socket(server, "/bench/room/r") }
        let payload = [UInt8](repeating: 120, count: 4_000)
        let frame = Self.frame(payload, isClient: false)
        let count = 1_500
        for number in 0..<count {
            #expect(quick[number % 6].send(Self.frame(payload, isClient: true)))
            for socket in quick {
                var heard = 0
                while heard < frame.count {
                    guard case .bytes(let bytes) = socket.receive(timeoutMs: 5_000) else {
                        Issue.record("message \(number) did not come")
                        return
                    }
                    heard += bytes.count
                }
                #expect(heard == frame.count)
            }
        }
        #expect(slow.drain(timeoutMs: 10_000) != nil, "it was closed")
        try #expect(Metrics(server)["martlet_slow_consumers_closed_total"] == 1)
    }

    @Test(
        "A request for another shard comes there whole, however long", arguments: ["auto", "off"])
    func moved(mode: String) throws {
        let server = try Self.server(
            ["--conformance", "--io-uring", mode, "--limit", "connects=off"], shards: 4)
        let opened = try server.get("/engine.io/?EIO=4&transport=polling")
        let text = String(decoding: opened.body, as: UTF8.self)
        let sid = try #require(text.split(separator: "\"").dropFirst(3).first)
        let target = "/engine.io/?EIO=4&transport=polling&sid=\(sid)"
        // Each on a connection of its own, which comes to any shard.
        for size in [
            10, 3_500, 3_900, 4_096, 4_300, 9_000, 60_000, 100, 8_000, 5_000, 30_000, 4_000,
        ] {
            let said = [UInt8](repeating: UInt8(97 + size % 26), count: size)
            let posted = try HTTPExchange.request(
                "POST", server.url.at(target), json: [52] + said, timeoutMs: 10_000)
            try check(posted.status == 200, "\(size): \(posted.status) \(posted.text)")
            // A ping may come before.
            var heard = try server.get(target).body
            while heard == [50] {
                _ = try HTTPExchange.request("POST", server.url.at(target), json: [51])
                heard = try server.get(target).body
            }
            if heard.starts(with: [50, 30]) { heard.removeFirst(2) }
            #expect(heard == [52] + said, "\(size) bytes")
        }
    }

    @Test(
        "Who finds no place is told so, and when to come back, whatever they have said",
        arguments: ["auto", "off"])
    func shed(mode: String) throws {
        let server = try Self.server(["--io-uring", mode, "--limit", "connections=16"])
        let inside = try (0..<16).map { _ in try Self.socket(server, "/bench/echo") }
        for size in [0, 5_000, 60_000] {
            let outside = try RawSocket(port: server.port)
            outside.send(
                "POST /api/v1/chats HTTP/1.1\r\nHost: a\r\nContent-Length: \(size)\r\n\r\n"
                    + String(repeating: " ", count: size))
            let answer = try #require(outside.drain(timeoutMs: 5_000))
            let text = String(decoding: answer, as: UTF8.self)
            #expect(text.hasPrefix("HTTP/1.1 503 ") && text.contains("Retry-After: "), "\(text)")
            #expect(!outside.wasReset, "\(size) bytes were left unread")
        }
        #expect(inside[0].send(Self.frame([97], isClient: true)))
        #expect(inside[0].receive(timeoutMs: 5_000) == .bytes(Self.frame([97], isClient: false)))
    }
}
