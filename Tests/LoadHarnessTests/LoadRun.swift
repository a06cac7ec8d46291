import Foundation
import LoadCore
import ServerSupport

/// One run of the real martlet-load.
struct LoadRun {
    var exit: ChildProcess.Exit
    var output: String
    var errors: String
    /// Null where it wrote none.
    var result: JSONTree

    /// - Parameters:
    ///   - scenario: the text of one, or the name of one that comes with the program.
    ///   - under: a command that runs it, with its words.
    ///   - said: what its standard error has to say before `meanwhile` is called.
    ///   - meanwhile: is given the process.
    init(
        _ scenario: String, url: String, _ words: [String] = [], under: [String] = [],
        once said: String = "", meanwhile: (ChildProcess) throws -> Void = { _ in }
    ) throws {
        let folder = try TemporaryFolder("load")
        var name = scenario
        if scenario.contains("=") {
            try folder.write("# A test's own.\n" + scenario, to: "scenario.conf")
            name = folder.file("scenario.conf")
        }
        let json = folder.file("result.json")
        let command =
            under + [
                try Self.binary(), "run", name, "--url", url, "--json", json, "--html",
                folder.file("page.html"),
            ] + words
        let child = try ChildProcess(
            command[0], Array(command.dropFirst()), output: folder.file("said"))
        if !said.isEmpty {
            try eventually(
                "martlet-load says `\(said)`; it said: \(child.errors)", withinMs: 60_000
            ) {
                child.errors.contains(said)
            }
            try meanwhile(child)
        }
        exit = try child.wait(withinMs: 120_000)
        output = child.output
        errors = child.errors
        result = JSONTree(Array(contents(of: json).utf8)) ?? .null
        if result != .null, !contents(of: folder.file("page.html")).contains("<svg") {
            throw SupportError("the page has no plot")
        }
    }

    /// The program that was built beside the tests.
    static func binary() throws -> String {
        let path = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
            .deletingLastPathComponent().appendingPathComponent("martlet-load").path
        guard FileManager.default.isExecutableFile(atPath: path) else {
            throw SupportError(
                "there is no martlet-load beside the tests; run: swift build --product martlet-load"
            )
        }
        return path
    }

    func count(_ path: String...) -> Int {
        path.reduce(result) { $0[$1] }.int
    }
}
