import Basics

/// The rule that ids of users, chats, devices and messages share: opaque text of 1–128 UTF-8 bytes
/// without control characters. Existing systems use UUIDs and names like `conv-123`.
package enum OpaqueIdentifier {
    package static let maximumBytes = 128

    package static func isValid(_ text: String) -> Bool {
        let count = text.utf8.count
        guard count >= 1, count <= maximumBytes else { return false }
        var previous: UInt8 = 0
        for byte in text.utf8 {
            if byte < 0x20 || byte == 0x7F { return false }
            // U+0080…U+009F, the C1 controls, are C2 80 … C2 9F in UTF-8.
            if previous == 0xC2, byte <= 0x9F { return false }
            previous = byte
        }
        return true
    }
}

package struct UserID: Hashable, Sendable {
    package let text: String
    /// nil where `text` breaks the rule of `OpaqueIdentifier`.
    package init?(_ text: String) {
        guard OpaqueIdentifier.isValid(text) else { return nil }
        self.text = text
    }
    /// For text that has passed the rule before: a store's row, a literal of ours.
    package init(trusted text: String) { self.text = text }

    package static func == (a: Self, b: Self) -> Bool {
        OpaqueIdentifier.areEqual(a.text, b.text)
    }
    package func hash(into hasher: inout Hasher) { OpaqueIdentifier.hash(text, into: &hasher) }
}

package struct ChatID: Hashable, Sendable {
    package let text: String
    package init?(_ text: String) {
        guard OpaqueIdentifier.isValid(text) else { return nil }
        self.text = text
    }
    package init(trusted text: String) { self.text = text }

    package static func == (a: Self, b: Self) -> Bool {
        OpaqueIdentifier.areEqual(a.text, b.text)
    }
    package func hash(into hasher: inout Hasher) { OpaqueIdentifier.hash(text, into: &hasher) }
}

package struct DeviceID: Hashable, Sendable {
    package let text: String
    package init?(_ text: String) {
        guard OpaqueIdentifier.isValid(text) else { return nil }
        self.text = text
    }
    package init(trusted text: String) { self.text = text }

    package static func == (a: Self, b: Self) -> Bool {
        OpaqueIdentifier.areEqual(a.text, b.text)
    }
    package func hash(into hasher: inout Hasher) { OpaqueIdentifier.hash(text, into: &hasher) }
}

package struct MessageID: Hashable, Sendable {
    package let text: String
    package init?(_ text: String) {
        guard OpaqueIdentifier.isValid(text) else { return nil }
        self.text = text
    }
    package init(trusted text: String) { self.text = text }

    package static func == (a: Self, b: Self) -> Bool {
        OpaqueIdentifier.areEqual(a.text, b.text)
    }
    package func hash(into hasher: inout Hasher) { OpaqueIdentifier.hash(text, into: &hasher) }
}

/// What backends publish on and clients subscribe to: `job:` and an id by the rule of
/// `OpaqueIdentifier`. Other kinds do not exist yet. It is also the channel's public name on Redis.
package struct TopicName: Hashable, Sendable {
    private static let prefix = "job:"

    package let text: String
    /// nil where `text` does not begin with `job:`, or what follows breaks the rule.
    package init?(_ text: String) {
        let id = text.utf8.dropFirst(Self.prefix.utf8.count)
        guard text.utf8.starts(with: Self.prefix.utf8),
            OpaqueIdentifier.isValid(String(Substring(id)))
        else { return nil }
        self.text = text
    }

    package static func == (a: Self, b: Self) -> Bool {
        OpaqueIdentifier.areEqual(a.text, b.text)
    }
    package func hash(into hasher: inout Hasher) { OpaqueIdentifier.hash(text, into: &hasher) }
}

extension OpaqueIdentifier {
    /// Byte for byte. `String` calls the two spellings of "é" equal; the stores do not, and one
    /// user must not be taken for another (P13).
    static func areEqual(_ a: String, _ b: String) -> Bool {
        let (left, right) = (a.utf8.span, b.utf8.span)
        let count = left.count
        guard count == right.count else { return false }
        // Eight bytes at a time: `elementsEqual` takes 70 instructions a byte.
        let (leftWords, rightWords) = unsafe (left.bytes, right.bytes)
        var offset = 0
        while offset &+ 8 <= count {
            // In bounds by the line above; every bit pattern is a UInt64.
            let isSame =
                unsafe leftWords.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self)
                == rightWords.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self)
            if !isSame { return false }
            offset &+= 8
        }
        while offset < count {
            if left[offset] != right[offset] { return false }
            offset &+= 1
        }
        return true
    }

    static func hash(_ text: String, into hasher: inout Hasher) {
        var text = text
        text.withUTF8 { unsafe hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    }
}

/// The position of an entry in its chat's log: 1, 2, 3, … without a gap. 0 is "before the first".
package typealias Seq = Int64
