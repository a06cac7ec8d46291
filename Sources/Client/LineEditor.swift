/// The line being typed, in a terminal in raw mode: bytes in, edits out. Pure.
///
/// Understands UTF-8, Backspace, Delete, Left, Right, Home, End, and Ctrl-A, B, C, D, E, F, H, K,
/// U, W. Other control characters and escape sequences are swallowed. The cursor moves by
/// characters as people see them (grapheme clusters). At most 200,000 bytes.
package struct LineEditor: Hashable, Sendable {
    package enum Outcome: Hashable, Sendable {
        /// Nothing to see.
        case none
        /// The text or the cursor changed.
        case changed
        /// Enter: the line, and the editor is empty again.
        case line(String)
        /// Ctrl-C.
        case interrupt
        /// Ctrl-D on an empty line.
        case endOfInput
    }

    package private(set) var beforeCursor = ""
    package private(set) var afterCursor = ""
    package var text: String { beforeCursor + afterCursor }
    package var isEmpty: Bool { beforeCursor.isEmpty && afterCursor.isEmpty }

    package static let maximumBytes = 200_000

    private enum Mode: Hashable, Sendable {
        case text
        /// After ESC.
        case escape
        /// After ESC [ or ESC O; the parameters so far.
        case sequence([UInt8])
    }

    private var mode = Mode.text
    private var partial: [UInt8] = []
    private var partialLength = 0

    package init() {}

    package mutating func feed(_ byte: UInt8) -> Outcome {
        switch mode {
        case .text:
            return byte < 0x20 || byte == 0x7F ? control(byte) : character(byte)
        case .escape:
            mode = byte == UInt8(ascii: "[") || byte == UInt8(ascii: "O") ? .sequence([]) : .text
            return .none
        case .sequence(let parameters):
            if (0x20...0x3F).contains(byte), parameters.count < 16 {
                mode = .sequence(parameters + [byte])
                return .none
            }
            mode = .text
            return sequence(parameters, byte)
        }
    }

    private mutating func character(_ byte: UInt8) -> Outcome {
        if byte & 0xC0 == 0x80 {
            // A continuation byte without its beginning says nothing.
            guard !partial.isEmpty else { return .none }
            partial.append(byte)
        } else {
            partial = [byte]
            partialLength = byte < 0x80 ? 1 : byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2
        }
        guard partial.count == partialLength else { return .none }
        let text = String(validating: partial, as: UTF8.self)
        partial = []
        guard let text, beforeCursor.utf8.count + afterCursor.utf8.count < Self.maximumBytes
        else { return .none }
        // C1 controls are no text either.
        guard !text.unicodeScalars.contains(where: { (0x80...0x9F).contains($0.value) }) else {
            return .none
        }
        beforeCursor += text
        return .changed
    }

    private mutating func control(_ byte: UInt8) -> Outcome {
        partial = []
        switch byte {
        case 0x0D, 0x0A:
            let line = text
            self = LineEditor()
            return .line(line)
        case 0x03: return .interrupt
        case 0x04: return isEmpty ? .endOfInput : deleteForward()
        case 0x08, 0x7F:
            guard !beforeCursor.isEmpty else { return .none }
            beforeCursor.removeLast()
            return .changed
        case 0x01: return moveToStart()
        case 0x05: return moveToEnd()
        case 0x02: return moveLeft()
        case 0x06: return moveRight()
        case 0x0B:
            afterCursor = ""
            return .changed
        case 0x15:
            beforeCursor = ""
            return .changed
        case 0x17:
            while beforeCursor.last == " " { beforeCursor.removeLast() }
            while let last = beforeCursor.last, last != " " { beforeCursor.removeLast() }
            return .changed
        case 0x1B:
            mode = .escape
            return .none
        default: return .none
        }
    }

    private mutating func sequence(_ parameters: [UInt8], _ final: UInt8) -> Outcome {
        switch final {
        case UInt8(ascii: "C"): return moveRight()
        case UInt8(ascii: "D"): return moveLeft()
        case UInt8(ascii: "H"): return moveToStart()
        case UInt8(ascii: "F"): return moveToEnd()
        case UInt8(ascii: "~"):
            switch parameters {
            case [UInt8(ascii: "3")]: return deleteForward()
            case [UInt8(ascii: "1")], [UInt8(ascii: "7")]: return moveToStart()
            case [UInt8(ascii: "4")], [UInt8(ascii: "8")]: return moveToEnd()
            default: return .none
            }
        default: return .none
        }
    }

    private mutating func deleteForward() -> Outcome {
        guard !afterCursor.isEmpty else { return .none }
        afterCursor.removeFirst()
        return .changed
    }

    private mutating func moveLeft() -> Outcome {
        guard let last = beforeCursor.popLast() else { return .none }
        afterCursor = String(last) + afterCursor
        return .changed
    }

    private mutating func moveRight() -> Outcome {
        guard !afterCursor.isEmpty else { return .none }
        beforeCursor.append(afterCursor.removeFirst())
        return .changed
    }

    private mutating func moveToStart() -> Outcome {
        afterCursor = text
        beforeCursor = ""
        return .changed
    }

    private mutating func moveToEnd() -> Outcome {
        beforeCursor = text
        afterCursor = ""
        return .changed
    }
}
