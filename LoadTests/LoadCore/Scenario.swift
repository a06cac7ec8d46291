/// What a load is: how many connections in which layout, who sends what at which pace, for how
/// long, and what must hold afterwards. Read from lines `key = value`; see `ScenarioKeys.swift` for
/// the keys.
///
/// Durations are nanoseconds.
package struct Scenario: Sendable, Equatable {
    /// Who shares a room with whom.
    package enum Layout: String, CaseIterable, Sendable {
        /// Connections that only stay.
        case idle
        /// Nobody shares anything: each sender hears itself.
        case echo
        /// One room with everybody in it.
        case room
        /// Disjoint rooms of `roomSize` users.
        case rooms
        /// As `rooms`; the name that is usual where rooms are stored.
        case group
    }

    package enum Traffic: String, CaseIterable, Sendable {
        case none
        /// The dialect's message; durable where the dialect has an ack.
        case message
        /// Starting and ending to type, in turn.
        case typing
    }

    package enum Arrival: String, CaseIterable, Sendable {
        case poisson
        case uniform
    }

    package var layout = Layout.echo
    package var connections = 100
    package var connectionsPerUser = 1
    package var rampUp: UInt64 = 0
    package var pending = 128
    /// Users a room; nil for the layout's own default.
    package var roomSize: Int?
    package var chatsPerUser: Int?
    /// Senders a room; nil for the layout's own default.
    package var senders: Int?
    package var traffic = Traffic.none
    /// Messages a second in all; nil for a closed loop.
    package var rate: Double?
    /// Messages in flight of each sender; nil for an open loop.
    package var inFlight: Int?
    package var arrival = Arrival.poisson
    package var size = 128
    package var warmUp: UInt64 = 1_000_000_000
    package var duration: UInt64 = 10_000_000_000
    package var coolDown: UInt64 = 2_000_000_000
    package var thinkTime: UInt64 = 0
    package var slow = 0.0
    package var reconnectAt: UInt64?
    package var reconnectShare = 1.0
    package var reconnectJitter: UInt64 = 1_000_000_000
    package var typingShare = 0.0
    package var readShare = 0.0
    package var thresholds: [Threshold] = []

    package init() {}

    /// Reads the lines of a scenario file, then the words `key=value` that override them.
    ///
    /// - Throws: the first thing that is wrong, with its line, key and range.
    package init(text: String, overrides: [String] = []) throws(ScenarioError) {
        var seen: Set<String> = []
        let lines = text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
        for (number, line) in lines.enumerated() {
            let content = line.prefix { $0 != "#" }
            guard !content.allSatisfy(\.isWhitespace) else { continue }
            let place = "line \(number + 1)"
            let (key, value) = try Self.split(content, place)
            guard seen.insert(key).inserted else {
                throw ScenarioError("\(place): \(key) is set twice")
            }
            try set(key, value, place)
        }
        try Self.checkLoop(seen)
        seen = []
        for word in overrides {
            let (key, value) = try Self.split(word[...], "'\(word)'")
            try set(key, value, "'\(word)'")
            seen.insert(key)
        }
        try Self.checkLoop(seen)
        try validate()
    }

    private static func checkLoop(_ keys: Set<String>) throws(ScenarioError) {
        guard keys.contains("rate"), keys.contains("in-flight") else { return }
        throw ScenarioError(
            "rate (open loop) and in-flight (closed loop) exclude each other; a word that says one "
                + "of them replaces a line that says the other")
    }

    private static func split(
        _ text: Substring, _ place: String
    ) throws(ScenarioError) -> (String, String) {
        guard let equals = text.firstIndex(of: "=") else {
            throw ScenarioError("\(place): a setting is `key = value`")
        }
        let key = trimmed(text[..<equals])
        let value = trimmed(text[text.index(after: equals)...])
        guard !key.isEmpty, !value.isEmpty else {
            throw ScenarioError("\(place): a setting is `key = value`")
        }
        return (key, value)
    }

    private static func trimmed(_ text: Substring) -> String {
        var text = text
        while text.first?.isWhitespace == true { text.removeFirst() }
        while text.last?.isWhitespace == true { text.removeLast() }
        return String(text)
    }

    private mutating func set(
        _ key: String, _ value: String, _ place: String
    ) throws(ScenarioError) {
        if key.hasPrefix("threshold.") {
            let threshold: Threshold
            do throws(ScenarioError) {
                threshold = try Threshold(
                    name: String(key.dropFirst("threshold.".count)), limit: value)
            } catch {
                throw ScenarioError("\(place): \(key): \(error)")
            }
            thresholds.removeAll { $0.name == threshold.name }
            thresholds.append(threshold)
            return
        }
        guard let entry = Self.keys.first(where: { $0.name == key }) else {
            let known = Self.keys.map(\.name).joined(separator: ", ")
            throw ScenarioError(
                "\(place): there is no key '\(key)'; there are \(known) and threshold.NAME")
        }
        guard entry.set(&self, value) else {
            throw ScenarioError("\(place): \(key) takes \(entry.range), not '\(value)'")
        }
    }

    // MARK: What goes together

    /// Users a room, once the layout's default is in.
    package var effectiveRoomSize: Int {
        switch layout {
        case .echo: 1
        case .idle: chatsPerUser == nil ? 1 : roomSize ?? 10
        case .room: max(1, (connections + connectionsPerUser - 1) / connectionsPerUser)
        case .rooms, .group: roomSize ?? 10
        }
    }

    /// Senders a room, at most its size.
    package var effectiveSenders: Int {
        guard traffic != .none else { return 0 }
        return min(effectiveRoomSize, senders ?? (layout == .room ? 1 : effectiveRoomSize))
    }

    package var effectiveChatsPerUser: Int { chatsPerUser ?? 1 }

    /// The most cells of the oracle's table (a receiver and a sender of its room): 256 MB.
    package static let mostLanes = 64_000_000

    private func validate() throws(ScenarioError) {
        func refuse(_ text: String) throws(ScenarioError) { throw ScenarioError(text) }
        switch traffic {
        case .none:
            if rate != nil || inFlight != nil {
                try refuse("traffic = none has neither rate nor in-flight")
            }
        case .message, .typing:
            if (rate == nil) == (inFlight == nil) {
                try refuse(
                    "exactly one of rate (open loop) and in-flight (closed loop) is needed where "
                        + "traffic is \(traffic.rawValue)")
            }
            if layout == .idle { try refuse("layout = idle has no traffic; choose another layout") }
        }
        if traffic == .typing {
            guard let rate else {
                return try refuse("typing has no answer to wait for: use rate, not in-flight")
            }
            let rooms = (connections + connectionsPerUser - 1) / connectionsPerUser
            let typists = Double(rooms / max(1, effectiveRoomSize) * effectiveSenders)
            // A person starts at most every 2 s, and each start has an end.
            if rate > max(1, typists * 0.9) {
                try refuse(
                    "rate: \(typists) typists can begin or end \(typists * 0.9) times a second; a "
                        + "server tells of one beginning in 2 s each")
            }
        }
        if inFlight != nil, reconnectAt != nil {
            try refuse("reconnect-at needs rate: a closed loop would wait for who is away")
        }
        if thinkTime > 0, inFlight == nil {
            try refuse("think-time needs in-flight: an open loop waits for nobody")
        }
        if let reconnectAt, reconnectAt >= duration {
            try refuse("reconnect-at must lie within duration")
        }
        if layout == .echo, roomSize ?? 1 != 1 { try refuse("layout = echo has no rooms") }
        let lanes = connections.multipliedReportingOverflow(
            by: effectiveSenders * effectiveChatsPerUser)
        if lanes.overflow || lanes.partialValue > Self.mostLanes {
            try refuse(
                "connections × senders of a room × chats-per-user is more than \(Self.mostLanes), "
                    + "which is what is kept track of; set senders")
        }
    }
}

/// Why a scenario cannot be run: one line for whoever wrote it.
package struct ScenarioError: Error, Hashable, Sendable, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
}
