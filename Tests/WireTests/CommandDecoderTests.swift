import Basics
import Domain
import Testing
import Wire

@Suite("CommandDecoder: frames of the plain-JSON face")
struct CommandDecoderTests {
    private func decode(_ text: String, limits: Limits = Limits()) -> DecodedFrame {
        decode(Array(text.utf8), limits: limits)
    }

    private func decode(_ bytes: [UInt8], limits: Limits = Limits()) -> DecodedFrame {
        var reader = JSONReader(hashSeed: 5)
        return CommandDecoder.decode(bytes.span, with: &reader, limits: limits)
    }

    private func frame(_ type: String, _ payload: String) -> DecodedFrame {
        decode("{\"type\":\"\(type)\",\"payload\":\(payload)}")
    }

    private func command(_ frame: DecodedFrame) -> Command? {
        if case .success(let command) = frame.command { command } else { nil }
    }

    private func code(_ frame: DecodedFrame) -> ErrorCode? {
        if case .failure(let error) = frame.command { error.code } else { nil }
    }

    private func sent(_ frame: DecodedFrame) -> SendMessage? {
        if case .send(let send) = command(frame) { send } else { nil }
    }

    // MARK: The envelope

    @Test("Every spelling names its command; no two commands share one")
    func spellings() {
        var seen: Set<String> = []
        for name in CommandName.allCases {
            #expect("\(name.spellings[0])" == name.rawValue)
            for spelling in name.spellings {
                #expect(seen.insert("\(spelling)").inserted, "\(spelling) means two things")
                #expect(frame("\(spelling)", "{}").name == name)
            }
        }
    }

    @Test(
        "A name is compared as decoded text, to the letter",
        arguments: [
            (#"message.sen\u0064"#, true), ("Message.Send", false), ("message.send ", false),
            ("", false),
            ("send_MESSAGE", false),
        ])
    func nameText(type: String, isKnown: Bool) {
        let frame = frame(type, "{}")
        #expect((frame.name == .send) == isKnown)
        if !isKnown { #expect(code(frame) == .unknownEvent && !frame.isUnreadable) }
    }

    @Test(
        "What is no request at all is unreadable, and counted as such",
        arguments: [
            "", " ", "nonsense", "{", "[]", "\"chat.join\"", "null", "7", "{}", #"{"type":null}"#,
            #"{"type":7,"payload":{}}"#, #"{"payload":{"type":"chat.join"}}"#, #"{"type":"a",}"#,
            #"{"type":"a","type":"a"}"#, #"{"type":"chat.join","id":{}}"#,
            #"{"type":"chat.join","id":[]}"#, #"{"type":"chat.join","id":true}"#,
            #"{"type":"chat.join","id":1.5}"#, #"{"type":"chat.join","id":1e3}"#,
            #"{"type":"chat.join","id":9223372036854775808}"#, "\u{FEFF}{}",
        ])
    func unreadable(text: String) {
        let frame = decode(text)
        #expect(frame.isUnreadable && frame.name == nil && code(frame) == .invalidInput)
    }

    @Test("An error never quotes what was sent")
    func noQuotes() {
        for text in [
            "secret", #"{"type":"secret"}"#, #"{"type":"chat.join","payload":"secret"}"#,
            #"{"type":"chat.join","payload":{"chatId":["secret"]}}"#,
            #"{"type":"typing","payload":{"chatId":"c","isTyping":"secret"}}"#,
        ] {
            guard case .failure(let error) = decode(text).command else {
                Issue.record("accepted")
                continue
            }
            #expect(!error.message.contains("secret") && !error.message.isEmpty)
        }
    }

    @Test(
        "An id is an integer or a string of at most 64 bytes, and may be left out",
        arguments: [
            ("0", .integer(0)), ("-7", .integer(-7)),
            ("9223372036854775807", .integer(.max)), ("-9223372036854775808", .integer(.min)),
            (#""""#, .text("")), (#""a\n\u20ac""#, .text("a\n€")), ("null", nil),
        ] as [(String, RequestID?)])
    func ids(text: String, id: RequestID?) {
        let frame = decode(#"{"type":"chat.leave","id":\#(text),"payload":{"chatId":"c"}}"#)
        #expect(frame.id == id && command(frame) != nil)
    }

    @Test(
        "The 64 bytes of an id are those of its decoded text",
        arguments: [
            (63, true), (64, true), (65, false),
        ])
    func idLength(count: Int, isTaken: Bool) {
        for id in [
            String(repeating: "i", count: count),
            String(repeating: "\\u0069", count: count),
        ] {
            let frame = decode(#"{"type":"chat.leave","id":"\#(id)","payload":{"chatId":"c"}}"#)
            #expect((frame.id == .text(String(repeating: "i", count: count))) == isTaken)
            #expect(frame.isUnreadable == !isTaken)
        }
        let wide = String(repeating: "€", count: 22)
        #expect(decode(#"{"type":"chat.leave","id":"\#(wide)"}"#).isUnreadable)
    }

    @Test("An error of an understood frame keeps its id and its name")
    func errorContext() {
        let unknown = decode(#"{"id":5,"type":"nothing"}"#)
        #expect(unknown.id == .integer(5) && unknown.name == nil)
        let wrong = decode(#"{"payload":{},"id":"x","type":"JOIN"}"#)
        #expect(wrong.id == .text("x") && wrong.name == .join && code(wrong) == .invalidInput)
        let payload = decode(#"{"id":6,"type":"JOIN","payload":[]}"#)
        #expect(payload.id == .integer(6) && payload.name == .join && !payload.isUnreadable)
    }

    @Test(
        "A payload that is missing, or null, has no fields; one that is no object is refused",
        arguments: [
            "", #","payload":null"#, #","payload":[]"#, #","payload":"x""#, #","payload":1"#,
        ])
    func payloads(member: String) {
        #expect(code(decode(#"{"type":"chat.join"\#(member)}"#)) == .invalidInput)
    }

    @Test("Unknown fields are ignored, wherever they stand")
    func unknownFields() {
        let frame = decode(
            #"{"v":2,"type":"chat.join","payload":{"x":{"chatId":"no"},"#
                + #""chatId":"c","y":[1]},"z":null}"#
        )
        guard case .join(let chat, since: nil) = command(frame) else {
            Issue.record("not a join")
            return
        }
        #expect(chat.text == "c")
    }

    // MARK: Aliases

    @Test(
        "A chat may be named three ways; the first of the contract's order counts",
        arguments: [
            (#"{"chatId":"a"}"#, "a"), (#"{"conversationId":"b"}"#, "b"), (#"{"roomId":"c"}"#, "c"),
            (#"{"roomId":"c","conversationId":"b","chatId":"a"}"#, "a"),
            (#"{"roomId":"c","conversationId":"b"}"#, "b"),
        ])
    func chatAliases(payload: String, chat: String) {
        guard case .leave(let id) = command(frame("chat.leave", payload)) else {
            Issue.record("not a leave")
            return
        }
        #expect(id.text == chat)
    }

    @Test(
        "So may the content, and the client's own id",
        arguments: [
            ("encryptedContent", "clientMsgId"), ("content", "tempId"), ("ciphertext", "nonce"),
        ])
    func sendAliases(content: String, id: String) {
        let send = sent(
            frame("message.send", #"{"chatId":"c","\#(content)":"x","\#(id)":"k"}"#))
        #expect(send?.message.encryptedContent == Array("x".utf8))
        #expect(send?.clientMessageID == "k")
    }

    @Test(
        "A message to be read up to may be named two ways, a seq counts before it",
        arguments: [
            (#""messageId":"m""#, .entry(MessageID(trusted: "m"))),
            (#""id":"m""#, .entry(MessageID(trusted: "m"))),
            (#""id":"n","messageId":"m""#, .entry(MessageID(trusted: "m"))),
            (#""messageId":"m","seq":3"#, .seq(3)), (#""seq":0"#, .seq(0)),
            (#""seq":null,"id":"m""#, .entry(MessageID(trusted: "m"))),
        ] as [(String, LogPosition)])
    func readAliases(fields: String, position: LogPosition) {
        guard
            case .read(let chat, let found, isPrivate: false) = command(
                frame("read.set", #"{"chatId":"c",\#(fields)}"#))
        else {
            Issue.record("not a read")
            return
        }
        #expect(chat.text == "c" && found == position)
    }

    // MARK: message.send

    @Test("A message has all its fields, and the type text where none is given")
    func send() {
        let full = sent(
            frame(
                "message.send",
                #"{"chatId":"c","clientMsgId":"k","encryptedContent":"h\u00e9\n","type":"image","#
                    + #""replyToId":"r","threadId":"t","expiresAt":"2026-01-31T23:59:59.250+01:00"}"#
            ))
        #expect(full?.chat.text == "c" && full?.clientMessageID == "k")
        #expect(full?.message.encryptedContent == Array("hé\n".utf8))
        #expect(full?.message.type == "image")
        #expect(full?.message.replyTo?.text == "r" && full?.message.thread?.text == "t")
        #expect(full?.message.expiresAt == WallTime(milliseconds: 1_769_900_399_250))
        let least = sent(frame("message.send", #"{"chatId":"c","content":"x"}"#))
        #expect(least?.message == Message(encryptedContent: [0x78], type: "text"))
        #expect(least != nil && least?.clientMessageID == nil)
        let nulls = sent(
            frame(
                "message.send",
                #"{"chatId":"c","content":"x","clientMsgId":null,"type":null,"replyToId":null,"#
                    + #""threadId":null,"expiresAt":null,"devices":null}"#
            ))
        #expect(nulls?.message == least?.message)
    }

    @Test(
        "What no message can be made of is INVALID_INPUT",
        arguments: [
            "{}", #"{"content":"x"}"#, #"{"chatId":"c"}"#, #"{"chatId":"","content":"x"}"#,
            #"{"chatId":"a\u0000","content":"x"}"#, #"{"chatId":7,"content":"x"}"#,
            #"{"chatId":"c","content":""}"#, #"{"chatId":"c","content":7}"#,
            #"{"chatId":"c","content":null}"#, #"{"chatId":"c","content":["x"]}"#,
            #"{"chatId":"c","content":"x","clientMsgId":""}"#,
            #"{"chatId":"c","content":"x","clientMsgId":5}"#,
            #"{"chatId":"c","content":"x","type":""}"#, #"{"chatId":"c","content":"x","type":1}"#,
            #"{"chatId":"c","content":"x","type":"a\n"}"#,
            #"{"chatId":"c","content":"x","replyToId":""}"#,
            #"{"chatId":"c","content":"x","expiresAt":"tomorrow"}"#,
            #"{"chatId":"c","content":"x","expiresAt":1769900399}"#,
            #"{"chatId":"c","content":"x","devices":[]}"#,
        ])
    func badSends(payload: String) {
        let frame = frame("message.send", payload)
        #expect(code(frame) == .invalidInput && frame.name == .send && !frame.isUnreadable)
    }

    @Test(
        "The limit of ciphertext counts decoded bytes",
        arguments: [
            (1_023, true), (1_024, true), (1_025, false),
        ])
    func ciphertext(count: Int, isTaken: Bool) {
        var limits = Limits()
        #expect(limits.set("ciphertext", to: "1024") == nil)
        for unit in ["x", "\\u0078", "\\n"] {
            let content = String(repeating: unit, count: count)
            let frame = decode(
                #"{"type":"message.send","payload":{"chatId":"c","content":"\#(content)"}}"#,
                limits: limits)
            #expect((sent(frame)?.message.encryptedContent.count == count) == isTaken)
            if !isTaken { #expect(code(frame) == .payloadTooLarge) }
        }
    }

    @Test(
        "Ids have 1 to 128 bytes, a type 1 to 64",
        arguments: [
            ("chatId", 128), ("clientMsgId", 128), ("replyToId", 128), ("threadId", 128),
            ("type", 64),
        ])
    func lengths(field: String, limit: Int) {
        for (count, isTaken) in [(1, true), (limit - 1, true), (limit, true), (limit + 1, false)] {
            let text = String(repeating: "a", count: count)
            let chat = field == "chatId" ? "" : #""chatId":"c","#
            let frame = frame("message.send", #"{\#(chat)"\#(field)":"\#(text)","content":"x"}"#)
            #expect((sent(frame) != nil) == isTaken, "\(field) of \(count)")
            if !isTaken { #expect(code(frame) == .invalidInput) }
        }
    }

    // MARK: The others

    @Test(
        "A seq is a whole number, 0 or more, that an Int64 holds",
        arguments: [
            ("0", 0), ("1", 1), ("9223372036854775807", .max), ("-1", nil), ("1.0", nil),
            ("1e2", nil),
            (#""1""#, nil), ("9223372036854775808", nil), ("true", nil), ("-0", 0),
        ] as [(String, Seq?)])
    func seqs(text: String, seq: Seq?) {
        let acknowledged: Seq? =
            if case .acknowledge(_, let seq) = command(
                frame("delivery.ack", #"{"chatId":"c","seq":\#(text)}"#))
            { seq } else { nil }
        let joined: Seq? =
            if case .join(_, let since) = command(
                frame("chat.join", #"{"chatId":"c","since":\#(text)}"#))
            { since } else { nil }
        let resumed: Seq? =
            if case .resume(let chats) = command(frame("resume", #"{"chats":{"c":\#(text)}}"#)) {
                chats.first?.after
            } else { nil }
        #expect(acknowledged == seq && joined == seq && resumed == seq)
    }

    @Test(
        "What is missing is named",
        arguments: [
            ("delivery.ack", #"{"chatId":"c"}"#, "seq"), ("delivery.ack", #"{"seq":1}"#, "chatId"),
            ("read.set", #"{"chatId":"c"}"#, "messageId"),
            ("typing", #"{"chatId":"c"}"#, "isTyping"),
            ("chat.join", "{}", "chatId"), ("chat.leave", "{}", "chatId"),
            ("resume", "{}", "chats"),
            ("session.auth", "{}", "token"),
            ("message.send", #"{"chatId":"c"}"#, "encryptedContent"),
        ])
    func missing(type: String, payload: String, field: String) {
        guard case .failure(let error) = frame(type, payload).command else {
            Issue.record("accepted")
            return
        }
        #expect(error.code == .invalidInput && error.message.contains(field))
    }

    @Test(
        "Typing takes true and false, and nothing like them",
        arguments: [
            ("true", true), ("false", false), ("1", nil), (#""true""#, nil), ("null", nil),
        ] as [(String, Bool?)])
    func typing(text: String, isTyping: Bool?) {
        let found: Bool? =
            if case .type(_, let isTyping) = command(
                frame("typing", #"{"chatId":"c","isTyping":\#(text)}"#))
            { isTyping } else { nil }
        #expect(found == isTyping)
    }

    @Test(
        "A read is private where it says so",
        arguments: [
            ("true", true), ("false", false), ("null", false),
        ])
    func privateRead(text: String, isPrivate: Bool) {
        guard
            case .read(_, _, let found) = command(
                frame("read.set", #"{"chatId":"c","seq":1,"private":\#(text)}"#))
        else {
            Issue.record("not a read")
            return
        }
        #expect(found == isPrivate)
        #expect(
            code(frame("read.set", #"{"chatId":"c","seq":1,"private":"yes"}"#)) == .invalidInput)
    }

    @Test("A resume names its chats with their seqs, in the order given")
    func resume() {
        guard
            case .resume(let chats) = command(
                frame("SYNC", #"{"chats":{"b":5,"a\u0062":0},"nseq":9,"topics":{}}"#))
        else {
            Issue.record("not a resume")
            return
        }
        #expect(chats.map(\.chat.text) == ["b", "ab"] && chats.map(\.after) == [5, 0])
        for payload in [
            #"{"chats":[]}"#, #"{"chats":null}"#, #"{"chats":{"":1}}"#, #"{"chats":{"a":null}}"#,
            #"{"chats":{"a\u0001":1}}"#, #"{"chats":{"\#(String(repeating: "a", count: 129))":1}}"#,
        ] {
            #expect(code(frame("resume", payload)) == .invalidInput)
        }
    }

    @Test(
        "A resume has at most as many chats as the limit",
        arguments: [
            (0, true), (2, true), (3, true), (4, false),
        ])
    func resumeLimit(count: Int, isTaken: Bool) {
        var limits = Limits()
        #expect(limits.set("chatsPerResume", to: "3") == nil)
        let chats = (0..<count).map { "\"c\($0)\":1" }.joined(separator: ",")
        let frame = decode(
            #"{"type":"resume","payload":{"chats":{\#(chats)}}}"#, limits: limits)
        #expect((command(frame) != nil) == isTaken)
    }

    @Test("A token is taken as it is, with the device where one is named")
    func authenticate() {
        guard
            case .authenticate(let token, let device) = command(
                frame("session.auth", #"{"token":"a.b.c","deviceId":"d"}"#)),
            case .authenticate(let bare, nil) = command(frame("AUTH", #"{"token":""}"#))
        else {
            Issue.record("not an authentication")
            return
        }
        #expect(token == "a.b.c" && device?.text == "d" && bare == "")
        #expect(code(frame("AUTH", #"{"token":7}"#)) == .invalidInput)
        #expect(code(frame("AUTH", #"{"token":"t","deviceId":""}"#)) == .invalidInput)
    }

    @Test(
        "Every beginning of a frame, and every frame with a byte changed, is answered with a value")
    func mutations() {
        let whole = Array(
            (#"{"type":"message.send","id":"x","payload":{"chatId":"c","clientMsgId":"k","#
                + #""encryptedContent":"h\u00e9","expiresAt":"2026-01-31T23:59:59Z","type":"t"}}"#)
                .utf8)
        #expect(command(decode(whole)) != nil)
        for count in 0..<whole.count { #expect(decode(Array(whole[..<count])).isUnreadable) }
        for index in whole.indices {
            for byte in [0, 0x22, 0x2D, 0x5C, 0x7B, 0x7D, 0x80, 0xC2, 0xFF] as [UInt8] {
                var changed = whole
                changed[index] = byte
                let frame = decode(changed)
                if case .failure(let error) = frame.command { #expect(!error.message.isEmpty) }
            }
        }
    }
}
