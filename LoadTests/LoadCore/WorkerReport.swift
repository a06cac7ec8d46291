import Wire

/// What a worker tells the coordinator, a line each: every second how far it is, once that its
/// connections are open, once what its senders have sent, and in the end everything. Counters are
/// cumulative.
package struct WorkerReport: Sendable {
    package enum Kind: String, Sendable {
        case progress
        /// Every connection is open or has failed.
        case opened
        /// Sending is over; `sent` holds what receivers elsewhere must have got.
        case ceased
        case final
        /// It cannot go on; `reason` says why.
        case failed
    }

    /// The messages of one sender in one channel.
    package struct Lane: Hashable, Sendable {
        package var channel: UInt32
        package var sender: UInt32
        /// Up to this one they must have come.
        package var number: UInt32
        package init(channel: UInt32, sender: UInt32, number: UInt32) {
            self.channel = channel
            self.sender = sender
            self.number = number
        }
    }

    package var kind: Kind
    package var reason = ""
    /// Connections that are up now.
    package var connections = 0
    package var opened = 0
    package var failed = 0
    package var lost = 0
    package var slowClosed = 0
    package var dropped = 0
    package var recovered = 0
    /// Dropped ones that will not come back.
    package var returnsFailed = 0
    package var sent: UInt64 = 0
    package var acked: UInt64 = 0
    package var delivered: UInt64 = 0
    package var replayed: UInt64 = 0
    package var typingSent: UInt64 = 0
    package var typingDelivered: UInt64 = 0
    package var late: UInt64 = 0
    /// Due while every sender was away.
    package var unsent: UInt64 = 0
    package var errors: [String: Int] = [:]
    /// Nanoseconds that opening all connections took.
    package var openingTook: UInt64 = 0
    /// Nanoseconds from the drop until the last of the dropped had caught up; 0 for none.
    package var recoveryTook: UInt64 = 0
    /// This process's CPU seconds in the measured window, and while connections were opened.
    package var cpu = 0.0
    package var openingCPU = 0.0

    /// Of deliveries (or typing) since the last progress.
    package var recent = LatencyHistogram()
    package var connect = LatencyHistogram()
    package var ack = LatencyHistogram()
    package var delivery = LatencyHistogram()
    package var typing = LatencyHistogram()
    package var reconnect = LatencyHistogram()
    package var findings = Oracle.Findings()
    package var lanes: [Lane] = []
    /// Numbers that need not have come.
    package var excused: [Lane] = []

    package init(_ kind: Kind) { self.kind = kind }

    package var errorCount: Int { errors.values.reduce(0, +) }

    private static let counts: [(String, any WritableKeyPath<WorkerReport, Int> & Sendable)] = [
        ("connections", \.connections), ("opened", \.opened), ("failed", \.failed),
        ("lost", \.lost), ("slowClosed", \.slowClosed), ("dropped", \.dropped),
        ("recovered", \.recovered), ("returnsFailed", \.returnsFailed),
    ]
    private static let sums: [(String, any WritableKeyPath<WorkerReport, UInt64> & Sendable)] = [
        ("sent", \.sent), ("acked", \.acked), ("delivered", \.delivered),
        ("replayed", \.replayed), ("typingSent", \.typingSent),
        ("typingDelivered", \.typingDelivered), ("late", \.late), ("unsent", \.unsent),
    ]
    private static let histograms:
        [(String, any WritableKeyPath<WorkerReport, LatencyHistogram> & Sendable)] = [
            ("recent", \.recent), ("connect", \.connect), ("ack", \.ack),
            ("delivery", \.delivery), ("typing", \.typing), ("reconnect", \.reconnect),
        ]

    /// Takes in another worker's. What took longest counts.
    package mutating func add(_ other: WorkerReport) {
        for (_, path) in Self.counts { self[keyPath: path] += other[keyPath: path] }
        for (_, path) in Self.sums { self[keyPath: path] += other[keyPath: path] }
        for (_, path) in Self.histograms { self[keyPath: path].merge(other[keyPath: path]) }
        for (what, count) in other.errors { errors[what, default: 0] += count }
        openingTook = max(openingTook, other.openingTook)
        recoveryTook = max(recoveryTook, other.recoveryTook)
        cpu += other.cpu
        openingCPU += other.openingCPU
        findings.add(other.findings)
        lanes += other.lanes
        excused += other.excused
    }

    // MARK: As a line

    package var line: [UInt8] {
        var json = JSONWriter(capacity: 2_048)
        json.beginObject()
        json.string("kind", kind.rawValue)
        if !reason.isEmpty {
            json.string("reason", reason)
        }
        for (name, path) in Self.counts {
            json.integer(name, self[keyPath: path])
        }
        for (name, path) in Self.sums {
            json.integer(name, self[keyPath: path])
        }
        json.integer("openingTook", openingTook)
        json.integer("recoveryTook", recoveryTook)
        json.double("cpu", cpu)
        json.double("openingCPU", openingCPU)
        json.counts("errors", errors)
        for (name, path) in Self.histograms where !self[keyPath: path].isEmpty {
            json.key(named: name)
            Self.write(self[keyPath: path], to: &json)
        }
        json.findings("findings", findings)
        for (name, lanes) in [("lanes", lanes), ("excused", excused)] where !lanes.isEmpty {
            json.key(named: name)
            json.beginArray()
            for lane in lanes {
                json.integer(Int(lane.channel))
                json.integer(Int(lane.sender))
                json.integer(Int(lane.number))
            }
            json.endArray()
        }
        json.endObject()
        return json.bytes + [UInt8(ascii: "\n")]
    }

    private static func write(_ histogram: LatencyHistogram, to json: inout JSONWriter) {
        json.beginObject()
        json.integer("max", histogram.max)
        json.double("mean", histogram.mean)
        json.key("recorded")
        json.beginArray()
        for (value, count) in histogram.recorded {
            json.integer(value)
            json.integer(count)
        }
        json.endArray()
        json.endObject()
    }

    /// Nil where the line is none of `line`'s.
    package init?(line: [UInt8]) {
        guard let tree = JSONTree(line),
            let kind = tree["kind"].string.flatMap(Kind.init(rawValue:))
        else { return nil }
        self.init(kind)
        reason = tree["reason"].string ?? ""
        for (name, path) in Self.counts { self[keyPath: path] = tree[name].int }
        for (name, path) in Self.sums { self[keyPath: path] = tree[name].count }
        openingTook = tree["openingTook"].count
        recoveryTook = tree["recoveryTook"].count
        cpu = tree["cpu"].double ?? 0
        openingCPU = tree["openingCPU"].double ?? 0
        errors = tree["errors"].object.mapValues(\.int)
        for (name, path) in Self.histograms where tree[name] != .null {
            self[keyPath: path] = Self.histogram(tree[name])
        }
        findings = Oracle.Findings(tree["findings"])
        lanes = Self.lanes(tree["lanes"])
        excused = Self.lanes(tree["excused"])
    }

    private static func histogram(_ tree: JSONTree) -> LatencyHistogram {
        let numbers = tree["recorded"].array.map(\.count)
        let pairs = stride(from: 0, to: numbers.count - 1, by: 2).map {
            (value: numbers[$0], count: numbers[$0 + 1])
        }
        return LatencyHistogram(
            recorded: pairs, max: tree["max"].count, mean: tree["mean"].double ?? 0)
    }

    private static func lanes(_ tree: JSONTree) -> [Lane] {
        let numbers = tree.array.map { UInt32(truncatingIfNeeded: $0.count) }
        return stride(from: 0, to: numbers.count - 2, by: 3).map {
            Lane(channel: numbers[$0], sender: numbers[$0 + 1], number: numbers[$0 + 2])
        }
    }
}

extension Oracle.Findings {
    init(_ tree: JSONTree) {
        self.init()
        checked = tree["checked"].count
        lost = tree["lost"].count
        repeated = tree["repeated"].count
        reordered = tree["reordered"].count
        foreign = tree["foreign"].count
        isIncomplete = tree["incomplete"].bool
        examples = tree["examples"].array.compactMap(\.string)
    }
}
