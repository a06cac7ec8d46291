import Foundation
import LoadCore
import Testing

/// What goes between processes and into files.
struct ReportTests {
    @Test("A plan is read as it was written")
    func plan() {
        var plan = WorkerPlan()
        plan.settings = ["layout=echo", "size=100"]
        plan.dialect = .nchan
        plan.urls = ["ws://127.0.0.1:1/x", "ws://127.0.0.1:2/\"y"]
        plan.worker = 2
        plan.workers = 3
        plan.sources = 200
        plan.seed = .max
        plan.run = 0xFFFF_FFFF
        plan.secret = "a secret\nof two lines"
        plan.chats = ["one", "two"]
        plan.firstChannel = 17
        plan.core = 1
        #expect(plan.line.filter { $0 == UInt8(ascii: "\n") }.count == 1)
        #expect(WorkerPlan(line: plan.line) == plan)
        #expect(WorkerPlan(line: Array("{}".utf8)) == nil)
        #expect(WorkerPlan(line: []) == nil)
    }

    private static func report() -> WorkerReport {
        var report = WorkerReport(.final)
        report.connections = 3
        report.opened = 4
        report.lost = 1
        report.sent = 1 << 40
        report.delivered = 12
        report.errors = ["closed \"by\" the server": 2, "other": 1]
        report.openingTook = 5_000
        report.cpu = 1.25
        report.delivery.record(1_000)
        report.delivery.record(2_000_000)
        report.findings.checked = 9
        report.findings.lost = 1
        report.findings.examples = ["lane 1"]
        report.lanes = [.init(channel: 1, sender: 2, number: 3)]
        report.excused = [.init(channel: 4, sender: 5, number: 6)]
        return report
    }

    @Test("A report is read as it was written")
    func reports() throws {
        let report = Self.report()
        let read = try #require(WorkerReport(line: report.line))
        #expect(read.kind == .final && read.opened == 4 && read.sent == 1 << 40)
        #expect(read.errors == report.errors && read.errorCount == 3)
        #expect(read.cpu == 1.25 && read.openingTook == 5_000)
        #expect(read.delivery.count == 2 && read.delivery.max == 2_000_000)
        #expect(read.ack.isEmpty)
        #expect(read.findings == report.findings)
        #expect(read.lanes == report.lanes && read.excused == report.excused)
        #expect(WorkerReport(line: Array("{\"kind\":\"what\"}".utf8)) == nil)
    }

    @Test("Reports of workers add up; what took longest counts")
    func sums() {
        var sum = Self.report()
        var other = Self.report()
        other.openingTook = 9_000
        sum.add(other)
        #expect(sum.opened == 8 && sum.delivered == 24 && sum.delivery.count == 4)
        #expect(sum.openingTook == 9_000 && sum.cpu == 2.5)
        #expect(sum.errors["other"] == 2 && sum.findings.lost == 2)
    }

    static func result(_ report: WorkerReport = report(), thresholds: [Threshold] = [])
        -> LoadResult
    {
        var result = LoadResult(
            scenario: "echo", dialect: .raw, urls: ["ws://127.0.0.1:1"], machine: "this <one>",
            startedAt: 1_700_000_000_000, settings: [(key: "layout", value: "echo")], seconds: 2,
            total: report)
        result.cpu.serverEach = [0.3, 0.2]
        result.cpu.client = 0.25
        result.memory = .init(before: 1_000, after: 9_000)
        var moment = LoadResult.Moment()
        moment.time = 1
        moment.delivered = 12
        moment.p99Us = 2_000
        result.series = [moment]
        result.judge(thresholds)
        return result
    }

    @Test("A result has the fields that its readers know")
    func json() throws {
        let tree = try #require(JSONTree(Self.result().json))
        #expect(tree["version"].int == 1 && tree["tool"].string == "martlet-load")
        #expect(tree["scenario"].string == "echo" && tree["dialect"].string == "raw")
        #expect(tree["settings"]["layout"].string == "echo")
        #expect(tree["connections"]["opened"].int == 4 && tree["connections"]["lost"].int == 1)
        #expect(tree["rates"]["deliveredPerSecond"].double == 6)
        #expect(tree["latencyUs"]["delivery"]["count"].int == 2)
        #expect(tree["latencyUs"]["delivery"]["max"].double == 2_000)
        #expect(tree["latencyUs"]["ack"] == .null)
        #expect(tree["cpu"]["serverEach"].array.map(\.double) == [0.3, 0.2])
        #expect(tree["cpu"]["serverUsPerDelivery"].double == 41_666.667)
        #expect(tree["memory"]["perConnection"].double == 2_000)
        #expect(tree["series"].array.first?["p99"].double == 2_000)
        #expect(tree["oracle"]["lost"].int == 1)
        #expect(tree["errors"]["other"].int == 1)
        #expect(tree["passed"] == .bool(false))
    }

    @Test("A run passes when its thresholds hold and nothing was repeated, reordered or foreign")
    func passes() {
        var report = Self.report()
        report.errors = [:]
        #expect(!Self.result(report).passed)
        #expect(Self.result(report, thresholds: [Threshold(.lost, limit: 1)]).passed)
        report.findings.lost = 0
        #expect(Self.result(report).passed)
        let paths: [any WritableKeyPath<Oracle.Findings, UInt64> & Sendable] = [
            \.repeated, \.reordered, \.foreign,
        ]
        for path in paths {
            var bad = report
            bad.findings[keyPath: path] = 1
            #expect(!Self.result(bad).passed)
        }
    }

    @Test("A run that did not come to its end has not passed, and says why")
    func early() throws {
        var report = Self.report()
        report.errors = [:]
        report.findings.lost = 0
        var result = Self.result(report)
        #expect(JSONTree(result.json)?["early"] == .null)
        result.early = .interrupted
        #expect(!result.passed)
        let tree = try #require(JSONTree(result.json))
        #expect(tree["early"].string == "interrupted" && tree["passed"] == .bool(false))
        #expect(ReportPage(results: [result.json])?.html.contains("interrupted, ") == true)
    }

    @Test("A second in which nothing came has no p99: it is not a fast one")
    func silentSecond() throws {
        var result = Self.result()
        var moment = LoadResult.Moment()
        moment.time = 2
        result.series.append(moment)
        let seconds = try #require(JSONTree(result.json))["series"].array
        #expect(seconds.map { $0["p99"] } == [.number(2_000), .null])
        let page = try #require(ReportPage(results: [result.json])).html
        let plot = try #require(page.components(separatedBy: "p99 of each second").last)
        let line = try #require(plot.components(separatedBy: "points=\"").dropFirst().first)
        #expect(line.prefix { $0 != "\"" }.split(separator: " ").count == 1)
    }

    @Test("Other programs are told of when they take more than a twentieth of a core")
    func disturbance() {
        var result = Self.result()
        for (other, share) in [(0.1, nil), (0.11, 0.055), (nil, nil)] as [(Double?, Double?)] {
            result.cpu.other = other
            #expect(result.disturbance == share)
        }
        result.cpu.other = 1
        for (seconds, share) in [(1, 1), (0.9, nil)] as [(Double, Double?)] {
            result.seconds = seconds
            #expect(result.disturbance == share, "of less a tick of the kernel's clock would do")
        }
        result.seconds = 2
        result.cpu.serverEach = nil
        #expect(result.disturbance == nil, "the server is one of them")
    }

    @Test("Late is judged as a share of what was sent, however long the run")
    func late() throws {
        let limit = try Threshold(name: "late", limit: "0.01")
        for (late, sent, held) in [(10, 1_000, true), (11, 1_000, false), (0, 0, true)] {
            var report = WorkerReport(.final)
            report.late = UInt64(late)
            report.sent = UInt64(sent)
            #expect(Self.result(report, thresholds: [limit]).passed == held)
        }
        #expect(try Threshold(name: "late", limit: "1").limit == 1)
    }
}

struct ReportPageTests {
    @Test("A page shows every result, and nothing of it comes from elsewhere")
    func page() throws {
        let result = ReportTests.result().json
        let page = try #require(ReportPage(results: [result, result]))
        let html = page.html
        #expect(html.contains("<svg") && html.contains("Delivery latency by percentile"))
        #expect(html.contains("Deliveries a second"))
        #expect(!html.contains("Ack latency"))
        #expect(html.split(separator: "<h2").count == 3)
        for text in ["<script", "src=", "href=", "@import", "nan", "inf"] {
            #expect(!html.contains(text), "\(text)")
        }
    }

    @Test("Thresholds are told in their units")
    func units() throws {
        let result = ReportTests.result(thresholds: [
            Threshold(.deliveryP99, limit: 50_000), Threshold(.deliveryRate, limit: 50_000),
        ])
        let html = try #require(ReportPage(results: [result.json])).html
        #expect(html.contains("delivery-p99: 2 ms, limit 50 ms"))
        #expect(html.contains("delivery-rate: 6, limit 50 000"))
    }

    @Test("Names in a result cannot become markup")
    func escaping() throws {
        let html = try #require(ReportPage(results: [ReportTests.result().json])).html
        #expect(html.contains("this &lt;one&gt;"))
        #expect(!html.contains("this <one>"))
    }

    @Test("What is no result makes no page")
    func noResult() {
        #expect(ReportPage(results: []) == nil)
        #expect(ReportPage(results: [Array("{}".utf8)]) == nil)
        #expect(ReportPage(results: [ReportTests.result().json, Array("[".utf8)]) == nil)
    }
}
