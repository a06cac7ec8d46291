import Basics

/// Draws a conversation over the whole of a terminal: the end of the transcript, a status line, the
/// line being typed. Pure: the same arguments give the same bytes.
///
/// Everything is drawn anew each time (4 KB for 80 × 24): the marks of messages far up change too,
/// and a person types and reads slowly.
package enum TerminalScreen {
    /// Sent once before the first frame: another screen, so that the shell's is left as it was.
    package static let enter = "\u{1B}[?1049h"
    /// Sent at the end, whatever the reason.
    package static let leave = "\u{1B}[0m\u{1B}[?25h\u{1B}[?1049l"

    package static func frame(
        _ model: ConnectModel, _ editor: LineEditor, columns: Int, rows: Int, now: Instant
    ) -> String {
        let columns = max(columns, 20)
        let rows = max(rows, 4)
        let input = inputRow(editor, columns: columns)
        let transcript = transcript(model, columns: columns, rows: rows - 2)
        // Hidden while drawing, so that the cursor does not flicker.
        var frame = "\u{1B}[?25l\u{1B}[H"
        for index in 0..<(rows - 2) {
            frame += index < transcript.count ? transcript[index] : ""
            frame += "\u{1B}[0m\u{1B}[K\r\n"
        }
        frame += "\u{1B}[7m" + statusRow(model, columns: columns, now: now) + "\u{1B}[0m\r\n"
        frame += input.text + "\u{1B}[K\u{1B}[\(rows);\(input.cursor + 1)H\u{1B}[?25h"
        return frame
    }

    // MARK: The transcript

    /// The last rows of the transcript, at most `rows`.
    static func transcript(_ model: ConnectModel, columns: Int, rows: Int) -> [String] {
        var shown: [String] = []
        for line in model.lines.reversed() {
            guard shown.count < rows else { break }
            shown.append(contentsOf: styled(line, of: model, columns: columns).reversed())
        }
        return shown.prefix(rows).reversed()
    }

    private static func styled(
        _ line: ConnectModel.Line, of model: ConnectModel, columns: Int
    ) -> [String] {
        switch line.content {
        case .own(let text, let delivery):
            var tail = "  \(delivery.mark)"
            if case .failed(let reason) = delivery {
                tail += " \(TerminalText.escaped(reason))"
            }
            let style =
                switch delivery {
                case .sending, .stored, .delivered: "\u{1B}[2m"
                case .read: "\u{1B}[36m"
                case .failed: "\u{1B}[31m"
                }
            let name = TerminalText.escaped(model.user)
            return wrapped(
                name, "\u{1B}[1;34m", ": \(TerminalText.escaped(text))", tail, style, columns)
        case .message(let from, let text):
            return wrapped(
                TerminalText.escaped(from), "\u{1B}[1;32m", ": \(TerminalText.escaped(text))", "",
                "", columns)
        case .notice(let text):
            return TerminalText.wrapped(
                "· " + TerminalText.escaped(text), columns: columns, indent: 2
            ).map { "\u{1B}[2m" + $0 }
        }
    }

    /// Wraps the plain text, then puts the styles in: styles take no columns.
    private static func wrapped(
        _ name: String, _ nameStyle: String, _ text: String, _ tail: String, _ tailStyle: String,
        _ columns: Int
    ) -> [String] {
        var rows = TerminalText.wrapped(name + text + tail, columns: columns, indent: 2)
        if rows[0].hasPrefix(name) {
            rows[0] = nameStyle + name + "\u{1B}[0m" + rows[0].dropFirst(name.count)
        }
        if !tail.isEmpty, let last = rows.last, last.hasSuffix(tail) {
            rows[rows.count - 1] = last.dropLast(tail.count) + tailStyle + tail
        }
        return rows
    }

    // MARK: Status and input

    static func statusRow(_ model: ConnectModel, columns: Int, now: Instant) -> String {
        let state =
            switch model.phase {
            case .offline(let retryAt) where retryAt <= now: "connecting"
            case .offline(let retryAt):
                "not connected, next attempt in "
                    + "\((retryAt.nanoseconds(since: now) + 999_999_999) / 1_000_000_000) s"
            case .joining: "connecting"
            case .replaying: "catching up"
            case .live: "connected"
            case .ended: "ended"
            }
        var text = " \(model.user) ↔ \(model.peer) · \(state)"
        if model.unsentCount > 0 { text += " · \(model.unsentCount) not sent yet" }
        if model.peerIsTyping { text += " · \(model.peer) is typing…" }
        return padded(TerminalText.escaped(text), columns)
    }

    private static func padded(_ text: String, _ columns: Int) -> String {
        var row = ""
        var used = 0
        for character in text {
            let width = TerminalText.width(character)
            guard used + width <= columns else { break }
            row.append(character)
            used += width
        }
        return row + String(repeating: " ", count: columns - used)
    }

    /// The part of the line around its cursor that fits, behind the prompt.
    static func inputRow(_ editor: LineEditor, columns: Int) -> (text: String, cursor: Int) {
        let room = columns - 3
        var before = ""
        var used = 0
        for character in editor.beforeCursor.reversed() {
            let width = TerminalText.width(character)
            guard used + width <= room else { break }
            before.insert(character, at: before.startIndex)
            used += width
        }
        let cursor = 2 + used
        var after = ""
        for character in editor.afterCursor {
            let width = TerminalText.width(character)
            guard used + width <= room else { break }
            after.append(character)
            used += width
        }
        return ("> " + before + after, cursor)
    }
}

/// The same conversation as plain lines, one an event, for pipes and logs.
package enum PlainLines {
    package static func text(of line: ConnectModel.Line, user: String) -> String {
        switch line.content {
        case .own(let text, let delivery):
            var row = "\(delivery.mark) \(user): \(text)"
            if case .failed(let reason) = delivery { row += " (\(reason))" }
            return TerminalText.escaped(row)
        case .message(let from, let text):
            return TerminalText.escaped("\(from): \(text)")
        case .notice(let text):
            return TerminalText.escaped("* \(text)")
        }
    }
}
