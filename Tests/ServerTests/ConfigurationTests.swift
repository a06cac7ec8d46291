import Server
import Testing

/// Where Postgres and Redis are, as flags, variables and files say it.
struct ConfigurationTests {
    private static func configuration(
        _ environment: [String: String], flags: [ConfigurationKey: [String]] = [:]
    ) throws -> Configuration {
        try Configuration(
            ConfigurationSources(
                flags: flags, environment: { environment[$0] },
                environmentNames: environment.keys.filter { $0.hasPrefix("MARTLET_") }))
    }

    @Test(
        "A key that there is not is named, unless it could be a secret that stands in its place",
        arguments: [
            ("prot = 1", "line 2 of the configuration file has an unknown key 'prot'; "),
            ("a_b-c=", "has an unknown key 'a_b-c'; "),
            ("s3cret=", "has an unknown key; "), ("Secret==", "has an unknown key; "),
            ("= 1", "has an unknown key; "),
            (String(repeating: "k", count: 32) + "=1", "kk'; "),
            (String(repeating: "k", count: 33) + "=1", "has an unknown key; "),
        ])
    func unknownKey(line: String, complaint: String) {
        let sources = ConfigurationSources(file: "# mine\n" + line)
        do throws(ConfigurationError) {
            _ = try Configuration(sources)
            Issue.record("it was taken")
        } catch {
            #expect("\(error)".contains(complaint), "\(error)")
        }
    }

    @Test("Nothing set: the embedded store, alone")
    func standard() throws {
        let configuration = try Self.configuration([:])
        #expect(configuration.databaseURL == nil)
        #expect(configuration.redisURL == nil)
        #expect(configuration.redis == nil)
        #expect(configuration.bridge == .in)
    }

    @Test("DATABASE_URL and REDIS_URL are taken as they are; our own names come before them")
    func urls() throws {
        var environment = [
            "DATABASE_URL": "postgresql://u:p@db:5433/chat?sslmode=require",
            "REDIS_URL": "rediss://:word@cache:6380",
        ]
        let theirs = try Self.configuration(environment)
        #expect(theirs.databaseURL == environment["DATABASE_URL"])
        #expect(theirs.redisURL == environment["REDIS_URL"])
        environment["MARTLET_DATABASE_URL"] = "postgres://own/own"
        environment["MARTLET_REDIS_URL"] = "redis://own"
        let ours = try Self.configuration(environment)
        #expect(ours.databaseURL == "postgres://own/own")
        #expect(ours.redisURL == "redis://own")
        let flag = try Self.configuration(
            environment, flags: [.databaseURL: ["postgres://flag/flag"]])
        #expect(flag.databaseURL == "postgres://flag/flag")
    }

    @Test("The parts that existing deployments set make a URL, whatever bytes a password has")
    func parts() throws {
        let environment = [
            "DATABASE_HOST": "db.internal", "DATABASE_PORT": "5433", "DATABASE_NAME": "chat app",
            "DATABASE_USER": "svc@corp", "DATABASE_PASSWORD": "p@ss/w:rd?#%é",
            "REDIS_HOST": "cache.internal", "REDIS_PORT": "6380", "REDIS_PASSWORD": "r:d@/s",
        ]
        let configuration = try Self.configuration(environment)
        #expect(
            configuration.databaseURL
                == "postgres://svc%40corp:p%40ss%2Fw%3Ard%3F%23%25%C3%A9@db.internal:5433/chat%20app"
        )
        #expect(configuration.redisURL == "redis://:r%3Ad%40%2Fs@cache.internal:6380")
        #expect(configuration.redis != nil)
    }

    @Test("A host is enough, an empty variable is none, and an IPv6 address gets its brackets")
    func fewParts() throws {
        let host = try Self.configuration(["DATABASE_HOST": "db", "REDIS_HOST": "cache"])
        #expect(host.databaseURL == "postgres://db")
        #expect(host.redisURL == "redis://cache")
        let empty = try Self.configuration([
            "DATABASE_HOST": "", "REDIS_HOST": "", "DATABASE_PASSWORD": "p", "DATABASE_URL": "",
        ])
        #expect(empty.databaseURL == nil)
        #expect(empty.redisURL == nil)
        let address = try Self.configuration(["DATABASE_HOST": "::1", "REDIS_HOST": "::1"])
        #expect(address.databaseURL == "postgres://[::1]")
        #expect(address.redisURL == "redis://[::1]")
    }

    @Test("A URL comes before the parts")
    func urlBeforeParts() throws {
        let configuration = try Self.configuration([
            "DATABASE_URL": "postgres://one/one", "DATABASE_HOST": "two",
            "REDIS_URL": "redis://one", "REDIS_HOST": "two",
        ])
        #expect(configuration.databaseURL == "postgres://one/one")
        #expect(configuration.redisURL == "redis://one")
    }

    @Test(
        "Other schemes and modes are refused, and the complaint shows no password",
        arguments: [
            ("DATABASE_URL", "mysql://u:canary@db/chat"), ("DATABASE_URL", "canary"),
            ("REDIS_URL", "http://:canary@cache"), ("REDIS_URL", "canary"),
            ("MARTLET_BRIDGE", "canary"),
        ])
    func refused(name: String, value: String) {
        let error = #expect(throws: ConfigurationError.self) {
            try Self.configuration([name: value])
        }
        #expect(error?.description.contains("canary") == false)
    }

    @Test(
        "A URL is shown with asterisks for the password and for all parameters",
        arguments: [
            ("postgres://u:canary@db:5432/chat", "postgres://u:********@db:5432/chat"),
            ("postgres://db/chat?password=canary", "postgres://db/chat?********"),
            ("postgres://u:can@canary@db/chat", "postgres://u:********@db/chat"),
            ("postgres://u:canary@db", "postgres://u:********@db"),
            ("redis://:canary@cache:6379", "redis://:********@cache:6379"),
            ("redis://cache", "redis://cache"),
        ])
    func masked(url: String, shown: String) throws {
        #expect(ServiceURL.masked(url) == shown)
        let key = url.hasPrefix("redis") ? "REDIS_URL" : "DATABASE_URL"
        let lines = try Self.configuration([key: url]).lines
        #expect(lines.contains { $0.hasSuffix(" = \(shown)") })
        #expect(!lines.contains { $0.contains("canary") })
    }
}
