import Basics
import Domain
import Foundation
import Testing
import Wire

@Suite("EventEncoder: from values to JSON")
struct EventEncoderTests {
    private let chat = ChatID(trusted: "c\"1")
    private let user = UserID(trusted: "u\n€")

    private func object(_ bytes: [UInt8]) -> [String: Any] {
        let value = try? JSONSerialization.jsonObject(with: Data(bytes))
        return value as? [String: Any] ?? [:]
    }

    private func payload(_ event: EncodedEvent) -> NSDictionary {
        object(event.payload) as NSDictionary
    }

    private func text(_ event: EncodedEvent, _ dialect: Dialect) -> [UInt8] {
        var text: [UInt8] = []
        event.append(in: dialect, to: &text)
        return text
    }

    private func entry(_ body: LogEntry.Body) -> LogEntry {
        LogEntry(
            chat: chat, seq: 7, id: MessageID(trusted: "m"), author: user,
            device: DeviceID(trusted: "d"), createdAt: WallTime(milliseconds: 1_767_225_600_001),
            body: body)
    }

    private var message: LogEntry {
        entry(.message(Message(encryptedContent: Array("x\\y\u{1}".utf8), type: "text")))
    }

    // MARK: Names

    @Test("Each event has a name in each dialect, its own")
    func names() {
        for dialect in Dialect.plain {
            let names = EventName.allCases.map { "\($0.name(in: dialect))" }
            #expect(Set(names).count == names.count)
        }
        for name in EventName.allCases {
            #expect("\(name.v1)" == name.rawValue)
            #expect("\(name.ws)".allSatisfy { $0.isUppercase || $0 == "_" })
        }
        #expect(Dialect.allCases.filter(\.hearsEcho) == [.ws, .root, .ns])
        #expect(Dialect.allCases.filter(\.followsAll) == [.ws, .root])
        #expect(Dialect.allCases.filter(\.tellsStored) == [.root, .ns])
    }

    @Test("A frame is {type, payload}, the same payload in each dialect, of the length announced")
    func frames() {
        let event = EventEncoder.entry(message)
        for (dialect, name) in [(Dialect.v1, "message.new"), (.ws, "MESSAGE")] {
            let bytes = text(event, dialect)
            #expect(bytes.count == event.textCount(in: dialect))
            let frame = object(bytes)
            #expect(frame.keys.sorted() == ["payload", "type"])
            #expect(frame["type"] as? String == name)
            #expect(frame["payload"] as? NSDictionary == payload(event))
        }
    }

    @Test("Every event's announced length is its length", arguments: EventName.allCases)
    func textCounts(name: EventName) {
        let event = EncodedEvent(name, Array(#"{"a":1}"#.utf8))
        for dialect in Dialect.plain {
            var text: [UInt8] = [9]
            event.append(in: dialect, to: &text)
            #expect(text.count - 1 == event.textCount(in: dialect))
            #expect(
                object(Array(text.dropFirst()))["type"] as? String == "\(name.name(in: dialect))")
        }
    }

    // MARK: Entries

    @Test("A message has the fields of the contract; what it has not is null or absent")
    func messageFields() {
        #expect(
            payload(EventEncoder.entry(message)) == [
                "id": "m", "chatId": "c\"1", "senderId": "u\n€", "senderDeviceId": "d",
                "encryptedContent": "x\\y\u{1}", "type": "text", "replyToId": NSNull(),
                "createdAt": "2026-01-01T00:00:00.001Z", "kind": "message", "seq": 7,
            ])
        let full = entry(
            .message(
                Message(
                    encryptedContent: [65], type: "t", replyTo: MessageID(trusted: "r"),
                    thread: MessageID(trusted: "th"),
                    expiresAt: WallTime(milliseconds: 1_767_225_600_500))))
        let fields = payload(EventEncoder.entry(full))
        #expect(fields["replyToId"] as? String == "r" && fields["threadId"] as? String == "th")
        #expect(fields["expiresAt"] as? String == "2026-01-01T00:00:00.500Z")
    }

    @Test(
        "A change of members is chat.changed, with who did it to whom",
        arguments: [
            (MembershipChange.Kind.added, "memberAdded"), (.removed, "memberRemoved"),
            (.left, "memberLeft"),
        ])
    func membership(kind: MembershipChange.Kind, name: String) {
        let event = EventEncoder.entry(
            entry(.membership(MembershipChange(kind: kind, user: UserID(trusted: "v")))))
        #expect(event.name == .chatChanged)
        #expect(
            payload(event) == [
                "id": "m", "chatId": "c\"1", "kind": name, "userId": "v", "by": "u\n€",
                "at": "2026-01-01T00:00:00.001Z", "seq": 7,
            ])
    }

    @Test("Content comes back byte for byte, whatever it is")
    func content() {
        var scalars = String.UnicodeScalarView()
        for value in (0...0x2FF) as ClosedRange<UInt32> {
            if let scalar = Unicode.Scalar(value) { scalars.append(scalar) }
        }
        scalars.append(contentsOf: "\u{2028}\u{2029}\u{FFFF}\u{10FFFF}👩‍👩‍👧".unicodeScalars)
        let text = String(scalars)
        let event = EventEncoder.entry(
            entry(.message(Message(encryptedContent: Array(text.utf8), type: "t"))))
        let found = object(event.payload)["encryptedContent"] as? String
        #expect(found.map { Array($0.utf8) } == Array(text.utf8))
    }

    // MARK: Others

    @Test("A receipt names only the marks that moved")
    func receipt() {
        func encoded(_ delivered: Seq?, _ read: Seq?) -> NSDictionary {
            payload(
                EventEncoder.receipt(
                    Receipt(
                        chat: chat, user: user, deliveredSeq: delivered, readSeq: read,
                        isReadPrivate: false, at: WallTime(milliseconds: 0))))
        }
        let base: [String: Any] = [
            "chatId": "c\"1", "userId": "u\n€", "at": "1970-01-01T00:00:00.000Z",
        ]
        #expect(encoded(3, nil) == base.merging(["deliveredSeq": 3]) { $1 } as NSDictionary)
        #expect(encoded(nil, 2) == base.merging(["readSeq": 2]) { $1 } as NSDictionary)
        #expect(
            encoded(.max, 1)
                == base.merging(["deliveredSeq": Int64.max, "readSeq": 1]) { $1 } as NSDictionary)
    }

    @Test("Typing says who, where, and whether")
    func typing() {
        for isTyping in [true, false] {
            let event = EventEncoder.typing(Typing(chat: chat, user: user, isTyping: isTyping))
            #expect(event.name == .typing)
            #expect(
                payload(event) == ["chatId": "c\"1", "userId": "u\n€", "isTyping": isTyping])
        }
    }

    @Test("The greeting names user, device, session and the limits that a client must know")
    func sessionReady() {
        var limits = Limits()
        #expect(limits.set("ciphertext", to: "5000") == nil)
        let fields = payload(
            EventEncoder.sessionReady(
                actor: Actor(user: user, device: DeviceID(trusted: "d")), session: "s",
                now: WallTime(milliseconds: 0), limits: limits))
        for (key, value) in [
            ("userId", "u\n€"), ("deviceId", "d"), ("sessionId", "s"),
            ("serverTime", "1970-01-01T00:00:00.000Z"),
        ] {
            #expect(fields[key] as? String == value)
        }
        #expect(fields["proto"] as? Int == 1 && fields["recovered"] as? Bool == false)
        let told = fields["limits"] as? [String: Int]
        #expect(told?["ciphertextBytes"] == 5_000 && told?["frameBytes"] == limits.frameBytes)
        #expect(told?["chatsPerResume"] == limits.chatsPerResume)
        #expect(told?["pingIntervalMs"] == limits.pingIntervalMs)
    }

    @Test("caughtUp names each chat with its seq; with none it names none")
    func caughtUp() {
        let event = EventEncoder.caughtUp([(chat, 7), (ChatID(trusted: "d"), 0)])
        #expect(payload(event) == ["chats": ["c\"1": 7, "d": 0]])
        #expect(payload(EventEncoder.caughtUp([])) == ["chats": [String: Int]()])
    }

    @Test("message.stored names the message twice: by its id and by the client's")
    func messageStored() {
        func encoded(_ id: String?) -> NSDictionary {
            payload(
                EventEncoder.messageStored(
                    id: MessageID(trusted: "m"), clientMessageID: id, chat: chat, seq: 4))
        }
        #expect(encoded("k") == ["messageId": "m", "clientMsgId": "k", "chatId": "c\"1", "seq": 4])
        #expect(
            encoded(nil) == ["messageId": "m", "clientMsgId": NSNull(), "chatId": "c\"1", "seq": 4])
    }

    @Test("session.expiring says in how many milliseconds")
    func expiring() {
        #expect(payload(EventEncoder.sessionExpiring(inMs: 59_999)) == ["inMs": 59_999])
    }

    // MARK: Answers

    @Test(
        "An ack is {type, id, payload:{ok:true,…}}, the id as it came",
        arguments: [
            (.integer(-5), "-5"), (.integer(.max), "9223372036854775807"),
            (.text("a\"b"), #""a\"b""#), (.text(""), #""""#),
        ] as [(RequestID, String)])
    func ack(id: RequestID, text: String) {
        guard let value = object(Array(#"{"id":\#(text)}"#.utf8))["id"] else {
            Issue.record("no id")
            return
        }
        for (dialect, name) in [(Dialect.v1, "ack"), (.ws, "ACK")] {
            let frame = object(
                EventEncoder.ack(id, in: dialect) { json in
                    json.key("seq")
                    json.integer(3)
                })
            #expect(
                frame as NSDictionary
                    == ["type": name, "id": value, "payload": ["ok": true, "seq": 3]])
        }
    }

    @Test("An error is the ack where there was an id, else an error event that names the request")
    func refusal() {
        let error = CommandError(.rateLimited, "slow \"down\"", retryAfterMs: 20)
        let fields: [String: Any] = [
            "code": "RATE_LIMITED", "message": "slow \"down\"", "retryAfterMs": 20,
        ]
        #expect(
            object(EventEncoder.refusal(error, id: .integer(1), event: .send, in: .ws))
                as NSDictionary
                == ["type": "ACK", "id": 1, "payload": ["ok": false, "error": fields]])
        #expect(
            object(EventEncoder.refusal(error, id: nil, event: .send, in: .v1)) as NSDictionary
                == [
                    "type": "error",
                    "payload": fields.merging(["event": "message.send"]) { $1 },
                ])
        let bare = EventEncoder.refusal(
            CommandError(.invalidInput, "x"), id: nil, event: nil, in: .ws)
        #expect(
            object(bare) as NSDictionary
                == ["type": "ERROR", "payload": ["code": "INVALID_INPUT", "message": "x"]])
    }
}
