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
        appendDurations(&text, status.latency)
        return Array(text.utf8)
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
