import Basics
import Domain
import Foundation
import Gateway
import Testing
import WebSocket

/// The tables of Protocol/ equal the program's own, in both directions.
struct ProtocolTableTests {
    // MARK: Errors

    private struct ErrorRow: Decodable {
        var code: String
        var httpStatus: Int
        var retryable: Bool
        var reserved: Bool?
        var meaning: String
    }

    @Test("errors.json has the codes, statuses and retry classes of ErrorCode, in its order")
    func errors() throws {
        let rows = try Tree.json("Protocol/errors.json", as: [ErrorRow].self)
        #expect(rows.map(\.code) == ErrorCode.allCases.map(\.rawValue))
        for row in rows {
            let code = try #require(ErrorCode(rawValue: row.code))
            #expect(row.httpStatus == code.httpStatus, "\(row.code)")
            #expect(row.retryable == code.isRetryable, "\(row.code)")
            #expect(!row.meaning.isEmpty, "\(row.code)")
        }
    }

    @Test("An error code is marked reserved exactly where no code of Sources answers with it")
    func reservedErrors() throws {
        let sources = try Tree.files(".swift", below: "Sources").map { try Tree.text($0) }
        for row in try Tree.json("Protocol/errors.json", as: [ErrorRow].self) {
            let code = try #require(ErrorCode(rawValue: row.code))
            let use = try Regex("(?:CommandError|init)\\(\\s*\\.\(code)\\b")
            let isUsed = sources.contains { $0.contains(use) }
            #expect(isUsed == (row.reserved != true), "\(row.code)")
        }
    }

    // MARK: Close codes

    private struct CloseRow: Decodable {
        var code: UInt16
        var name: String
        var retry: String
        var reserved: Bool?
        var reasons: [String]
        var when: String
    }

    private static func closeRows() throws -> [CloseRow] {
        try Tree.json("Protocol/close-codes.json", as: [CloseRow].self)
    }

    @Test("Every code that the server closes with is in close-codes.json, under its reason")
    func closeCodesOfReasons() throws {
        let rows = try Self.closeRows()
        #expect(rows.map(\.code) == Set(rows.map(\.code)).sorted())
        for row in rows {
            let reasons = DisconnectReason.allCases.filter { $0.code.rawValue == row.code }
            #expect(row.reasons == reasons.map { "\($0)" }, "\(row.code)")
            #expect(!row.when.isEmpty, "\(row.code)")
        }
        let codes = Set(rows.map(\.code))
        for reason in DisconnectReason.allCases {
            #expect(codes.contains(reason.code.rawValue), "\(reason)")
        }
        for violation in ProtocolViolation.allCases {
            #expect(codes.contains(violation.closeCode.rawValue), "\(violation)")
        }
    }

    @Test("close-codes.json has the codes of 4000 and above that CloseCode names, by their names")
    func closeCodesOfOurs() throws {
        let text = try Tree.text("Sources/WebSocket/CloseCode.swift")
        var named: [UInt16: String] = [:]
        for match in text.matches(of: /static let (\w+) = CloseCode\(rawValue: (\d+)\)/) {
            named[try #require(UInt16(match.2))] = String(match.1)
        }
        let rows = try Self.closeRows()
        for row in rows { #expect(row.name == named[row.code], "\(row.code)") }
        #expect(
            Set(named.keys.filter { $0 >= 4_000 }) == Set(rows.map(\.code).filter { $0 >= 4_000 }))
    }

    @Test("The hundred of a close code of ours says what a client does next")
    func retryClasses() throws {
        for row in try Self.closeRows() {
            switch row.code {
            case 4_000..<4_100: #expect(row.retry == "never", "\(row.code)")
            case 4_100..<4_200: #expect(row.retry == "backoff", "\(row.code)")
            case 4_200..<4_300: #expect(row.retry == "now", "\(row.code)")
            default: #expect(["never", "backoff", "now"].contains(row.retry), "\(row.code)")
            }
        }
    }

    @Test("A close code is marked reserved exactly where the gateway has no cause to use it")
    func reservedCloseCodes() throws {
        let gateway = try Tree.files(".swift", below: "Sources/Gateway")
            .filter { !$0.hasSuffix("/DisconnectReason.swift") }.map { try Tree.text($0) }
        for row in try Self.closeRows() where row.code >= 4_000 {
            let isUsed = try row.reasons.contains { reason in
                let use = try Regex("\\.\(reason)\\b")
                return gateway.contains { $0.contains(use) }
            }
            #expect(isUsed == (row.reserved != true), "\(row.code)")
        }
    }

    @Test("The text of a close frame fits into its 123 bytes")
    func closeTexts() {
        for reason in DisconnectReason.allCases {
            #expect(reason.text.utf8.count <= 123, "\(reason)")
        }
    }

    // MARK: Limits

    private struct LimitRow: Codable, Equatable {
        var name: String
        var `default`: Int
        var unit: String
        var min: Int
        var max: Int
        var off: Bool
        var reason: String
    }

    /// `MARTLET_WRITE_TABLES=1 swift test --filter ProtocolTable` writes the file anew.
    @Test("limits.json equals the catalogue of limits")
    func limits() throws {
        let standard = Limits()
        let rows = Limits.catalogue.map { entry in
            LimitRow(
                name: entry.name, default: standard[keyPath: entry.field], unit: entry.unit,
                min: entry.range.lowerBound, max: entry.range.upperBound, off: entry.canBeOff,
                reason: entry.reason)
        }
        if ProcessInfo.processInfo.environment["MARTLET_WRITE_TABLES"] != nil {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
            try (encoder.encode(rows) + Data("\n".utf8))
                .write(to: Tree.root.appendingPathComponent("Protocol/limits.json"))
        }
        #expect(try Tree.json("Protocol/limits.json", as: [LimitRow].self) == rows)
    }

    @Test("Every default of a limit lies within its range, and every name is there once")
    func limitDefaults() {
        let standard = Limits()
        for entry in Limits.catalogue {
            #expect(entry.range.contains(standard[keyPath: entry.field]), "\(entry.name)")
        }
        let names = Limits.catalogue.map(\.name)
        #expect(Set(names).count == names.count)
    }

    // MARK: HTTP

    private struct OpenAPI: Decodable {
        struct Path: Decodable {}
        struct Information: Decodable { var version: String }
        var openapi: String
        var info: Information
        var paths: [String: Path]
    }

    @Test("openapi.json describes the routes of the server, all of them and no other")
    func routes() throws {
        let page = try Tree.json("Protocol/openapi.json", as: OpenAPI.self)
        let routes = HTTPRoute.allCases.filter { $0 != .unknown }.map(\.rawValue)
        #expect(Set(page.paths.keys) == Set(routes))
        #expect(page.openapi.hasPrefix("3.1"))
    }
}
