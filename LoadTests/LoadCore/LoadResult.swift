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
        package var p50Us = 0.0
        package var p99Us = 0.0
        package var errors = 0

        package init() {}
    }

    /// CPU seconds in the measured window.
    package struct CPU: Sendable, Equatable {
        /// Nil where no process was named.
        package var server: Double?
        package var client = 0.0
        /// What the machine did besides; nil where that is unknown.
        package var other: Double?
        /// While connections were opened.
        package var openingServer: Double?
        package var openingClient = 0.0

        package init() {}
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
    package var sentRate: Double { Double(total.sent) / seconds }
    package var deliveredRate: Double { Double(total.delivered) / seconds }

    /// What a threshold looks at; nil where the run has none of it.
    package func value(of quantity: Threshold.Quantity) -> Double? {
        func quantile(_ histogram: LatencyHistogram, _ q: Double) -> Double? {
            histogram.isEmpty ? nil : Double(histogram.quantile(q)) / 1e3
        }
        switch quantity {
        case .errors: return Double(total.errorCount)
        case .lost: return Double(total.findings.lost)
        case .late: return Double(total.late)
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

    package var memoryPerConnection: Double? {
        guard let memory, total.opened > 0 else { return nil }
        return (Double(memory.after) - Double(memory.before)) / Double(total.opened)
    }

    package mutating func judge(_ stated: [Threshold]) {
        thresholds = Threshold.withDefaults(stated).map { $0.judge(value(of: $0.quantity)) }
    }

    /// All thresholds held, and the oracle found nothing but losses, which have one of their own.
    package var passed: Bool {
        thresholds.allSatisfy(\.held) && total.findings.repeated == 0
            && total.findings.reordered == 0 && total.findings.foreign == 0
    }
}

// MARK: - As JSON

extension LoadResult {
    package var json: [UInt8] {
        var json = JSONWriter(capacity: 16_384)
        json.beginObject()
        json.key("version")
        json.integer(1)
        json.key("tool")
        json.string("martlet-load")
        json.key("scenario")
        json.string(scenario)
        json.key("dialect")
        json.string(dialect.rawValue)
        json.key("urls")
        json.strings(urls)
        json.key("machine")
        json.string(machine)
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
        writeConnections(&json)
        writeCounts(&json)
        writeUsage(&json)
        json.key("series")
        json.beginArray()
        for moment in series { Self.write(moment, &json) }
        json.endArray()
        json.key("oracle")
        json.findings(total.findings)
        json.key("errors")
        json.counts(total.errors)
        json.key("thresholds")
        json.beginArray()
        for outcome in thresholds {
            json.beginObject()
            json.key("name")
            json.string(outcome.name)
            json.number("limit", outcome.limit)
            json.number("value", outcome.value)
            json.key("held")
            json.bool(outcome.held)
            json.endObject()
        }
        json.endArray()
        json.key("passed")
        json.bool(passed)
        json.endObject()
        return json.bytes
    }

    private func writeConnections(_ json: inout JSONWriter) {
        json.key("connections")
        json.beginObject()
        json.key("opened")
        json.integer(total.opened)
        json.key("failed")
        json.integer(total.failed)
        json.key("lost")
        json.integer(total.lost)
        json.key("slowClosed")
        json.integer(total.slowClosed)
        json.key("dropped")
        json.integer(total.dropped)
        json.key("recovered")
        json.integer(total.recovered)
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
            json.key(named: name)
            json.integer(value)
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
        json.key("serverPrivateBytesBefore")
        json.integer(memory.before)
        json.key("after")
        json.integer(memory.after)
        json.number("perConnection", memoryPerConnection)
        json.endObject()
    }

    private static func write(_ moment: Moment, _ json: inout JSONWriter) {
        json.beginObject()
        json.number("t", moment.time)
        json.key("connections")
        json.integer(moment.connections)
        json.key("sent")
        json.integer(moment.sent)
        json.key("delivered")
        json.integer(moment.delivered)
        json.number("p50", moment.p50Us)
        json.number("p99", moment.p99Us)
        json.key("errors")
        json.integer(moment.errors)
        json.endObject()
    }
}

extension JSONWriter {
    /// With three decimals at most; left out where there is none.
    fileprivate mutating func number(_ name: String, _ value: Double?) {
        guard let value else { return }
        key(named: name)
        let rounded = (value * 1_000).rounded() / 1_000
        if rounded == rounded.rounded(), abs(rounded) < 1e15 {
            integer(Int64(rounded))
        } else {
            double(rounded)
        }
    }

    /// In microseconds; left out where nothing was recorded.
    fileprivate mutating func histogram(_ name: String, _ histogram: LatencyHistogram) {
        guard !histogram.isEmpty else { return }
        key(named: name)
        beginObject()
        key("count")
        integer(histogram.count)
        for (name, q) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)] {
            number(name, Double(histogram.quantile(q)) / 1e3)
        }
        number("max", Double(histogram.max) / 1e3)
        number("mean", histogram.mean / 1e3)
        key("buckets")
        beginArray()
        for (upper, count) in histogram.coarse {
            beginArray()
            double((Double(upper) / 1e3))
            integer(count)
            endArray()
        }
        endArray()
        endObject()
    }
}
