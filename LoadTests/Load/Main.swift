import ArgumentParser
import Client
import Glibc
import LoadCore

/// `martlet-load`: simulates people, and checks what they get while it measures how fast.
@main
struct MartletLoad: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "martlet-load",
        abstract: "Load a realtime server with simulated people, and check what they get.",
        discussion: """
            A run is a scenario (who talks to whom, how often) in a dialect (how a kind of server \
            is spoken to). Exit status: 0 all thresholds held and every message came once and in \
            order; 1 something of that did not hold; 2 the run itself did not work; 64 usage; \
            130 interrupted.
            """,
        subcommands: [Run.self, Scenarios.self, Report.self, WorkerCommand.self])
}

/// One process of a run; started by `run`.
struct WorkerCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "worker", shouldDisplay: false)

    func run() {
        signal(SIGPIPE, SIG_IGN)
        do throws(WorkerError) {
            guard let plan = WorkerPlan(line: Self.readLine()) else {
                throw WorkerError("no plan came on standard input")
            }
            try Worker(plan: plan).run()
        } catch {
            var report = WorkerReport(.failed)
            report.reason = "\(error)"
            Worker.write(report.line)
            Glibc.exit(2)
        }
        // The coordinator reads the last line, then ends us: closing thousands of connections one
        // by one would only delay it.
        Glibc.exit(0)
    }

    /// The first line of standard input, and not a byte more.
    private static func readLine() -> [UInt8] {
        var line: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while line.last != UInt8(ascii: "\n") {
            let count = unsafe chunk.withUnsafeMutableBytes {
                unsafe read(0, $0.baseAddress, $0.count)
            }
            guard count > 0 else { break }
            line += chunk.prefix(count)
        }
        return line
    }
}

/// `martlet-load scenarios`
struct Scenarios: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List the scenarios that come with the program.")

    @Option(help: "The folder they are in.")
    var scenarios: String?

    func run() {
        let folder = ScenarioFiles.folder(scenarios)
        let names = ScenarioFiles.names(in: folder)
        guard !names.isEmpty else { fail(ScenarioFiles.whatThereIs(in: folder), status: 2) }
        let width = names.map(\.utf8.count).max() ?? 0
        for name in names {
            let text = Files.text("\(folder)/\(name).conf") ?? ""
            let padding = String(repeating: " ", count: width - name.utf8.count + 2)
            print(name + padding + ScenarioFiles.summary(of: text))
        }
    }
}

/// Ends the program with a line for the person at the terminal.
func fail(_ text: String, status: Int32) -> Never {
    Files.say(text)
    Glibc.exit(status)
}
