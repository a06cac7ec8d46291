import Basics
import StoreCore
import Synchronization

/// The Prometheus text format, version 0.0.4. Labels come from bounded sets only.
enum MetricsText {
    static func render(_ status: NodeStatus) -> [UInt8] {
        var text = ""
        for counter in Counter.allCases {
            let total = status.counters.reduce(0) { $0 + $1[counter] }
            append(
                &text, counter.name, counter.help, isGauge: counter.isGauge, value: "\(total)")
        }
        let lane = status.lane
        append(
            &text, "martlet_commit_batches_total", "Batches committed", isGauge: false,
            value: "\(lane.batches.load(ordering: .relaxed))")
        append(
            &text, "martlet_commit_operations_total", "Operations in committed batches",
            isGauge: false, value: "\(lane.operations.load(ordering: .relaxed))")
        append(
            &text, "martlet_commit_failures_total", "Batches that were not stored",
            isGauge: false, value: "\(lane.failures.load(ordering: .relaxed))")
        append(
            &text, "martlet_commit_seconds_total", "Time spent committing", isGauge: false,
            value: seconds(lane.commitMicroseconds.load(ordering: .relaxed)))
        append(
            &text, "martlet_lane_operations", "Operations that wait for the store",
            isGauge: true, value: "\(lane.queued.load(ordering: .relaxed))")
        append(
            &text, "martlet_store_working", "1 while the store takes writes", isGauge: true,
            value: status.failure == nil ? "1" : "0")
        if status.bus.isShared { appendBus(&text, status.bus) }
        appendDurations(&text, status.latency)
        return Array(text.utf8)
    }

    private static func appendBus(_ text: inout String, _ bus: BusStatus) {
        let rows: [(String, String, Bool, Int)] = [
            (
                "martlet_bus_healthy", "1 while nothing published is lost", true,
                bus.isHealthy.load(ordering: .relaxed) ? 1 : 0
            ),
            (
                "martlet_redis_breaker", "Circuit breaker: 0 closed, 1 half-open, 2 open", true,
                bus.breaker.load(ordering: .relaxed)
            ),
            (
                "martlet_bus_instances", "Other instances heard of", true,
                bus.instances.load(ordering: .relaxed)
            ),
            (
                "martlet_bus_channels", "Channels followed on the bus", true,
                bus.followed.load(ordering: .relaxed)
            ),
            (
                "martlet_bus_published_total", "Publications handed to Redis", false,
                bus.published.load(ordering: .relaxed)
            ),
            (
                "martlet_bus_dropped_total", "Publications that Redis could not be given", false,
                bus.dropped.load(ordering: .relaxed)
            ),
            (
                "martlet_bus_received_total", "Publications that came from Redis", false,
                bus.received.load(ordering: .relaxed)
            ),
            (
                "martlet_bus_unreadable_total",
                "What came from Redis in no form that is known, and was dropped", false,
                bus.unreadable.load(ordering: .relaxed)
            ),
            (
                "martlet_redis_reconnects_total", "Connections to Redis made again", false,
                bus.reconnects.load(ordering: .relaxed)
            ),
            (
                "martlet_redis_failures_total", "Connections to Redis that failed", false,
                bus.failures.load(ordering: .relaxed)
            ),
        ]
        for (name, help, isGauge, value) in rows {
            append(&text, name, help, isGauge: isGauge, value: "\(value)")
        }
    }

    private static func append(
        _ text: inout String, _ name: String, _ help: String, isGauge: Bool, value: String
    ) {
        text += "# HELP \(name) \(help)\n# TYPE \(name) \(isGauge ? "gauge" : "counter")\n"
        text += "\(name) \(value)\n"
    }

    private static func appendDurations(_ text: inout String, _ latency: RequestLatency) {
        let name = "http_request_duration_seconds"
        text += "# HELP \(name) Time from the first byte of a request to its answer\n"
        text += "# TYPE \(name) histogram\n"
        for route in HTTPRoute.allCases {
            let row = latency.read(route)
            guard row.count > 0 else { continue }
            let label = "route=\"\(route.rawValue)\""
            for (bound, count) in zip(RequestLatency.bucketsMs, row.buckets) {
                text += "\(name)_bucket{\(label),le=\"\(seconds(bound * 1_000))\"} \(count)\n"
            }
            text += "\(name)_bucket{\(label),le=\"+Inf\"} \(row.count)\n"
            text += "\(name)_sum{\(label)} \(seconds(row.microseconds))\n"
            text += "\(name)_count{\(label)} \(row.count)\n"
        }
    }

    /// Microseconds as seconds with six decimals, without a float.
    private static func seconds(_ microseconds: Int) -> String {
        let fraction = String(microseconds % 1_000_000)
        return "\(microseconds / 1_000_000)."
            + String(repeating: "0", count: 6 - fraction.utf8.count) + fraction
    }
}
