import Wire

/// A name and its value in one call, for objects that are written once a run and not once a frame.
extension JSONWriter {
    mutating func string(_ name: String, _ value: String) {
        key(named: name)
        string(value)
    }

    mutating func strings(_ name: String, _ values: [String]) {
        key(named: name)
        beginArray()
        for value in values { string(value) }
        endArray()
    }

    mutating func bool(_ name: String, _ value: Bool) {
        key(named: name)
        bool(value)
    }

    mutating func integer(_ name: String, _ value: Int) {
        key(named: name)
        integer(value)
    }

    mutating func integer(_ name: String, _ value: UInt64) {
        key(named: name)
        integer(value)
    }

    /// All its digits, so that it is read back as it was.
    mutating func double(_ name: String, _ value: Double) {
        key(named: name)
        double(value)
    }

    /// For people: with three decimals at most; left out where there is none.
    mutating func number(_ name: String, _ value: Double?) {
        guard let value else { return }
        key(named: name)
        number(value)
    }

    mutating func numbers(_ name: String, _ values: [Double]) {
        key(named: name)
        beginArray()
        for value in values { number(value) }
        endArray()
    }

    private mutating func number(_ value: Double) {
        let rounded = (value * 1_000).rounded() / 1_000
        if rounded == rounded.rounded(), abs(rounded) < 1e15 {
            integer(Int64(rounded))
        } else {
            double(rounded)
        }
    }

    mutating func counts(_ name: String, _ counts: [String: Int]) {
        key(named: name)
        beginObject()
        for (what, count) in counts.sorted(by: { $0.key < $1.key }) { integer(what, count) }
        endObject()
    }

    mutating func findings(_ name: String, _ findings: Oracle.Findings) {
        key(named: name)
        beginObject()
        integer("checked", findings.checked)
        integer("lost", findings.lost)
        integer("repeated", findings.repeated)
        integer("reordered", findings.reordered)
        integer("foreign", findings.foreign)
        if findings.isIncomplete { bool("incomplete", true) }
        strings("examples", findings.examples)
        endObject()
    }

    /// In microseconds; left out where nothing was recorded.
    mutating func histogram(_ name: String, _ histogram: LatencyHistogram) {
        guard !histogram.isEmpty else { return }
        key(named: name)
        beginObject()
        integer("count", histogram.count)
        for (name, q) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)] {
            number(name, Double(histogram.quantile(q)) / 1e3)
        }
        number("max", Double(histogram.max) / 1e3)
        number("mean", histogram.mean / 1e3)
        key("buckets")
        beginArray()
        for (upper, count) in histogram.coarse {
            beginArray()
            double(Double(upper) / 1e3)
            integer(count)
            endArray()
        }
        endArray()
        endObject()
    }
}
