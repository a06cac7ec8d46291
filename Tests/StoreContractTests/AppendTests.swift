import Basics
import Domain
import StoreCore
import TestSupport
import Testing

extension StoreContract {
    @Suite("Appending") struct Appending {
        @Test(
            "Entries of a chat take 1, 2, 3 in the order of the batch, chats apart",
            arguments: StoreUnderTest.allCases)
        func consecutive(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            h.submit([h.creation("c", ["ann", "bob"]), h.creation("d", ["ann"])])
            let outcomes = h.submit([
                h.message("c", "ann"), h.message("d", "ann"), h.message("c", "bob"),
                h.message("c", "ann"),
            ])
            #expect(outcomes.map { $0.entry?.seq } == [1, 1, 2, 3])
            #expect(h.send("c", "bob") == 4)
            #expect(h.head("c") == 4)
            #expect(h.range("c").map(\.seq) == [1, 2, 3, 4])
        }

        @Test("The outcome is the entry as it is stored", arguments: StoreUnderTest.allCases)
        func wholeEntry(_ kind: StoreUnderTest) throws {
            let h = Harness(kind)
            h.run(h.creation("c", ["ann"]))
            let operation = h.message(
                "c", "ann", "x", clientID: "k", type: "image", replyTo: "r", thread: "t",
                expiresAt: WallTime(milliseconds: 99), device: "laptop")
            let entry = try #require(h.run(operation).entry)
            #expect(entry.id == operation.appendID)
            #expect(entry.author == "ann" && entry.device == "laptop" && entry.chat == "c")
            #expect(entry.createdAt == h.time)
            #expect(
                entry.body
                    == .message(
                        Message(
                            encryptedContent: [120], type: "image", replyTo: "r", thread: "t",
                            expiresAt: WallTime(milliseconds: 99))))
            #expect(h.range("c") == [entry])
        }

        @Test(
            "A chat that is not there, and one the author is not in, are refused alike",
            arguments: StoreUnderTest.allCases)
        func notFound(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            h.run(h.creation("c", ["ann"]))
            #expect(h.run(h.message("none", "ann")) == .refused(.notFound))
            #expect(h.run(h.message("c", "eve")) == .refused(.notFound))
            #expect(h.head("c") == 0)
        }

        @Test(
            "A refused or duplicate send takes no seq and leaves its neighbours alone",
            arguments: StoreUnderTest.allCases)
        func noSeqBurnt(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            h.run(h.creation("c", ["ann"]))
            let first = h.message("c", "ann", clientID: "k")
            let outcomes = h.submit([
                first, h.message("c", "eve"), first.resent(as: h.freshID()),
                h.message("c", "ann", "other", clientID: "k"), h.message("none", "ann"),
                h.message("c", "ann"),
            ])
            #expect(outcomes[0].entry?.seq == 1)
            #expect(outcomes[1] == .refused(.notFound))
            #expect(outcomes[3] == .refused(.idempotencyConflict))
            #expect(outcomes[4] == .refused(.notFound))
            #expect(outcomes[5].entry?.seq == 2)
            #expect(h.head("c") == 2)
        }

        @Test(
            "A client's id again is the first send, in the same batch and later",
            arguments: StoreUnderTest.allCases)
        func duplicate(_ kind: StoreUnderTest) throws {
            let h = Harness(kind)
            h.run(h.creation("c", ["ann"]))
            let first = h.message("c", "ann", clientID: "k")
            let outcomes = h.submit([first, first.resent(as: h.freshID())])
            let entry = try #require(outcomes[0].entry)
            let duplicate = Outcome.duplicate(id: entry.id, seq: 1, createdAt: entry.createdAt)
            #expect(outcomes[1] == duplicate)
            h.send("c", "ann")
            #expect(h.run(first.resent(as: h.freshID())) == duplicate)
            #expect(h.head("c") == 2)
        }

        @Test(
            "The same client's id of another author, or in another chat, is another message",
            arguments: StoreUnderTest.allCases)
        func idsAreOnesOwn(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            h.submit([h.creation("c", ["ann", "bob"]), h.creation("d", ["ann"])])
            let outcomes = h.submit([
                h.message("c", "ann", clientID: "k"), h.message("c", "bob", clientID: "k"),
                h.message("d", "ann", clientID: "k"), h.message("c", "ann", clientID: "K"),
            ])
            #expect(outcomes.map { $0.entry?.seq } == [1, 2, 1, 3])
        }

        @Test(
            "Sends without a client's id are never duplicates", arguments: StoreUnderTest.allCases)
        func withoutClientID(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            h.run(h.creation("c", ["ann"]))
            #expect(h.send("c", "ann") == 1)
            #expect(h.send("c", "ann") == 2)
        }

        enum Difference: CaseIterable, Sendable {
            case none, device, content, type, replyTo, thread, expiry
        }

        @Test(
            "Another body under a client's id is a conflict, another device is not",
            arguments: StoreUnderTest.allCases, Difference.allCases)
        func conflict(_ kind: StoreUnderTest, _ difference: Difference) {
            let h = Harness(kind)
            h.run(h.creation("c", ["ann"]))
            h.run(h.message("c", "ann", "x", clientID: "k", replyTo: "r"))
            let again =
                switch difference {
                case .none: h.message("c", "ann", "x", clientID: "k", replyTo: "r")
                case .device: h.message("c", "ann", "x", clientID: "k", replyTo: "r", device: "tv")
                case .content: h.message("c", "ann", "y", clientID: "k", replyTo: "r")
                case .type: h.message("c", "ann", "x", clientID: "k", type: "image", replyTo: "r")
                case .replyTo: h.message("c", "ann", "x", clientID: "k")
                case .thread: h.message("c", "ann", "x", clientID: "k", replyTo: "r", thread: "t")
                case .expiry:
                    h.message(
                        "c", "ann", "x", clientID: "k", replyTo: "r",
                        expiresAt: WallTime(milliseconds: 0))
                }
            let outcome = h.run(again)
            if difference == .none || difference == .device {
                guard case .duplicate(_, 1, _) = outcome else {
                    Issue.record("\(outcome)")
                    return
                }
            } else {
                #expect(outcome == .refused(.idempotencyConflict))
            }
            #expect(h.head("c") == 1)
        }

        @Test(
            "An author who is no member any more finds no duplicate either",
            arguments: StoreUnderTest.allCases)
        func authorisedFirst(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            h.run(h.creation("c", ["ann", "bob"]))
            let sent = h.message("c", "bob", clientID: "k")
            h.submit([sent, h.change("c", .removed, ["bob"], by: "ann")])
            #expect(h.run(sent.resent(as: h.freshID())) == .refused(.notFound))
        }

        @Test(
            "An entry id that is there is answered with its entry; a stranger's is refused",
            arguments: StoreUnderTest.allCases)
        func sameEntryID(_ kind: StoreUnderTest) throws {
            let h = Harness(kind)
            h.submit([h.creation("c", ["ann", "bob"]), h.creation("d", ["ann"])])
            let first = h.message("c", "ann", "x")
            let entry = try #require(h.run(first).entry)
            let id = try #require(first.appendID)
            #expect(h.run(first) == .appended(entry))
            #expect(h.run(h.message("c", "bob", "y").resent(as: id)) == .refused(.alreadyExists))
            #expect(h.run(h.message("d", "ann", "y").resent(as: id)) == .refused(.alreadyExists))
            #expect(h.head("c") == 1 && h.head("d") == 0)
            #expect(h.send("c", "ann") == 2)
        }

        @Test(
            "Content comes back byte for byte",
            arguments: StoreUnderTest.allCases,
            [
                [], [0], Array("it's \"quoted\"; DROP TABLE chats; --".utf8),
                Array("🪶 né e\u{301}".utf8),
                Array("a\0b\0".utf8), [0xFF, 0xFE, 0x80], [UInt8](repeating: 7, count: 256_000),
                [UInt8](repeating: 0, count: 256_001),
            ] as [[UInt8]])
        func bytes(_ kind: StoreUnderTest, _ content: [UInt8]) {
            let h = Harness(kind)
            h.run(h.creation("c", ["ann"]))
            let sent = h.message("c", "ann", clientID: "k", content: content)
            #expect(h.run(sent).entry != nil)
            guard case .message(let message)? = h.range("c").first?.body else {
                Issue.record("no message")
                return
            }
            #expect(message.encryptedContent == content)
            #expect(h.run(sent.resent(as: h.freshID())) != .refused(.idempotencyConflict))
            let other = h.message("c", "ann", clientID: "k", content: content + [1])
            #expect(h.run(other) == .refused(.idempotencyConflict))
        }

        @Test(
            "Names of any kind are kept, and told apart by their bytes",
            arguments: StoreUnderTest.allCases, ["o'hara\"", "🪶", "a%_\\", "e\u{301}"])
        func names(_ kind: StoreUnderTest, _ name: String) {
            let h = Harness(kind)
            let chat = ChatID(trusted: name)
            let user = UserID(trusted: name)
            h.run(h.creation(chat, [user], name: name))
            #expect(h.run(h.message(chat, user, clientID: name, type: name)).entry?.seq == 1)
            #expect(h.conversations(user).map(\.name) == [name])
            #expect(h.range(chat).first?.author.text.utf8.elementsEqual(name.utf8) == true)
            // The same characters in other bytes are another name.
            #expect(h.run(h.message("\u{E9}", user)) == .refused(.notFound))
            #expect(h.run(h.message(chat, "\u{E9}")) == .refused(.notFound))
        }
    }
}
