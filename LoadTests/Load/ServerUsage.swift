import Glibc

/// What the kernel says of the server's processes and of the machine (proc(5)).
enum ServerUsage {
    private static let ticks = Double(sysconf(Int32(_SC_CLK_TCK)))

    /// User and system seconds of all threads of each process; nil where one is not there.
    static func cpuSeconds(_ processes: [Int32]) -> [Double]? {
        guard !processes.isEmpty else { return nil }
        var each: [Double] = []
        for process in processes {
            guard let text = Files.text("/proc/\(process)/stat"),
                let end = text.lastIndex(of: ")")  // the name may hold spaces
            else { return nil }
            let fields = text[end...].split(separator: " ")
            guard fields.count > 13, let user = Double(fields[12]), let system = Double(fields[13])
            else { return nil }
            each.append((user + system) / ticks)
        }
        return each
    }

    /// Private anonymous memory: no shared pages, no page cache.
    static func privateBytes(_ processes: [Int32]) -> UInt64? {
        guard !processes.isEmpty else { return nil }
        var sum: UInt64 = 0
        for process in processes {
            guard let text = Files.text("/proc/\(process)/status"),
                let line = text.split(separator: "\n").first(where: { $0.hasPrefix("RssAnon:") }),
                let kibibytes = line.split(whereSeparator: { !$0.isNumber }).first.flatMap({
                    UInt64($0)
                })
            else { return nil }
            sum += kibibytes * 1_024
        }
        return sum
    }

    /// Busy seconds of all cores, stolen ones too. Guest time is contained in user and nice.
    static func machineSeconds() -> Double? {
        guard let text = Files.text("/proc/stat"),
            let line = text.split(separator: "\n").first(where: { $0.hasPrefix("cpu ") })
        else { return nil }
        let numbers = line.split(separator: " ").dropFirst().compactMap { Double($0) }
        guard numbers.count >= 8 else { return nil }
        // user nice system idle iowait irq softirq steal
        return (numbers[0] + numbers[1] + numbers[2] + numbers[5] + numbers[6] + numbers[7]) / ticks
    }

    /// A name for the machine in a result.
    static func machine() -> String {
        let model = Files.text("/proc/cpuinfo")?.split(separator: "\n")
            .first { $0.hasPrefix("model name") }
            .flatMap { $0.split(separator: ":").last }
        let name = model.map { String($0.drop { $0 == " " }) } ?? "unknown processor"
        let kernel = Files.text("/proc/sys/kernel/osrelease")?.prefix { !$0.isNewline } ?? ""
        return "\(name), \(sysconf(Int32(_SC_NPROCESSORS_ONLN))) cores, Linux \(kernel)"
    }
}
