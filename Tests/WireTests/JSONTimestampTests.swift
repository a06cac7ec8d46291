import Foundation
import Testing
import Wire

@Suite("JSONTimestamp: RFC 3339 in UTC with milliseconds")
struct JSONTimestampTests {
    private func text(_ milliseconds: Int64) -> String {
        var output: [UInt8] = []
        JSONTimestamp.append(milliseconds: milliseconds, to: &output)
        return String(decoding: output, as: UTF8.self)
    }

    private func parse(_ text: String) -> Int64? { JSONTimestamp.parse(text.utf8.span) }

    @Test(
        "Times are written and read back, leap days and both ends included",
        arguments: [
            (0, "1970-01-01T00:00:00.000Z"), (-1, "1969-12-31T23:59:59.999Z"),
            (1, "1970-01-01T00:00:00.001Z"), (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (-2_203_891_200_000, "1900-03-01T00:00:00.000Z"),
            (-2_203_891_200_001, "1900-02-28T23:59:59.999Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
            (-62_167_219_200_000, "0000-01-01T00:00:00.000Z"),
            (1_767_225_599_999, "2025-12-31T23:59:59.999Z"),
            (1_767_225_600_000, "2026-01-01T00:00:00.000Z"),
        ] as [(Int64, String)])
    func roundTrip(_ milliseconds: Int64, _ written: String) {
        #expect(text(milliseconds) == written)
        #expect(parse(written) == milliseconds)
    }

    @Test("Times that RFC 3339 cannot write become the nearest one, without a trap")
    func clamping() {
        #expect(text(JSONTimestamp.latest + 1) == "9999-12-31T23:59:59.999Z")
        #expect(text(.max) == "9999-12-31T23:59:59.999Z")
        #expect(text(JSONTimestamp.earliest - 1) == "0000-01-01T00:00:00.000Z")
        #expect(text(.min) == "0000-01-01T00:00:00.000Z")
    }

    @Test("Foundation writes the same times", arguments: 0..<20 as Range<UInt64>)
    func foundation(_ seed: UInt64) throws {
        let formatter = ISO8601DateFormatter()
        formatter.formatOptions = [.withInternetDateTime]
        var random = SeededGenerator(seed: seed)
        for _ in 0..<50 {
            // From 1600, where Foundation's calendar is Gregorian, to 9999.
            let seconds = Int64.random(in: -11_676_096_000...253_402_300_799, using: &random)
            let reference = formatter.string(from: Date(timeIntervalSince1970: Double(seconds)))
            #expect(text(seconds * 1_000) == reference.dropLast() + ".000Z")
            #expect(parse(reference) == seconds * 1_000)
        }
    }

    @Test("Every day from 1600 to 2400 follows the one before")
    func everyDay() {
        var expected = (year: 1_600, month: 1, day: 1)
        for dayNumber in -135_140..<157_054 as Range<Int64> {
            let written = text(dayNumber * 86_400_000)
            let month = expected.month < 10 ? "0\(expected.month)" : "\(expected.month)"
            let day = expected.day < 10 ? "0\(expected.day)" : "\(expected.day)"
            guard written == "\(expected.year)-\(month)-\(day)T00:00:00.000Z",
                parse(written) == dayNumber * 86_400_000
            else {
                Issue.record("day \(dayNumber) is \(written), not \(expected)")
                return
            }
            let isLeap =
                expected.year % 4 == 0 && (expected.year % 100 != 0 || expected.year % 400 == 0)
            let lengths = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
            expected.day += 1
            if expected.day > lengths[expected.month - 1] {
                expected = (expected.year, expected.month + 1, 1)
            }
            if expected.month > 12 { expected = (expected.year + 1, 1, 1) }
        }
    }

    @Test(
        "Every form of RFC 3339 is read",
        arguments: [
            ("1985-04-12T23:20:50.52Z", 482_196_050_520),
            ("1996-12-19T16:39:57-08:00", 851_042_397_000),
            ("1990-12-31T23:59:60Z", 662_688_000_000),
            ("1990-12-31T15:59:60-08:00", 662_688_000_000),
            ("1937-01-01T12:00:27.87+00:20", -1_041_337_172_130), ("1970-01-01t00:00:00z", 0),
            ("1970-01-01T00:00:00-00:00", 0), ("1970-01-01T00:00:00.9999999999Z", 999),
            ("1970-01-01T00:00:00.0001Z", 0), ("1970-01-01T23:59:00+23:59", 0),
            ("1990-12-31T23:59:60.5Z", 662_688_000_500),
        ] as [(String, Int64)])
    func reads(_ text: String, _ milliseconds: Int64) {
        #expect(parse(text) == milliseconds)
    }

    @Test(
        "Anything else is no time",
        arguments: [
            "", "1970", "1970-01-01", "1970-01-01T00:00Z", "1970-01-01T00:00:00",
            "1970-01-01 00:00:00Z",
            "70-01-01T00:00:00Z", "1970-1-01T00:00:00Z", "1970-00-01T00:00:00Z",
            "1970-13-01T00:00:00Z",
            "1970-01-00T00:00:00Z", "1970-01-32T00:00:00Z", "1970-04-31T00:00:00Z",
            "1970-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z", "2100-02-29T00:00:00Z", "1970-01-01T24:00:00Z",
            "1970-01-01T00:60:00Z",
            "1970-01-01T00:00:61Z", "1970-01-01T00:00:60Z", "1990-12-30T23:59:60Z",
            "1990-12-31T22:59:60Z",
            "1970-01-01T00:00:00.Z", "1970-01-01T00:00:00,5Z", "1970-01-01T00:00:00Z ",
            " 1970-01-01T00:00:00Z",
            "1970-01-01T00:00:00ZZ", "1970-01-01T00:00:00+24:00", "1970-01-01T00:00:00+00:60",
            "1970-01-01T00:00:00+0000", "1970-01-01T00:00:00+00", "1970-01-01T00:00:00+00:000",
            "1970-01-01T00:00:00.5", "1970-01-01T00:00:00.5+", "+970-01-01T00:00:00Z",
            "197O-01-01T00:00:00Z",
            "10000-01-01T00:00:00Z", "-001-01-01T00:00:00Z", "1970/01/01T00:00:00Z",
            "1970-01-01T00-00-00Z",
            "1970-01-01T0\u{661}:00:00Z", "1970-01-01T00:00:0 Z",
        ])
    func refuses(_ text: String) {
        #expect(parse(text) == nil)
    }

    @Test("No cut or changed byte of a time traps, and a changed digit changes the time or ends it")
    func mutations() {
        let original = Array("2026-01-31T23:59:58.125+01:30".utf8)
        let time = JSONTimestamp.parse(original.span)
        #expect(time == 1_769_898_598_125)
        for count in 0..<original.count { _ = JSONTimestamp.parse(Array(original[..<count]).span) }
        for index in original.indices {
            for byte in UInt8.min...UInt8.max where byte != original[index] {
                var changed = original
                changed[index] = byte
                if byte | 0x20 == UInt8(ascii: "t"), index == 10 { continue }
                #expect(JSONTimestamp.parse(changed.span) != time)
            }
        }
    }
}
