import Basics
import Testing

@testable import Client

@Suite("The line being typed")
struct LineEditorTests {
    /// An editor that can be fed inside an expectation.
    private final class Typist {
        var editor = LineEditor()

        func type(_ bytes: [UInt8]) -> [LineEditor.Outcome] {
            bytes.map { editor.feed($0) }.filter { $0 != .none }
        }
    }

    private func text(_ keys: String) -> String {
        let typist = Typist()
        _ = typist.type(Array(keys.utf8))
        return typist.editor.text
    }

    @Test("Characters of one to four bytes are entered whole")
    func characters() {
        #expect(text("aä漢👍") == "aä漢👍")
        let typist = Typist()
        #expect(typist.type([0xE6, 0xBC]) == [])
        #expect(typist.editor.isEmpty)
        #expect(typist.type([0xA2]) == [.changed])
        #expect(typist.editor.text == "漢")
    }

    @Test(
        "Backspace removes one character as people see it",
        arguments: [
            ("aä", "a"), ("a漢", "a"), ("ae\u{301}", "a"), ("a👩‍👩‍👧", "a"), ("a", ""), ("", ""),
        ])
    func backspace(before: String, after: String) {
        #expect(text(before + "\u{7F}") == after)
        #expect(text(before + "\u{08}") == after)
    }

    @Test(
        "The cursor moves, and text is entered and deleted at it",
        arguments: [
            ("ac\u{1B}[Db", "abc"), ("bc\u{01}a", "abc"), ("bc\u{1B}[Ha\u{1B}[Fd", "abcd"),
            ("abX\u{1B}[D\u{1B}[3~c", "abc"), ("abXY\u{1B}OD\u{1B}OD\u{0B}c", "abc"),
            ("a\u{1B}[D\u{1B}[D\u{1B}[C\u{1B}[Cb", "ab"), ("XXX\u{15}abc", "abc"),
            ("abc  def \u{17}", "abc  "), ("ab\u{05}c\u{06}\u{02}\u{04}", "ab"),
        ])
    func editing(keys: String, result: String) {
        #expect(text(keys) == result)
    }

    @Test("Enter gives the line and empties the editor", arguments: ["\r", "\n"])
    func enter(key: String) {
        let typist = Typist()
        #expect(
            typist.type(Array(("ab" + key).utf8)) == [.changed, .changed, .line("ab")])
        #expect(typist.editor.isEmpty)
    }

    @Test("Ctrl-C interrupts; Ctrl-D ends an empty line only")
    func ends() {
        let typist = Typist()
        let keys = [0x04, UInt8(ascii: "a"), 0x04, 0x03]
        #expect(typist.type(keys) == [.endOfInput, .changed, .interrupt])
    }

    @Test(
        "Broken UTF-8, other controls and unknown sequences leave no trace",
        arguments: [
            [0x80], [0xFF], [0xC3], [0xED, 0xA0, 0x80], [0xC2, 0x9B], [0x07], [0x1A],
            [0x1B, 0x5B, 0x41], [0x1B, 0x5B, 0x31, 0x3B, 0x35, 0x41], [0x1B, 0x78],
        ] as [[UInt8]])
    func noise(bytes: [UInt8]) {
        let typist = Typist()
        #expect(typist.type(bytes) == [])
        #expect(typist.editor.isEmpty)
        #expect(typist.type([UInt8(ascii: "a")]) == [.changed])
        #expect(typist.editor.text == "a")
    }

    @Test("A line grows up to its bound and no further")
    func bound() {
        let typist = Typist()
        for _ in 0..<(LineEditor.maximumBytes + 10) { _ = typist.editor.feed(UInt8(ascii: "a")) }
        #expect(typist.editor.text.utf8.count == LineEditor.maximumBytes)
    }
}

@Suite("Text on the terminal")
struct TerminalTextTests {
    @Test(
        "What could drive a terminal is escaped, what is text is not",
        arguments: [
            ("a\u{1B}[31m", "a\\u{1B}[31m"), ("a\r\nb", "a\\u{D}\\nb"),
            ("\u{07}\u{7F}", "\\u{7}\\u{7F}"),
            ("\u{9B}2J", "\\u{9B}2J"), ("a\u{202E}b", "a\\u{202E}b"), ("a\u{2066}b", "a\\u{2066}b"),
            ("a\u{2028}b", "a\\u{2028}b"), ("ä 漢 👩‍👩‍👧", "ä 漢 👩‍👩‍👧"), ("", ""),
        ])
    func escaped(text: String, expected: String) {
        #expect(TerminalText.escaped(text) == expected)
    }

    @Test("No control character comes through, whichever it is")
    func noControls() {
        let all = (0...0xFF).compactMap { UnicodeScalar($0) }.map { String(Character($0)) }
        let result = TerminalText.escaped(all.joined())
        #expect(
            result.unicodeScalars.allSatisfy {
                $0.value >= 0x20 && !(0x7F...0x9F).contains($0.value)
            })
    }

    @Test(
        "Characters take 0, 1 or 2 columns",
        arguments: [
            ("a", 1), ("ä", 1), ("e\u{301}", 1), ("漢", 2), ("한", 2), ("👍", 2), ("👩‍👩‍👧", 2),
            ("☀\u{FE0F}", 2), ("✓", 1), ("\u{200D}", 0),
        ] as [(Character, Int)])
    func widths(character: Character, width: Int) {
        #expect(TerminalText.width(character) == width)
    }

    @Test("Rows break at spaces, long words anywhere, wide characters whole")
    func wrapped() {
        #expect(TerminalText.wrapped("one two three", columns: 8) == ["one two ", "three"])
        #expect(TerminalText.wrapped("abcdefgh", columns: 4) == ["abcd", "efgh"])
        #expect(TerminalText.wrapped("漢漢漢", columns: 5) == ["漢漢", "漢"])
        #expect(TerminalText.wrapped("aa bb cc", columns: 6, indent: 2) == ["aa bb ", "  cc"])
        #expect(TerminalText.wrapped("", columns: 5) == [""])
    }

    @Test("No row is wider than the terminal, and no character is lost", arguments: 4...30)
    func wrapBounds(columns: Int) {
        let text = "the quick 漢字漢字 brown👍fox jumpsoverthelazydog  and  ünïcödé  "
        let rows = TerminalText.wrapped(text, columns: columns, indent: 2)
        #expect(rows.allSatisfy { TerminalText.width($0) <= columns })
        let joined = rows.enumerated().map { $0 == 0 ? $1 : String($1.dropFirst(2)) }.joined()
        #expect(joined == text)
    }
}

@Suite("The screen of the terminal client")
struct TerminalScreenTests {
    /// The rows of a frame without its styles.
    private func rows(_ frame: String) -> [String] {
        var plain = ""
        var rest = Substring(frame)
        while let escape = rest.firstIndex(of: "\u{1B}") {
            plain += rest[..<escape]
            let sequence = rest[escape...].dropFirst(2)
            guard let final = sequence.firstIndex(where: { $0.isLetter }) else { break }
            rest = sequence[sequence.index(after: final)...]
        }
        plain += rest
        return plain.split(separator: "\r\n", omittingEmptySubsequences: false).map(String.init)
    }

    @Test("A frame has as many rows as the terminal, the newest lines above the status line")
    func layout() {
        let chat = Conversation.live()
        for seq in 1...10 as ClosedRange<Int64> {
            chat.receive(Conversation.message(seq, "m\(seq)"))
        }
        chat.receive(.typing(chat: "c", user: "bob", isTyping: true))
        var editor = LineEditor()
        for byte in "hey".utf8 { _ = editor.feed(byte) }
        let frame = TerminalScreen.frame(chat.model, editor, columns: 60, rows: 6, now: chat.now)
        let rows = rows(frame)
        #expect(rows.prefix(4) == ["bob: m7", "bob: m8", "bob: m9", "bob: m10"])
        #expect(rows[4].hasPrefix(" alice ↔ bob · connected · bob is typing…"))
        #expect(TerminalText.width(rows[4]) == 60)
        #expect(rows[5] == "> hey")
        #expect(frame.hasSuffix("\u{1B}[6;6H\u{1B}[?25h"))
    }

    @Test("Marks stand behind the user's messages")
    func marks() {
        let chat = Conversation.live()
        let frame = chat.send("hello")
        func row() -> String {
            rows(
                TerminalScreen.frame(
                    chat.model, LineEditor(), columns: 60, rows: 4, now: chat.now))[0]
        }
        #expect(row() == "alice: hello  …")
        chat.receive(.ack(id: .number(frame?.id ?? -1), Conversation.ok(seq: 1)))
        #expect(row() == "alice: hello  ✓")
        chat.receive(Conversation.receipt(read: 1))
        #expect(row() == "alice: hello  ✓✓ read")
    }

    @Test("A peer's control characters never reach the terminal")
    func hostile() {
        let chat = Conversation.live()
        chat.receive(Conversation.message(1, "\u{1B}[2J\u{1B}]0;title\u{07}\r\n\u{9B}31m"))
        let frame = TerminalScreen.frame(
            chat.model, LineEditor(), columns: 60, rows: 4, now: chat.now)
        #expect(!frame.contains("\u{1B}[2J"))
        #expect(!frame.contains("\u{1B}]"))
        #expect(!frame.unicodeScalars.contains { $0 == "\u{07}" || $0 == "\u{9B}" })
        #expect(rows(frame).count == 4)
    }

    @Test("A line longer than the terminal shows the part around its cursor")
    func longInput() {
        var editor = LineEditor()
        for byte in String(repeating: "a", count: 50).utf8 { _ = editor.feed(byte) }
        let end = TerminalScreen.inputRow(editor, columns: 20)
        #expect(end.cursor == 19)
        #expect(end.text == "> " + String(repeating: "a", count: 17))
        _ = editor.feed(0x01)
        let start = TerminalScreen.inputRow(editor, columns: 20)
        #expect(start.cursor == 2)
        #expect(start.text == "> " + String(repeating: "a", count: 17))
    }

    @Test("A terminal that is too small is drawn as 20 by 4", arguments: [0, 1, 19])
    func tiny(columns: Int) {
        let chat = Conversation.live()
        let frame = TerminalScreen.frame(
            chat.model, LineEditor(), columns: columns, rows: columns, now: chat.now)
        #expect(rows(frame).count == max(4, columns))
    }
}
