import Basics
import SocketIO
import Testing

@Suite("Engine.IO 4: payloads of polling")
struct PollingPayloadTests {
    private func records(_ text: String) -> [PollingPayload.Record] {
        let bytes = Array(text.utf8)
        var position = 0
        var records: [PollingPayload.Record] = []
        while let record = PollingPayload.next(in: bytes.span, at: &position) {
            records.append(record)
        }
        return records
    }

    @Test("Records lie between separators")
    func splits() {
        #expect(records("4hello") == [.text(0..<6)])
        #expect(records("4a\u{1E}2\u{1E}4b") == [.text(0..<2), .text(3..<4), .text(5..<7)])
        #expect(records("4hello\u{1E}bAQIDBA==") == [.text(0..<6), .binary([1, 2, 3, 4])])
        #expect(records("b") == [.binary([])])
    }

    @Test("An empty record, and base64 that is none, are malformed")
    func malformed() {
        #expect(records("") == [.malformed])
        #expect(records("4a\u{1E}") == [.text(0..<2), .malformed])
        #expect(records("\u{1E}4a") == [.malformed, .text(1..<3)])
        for text in ["bAQIDBA", "bAQIDBA=", "b====", "bAQ!D"] {
            #expect(records(text) == [.malformed], "\(text)")
        }
    }

    @Test("A binary message is written as it is read")
    func binary() {
        var bytes: [UInt8] = []
        PollingPayload.append(binary: [1, 2, 3, 4].span, to: &bytes)
        #expect(String(decoding: bytes, as: UTF8.self) == "bAQIDBA==\u{1E}")
    }

    @Test("An answer takes so many packets, and of several no more than so many bytes")
    func cut() {
        let pending = Array(repeating: "4abc\u{1E}", count: 20).joined()
        func cut(_ packets: Int, _ bytes: Int) -> Int {
            PollingPayload.cut(Array(pending.utf8).span, packets: packets, bytes: bytes)
        }
        #expect(cut(15, 1_000) == 75)
        #expect(cut(16, 1_000) == 80)
        #expect(cut(17, 1_000) == 85)
        #expect(cut(100, 1_000) == 100)
        #expect(cut(16, 15) == 15)
        #expect(cut(16, 14) == 10)
        #expect(cut(16, 1) == 5, "one packet always goes")
        let none = PollingPayload.cut(Array("4abc".utf8).span, packets: 16, bytes: 100)
        #expect(none == 0)
    }
}

@Suite("Engine.IO 4: the heartbeat")
struct HeartbeatTests {
    private let start = Instant(nanoseconds: 5_000_000_000)
    private func at(_ milliseconds: Int) -> Instant { start.advanced(byMilliseconds: milliseconds) }

    private func expect(
        _ heartbeat: inout Heartbeat, _ now: Instant, _ step: Heartbeat.Step,
        _ place: SourceLocation = #_sourceLocation
    ) {
        let found = heartbeat.step(now: now, timeoutMs: 200)
        #expect(found == step, sourceLocation: place)
    }

    @Test("A ping is due after the interval, and the end after the timeout, to the millisecond")
    func ends() {
        var heartbeat = Heartbeat(openedAt: start, intervalMs: 300)
        #expect(heartbeat.nextCheck(timeoutMs: 200) == at(300))
        expect(&heartbeat, at(299), .nothing)
        // The timer was late by its grain: the end is not.
        expect(&heartbeat, at(315), .ping)
        expect(&heartbeat, at(316), .nothing)
        #expect(heartbeat.nextCheck(timeoutMs: 200) == at(500))
        expect(&heartbeat, at(499), .nothing)
        expect(&heartbeat, at(500), .dead)
    }

    @Test("A pong begins the interval anew, asked for or not")
    func pongs() {
        var heartbeat = Heartbeat(openedAt: start, intervalMs: 300)
        expect(&heartbeat, at(300), .ping)
        heartbeat.pong(now: at(310), intervalMs: 300)
        expect(&heartbeat, at(609), .nothing)
        expect(&heartbeat, at(610), .ping)
        heartbeat.pong(now: at(620), intervalMs: 300)
        heartbeat.pong(now: at(700), intervalMs: 300)
        #expect(heartbeat.nextCheck(timeoutMs: 200) == at(1_000))
    }

    @Test("An early ping has the same timeout; there is one at a time")
    func early() {
        var heartbeat = Heartbeat(openedAt: start, intervalMs: 300)
        let early = [heartbeat.pingEarly(now: at(100)), heartbeat.pingEarly(now: at(150))]
        #expect(early == [true, false])
        expect(&heartbeat, at(299), .nothing)
        expect(&heartbeat, at(300), .dead)
    }

    @Test("Who stood still itself gives the client its whole time")
    func stoodStill() {
        var heartbeat = Heartbeat(openedAt: start, intervalMs: 300)
        expect(&heartbeat, at(60_000), .ping)
        expect(&heartbeat, at(60_199), .nothing)
        expect(&heartbeat, at(60_200), .dead)
    }
}
