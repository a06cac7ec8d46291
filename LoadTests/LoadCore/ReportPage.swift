/// One page of one or more results, side by side: a table, latency by percentile, what happened
/// second by second, and for each run its verdict. Opens from disk: the plots are SVG in the page,
/// and nothing is loaded from elsewhere.
package struct ReportPage {
    private let results: [JSONTree]

    /// - Parameter results: what `LoadResult.json` gave, each.
    /// - Returns: nil where there is none, or one is no result.
    package init?(results: [[UInt8]]) {
        self.results = results.compactMap { JSONTree($0) }
        guard !results.isEmpty, self.results.count == results.count,
            self.results.allSatisfy({ $0["tool"].string == "martlet-load" })
        else { return nil }
    }

    package var html: String {
        let title = results.compactMap { $0["scenario"].string }
        let names = Array(Set(title)).sorted().joined(separator: ", ")
        return """
            <!doctype html>
            <html lang="en"><head><meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <title>martlet-load: \(Self.escaped(names))</title>
            <style>\(Self.style)</style></head><body>
            <h1>\(Self.escaped(names))</h1>
            \(legend)
            \(table)
            <div class="plots">
            \(percentiles("delivery", "Delivery latency by percentile"))
            \(percentiles("ack", "Ack latency by percentile"))
            \(percentiles("typing", "Typing latency by percentile"))
            \(series("delivered", "Deliveries a second", scale: 1, unit: ""))
            \(series("p99", "p99 of each second", scale: 1e-3, unit: " ms"))
            \(series("connections", "Connections", scale: 1, unit: ""))
            </div>
            \(results.indices.map(verdict).joined(separator: "\n"))
            </body></html>

            """
    }

    private static let style = """
        body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:75em;padding:0 1em;\
        color:#222;background:#fff}
        table{border-collapse:collapse;margin:1em 0}
        td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #ddd}
        td:first-child,th:first-child{text-align:left}
        .plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(30em,100%),1fr));gap:1em}
        figure{margin:0}figcaption{font-weight:600}svg{width:100%;height:auto}
        svg text{font-size:11px;fill:#555}.good{color:#17692f}.bad{color:#b3261e}
        .key{display:inline-block;width:1em;height:.6em;margin:0 .4em 0 1.2em}
        pre{background:#f5f5f5;padding:.6em;overflow-x:auto}
        """

    /// Told apart by people who see colours differently, too (Okabe and Ito).
    private static let colours = [
        "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000",
    ]

    private static func colour(_ index: Int) -> String { colours[index % colours.count] }

    /// So that no name in a result can become markup.
    static func escaped(_ text: String) -> String {
        var result = ""
        for character in text.unicodeScalars {
            switch character {
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "&": result += "&amp;"
            case "\"": result += "&quot;"
            default: result.unicodeScalars.append(character)
            }
        }
        return result
    }

    private func name(_ index: Int) -> String {
        let result = results[index]
        return "\(result["scenario"].string ?? "?"), \(result["dialect"].string ?? "?"), "
            + (result["urls"].array.first?.string ?? "")
    }

    private var legend: String {
        let keys = results.indices.map { index in
            "<span class=\"key\" style=\"background:\(Self.colour(index))\"></span>"
                + Self.escaped(name(index))
        }
        return "<p>\(keys.joined())</p><p>\(Self.escaped(results[0]["machine"].string ?? ""))</p>"
    }

    // MARK: The table

    private var table: String {
        let rows: [(String, (JSONTree) -> String)] = [
            ("Passed", { $0["passed"].bool ? "yes" : "no" }),
            ("Connections", { Self.number($0["connections"]["opened"].double) }),
            ("Connections a second", { Self.number($0["connections"]["perSecond"].double) }),
            ("Sent a second", { Self.number($0["rates"]["sentPerSecond"].double) }),
            ("Delivered a second", { Self.number($0["rates"]["deliveredPerSecond"].double) }),
            ("Delivery p50", { Self.latency($0["latencyUs"]["delivery"]["p50"].double) }),
            ("Delivery p99", { Self.latency($0["latencyUs"]["delivery"]["p99"].double) }),
            ("Delivery p99.9", { Self.latency($0["latencyUs"]["delivery"]["p999"].double) }),
            ("Ack p99", { Self.latency($0["latencyUs"]["ack"]["p99"].double) }),
            ("Typing p99", { Self.latency($0["latencyUs"]["typing"]["p99"].double) }),
            ("Server CPU a delivery", { Self.latency($0["cpu"]["serverUsPerDelivery"].double) }),
            ("Client CPU a delivery", { Self.latency($0["cpu"]["clientUsPerDelivery"].double) }),
            (
                "Server memory a connection, bytes",
                {
                    Self.number($0["memory"]["perConnection"].double)
                }
            ),
            (
                "Lost / repeated / reordered",
                { result in
                    ["lost", "repeated", "reordered"]
                        .map { Self.number(result["oracle"][$0].double) }.joined(separator: " / ")
                }
            ),
            ("Late", { Self.number($0["late"].double) }),
        ]
        let head = results.indices.map {
            "<th style=\"color:\(Self.colour($0))\">\(Self.escaped(name($0)))</th>"
        }
        let body = rows.map { title, value in
            "<tr><td>\(title)</td>"
                + results.map { "<td>\(Self.escaped(value($0)))</td>" }.joined() + "</tr>"
        }
        return "<table><tr><th></th>\(head.joined())</tr>\n\(body.joined(separator: "\n"))</table>"
    }

    static func number(_ value: Double?) -> String {
        guard let value else { return "–" }
        if abs(value) < 100, value != value.rounded() { return "\((value * 100).rounded() / 100)" }
        var digits = Array("\(Int(abs(value).rounded()))")
        var place = digits.count - 3
        while place > 0 {
            digits.insert(" ", at: place)
            place -= 3
        }
        return (value < 0 ? "−" : "") + String(digits)
    }

    static func latency(_ us: Double?) -> String {
        guard let us else { return "–" }
        if us >= 1e6 { return number(us / 1e6) + " s" }
        return us >= 1e3 ? number(us / 1e3) + " ms" : number(us) + " µs"
    }

    // MARK: The plots

    /// Latency against the share of messages that took no longer, each nine as wide as the one
    /// before. Nothing where no result has that kind.
    private func percentiles(_ kind: String, _ title: String) -> String {
        let lines = results.indices.map { index -> Plot.Line in
            let histogram = results[index]["latencyUs"][kind]
            let total = histogram["count"].double ?? 0
            var seen = 0.0
            var points: [(x: Double, y: Double)] = []
            for bucket in histogram["buckets"].array where bucket.array.count == 2 {
                let upper = bucket.array[0].double ?? 0
                points.append((x: Plot.nines(seen / total), y: max(upper, 0.1)))
                seen += bucket.array[1].double ?? 0
            }
            if total > 0, let last = points.last {
                points.append((x: Plot.nines(1 - 0.5 / total), y: last.y))
            }
            return Plot.Line(points: points, colour: Self.colour(index))
        }
        guard lines.contains(where: { !$0.points.isEmpty }) else { return "" }
        let ticks = [(0, "0"), (1, "90 %"), (2, "99 %"), (3, "99.9 %"), (4, "99.99 %")]
            .map { Plot.Tick(at: Double($0.0), text: $0.1) }
        return Plot(
            title: title, lines: lines, xTicks: ticks, isLogarithmic: true,
            yText: { Self.latency($0) }
        ).svg
    }

    private func series(_ key: String, _ title: String, scale: Double, unit: String) -> String {
        let lines = results.indices.map { index in
            Plot.Line(
                points: results[index]["series"].array.compactMap { moment in
                    moment[key].double.map { (x: moment["t"].double ?? 0, y: $0 * scale) }
                }, colour: Self.colour(index))
        }
        guard lines.contains(where: { $0.points.contains { $0.y > 0 } }) else { return "" }
        let end = lines.flatMap(\.points).map(\.x).max() ?? 1
        let step = max(1, (end / 6).rounded(.up))
        let ticks = stride(from: 0, through: end, by: step).map {
            Plot.Tick(at: $0, text: "\(Int($0)) s")
        }
        return Plot(
            title: title, lines: lines, xTicks: ticks, isLogarithmic: false,
            yText: { Self.number($0) + unit }
        ).svg
    }

    // MARK: Each run

    private static func outcome(_ result: JSONTree) -> String {
        switch result["early"].string.flatMap(LoadResult.Early.init) {
        case .interrupted: "interrupted"
        case .noConnectionLeft: "failed: no connection was left"
        case nil: result["passed"].bool ? "passed" : "failed"
        }
    }

    private static func text(_ value: Double?, _ threshold: JSONTree) -> String {
        Threshold.isDuration(threshold["name"].string ?? "") ? latency(value) : number(value)
    }

    private func verdict(_ index: Int) -> String {
        let result = results[index]
        let passed = result["passed"].bool
        var lines = result["thresholds"].array.map { threshold in
            let held = threshold["held"].bool
            return "<li class=\"\(held ? "good" : "bad")\">"
                + Self.escaped(threshold["name"].string ?? "") + ": "
                + Self.text(threshold["value"].double, threshold) + ", limit "
                + Self.text(threshold["limit"].double, threshold)
                + (held ? "" : " — not held") + "</li>"
        }
        for (what, count) in result["errors"].object.sorted(by: { $0.key < $1.key }) {
            lines.append("<li class=\"bad\">\(count.int) × \(Self.escaped(what))</li>")
        }
        if result["oracle"]["incomplete"].bool {
            lines.append(
                "<li class=\"bad\">incomplete: how much is lost, or came twice, is not known</li>")
        }
        for example in result["oracle"]["examples"].array {
            lines.append("<li class=\"bad\">\(Self.escaped(example.string ?? ""))</li>")
        }
        let settings = result["settings"].object.sorted { $0.key < $1.key }
            .map { "\($0.key) = \($0.value.string ?? "")" }.joined(separator: "\n")
        return """
            <h2 style="color:\(Self.colour(index))">\(Self.escaped(name(index)))</h2>
            <p class="\(passed ? "good" : "bad")">\(Self.outcome(result)), \
            \(Self.escaped(result["startedAt"].string ?? "")), \
            \(Self.number(result["seconds"].double)) s</p>
            <ul>\(lines.joined(separator: "\n"))</ul>
            <details><summary>Settings</summary><pre>\(Self.escaped(settings))</pre></details>
            """
    }
}
