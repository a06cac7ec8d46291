import Foundation
import Testing

/// What imports what: the table of ARCHITECTURE.md, the package and the code say the same.
struct ModuleTests {
    /// What the table may leave out: the system's own.
    private static let system: Set<String> = ["Glibc", "Synchronization"]

    private struct Row {
        var module: String
        var imports: Set<String>
    }

    private static func rows() throws -> [Row] {
        try Tree.table("<!-- checked: modules -->", in: "ARCHITECTURE.md").map { cells in
            let names = cells[1].split(separator: " ").map(String.init)
            return Row(
                module: cells[0].trimmingCharacters(in: ["`"]),
                imports: Set(names.filter { $0 != "–" }))
        }
    }

    /// Module by module, what its files import.
    private static func imported() throws -> [String: Set<String>] {
        var result: [String: Set<String>] = [:]
        let pattern =
            #/
            ^(?:@\S+\s+)*(?:(?:public|package|internal|private|fileprivate)\s+)?import\s+
            (?:(?:struct|class|enum|protocol|func|var|let|typealias)\s+)?(\w+)
            /#
        for path in try Tree.files(".swift", below: "Sources") {
            let module = String(path.split(separator: "/")[1])
            result[module, default: []].formUnion(
                try Tree.text(path).split(separator: "\n").compactMap { line in
                    try pattern.firstMatch(in: line).map { String($0.1) }
                })
        }
        return result
    }

    /// Module by module, what Package.swift lets it import.
    private static func declared() throws -> [String: Set<String>] {
        var result: [String: Set<String>] = [:]
        let text = try Tree.text("Package.swift")
        let target =
            #/
            (?:module\(|\.executableTarget\(\s*name:)\s*"(\w+)",\s*
            (?:dependencies:\s*)?\[([^\]]*)\]
            /#
        let dependency = /\.product\(name: "(\w+)", package: "[^"]+"\)|"(\w+)"/
        for match in text.matches(of: target) {
            result[String(match.1)] = Set(
                match.2.matches(of: dependency).compactMap { ($0.1 ?? $0.2).map(String.init) })
        }
        return result
    }

    @Test("The module table has every module of Sources, and no other")
    func tableIsWhole() throws {
        let swift = try Tree.names(in: "Sources").filter { module in
            try !Tree.files(".swift", below: "Sources/" + module).isEmpty
        }
        #expect(Set(try Self.rows().map(\.module)) == Set(swift))
    }

    @Test("Each module imports what the table says, all of it and nothing else")
    func importsAreThoseOfTheTable() throws {
        let imported = try Self.imported()
        for row in try Self.rows() {
            let found = (imported[row.module] ?? []).subtracting(Self.system)
            #expect(found == row.imports, "\(row.module)")
        }
    }

    @Test("Package.swift declares the dependencies of the table, and no other")
    func dependenciesAreThoseOfTheTable() throws {
        let declared = try Self.declared()
        for row in try Self.rows() {
            #expect(declared[row.module] == row.imports, "\(row.module)")
        }
    }

    @Test("Nothing points back: a module imports only modules above it in the table")
    func nothingPointsBack() throws {
        let rows = try Self.rows()
        let modules = Set(rows.map(\.module))
        var above: Set<String> = []
        for row in rows {
            #expect(row.imports.intersection(modules).isSubset(of: above), "\(row.module)")
            above.insert(row.module)
        }
        #expect(above.count == rows.count, "a module stands in the table twice")
    }

    @Test("Foundation is imported nowhere in Sources: it costs 8 MB of memory at start")
    func noFoundation() throws {
        for (module, imports) in try Self.imported() {
            #expect(imports.allSatisfy { !$0.hasPrefix("Foundation") }, "\(module)")
        }
    }

    @Test("A C module is imported by exactly one Swift module")
    func oneDoorToC() throws {
        let imported = try Self.imported()
        let modules = try Tree.names(in: "Sources").filter { module in
            try Tree.files(".swift", below: "Sources/" + module).isEmpty
                && !Tree.files(".modulemap", below: "Sources/" + module).isEmpty
        }
        #expect(!modules.isEmpty)
        for module in modules {
            let importers = imported.filter { $0.value.contains(module) }.map(\.key)
            #expect(importers.count == 1, "\(module) is imported by \(importers.sorted())")
        }
    }

    @Test("No file of Sources is longer than 600 lines")
    func filesAreShort() throws {
        for path in try Tree.files(".swift", below: "Sources") {
            let lines = try Tree.text(path).split(separator: "\n", omittingEmptySubsequences: false)
            #expect(lines.count <= 601, "\(path)")
        }
    }

    /// Files outside Reactor that may switch off the compiler's check of sharing, each with its
    /// reason.
    private static let uncheckedSharing = [
        "Tests/TreeTests/ModuleTests.swift": "names what it looks for"
    ]

    @Test("Sharing between threads that the compiler does not check is in Reactor only")
    func sharingIsChecked() throws {
        let paths = try Tree.files(".swift")
        for path in paths
        where !path.hasPrefix("Sources/Reactor/") && Self.uncheckedSharing[path] == nil {
            let text = try Tree.text(path)
            #expect(!text.contains("nonisolated(unsafe)"), "\(path)")
            #expect(!text.contains("@unchecked Sendable"), "\(path)")
        }
        for path in Self.uncheckedSharing.keys { #expect(paths.contains(path), "\(path)") }
    }
}
