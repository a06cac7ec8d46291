/// Times on the wire: RFC 3339, UTC, milliseconds, `2026-01-31T23:59:59.999Z`; in the code they are
/// milliseconds since 1970-01-01T00:00:00Z. Pure arithmetic on the proleptic Gregorian calendar.
package enum JSONTimestamp {
    /// 0000-01-01T00:00:00.000Z, the first time RFC 3339 can write.
    package static let earliest: Int64 = -62_167_219_200_000

    /// 9999-12-31T23:59:59.999Z, the last time RFC 3339 can write.
    package static let latest: Int64 = 253_402_300_799_999

    private static let millisecondsPerDay: Int64 = 86_400_000

    /// Appends 24 bytes. Times that RFC 3339 cannot write become the nearest one that it can.
    package static func append(milliseconds: Int64, to output: inout [UInt8]) {
        let time = min(max(milliseconds, earliest), latest)
        var day = time / millisecondsPerDay
        var rest = time % millisecondsPerDay
        if rest < 0 {
            rest += millisecondsPerDay
            day -= 1
        }
        let date = civil(day: day)
        let seconds = rest / 1_000
        append(date.year, digits: 4, to: &output)
        output.append(UInt8(ascii: "-"))
        append(date.month, digits: 2, to: &output)
        output.append(UInt8(ascii: "-"))
        append(date.day, digits: 2, to: &output)
        output.append(UInt8(ascii: "T"))
        append(seconds / 3_600, digits: 2, to: &output)
        output.append(UInt8(ascii: ":"))
        append(seconds / 60 % 60, digits: 2, to: &output)
        output.append(UInt8(ascii: ":"))
        append(seconds % 60, digits: 2, to: &output)
        output.append(UInt8(ascii: "."))
        append(rest % 1_000, digits: 3, to: &output)
        output.append(UInt8(ascii: "Z"))
    }

    /// The time a `date-time` of RFC 3339 §5.6 names, cut (not rounded) to milliseconds; nil if
    /// the text is anything else. Offsets are applied; `-00:00` is UTC; `t` and `z` may be small.
    /// A leap second is accepted where one can be, at 23:59:60 UTC on the last day of a month, and
    /// is the second after it, as in POSIX.
    package static func parse(_ text: borrowing Span<UInt8>) -> Int64? {
        // "2026-01-31T23:59:59Z" is the shortest.
        guard text.count >= 20,
            let year = number(text, at: 0, digits: 4), text[4] == UInt8(ascii: "-"),
            let month = number(text, at: 5, digits: 2), text[7] == UInt8(ascii: "-"),
            let day = number(text, at: 8, digits: 2), text[10] | 0x20 == UInt8(ascii: "t"),
            let hour = number(text, at: 11, digits: 2), text[13] == UInt8(ascii: ":"),
            let minute = number(text, at: 14, digits: 2), text[16] == UInt8(ascii: ":"),
            let second = number(text, at: 17, digits: 2)
        else { return nil }
        guard (1...12).contains(month), day >= 1, day <= lastDay(of: month, in: year),
            hour <= 23, minute <= 59, second <= 60
        else { return nil }

        var position = 19
        var milliseconds: Int64 = 0
        if text[position] == UInt8(ascii: ".") {
            position += 1
            let first = position
            var scale: Int64 = 100
            while position < text.count, JSONScanner.isDigit(text[position]) {
                milliseconds += scale * Int64(text[position] - UInt8(ascii: "0"))
                scale /= 10
                position += 1
            }
            guard position > first else { return nil }
        }
        guard let offset = offsetMinutes(text, at: position) else { return nil }

        let minutes = (dayNumber(year: year, month: month, day: day) * 24 + hour) * 60 + minute
        let time = ((minutes - offset) * 60 + second) * 1_000 + milliseconds
        if second == 60 {
            let midnight = time - milliseconds
            guard midnight % millisecondsPerDay == 0,
                civil(day: midnight / millisecondsPerDay).day == 1
            else { return nil }
        }
        return time
    }

    /// Minutes to subtract: `Z`, or `+hh:mm` and `-hh:mm` up to the end of the text.
    private static func offsetMinutes(_ text: borrowing Span<UInt8>, at start: Int) -> Int64? {
        guard start < text.count else { return nil }
        if text[start] | 0x20 == UInt8(ascii: "z") { return start + 1 == text.count ? 0 : nil }
        guard text[start] == UInt8(ascii: "+") || text[start] == UInt8(ascii: "-"),
            text.count == start + 6,
            let hours = number(text, at: start + 1, digits: 2), hours <= 23,
            text[start + 3] == UInt8(ascii: ":"),
            let minutes = number(text, at: start + 4, digits: 2), minutes <= 59
        else { return nil }
        let offset = hours * 60 + minutes
        return text[start] == UInt8(ascii: "-") ? -offset : offset
    }

    /// Exactly `digits` digits; the caller knows that the text is long enough.
    private static func number(
        _ text: borrowing Span<UInt8>, at start: Int, digits: Int
    ) -> Int64? {
        var value: Int64 = 0
        for position in start..<start + digits {
            guard JSONScanner.isDigit(text[position]) else { return nil }
            value = value * 10 + Int64(text[position] - UInt8(ascii: "0"))
        }
        return value
    }

    private static func append(_ value: Int64, digits: Int, to output: inout [UInt8]) {
        var divisor: Int64 = digits == 4 ? 1_000 : digits == 3 ? 100 : 10
        while divisor > 0 {
            output.append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: value / divisor % 10))
            divisor /= 10
        }
    }

    // MARK: Calendar

    private static func lastDay(of month: Int64, in year: Int64) -> Int64 {
        switch month {
        case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }

    /// Days since 1970-01-01. The year is counted from March, so that the leap day is its last; an
    /// era is 400 years, 146,097 days (Howard Hinnant, "chrono-Compatible Low-Level Date
    /// Algorithms"). Years 0 to 9999.
    private static func dayNumber(year: Int64, month: Int64, day: Int64) -> Int64 {
        let shifted = month <= 2 ? year - 1 : year
        let era = (shifted >= 0 ? shifted : shifted - 399) / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * 146_097 + dayOfEra - 719_468
    }

    /// The inverse of `dayNumber`.
    private static func civil(day: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let shifted = day + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        return (year, month, dayOfYear - (153 * shiftedMonth + 2) / 5 + 1)
    }
}
