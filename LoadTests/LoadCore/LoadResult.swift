import Wire

/// What a run came to: the object that `--json` writes and `report` reads.
package struct LoadResult: Sendable {
    /// A second of the measured window.
    package struct Moment: Sendable, Equatable {
        /// Seconds since the window began.
        package var time = 0.0
        package var connections = 0
        package var sent: UInt64 = 0
        package var delivered: UInt64 = 0
        /// Nil where nothing came.
        package var p50Us: Double?
        package var p99Us: Double?
        package var errors = 0

        package init() {}
    }

    /// CPU seconds in the measured window.
    package struct CPU: Sendable, Equatable {
        /// Of each process that was named, in that order; nil where none was.
        package var serverEach: [Double]?
        package var client = 0.0
        /// What the machine did besides; nil where that is unknown.
        package var other: Double?
        /// While connections were opened.
        package var openingServer: Double?
        package var openingClient = 0.0

        package var server: Double? { serverEach?.reduce(0, +) }

        package init() {}
    }

    package enum Early: String, Sendable {
        /// By Ctrl-C or SIGTERM.
        case interrupted
        /// Nobody was connected any more, and nobody was to come back.
        case noConnectionLeft
    }

    package struct Memory: Sendable, Equatable {
        package var before: UInt64
        package var after: UInt64
        package init(before: UInt64, after: UInt64) {
            self.before = before
            self.after = after
        }
    }

    package var scenario: String
    package var dialect: LoadDialect
    package var urls: [String]
    package var machine: String
    /// Milliseconds since 1970.
    package var startedAt: Int64
    package var settings: [(key: String, value: String)]
    /// Of the measured window.
    package var seconds: Double
    /// Why the window was shorter than the scenario says; nil where it was not.
    package var early: Early?
    package var total: WorkerReport
    package var cpu = CPU()
    package var memory: Memory?
    package var series: [Moment] = []
    package var thresholds: [Threshold.Outcome] = []

    package init(
        scenario: String, dialect: LoadDialect, urls: [String], machine: String, startedAt: Int64,
        settings: [(key: String, value: String)], seconds: Double, total: WorkerReport
    ) {
        self.scenario = scenario
        self.dialect = dialect
        self.urls = urls
        self.machine = machine
        self.startedAt = startedAt
        self.settings = settings
        self.seconds = seconds
        self.total = total
    }

    package var connectRate: Double {
        let seconds = Double(total.openingTook) / 1e9
        return seconds > 0 ? Double(total.opened) / seconds : 0
    }
    package var sentRate: Double { seconds > 0 ? Double(total.sent) / seconds : 0 }
    package var deliveredRate: Double { seconds > 0 ? Double(total.delivered) / seconds : 0 }

    /// What a threshold looks at; nil where the run has none of it.
    package func value(of quantity: Threshold.Quantity) -> Double? {
        func quantile(_ histogram: LatencyHistogram, _ q: Double) -> Double? {
            histogram.isEmpty ? nil : Double(histogram.quantile(q)) / 1e3
        }
        switch quantity {
        case .errors: return Double(total.errorCount)
        case .lost: return Double(total.findings.lost)
        case .late: return Double(total.late) / Double(max(1, total.sent))
        case .connectP99: return quantile(total.connect, 0.99)
        case .ackP99: return quantile(total.ack, 0.99)
        case .deliveryP50: return quantile(total.delivery, 0.5)
        case .deliveryP99: return quantile(total.delivery, 0.99)
        case .typingP99: return quantile(total.typing, 0.99)
        case .deliveryRate: return deliveredRate
        case .connectRate: return connectRate
        case .recoveredWithin:
            guard total.dropped > 0, total.recovered == total.dropped else { return nil }
            return Double(total.recoveryTook) / 1e3
        case .memoryPerConnection: return memoryPerConnection
        }
    }

    package var traffic: Scenario.Traffic? {
        settings.first { $0.key == "traffic" }.flatMap { Scenario.Traffic(rawValue: $0.value) }
    }

    /// What the machine did besides, as a share of a core, where that is enough to tell.
    package var disturbance: Double? {
        guard let other = cpu.other, seconds >= 1, cpu.serverEach != nil else { return nil }
        let share = other / seconds
        return share > 0.05 ? share : nil
    }

    package var memoryPerConnection: Double? {
        guard let memory, total.opened > 0 else { return nil }
        return (Double(memory.after) - Double(memory.before)) / Double(total.opened)
    }

    package mutating func judge(_ stated: [Threshold]) {
        thresholds = Threshold.withDefaults(stated).map { $0.judge(value(of: $0.quantity)) }
    }

    /// It came to its end, all thresholds held, and the oracle knows all, and found nothing but losses,
    /// which have one of their own.
    package var passed: Bool {
        early == nil && thresholds.allSatisfy(\.held) && !total.findings.isIncomplete
            && total.findings.repeated == 0
            && total.findings.reordered == 0 && total.findings.foreign == 0
    }
}

// MARK: - As JSON

extension LoadResult {
    package var json: [UInt8] {
        var json = JSONWriter(capacity: 16_384)
        json.beginObject()
        json.integer("version", 1)
        json.string("tool", "martlet-load")
        json.string("scenario", scenario)
        json.string("dialect", dialect.rawValue)
        json.strings("urls", urls)
        json.string("machine", machine)
        json.key("startedAt")
        json.timestamp(milliseconds: startedAt)
        json.key("settings")
        json.beginObject()
        for (key, value) in settings {
            json.key(named: key)
            json.string(value)
        }
        json.endObject()
        json.number("seconds", seconds)
        if let early { json.string("early", early.rawValue) }
        writeConnections(&json)
        writeCounts(&json)
        writeUsage(&json)
        json.key("series")
        json.beginArray()
        for moment in series { Self.write(moment, &json) }
        json.endArray()
        json.findings("oracle", total.findings)
        json.counts("errors", total.errors)
        json.key("thresholds")
        json.beginArray()
        for outcome in thresholds {
            json.beginObject()
            json.string("name", outcome.name)
            json.number("limit", outcome.limit)
            json.number("value", outcome.value)
            json.bool("held", outcome.held)
            json.endObject()
        }
        json.endArray()
        json.bool("passed", passed)
        json.endObject()
        return json.bytes
    }

    private func writeConnections(_ json: inout JSONWriter) {
        json.key("connections")
        json.beginObject()
        json.integer("opened", total.opened)
        json.integer("failed", total.failed)
        json.integer("lost", total.lost)
        json.integer("slowClosed", total.slowClosed)
        json.integer("dropped", total.dropped)
        json.integer("recovered", total.recovered)
        if total.recoveryTook > 0 {
            json.number("recoveredWithinUs", Double(total.recoveryTook) / 1e3)
        }
        json.number("openingSeconds", Double(total.openingTook) / 1e9)
        json.number("perSecond", connectRate)
        json.histogram("latencyUs", total.connect)
        json.histogram("returnLatencyUs", total.reconnect)
        json.endObject()
    }

    private func writeCounts(_ json: inout JSONWriter) {
        for (name, value) in [
            ("sent", total.sent), ("acked", total.acked), ("delivered", total.delivered),
            ("replayed", total.replayed), ("typingSent", total.typingSent),
            ("typingDelivered", total.typingDelivered), ("late", total.late),
            ("unsent", total.unsent),
        ] {
            json.integer(name, value)
        }
        json.key("rates")
        json.beginObject()
        json.number("sentPerSecond", sentRate)
        json.number("deliveredPerSecond", deliveredRate)
        json.endObject()
        json.key("latencyUs")
        json.beginObject()
        json.histogram("ack", total.ack)
        json.histogram("delivery", total.delivery)
        json.histogram("typing", total.typing)
        json.endObject()
    }

    private func writeUsage(_ json: inout JSONWriter) {
        json.key("cpu")
        json.beginObject()
        json.number("server", cpu.server)
        if let each = cpu.serverEach { json.numbers("serverEach", each) }
        json.number("client", cpu.client)
        json.number("other", cpu.other)
        if let server = cpu.server {
            json.number(
                "serverUsPerDelivery",
                total.delivered > 0 ? server * 1e6 / Double(total.delivered) : nil)
            json.number(
                "serverUsPerMessage", total.sent > 0 ? server * 1e6 / Double(total.sent) : nil)
        }
        json.number(
            "clientUsPerDelivery",
            total.delivered > 0 ? cpu.client * 1e6 / Double(total.delivered) : nil)
        json.number("openingServer", cpu.openingServer)
        json.number("openingClient", cpu.openingClient)
        json.endObject()
        guard let memory else { return }
        json.key("memory")
        json.beginObject()
        json.integer("serverPrivateBytesBefore", memory.before)
        json.integer("after", memory.after)
        json.number("perConnection", memoryPerConnection)
        json.endObject()
    }

    private static func write(_ moment: Moment, _ json: inout JSONWriter) {
        json.beginObject()
        json.number("t", moment.time)
        json.integer("connections", moment.connections)
        json.integer("sent", moment.sent)
        json.integer("delivered", moment.delivered)
        json.number("p50", moment.p50Us)
        json.number("p99", moment.p99Us)
        json.integer("errors", moment.errors)
        json.endObject()
    }
}
