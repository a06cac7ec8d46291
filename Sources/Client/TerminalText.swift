/// Text from outside, made safe and measured for a terminal.
package enum TerminalText {
    /// `text` with everything escaped that could drive a terminal or fake a line: control
    /// characters (C0, DEL, C1), line and paragraph separators, and the marks that reorder text
    /// (bidi embeddings, overrides, isolates), as `\n` or `\u{1B}`.
    package static func escaped(_ text: String) -> String {
        guard text.unicodeScalars.contains(where: isDangerous) else { return text }
        var result = ""
        for scalar in text.unicodeScalars {
            if !isDangerous(scalar) {
                result.unicodeScalars.append(scalar)
            } else if scalar == "\n" {
                result += "\\n"
            } else if scalar == "\t" {
                result += "    "
            } else {
                result += "\\u{" + String(scalar.value, radix: 16, uppercase: true) + "}"
            }
        }
        return result
    }

    private static func isDangerous(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x00...0x1F, 0x7F...0x9F: true
        case 0x061C, 0x200E, 0x200F, 0x2028...0x202E, 0x2066...0x2069: true
        default: false
        }
    }

    /// The columns that a character takes: 0, 1 or 2 (East Asian Width W and F, emoji).
    package static func width(_ character: Character) -> Int {
        var width = 0
        for scalar in character.unicodeScalars {
            if scalar.value == 0xFE0F { return 2 }  // Emoji presentation of what precedes it.
            width = max(width, Self.width(scalar))
        }
        return width
    }

    package static func width(_ text: some StringProtocol) -> Int {
        text.reduce(0) { $0 + width($1) }
    }

    private static func width(_ scalar: Unicode.Scalar) -> Int {
        if scalar.isASCII { return 1 }
        switch scalar.value {
        case 0x1100...0x115F, 0x2E80...0x303E, 0x3041...0x33FF, 0x3400...0x4DBF, 0x4E00...0x9FFF,
            0xA000...0xA4CF, 0xAC00...0xD7A3, 0xF900...0xFAFF, 0xFE30...0xFE6F, 0xFF00...0xFF60,
            0xFFE0...0xFFE6, 0x20000...0x3FFFD:
            return 2
        default:
            break
        }
        if scalar.properties.isEmojiPresentation { return 2 }
        switch scalar.properties.generalCategory {
        case .nonspacingMark, .enclosingMark, .format: return 0
        default: return 1
        }
    }

    /// `text` in rows of at most `columns`, broken at spaces where possible.
    ///
    /// - Parameter indent: spaces before each row but the first.
    package static func wrapped(_ text: String, columns: Int, indent: Int = 0) -> [String] {
        let columns = max(columns, indent + 2)
        var rows: [String] = []
        var row = ""
        var used = 0
        /// The row as it was behind its last space, and what came after it.
        var lastSpace: (head: String, tail: String)?
        for character in text {
            let width = width(character)
            // Twice at most: what came after the last space may fill a row by itself.
            while used + width > columns, used > indent {
                if let (head, tail) = lastSpace {
                    rows.append(head)
                    row = String(repeating: " ", count: indent) + tail
                } else {
                    rows.append(row)
                    row = String(repeating: " ", count: indent)
                }
                used = Self.width(row)
                lastSpace = nil
            }
            row.append(character)
            used += width
            if character == " " {
                lastSpace = (row, "")
            } else {
                lastSpace?.tail.append(character)
            }
        }
        rows.append(row)
        return rows
    }
}
