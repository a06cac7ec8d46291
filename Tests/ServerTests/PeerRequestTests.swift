import Basics
import Glibc
import Logging
import Reactor
import ServerSupport
import Testing

@testable import Gateway
@testable import Server

/// A shard that asks, and another instance, which is the test's.
@safe private final class Inquiry {
    private let peer: Listener
    private var poller: Poller
    private var requests = PeerRequests(log: Logger(label: "test"))
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 65_536, alignment: 64)
    private var answers: [UInt64: [UInt8]?] = [:]
    private let begin = SystemClock().now().instant

    init() throws {
        peer = try Listener(address: "127.0.0.1", port: 0)
        poller = try Poller()
    }

    deinit { unsafe buffer.deallocate() }

    var port: UInt16 { peer.port }
    var isDue: Bool { requests.deadline == .start }

    func deadlineMs() -> Int? { requests.deadline.map { $0.milliseconds(since: begin) } }

    func ask(_ number: UInt64, port: UInt16? = nil, afterMs: Int = 0) {
        requests.open(
            PeerRequest(
                session: SubscriberKey(packed: number), address: "127.0.0.1:\(port ?? self.port)",
                bytes: Array("whose is \(number)?".utf8)),
            now: begin.advanced(byMilliseconds: afterMs), poller)
    }

    func round(timeoutMs: Int32 = 5) throws {
        var events: [PollEvent] = []
        try poller.wait(timeoutMs: timeoutMs, into: &events)
        for event in events {
            #expect(PeerRequests.owns(event.tag))
            #expect(!Tunnels.owns(event.tag))
            unsafe requests.handle(event, poller, buffer)
        }
    }

    func expire(afterMs: Int) {
        requests.expire(begin.advanced(byMilliseconds: afterMs), poller)
    }

    /// The other instance's end, once a question has come there, and the question.
    func accept() throws -> (descriptor: Int32, question: String) {
        while true {
            try round()
            guard case .connection(let descriptor, _) = try peer.accept() else { continue }
            var bytes = [UInt8](repeating: 0, count: 100)
            let count = unsafe recv(descriptor, &bytes, bytes.count, 0)
            return (descriptor, String(decoding: bytes[..<max(0, count)], as: UTF8.self))
        }
    }

    /// Says all of it, while the other side reads.
    func say(_ bytes: [UInt8], _ descriptor: Int32) throws {
        var sent = 0
        while sent < bytes.count {
            let count = unsafe bytes[sent...].withUnsafeBytes {
                unsafe send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 || errno == EAGAIN else { return }
            sent += max(0, count)
            try round(timeoutMs: 0)
        }
    }

    /// What has come of that question until now: nil while it waits, an empty one where there is no answer.
    func answer(_ number: UInt64) -> [UInt8]?? {
        for (session, bytes) in requests.takeAnswers() { answers[session.packed] = bytes }
        return answers[number]
    }

    /// The same, waited for.
    func outcome(_ number: UInt64) throws -> [UInt8]? {
        for _ in 0..<2_000 {
            if let answer = answer(number) { return answer }
            try round()
        }
        Issue.record("nothing has come of \(number)")
        return nil
    }
}

@Suite("Requests to other instances")
struct PeerRequestTests {
    @Test("A question is answered by what the other instance says until it ends")
    func answered() throws {
        let inquiry = try Inquiry()
        inquiry.ask(7)
        let (peer, question) = try inquiry.accept()
        #expect(question == "whose is 7?")
        try inquiry.say(Array("it is ".utf8), peer)
        for _ in 0..<5 { try inquiry.round() }
        #expect(inquiry.answer(7) == nil)
        try inquiry.say(Array("mine".utf8), peer)
        Socket.close(peer)
        #expect(try inquiry.outcome(7) == Array("it is mine".utf8))
    }

    @Test("An answer may have so many bytes, and not one more", arguments: [0, 1])
    func length(excess: Int) throws {
        let inquiry = try Inquiry()
        inquiry.ask(7)
        let (peer, _) = try inquiry.accept()
        let count = PeerRequest.maximumAnswerBytes + excess
        try inquiry.say([UInt8](repeating: 7, count: count), peer)
        Socket.close(peer)
        #expect(try inquiry.outcome(7)?.count == (excess == 0 ? count : nil))
    }

    @Test("Where nobody listens, or the other one is gone, there is no answer")
    func gone() throws {
        let inquiry = try Inquiry()
        inquiry.ask(1, port: try FreePort.find())
        #expect(try inquiry.outcome(1) == nil)
        inquiry.ask(2)
        let (peer, _) = try inquiry.accept()
        Socket.reset(peer)
        #expect(try inquiry.outcome(2) == nil)
        #expect(inquiry.deadlineMs() != nil, "of those that have ended, until it passes")
        inquiry.expire(afterMs: 2_000)
        #expect(inquiry.deadlineMs() == nil)
    }

    @Test("Who says nothing is given up after two seconds, and not before")
    func silent() throws {
        let inquiry = try Inquiry()
        inquiry.ask(1)
        inquiry.ask(2, afterMs: 500)
        #expect(inquiry.deadlineMs() == 2_000)
        _ = try inquiry.accept()
        inquiry.expire(afterMs: 1_999)
        #expect(inquiry.answer(1) == nil)
        inquiry.expire(afterMs: 2_000)
        #expect(inquiry.isDue)
        #expect(inquiry.answer(1) == .some(nil))
        #expect(inquiry.answer(2) == nil)
        #expect(inquiry.deadlineMs() == 2_500)
        inquiry.expire(afterMs: 2_500)
        #expect(inquiry.answer(2) == .some(nil))
        #expect(inquiry.deadlineMs() == nil)
    }

    @Test("512 are asked at a time; who comes then has no answer, until one has ended")
    func room() throws {
        System.prepareFiles(2_000)
        let inquiry = try Inquiry()
        for number in 1...513 { inquiry.ask(UInt64(number)) }
        #expect(inquiry.answer(513) == .some(nil))
        #expect(inquiry.answer(512) == nil)
        let (peer, question) = try inquiry.accept()
        Socket.close(peer)
        let first = try #require(
            (1...512).first { question == "whose is \($0)?" }.map { UInt64($0) })
        #expect(try inquiry.outcome(first) == [])
        inquiry.ask(600)
        #expect(inquiry.answer(600) == nil)
        inquiry.ask(601)
        #expect(inquiry.answer(601) == .some(nil))
    }
}
