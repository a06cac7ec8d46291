import Basics
import Domain
import Foundation
import Testing
import Wire

/// Protocol/events.json and its schemas say what the decoder takes and the encoder writes.
struct EventTableTests {
    // MARK: Names

    @Test("events.json has the server's events with their names in every dialect")
    func serverNames() throws {
        let table = try EventTable.read()
        #expect(table.server.map(\.name) == EventName.allCases.map(\.rawValue))
        #expect(table.server.map(\.ws) == EventName.allCases.map { "\($0.ws)" })
        #expect(table.server.map(\.root) == EventName.allCases.map { names($0, .root) })
        #expect(table.server.map(\.ns) == EventName.allCases.map { names($0, .ns) })
        #expect(EventName.allCases.map { "\($0.v1)" } == EventName.allCases.map(\.rawValue))
    }

    private func names(_ event: EventName, _ dialect: Dialect) -> [String] {
        event.names(in: dialect).map { "\($0)" }
    }

    @Test("events.json has the client's commands with all their spellings")
    func clientNames() throws {
        let table = try EventTable.read()
        #expect(table.client.map(\.name) == CommandName.allCases.map(\.rawValue))
        #expect(
            table.client.map(\.spellings)
                == CommandName.allCases.map { $0.spellings.map { "\($0)" } })
        let all = table.client.flatMap(\.spellings)
        #expect(Set(all).count == all.count, "a spelling means two commands")
    }

    @Test("Every type of a field is explained, and every explained type is used")
    func types() throws {
        let table = try EventTable.read()
        let used = (table.server.flatMap(\.payload) + table.client.flatMap { $0.payload + $0.ack })
            .map(\.type)
        #expect(Set(used) == Set(table.types.keys))
    }

    // MARK: What the server writes

    private static let chat = ChatID(trusted: "chat")
    private static let user = UserID(trusted: "user")
    private static let actor = Actor(user: user, device: DeviceID(trusted: "device"))
    private static let wall = WallTime(milliseconds: 1_700_000_000_000)

    private static func message(_ message: Message, seq: Seq = 7) -> EncodedEvent {
        EventEncoder.entry(
            LogEntry(
                chat: chat, seq: seq, id: MessageID(trusted: "message"), author: user,
                device: actor.device, createdAt: wall, body: .message(message)))
    }

    private static func receipt(_ delivered: Seq?, _ read: Seq?) -> EncodedEvent {
        EventEncoder.receipt(
            Receipt(
                chat: chat, user: user, deliveredSeq: delivered, readSeq: read,
                isReadPrivate: false, at: wall))
    }

    private static func stored(_ clientMessageID: String?) -> EncodedEvent {
        EventEncoder.messageStored(
            id: MessageID(trusted: "message"), clientMessageID: clientMessageID, chat: chat, seq: 7)
    }

    /// Each event with as much as it can hold, and with as little.
    private static func samples(_ name: EventName) -> [EncodedEvent] {
        let text = Array("text".utf8)
        switch name {
        case .ack, .error:
            return []
        case .sessionReady:
            return [
                EventEncoder.sessionReady(
                    actor: actor, session: "session", now: wall, limits: Limits()),
                EventEncoder.sessionReady(
                    actor: actor, session: "session", recovered: true, pass: "pass", now: wall,
                    limits: Limits()),
            ]
        case .sessionExpiring:
            return [EventEncoder.sessionExpiring(inMs: 60_000)]
        case .messageNew:
            return [
                message(
                    Message(
                        encryptedContent: text, type: "text",
                        replyTo: MessageID(trusted: "other"), thread: MessageID(trusted: "third"),
                        expiresAt: wall)),
                message(Message(encryptedContent: text, type: "text")),
                // A backend's: in no log.
                message(Message(encryptedContent: text, type: "text"), seq: 0),
            ]
        case .messageStored:
            return [stored("mine"), stored(nil)]
        case .receipt:
            return [receipt(1, 1), receipt(1, nil), receipt(nil, 1), receipt(nil, nil)]
        case .typing:
            return [EventEncoder.typing(Typing(chat: chat, user: user, isTyping: true))]
        case .chatChanged:
            return MembershipChange.Kind.allCases.map { kind in
                EventEncoder.entry(
                    LogEntry(
                        chat: chat, seq: 7, id: MessageID(trusted: "entry"), author: user,
                        device: actor.device, createdAt: wall,
                        body: .membership(MembershipChange(kind: kind, user: user))))
            }
        case .caughtUp:
            return [EventEncoder.caughtUp([(chat, 7)]), EventEncoder.caughtUp([])]
        case .notification:
            return [
                #"{"type":"notification","payload":{"title":"text","count":1}}"#,
                #"{"type":"notification","title":"text"}"#,
                #"{"type":"notification","payload":{}}"#,
            ].compactMap { foreign($0, on: .user) }
        case .topicEvent:
            guard let topic = TopicName("job:42") else { return [] }
            return [#"{"type":"JOB_UPDATE","payload":{"status":"filled"}}"#]
                .compactMap { foreign($0, on: .topic(topic)) }
        }
    }

    /// What followers are given of what a backend said on a public channel.
    private static func foreign(_ text: String, on place: ForeignEvent.Place) -> EncodedEvent? {
        var reader = JSONReader()
        let event = ForeignEvent.decode(
            text.utf8.span, with: &reader, on: place, at: wall, maximumContent: 1_000)
        switch event {
        case .notification(let encoded), .topicEvent(let encoded): return encoded
        default: return nil
        }
    }

    /// Payloads of an event: those of `samples`, or cut from whole frames.
    private static func payloads(_ name: EventName) throws -> [[String: Any]] {
        let refusal = CommandError(.rateLimited, "wait", retryAfterMs: 5)
        let bytes: [[UInt8]]
        switch name {
        case .ack:
            bytes = [
                EventEncoder.refusal(refusal, id: .integer(1), event: .send, in: .v1),
                EventEncoder.ack(.integer(1), in: .v1) { _ in },
            ]
        case .error:
            bytes = [
                EventEncoder.refusal(refusal, id: nil, event: .send, in: .v1),
                EventEncoder.refusal(
                    CommandError(.invalidInput, "no"), id: nil, event: nil, in: .v1),
            ]
        default:
            return try samples(name).map { try object($0.payload) }
        }
        return try bytes.map { frame in
            let envelope = try object(frame)
            #expect(envelope["type"] as? String == name.rawValue)
            return try #require(envelope["payload"] as? [String: Any])
        }
    }

    private static func object(_ bytes: [UInt8]) throws -> [String: Any] {
        try #require(JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any])
    }

    /// An open event is a backend's object, which may hold anything beside.
    @Test("Each event has the fields of events.json: all of them at most, the required at least")
    func serverFields() throws {
        for event in try EventTable.read().server {
            let payloads = try Self.payloads(try #require(EventName(rawValue: event.name)))
            let all = Set(event.payload.map(\.name))
            let required = Set(event.payload.filter(\.required).map(\.name))
            #expect(!payloads.isEmpty, "\(event.name)")
            let keys = payloads.reduce(into: Set()) { $0.formUnion($1.keys) }
            #expect(
                event.isOpen ? keys.isSuperset(of: all) : keys == all, "\(event.name)")
            #expect(
                payloads.reduce(into: all) { $0.formIntersection($1.keys) } == required,
                "\(event.name)")
            for payload in payloads {
                for field in event.payload {
                    guard let value = payload[field.name] else { continue }
                    #expect(
                        EventTable.isValue(
                            value, of: field.type, nullable: field.nullable ?? false),
                        "\(event.name).\(field.name)")
                }
            }
        }
    }

    // MARK: What the server takes

    private static func decode(_ frame: String) -> DecodedFrame {
        var reader = JSONReader()
        return CommandDecoder.decode(frame.utf8.span, with: &reader, limits: Limits())
    }

    private static func isTaken(_ name: String, _ fields: [String: String]) -> Bool {
        let payload = fields.sorted { $0.key < $1.key }
            .map { "\"\($0.key)\":\($0.value)" }.joined(separator: ",")
        let frame = decode(#"{"type":"\#(name)","id":1,"payload":{\#(payload)}}"#)
        guard case .success = frame.command else { return false }
        return frame.name?.rawValue == name
    }

    /// The least that a command takes: its required fields, and the first of those of which it
    /// needs one.
    private static func least(_ event: EventTable.ClientEvent) -> [String: String] {
        var fields: [String: String] = [:]
        for field in event.payload where field.required || field.name == event.oneOf?.first {
            fields[field.name] = EventTable.sample(field.type)
        }
        return fields
    }

    @Test("Each command is taken with its required fields, and refused without any of them")
    func requiredFields() throws {
        for event in try EventTable.read().client {
            let least = Self.least(event)
            #expect(Self.isTaken(event.name, least), "\(event.name)")
            for field in least.keys {
                var fields = least
                fields[field] = nil
                #expect(!Self.isTaken(event.name, fields), "\(event.name) without \(field)")
            }
        }
    }

    @Test("Each field of a command is read under its name and its aliases, and checked")
    func fieldsAndAliases() throws {
        for event in try EventTable.read().client {
            for field in event.payload {
                for name in [field.name] + (field.aliases ?? []) {
                    var fields = Self.least(event)
                    fields[field.name] = nil
                    if event.oneOf?.contains(field.name) == true {
                        for other in event.oneOf ?? [] { fields[other] = nil }
                    }
                    fields[name] = EventTable.sample(field.type)
                    #expect(Self.isTaken(event.name, fields), "\(event.name).\(name)")
                    fields[name] = "[]"
                    #expect(!Self.isTaken(event.name, fields), "\(event.name).\(name) as a list")
                }
            }
        }
    }

    @Test("A command is known by each of its spellings")
    func spellings() throws {
        for event in try EventTable.read().client {
            for spelling in event.spellings {
                let frame = Self.decode(#"{"type":"\#(spelling)","payload":{}}"#)
                #expect(frame.name?.rawValue == event.name, "\(spelling)")
            }
        }
    }

    // MARK: Schemas

    private struct Schema: Decodable {
        struct Property: Decodable {}
        struct Choice: Decodable { var required: [String] }
        var title: String
        var required: [String]
        var properties: [String: Property]
        var additionalProperties: Bool?
        var anyOf: [Choice]?
    }

    @Test("Each event has a schema with the fields of events.json, and there is no other schema")
    func schemas() throws {
        let table = try EventTable.read()
        var expected: Set<String> = []
        for (name, payload, oneOf) in table.server.map({ ("server." + $0.name, $0.payload, nil) })
            + table.client.map({ ("client." + $0.name, $0.payload, $0.oneOf) })
        {
            expected.insert(name + ".json")
            let schema = try Tree.json("Protocol/schemas/\(name).json", as: Schema.self)
            #expect(name.hasSuffix(schema.title), "\(name)")
            #expect(Set(schema.properties.keys) == Set(payload.map(\.name)), "\(name)")
            #expect(schema.required == payload.filter(\.required).map(\.name), "\(name)")
            #expect(schema.anyOf?.flatMap(\.required) == oneOf, "\(name)")
        }
        for event in table.server {
            let path = "Protocol/schemas/server.\(event.name).json"
            let schema = try Tree.json(path, as: Schema.self)
            #expect(schema.additionalProperties == event.open, "\(event.name)")
        }
        #expect(Set(try Tree.names(in: "Protocol/schemas")) == expected)
    }
}
