import ArgumentParser
import Glibc
import Server

/// The keys of the configuration as flags; shared by `serve` and `config`.
struct ConfigurationOptions: ParsableArguments {
    @Option(help: "Configuration file of `key = value` lines (MARTLET_CONFIG).")
    var config: String?

    @Option(help: "Address to listen on. Default 0.0.0.0; with --dev 127.0.0.1.")
    var bind: String?

    @Option(help: "TCP port, 0 for any free one. Default 3001. (MARTLET_PORT, PORT)")
    var port: String?

    @Option(help: "Folder of the embedded store. Default ./martlet-data. (MARTLET_DATA)")
    var data: String?

    @Option(
        name: .customLong("database-url"),
        help:
            "postgres://user:password@host:5432/name, instead of the embedded store. (MARTLET_DATABASE_URL, DATABASE_URL)"
    )
    var databaseURL: String?

    @Option(
        name: .customLong("redis-url"),
        help:
            "redis://host:6379, or rediss:// over TLS: joins instances to one. (MARTLET_REDIS_URL, REDIS_URL)"
    )
    var redisURL: String?

    @Option(
        help:
            "Redis's public channels chat:{id}, user:{id}: in, both or off. Default in. (MARTLET_BRIDGE)"
    )
    var bridge: String?

    @Option(
        name: .customLong("jwt-secret"),
        help:
            "HS256 secret, at least 32 bytes; repeatable. (MARTLET_JWT_SECRET, JWT_SECRET, SUPABASE_JWT_SECRET)"
    )
    var jwtSecret: [String] = []

    @Option(help: "Event loop threads. Default: one a core. (MARTLET_SHARDS)")
    var shards: String?

    @Option(
        name: .customLong("allowed-origin"),
        help: "Exact Origin that browsers may come with; repeatable.")
    var allowedOrigin: [String] = []

    @Option(
        name: .customLong("trusted-proxy"),
        help: "CIDR block of proxies whose X-Forwarded-For counts; repeatable.")
    var trustedProxy: [String] = []

    @Option(help: "Name of this instance in logs. Default martlet.")
    var instance: String?

    @Option(help: "name=value or name=off; repeatable. `martlet config` lists all limits.")
    var limit: [String] = []

    @Flag(help: "Make a secret, print demo tokens, listen on 127.0.0.1 only. Relaxes nothing else.")
    var dev = false

    @Flag(help: "Open /bench/echo and /bench/room/{name}, unauthenticated: for measurements.")
    var bench = false

    @Option(
        name: .customLong("socketio-path"),
        help: "Path of Socket.IO's clients, one segment. Default /socket.io/.")
    var socketIOPath: String?

    @Option(
        help: "host:port at which other instances reach this one. Default: bind, any free port.")
    var `internal`: String?

    @Flag(help: "Serve the tests of Engine.IO and Socket.IO, and no other client of theirs.")
    var conformance = false

    @Option(
        name: .customLong("io-uring"),
        help: "auto or off: many small reads and writes a system call. Default auto.")
    var ioUring: String?

    @Option(name: .customLong("log-level"), help: "trace, debug, info, notice, warning or error.")
    var logLevel: String?

    func load() throws(ConfigurationError) -> Configuration {
        var flags: [ConfigurationKey: [String]] = [
            .jwtSecret: jwtSecret, .allowedOrigin: allowedOrigin, .trustedProxy: trustedProxy,
            .limit: limit,
        ]
        let single: [(ConfigurationKey, String?)] = [
            (.bind, bind), (.port, port), (.data, data), (.databaseURL, databaseURL),
            (.redisURL, redisURL), (.bridge, bridge), (.shards, shards),
            (.instance, instance), (.socketIOPath, socketIOPath),
            (.internal, `internal`), (.ioUring, ioUring), (.logLevel, logLevel),
        ]
        for (key, value) in single { if let value { flags[key] = [value] } }
        if dev { flags[.dev] = ["true"] }
        if bench { flags[.bench] = ["true"] }
        if conformance { flags[.conformance] = ["true"] }
        var file: String?
        if let path = config ?? Environment["MARTLET_CONFIG"] {
            guard let bytes = Files.read(path) else {
                throw ConfigurationError("cannot read the configuration file \(path)")
            }
            file = String(decoding: bytes, as: UTF8.self)
        }
        return try Configuration(
            ConfigurationSources(
                flags: flags, environment: { Environment[$0] },
                environmentNames: Environment.names(withPrefix: "MARTLET_"), file: file))
    }
}
