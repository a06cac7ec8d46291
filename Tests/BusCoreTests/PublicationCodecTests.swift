import Basics
import Domain
import Foundation
import Testing

@testable import BusCore

@Suite("Publications between instances")
struct PublicationCodecTests {
    private static func encoded(_ content: Publication.Content, on channel: Channel? = nil)
        -> [UInt8]?
    {
        PublicationCodec.encode(
            Samples.publication(content, on: channel ?? .chat(Samples.chat)))
    }

    private static func decoded(_ payload: [UInt8], on channel: Channel? = nil)
        -> Publication.Content?
    {
        PublicationCodec.decode(payload, on: channel ?? .chat(Samples.chat))?.content
    }

    // MARK: There and back

    @Test("Each kind comes back as it was, on its channel, with its origin")
    func roundTrip() throws {
        for (name, publication) in Samples.all {
            let payload = try #require(PublicationCodec.encode(publication), "\(name)")
            let back = try #require(
                PublicationCodec.decode(payload, on: publication.channel), "\(name)")
            #expect(back.channel == publication.channel)
            #expect(back.origin == publication.origin)
            switch (back.content, publication.content) {
            case (.entry(let a), .entry(let b)): #expect(a == b)
            case (.reference(let a), .reference(let b)): #expect(a == b)
            case (.receipt(let a), .receipt(let b)): #expect(a == b)
            case (.typing(let a), .typing(let b)): #expect(a == b)
            case (.text(let a), .text(let b)): #expect(a == b)
            case (.joined(let a, let x), .joined(let b, let y)): #expect(a == b && x == y)
            default: Issue.record("\(name) became something else")
            }
        }
    }

    @Test("The first byte is the version, and another version is refused")
    func version() throws {
        for (_, publication) in Samples.all {
            var payload = try #require(PublicationCodec.encode(publication))
            #expect(payload[0] == 1)
            for other: UInt8 in [0, 2, 255] {
                payload[0] = other
                #expect(PublicationCodec.decode(payload, on: publication.channel) == nil)
            }
        }
    }

    @Test("The form does not change by accident")
    func form() throws {
        let payload = try #require(Self.encoded(.reference(0x0A0B)))
        #expect(
            payload == [1, 2, 1, 2, 3, 4, 5, 6, 7, 8, 255, 255, 255, 255, 255, 255, 255, 255]
                + [0, 0, 0, 0, 0, 0, 0x0A, 0x0B])
        let typing = Typing(chat: Samples.chat, user: Samples.user, isTyping: true)
        #expect(try #require(Self.encoded(.typing(typing)))[18...] == [1, 3, 97, 110, 110])
    }

    // MARK: Limits

    @Test("An entry of 16 KiB goes whole, one byte more as a reference")
    func largeEntries() throws {
        let limit = PublicationCodec.maximumEntryBytes
        for count in [limit - 1, limit] {
            let entry = Samples.entry(encodedBytes: count)
            let payload = try #require(Self.encoded(.entry(entry)))
            #expect(payload.count == count)
            guard case .entry(entry) = Self.decoded(payload) else {
                Issue.record("\(count) bytes did not come back")
                continue
            }
        }
        let payload = try #require(
            Self.encoded(.entry(Samples.entry(encodedBytes: limit + 1))))
        #expect(payload.count == 26)
        guard case .reference(7) = Self.decoded(payload) else {
            Issue.record("no reference")
            return
        }
    }

    @Test("A type of 255 bytes goes whole, a longer one as a reference")
    func longTypes() throws {
        for (count, isWhole) in [(255, true), (256, false)] {
            let type = String(repeating: "t", count: count)
            let entry = Samples.entry(.message(Message(encryptedContent: [], type: type)))
            let payload = try #require(Self.encoded(.entry(entry)))
            if case .entry = Self.decoded(payload) {
                #expect(isWhole)
            } else {
                #expect(!isWhole)
            }
        }
    }

    @Test("A text of 1 MiB travels, a longer one does not")
    func longTexts() throws {
        let limit = PublicationCodec.maximumTextBytes
        let text = [UInt8](repeating: UInt8(ascii: "x"), count: limit)
        let payload = try #require(Self.encoded(.text(text), on: .room("r")))
        #expect(PublicationCodec.decode(payload, on: .room("r")) != nil)
        #expect(Self.encoded(.text(text + [0x78]), on: .room("r")) == nil)
        // What another program sends all the same.
        var longer = payload + [0x78]
        longer[18...21] = [0x00, 0x10, 0x00, 0x01]
        #expect(PublicationCodec.decode(longer, on: .room("r")) == nil)
    }

    @Test(
        "A seq is 1 to 2^53, so that the next one can be named",
        arguments: [
            (Seq.min, false), (-1, false), (0, false), (1, true), (1 << 53, true),
            ((1 << 53) + 1, false), (.max, false),
        ])
    func seqs(seq: Seq, isGood: Bool) throws {
        let entry = Samples.entry(.message(Message(encryptedContent: [], type: "t")), seq: seq)
        for content in [Publication.Content.entry(entry), .reference(seq)] {
            let payload = try #require(Self.encoded(content))
            #expect((Self.decoded(payload) != nil) == isGood)
        }
    }

    @Test("Ids that break the rule of ids are refused", arguments: ["", "\n", "a\u{7F}", "\u{80}"])
    func ids(text: String) throws {
        let user = UserID(trusted: text)
        let message = LogEntry.Body.message(Message(encryptedContent: [], type: "t"))
        let contents: [Publication.Content] = [
            .typing(Typing(chat: Samples.chat, user: user, isTyping: true)),
            .entry(Samples.entry(message, id: text)),
            .entry(Samples.entry(.membership(MembershipChange(kind: .added, user: user)))),
        ]
        for content in contents {
            #expect(Self.decoded(try #require(Self.encoded(content))) == nil)
        }
        let joined = try #require(
            Self.encoded(.joined(ChatID(trusted: text), since: 1), on: .user(Samples.user)))
        #expect(Self.decoded(joined, on: .user(Samples.user)) == nil)
    }

    @Test("An id of 128 bytes is taken, one of 129 refused")
    func longIDs() throws {
        for (count, isGood) in [(128, true), (129, false)] {
            let user = UserID(trusted: String(repeating: "u", count: count))
            let typing = Typing(chat: Samples.chat, user: user, isTyping: true)
            let payload = try #require(Self.encoded(.typing(typing)))
            #expect((Self.decoded(payload) != nil) == isGood)
        }
    }

    @Test("Bytes that are not UTF-8 are refused: they would go on to clients")
    func notUTF8() throws {
        let text = try #require(Self.encoded(.text([0xFF]), on: .room("r")))
        #expect(Self.decoded(text, on: .room("r")) == nil)
        let entry = Samples.entry(
            .message(Message(encryptedContent: [0xC0, 0x80], type: "text")))
        #expect(Self.decoded(try #require(Self.encoded(.entry(entry)))) == nil)
    }

    @Test("A kind is understood on its own kind of channel only")
    func foreignChannels() throws {
        let channels: [Channel] = [.chat(Samples.chat), .user(Samples.user), .room("lobby")]
        for (name, publication) in Samples.all {
            let payload = try #require(PublicationCodec.encode(publication))
            for channel in channels {
                let isItsKind =
                    switch (channel, publication.channel) {
                    case (.chat, .chat), (.user, .user), (.room, .room): true
                    default: false
                    }
                #expect(
                    (PublicationCodec.decode(payload, on: channel) != nil) == isItsKind, "\(name)")
            }
        }
    }

    // MARK: Anything at all

    @Test("Every cut and every byte more is refused")
    func cuts() throws {
        for (name, publication) in Samples.all {
            let payload = try #require(PublicationCodec.encode(publication))
            for count in 0..<payload.count {
                let cut = Array(payload[..<count])
                #expect(
                    PublicationCodec.decode(cut, on: publication.channel) == nil,
                    "\(name) cut to \(count)")
            }
            #expect(PublicationCodec.decode(payload + [0], on: publication.channel) == nil)
        }
        for (_, digest) in Samples.digests {
            let payload = digest.encoded()
            for count in 0..<payload.count {
                #expect(Digest(decoding: Array(payload[..<count])) == nil)
            }
            #expect(Digest(decoding: payload + [0]) == nil)
        }
    }

    @Test("Every changed byte gives a value in its one form, or nothing")
    func mutations() throws {
        var inputs = Samples.digests.map { Samples.input(ChannelNames.digest, $0.digest.encoded()) }
        for (_, publication) in Samples.all {
            inputs.append(
                Samples.input(
                    ChannelNames.name(of: publication.channel),
                    try #require(PublicationCodec.encode(publication))))
        }
        for var input in inputs {
            for index in input.indices {
                let byte = input[index]
                for bit in 0..<8 {
                    input[index] = byte ^ (1 << bit)
                    PublicationCodecExercise.run(input.span)
                }
                for value: UInt8 in [0, 0x7F, 0x80, 0xFF] {
                    input[index] = value
                    PublicationCodecExercise.run(input.span)
                }
                input[index] = byte
            }
        }
    }

    @Test("Random bytes behind a good head trap nothing")
    func noise() {
        var random = SystemRandomNumberGenerator()
        let name = ChannelNames.name(of: .chat(Samples.chat))
        for _ in 0..<20_000 {
            let count = Int.random(in: 0..<80, using: &random)
            let rest = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) >> 2 }
            let head = [1, UInt8.random(in: 0...17, using: &random)]
            PublicationCodecExercise.run(Samples.input(name, head + rest).span)
            PublicationCodecExercise.run(
                Samples.input(ChannelNames.digest, [1, 16] + rest).span)
        }
    }

    @Test("Every file of the fuzzer's corpus is what its name says")
    func corpus() throws {
        let folder = URL(filePath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "Fuzz/Corpus/publication")
        let files = try FileManager.default.contentsOfDirectory(
            at: folder, includingPropertiesForKeys: nil)
        #expect(files.count >= 20)
        for file in files {
            let found = PublicationCodecExercise.run([UInt8](try Data(contentsOf: file)).span)
            let name = file.lastPathComponent
            if name.hasPrefix("publication-") { #expect(found == .publication, "\(name)") }
            if name.hasPrefix("digest-") { #expect(found == .digest, "\(name)") }
            if name.hasPrefix("refused-") { #expect(found == nil, "\(name)") }
        }
    }
}

@Suite("Digests")
struct DigestTests {
    @Test("A digest comes back as it was", arguments: Samples.digests.map(\.digest))
    func roundTrip(digest: Digest) {
        #expect(Digest(decoding: digest.encoded()) == digest)
    }

    @Test("1,024 heads are listed, more are cut off and the digest says so")
    func manyHeads() {
        let heads = (0...1_024).map { Digest.Head(chat: ChatID(trusted: "c\($0)"), seq: 1) }
        let full = Digest(
            instance: 1, number: 1, address: "[fd00::5]:3002", heads: Array(heads.dropLast()))
        #expect(Digest(decoding: full.encoded()) == full)
        let more = Digest(decoding: Digest(instance: 1, number: 1, heads: heads).encoded())
        #expect(more?.heads == full.heads)
        #expect(more?.isTruncated == true)
    }

    @Test("A number over 2^53, a head below 0 and more heads than are there are refused")
    func refusals() {
        #expect(Digest(decoding: Digest(instance: 1, number: (1 << 53) + 1).encoded()) == nil)
        let head = Digest.Head(chat: Samples.chat, seq: -1)
        #expect(Digest(decoding: Digest(instance: 1, number: 1, heads: [head]).encoded()) == nil)
        var payload = Digest(instance: 1, number: 1).encoded()
        payload[20] = 1
        #expect(Digest(decoding: payload) == nil)
    }
}

@Suite("Names of channels")
struct ChannelNameTests {
    @Test(
        "A channel has a name, and the name is that channel's",
        arguments: [
            Channel.chat(ChatID(trusted: "conv-123")), .chat(ChatID(trusted: "a:{b}:c")),
            .chat(ChatID(trusted: "martlet:digest")), .user(UserID(trusted: "é")),
            .user(UserID(trusted: "e\u{301}")), .room("lobby"), .room("\u{0}\n"), .room(":"),
        ]
            + ["job:42", "job:\u{301}", "job:martlet:t:"].compactMap { TopicName($0) }.map {
                .topic($0)
            })
    func inverse(channel: Channel) {
        #expect(ChannelNames.channel(named: ChannelNames.name(of: channel)) == channel)
    }

    @Test("The names are those that other programs may watch")
    func words() {
        #expect(ChannelNames.name(of: .chat(Samples.chat)) == Array("martlet:c:conv-123".utf8))
        #expect(ChannelNames.name(of: .user(Samples.user)) == Array("martlet:u:ann".utf8))
        #expect(ChannelNames.name(of: .room("r")) == Array("martlet:r:r".utf8))
        let topic = TopicName("job:42").map { ChannelNames.name(of: .topic($0)) }
        #expect(topic == Array("martlet:t:job:42".utf8))
    }

    @Test(
        "Other names are no channels",
        arguments: [
            "", "martlet", "martlet:", "martlet:c", "martlet:c:", "martlet:d:x", "martlet:cx:",
            "martlet:digest", "Martlet:c:x", "martlet:c:\n", "martlet:t:42", "martlet:t:job:",
            "martlet:t:job:\n", "martlet:t:job:" + String(repeating: "x", count: 129),
            "martlet:c:" + String(repeating: "x", count: 129),
        ])
    func others(name: String) {
        #expect(ChannelNames.channel(named: Array(name.utf8)) == nil)
    }

    @Test("A name that is not UTF-8 is no channel")
    func notUTF8() {
        #expect(ChannelNames.channel(named: Array("martlet:r:".utf8) + [0xFF]) == nil)
    }
}
