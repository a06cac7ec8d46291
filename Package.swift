// swift-tools-version: 6.2
import PackageDescription

// Warnings are errors in CI (and wherever CI=true is set); a developer sees them as warnings.
let isCI = Context.environment["CI"] == "true"

let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
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
        .systemLibrary(name: "COpenSSL"),

        // The value-in, value-out machine. The arrows of ARCHITECTURE.md; nothing points back.
        module("Basics", []),
        module("Domain", ["Basics"]),
        module("Wire", ["Domain", "Basics"]),
        module("HTTP", []),
        module("WebSocket", []),
        module("Identity", ["Wire", "Domain", "Basics", "COpenSSL"]),
        module("StoreCore", ["Domain", "Basics"]),
        module("BusCore", ["Domain", "Basics"]),
        module(
            "Gateway",
            ["HTTP", "WebSocket", "Wire", "Identity", "StoreCore", "BusCore", "Domain", "Basics"]),

        // What joins it to the machine.
        module("Reactor", ["CLinux", "Basics"]),
        module("StoreSQLite", ["StoreCore", "Domain", "Basics", "CSQLite"]),
        module(
            "Server",
            [
                "Gateway", "StoreSQLite", "Reactor", "HTTP", "WebSocket", "Wire", "Identity",
                "StoreCore", "BusCore", "Domain", "Basics",
                .product(name: "Logging", package: "swift-log"),
            ]),
        .executableTarget(
            name: "martlet",
            dependencies: [
                "Server", "WebSocket", "Wire", "Identity", "Domain", "Basics",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: strict),
    ]
)
