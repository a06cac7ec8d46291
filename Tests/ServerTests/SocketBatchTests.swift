import Glibc
import Reactor
import ServerSupport
import Testing

/// Two ends of a stream.
private final class Pair {
    let near: Int32
    private(set) var far: Int32

    init() throws {
        var ends: [Int32] = [-1, -1]
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        try #require(unsafe socketpair(AF_UNIX, kind, 0, &ends) == 0)
        (near, far) = (ends[0], ends[1])
    }

    deinit {
        close(near)
        closeFar()
    }

    func closeFar() {
        if far >= 0 { close(far) }
        far = -1
    }

    func say(_ bytes: [UInt8]) { #expect(unsafe send(far, bytes, bytes.count, 0) == bytes.count) }

    /// All that has come, empty where nothing has.
    func hear() -> [UInt8] {
        var heard: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4_096)
        while true {
            let count = unsafe recv(far, &buffer, buffer.count, Int32(MSG_DONTWAIT))
            guard count > 0 else { return heard }
            heard += buffer[..<count]
        }
    }
}

/// A batch, which cannot be copied, as `#expect` wants it.
private final class Batch {
    /// What became of a transfer: bytes that were sent, or came.
    enum Outcome: Equatable {
        case sent(Int)
        case received([UInt8])
        case nothing, ended, failed
    }

    private let direction: SocketBatch.Direction
    private var batch: SocketBatch

    init(_ direction: SocketBatch.Direction, capacity: Int, slotBytes: Int) throws {
        self.direction = direction
        batch = try SocketBatch(direction, capacity: capacity, slotBytes: slotBytes)
    }

    var isFull: Bool { batch.isFull }
    var count: Int { batch.count }

    /// Bytes in the given number of pieces.
    func hold(_ pair: Pair, _ tag: Int, _ bytes: [UInt8], pieces: Int = 1) -> Bool {
        unsafe bytes.withUnsafeBytes { all in
            let ends = (0...pieces).map { all.count * $0 / pieces }
            let chunks = unsafe zip(ends, ends.dropFirst()).map {
                unsafe UnsafeRawBufferPointer(rebasing: all[$0..<$1])
            }
            return unsafe chunks.withUnsafeBufferPointer {
                unsafe batch.hold(pair.near, PollTag(bits: UInt64(tag)), $0)
            }
        }
    }

    func hold(_ descriptor: Int32, _ tag: Int) -> Bool {
        batch.hold(descriptor, PollTag(bits: UInt64(tag)))
    }

    /// Makes them. Returns what became of each, with its tag and what was asked.
    func run() throws -> [(tag: Int, asked: Int, outcome: Outcome)] {
        try batch.run()
        let made = (0..<batch.count).map {
            (tag: Int(batch.tag(at: $0).bits), asked: batch.asked(at: $0), outcome: outcome(at: $0))
        }
        batch.clear()
        return made
    }

    private func outcome(at index: Int) -> Outcome {
        if direction == .sending {
            let count = batch.sent(at: index)
            return count < 0 ? .failed : .sent(count)
        }
        let (outcome, bytes) = unsafe batch.received(at: index)
        switch outcome {
        case .bytes(let count):
            #expect(bytes.count == count)
            return unsafe .received(Array(bytes))
        case .wouldBlock: return .nothing
        case .ended: return .ended
        case .failed: return .failed
        }
    }
}

@Suite(
    "Many sends or receives in one system call",
    .enabled(if: IOUring.isOffered, "the kernel has no io_uring, or keeps it from this process"))
struct SocketBatchTests {
    @Test("Each socket gets its own bytes, in one piece or more", arguments: [1, 2, 3, 8])
    func sends(count: Int) throws {
        let batch = try Batch(.sending, capacity: 8, slotBytes: 100)
        let pairs = try (0..<count).map { _ in try Pair() }
        for round in 1...3 {
            let bytes = (0..<count).map {
                [UInt8](repeating: UInt8($0 * 8 + round), count: 20 * round + $0)
            }
            for (index, pair) in pairs.enumerated() {
                #expect(batch.hold(pair, index, bytes[index], pieces: round))
            }
            #expect(batch.count == count)
            let made = try batch.run()
            #expect(made.map(\.tag) == Array(0..<count))
            #expect(made.map(\.asked) == bytes.map(\.count))
            #expect(made.map(\.outcome) == bytes.map { .sent($0.count) })
            #expect(pairs.map { $0.hear() } == bytes)
            #expect(batch.count == 0)
        }
    }

    @Test("What a slot has no room for is not taken, nor anything by a full batch")
    func bounds() throws {
        let batch = try Batch(.sending, capacity: 4, slotBytes: 100)
        let pair = try Pair()
        #expect(!batch.hold(pair, 0, [UInt8](repeating: 1, count: 101)))
        #expect(!batch.hold(pair, 0, [UInt8](repeating: 1, count: 101), pieces: 5))
        let all = (0..<4).map { [UInt8](repeating: UInt8($0), count: 100) }
        for tag in 0..<4 { #expect(batch.hold(pair, tag, all[tag])) }
        #expect(batch.isFull)
        #expect(!batch.hold(pair, 4, [9]))
        _ = try batch.run()
        #expect(pair.hear() == all.flatMap(\.self))
        #expect(batch.hold(pair, 4, [9]))
        let receives = try Batch(.receiving, capacity: 2, slotBytes: 100)
        #expect(receives.hold(pair.near, 1))
        #expect(receives.hold(pair.near, 2))
        #expect(!receives.hold(pair.near, 3))
    }

    @Test("A full socket takes what it has room for, then nothing; one that is gone says so")
    func fullAndGone() throws {
        let batch = try Batch(.sending, capacity: 64, slotBytes: 60_000)
        let (full, gone, well) = try (Pair(), Pair(), Pair())
        gone.closeFar()
        for _ in 0..<40 { #expect(batch.hold(full, 1, [UInt8](repeating: 7, count: 60_000))) }
        #expect(batch.hold(gone, 2, [1]))
        #expect(batch.hold(well, 3, [1, 2, 3]))
        let made = try batch.run().map(\.outcome)
        #expect(made.first == .sent(60_000))
        #expect(made[39...] == [.sent(0), .failed, .sent(3)])
        #expect(well.hear() == [1, 2, 3])
        let taken = made[..<40].reduce(0) {
            if case .sent(let count) = $1 { $0 + count } else { $0 }
        }
        #expect(full.hear() == [UInt8](repeating: 7, count: taken))
    }

    @Test("Receives tell bytes, nothing, the end and a failure apart", arguments: [2, 4])
    func receives(count: Int) throws {
        let batch = try Batch(.receiving, capacity: 8, slotBytes: 10)
        let (says, silent, ended) = try (Pair(), Pair(), Pair())
        says.say(Array(1...25))
        ended.closeFar()
        for expected in [Array(1...10), Array(11...20), Array(21...25)] as [[UInt8]] {
            for (index, descriptor) in [says.near, silent.near, ended.near, -1].prefix(count)
                .enumerated()
            {
                #expect(batch.hold(descriptor, index))
            }
            let all: [Batch.Outcome] = [.received(expected), .nothing, .ended, .failed]
            #expect(try batch.run().map(\.outcome) == Array(all.prefix(count)))
        }
    }

    @Test("Streams stay whole over thousands of batches (property)", arguments: 1...3)
    func streams(seed: Int) throws {
        var state = UInt64(seed)
        func below(_ bound: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % bound
        }
        let sends = try Batch(.sending, capacity: 32, slotBytes: 4_096)
        let receives = try Batch(.receiving, capacity: 32, slotBytes: 512)
        let pairs = try (0..<20).map { _ in try Pair() }
        var sent = [[UInt8]](repeating: [], count: 20)
        var (heard, said, received) = (sent, sent, sent)
        func receive() throws {
            for (tag, _, outcome) in try receives.run() {
                if case .received(let bytes) = outcome { received[tag] += bytes }
            }
        }
        for _ in 0..<1_000 {
            for _ in 0..<below(33) {
                let index = below(20)
                let bytes = (0..<below(below(8) == 0 ? 4_097 : 200)).map { _ in UInt8(below(256)) }
                if below(2) == 0 {
                    pairs[index].say(Array(bytes.prefix(400)))
                    said[index] += bytes.prefix(400)
                }
                #expect(sends.hold(pairs[index], index, bytes, pieces: 1 + below(3)))
                sent[index] += bytes
            }
            for (_, asked, outcome) in try sends.run() { #expect(outcome == .sent(asked)) }
            for index in 0..<20 {
                // Nobody's buffer fills up.
                if below(2) == 0 || sent[index].count - heard[index].count > 50_000 {
                    heard[index] += pairs[index].hear()
                }
                if below(2) == 0 { #expect(receives.hold(pairs[index].near, index)) }
            }
            try receive()
        }
        for index in 0..<20 {
            heard[index] += pairs[index].hear()
            while received[index].count < said[index].count {
                #expect(receives.hold(pairs[index].near, index))
                try receive()
            }
        }
        #expect(heard == sent)
        #expect(received == said)
    }
}
