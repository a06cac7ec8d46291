import LoadCore

/// A result in a few lines, on standard output.
enum Summary {
    static func print(_ result: LoadResult) {
        let total = result.total
        line(
            "\(result.scenario) (\(result.dialect.rawValue)), \(Words.rounded(result.seconds)) s"
                + (result.early.map { ", \(Self.reason($0))" } ?? ""))
        line(
            "  connections  \(total.opened) opened, \(total.failed) failed, \(total.lost) lost; "
                + "\(Words.rounded(result.connectRate))/s"
                + latency(total.connect))
        if total.dropped > 0 {
            line(
                "  reconnect    \(total.dropped) dropped, \(total.recovered) back within "
                    + Words.duration(us: Double(total.recoveryTook) / 1e3)
                    + latency(total.reconnect))
        }
        if total.sent > 0 {
            line("  sent         \(Words.rounded(result.sentRate))/s" + latency(total.ack, "ack"))
            line(
                "  delivered    \(Words.rounded(result.deliveredRate))/s"
                    + latency(total.delivery))
        }
        if !total.typing.isEmpty {
            line("  typing       \(total.typingDelivered)" + latency(total.typing))
        }
        if let server = result.cpu.server {
            let each = total.delivered > 0 ? server * 1e6 / Double(total.delivered) : 0
            line(
                "  CPU          server \(Words.rounded(server)) s "
                    + "(\(Words.rounded(each)) us a delivery), client "
                    + "\(Words.rounded(result.cpu.client)) s, other "
                    + "\(Words.rounded(result.cpu.other ?? 0)) s")
        }
        if let each = result.memoryPerConnection {
            line("  memory       \(Words.rounded(each)) bytes a connection")
        }
        if total.sent == 0, total.typing.isEmpty, result.traffic == Scenario.Traffic.none {
            line("  no traffic   only connections were measured")
        }
        let findings = total.findings
        line(
            "  oracle       \(findings.checked) checked: \(findings.lost) lost, "
                + "\(findings.repeated) repeated, \(findings.reordered) reordered, "
                + "\(findings.foreign) foreign")
        if findings.isIncomplete {
            line(
                "               incomplete: how much is lost, or came twice, is not known"
            )
        }
        for example in findings.examples { line("               \(example)") }
        if let share = result.disturbance {
            line(
                "  DISTURBED    besides the load and --server-pid the machine used "
                    + "\(Words.rounded(share * 100)) % of a core: rates may be too low, and latencies "
                    + "too long")
        }
        if total.late > 0, let share = result.value(of: .late) {
            let count =
                "\(Words.grouped(Int(total.late))) messages "
                + "(\(Words.rounded(share * 100)) %) left over 10 ms after their time"
            line(
                share > Threshold.mostLate
                    ? "  LATE         \(count): the harness was too slow"
                        + (result.disturbance == nil ? "" : ", or had no core")
                        + ", and latencies are its own"
                    : "  late         \(count)")
        }
        for (what, count) in total.errors.sorted(by: { $0.value > $1.value }).prefix(8) {
            line("  error        \(count) × \(what)")
        }
        let advice = Coordinator.advice(on: total.errors, result.dialect)
        if !advice.isEmpty { line(advice) }
        for outcome in result.thresholds where !outcome.held {
            line(
                "  NOT HELD     \(outcome.name): "
                    + "\(outcome.value.map { text($0, outcome.isDuration) } ?? "not measured")"
                    + ", limit \(text(outcome.limit, outcome.isDuration))")
        }
        line(result.early == .interrupted ? "INTERRUPTED" : result.passed ? "passed" : "FAILED")
    }

    private static func reason(_ early: LoadResult.Early) -> String {
        switch early {
        case .interrupted: "interrupted"
        case .noConnectionLeft: "ended early: no connection was left"
        }
    }

    private static func text(_ value: Double, _ isDuration: Bool) -> String {
        isDuration ? Words.duration(us: value) : Words.rounded(value)
    }

    private static func line(_ text: String) { Swift.print(text) }

    private static func latency(_ histogram: LatencyHistogram, _ name: String = "") -> String {
        guard !histogram.isEmpty else { return "" }
        let parts = [(0.5, "p50"), (0.99, "p99"), (0.999, "p99.9")].map { q, name in
            "\(name) \(Words.duration(us: Double(histogram.quantile(q)) / 1e3))"
        }
        return "; " + (name.isEmpty ? "" : name + " ") + parts.joined(separator: ", ")
            + ", max \(Words.duration(us: Double(histogram.max) / 1e3))"
    }
}
