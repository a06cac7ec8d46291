import ArgumentParser
import Glibc
import Server

/// The command line. Each command is a file; what they do is in the modules.
@main
struct Martlet: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "martlet",
        abstract: "A realtime messaging gateway.",
        discussion: """
            Try it: `martlet serve --dev`, then, in two terminals,
              martlet connect --as alice --with bob
              martlet connect --as bob --with alice
            """,
        version: Node.version,
        subcommands: [Serve.self, Connect.self, Token.self, Migrate.self, Config.self])
}

/// Ends the process with one line on standard error.
func fail(_ line: String) -> Never {
    let text = Array("martlet: \(line)\n".utf8)
    _ = unsafe write(2, text, text.count)
    exit(1)
}
