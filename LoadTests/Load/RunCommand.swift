import ArgumentParser
import Client
import Glibc
import LoadCore

/// `martlet-load run`
struct Run: ParsableCommand {
    static let configuration = CommandConfiguration(
        // For the errors that it finds itself.
        _superCommandName: "martlet-load",
        abstract: "Run a scenario, and say what came of it.",
        discussion: """
            Words key=value override the scenario's lines: `connections=5000 duration=30s`. \
            LoadTests/README.md says what they mean.

            The dialects: raw (a server that echoes or broadcasts texts, as Martlet does at /bench with \
            --bench), v1 and plain (Martlet's users and chats), sio-v1 (the same over Socket.IO), sio \
            (rooms of any Socket.IO server), nats, nchan.

            Ctrl-C ends the measured window; what was measured until then is told and written.
            """)

    @Argument(help: "A scenario: a file, or the name of one that `scenarios` lists.")
    var scenario: String

    @Argument(help: "key=value: overrides a line of the scenario.")
    var settings: [String] = []

    @Option(help: "ws://HOST:PORT[/PATH]; may be repeated: the instances of one deployment.")
    var url: [String] = []

    @Option(help: "How the server is spoken to: raw, v1, plain, sio-v1, sio, nats or nchan.")
    var dialect = "raw"

    @Option(help: "Processes to load with, each up to 19,000 connections.")
    var workers: Int?

    @Option(help: "Cores to pin the workers to, in turn: 1,2,3.")
    var cores: String?

    @Option(help: "Local addresses 127.0.0.x to connect from. Default: 200 on loopback, else none.")
    var sources: Int?

    @Option(name: .customLong("server-pid"), help: "A process of the server; may be repeated.")
    var serverPid: [Int32] = []

    @Option(
        name: .customLong("jwt-secret"),
        help: "The secret to mint tokens with (v1, plain, sio-v1).")
    var jwtSecret: String?

    @Option(
        help: "The server's data folder, whose development secret is used (v1, plain, sio-v1).")
    var data: String?

    @Option(help: "Write the result there, as JSON.")
    var json: String?

    @Option(help: "Write the result there, as a page with plots.")
    var html: String?

    @Option(help: "The folder of the scenarios.")
    var scenarios: String?

    @Option(help: "Seed of what is left to chance: times of arrival, who sends.")
    var seed: UInt64 = 1

    @Flag(help: "Say only what came of it.")
    var quiet = false

    func run() {
        let options: Coordinator.Options
        do { options = try checked() } catch { Self.exit(withError: error) }
        for path in [json, html] {
            if let path, let reason = Files.whyNotWritable(path) {
                fail("cannot write \(path): \(reason)", status: 2)
            }
        }
        do throws(WorkerError) {
            let result = try Coordinator(options).perform()
            Summary.print(result)
            let bytes = result.json
            write(bytes + [UInt8(ascii: "\n")], to: json)
            if html != nil, let page = ReportPage(results: [bytes]) {
                write(Array(page.html.utf8), to: html)
            }
            guard result.early != .interrupted else { Glibc.exit(Self.interruptedStatus) }
            guard result.passed else { Glibc.exit(1) }
        } catch {
            fail("\(error)", status: error.isInterruption ? Self.interruptedStatus : 2)
        }
    }

    /// As a shell has it of a program that SIGINT ended.
    private static let interruptedStatus: Int32 = 130

    private func write(_ bytes: [UInt8], to path: String?) {
        guard let path else { return }
        if let reason = Files.write(bytes, to: path) {
            fail("cannot write \(path): \(reason)", status: 2)
        }
    }

    /// What the words say, or the error that ends the program with 64.
    private func checked() throws -> Coordinator.Options {
        guard let dialect = LoadDialect(rawValue: dialect) else {
            throw ValidationError(
                "--dialect is one of "
                    + LoadDialect.allCases.map(\.rawValue).joined(separator: ", "))
        }
        guard !url.isEmpty else { throw ValidationError("--url ws://HOST:PORT[/PATH] is needed") }
        let folder = ScenarioFiles.folder(scenarios)
        guard let (name, text) = ScenarioFiles.text(of: scenario, in: folder) else {
            throw ValidationError(
                "there is no scenario '\(scenario)'; " + ScenarioFiles.whatThereIs(in: folder))
        }
        if let word = settings.first(where: { !$0.contains("=") }) {
            throw ValidationError(
                "'\(word)' is no key=value; an option takes one value, and is said again for another"
            )
        }
        let parsed: Scenario
        do throws(ScenarioError) {
            parsed = try Scenario(text: text, overrides: settings)
        } catch {
            throw ValidationError("scenario \(name): \(error)")
        }
        if let complaint = dialect.complaint(about: parsed) { throw ValidationError(complaint) }
        let needed = (parsed.connections + Worker.mostConnections - 1) / Worker.mostConnections
        let count = workers ?? needed
        guard (1...256).contains(count) else {
            throw ValidationError("--workers is within 1...256")
        }
        guard count <= parsed.connections else {
            throw ValidationError(
                "--workers \(count) is more than there are connections: \(parsed.connections)")
        }
        if parsed.traffic == .typing || parsed.typingShare > 0, parsed.layout == .room, count > 1 {
            throw ValidationError(
                "typing says nothing about when it was sent, so a room of it has to be in one "
                    + "worker; use one, or layout = rooms")
        }
        return Coordinator.Options(
            name: name, scenario: parsed, dialect: dialect, urls: url, workers: count,
            cores: try coreList(), sources: sources ?? defaultSources(), serverPids: serverPid,
            secret: try secret(dialect), seed: seed, isQuiet: quiet)
    }

    private func coreList() throws -> [Int] {
        guard let cores else { return [] }
        let list = cores.split(separator: ",").map { Int($0) }
        guard !list.isEmpty, list.allSatisfy({ $0.map { (0...1_023).contains($0) } ?? false })
        else { throw ValidationError("--cores is a list such as 1,2,3") }
        return list.compactMap { $0 }
    }

    /// One address has some 28,000 ports, and servers limit by address.
    private func defaultSources() -> Int {
        let isLoopback = url.allSatisfy {
            let host = (try? URLParts($0))?.host ?? ""
            return host == "localhost" || host.hasPrefix("127.")
        }
        return isLoopback ? 200 : 0
    }

    private func secret(_ dialect: LoadDialect) throws -> String? {
        guard dialect.isProduct else { return nil }
        if let jwtSecret { return jwtSecret }
        guard let data else {
            throw ValidationError(
                "dialect \(dialect.rawValue) needs tokens: --jwt-secret, or --data with the folder "
                    + "of a server that was started with --dev")
        }
        guard let text = Files.text(data + "/dev-secret") else {
            throw ValidationError("no development server has run on \(data)")
        }
        return text
    }
}

/// `martlet-load report`
struct Report: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make one page of one or more results, side by side.")

    @Argument(help: "Files that `run --json` has written.")
    var results: [String]

    @Option(help: "The page to write.")
    var html: String

    func run() throws {
        let contents = results.map { path -> [UInt8] in
            guard let bytes = Files.bytes(path) else { fail("cannot read \(path)", status: 2) }
            return bytes
        }
        guard let page = ReportPage(results: contents) else {
            fail("one of these is no result of martlet-load", status: 2)
        }
        if let reason = Files.write(Array(page.html.utf8), to: html) {
            fail("cannot write \(html): \(reason)", status: 2)
        }
    }
}
