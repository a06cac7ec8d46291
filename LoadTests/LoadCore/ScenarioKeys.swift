/// The keys of a scenario: names, ranges, and how each is read and written back.
extension Scenario {
    package struct Key: Sendable {
        package let name: String
        /// What it takes, as an error says it.
        package let range: String
        /// False where the text is nothing of the kind.
        let set: @Sendable (inout Scenario, String) -> Bool
        /// The value as a file would say it; nil where it has none.
        let text: @Sendable (Scenario) -> String?
    }

    /// The settings in force, defaults included: what a result states, and what a worker is told.
    package var settings: [(key: String, value: String)] {
        var settings = Self.keys.compactMap { key in
            key.text(self).map { (key: key.name, value: $0) }
        }
        settings += thresholds.map { (key: "threshold.\($0.name)", value: $0.limitText) }
        return settings
    }

    package static let keys: [Key] = [
        word("layout", \.layout),
        integer("connections", \.connections, 1...1_000_000),
        integer("connections-per-user", \.connectionsPerUser, 1...1_000),
        duration("ramp-up", \.rampUp),
        integer("pending", \.pending, 1...10_000),
        optionalInteger("room-size", \.roomSize, 1...100_000),
        optionalInteger("chats-per-user", \.chatsPerUser, 1...500),
        optionalInteger("senders", \.senders, 1...100_000),
        word("traffic", \.traffic),
        Key(
            name: "rate", range: "messages a second within 0.01...10000000",
            set: { scenario, text in
                guard let value = Double(text), (0.01...10_000_000).contains(value) else {
                    return false
                }
                scenario.rate = value
                scenario.inFlight = nil
                return true
            }, text: { $0.rate.map { plain($0) } }),
        Key(
            name: "in-flight", range: "a whole number within 1...1024",
            set: { scenario, text in
                guard let value = Int(text), (1...1_024).contains(value) else { return false }
                scenario.inFlight = value
                scenario.rate = nil
                return true
            }, text: { $0.inFlight.map { "\($0)" } }),
        word("arrival", \.arrival),
        integer("size", \.size, Content.headCount...60_000),
        duration("warm-up", \.warmUp),
        duration("duration", \.duration, least: 100_000_000),
        duration("cool-down", \.coolDown),
        duration("think-time", \.thinkTime),
        share("slow", \.slow, 0...1),
        Key(
            name: "reconnect-at", range: "a duration such as 5s, or none",
            set: { scenario, text in
                guard text != "none" else {
                    scenario.reconnectAt = nil
                    return true
                }
                guard let value = Durations.parse(text) else { return false }
                scenario.reconnectAt = value
                return true
            }, text: { $0.reconnectAt.map(Durations.text) }),
        share("reconnect-share", \.reconnectShare, 0...1),
        duration("reconnect-jitter", \.reconnectJitter),
        share("typing-share", \.typingShare, 0...100),
        share("read-share", \.readShare, 0...100),
    ]

    private static func integer(
        _ name: String, _ path: any WritableKeyPath<Scenario, Int> & Sendable,
        _ range: ClosedRange<Int>
    ) -> Key {
        wholeNumber(name, range, set: { $0[keyPath: path] = $1 }, get: { $0[keyPath: path] })
    }

    private static func optionalInteger(
        _ name: String, _ path: any WritableKeyPath<Scenario, Int?> & Sendable,
        _ range: ClosedRange<Int>
    ) -> Key {
        wholeNumber(name, range, set: { $0[keyPath: path] = $1 }, get: { $0[keyPath: path] })
    }

    private static func wholeNumber(
        _ name: String, _ range: ClosedRange<Int>,
        set: @escaping @Sendable (inout Scenario, Int) -> Void,
        get: @escaping @Sendable (Scenario) -> Int?
    ) -> Key {
        Key(
            name: name,
            range: "a whole number within \(range.lowerBound)...\(range.upperBound)",
            set: { scenario, text in
                guard let value = Int(text), range.contains(value) else { return false }
                set(&scenario, value)
                return true
            }, text: { get($0).map { "\($0)" } })
    }

    private static func share(
        _ name: String, _ path: any WritableKeyPath<Scenario, Double> & Sendable,
        _ range: ClosedRange<Double>
    ) -> Key {
        Key(
            name: name, range: "a number within \(range.lowerBound)...\(range.upperBound)",
            set: { scenario, text in
                guard let value = Double(text), range.contains(value) else { return false }
                scenario[keyPath: path] = value
                return true
            }, text: { plain($0[keyPath: path]) })
    }

    private static func duration(
        _ name: String, _ path: any WritableKeyPath<Scenario, UInt64> & Sendable,
        least: UInt64 = 0
    ) -> Key {
        Key(
            name: name,
            range: "a duration such as 500ms, 10s or 2m"
                + (least > 0 ? ", at least \(Durations.text(least))" : ""),
            set: { scenario, text in
                guard let value = Durations.parse(text), value >= least else { return false }
                scenario[keyPath: path] = value
                return true
            }, text: { Durations.text($0[keyPath: path]) })
    }

    private static func word<Word: RawRepresentable<String> & CaseIterable & SendableMetatype>(
        _ name: String, _ path: any WritableKeyPath<Scenario, Word> & Sendable
    ) -> Key {
        Key(
            name: name,
            range: "one of " + Word.allCases.map(\.rawValue).joined(separator: ", "),
            set: { scenario, text in
                guard let value = Word(rawValue: text) else { return false }
                scenario[keyPath: path] = value
                return true
            }, text: { $0[keyPath: path].rawValue })
    }

    /// Without `.0`.
    private static func plain(_ value: Double) -> String {
        value == value.rounded() ? "\(Int(value))" : "\(value)"
    }
}

/// Durations as people write them: `250us`, `500ms`, `10s`, `2m`, `1h`. In nanoseconds here.
package enum Durations {
    private static let units: [(name: String, nanoseconds: Double)] = [
        ("us", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 6e10), ("h", 3.6e12),
    ]

    /// Nil where it is none, or longer than a day. `0` needs no unit.
    package static func parse(_ text: String) -> UInt64? {
        if text == "0" { return 0 }
        let digits = text.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
        guard let unit = units.first(where: { $0.name == text[digits.endIndex...] }),
            let number = Double(digits), number >= 0, number * unit.nanoseconds <= 8.64e13
        else { return nil }
        return UInt64(number * unit.nanoseconds)
    }

    /// In the largest unit that gives a whole number.
    package static func text(_ nanoseconds: UInt64) -> String {
        if nanoseconds == 0 { return "0" }
        for unit in units.reversed() {
            let size = UInt64(unit.nanoseconds)
            if nanoseconds % size == 0 { return "\(nanoseconds / size)\(unit.name)" }
        }
        return "\(Double(nanoseconds) / 1e3)us"
    }
}
