import Basics
import Domain
import Testing

@Suite("CursorCoalescer")
struct CursorCoalescerTests {
    private func advance(
        delivered: LogPosition? = nil, read: LogPosition? = nil, isPrivate: Bool = false,
        chat: String = "c", user: String = "u", device: String = "d", at: Int64 = 0
    ) -> AdvanceCursor {
        AdvanceCursor(
            chat: ChatID(trusted: chat), user: UserID(trusted: user),
            device: DeviceID(trusted: device), delivered: delivered, read: read,
            isReadPrivate: isPrivate, at: WallTime(milliseconds: at))
    }

    private func coalesced(_ operations: [AdvanceCursor]) -> [AdvanceCursor] {
        var coalescer = CursorCoalescer<Int>()
        for operation in operations { coalescer.add(operation, waiter: nil, origin: 1) }
        return coalescer.takeAll().map(\.operation)
    }

    @Test("Movements of one device become one: the highest of each mark, the latest time")
    func merged() {
        let all = coalesced([
            advance(delivered: .seq(3), at: 5), advance(delivered: .seq(7), at: 9),
            advance(delivered: .seq(5), at: 7), advance(read: .seq(2), at: 8),
            advance(delivered: .seq(1), read: .seq(4)),
        ])
        #expect(all.count == 1)
        #expect(all[0].delivered == .seq(7) && all[0].read == .seq(4))
        #expect(all[0].at == WallTime(milliseconds: 9) && !all[0].isReadPrivate)
    }

    @Test(
        "Another chat, user or device is another movement",
        arguments: [
            ("x", "u", "d"), ("c", "x", "d"), ("c", "u", "x"),
        ])
    func keys(chat: String, user: String, device: String) {
        let all = coalesced([
            advance(delivered: .seq(1)),
            advance(delivered: .seq(2), chat: chat, user: user, device: device),
            advance(delivered: .seq(3)),
        ])
        #expect(all.map(\.delivered) == [.seq(3), .seq(2)])
    }

    @Test("A position by id is for the store to place: it is kept beside, in order")
    func byID() {
        let id = LogPosition.entry(MessageID(trusted: "m"))
        let all = coalesced([
            advance(read: .seq(2)), advance(read: id), advance(read: .seq(5)),
            advance(read: .seq(6)), advance(delivered: .seq(9)),
        ])
        #expect(all.map(\.read) == [.seq(2), id, .seq(6)])
        #expect(all.map(\.delivered) == [nil, nil, .seq(9)])
    }

    @Test("A delivery merges with a read by id: they are different marks")
    func deliveryBesideID() {
        let id = LogPosition.entry(MessageID(trusted: "m"))
        let all = coalesced([advance(read: id), advance(delivered: .seq(4))])
        #expect(all.count == 1 && all[0].read == id && all[0].delivered == .seq(4))
    }

    @Test("Private and public reads are not merged; a delivery changes no privacy")
    func privacy() {
        let all = coalesced([
            advance(read: .seq(2), isPrivate: true), advance(read: .seq(3)),
            advance(delivered: .seq(4)), advance(read: .seq(5)),
        ])
        #expect(all.map(\.isReadPrivate) == [true, false])
        #expect(all.map(\.read) == [.seq(2), .seq(5)])
        let first = coalesced([
            advance(delivered: .seq(1)), advance(read: .seq(1), isPrivate: true),
        ])
        #expect(first.count == 1 && first[0].isReadPrivate)
        let second = coalesced([
            advance(read: .seq(1), isPrivate: true), advance(delivered: .seq(1)),
        ])
        #expect(second.count == 1 && second[0].isReadPrivate)
    }

    @Test("Whoever waits for an answer gets one of its own, and the order holds")
    func waiters() {
        var coalescer = CursorCoalescer<Int>()
        coalescer.add(advance(delivered: .seq(1)), waiter: nil, origin: 1)
        coalescer.add(advance(delivered: .seq(2)), waiter: 7, origin: 1)
        coalescer.add(advance(delivered: .seq(3)), waiter: nil, origin: 1)
        coalescer.add(advance(delivered: .seq(4)), waiter: 8, origin: 1)
        coalescer.add(advance(delivered: .seq(5)), waiter: nil, origin: 1)
        coalescer.add(advance(delivered: .seq(6)), waiter: nil, origin: 1)
        let all = coalescer.takeAll()
        #expect(all.map(\.waiter) == [nil, 7, nil, 8, nil])
        #expect(all.map(\.operation.delivered) == [1, 2, 3, 4, 6].map { .seq($0) })
    }

    @Test("The origin is whoever moved it last")
    func origin() {
        var coalescer = CursorCoalescer<Int>()
        coalescer.add(advance(delivered: .seq(1)), waiter: nil, origin: 10)
        coalescer.add(advance(delivered: .seq(2)), waiter: nil, origin: 20)
        #expect(coalescer.takeAll().map(\.origin) == [20])
    }

    @Test("What was taken is gone")
    func taken() {
        var coalescer = CursorCoalescer<Int>()
        #expect(coalescer.isEmpty && coalescer.takeAll().isEmpty)
        coalescer.add(advance(delivered: .seq(5)), waiter: nil, origin: 1)
        #expect(!coalescer.isEmpty && coalescer.takeAll().count == 1)
        #expect(coalescer.isEmpty)
        coalescer.add(advance(delivered: .seq(2)), waiter: nil, origin: 1)
        #expect(coalescer.takeAll().map(\.operation.delivered) == [.seq(2)])
    }

    @Test("Any movements: the highest of each device survive (property)", arguments: 1...20)
    func property(seed: UInt64) {
        var numbers = SplitMix64(seed: seed)
        var coalescer = CursorCoalescer<Int>()
        var highest: [String: Seq] = [:]
        for _ in 0..<200 {
            let device = "d\(numbers.next() % 4)"
            let seq = Seq(numbers.next() % 1_000)
            highest[device] = max(highest[device] ?? 0, seq)
            coalescer.add(
                advance(delivered: .seq(seq), device: device),
                waiter: numbers.next() % 20 == 0 ? 1 : nil, origin: 1)
        }
        var seen: [String: Seq] = [:]
        for pending in coalescer.takeAll() {
            guard case .seq(let seq) = pending.operation.delivered else { continue }
            let device = pending.operation.device.text
            seen[device] = max(seen[device] ?? 0, seq)
        }
        #expect(seen == highest)
    }
}
