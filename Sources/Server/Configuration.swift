import Basics
import BusRedis
import HTTP
import Identity

/// What can be set, in one table: the key of the file and of the flag (`--data`), the environment
/// names (the first is ours, the others those of the existing services), and what it means.
package enum ConfigurationKey: String, CaseIterable, Sendable {
    case bind
    case port
    case data
    case databaseURL = "database-url"
    case redisURL = "redis-url"
    case bridge
    case jwtSecret = "jwt-secret"
    case shards
    case allowedOrigin = "allowed-origin"
    case trustedProxy = "trusted-proxy"
    case instance
    case limit
    case dev
    case bench
    case socketIOPath = "socketio-path"
    case `internal`
    case conformance
    case ioUring = "io-uring"
    case logLevel = "log-level"

    package var environmentNames: [String] {
        let own = "MARTLET_" + rawValue.uppercased().split(separator: "-").joined(separator: "_")
        switch self {
        case .port: return [own, "PORT"]
        case .jwtSecret: return [own, "JWT_SECRET", "SUPABASE_JWT_SECRET"]
        case .databaseURL: return [own, "DATABASE_URL"]
        case .redisURL: return [own, "REDIS_URL"]
        default: return [own]
        }
    }

    package var isRepeatable: Bool {
        switch self {
        case .jwtSecret, .allowedOrigin, .trustedProxy, .limit: true
        default: false
        }
    }

    package var isSecret: Bool {
        switch self {
        case .jwtSecret, .databaseURL, .redisURL: true
        default: false
        }
    }

    package var help: String {
        switch self {
        case .bind: "address to listen on (default 0.0.0.0; with dev 127.0.0.1)"
        case .port: "TCP port, 0 for any free one (default 3001)"
        case .data: "folder of the embedded store (default ./martlet-data)"
        case .databaseURL:
            "postgres://user:password@host:5432/name, instead of the embedded store; "
                + "DATABASE_HOST, _PORT, _NAME, _USER and _PASSWORD count where it is not set"
        case .redisURL:
            "redis://[user:password@]host:6379, or rediss:// over TLS, joins instances to one; "
                + "REDIS_HOST, _PORT and _PASSWORD count where it is not set"
        case .bridge:
            "what Redis's public channels chat:{id} and user:{id} are used for: in (default), "
                + "both (messages go out there too) or off"
        case .jwtSecret: "HS256 secret of at least 32 bytes; the first that fits a token counts"
        case .shards: "event loop threads, 1...256 (default: one a core)"
        case .allowedOrigin: "exact Origin that browsers may come with (capacitor://localhost is)"
        case .trustedProxy: "CIDR block of proxies whose X-Forwarded-For or PROXY header counts"
        case .instance: "name of this instance in logs (default martlet)"
        case .limit: "name=value or name=off; `martlet config` lists them"
        case .dev: "make a secret, print demo tokens, listen on 127.0.0.1 only"
        case .bench: "open /bench/echo and /bench/room/{name}, unauthenticated"
        case .socketIOPath: "path of Socket.IO's clients, one segment (default /socket.io/)"
        case .internal:
            "host:port at which other instances reach this one, an address and not a name (default: "
                + "where bind is one, that with any free port)"
        case .conformance:
            "serve the tests of Engine.IO and Socket.IO, unauthenticated, and no other client of theirs"
        case .ioUring:
            "auto (default): reads and writes small things many a system call, where the kernel has "
                + "io_uring and allows it; or off"
        case .logLevel: "trace, debug, info, notice, warning or error (default notice)"
        }
    }
}

/// A complaint about the configuration: one line that says what to do.
package struct ConfigurationError: Error, Hashable, Sendable, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
}

/// Where values come from, in order of precedence: flags, environment, file.
package struct ConfigurationSources: Sendable {
    package var flags: [ConfigurationKey: [String]]
    package var environment: @Sendable (String) -> String?
    /// Names in the environment that begin with MARTLET_: an unknown one is an error.
    package var environmentNames: [String]
    /// The text of the configuration file: lines `key = value`, `#` begins a comment.
    package var file: String?

    package init(
        flags: [ConfigurationKey: [String]] = [:],
        environment: @escaping @Sendable (String) -> String? = { _ in nil },
        environmentNames: [String] = [], file: String? = nil
    ) {
        self.flags = flags
        self.environment = environment
        self.environmentNames = environmentNames
        self.file = file
    }

    /// Environment names that are ours but no keys.
    package static let otherEnvironmentNames: Set<String> = [
        "MARTLET_CONFIG", "MARTLET_SEED", "MARTLET_PLANTED", "MARTLET_FUZZ", "MARTLET_BINARY",
    ]

    /// A Kubernetes service called martlet puts these into every container of its namespace, and
    /// `MARTLET_PORT=tcp://…` with them.
    private static func isFromKubernetes(_ name: String) -> Bool {
        name.hasPrefix("MARTLET_SERVICE_") || name.hasPrefix("MARTLET_PORT_")
    }

    func values() throws(ConfigurationError) -> [ConfigurationKey: [String]] {
        var values = try fileValues()
        let known = Set(ConfigurationKey.allCases.flatMap(\.environmentNames))
        for name in environmentNames
        where !known.contains(name) && !Self.otherEnvironmentNames.contains(name)
            && !Self.isFromKubernetes(name)
        {
            throw ConfigurationError(
                "unknown environment variable \(name); `martlet serve --help` lists the keys")
        }
        for key in ConfigurationKey.allCases {
            for name in key.environmentNames {
                guard let value = environment(name), !value.isEmpty,
                    !(key == .port && value.hasPrefix("tcp://"))
                else { continue }
                values[key] =
                    key.isRepeatable && key != .jwtSecret
                    ? value.split(separator: ",").map { Self.trimmed($0) } : [value]
                break
            }
            if let flag = flags[key], !flag.isEmpty { values[key] = flag }
        }
        if values[.databaseURL] == nil, let url = databaseURLFromParts() {
            values[.databaseURL] = [url]
        }
        if values[.redisURL] == nil, let url = redisURLFromParts() { values[.redisURL] = [url] }
        return values
    }

    /// A variable of an existing service; nil where it is not set, or empty.
    private func part(_ name: String) -> String? {
        environment(name).flatMap { $0.isEmpty ? nil : $0 }
    }

    private func databaseURLFromParts() -> String? {
        guard let host = part("DATABASE_HOST") else { return nil }
        return ServiceURL.make(
            scheme: "postgres", host: host, port: part("DATABASE_PORT"),
            user: part("DATABASE_USER"), password: part("DATABASE_PASSWORD"),
            path: part("DATABASE_NAME"))
    }

    private func redisURLFromParts() -> String? {
        guard let host = part("REDIS_HOST") else { return nil }
        return ServiceURL.make(
            scheme: "redis", host: host, port: part("REDIS_PORT"), user: nil,
            password: part("REDIS_PASSWORD"), path: nil)
    }

    private func fileValues() throws(ConfigurationError) -> [ConfigurationKey: [String]] {
        var values: [ConfigurationKey: [String]] = [:]
        guard let file else { return values }
        for (number, line) in file.split(separator: "\n", omittingEmptySubsequences: false)
            .enumerated()
        {
            let text = Self.trimmed(line)
            if text.isEmpty || text.hasPrefix("#") { continue }
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2 else {
                throw ConfigurationError(
                    "line \(number + 1) of the configuration file is not `key = value`")
            }
            let name = Self.trimmed(parts[0])
            guard let key = ConfigurationKey(rawValue: name) else {
                throw ConfigurationError(
                    "line \(number + 1) of the configuration file has an unknown key\(Self.quoted(name)); "
                        + "`martlet serve --help` lists them")
            }
            values[key, default: []].append(Self.trimmed(parts[1]))
            if !key.isRepeatable, values[key]?.count ?? 0 > 1 {
                throw ConfigurationError(
                    "line \(number + 1) of the configuration file sets '\(key.rawValue)' again")
            }
        }
        return values
    }

    /// A key as an error may show it: a secret that stands in the wrong place has digits or capitals, or is
    /// longer.
    private static func quoted(_ name: String) -> String {
        let isWords = name.utf8.allSatisfy {
            (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0) || $0 == UInt8(ascii: "-")
                || $0 == UInt8(ascii: "_")
        }
        return isWords && !name.isEmpty && name.utf8.count <= 32 ? " '\(name)'" : ""
    }

    private static func trimmed(_ text: Substring) -> String {
        var text = text
        while let first = text.first, first == " " || first == "\t" { text.removeFirst() }
        while let last = text.last, last == " " || last == "\t" || last == "\r" {
            text.removeLast()
        }
        return String(text)
    }
}

/// What is done with the channels on which backends and Martlet may speak in JSON.
package enum BridgeMode: String, CaseIterable, Sendable {
    case off, `in`, both
}

/// The effective configuration, checked.
package struct Configuration: Sendable {
    package var bind: String
    package var port: UInt16
    package var data: String
    /// nil: the embedded store in `data`.
    package var databaseURL: String?
    /// nil: alone.
    package var redis: RedisAddress?
    package var redisURL: String?
    package var bridge: BridgeMode
    package var secrets: [Secret]
    package var shards: Int
    package var allowedOrigins: [String]
    package var trustedProxies: [CIDR]
    package var instance: String
    package var limits: Limits
    package var isDevelopment: Bool
    package var isBench: Bool
    /// Without its slashes.
    package var socketIOPath: String
    package var isConformance: Bool
    /// Where other instances reach this one; nil where they do not.
    package var `internal`: InternalAddress?

    /// Port 0: any free one.
    package struct InternalAddress: Hashable, Sendable {
        package var host: String
        package var port: UInt16

        package init(host: String, port: UInt16) {
            self.host = host
            self.port = port
        }

        /// nil where it is not `10.0.0.5:3002` or `[fd00::5]:3002`; the host is not looked at.
        package init?(_ text: String) {
            guard let colon = text.lastIndex(of: ":"),
                let port = UInt16(text[text.index(after: colon)...])
            else { return nil }
            var host = text[..<colon]
            if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
            self.init(host: String(host), port: port)
        }

        package var text: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
    }
    /// Where the kernel lets us.
    package var usesIOUring: Bool
    package var logLevel: String

    package static let logLevels = ["trace", "debug", "info", "notice", "warning", "error"]

    package init(_ sources: ConfigurationSources) throws(ConfigurationError) {
        let values = try sources.values()
        func one(_ key: ConfigurationKey) -> String? { values[key]?.last }

        isDevelopment = try Self.flag(.dev, one(.dev))
        isBench = try Self.flag(.bench, one(.bench))
        isConformance = try Self.flag(.conformance, one(.conformance))
        socketIOPath = try Self.segment(.socketIOPath, one(.socketIOPath) ?? "/socket.io/")
        bind = one(.bind) ?? (isDevelopment ? "127.0.0.1" : "0.0.0.0")
        guard IPAddress(bind) != nil else {
            throw ConfigurationError("bind is an IPv4 or IPv6 address, such as 0.0.0.0 or ::")
        }
        port = UInt16(try Self.number(.port, one(.port), 3_001, 0...65_535))
        data = one(.data) ?? "./martlet-data"
        databaseURL = try Self.databaseURL(one(.databaseURL))
        redisURL = one(.redisURL)
        redis = try Self.redis(redisURL)
        guard let mode = BridgeMode(rawValue: one(.bridge) ?? "in") else {
            throw ConfigurationError("bridge is in, both or off")
        }
        bridge = mode
        `internal` = try Self.internalAddress(one(.internal), bind: bind, isJoined: redis != nil)
        switch one(.ioUring) ?? "auto" {
        case "auto": usesIOUring = true
        case "off": usesIOUring = false
        default: throw ConfigurationError("io-uring is auto or off")
        }
        shards = try Self.number(
            .shards, one(.shards), min(256, Environment.processorCount), 1...256)
        allowedOrigins = values[.allowedOrigin] ?? []
        // What `martlet config` prints has it already.
        if !allowedOrigins.contains("capacitor://localhost") {
            allowedOrigins.append("capacitor://localhost")
        }
        trustedProxies = []
        for text in values[.trustedProxy] ?? [] {
            do throws(CIDR.ParseError) {
                trustedProxies.append(try CIDR(text))
            } catch {
                throw ConfigurationError("trusted-proxy: \(error)")
            }
        }
        instance = one(.instance) ?? "martlet"
        limits = Limits()
        if isConformance {
            // As the tests of the protocol's authors want them.
            limits.pingIntervalMs = 300
            limits.pongTimeoutMs = 200
            limits.authTimeoutMs = 1_000
            limits.connectsPerSecondPerAddress = Limits.off
        }
        for setting in values[.limit] ?? [] {
            let parts = setting.split(separator: "=", maxSplits: 1).map(String.init)
            guard parts.count == 2 else {
                throw ConfigurationError("limit takes name=value or name=off, not '\(setting)'")
            }
            if let complaint = limits.set(parts[0], to: parts[1]) {
                throw ConfigurationError(complaint)
            }
        }
        logLevel = one(.logLevel) ?? "notice"
        guard Self.logLevels.contains(logLevel) else {
            throw ConfigurationError(
                "log-level is one of \(Self.logLevels.joined(separator: ", "))")
        }
        secrets = []
        for text in values[.jwtSecret] ?? [] {
            do throws(SecretError) {
                secrets.append(try Secret(text))
            } catch {
                throw ConfigurationError("jwt-secret: \(error)")
            }
        }
    }

    private static func databaseURL(
        _ text: String?
    ) throws(ConfigurationError) -> String? {
        guard let text else { return nil }
        guard text.hasPrefix("postgres://") || text.hasPrefix("postgresql://") else {
            throw ConfigurationError(
                "database-url begins with postgres://, such as "
                    + "postgres://martlet@localhost/martlet")
        }
        return text
    }

    private static func redis(_ text: String?) throws(ConfigurationError) -> RedisAddress? {
        guard let text else { return nil }
        do throws(RedisAddress.Problem) {
            return try RedisAddress(url: text)
        } catch {
            throw ConfigurationError("redis-url: \(error)")
        }
    }

    private static func flag(
        _ key: ConfigurationKey, _ text: String?
    ) throws(ConfigurationError) -> Bool {
        switch text {
        case nil, "false", "0", "off", "no": return false
        case "true", "1", "on", "yes": return true
        default: throw ConfigurationError("\(key.rawValue) is true or false")
        }
    }

    private static func number(
        _ key: ConfigurationKey, _ text: String?, _ standard: Int, _ range: ClosedRange<Int>
    ) throws(ConfigurationError) -> Int {
        guard let text else { return standard }
        guard let number = Int(text), range.contains(number) else {
            throw ConfigurationError(
                "\(key.rawValue) is a whole number within "
                    + "\(range.lowerBound)...\(range.upperBound)")
        }
        return number
    }

    private static func internalAddress(
        _ text: String?, bind: String, isJoined: Bool
    ) throws(ConfigurationError) -> InternalAddress? {
        guard let text else {
            let isEverywhere = bind == "0.0.0.0" || bind == "::"
            return isJoined && !isEverywhere ? InternalAddress(host: bind, port: 0) : nil
        }
        guard let address = InternalAddress(text), IPAddress(address.host) != nil,
            address.host != "0.0.0.0", address.host != "::"
        else { throw badInternal }
        return address
    }

    private static let badInternal = ConfigurationError(
        "internal is the address and port at which other instances reach this one, such as "
            + "10.0.0.5:3002 or [fd00::5]:3002")

    /// A path of one segment, without the slashes around it.
    private static func segment(
        _ key: ConfigurationKey, _ text: String
    ) throws(ConfigurationError) -> String {
        var segment = Substring(text)
        if segment.hasPrefix("/") { segment.removeFirst() }
        if segment.hasSuffix("/") { segment.removeLast() }
        let isPlain = segment.utf8.allSatisfy {
            UInt8(ascii: "a")...UInt8(ascii: "z") ~= $0
                || UInt8(ascii: "A")...UInt8(ascii: "Z") ~= $0
                || UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 || [45, 46, 95].contains($0)
        }
        guard isPlain, !segment.isEmpty, !taken.contains(String(segment)) else {
            throw ConfigurationError(
                "\(key.rawValue) is a path of one segment of letters, digits, dots, dashes and "
                    + "underscores, such as /socket.io/, and none of \(taken.joined(separator: ", "))"
            )
        }
        return String(segment)
    }

    /// Paths that are something else.
    private static let taken = [".", "..", "api", "bench", "engine.io", "health", "metrics", "ws"]

    /// The effective values as `key = value` lines, in the form of the file; secrets masked.
    package var lines: [String] {
        var lines = [
            "bind = \(bind)", "port = \(port)", "data = \(data)", "shards = \(shards)",
            "bridge = \(bridge.rawValue)",
            "instance = \(instance)", "dev = \(isDevelopment)", "bench = \(isBench)",
            "socketio-path = /\(socketIOPath)/", "conformance = \(isConformance)",
            "io-uring = \(usesIOUring ? "auto" : "off")", "log-level = \(logLevel)",
        ]
        if let databaseURL { lines.append("database-url = \(ServiceURL.masked(databaseURL))") }
        if let `internal` { lines.append("internal = \(`internal`.text)") }
        if let redisURL { lines.append("redis-url = \(ServiceURL.masked(redisURL))") }
        lines += secrets.map { _ in "jwt-secret = ********" }
        lines += allowedOrigins.map { "allowed-origin = \($0)" }
        lines += trustedProxies.map { "trusted-proxy = \($0)" }
        for entry in Limits.catalogue {
            let value = limits[keyPath: entry.field]
            lines.append(
                "# \(entry.unit), \(entry.range.lowerBound)...\(entry.range.upperBound)"
                    + (entry.canBeOff ? " or off" : "") + ". \(entry.reason)")
            lines.append(
                "limit = \(entry.name)=\(value == Limits.off ? "off" : String(value))")
        }
        return lines
    }
}
