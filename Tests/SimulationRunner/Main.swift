import Gateway
import Glibc
import Simulation

/// `martlet-simulate [--seeds N] [--first N] [--seed N] [--planted NAME]`: runs seeds of the
/// simulation, and says which failed. With `--seed` one is replayed with its trace. With `--planted
/// all` each planted bug must be found by at least 20 of the seeds.
@main
enum Main {
    static func main() {
        var seeds = 1_000
        var first: UInt64 = 1
        var single: UInt64?
        var planted: String?
        var arguments = CommandLine.arguments.dropFirst()
        while let name = arguments.popFirst() {
            guard let value = arguments.popFirst() else { usage() }
            switch name {
            case "--seeds": seeds = Int(value) ?? seeds
            case "--first": first = UInt64(value) ?? first
            case "--seed": single = UInt64(value)
            case "--planted": planted = value
            default: usage()
            }
        }
        let bugs = PlantedBug.allCases.filter { planted == "all" || planted == $0.rawValue }
        if planted != nil, bugs.isEmpty { usage() }
        if let single {
            replay(single, bugs)
            return
        }
        if bugs.isEmpty { clean(first, seeds) } else { plant(bugs, first, seeds) }
    }

    private static func usage() -> Never {
        print("usage: martlet-simulate [--seeds N] [--first N] [--seed N] [--planted all|NAME]")
        print("planted bugs: \(PlantedBug.allCases.map(\.rawValue).joined(separator: ", "))")
        exit(64)
    }

    private static func replay(_ seed: UInt64, _ bugs: [PlantedBug]) {
        let result = World.run(seed: seed, planted: Set(bugs), keepsTrace: true)
        for line in result.trace { print(line) }
        for violation in result.violations { print("VIOLATION \(violation)") }
        print(
            "seed \(seed): \(result.acked) acked, \(result.deliveries) deliveries, \(result.crashes) crashes"
        )
        exit(result.violations.isEmpty ? 0 : 1)
    }

    private static func clean(_ first: UInt64, _ seeds: Int) {
        var failed: [UInt64] = []
        var acked = 0
        var deliveries = 0
        var crashes = 0
        var longestDelayMs = 0
        for seed in first..<(first + UInt64(seeds)) {
            let result = World.run(seed: seed)
            acked += result.acked
            deliveries += result.deliveries
            crashes += result.crashes
            longestDelayMs = max(longestDelayMs, result.longestDelayMs)
            if !result.violations.isEmpty {
                failed.append(seed)
                print(
                    "seed \(seed): \(result.violations[0])   (replay: MARTLET_SEED=\(seed) Scripts/simulate)"
                )
            }
            if (seed - first + 1) % 200 == 0 {
                print("simulation: \(seed - first + 1) of \(seeds) seeds, \(failed.count) failed")
            }
        }
        print(
            "simulation: \(acked) acks, \(deliveries) deliveries, \(crashes) crashes; "
                + "the slowest delivery took \(longestDelayMs) ms")
        print("\(seeds - failed.count) passed, \(failed.count) failed")
        exit(failed.isEmpty ? 0 : 1)
    }

    private static func plant(_ bugs: [PlantedBug], _ first: UInt64, _ seeds: Int) {
        var missed = 0
        for bug in bugs {
            var found = 0
            var tried = 0
            var example: (UInt64, String)?
            for seed in first..<(first + UInt64(seeds)) where found < 20 {
                tried += 1
                let result = World.run(seed: seed, planted: [bug])
                if let violation = result.violations.first {
                    found += 1
                    if example == nil { example = (seed, violation) }
                }
            }
            let isFound = found >= 20
            if !isFound { missed += 1 }
            print(
                "planted \(bug.rawValue): found by \(found) of \(tried) seeds\(isFound ? "" : ", TOO FEW")"
            )
            if let example { print("  seed \(example.0): \(example.1)") }
        }
        print("\(bugs.count - missed) passed, \(missed) failed")
        exit(missed == 0 ? 0 : 1)
    }
}
