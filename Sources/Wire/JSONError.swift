/// Why a document was refused, and where.
///
/// A peer error: it is a value, it never ends more than the request that carried the document.
/// The text is static on purpose: nothing of the document is ever repeated into a log or an answer.
package struct JSONError: Error, Equatable, Sendable, CustomStringConvertible {
    package enum Kind: UInt8, Sendable, CaseIterable {
        case empty
        case byteOrderMark
        case tooLarge
        case tooDeep
        case tooManyNodes
        case unexpectedEnd
        case expectedValue
        case expectedKey
        case expectedColon
        case expectedCommaOrBrace
        case expectedCommaOrBracket
        case badLiteral
        case badNumber
        case controlCharacter
        case badEscape
        case loneSurrogate
        case invalidUTF8
        case duplicateKey
        case trailingBytes
    }

    package let kind: Kind

    /// Bytes from the start of the document to the first one that is wrong; the document's length
    /// when it ended too early; the second occurrence of a duplicate key.
    package let offset: Int

    @inline(never)
    init(_ kind: Kind, at offset: Int) {
        self.kind = kind
        self.offset = offset
    }

    package var description: String { "\(text) (at byte \(offset))" }

    /// What the sender has to change. Safe to send to the peer and to log.
    package var text: StaticString {
        switch kind {
        case .empty: "the document is empty; send one JSON value"
        case .byteOrderMark: "the document starts with a byte order mark; send UTF-8 without one"
        case .tooLarge: "the document is too large; send it in parts"
        case .tooDeep: "arrays and objects are nested too deeply; flatten the document"
        case .tooManyNodes: "the document has too many values and keys; send it in parts"
        case .unexpectedEnd: "the document ends inside a value; send all of it"
        case .expectedValue: "a JSON value must stand here"
        case .expectedKey: "a member name in double quotes must stand here"
        case .expectedColon: "a colon must follow the member name"
        case .expectedCommaOrBrace: "a comma or a closing brace must follow the member"
        case .expectedCommaOrBracket: "a comma or a closing bracket must follow the element"
        case .badLiteral: "only true, false and null may stand without quotes"
        case .badNumber:
            "a number is an optional minus, digits without a leading zero, fraction, exponent"
        case .controlCharacter: "write control characters inside a string as escapes"
        case .badEscape:
            "only \\\" \\\\ \\/ \\b \\f \\n \\r \\t and \\u with 4 hex digits are escapes"
        case .loneSurrogate: "half of a surrogate pair has no UTF-8 form; send both halves"
        case .invalidUTF8: "the string is not UTF-8; encode it again"
        case .duplicateKey: "a member name occurs twice in one object; send it once"
        case .trailingBytes: "something follows the value; send one JSON value a document"
        }
    }
}
