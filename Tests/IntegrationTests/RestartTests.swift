import Basics
import Client
import ServerSupport
import Synchronization
import Testing
import WebSocket
import Wire

/// What a stop and a start leave of a conversation, and how the clients are told.
struct RestartTests {
    @Test("P1 History, members and cursors are there after a restart")
    func stateStays() throws {
        let server = try TestServer()
        let chat = try server.api("alice").openDirectChat(with: "bob").id
        let alice = try TestClient(server, user: "alice", device: "a")
        let bob = try TestClient(server, user: "bob", device: "b")
        try bob.join(chat)
        var ids: [String?] = []
        for number in 1...20 {
            ids.append(try alice.send("message \(number)", to: chat).messageID)
        }
        try bob.request { Frames.delivered(chat, seq: 18, id: $0) }
        try bob.request { Frames.read(chat, seq: 12, id: $0) }
        #expect(try server.stop() == .code(0))
        try server.start()

        let history = try server.api("bob").history(of: chat)
        let messages = history.compactMap { entry in
            if case .message(let message) = entry { message } else { nil }
        }
        #expect(messages.map(\.content) == (1...20).map { "message \($0)" })
        #expect(messages.map(\.id) == ids)
        let member = try server.api("alice").members(of: chat).first { $0.user == "bob" }
        #expect(member?.deliveredSeq == 18)
        #expect(member?.readSeq == 12)
    }

    @Test(
        "P4 A message that is sent again after a restart is known, and another under its id refused"
    )
    func dedupeStays() throws {
        let server = try TestServer()
        let chat = try server.api("alice").openDirectChat(with: "bob").id
        let first = try TestClient(server, user: "alice").send("once", to: chat, id: "m-1")
        #expect(try server.stop() == .code(0))
        try server.start()
        let alice = try TestClient(server, user: "alice")
        let again = try alice.send("once", to: chat, id: "m-1")
        #expect(again.isDuplicate == true)
        #expect(again.messageID == first.messageID)
        #expect(again.seq == first.seq)
        #expect(again.createdAt == first.createdAt)
        let other = try alice.request {
            Frames.send("something else", to: chat, clientMessageID: "m-1", id: $0)
        }
        #expect(other.problem?.code == "IDEMPOTENCY_CONFLICT")
        #expect(try alice.send("next", to: chat).seq == 2, "no seq was burnt")
    }

    @Test(
        "P2 A client that resumes after a restart gets what it missed, once and in order, then live"
    )
    func resume() throws {
        let server = try TestServer()
        let api = try server.api("alice")
        let chats = [
            try api.openDirectChat(with: "bob").id,
            try api.createChat(type: "group", members: ["bob"]).id,
        ]
        let alice = try TestClient(server, user: "alice")
        let bob = try TestClient(server, user: "bob", device: "b")
        for chat in chats {
            try bob.join(chat)
            for number in 1...3 { try alice.send("\(number)", to: chat) }
        }
        for _ in 1...6 { _ = try bob.message() }
        bob.plain.abort(reset: true)
        for number in 4...150 { try alice.send("\(number)", to: chats[0]) }
        #expect(try server.stop() == .code(0))
        try server.start()

        let sender = try TestClient(server, user: "alice")
        for number in 151...155 { try sender.send("\(number)", to: chats[0]) }
        let back = try TestClient(server, user: "bob", device: "b")
        let ack = try back.resume([(chats[0], 3), (chats[1], 3)])
        #expect(ack.refused.isEmpty)
        try sender.send("156", to: chats[0])
        #expect(try back.caughtUp()[chats[1]] == 3)
        var heard: [Int64] = []
        while heard.last != 156 {
            let message = try back.message()
            #expect(message.content == "\(message.seq)")
            heard.append(message.seq)
        }
        #expect(heard == Array(4...156))
    }

    // MARK: SIGTERM

    @Test("P16 SIGTERM closes clients with 4200 and a hint, ends with 0, and loses nothing acked")
    func drain() throws {
        let server = try TestServer()
        let members = (0..<12).map { "user\($0)" }
        let chat = try server.api(members[0])
            .createChat(type: "group", members: Array(members.dropFirst())).id
        let acked = Mutex<[Int64: String]>([:])
        let isRunning = Mutex(0)
        let senders: [@Sendable () throws -> Void] = members.map { user in
            {
                let client = try TestClient(server, user: user)
                try client.join(chat)
                isRunning.withLock { $0 += 1 }
                var number = 0
                while client.closed == nil, !client.hasEnded {
                    number += 1
                    let content = "\(user) \(number)"
                    guard let ack = try? client.send(content, to: chat), let seq = ack.seq else {
                        break
                    }
                    acked.withLock { $0[seq] = content }
                }
                let code = try client.close()
                try check(
                    code == .draining && client.closed?.reason.contains("retryMs") == true,
                    "\(user) was closed with \(code?.rawValue ?? 0)")
            }
        }
        let stopper: @Sendable () throws -> Void = {
            try eventually("a hundred acks") {
                isRunning.withLock { $0 } == members.count && acked.withLock { $0.count } >= 100
            }
            let exit = try server.stop(withinMs: 10_000)
            try check(exit == .code(0), "the server ended with \(exit)")
        }
        try inParallel(senders + [stopper])

        try server.start()
        let known = acked.withLock { $0 }
        var stored: [Int64: String] = [:]
        let api = try server.api(members[0])
        while true {
            let page = try api.history(of: chat, after: stored.keys.max() ?? 0)
            if page.isEmpty { break }
            for case .message(let message) in page { stored[message.seq] = message.content }
        }
        let lost = known.filter { stored[$0.key] != $0.value }
        #expect(lost.isEmpty, "\(known.count) were acked")
    }

    @Test("P16 SIGTERM ends within 10 s though clients neither answer the close nor end")
    func drainOfTheSilent() throws {
        let server = try TestServer()
        // One that has stopped reading, one idle HTTP connection, one half of a request.
        let frozen = try TestClient(server, user: "alice")
        let idle = try RawSocket(port: server.port)
        idle.send("GET /health/live HTTP/1.1\r\nHost: martlet\r\n\r\n")
        guard case .bytes(let answer) = idle.receive(timeoutMs: 10_000) else {
            Issue.record("no answer")
            return
        }
        #expect(String(decoding: answer, as: UTF8.self).hasPrefix("HTTP/1.1 200"))
        let half = try RawSocket(port: server.port)
        half.send("GET /health/live HTTP/1.1\r\nHo")
        let began = MonotonicClock.now()
        #expect(try server.stop(withinMs: 30_000) == .code(0))
        let tookMs = MonotonicClock.now().milliseconds(since: began)
        #expect(tookMs <= 10_500)
        #expect(try frozen.close() == .draining)
    }

    @Test("P16 While it drains nobody new is let in, and it says that it is not ready")
    func notReadyWhileDraining() throws {
        let server = try TestServer()
        // Holds the draining open: it never answers the close.
        let frozen = try TestClient(server, user: "alice")
        let ready = try RawSocket(port: server.port)
        ready.send("GET /health/ready HTTP/1.1\r\nHost: martlet\r\n\r\n")
        guard case .bytes(let before) = ready.receive(timeoutMs: 10_000) else {
            Issue.record("no answer")
            return
        }
        #expect(String(decoding: before, as: UTF8.self).hasPrefix("HTTP/1.1 200"))
        server.process.signal(15)
        try eventually("the server drains") { server.process.output.contains("draining") }
        ready.send("GET /health/ready HTTP/1.1\r\nHost: martlet\r\n\r\n")
        if case .bytes(let after) = ready.receive(timeoutMs: 5_000) {
            #expect(String(decoding: after, as: UTF8.self).hasPrefix("HTTP/1.1 503"))
        }
        #expect(throws: (any Error).self) { try TestClient(server, user: "bob") }
        #expect(try frozen.close() == .draining)
        try server.process.wait(withinMs: 15_000)
    }
}
