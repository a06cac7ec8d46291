import CPostgres
import StoreCore

/// What the server said no with: the SQLSTATE and the statement of ours. Not its message: that may
/// quote a value, and no client's text gets into a log.
struct PostgresError: Error, Hashable {
    /// Five characters (PostgreSQL, appendix A).
    var state: String
    /// The statement's name.
    var call: String

    static let uniqueViolation = "23505"

    /// Another transaction was in the way; the same again may succeed.
    var isWorthRetrying: Bool {
        switch state {
        case "40P01", "40001", "55P03": true
        default: false
        }
    }

    var isSchemaMissing: Bool { state == "42P01" || state == "3F000" || state == "42703" }

    var failure: StoreFailure {
        let text = "postgres: \(state) (\(words)) at: \(call)"
        switch state {
        case "53100": return StoreFailure(.diskFull, text + "; free space on the server's disk")
        case "58030": return StoreFailure(.inputOutput, text + "; see the server's log")
        case "XX001", "XX002": return StoreFailure(.corrupt, text + "; restore a backup")
        case "40P01", "40001", "55P03": return StoreFailure(.busy, text)
        case "42P01", "3F000", "42703":
            return StoreFailure(.schema, text + "; run `martlet migrate`")
        case "42501":
            return StoreFailure(
                .unavailable, text + "; the role needs all rights in the schema martlet")
        default: return StoreFailure(.unavailable, text)
        }
    }

    private var words: String {
        switch state {
        case "23505": "unique violation"
        case "25006": "read-only transaction"
        case "40001": "serialization failure"
        case "40P01": "deadlock"
        case "42501": "not permitted"
        case "42P01": "no such table"
        case "53100": "disk full"
        case "53200": "out of memory"
        case "53300": "too many connections"
        case "55P03": "lock not available"
        case "57014": "timed out"
        case "57P01": "shut down by an administrator"
        case "57P02": "another backend crashed"
        case "57P03": "starting up or shutting down"
        case "58030": "input/output error"
        default: "see PostgreSQL, appendix A"
        }
    }
}

/// libpq's own words, made fit for a log: one bounded line without the password.
enum SafeText {
    static let maximumCharacters = 240

    static func line(_ text: String, without secrets: [String]) -> String {
        var line = text.split(whereSeparator: \.isNewline).joined(separator: " ")
        for secret in secrets where !secret.isEmpty { line = replacing(secret, in: line) }
        line = String(line.filter { $0.unicodeScalars.allSatisfy { $0.value >= 0x20 } })
        return String(line.prefix(maximumCharacters))
    }

    private static func replacing(_ secret: String, in line: String) -> String {
        let whole = Array(line.utf8)
        let part = Array(secret.utf8)
        var result: [UInt8] = []
        var index = 0
        while index < whole.count {
            if whole[index...].starts(with: part) {
                result += Array("***".utf8)
                index += part.count
            } else {
                result.append(whole[index])
                index += 1
            }
        }
        return String(decoding: result, as: UTF8.self)
    }
}
