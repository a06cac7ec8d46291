import Basics
import Domain
import Testing
import Wire

@Suite("Topics: what clients ask, what backends say, what is handed on")
struct TopicTests {
    private func decode(_ text: String, limits: Limits = Limits()) -> DecodedFrame {
        var reader = JSONReader(hashSeed: 5)
        return CommandDecoder.decode(text.utf8.span, with: &reader, limits: limits)
    }

    private func ask(
        _ type: String, _ topics: String, limits: Limits = Limits()
    ) -> DecodedFrame {
        decode(#"{"type":"\#(type)","id":1,"payload":{"topics":\#(topics)}}"#, limits: limits)
    }

    private func names(_ frame: DecodedFrame) -> [String]? {
        switch frame.command {
        case .success(.subscribe(let topics)), .success(.unsubscribe(let topics)):
            topics.map(\.text)
        default: nil
        }
    }

    private func code(_ frame: DecodedFrame) -> ErrorCode? {
        if case .failure(let error) = frame.command { error.code } else { nil }
    }

    // MARK: Commands

    @Test("A list of topics is taken in its order, each once, under either command")
    func lists() {
        for type in ["topic.subscribe", "SUBSCRIBE", "topic.unsubscribe", "UNSUBSCRIBE"] {
            let frame = ask(type, #"["job:b","job:\u0061","job:b","job:a","job:b:c"]"#)
            #expect(names(frame) == ["job:b", "job:a", "job:b:c"])
            #expect(frame.id == .integer(1) && !frame.isUnreadable)
        }
        guard case .success(.subscribe) = ask("SUBSCRIBE", #"["job:1"]"#).command,
            case .success(.unsubscribe) = ask("UNSUBSCRIBE", #"["job:1"]"#).command
        else {
            Issue.record("the one is taken for the other")
            return
        }
    }

    @Test(
        "What is no list of topics is refused whole, one bad name among good ones too",
        arguments: [
            "null", "{}", #""job:42""#, "7", "[]", "[null]", "[42]", #"[["job:42"]]"#, #"[""]"#,
            #"["job"]"#, #"["job:"]"#, #"["Job:42"]"#, #"[" job:42"]"#, #"["chat:42"]"#,
            #"["user:ann"]"#, #"["martlet:digest"]"#, #"["job:a\u0000"]"#, #"["job:a\nb"]"#,
            #"["job:\u007f"]"#, #"["job:\u0085"]"#, #"["job:1","chat:2"]"#,
        ])
    func refused(topics: String) {
        for type in ["topic.subscribe", "topic.unsubscribe"] {
            let frame = ask(type, topics)
            #expect(code(frame) == .invalidInput && !frame.isUnreadable)
        }
    }

    @Test(
        "The id of a topic has 1 to 128 bytes",
        arguments: [
            (0, false), (1, true), (127, true), (128, true), (129, false),
        ])
    func idLength(count: Int, isTaken: Bool) {
        let name = "job:" + String(repeating: "i", count: count)
        #expect((names(ask("topic.subscribe", #"["\#(name)"]"#)) == [name]) == isTaken)
    }

    @Test("The bytes count, not the characters; two spellings of a letter are two topics")
    func idBytes() {
        let wide = "job:" + String(repeating: "€", count: 42) + "ab"
        #expect(names(ask("topic.subscribe", #"["\#(wide)"]"#)) == [wide])
        #expect(names(ask("topic.subscribe", #"["\#(wide)c"]"#)) == nil)
        let two = names(ask("topic.subscribe", #"["job:\u00e9","job:e\u0301"]"#))
        #expect(two?.count == 2)
        // A letter that would stick to the colon, were it text.
        #expect(names(ask("topic.subscribe", #"["job:\u0301"]"#))?.count == 1)
    }

    @Test(
        "A list is no longer than a connection's topics, repetitions counted",
        arguments: [(2, true), (3, true), (4, false)])
    func listLength(count: Int, isTaken: Bool) {
        var limits = Limits()
        #expect(limits.set("topics", to: "3") == nil)
        for names in [
            (0..<count).map { "\"job:\($0)\"" }, Array(repeating: "\"job:1\"", count: count),
        ] {
            let list = "[" + names.joined(separator: ",") + "]"
            for type in ["topic.subscribe", "topic.unsubscribe"] {
                let frame = ask(type, list, limits: limits)
                #expect((self.names(frame) != nil) == isTaken)
                #expect((code(frame) == .rateLimited) == !isTaken)
            }
        }
    }

    @Test("Asking for what came before is refused, for nothing is kept")
    func since() {
        func frame(_ since: String) -> DecodedFrame {
            decode(#"{"type":"SUBSCRIBE","payload":{"topics":["job:1"],"since":\#(since)}}"#)
        }
        for since in ["0", "7", #"{"job:1":3}"#] { #expect(code(frame(since)) == .invalidInput) }
        #expect(names(frame("null")) == ["job:1"])
    }

    // MARK: What backends say

    private static let topic = TopicName("job:42")

    private func event(_ text: String, topic: TopicName? = topic) throws -> ForeignEvent? {
        var reader = JSONReader(hashSeed: 5)
        return ForeignEvent.decode(
            text.utf8.span, with: &reader, on: .topic(try #require(topic)),
            at: WallTime(milliseconds: 0), maximumContent: 1_000)
    }

    private func text(_ event: EncodedEvent, _ dialect: Dialect) -> String {
        var text: [UInt8] = []
        event.append(in: dialect, to: &text)
        #expect(text.count == event.textCount(in: dialect))
        return String(decoding: text, as: UTF8.self)
    }

    @Test(
        "An update's payload is handed on byte for byte, in ws alone, in v1 with its topic",
        arguments: [
            "{}", #"{"jobId":42,"status":"filled"}"#, "{ \"a\" :\n[1.50, 1e2, null] }",
            #"{"\u00e9":"é\/\"","type":"x","payload":{"payload":{}}}"#,
        ])
    func update(payload: String) throws {
        for said in [
            #"{"type":"JOB_UPDATE","payload":\#(payload)}"#,
            #"{"payload": \#(payload) ,"jobId":7,"type":"JOB\u005fUPDATE","seq":1}"#,
        ] {
            guard case .topicEvent(let event)? = try event(said) else {
                Issue.record("not taken: \(said)")
                continue
            }
            #expect(text(event, .ws) == #"{"type":"JOB_UPDATE","payload":\#(payload)}"#)
            #expect(
                text(event, .v1)
                    == #"{"type":"topic.event","payload":{"topic":"job:42","type":"JOB_UPDATE","payload":\#(payload)}}"#
            )
        }
    }

    @Test("A topic with the longest id, all of it escaped, keeps both forms apart")
    func longestTopic() throws {
        let name = "job:" + String(repeating: "\"", count: 128)
        let said = #"{"type":"JOB_UPDATE","payload":{"a":1}}"#
        guard case .topicEvent(let event)? = try event(said, topic: TopicName(name)) else {
            Issue.record("not taken")
            return
        }
        #expect(text(event, .ws) == said)
        #expect(text(event, .v1).hasSuffix(#"\"","type":"JOB_UPDATE","payload":{"a":1}}}"#))
    }

    @Test("What an instance of ours says there is our own, whatever it is")
    func own() throws {
        guard case .own? = try event(#"{"type":"JOB_UPDATE","origin":"martlet","payload":{}}"#)
        else {
            Issue.record("taken in again")
            return
        }
    }

    @Test(
        "Other types, and what has no object for a payload, are nothing",
        arguments: [
            "", "null", "[]", "{}", #"{"payload":{}}"#, #"{"type":null,"payload":{}}"#,
            #"{"type":"JOB_UPDATE"}"#, #"{"type":"JOB_UPDATE","payload":null}"#,
            #"{"type":"JOB_UPDATE","payload":[]}"#, #"{"type":"JOB_UPDATE","payload":"{}"}"#,
            #"{"type":"JOB_UPDATE","payload":7}"#, #"{"type":"JOB_UPDATE","payload":{}} x"#,
            #"{"type":"JOB_UPDATE","payload":{"a":1,"a":2}}"#,
            #"{"type":"JOB_UPDATE","payload":{},"payload":{}}"#,
            #"{"type":"job_update","payload":{}}"#, #"{"type":"JOB_UPDATE ","payload":{}}"#,
            #"{"type":"JOB_CLOSED","payload":{}}"#, #"{"type":"topic.event","payload":{}}"#,
            #"{"type":"notification","payload":{}}"#, #"{"type":"disconnect"}"#,
            #"{"type":"new-message","chatId":"c","message":{"id":"i","senderId":"b","content":"x"}}"#,
        ])
    func nothing(text: String) throws {
        #expect(try event(text) == nil)
    }

    @Test("An update said on another channel is nothing")
    func elsewhere() {
        var reader = JSONReader(hashSeed: 5)
        let said = #"{"type":"JOB_UPDATE","payload":{}}"#
        for place in [ForeignEvent.Place.user, .chat(ChatID(trusted: "c"))] {
            let event = ForeignEvent.decode(
                said.utf8.span, with: &reader, on: place, at: WallTime(milliseconds: 0),
                maximumContent: 1_000)
            #expect(event == nil)
        }
    }
}
