import LoadCore
import Testing

struct OracleTests {
    private func hear(_ numbers: [UInt32], sent: UInt32) -> Oracle.Findings {
        var oracle = Oracle(lanes: 2)
        for number in numbers { _ = oracle.received(1, number) }
        oracle.close(1, sent: sent)
        return oracle.findings
    }

    private func counts(_ findings: Oracle.Findings) -> [UInt64] {
        [findings.checked, findings.lost, findings.repeated, findings.reordered]
    }

    @Test("Numbers that come once each and in order are content")
    func content() {
        let findings = hear([1, 2, 3], sent: 3)
        #expect(counts(findings) == [3, 0, 0, 0])
        #expect(findings.isContent)
    }

    @Test(
        "What is lost, repeated and reordered is told apart",
        arguments: [
            ([], 2, [0, 2, 0, 0]),
            ([1, 3], 3, [2, 1, 0, 0]),
            ([1, 2], 3, [2, 1, 0, 0]),
            ([2], 2, [1, 1, 0, 0]),
            ([1, 1], 1, [2, 0, 1, 0]),
            ([1, 2, 1], 2, [3, 0, 1, 0]),
            ([1, 3, 2], 3, [3, 0, 0, 1]),
            ([3, 2, 1], 3, [3, 0, 0, 2]),
            ([1, 3, 2, 2], 3, [4, 0, 1, 1]),
            ([1, 5, 3], 6, [3, 3, 0, 1]),
        ] as [([UInt32], UInt32, [UInt64])])
    func findings(numbers: [UInt32], sent: UInt32, expected: [UInt64]) {
        let findings = hear(numbers, sent: sent)
        #expect(counts(findings) == expected)
        #expect(!findings.isContent)
        #expect(!findings.examples.isEmpty)
    }

    @Test("A number settles itself and those it skips; one that was settled settles nothing")
    func settles() {
        var oracle = Oracle(lanes: 1)
        #expect(oracle.received(0, 1) == 1)
        #expect(oracle.received(0, 4) == 3)
        #expect(oracle.received(0, 3) == 0)
        #expect(oracle.received(0, 4) == 0)
        #expect(oracle.isSettled(0, upTo: 4))
        #expect(!oracle.isSettled(0, upTo: 5))
    }

    @Test("Lanes do not know of each other")
    func lanes() {
        var oracle = Oracle(lanes: 2)
        _ = oracle.received(0, 1)
        _ = oracle.received(1, 1)
        _ = oracle.received(0, 2)
        oracle.close(0, sent: 2)
        oracle.close(1, sent: 1)
        #expect(oracle.findings.isContent)
    }

    @Test("Who was away without a memory begins with any number, and is checked from there")
    func forgets() {
        var oracle = Oracle(lanes: 1)
        _ = oracle.received(0, 1)
        oracle.forget(0)
        #expect(oracle.received(0, 7) == 1)
        #expect(oracle.findings.isContent)
        _ = oracle.received(0, 9)
        #expect(oracle.findings.lost == 1)
    }

    @Test("A number whose sender was told that it is not stored is no loss, in the middle or last")
    func excuses() {
        var oracle = Oracle(lanes: 1)
        _ = oracle.received(0, 1)
        _ = oracle.received(0, 3)
        #expect(oracle.findings.lost == 1)
        oracle.excuse(0, [2])
        oracle.close(0, sent: 4, excused: [2, 4])
        #expect(oracle.findings.lost == 0)
        #expect(oracle.findings.isContent)
    }

    @Test("An excuse for another number excuses nothing")
    func excusesOnlyThat() {
        var oracle = Oracle(lanes: 1)
        _ = oracle.received(0, 3)
        oracle.excuse(0, [3, 4])
        oracle.close(0, sent: 5, excused: [4])
        #expect(oracle.findings.lost == 3)
    }

    @Test("Of what is missing, as many are remembered as there is room for, and it says so")
    func remembersUpToItsBound() {
        for (mostMissing, lost) in [(3, 0), (2, 1)] as [(Int, UInt64)] {
            var oracle = Oracle(lanes: 1, mostMissing: mostMissing)
            _ = oracle.received(0, 4)
            oracle.excuse(0, [1, 2, 3])
            #expect(oracle.findings.lost == lost)
            #expect(oracle.findings.isIncomplete == (lost > 0))
            // It may be the forgotten one that has come after all.
            _ = oracle.received(0, 3)
            #expect(oracle.findings.repeated == (lost > 0 ? 0 : 1))
        }
    }

    @Test("What was settled gives its room back")
    func room() {
        var oracle = Oracle(lanes: 2, mostMissing: 1)
        _ = oracle.received(0, 2)
        _ = oracle.received(0, 1)
        _ = oracle.received(1, 2)
        oracle.excuse(1, [1])
        #expect(oracle.findings.lost == 0)
    }

    @Test("A lane that was told not to read is pardoned what it missed")
    func pardons() {
        var oracle = Oracle(lanes: 2)
        _ = oracle.received(0, 5)
        _ = oracle.received(1, 2)
        oracle.pardon(0)
        #expect(oracle.findings.lost == 1)
    }

    @Test("What belongs to nobody here is foreign, and no content of the run")
    func foreign() {
        var oracle = Oracle(lanes: 1)
        oracle.receivedForeign("somebody else's")
        #expect(oracle.findings.foreign == 1)
        #expect(!oracle.findings.isContent)
    }

    @Test("A log whose number does not rise is out of order, whatever the sender's number does")
    func outOfLog() {
        var oracle = Oracle(lanes: 1)
        _ = oracle.received(0, 1)
        oracle.receivedOutOfLog("seq 3 after 4")
        #expect(oracle.findings.reordered == 1)
    }

    @Test("Findings of several workers add up, and the examples stay few")
    func sums() {
        var sum = Oracle.Findings()
        for _ in 0..<10 { sum.add(hear([1, 3, 2, 2], sent: 5)) }
        #expect(counts(sum) == [40, 20, 10, 10])
        #expect(sum.examples.count == Oracle.Findings.mostExamples)
    }

    @Test("Against a set that knows everything: any order of any numbers is judged alike")
    func againstReference() {
        var random = LoadRandom(seed: 11)
        for _ in 0..<2_000 {
            var oracle = Oracle(lanes: 1)
            var seen: Set<UInt32> = []
            var highest: UInt32 = 0
            var repeated: UInt64 = 0
            var reordered: UInt64 = 0
            for _ in 0..<30 {
                let number = UInt32(random.index(below: 20) + 1)
                _ = oracle.received(0, number)
                if !seen.insert(number).inserted {
                    repeated += 1
                } else if number < highest {
                    reordered += 1
                }
                highest = max(highest, number)
            }
            oracle.close(0, sent: 20)
            #expect(counts(oracle.findings) == [30, UInt64(20 - seen.count), repeated, reordered])
        }
    }
}
