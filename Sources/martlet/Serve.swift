import ArgumentParser
import Basics
import Glibc
import Identity
import Logging
import Reactor
import Server

/// `martlet serve`: one instance, until SIGTERM or SIGINT.
struct Serve: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Run the gateway.")

    @OptionGroup var options: ConfigurationOptions

    func run() {
        var configuration: Configuration
        do throws(ConfigurationError) {
            configuration = try options.load()
            if configuration.isDevelopment, configuration.secrets.isEmpty {
                configuration.secrets = [
                    try DevelopmentSecret.load(orMakeIn: configuration.data)
                ]
            }
        } catch {
            fail("\(error)")
        }
        let instance = configuration.instance
        let level = Logger.Level(rawValue: configuration.logLevel) ?? .notice
        LoggingSystem.bootstrap { _ in LineLogHandler(instance: instance, level: level) }

        do throws(SystemError) {
            // Before any thread is made: they inherit the blocked signals.
            let signals = try SignalWaiter()
            do throws(StartError) {
                let node = try Node(configuration, log: Logger(label: "martlet"))
                announce(configuration, port: node.port)
                _ = signals.wait()
                print("martlet: draining; clients are told when to come back")
                node.drain()
            } catch {
                fail("\(error)")
            }
        } catch {
            fail("\(error)")
        }
    }

    private func announce(_ configuration: Configuration, port: UInt16) {
        let host =
            configuration.bind == "0.0.0.0" || configuration.bind == "::"
            ? "127.0.0.1" : configuration.bind
        var lines = [
            "martlet \(Node.version) listening on \(host):\(port)"
                + " (\(configuration.shards) shard\(configuration.shards == 1 ? "" : "s"), \(place(configuration)))",
            "  WebSocket  ws://\(host):\(port)/ws      HTTP  http://\(host):\(port)/api/v1/chats",
            "  Socket.IO  io(\"http://\(host):\(port)\", {auth: {token}})"
                + (configuration.socketIOPath == "socket.io"
                    ? "" : ", path /\(configuration.socketIOPath)/"),
            "  Health     http://\(host):\(port)/health      Metrics  http://\(host):\(port)/metrics",
        ]
        if configuration.isBench {
            lines.append(
                "  Bench      ws://\(host):\(port)/bench/echo and /bench/room/{name}, open to all")
        }
        if configuration.isConformance {
            lines.append(
                "  Conformance: Socket.IO and /engine.io/ say back what they are told, open to all")
        }
        if configuration.isDevelopment {
            lines += developmentLines(configuration, host, port)
        }
        print(lines.joined(separator: "\n"))
        // A pipe would keep the lines back, and somebody waits for them.
        fflush(nil)
    }

    /// Where messages are kept, and what joins this instance to others.
    private func place(_ configuration: Configuration) -> String {
        var place = "SQLite in \(configuration.data)"
        if let url = configuration.databaseURL { place = "Postgres at \(ServiceURL.place(url))" }
        if let url = configuration.redisURL {
            place += ", Redis at \(ServiceURL.place(url))"
        }
        return place
    }

    private func developmentLines(
        _ configuration: Configuration, _ host: String, _ port: UInt16
    ) -> [String] {
        var lines = ["", "Demo tokens (one day):"]
        for user in ["alice", "bob"] {
            do throws(TokenMintError) {
                let token = try TokenMinter(secret: configuration.secrets[0]).mint(
                    user: user, lifetimeSeconds: 86_400,
                    nowMilliseconds: SystemClock().now().wall.milliseconds)
                lines.append("  \(user)  \(token)")
            } catch {
                fail("cannot make a demo token: \(error.text)")
            }
        }
        let place = "--url ws://\(host):\(port) --data \(configuration.data)"
        lines += [
            "", "Paste into two terminals:",
            "  \(CommandLine.arguments[0]) connect --as alice --with bob \(place)",
            "  \(CommandLine.arguments[0]) connect --as bob --with alice \(place)",
        ]
        return lines
    }
}
