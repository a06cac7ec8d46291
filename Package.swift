// swift-tools-version: 6.2
import PackageDescription

// Warnings are errors in CI (and wherever CI=true is set); a developer sees them as warnings.
let isCI = Context.environment["CI"] == "true"

let strict: [SwiftSetting] =
    [
        .swiftLanguageMode(.v6),
        .strictMemorySafety(),
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("MemberImportVisibility"),
        // Release only: debug builds, which all tests run in, keep the run-time checks of exclusive
        // access. They cost a fifth of the time of an echo (swift_beginAccess for each touch of a
        // class's property).
        .unsafeFlags(
            ["-enforce-exclusivity=unchecked", "-cross-module-optimization"],
            .when(configuration: .release)),
    ] + (isCI ? [.treatAllWarnings(as: .error)] : [])

func module(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: strict)
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(name: name, dependencies: dependencies, swiftSettings: strict)
}

let package = Package(
    name: "martlet",
    products: [.executable(name: "martlet", targets: ["martlet"])],
    dependencies: [
        // The command line: parsing, help, completion. Outside what Martlet exists for.
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        // The log front end that the rest of the Swift server world uses.
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    ],
    targets: [
        // C: only what Swift cannot import. Each is imported by exactly one Swift module.
        .target(name: "CLinux"),
        .systemLibrary(name: "CSQLite"),
        .systemLibrary(name: "CPostgres"),
        .systemLibrary(name: "COpenSSL"),
        .systemLibrary(name: "CRedis"),
        .systemLibrary(name: "CTLS"),

        // The value-in, value-out machine. The arrows of ARCHITECTURE.md; nothing points back.
        module("Basics", []),
        module("Domain", ["Basics"]),
        module("Wire", ["Domain", "Basics"]),
        module("HTTP", []),
        module("WebSocket", []),
        module("SocketIO", ["WebSocket", "Basics"]),
        module("Identity", ["Wire", "Basics", "COpenSSL"]),
        module("StoreCore", ["Domain", "Basics"]),
        module("BusCore", ["Domain", "Basics"]),
        module(
            "Gateway",
            [
                "HTTP", "WebSocket", "SocketIO", "Wire", "Identity", "StoreCore", "BusCore",
                "Domain", "Basics",
            ]),

        // What joins it to the machine.
        module("Client", ["WebSocket", "Wire", "Basics"]),
        module("Reactor", ["CLinux", "Basics"]),
        module("TLS", ["CTLS"]),
        module("BusRedis", ["Reactor", "TLS", "Basics", "CRedis"]),
        module("StoreSQLite", ["StoreCore", "Domain", "Basics", "CSQLite"]),
        module("StorePostgres", ["StoreCore", "Reactor", "Domain", "Basics", "CPostgres"]),
        module(
            "Server",
            [
                "Gateway", "StoreSQLite", "StorePostgres", "BusRedis", "Reactor", "HTTP",
                "Identity",
                "StoreCore", "BusCore", "Wire", "Domain", "Basics",
                .product(name: "Logging", package: "swift-log"),
            ]),
        .executableTarget(
            name: "martlet",
            dependencies: [
                "Server", "Client", "Reactor", "Identity", "Basics",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: strict),

        .executableTarget(
            name: "martlet-store-bench",
            dependencies: ["StorePostgres", "StoreCore", "Reactor", "Domain", "Basics"],
            path: "LoadTests/StoreBench", swiftSettings: strict),

        // The load harness: LoadCore is values in, values out; martlet-load joins it to sockets.
        .target(
            name: "LoadCore",
            dependencies: ["Wire"], path: "LoadTests/LoadCore", swiftSettings: strict),
        .executableTarget(
            name: "martlet-load",
            dependencies: [
                "LoadCore", "Client", "Reactor", "Identity", "WebSocket", "Wire", "Basics",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            path: "LoadTests/Load", swiftSettings: strict),
        tests("LoadCoreTests", ["LoadCore", "WebSocket", "Wire", "Domain", "Basics"]),
        // Tests of the real martlet-load, on a server that lies and on the real one.
        tests(
            "LoadHarnessTests",
            ["LoadCore", "ServerSupport", "Reactor", "WebSocket", "Basics"]),

        // Instructions and allocations of each stage of the data path; see Scripts/micro.
        .target(name: "CAllocations", path: "LoadTests/CAllocations"),
        .executableTarget(
            name: "martlet-micro",
            dependencies: [
                "TestSupport", "CAllocations", "Gateway", "Identity", "HTTP", "WebSocket", "Wire",
                "StoreCore", "BusCore", "Domain", "Basics",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            path: "LoadTests/Micro", exclude: ["baseline.json"], swiftSettings: strict),

        // Tests. TestSupport holds what several of them share: the model store, the simulation.
        .target(
            name: "TestSupport", dependencies: ["StoreCore", "Domain", "Basics"],
            path: "Tests/TestSupport", swiftSettings: strict),
        .target(
            name: "Simulation",
            dependencies: [
                "TestSupport", "Gateway", "Identity", "HTTP", "WebSocket", "SocketIO", "Wire",
                "StoreCore", "BusCore", "Domain", "Basics",
            ],
            path: "Tests/Simulation", swiftSettings: strict),
        .executableTarget(
            name: "martlet-simulate", dependencies: ["Simulation", "Gateway"],
            path: "Tests/SimulationRunner", swiftSettings: strict),
        tests("SimulationTests", ["Simulation", "Gateway"]),
        tests(
            "TreeTests",
            [
                "Wire", "Domain", "Basics", "WebSocket", "HTTP", "Gateway", "Server", "StoreCore",
                "StoreSQLite", "BusCore", "Identity",
            ]),
        tests("ClientTests", ["Client", "WebSocket", "Wire", "Domain", "Basics"]),
        .target(
            name: "ServerSupport",
            dependencies: ["Client", "Identity", "WebSocket", "Wire", "Basics"],
            path: "Tests/ServerSupport", swiftSettings: strict),
        // Real services for tests, started by the tests themselves.
        .target(
            name: "ServiceSupport", dependencies: ["ServerSupport", "CPostgres"],
            path: "Tests/ServiceSupport",
            swiftSettings: strict),
        // Tests of the real binary: `swift build --product martlet` comes first.
        tests(
            "IntegrationTests",
            ["ServerSupport", "ServiceSupport", "Client", "WebSocket", "Wire", "Basics"]),
        .executableTarget(
            name: "martlet-faults",
            dependencies: ["ServerSupport", "ServiceSupport", "Client", "Basics"],
            path: "Tests/Faults", swiftSettings: strict),
        tests(
            "GatewayTests",
            [
                "Gateway", "TestSupport", "HTTP", "WebSocket", "Wire", "Identity", "StoreCore",
                "BusCore", "Domain", "Basics",
            ]),
        tests("BusCoreTests", ["BusCore", "Domain", "Basics"]),
        // With a private redis-server, which has to be installed.
        tests("BusRedisTests", ["BusRedis", "ServerSupport", "Reactor", "Basics"]),
        tests("ServerTests", ["Server", "Gateway", "ServerSupport", "Reactor", "Basics"]),
        tests("DomainTests", ["Domain", "Basics"]),
        tests("BasicsTests", ["Basics"]),
        tests("HTTPTests", ["HTTP"]),
        tests("WebSocketTests", ["WebSocket"]),
        tests("SocketIOTests", ["SocketIO", "Basics"]),
        tests("WireTests", ["Wire", "Domain", "Basics"]),
        tests("IdentityTests", ["Identity", "Wire", "Basics"]),
        tests(
            "StoreContractTests",
            [
                "TestSupport", "ServiceSupport", "StoreSQLite", "StorePostgres", "Reactor",
                "StoreCore", "Domain", "Basics",
            ]),
    ]
)

// libFuzzer targets, for `Scripts/fuzz` alone: they have no main, so nothing else can link them.
if Context.environment["MARTLET_FUZZ"] != nil {
    func fuzzer(_ name: String, _ modules: Target.Dependency...) -> Target {
        .executableTarget(
            name: name, dependencies: modules, path: "Tests/Fuzz/\(name)", swiftSettings: strict)
    }
    package.targets += [
        fuzzer("FrameFuzzer", "WebSocket"), fuzzer("RequestFuzzer", "HTTP"),
        fuzzer("SocketIOFuzzer", "SocketIO"), fuzzer("JSONFuzzer", "Wire"),
        fuzzer("PublicationFuzzer", "BusCore", "Domain"),
        fuzzer("RecoveryFuzzer", "Gateway"),
    ]
}
