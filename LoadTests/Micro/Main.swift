import ArgumentParser
import CAllocations

/// Runs one stage of the data path so many times and says how often it allocated. `Scripts/micro`
/// runs it under callgrind with two numbers of rounds: the difference is what a round costs,
/// whatever the start-up did.
@main
struct Micro: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "martlet-micro",
        abstract: "One stage of Martlet's data path, over and over; for Scripts/micro.",
        discussion: Stage.allCases.map { "\($0.rawValue): \($0.unit)" }.joined(separator: "\n"))

    @Argument(help: "The stage; --list names them.")
    var stage: Stage?

    @Option(help: "How often.")
    var rounds = 1_000

    @Flag(help: "Names the stages, a line each: name, tab, what is counted.")
    var list = false

    func validate() throws {
        guard list != (stage != nil) else { throw ValidationError("a stage, or --list") }
        guard (0...10_000_000).contains(rounds) else {
            throw ValidationError("--rounds is 0 to 10,000,000")
        }
    }

    func run() {
        guard let stage else {
            for stage in Stage.allCases { print("\(stage.rawValue)\t\(stage.unit)") }
            return
        }
        let bench = stage.make()
        // What is made once and kept, such as a scratch buffer, is no cost of a round.
        bench.round()
        bench.round()
        let before = allocations_count()
        for _ in 0..<rounds { bench.round() }
        let allocations = allocations_count() - before
        print("{\"units\":\(rounds * bench.unitsPerRound),\"allocations\":\(allocations)}")
    }
}

extension Stage: ExpressibleByArgument {}
