import Basics
import Client
import Foundation
import ServerSupport

/// `martlet-faults`: kills a server with SIGKILL under load, again and again on the same data, and
/// then asks whether anything was lost, doubled or put out of order. `--fleet` does that, and worse,
/// to three instances, their Postgres, their Redis and the network between them.
@main
enum Main {
    static let usage = """
        usage: martlet-faults [--rounds N] [--seconds-per-round S] [--rate R] [--binary PATH]
                              [--planted each|NAME] [--fleet [--seed N] [--quiet-ms N] [--fault NAME]…]

          --rounds             kills or faults; default 50
          --seconds-per-round  a kill comes at a random moment of these, a fault of a fleet lasts at
                               most so long; default 2, with --fleet 6
          --rate               messages a second of each writer; default 40 of each of 16, with
                               --fleet 5 of each of 12
          --binary             the martlet to test; default: MARTLET_BINARY, or the one built beside
          --planted            a lie that the checks must find: then the exit is 1. `each` tells
                               every lie of a client in turn, and passes if all are found.
                               \(Planted.allCases.map(\.rawValue).joined(separator: ", "))
          --fleet              three instances on a Postgres and a Redis of their own, and faults of all
          --seed               what is done to the fleet, and for how long; default: a random one
          --quiet-ms           after each fault, once all are back; default 2000
          --fault              only this one; may be repeated.
                               \(Fault.allCases.map(\.rawValue).joined(separator: ", "))

        Exit: 0 all checks passed, 1 one failed, 2 the run itself did not work, 64 bad usage.
        """

    static func main() {
        var settings = Settings()
        var arguments = CommandLine.arguments.dropFirst()
        while let name = arguments.popFirst() {
            if name == "--fleet" {
                settings.isFleet = true
                continue
            }
            guard let value = arguments.popFirst(), settings.set(name, value) else {
                say(usage)
                exit(64)
            }
        }
        guard settings.isConsistent else {
            say(usage)
            exit(64)
        }
        do {
            if settings.isFleet { say("seed \(settings.seed)") }
            let outcome =
                try settings.isFleet ? FleetRun.outcome(settings) : Run.outcome(settings)
            exit(report(outcome, settings) ? 0 : 1)
        } catch {
            say("martlet-faults: \(error)")
            exit(2)
        }
    }

    private static func report(_ outcome: Run.Outcome, _ settings: Settings) -> Bool {
        if settings.plantsEach { return reportEach(outcome) }
        var evidence = outcome.evidence
        if let planted = settings.planted, !planted.isOfRun {
            let isTold = planted.apply(to: &evidence)
            say("planted: \(planted.rawValue)\(isTold ? "" : " (nothing to tell it about)")")
        }
        let verdicts = verdicts(evidence) + outcome.verdicts
        for verdict in verdicts { printVerdict(verdict) }
        let failed = verdicts.count { !$0.hasPassed }
        say("\(verdicts.count - failed) passed, \(failed) failed")
        return failed == 0
    }

    private static func verdicts(_ evidence: Evidence) -> [Verdict] {
        Checks(evidence).all() + (FleetChecks(evidence)?.all() ?? [])
    }

    private static func printVerdict(_ verdict: Verdict) {
        say("\(verdict.hasPassed ? "ok    " : "FAILED") \(verdict.name) (\(verdict.looked))")
        if verdict.looked == 0 { say("       there was nothing to look at") }
        for violation in verdict.violations.prefix(5) { say("       \(violation)") }
        if verdict.violations.count > 5 { say("       … \(verdict.violations.count) in all") }
    }

    /// Every lie must be found; and without one there must be nothing to find.
    private static func reportEach(_ outcome: Run.Outcome) -> Bool {
        let honest = verdicts(outcome.evidence) + outcome.verdicts
        for verdict in honest { printVerdict(verdict) }
        var missed = honest.count { !$0.hasPassed }
        let lies = outcome.evidence.fleet == nil ? Planted.records : Planted.fleetRecords
        for planted in lies {
            var evidence = outcome.evidence
            let isTold = planted.apply(to: &evidence)
            let found = verdicts(evidence).filter { !$0.hasPassed }
            let isFound = found.contains { $0.name.hasPrefix(planted.finder) }
            if !isFound { missed += 1 }
            let names = found.map(\.name).joined(separator: "; ")
            say(
                "planted \(planted.rawValue): "
                    + (isFound ? names : isTold ? "MISSED" : "NOTHING TO TELL IT ABOUT"))
        }
        say("\(lies.count + honest.count - missed) passed, \(missed) failed")
        return missed == 0
    }
}

/// Prints a line at once: the table is read while it grows.
func say(_ line: String) {
    print(line)
    fflush(nil)
}

/// The command line.
struct Settings {
    var rounds = 50
    private var chosenSeconds: Double?
    private var chosenRate: Int?
    var isFleet = false
    var seed = UInt64.random(in: 0...UInt64(UInt32.max))
    var quietMs = 2_000
    /// Empty for all.
    var faults: [Fault] = []
    var binary: String?
    var planted: Planted?
    var plantsEach = false

    var secondsPerRound: Double { chosenSeconds ?? (isFleet ? 6 : 2) }
    var rate: Int { chosenRate ?? 40 }
    var fleetRate: Int { chosenRate ?? 5 }

    /// What belongs to one mode alone is not asked of the other.
    var isConsistent: Bool {
        if isFleet { return planted != .rollback }
        return planted?.isOfFleet != true && faults.isEmpty
    }

    /// False where that is no setting.
    mutating func set(_ name: String, _ value: String) -> Bool {
        switch name {
        case "--rounds": return assign(Int(value), 1...10_000, to: \.rounds)
        case "--seconds-per-round": return assign(Double(value), 0.1...600, to: \.chosenSeconds)
        case "--rate": return assign(Int(value), 1...10_000, to: \.chosenRate)
        case "--seed":
            guard let number = UInt64(value) else { return false }
            seed = number
            return true
        case "--quiet-ms": return assign(Int(value), 0...600_000, to: \.quietMs)
        case "--fault":
            guard let fault = Fault(rawValue: value) else { return false }
            faults.append(fault)
            return true
        case "--binary":
            binary = value
            return true
        case "--planted":
            plantsEach = value == "each"
            planted = Planted(rawValue: value)
            return plantsEach || planted != nil
        default: return false
        }
    }

    private mutating func assign<Value: Comparable>(
        _ value: Value?, _ range: ClosedRange<Value>, to field: WritableKeyPath<Settings, Value?>
    ) -> Bool {
        guard let value, range.contains(value) else { return false }
        self[keyPath: field] = value
        return true
    }

    private mutating func assign<Value: Comparable>(
        _ value: Value?, _ range: ClosedRange<Value>, to field: WritableKeyPath<Settings, Value>
    ) -> Bool {
        guard let value, range.contains(value) else { return false }
        self[keyPath: field] = value
        return true
    }
}
