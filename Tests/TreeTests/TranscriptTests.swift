import Foundation
import Gateway
import Testing
import WebSocket

/// The transcripts of Protocol/ are what happens: each is replayed against a shard with a store.
struct TranscriptTests {
    static let transcripts = ["first-message", "membership", "refusals", "resume", "topics"]

    @Test("A transcript happens frame by frame as it is written", arguments: transcripts)
    func replay(_ name: String) throws {
        let path = "Protocol/transcripts/\(name).txt"
        let replay = Replay(node: try LocalNode(), name: name)
        let lines = try Tree.text(path).split(separator: "\n", omittingEmptySubsequences: false)
        for (number, line) in lines.enumerated() where !line.isEmpty && !line.hasPrefix("#") {
            try replay.step(String(line), number + 1)
        }
        replay.finish()
    }

    @Test("Every transcript is replayed")
    func all() throws {
        #expect(
            try Tree.names(in: "Protocol/transcripts").filter { $0.hasSuffix(".txt") }
                == Self.transcripts.map { $0 + ".txt" })
    }
}

/// A transcript that is being replayed.
private final class Replay {
    private final class Peer {
        let key: ConnectionKey
        var decoder = MessageDecoder(role: .client)
        var arrived: [String] = []

        init(key: ConnectionKey) { self.key = key }
    }

    private let node: LocalNode
    private let name: String
    private var peers: [String: Peer] = [:]
    private var answers: [String: String] = [:]
    private var bound: [String: String] = [:]

    init(node: LocalNode, name: String) {
        self.node = node
        self.name = name
    }

    func step(_ line: String, _ number: Int) throws {
        let words = line.split(separator: " ", maxSplits: 2).map(String.init)
        let place = "\(name).txt:\(number)"
        try #require(words.count >= 2, "\(place)")
        let rest = words.count == 3 ? words[2] : ""
        switch words[1] {
        case "connects": try connect(words[0], rest, place)
        case "disconnects":
            let peer = peers.removeValue(forKey: words[0])
            node.disconnect(try #require(peer, "\(place)").key)
        case ">":
            if rest.hasPrefix("{") {
                try send(words[0], rest, place)
            } else {
                try request(words[0], rest, place)
            }
        case "<":
            if rest.first?.isNumber == true {
                let answer = answers.removeValue(forKey: words[0])
                try expect(try #require(answer, "\(place)"), rest, place)
            } else {
                try expect(try next(words[0], place), rest, place)
            }
        default: Issue.record("\(place) is no step")
        }
    }

    /// Nothing has come that was not mentioned, also not a little later.
    func finish() {
        node.pass(milliseconds: 1_000)
        for (name, peer) in peers {
            collect(peer)
            #expect(peer.arrived.isEmpty, "\(self.name).txt: \(name) was sent more")
        }
        #expect(answers.isEmpty, "\(name).txt: an answer is not mentioned")
    }

    // MARK: Sockets

    private func connect(_ name: String, _ how: String, _ place: String) throws {
        let words = how.split(separator: " ").map(String.init)
        let token = words.count == 3 ? try self.token(words[2]) : nil
        let isV1 = words.first == "v1"
        var head = """
            GET /ws HTTP/1.1\r\nHost: martlet\r\nUpgrade: websocket\r\nConnection: Upgrade\r
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n
            """
        if isV1 {
            head += "Sec-WebSocket-Protocol: martlet.v1"
            if let token { head += ", bearer." + token }
            head += "\r\n"
        } else if let token {
            head += "Authorization: Bearer \(token)\r\n"
        }
        let peer = Peer(key: try #require(node.connect(), "\(place)"))
        node.send(Array((head + "\r\n").utf8), to: peer.key)
        let bytes = node.take(from: peer.key)
        let end = try #require(Self.endOfHead(bytes), "\(place)")
        let answer = String(decoding: bytes[..<end], as: UTF8.self)
        #expect(answer.hasPrefix("HTTP/1.1 101 "), "\(place)")
        #expect(answer.contains("Sec-WebSocket-Protocol: martlet.v1\r\n") == isV1, "\(place)")
        peers[name] = peer
        decode(Array(bytes[end...]), peer)
    }

    private func send(_ name: String, _ text: String, _ place: String) throws {
        let peer = try #require(peers[name], "\(place)")
        let payload = Array(try filled(text).utf8)
        var frame: [UInt8] = [0x81]
        if payload.count < 126 {
            frame.append(0x80 | UInt8(payload.count))
        } else {
            frame += [0x80 | 126, UInt8(payload.count >> 8), UInt8(payload.count & 0xFF)]
        }
        let mask: [UInt8] = [1, 2, 3, 4]
        frame += mask
        frame += payload.enumerated().map { $1 ^ mask[$0 & 3] }
        node.send(frame, to: peer.key)
    }

    /// The next frame, for which up to a second is waited.
    private func next(_ name: String, _ place: String) throws -> String {
        let peer = try #require(peers[name], "\(place)")
        collect(peer)
        for _ in 0..<50 where peer.arrived.isEmpty {
            node.pass(milliseconds: 20)
            collect(peer)
        }
        try #require(!peer.arrived.isEmpty, "\(place): nothing came")
        return peer.arrived.removeFirst()
    }

    private func collect(_ peer: Peer) { decode(node.take(from: peer.key), peer) }

    private func decode(_ bytes: [UInt8], _ peer: Peer) {
        var bytes = bytes
        var offset = 0
        while true {
            var span = bytes.mutableSpan
            switch peer.decoder.next(in: &span, at: &offset, limits: MessageLimits()) {
            case .needMore: return
            case .message(_, let payload):
                peer.arrived.append(
                    String(decoding: payload.copy(from: bytes.span), as: UTF8.self))
            case .close(let code, _):
                peer.arrived.append("close \(code?.rawValue ?? 1_005)")
                return
            case .ping, .pong: break
            case .violation(let violation):
                peer.arrived.append("violation \(violation)")
                return
            }
        }
    }

    // MARK: HTTP

    private func request(_ name: String, _ text: String, _ place: String) throws {
        let words = try filled(text).split(separator: " ", maxSplits: 2).map(String.init)
        try #require(words.count >= 2, "\(place)")
        let body = words.count == 3 ? words[2] : ""
        let head = """
            \(words[0]) \(words[1]) HTTP/1.1\r\nHost: martlet\r
            Authorization: Bearer \(try token(name))\r\nContent-Length: \(body.utf8.count)\r\n\r\n
            """
        let key = try #require(node.connect(), "\(place)")
        node.send(Array((head + body).utf8), to: key)
        let bytes = node.take(from: key)
        node.disconnect(key)
        let end = try #require(Self.endOfHead(bytes), "\(place): no answer")
        let status = String(decoding: bytes, as: UTF8.self).dropFirst(9).prefix(3)
        answers[name] = status + " " + String(decoding: bytes[end...], as: UTF8.self)
    }

    private static func endOfHead(_ bytes: [UInt8]) -> Int? {
        guard bytes.count >= 4 else { return nil }
        return (4...bytes.count).first { bytes[($0 - 4)..<$0].elementsEqual("\r\n\r\n".utf8) }
    }

    // MARK: Values

    /// `user` or `user/device`.
    private func token(_ text: String) throws -> String {
        let parts = text.split(separator: "/").map(String.init)
        return try node.token(user: parts[0], device: parts.count > 1 ? parts[1] : nil)
    }

    /// With the values of the placeholders in their places.
    private func filled(_ text: String) throws -> String {
        var text = text
        for (name, value) in bound { text = text.replacing("${\(name)}", with: value) }
        for match in text.matches(of: /\$\{token:([^}]+)\}/) {
            text = text.replacing(match.0, with: try token(String(match.1)))
        }
        return text
    }

    private func expect(_ found: String, _ expected: String, _ place: String) throws {
        guard let start = expected.firstIndex(of: "{"), let other = found.firstIndex(of: "{") else {
            #expect(found == expected, "\(place)")
            return
        }
        #expect(found[..<other] == expected[..<start], "\(place): \(found)")
        // Names of fields may be placeholders as well; those that have a value are filled in here.
        let pattern = try Self.parse(filled(String(expected[start...])), place)
        let value = try Self.parse(String(found[other...]), place)
        #expect(matches(value, pattern), "\(place): \(found)")
    }

    private static func parse(_ text: String, _ place: String) throws -> Any {
        do {
            return try JSONSerialization.jsonObject(with: Data(text.utf8))
        } catch {
            Issue.record("\(place) is no JSON: \(text)")
            throw error
        }
    }

    private func matches(_ value: Any, _ pattern: Any) -> Bool {
        if let text = pattern as? String, let match = text.wholeMatch(of: /\$\{(.+)\}/) {
            if match.1 == "*" { return true }
            guard let value = value as? String else { return false }
            if let known = bound[String(match.1)] { return known == value }
            bound[String(match.1)] = value
            return true
        }
        switch (value, pattern) {
        case (let value as [String: Any], let pattern as [String: Any]):
            return Set(value.keys) == Set(pattern.keys)
                && pattern.allSatisfy { key, pattern in
                    value[key].map { matches($0, pattern) } ?? false
                }
        case (let value as [Any], let pattern as [Any]):
            return value.count == pattern.count && zip(value, pattern).allSatisfy(matches)
        default:
            return (value as? NSObject) == (pattern as? NSObject)
        }
    }
}
