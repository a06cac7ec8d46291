import Basics
import Domain
import StoreCore
import TestSupport
import Testing

extension StoreContract {
    @Suite("Reading") struct Reading {
        /// Seqs: 1, 2 ann · 3 bob added · 4 ann · 5 bob removed · 6, 7 ann · 8 bob added · 9 ann.
        /// Visible to bob: 3–5 and 8–9.
        private func twice(_ kind: StoreUnderTest) -> Harness {
            let h = Harness(kind)
            h.submit([
                h.creation("c", ["ann"]), h.message("c", "ann"), h.message("c", "ann"),
                h.change("c", .added, ["bob"], by: "ann"), h.message("c", "ann"),
                h.change("c", .removed, ["bob"], by: "ann"), h.message("c", "ann"),
                h.message("c", "ann"), h.change("c", .added, ["bob"], by: "ann"),
                h.message("c", "ann"),
            ])
            return h
        }

        @Test(
            "Before, during, after and again: what a member sees",
            arguments: StoreUnderTest.allCases)
        func periods(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            h.run(h.creation("c", ["ann"]))
            h.send("c", "ann")
            #expect(h.opened("c", "bob")?.access == OpenedChat.Access.none)
            #expect(h.visible("c", "bob") == [])
            #expect(h.history("c", "bob") == nil)

            h.run(h.change("c", .added, ["bob"], by: "ann"))
            h.send("c", "ann")
            #expect(h.opened("c", "bob")?.access == .member)
            #expect(h.visible("c", "bob") == [2, 3])
            #expect(h.history("c", "bob")?.entries.map(\.seq) == [2, 3])

            h.run(h.change("c", .removed, ["bob"], by: "ann"))
            h.send("c", "ann")
            #expect(h.opened("c", "bob")?.access == .former(lastVisible: 4))
            #expect(h.visible("c", "bob") == [2, 3, 4])
            #expect(h.history("c", "bob") == nil)

            h.run(h.change("c", .added, ["bob"], by: "ann"))
            #expect(h.opened("c", "bob")?.access == .member)
            #expect(h.visible("c", "bob") == [2, 3, 4, 6])
            #expect(h.history("c", "bob")?.entries.map(\.seq) == [2, 3, 4, 6])
            #expect(h.visible("c", "ann") == [1, 2, 3, 4, 5, 6])
        }

        @Test(
            "A member from the creation on sees all, from seq 1", arguments: StoreUnderTest.allCases
        )
        func founders(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            h.run(h.creation("c", ["ann", "bob"]))
            #expect(h.visible("c", "bob") == [])
            h.send("c", "ann")
            #expect(h.visible("c", "bob") == [1])
        }

        @Test(
            "Opening gives members the head, former members no more than they may see",
            arguments: StoreUnderTest.allCases)
        func opening(_ kind: StoreUnderTest) {
            let h = twice(kind)
            h.submit([
                h.cursor("c", "bob", read: .seq(4)), h.change("c", .left, ["bob"], by: "bob"),
                h.message("c", "ann"),
            ])
            let nothing = OpenedChat(
                chat: "none", access: .none, lastSeq: 0, readSeq: 0, memberCount: 0)
            let read = OpenChats(user: "bob", chats: ["none", "c", "c"])
            let former = OpenedChat(
                chat: "c", access: .former(lastVisible: 10), lastSeq: 10, readSeq: 4,
                memberCount: 0)
            #expect(h.run(.openChats(read)) == .opened([nothing, former, former]))
            #expect(
                h.opened("c", "ann")
                    == OpenedChat(
                        chat: "c", access: .member, lastSeq: 11, readSeq: 0, memberCount: 1))
            var stranger = nothing
            stranger.chat = "c"
            #expect(h.opened("c", "eve") == stranger)
            #expect(h.run(.openChats(OpenChats(user: "bob", chats: []))) == .opened([]))
        }

        @Test(
            "A log is read from any position, over the gap between two stays",
            arguments: StoreUnderTest.allCases,
            [
                (Seq.min, [3, 4, 5, 8, 9]), (0, [3, 4, 5, 8, 9]), (2, [3, 4, 5, 8, 9]),
                (3, [4, 5, 8, 9]), (5, [8, 9]), (6, [8, 9]), (7, [8, 9]), (8, [9]), (9, []),
                (10, []), (Seq.max, []),
            ] as [(Seq, [Seq])])
        func positions(_ kind: StoreUnderTest, _ expected: (after: Seq, seqs: [Seq])) {
            let h = twice(kind)
            let page = h.logs("bob", [ReadLogs.From(chat: "c", after: expected.after)]).first
            #expect(page?.entries.map(\.seq) == expected.seqs)
            #expect(page?.readThrough == 9)
            #expect(page?.isComplete == true)
            #expect(
                h.history("c", "bob", after: expected.after)?.entries.map(\.seq) == expected.seqs)
        }

        @Test(
            "A former member's log ends with what they may see", arguments: StoreUnderTest.allCases)
        func former(_ kind: StoreUnderTest) {
            let h = twice(kind)
            h.submit([h.change("c", .removed, ["bob"], by: "ann"), h.message("c", "ann")])
            for (after, seqs) in [(9, [10]), (10, []), (11, [])] as [(Seq, [Seq])] {
                let page = h.logs("bob", [ReadLogs.From(chat: "c", after: after)]).first
                #expect(page?.access == .former(lastVisible: 10))
                #expect(page?.entries.map(\.seq) == seqs)
                #expect(page?.readThrough == 10)
                #expect(page?.isComplete == true)
            }
        }

        @Test(
            "A stranger's page is that of a chat that is not there",
            arguments: StoreUnderTest.allCases)
        func strangers(_ kind: StoreUnderTest) {
            let h = twice(kind)
            let from = ["c", "none"].map { ReadLogs.From(chat: ChatID(trusted: $0), after: 3) }
            let pages = h.logs("eve", from)
            #expect(pages.map(\.chat) == ["c", "none"])
            for page in pages {
                #expect(page.access == OpenedChat.Access.none)
                #expect(page.entries.isEmpty && page.readThrough == 0 && page.isComplete)
            }
        }

        @Test(
            "Pages stop at the number of entries and go on from where they stopped",
            arguments: StoreUnderTest.allCases, [1, 2, 3, 4, 5, 6, Int.max])
        func byEntries(_ kind: StoreUnderTest, _ size: Int) {
            let h = twice(kind)
            var seqs: [Seq] = []
            var after: Seq = 0
            for _ in 0..<6 {
                let from = ReadLogs.From(chat: "c", after: after)
                guard let page = h.logs("bob", [from], entries: size).first else { break }
                #expect(page.entries.count <= size)
                seqs += page.entries.map(\.seq)
                after = page.readThrough
                if page.isComplete { break }
                #expect(page.readThrough == page.entries.last?.seq)
            }
            #expect(seqs == [3, 4, 5, 8, 9])
            #expect(after == 9)
        }

        @Test(
            "A page with exactly as many entries as there are is complete",
            arguments: StoreUnderTest.allCases)
        func exactSize(_ kind: StoreUnderTest) {
            let h = twice(kind)
            for (size, isComplete) in [(4, false), (5, true), (6, true)] {
                let from = ReadLogs.From(chat: "c", after: 0)
                #expect(h.logs("bob", [from], entries: size).first?.isComplete == isComplete)
                #expect(h.history("c", "bob", limit: size)?.isComplete == isComplete)
            }
        }

        @Test(
            "Bytes bound a page, but the first entry is given however large",
            arguments: StoreUnderTest.allCases)
        func byBytes(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            h.run(h.creation("c", ["ann"]))
            for size in [100, 200, 5_000, 1] {
                h.run(h.message("c", "ann", content: [UInt8](repeating: 1, count: size)))
            }
            // 256 a head: 356, 456, 5256, 257.
            let expected: [(bytes: Int, seqs: [Seq])] = [
                (0, [1]), (-1, [1]), (355, [1]), (811, [1]), (812, [1, 2]), (1_500, [1, 2]),
                (6_067, [1, 2]), (6_068, [1, 2, 3]), (6_324, [1, 2, 3]), (6_325, [1, 2, 3, 4]),
            ]
            for (bytes, seqs) in expected {
                let page = h.logs("ann", [ReadLogs.From(chat: "c", after: 0)], bytes: bytes).first
                #expect(page?.entries.map(\.seq) == seqs, "\(bytes) bytes")
                #expect(page?.isComplete == (seqs.count == 4))
            }
            let large = h.logs("ann", [ReadLogs.From(chat: "c", after: 2)], bytes: 10).first
            #expect(large?.entries.map(\.seq) == [3])
        }

        /// Messages of 356, 456, 5,256 and 257 bytes.
        private func sized(_ kind: StoreUnderTest) -> Harness {
            let h = Harness(kind)
            h.run(h.creation("c", ["ann"]))
            for size in [100, 200, 5_000, 1] {
                h.run(h.message("c", "ann", content: [UInt8](repeating: 1, count: size)))
            }
            return h
        }

        /// What fits, to the byte, after a position. The first entry always does.
        private static let fitting: [(after: Seq, bytes: Int, seqs: [Seq])] = [
            (0, -1_000, [1]), (0, -1, [1]), (0, 0, [1]), (0, 1, [1]), (0, 355, [1]), (0, 356, [1]),
            (0, 357, [1]), (0, 811, [1]), (0, 812, [1, 2]), (0, 813, [1, 2]), (0, 6_067, [1, 2]),
            (0, 6_068, [1, 2, 3]), (0, 6_069, [1, 2, 3]), (0, 6_324, [1, 2, 3]),
            (0, 6_325, [1, 2, 3, 4]), (0, 6_326, [1, 2, 3, 4]), (0, .max, [1, 2, 3, 4]),
            // What comes after one that does not fit is not given, though it would.
            (1, 713, [2]), (2, 10, [3]), (2, 5_512, [3]), (2, 5_513, [3, 4]), (3, 0, [4]),
            (4, 0, []), (4, .max, []),
        ]

        @Test(
            "Bytes bound a page of history, but the first entry is given however large",
            arguments: StoreUnderTest.allCases)
        func historyByBytes(_ kind: StoreUnderTest) {
            let h = sized(kind)
            for (after, bytes, seqs) in Self.fitting {
                let page = h.history("c", "ann", after: after, bytes: bytes)
                #expect(page?.entries.map(\.seq) == seqs, "after \(after), \(bytes) bytes")
                let last = seqs.last ?? after
                #expect(page?.readThrough == last, "after \(after), \(bytes) bytes")
                #expect(page?.isComplete == (last == 4), "after \(after), \(bytes) bytes")
            }
        }

        @Test(
            "Bytes bound a range, but the first entry is given however large",
            arguments: StoreUnderTest.allCases)
        func rangeByBytes(_ kind: StoreUnderTest) {
            let h = sized(kind)
            for (after, bytes, seqs) in Self.fitting {
                let range = h.range("c", after: after, bytes: bytes)
                #expect(range.map(\.seq) == seqs, "after \(after), \(bytes) bytes")
            }
        }

        @Test(
            "Where both bounds hold the one that is reached first ends the read",
            arguments: StoreUnderTest.allCases)
        func entriesAndBytes(_ kind: StoreUnderTest) {
            let h = sized(kind)
            for (entries, bytes, seqs) in [
                (1, 812, [1]), (2, 811, [1]), (2, 812, [1, 2]), (2, 6_068, [1, 2]),
                (3, 6_067, [1, 2]), (3, 6_068, [1, 2, 3]),
            ] as [(Int, Int, [Seq])] {
                let page = h.history("c", "ann", limit: entries, bytes: bytes)
                #expect(page?.entries.map(\.seq) == seqs, "\(entries), \(bytes) bytes")
                #expect(page?.isComplete == false)
                let range = h.range("c", maximum: entries, bytes: bytes)
                #expect(range.map(\.seq) == seqs, "\(entries), \(bytes) bytes")
            }
        }

        @Test(
            "Pages of history bounded by bytes give the whole log, over the gap between two stays",
            arguments: StoreUnderTest.allCases, [1, 522, 523, 10_000])
        func historyPagesByBytes(_ kind: StoreUnderTest, _ bytes: Int) {
            let h = twice(kind)
            var seqs: [Seq] = []
            for _ in 0..<6 {
                guard let page = h.history("c", "bob", after: seqs.last ?? 0, bytes: bytes) else {
                    break
                }
                seqs += page.entries.map(\.seq)
                if page.isComplete { break }
            }
            #expect(seqs == [3, 4, 5, 8, 9])
        }

        @Test(
            "The bounds hold over all chats together, in the order asked",
            arguments: StoreUnderTest.allCases)
        func overChats(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            let chats = ["c", "d", "e", "f"] as [ChatID]
            h.submit(chats.map { h.creation($0, ["ann"]) })
            for chat in ["c", "d", "d", "f"] as [ChatID] { h.send(chat, "ann") }
            let pages = h.logs(
                "ann", chats.map { ReadLogs.From(chat: $0, after: 0) }, entries: 2)
            #expect(pages.map(\.chat) == chats)
            #expect(pages.map { $0.entries.map(\.seq) } == [[1], [1], [], []])
            #expect(pages.map(\.isComplete) == [true, false, true, false])
            #expect(pages.map(\.readThrough) == [1, 1, 0, 0])
            let bytes = h.logs(
                "ann", chats.map { ReadLogs.From(chat: $0, after: 0) }, bytes: 261 + 261)
            #expect(bytes.map { $0.entries.map(\.seq) } == [[1], [1], [], []])
        }

        @Test("History is paged by its limit", arguments: StoreUnderTest.allCases)
        func history(_ kind: StoreUnderTest) {
            let h = twice(kind)
            let page = h.history("c", "bob", after: 3, limit: 3)
            #expect(page?.entries.map(\.seq) == [4, 5, 8])
            #expect(page?.readThrough == 8 && page?.isComplete == false && page?.access == .member)
            #expect(
                h.run(.readHistory(ReadHistory(chat: "none", user: "ann", after: 0, limit: 9)))
                    == .refused(.notFound))
        }

        @Test(
            "A range is whole, whoever may see it, and bounded", arguments: StoreUnderTest.allCases)
        func range(_ kind: StoreUnderTest) {
            let h = twice(kind)
            #expect(h.range("c").map(\.seq) == Array(1...9))
            #expect(h.range("c", after: 7).map(\.seq) == [8, 9])
            #expect(h.range("c", after: 2, maximum: 3).map(\.seq) == [3, 4, 5])
            #expect(h.range("c", after: 9) == [])
            #expect(h.range("c", after: .max) == [])
            #expect(h.range("c", after: -5, maximum: 1).map(\.seq) == [1])
            #expect(h.range("c", maximum: 0) == [])
            #expect(h.range("none") == [])
        }

        @Test(
            "A head is the last seq, 0 where there is no chat", arguments: StoreUnderTest.allCases)
        func heads(_ kind: StoreUnderTest) {
            let h = twice(kind)
            #expect(h.head("c") == 9)
            #expect(h.head("none") == 0)
        }

        @Test(
            "Reads see all writes of their batch, those after them too",
            arguments: StoreUnderTest.allCases)
        func readsAfterWrites(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            let outcomes = h.submit([
                .head("c"), h.creation("c", ["ann"]), .head("c"), h.message("c", "ann"),
                .listConversations("ann"),
            ])
            #expect(outcomes[0] == .head(1) && outcomes[2] == .head(1))
            guard case .conversations(let list) = outcomes[4] else { return }
            #expect(list.map(\.lastSeq) == [1])
        }

        @Test("An empty batch is committed", arguments: StoreUnderTest.allCases)
        func empty(_ kind: StoreUnderTest) {
            #expect(Harness(kind).submit([]).isEmpty)
        }

        @Test(
            "A probe of a healthy store says nothing and changes nothing",
            arguments: StoreUnderTest.allCases)
        func probe(_ kind: StoreUnderTest) {
            let h = twice(kind)
            var answers: [StoreFailure?] = []
            h.store.probe { answers.append($0) }
            h.database?.pump { !answers.isEmpty }
            #expect(answers == [nil])
            #expect(h.send("c", "ann") == 10)
        }
    }
}
