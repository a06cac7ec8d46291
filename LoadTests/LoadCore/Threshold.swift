/// What must hold after a run, as `threshold.NAME = LIMIT` states it.
package struct Threshold: Sendable, Equatable {
    package enum Quantity: String, CaseIterable, Sendable {
        /// Everything that went wrong on a connection, summed.
        case errors
        /// Messages that a receiver never got.
        case lost
        /// The share (0…1) of the messages that did not leave within 10 ms of their time. It is the
        /// harness's own failing: beyond a hundredth, p99 says more of it than of the server.
        case late
        case connectP99 = "connect-p99"
        case ackP99 = "ack-p99"
        case deliveryP50 = "delivery-p50"
        case deliveryP99 = "delivery-p99"
        case typingP99 = "typing-p99"
        /// Deliveries a second, at least.
        case deliveryRate = "delivery-rate"
        /// Connections a second while they were opened, at least.
        case connectRate = "connect-rate"
        /// From `reconnect-at` until the last dropped connection had caught up.
        case recoveredWithin = "recovered-within"
        /// The server's own memory that a connection adds, in bytes.
        case memoryPerConnection = "memory-per-connection"

        /// In microseconds; others are numbers.
        fileprivate var isDuration: Bool {
            switch self {
            case .connectP99, .ackP99, .deliveryP50, .deliveryP99, .typingP99, .recoveredWithin:
                true
            case .errors, .lost, .late, .deliveryRate, .connectRate, .memoryPerConnection: false
            }
        }

        fileprivate var isFloor: Bool { self == .deliveryRate || self == .connectRate }
    }

    package let quantity: Quantity
    /// Microseconds for a duration, else a number.
    package let limit: Double

    package init(name: String, limit text: String) throws(ScenarioError) {
        guard let quantity = Quantity(rawValue: name) else {
            let known = Quantity.allCases.map(\.rawValue).joined(separator: ", ")
            throw ScenarioError("there is no threshold '\(name)'; there are \(known)")
        }
        self.quantity = quantity
        if quantity.isDuration {
            guard let nanoseconds = Durations.parse(text) else {
                throw ScenarioError("takes a duration such as 50ms, not '\(text)'")
            }
            limit = Double(nanoseconds) / 1e3
        } else {
            guard let number = Double(text), number >= 0, number.isFinite else {
                throw ScenarioError("takes a number from 0 on, not '\(text)'")
            }
            if quantity == .late, number > 1 {
                throw ScenarioError("takes a share of the messages within 0...1, not '\(text)'")
            }
            limit = number
        }
    }

    package init(_ quantity: Quantity, limit: Double) {
        self.quantity = quantity
        self.limit = limit
    }

    package var name: String { quantity.rawValue }

    package var limitText: String {
        quantity.isDuration
            ? Durations.text(UInt64(limit * 1e3))
            : limit == limit.rounded() && limit < 1e15 ? "\(Int(limit))" : "\(limit)"
    }

    /// What became of it.
    package struct Outcome: Sendable, Equatable {
        package var name: String
        package var limit: Double
        /// Nil where the run did not measure it, which holds nothing.
        package var value: Double?
        package var held: Bool

        /// Limit and value are microseconds.
        package var isDuration: Bool { Threshold.isDuration(name) }
    }

    static func isDuration(_ name: String) -> Bool { Quantity(rawValue: name)?.isDuration ?? false }

    /// The share of late messages beyond which a p99 can be made of them.
    package static let mostLate = 0.01

    package func judge(_ value: Double?) -> Outcome {
        let held = value.map { quantity.isFloor ? $0 >= limit : $0 <= limit } ?? false
        return Outcome(name: name, limit: limit, value: value, held: held)
    }

    /// Those of the scenario, and two that hold unless it says otherwise: no error, nothing lost.
    package static func withDefaults(_ stated: [Threshold]) -> [Threshold] {
        [.errors, .lost].filter { quantity in !stated.contains { $0.quantity == quantity } }
            .map { Threshold($0, limit: 0) } + stated
    }
}
