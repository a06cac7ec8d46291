import Foundation

/// Protocol/events.json.
struct EventTable: Decodable {
    struct Field: Decodable {
        var name: String
        var type: String
        var required: Bool
        var nullable: Bool?
        var aliases: [String]?
        var meaning: String
    }

    struct ServerEvent: Decodable {
        var name: String
        var ws: String
        var root: [String]
        var ns: [String]
        var when: String
        /// The payload holds whatever a backend put there, beside the fields named here.
        var open: Bool?
        var isOpen: Bool { open == true }
        var payload: [Field]
    }

    struct ClientEvent: Decodable {
        var name: String
        var spellings: [String]
        var when: String
        var payload: [Field]
        /// At least one of these fields is needed.
        var oneOf: [String]?
        /// The fields of the ack beside `ok`.
        var ack: [Field]
    }

    var `protocol`: Int
    var types: [String: String]
    var server: [ServerEvent]
    var client: [ClientEvent]

    static func read() throws -> EventTable {
        try Tree.json("Protocol/events.json", as: EventTable.self)
    }

    /// A value of each type that a client may send, as JSON.
    static func sample(_ type: String) -> String {
        switch type {
        case "id", "string": #""text""#
        case "seq", "integer": "1"
        case "boolean": "true"
        case "time": #""2026-01-31T23:59:59.000Z""#
        case "seqs": #"{"chat":1}"#
        case "topics": #"["job:42"]"#
        default: "null"
        }
    }

    /// Whether a value that the server sent is of the type.
    static func isValue(_ value: Any, of type: String, nullable: Bool) -> Bool {
        if value is NSNull { return nullable }
        switch type {
        case "id": return (value as? String).map { (1...128).contains($0.utf8.count) } ?? false
        case "string": return value is String
        case "topic": return (value as? String)?.hasPrefix("job:") ?? false
        case "errorCode":
            return (value as? String).map { $0.allSatisfy { $0.isUppercase || $0 == "_" } } ?? false
        case "time":
            return (value as? String)?.wholeMatch(of: /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/)
                != nil
        case "seq", "integer": return (value as? NSNumber).map { $0.int64Value >= 0 } ?? false
        case "boolean": return value is Bool
        case "object": return value is [String: Any]
        case "error": return (value as? [String: Any])?["code"] is String
        case "seqs": return (value as? [String: Any])?.values.allSatisfy { $0 is NSNumber } ?? false
        default: return false
        }
    }
}
