import Glibc

/// Lines over a grid, as SVG.
struct Plot {
    struct Line {
        var points: [(x: Double, y: Double)]
        var colour: String
    }

    struct Tick {
        var at: Double
        var text: String
    }

    var title: String
    var lines: [Line]
    var xTicks: [Tick]
    /// The vertical scale; values are above 0 then.
    var isLogarithmic: Bool
    var yText: (Double) -> String

    private static let width = 520.0
    private static let height = 260.0
    private static let left = 70.0
    private static let bottom = 26.0
    private static let top = 10.0
    private static let right = 12.0

    /// 0 for none of them, 1 for nine tenths, 2 for 99 of a hundred, …
    static func nines(_ share: Double) -> Double {
        -log10(max(1e-7, 1 - min(max(share, 0), 1)))
    }

    var svg: String {
        let points = lines.flatMap(\.points)
        let xEnd = max(points.map(\.x).max() ?? 1, xTicks.count > 1 ? xTicks[1].at : 1)
        let range = yRange(points.map(\.y))
        func x(_ value: Double) -> Double {
            Self.left + value / xEnd * (Self.width - Self.left - Self.right)
        }
        func y(_ value: Double) -> Double {
            let share =
                isLogarithmic
                ? log10(value / range.low) / log10(range.high / range.low)
                : (value - range.low) / (range.high - range.low)
            return Self.height - Self.bottom - share * (Self.height - Self.bottom - Self.top)
        }
        var parts: [String] = []
        for value in yTicks(range) {
            let place = Self.text(y(value))
            parts.append(
                "<line x1=\"\(Self.left)\" x2=\"\(Self.width - Self.right)\" y1=\"\(place)\" "
                    + "y2=\"\(place)\" stroke=\"#e4e4e4\"/>"
                    + "<text x=\"\(Self.left - 6)\" y=\"\(Self.text(y(value) + 4))\" "
                    + "text-anchor=\"end\">\(yText(value))</text>")
        }
        for tick in xTicks where tick.at <= xEnd {
            parts.append(
                "<text x=\"\(Self.text(x(tick.at)))\" y=\"\(Self.height - 8)\" "
                    + "text-anchor=\"middle\">\(tick.text)</text>")
        }
        for line in lines where !line.points.isEmpty {
            let path = line.points.map { "\(Self.text(x($0.x))),\(Self.text(y($0.y)))" }
            parts.append(
                "<polyline fill=\"none\" stroke=\"\(line.colour)\" stroke-width=\"2\" "
                    + "points=\"\(path.joined(separator: " "))\"/>")
        }
        return """
            <figure><figcaption>\(title)</figcaption>
            <svg viewBox="0 0 \(Int(Self.width)) \(Int(Self.height))" role="img">
            \(parts.joined(separator: "\n"))
            </svg></figure>
            """
    }

    private func yRange(_ values: [Double]) -> (low: Double, high: Double) {
        let high = values.max() ?? 1
        guard isLogarithmic else { return (low: 0, high: high > 0 ? high * 1.05 : 1) }
        let low = pow(10, floor(log10(max(values.min() ?? 1, 0.1))))
        return (low: low, high: max(pow(10, ceil(log10(max(high, 0.1)))), low * 10))
    }

    private func yTicks(_ range: (low: Double, high: Double)) -> [Double] {
        if isLogarithmic {
            let count = Int(log10(range.high / range.low).rounded())
            return (0...count).map { range.low * pow(10, Double($0)) }
        }
        let rough = range.high / 5
        let power = pow(10, floor(log10(rough)))
        let step = [1, 2, 5, 10].map { $0 * power }.first { $0 >= rough } ?? rough
        return Array(stride(from: 0, through: range.high, by: step))
    }

    /// A tenth of a pixel is enough.
    private static func text(_ value: Double) -> String { "\((value * 10).rounded() / 10)" }
}
