import Basics
import Client
import Foundation
import ServerSupport

/// `martlet-faults`: kills a server with SIGKILL under load, again and again on the same data, and
/// then asks whether anything was lost, doubled or put out of order.
@main
enum Main {
    static let usage = """
        usage: martlet-faults [--rounds N] [--seconds-per-round S] [--rate R] [--binary PATH]
                              [--planted each|NAME]

          --rounds             kills; default 50
          --seconds-per-round  a kill comes at a random moment of these; default 2
          --rate               messages a second of each of the 16 writers; default 40
          --binary             the martlet to test; default: MARTLET_BINARY, or the one built beside
          --planted            a lie that the checks must find: then the exit is 1. `each` tells
                               every lie of a client in turn, and passes if all are found.
                               \(Planted.allCases.map(\.rawValue).joined(separator: ", "))

        Exit: 0 all checks passed, 1 one failed, 2 the run itself did not work, 64 bad usage.
        """

    static func main() {
        var settings = Settings()
        var arguments = CommandLine.arguments.dropFirst()
        while let name = arguments.popFirst() {
            guard let value = arguments.popFirst(), settings.set(name, value) else {
                say(usage)
                exit(64)
            }
        }
        do {
            exit(report(try Run.outcome(settings), settings) ? 0 : 1)
        } catch {
            say("martlet-faults: \(error)")
            exit(2)
        }
    }

    private static func report(_ outcome: Run.Outcome, _ settings: Settings) -> Bool {
        if settings.plantsEach { return reportEach(outcome) }
        var evidence = outcome.evidence
        if let planted = settings.planted, planted != .rollback {
            let isTold = planted.apply(to: &evidence)
            say("planted: \(planted.rawValue)\(isTold ? "" : " (nothing to tell it about)")")
        }
        let verdicts = Checks(evidence).all() + outcome.verdicts
        for verdict in verdicts { printVerdict(verdict) }
        let failed = verdicts.count { !$0.hasPassed }
        say("\(verdicts.count - failed) passed, \(failed) failed")
        return failed == 0
    }

    private static func printVerdict(_ verdict: Verdict) {
        say("\(verdict.hasPassed ? "ok    " : "FAILED") \(verdict.name) (\(verdict.looked))")
        if verdict.looked == 0 { say("       there was nothing to look at") }
        for violation in verdict.violations.prefix(5) { say("       \(violation)") }
        if verdict.violations.count > 5 { say("       … \(verdict.violations.count) in all") }
    }

    /// Every lie must be found; and without one there must be nothing to find.
    private static func reportEach(_ outcome: Run.Outcome) -> Bool {
        var missed = 0
        let honest = Checks(outcome.evidence).all().filter { !$0.hasPassed }
        for verdict in honest { printVerdict(verdict) }
        if !honest.isEmpty { missed += 1 }
        for planted in Planted.records {
            var evidence = outcome.evidence
            let isTold = planted.apply(to: &evidence)
            let found = Checks(evidence).all().filter { !$0.hasPassed }
            let isFound = found.contains { $0.name.hasPrefix(planted.finder) }
            if !isFound { missed += 1 }
            let names = found.map(\.name).joined(separator: "; ")
            say(
                "planted \(planted.rawValue): "
                    + (isFound ? names : isTold ? "MISSED" : "NOTHING TO TELL IT ABOUT"))
        }
        say("\(Planted.records.count + 1 - missed) passed, \(missed) failed")
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
    var secondsPerRound = 2.0
    var rate = 40
    var binary: String?
    var planted: Planted?
    var plantsEach = false

    /// False where that is no setting.
    mutating func set(_ name: String, _ value: String) -> Bool {
        switch name {
        case "--rounds": return assign(Int(value), 1...10_000, to: \.rounds)
        case "--seconds-per-round": return assign(Double(value), 0.1...600, to: \.secondsPerRound)
        case "--rate": return assign(Int(value), 1...10_000, to: \.rate)
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
        _ value: Value?, _ range: ClosedRange<Value>, to field: WritableKeyPath<Settings, Value>
    ) -> Bool {
        guard let value, range.contains(value) else { return false }
        self[keyPath: field] = value
        return true
    }
}
