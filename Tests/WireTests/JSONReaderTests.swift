import Testing
import Wire

@Suite("JSONReader: the grammar of RFC 8259")
struct JSONReaderGrammarTests {
    @Test(
        "A document that RFC 8259 allows is accepted",
        arguments: [
            "null", "true", "false", "0", "-0", "1", "-1", "10", "1.5", "-1.5", "0.0", "1e3", "1E3",
            "1e+3", "1e-3", "0e0", "1.5E-300", "123456789012345678901234567890", "1e400",
            #""""#, #""a""#, #""a b""#, #""\"\\\/\b\f\n\r\t""#, #""\u0000""#, #""\u00e9""#,
            #""\uD83D\uDE00""#, #""\ud83d\ude00""#, #""\uFFFF""#, #""\uDBFF\uDFFF""#, #""é中😀""#,
            "\"\u{7F}\"", "\"\u{2028}\u{2029}\"", "\"\u{FEFF}\"", #""\uD7FF\uE000""#,
            "[]", "[ ]", "[1]", "[1,2]", "[ 1 , 2 ]", "[[]]", "[[],[]]", "{}", "{ }",
            #"{"a":1}"#, #"{"a":1,"b":2}"#, #"{ "a" : 1 , "b" : [ ] }"#, #"{"":0}"#,
            #"{"a":{"a":{"a":[]}}}"#, " 1", "1 ", "\t\n\r 1\t\n\r ", "[1\n]",
            #"{"a":1,"A":2,"aa":3}"#, #"[{"a":1},{"a":1}]"#, #"{"a":{"a":1}}"#,
        ])
    func accepts(_ document: String) {
        #expect(refusal(of: document) == nil)
    }

    @Test(
        "A malformed document is refused with its kind and the offset of the first wrong byte",
        arguments: [
            ("", .empty, 0), (" ", .unexpectedEnd, 1), ("\u{FEFF}1", .byteOrderMark, 0),
            ("nul", .badLiteral, 0), ("nulL", .badLiteral, 0), ("True", .expectedValue, 0),
            ("tru", .badLiteral, 0), ("falsy", .badLiteral, 0), ("NaN", .expectedValue, 0),
            ("Infinity", .expectedValue, 0), ("-Infinity", .badNumber, 1),
            ("nullx", .trailingBytes, 4),
            ("+1", .expectedValue, 0), ("01", .badNumber, 1), ("-01", .badNumber, 2),
            ("00", .badNumber, 1), ("-", .unexpectedEnd, 1), ("--1", .badNumber, 1),
            ("1.", .unexpectedEnd, 2), (".5", .expectedValue, 0), ("1.e3", .badNumber, 2),
            ("1e", .unexpectedEnd, 2), ("1e+", .unexpectedEnd, 3), ("1ex", .badNumber, 2),
            ("1.5.5", .trailingBytes, 3), ("0x10", .trailingBytes, 1), ("1_000", .trailingBytes, 1),
            ("1 2", .trailingBytes, 2), ("[] []", .trailingBytes, 3), ("1,", .trailingBytes, 1),
            ("\"", .unexpectedEnd, 1), ("\"abc", .unexpectedEnd, 4), ("'a'", .expectedValue, 0),
            ("\"a\nb\"", .controlCharacter, 2), ("\"\u{0}\"", .controlCharacter, 1),
            ("\"12345678\u{1F}\"", .controlCharacter, 9), ("\"\t\"", .controlCharacter, 1),
            (#""\x""#, .badEscape, 1), (#""\'""#, .badEscape, 1), (#""\U0041""#, .badEscape, 1),
            (#""\u12G4""#, .badEscape, 1), (#""\u+123""#, .badEscape, 1),
            (#""\u123"#, .unexpectedEnd, 6),
            (#""\u12"x""#, .badEscape, 1), ("\"\\", .unexpectedEnd, 2), (#""\"#, .unexpectedEnd, 2),
            (#""\uD800""#, .loneSurrogate, 1), (#""\uDC00""#, .loneSurrogate, 1),
            (#""\uDBFFx""#, .loneSurrogate, 1), (#""\uD800\u0041""#, .loneSurrogate, 1),
            (#""\uD800\uD800""#, .loneSurrogate, 1), (#""\uDC00\uD800""#, .loneSurrogate, 1),
            (#""\uD800\n""#, .loneSurrogate, 1), (#""a\uDFFF""#, .loneSurrogate, 2),
            ("[", .unexpectedEnd, 1), ("[1", .unexpectedEnd, 2), ("[1,", .unexpectedEnd, 3),
            ("[1,]", .expectedValue, 3), ("[,1]", .expectedValue, 1),
            ("[1 2]", .expectedCommaOrBracket, 3),
            ("[1}", .expectedCommaOrBracket, 2), ("]", .expectedValue, 0),
            ("[1]]", .trailingBytes, 3),
            ("{", .unexpectedEnd, 1), (#"{"a""#, .unexpectedEnd, 4), (#"{"a":"#, .unexpectedEnd, 5),
            (#"{"a":1"#, .unexpectedEnd, 6), (#"{"a":1,"#, .unexpectedEnd, 7),
            (#"{"a":1,}"#, .expectedKey, 7), ("{,}", .expectedKey, 1), ("{1:2}", .expectedKey, 1),
            ("{a:1}", .expectedKey, 1), (#"{"a" 1}"#, .expectedColon, 5),
            (#"{"a"}"#, .expectedColon, 4),
            (#"{"a"::1}"#, .expectedValue, 5), (#"{"a":}"#, .expectedValue, 5),
            ("{null:1}", .expectedKey, 1),
            (#"{"a":1]"#, .expectedCommaOrBrace, 6), (#"{"a":1 "b":2}"#, .expectedCommaOrBrace, 7),
            ("{}}", .trailingBytes, 2), ("}", .expectedValue, 0), ("/* c */1", .expectedValue, 0),
            ("[1,/**/2]", .expectedValue, 3), ("\u{A0}1", .expectedValue, 0),
            ("\u{B}1", .expectedValue, 0),
            (#"{"a":1,"a":1}"#, .duplicateKey, 7), (#"{"a":1,"b":2,"a":3}"#, .duplicateKey, 13),
            (#"{"a":1,"\u0061":1}"#, .duplicateKey, 7), (#"{"\u0061":1,"a":1}"#, .duplicateKey, 12),
            (#"{"":1,"":1}"#, .duplicateKey, 6), (#"[{"x":{"k":0,"k":0}}]"#, .duplicateKey, 13),
            (#"{"\ud83d\ude00":1,"😀":1}"#, .duplicateKey, 18),
        ] as [(String, JSONError.Kind, Int)])
    func refuses(_ document: String, _ kind: JSONError.Kind, _ offset: Int) {
        let error = refusal(of: document)
        #expect(error?.kind == kind)
        #expect(error?.offset == offset)
    }

    @Test(
        "Only well-formed UTF-8 is accepted in strings (Unicode table 3-7, each range's ends)",
        arguments: [
            ([0xC2, 0x80], true), ([0xDF, 0xBF], true), ([0xE0, 0xA0, 0x80], true),
            ([0xE1, 0x80, 0x80], true), ([0xEC, 0xBF, 0xBF], true), ([0xED, 0x9F, 0xBF], true),
            ([0xEE, 0x80, 0x80], true), ([0xEF, 0xBF, 0xBF], true),
            ([0xF0, 0x90, 0x80, 0x80], true),
            ([0xF3, 0xBF, 0xBF, 0xBF], true), ([0xF4, 0x8F, 0xBF, 0xBF], true),
            ([0x80], false), ([0xBF], false), ([0xC0, 0x80], false), ([0xC1, 0xBF], false),
            ([0xC2], false), ([0xC2, 0x7F], false), ([0xC2, 0xC0], false),
            ([0xE0, 0x9F, 0xBF], false),
            ([0xE0, 0xA0], false), ([0xE1, 0x80, 0x7F], false), ([0xE1, 0x80, 0xC0], false),
            ([0xED, 0xA0, 0x80], false), ([0xED, 0xBF, 0xBF], false),
            ([0xF0, 0x8F, 0xBF, 0xBF], false),
            ([0xF0, 0x90, 0x80], false), ([0xF1, 0x80, 0x80, 0x7F], false),
            ([0xF1, 0x80, 0x7F, 0x80], false), ([0xF4, 0x90, 0x80, 0x80], false),
            ([0xF5, 0x80, 0x80, 0x80], false), ([0xFF], false), ([0xFE], false),
        ] as [([UInt8], Bool)])
    func utf8(_ sequence: [UInt8], _ isValid: Bool) {
        // Every alignment against the eight-byte words, with and without text behind.
        for before in 0...17 {
            for after in [0, 1, 9] {
                let text =
                    [UInt8](repeating: 0x61, count: before) + sequence
                    + [UInt8](repeating: 0x62, count: after)
                let error = refusal(of: [0x22] + text + [0x22])
                #expect((error == nil) == isValid, "\(sequence) after \(before) bytes")
                if !isValid {
                    #expect(error?.kind == .invalidUTF8)
                    #expect(error?.offset == before + 1)
                }
            }
        }
    }

    @Test("Every byte that ends a clean run is seen at every alignment")
    func specialBytes() {
        for byte in UInt8.min...UInt8.max {
            for before in 0...24 {
                let text = [UInt8](repeating: 0x61, count: before) + [byte]
                let document = [0x22] + text + [UInt8](repeating: 0x7A, count: 12) + [0x22]
                let kind = refusal(of: document)?.kind
                switch byte {
                case 0..<0x20: #expect(kind == .controlCharacter)
                case 0x22: #expect(kind == .trailingBytes)
                case 0x5C: #expect(kind == .badEscape)
                case 0x80...: #expect(kind == .invalidUTF8)
                default: #expect(kind == nil)
                }
            }
        }
    }

    @Test("A document cut off anywhere is refused at its end or at the value that was cut")
    func prefixes() {
        let document = Array(
            #"{"type":"message.send","id":17,"payload":{"a":[1.5e3,true,null,"\u00e9é😀"],"b":{}}}"#
                .utf8)
        #expect(refusal(of: document) == nil)
        for count in 0..<document.count {
            #expect(refusal(of: Array(document[..<count])) != nil, "the first \(count) bytes")
        }
    }

    @Test("Every kind of error has a text that says what to do, and the description has the offset")
    func texts() {
        let documents = [
            "", "\u{FEFF}1", "[", "[1,]", "{1:2}", #"{"a"}"#, "[1 2]", #"{"a":1]"#, "nul", "01",
        ]
        let texts = documents.compactMap { refusal(of: $0) }.map { "\($0.text)" }
        #expect(Set(texts).count == documents.count)
        #expect(refusal(of: "[1,]")?.description == "a JSON value must stand here (at byte 3)")
    }
}

@Suite("JSONReader: bounds")
struct JSONReaderBoundTests {
    @Test("Nesting is accepted up to the limit and refused one deeper", arguments: [1, 2, 31, 32])
    func depth(_ limit: Int) {
        for pair in [("[", "]"), (#"{"a":"#, "}")] {
            for depth in [limit - 1, limit, limit + 1] {
                let inner = pair.0 == "[" ? "" : "1"
                let document =
                    String(repeating: pair.0, count: depth) + (depth == 0 ? "1" : inner)
                    + String(repeating: pair.1, count: depth)
                let error = refusal(of: Array(document.utf8), depth: limit)
                #expect(error?.kind == (depth > limit ? .tooDeep : nil), "\(document)")
                if let error { #expect(error.offset == limit * pair.0.utf8.count) }
            }
        }
    }

    @Test("The default nesting limit is 32")
    func defaultDepth() {
        func nested(_ depth: Int) -> String {
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        #expect(refusal(of: nested(32)) == nil)
        #expect(refusal(of: nested(33))?.kind == .tooDeep)
    }

    @Test("Depth counts what is open, not what was closed")
    func depthOfSiblings() {
        #expect(
            refusal(of: "[" + [String](repeating: "[[]]", count: 40).joined(separator: ",") + "]")
                == nil)
    }

    @Test("Entries are accepted up to the limit and refused one above; a member counts two")
    func nodes() {
        for limit in [1, 2, 3, 16, 255, 256, 257, 16_384] {
            for count in [limit - 1, limit, limit + 1] where count >= 1 {
                let array =
                    "[" + [String](repeating: "1", count: count - 1).joined(separator: ",") + "]"
                #expect(
                    refusal(of: Array(array.utf8), nodes: limit)?.kind
                        == (count > limit ? .tooManyNodes : nil), "\(count) of \(limit)")
            }
        }
        #expect(refusal(of: Array(#"{"a":1}"#.utf8), nodes: 3) == nil)
        #expect(refusal(of: Array(#"{"a":1}"#.utf8), nodes: 2)?.kind == .tooManyNodes)
        #expect(refusal(of: Array(#"{"a":1}"#.utf8), nodes: 1)?.kind == .tooManyNodes)
    }

    @Test("A reader that refused a document reads the next one, and keeps nothing of it")
    func reuse() throws {
        var reader = JSONReader()
        let long = Array(
            ("[" + [String](repeating: "1", count: 900).joined(separator: ",") + "]").utf8)
        let short = Array(#"{"a":[2]}"#.utf8)
        for _ in 0..<3 {
            let array = try reader.parse(long.span)
            let arrayCount = reader.count(array)
            #expect(arrayCount == 900)
            var error: JSONError?
            do throws(JSONError) { try reader.parse([0x5B].span) } catch let refused {
                error = refused
            }
            #expect(error?.kind == .unexpectedEnd)
            let object = try reader.parse(short.span)
            let objectCount = reader.count(object)
            #expect(objectCount == 1)
            let inner = reader.member(object, "a", in: short.span)
            let innerCount = inner.map { reader.count($0) }
            #expect(innerCount == 1)
        }
    }

    @Test(
        "Duplicates are found among few and many keys, wherever they stand",
        arguments: [2, 7, 8, 9, 16, 17, 500])
    func duplicates(_ count: Int) {
        func object(_ names: [String]) -> String {
            "{" + names.map { "\"\($0)\":0" }.joined(separator: ",") + "}"
        }
        for style in 0..<3 {
            let names = (0..<count).map { index in
                switch style {
                case 0: "k\(index)"
                case 1: "a long name with a common start \(1_000 + index)"
                default: "\\u006b\(index)\\n"
                }
            }
            #expect(refusal(of: object(names)) == nil)
            for position in [1, count / 2, count - 1] where position > 0 {
                var twice = names
                twice[position] = names[0]
                #expect(refusal(of: object(twice))?.kind == .duplicateKey)
                if style == 0 {
                    twice[position] = "\\u006B0"
                    #expect(refusal(of: object(twice))?.kind == .duplicateKey)
                }
            }
        }
    }
}

@Suite("JSONReader: looking values up")
struct JSONReaderValueTests {
    @Test("An envelope gives its members by name, whatever their order")
    func envelope() throws {
        let document = try Document(
            #"{"type":"message.send","id":17,"payload":{"chatId":"c","n":null,"t":true,"f":false}}"#
        )
        let type = try #require(document.member("type"))
        #expect(document.string(type) == "message.send")
        #expect(document.stringEquals(type, "message.send"))
        #expect(!document.stringEquals(type, "message.senx"))
        #expect(!document.stringEquals(type, "message.sen"))
        #expect(try document.integer(#require(document.member("id"))) == 17)
        let payload = try #require(document.member("payload"))
        #expect(try document.string(#require(document.member(payload, "chatId"))) == "c")
        #expect(try document.isNull(#require(document.member(payload, "n"))))
        #expect(try document.bool(#require(document.member(payload, "t"))) == true)
        #expect(try document.bool(#require(document.member(payload, "f"))) == false)
        #expect(document.member(payload, "type") == nil)
        #expect(document.member("payloa") == nil)
        #expect(document.member("payload2") == nil)
        #expect(document.member(type, "x") == nil)
    }

    @Test("A key that is written with escapes is found by its decoded name")
    func escapedKey() throws {
        let document = try Document(#"{"\u0074ype":1,"a\/b":2,"é":3,"\u00e9x":4,"":5,"k":6}"#)
        #expect(try document.integer(#require(document.member("type"))) == 1)
        #expect(try document.integer(#require(document.member("a/b"))) == 2)
        #expect(try document.integer(#require(document.member("é"))) == 3)
        #expect(try document.integer(#require(document.member("éx"))) == 4)
        #expect(try document.integer(#require(document.member(""))) == 5)
        #expect(try document.integer(#require(document.member("k"))) == 6)
        #expect(document.member("\\u0074ype") == nil)
    }

    @Test(
        "Strings decode to their UTF-8, and their length is known without decoding",
        arguments: [
            (#""""#, ""), (#""abc""#, "abc"), (#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{C}\n\r\t"),
            (#""\u0041\u00e9\u4e2d""#, "Aé中"), (#""\uD83D\ude00!""#, "😀!"), (#""é中😀""#, "é中😀"),
            (#""\u0000a""#, "\u{0}a"), (#""\uFFFF\uE000\uD7FF""#, "\u{FFFF}\u{E000}\u{D7FF}"),
            (#""\uDBFF\uDFFF""#, "\u{10FFFF}"),
            (#""\u007F\u0080\u07ff\u0800""#, "\u{7F}\u{80}\u{7FF}\u{800}"),
        ])
    func strings(_ source: String, _ value: String) throws {
        let document = try Document(source)
        #expect(document.string(document.root) == value)
        #expect(document.decoded(document.root) == Array(value.utf8))
        #expect(document.utf8Count(document.root) == value.utf8.count)
        #expect(document.source(document.root) == source)
        var output: [UInt8] = [1]
        #expect(document.append(document.root, to: &output))
        #expect(output == [1] + Array(value.utf8))
        let plain = document.plainRange(document.root)
        #expect((plain == nil) == source.contains("\\"))
        if let plain { #expect(document.text(of: plain) == value) }
    }

    @Test(
        "Only integers that an Int64 holds are integers",
        arguments: [
            ("0", 0), ("-0", 0), ("7", 7), ("-7", -7), ("9223372036854775807", .max),
            ("9223372036854775808", nil), ("-9223372036854775808", .min),
            ("-9223372036854775809", nil), ("9999999999999999999", nil),
            ("18446744073709551616", nil), ("99999999999999999999", nil),
            ("-99999999999999999999", nil), ("1e3", nil), ("1.0", nil), ("1E0", nil), ("0.5", nil),
            ("\"1\"", nil), ("true", nil), ("null", nil), ("[]", nil),
        ] as [(String, Int64?)])
    func integers(_ source: String, _ value: Int64?) throws {
        let document = try Document(source)
        #expect(document.integer(document.root) == value)
    }

    @Test(
        "Doubles are the nearest ones, and nil beyond their range",
        arguments: [
            ("0", 0), ("1", 1), ("-1.5", -1.5), ("1e3", 1_000), ("1E-3", 0.001), ("0.1", 0.1),
            ("1.7976931348623157e308", .greatestFiniteMagnitude), ("1.8e308", nil), ("-1e400", nil),
            ("5e-324", .leastNonzeroMagnitude), ("1e-400", 0),
            ("9007199254740993", 9_007_199_254_740_992),
            ("\"1\"", nil), ("true", nil), ("{}", nil),
        ] as [(String, Double?)])
    func doubles(_ source: String, _ value: Double?) throws {
        let document = try Document(source)
        #expect(document.double(document.root) == value)
    }

    @Test("A number of 1,024 bytes is a Double, one of 1,025 is not")
    func longNumbers() throws {
        let accepted = try Document("0." + String(repeating: "5", count: 1_022))
        #expect(accepted.double(accepted.root) == 5.0 / 9)
        let refused = try Document("0." + String(repeating: "5", count: 1_023))
        #expect(refused.double(refused.root) == nil)
    }

    @Test("Members and elements come in document order, subtrees skipped")
    func iteration() throws {
        let document = try Document(#"{"a":[1,[2,3],{"x":4}],"b":{},"c":"d"}"#)
        var seen: [String] = []
        for member in document.members(document.root) {
            seen.append(document.string(member.key) ?? "?")
            seen.append(document.source(member.value))
        }
        #expect(seen == ["a", #"[1,[2,3],{"x":4}]"#, "b", "{}", "c", #""d""#])
        let array = try #require(document.member("a"))
        #expect(document.elements(array).map { document.kind($0) } == [.number, .array, .object])
        #expect(document.count(array) == 3)
        #expect(document.elements(document.root).isEmpty)
        #expect(document.members(array).isEmpty)
    }

    @Test("Asking a value for what it is not gives nil, never a trap")
    func wrongKinds() throws {
        for source in ["null", "true", "1", "1.5", #""s""#, "[1]", #"{"a":1}"#] {
            let document = try Document(source)
            let root = document.root
            let kind = document.kind(root)
            #expect((document.string(root) != nil) == (kind == .string))
            #expect((document.decoded(root) != nil) == (kind == .string))
            #expect((document.utf8Count(root) != nil) == (kind == .string))
            #expect((document.bool(root) != nil) == (kind == .boolean))
            #expect(document.isNull(root) == (kind == .null))
            #expect((document.double(root) != nil) == (kind == .number))
            #expect((document.member("a") != nil) == (kind == .object))
            #expect(document.count(root) == (kind == .object || kind == .array ? 1 : 0))
        }
    }

    @Test(
        "An identifier has 1 to 128 bytes and no control character",
        arguments: [
            (#""""#, false), (#""a""#, true), (#""conv-123""#, true), (#""é中😀""#, true),
            ("\"" + String(repeating: "x", count: 128) + "\"", true),
            ("\"" + String(repeating: "x", count: 129) + "\"", false),
            ("\"" + String(repeating: "é", count: 64) + "\"", true),
            ("\"" + String(repeating: "é", count: 65) + "\"", false),
            (#""a\u0000""#, false), (#""a\n""#, false), (#""\u001f""#, false), (#""\u0020""#, true),
            (#""\u007e""#, true), (#""\u007f""#, false), ("\"\u{7F}\"", false),
            (#""\u0080""#, false),
            ("\"\u{80}\"", false), ("\"\u{9F}\"", false), ("\"\u{A0}\"", true),
            (#""\u009f""#, false),
            ("17", false), ("null", false), (#"["a"]"#, false),
        ])
    func identifiers(_ source: String, _ isAccepted: Bool) throws {
        let document = try Document(source)
        #expect((document.identifier(document.root) != nil) == isAccepted)
    }

    @Test("A control character is found wherever it stands, and what looks like one is none")
    func controlsAnywhere() throws {
        for count in 1...25 {
            for place in 0..<count {
                for (scalar, isAccepted) in [
                    ("\u{7F}", false), ("\u{80}", false), ("\u{9F}", false), ("\u{7E}", true),
                    (" ", true), ("\u{A0}", true), ("\u{FF}", true), ("用", true),
                ] as [(Unicode.Scalar, Bool)] {
                    var text = String(repeating: "~", count: place)
                    text.unicodeScalars.append(scalar)
                    text += String(repeating: "a", count: count - place - 1)
                    let document = try Document("\"" + text + "\"")
                    #expect(
                        document.identifier(document.root) == (isAccepted ? text : nil),
                        "U+\(String(scalar.value, radix: 16)) at \(place) of \(count)")
                }
            }
        }
    }
}
