import Basics
import Domain
import Testing

@Suite("Core: what a command and its outcome mean")
struct CoreTests {
    private let chat = ChatID(trusted: "c")
    private let now = Now(instant: .start, wall: WallTime(milliseconds: 77))

    private var entry: LogEntry {
        LogEntry(
            chat: chat, seq: 5, id: MessageID(trusted: "m"), author: UserID(trusted: "u"),
            device: DeviceID(trusted: "d"), createdAt: WallTime(milliseconds: 9),
            body: .message(Message(encryptedContent: [65], type: "text")))
    }

    private func receipt(delivered: Seq?, read: Seq?, isPrivate: Bool) -> Receipt {
        Receipt(
            chat: chat, user: UserID(trusted: "u"), deliveredSeq: delivered, readSeq: read,
            isReadPrivate: isPrivate, at: WallTime(milliseconds: 1))
    }

    private func receipts(_ completion: Completion) -> [Receipt] {
        completion.announcements.compactMap { announcement -> Receipt? in
            if case .receipt(let receipt) = announcement { receipt } else { nil }
        }
    }

    @Test("A send asks to append exactly what was said, by whom, when")
    func decide() {
        let message = Message(
            encryptedContent: [1, 2], type: "t", replyTo: MessageID(trusted: "r"),
            thread: MessageID(trusted: "th"), expiresAt: WallTime(milliseconds: 100))
        let operation = Core.decide(
            SendMessage(chat: chat, clientMessageID: "k", message: message),
            by: Actor(user: UserID(trusted: "u"), device: DeviceID(trusted: "d")),
            id: MessageID(trusted: "new"), now: now)
        guard case .append(let append) = operation else {
            Issue.record("another operation")
            return
        }
        #expect(append.id.text == "new" && append.chat == chat && append.author.text == "u")
        #expect(append.device.text == "d" && append.clientMessageID == "k")
        #expect(append.createdAt == now.wall && append.message == message)
    }

    @Test("A committed message is acked with its place, and announced")
    func appended() {
        for completion in [
            Core.complete(.appended(entry)), Core.completeSend(.appended(entry), chat: chat),
        ] {
            guard case .sent(let id, let chat, let seq, let at, let isDuplicate) = completion.reply
            else {
                Issue.record("another reply")
                continue
            }
            #expect(id.text == "m" && chat == self.chat && seq == 5 && !isDuplicate)
            #expect(at == WallTime(milliseconds: 9))
            guard case .entry(let announced) = completion.announcements.first else {
                Issue.record("not announced")
                continue
            }
            #expect(announced == entry && completion.announcements.count == 1)
        }
    }

    @Test("A duplicate is acked with the first place, and announced to nobody")
    func duplicate() {
        let completion = Core.completeSend(
            .duplicate(
                id: MessageID(trusted: "first"), seq: 3, createdAt: WallTime(milliseconds: 4)),
            chat: chat)
        guard case .sent(let id, let chat, let seq, let at, let isDuplicate) = completion.reply
        else {
            Issue.record("another reply")
            return
        }
        #expect(id.text == "first" && chat == self.chat && seq == 3 && isDuplicate)
        #expect(at == WallTime(milliseconds: 4) && completion.announcements.isEmpty)
    }

    @Test("Membership entries are announced in their order")
    func membership() {
        let entries = (1...3).map { seq in
            var entry = entry
            entry.seq = Seq(seq)
            return entry
        }
        let completion = Core.complete(.membership(entries))
        let seqs = completion.announcements.map { announcement -> Seq in
            if case .entry(let entry) = announcement { entry.seq } else { -1 }
        }
        #expect(seqs == [1, 2, 3])
        #expect(Core.complete(.membership([])).announcements.isEmpty)
    }

    @Test("A cursor that moved is announced; one that did not is answered only")
    func cursor() {
        let moved = Core.complete(
            .cursor(receipt(delivered: 4, read: 4, isPrivate: false), delivered: 4, read: 4))
        #expect(receipts(moved) == [receipt(delivered: 4, read: 4, isPrivate: false)])
        let still = Core.complete(.cursor(nil, delivered: 9, read: 8))
        #expect(still.announcements.isEmpty)
        guard case .cursor(9, 8) = still.reply else {
            Issue.record("another reply")
            return
        }
    }

    @Test("A private read is announced apart from the delivery, which all may see")
    func privateRead() {
        let both = Core.complete(
            .cursor(receipt(delivered: 4, read: 3, isPrivate: true), delivered: 4, read: 3))
        #expect(
            receipts(both) == [
                receipt(delivered: 4, read: nil, isPrivate: false),
                receipt(delivered: nil, read: 3, isPrivate: true),
            ])
        let readOnly = receipt(delivered: nil, read: 3, isPrivate: true)
        #expect(
            receipts(Core.complete(.cursor(readOnly, delivered: 4, read: 3))) == [readOnly])
    }

    @Test(
        "A refusal is the error of the contract, and announced to nobody",
        arguments: [
            (Refusal.notFound, ErrorCode.notFound, 404),
            (.forbidden, .insufficientPermissions, 403), (.alreadyExists, .alreadyExists, 409),
            (.idempotencyConflict, .idempotencyConflict, 409),
            (.invalidPosition, .invalidInput, 400), (.tooManyMembers, .validationError, 400),
        ])
    func refusals(refusal: Refusal, code: ErrorCode, status: Int) {
        for completion in [
            Core.complete(.refused(refusal)), Core.completeSend(.refused(refusal), chat: chat),
        ] {
            guard case .refused(let error) = completion.reply else {
                Issue.record("another reply")
                continue
            }
            #expect(error.code == code && error.code.httpStatus == status)
            #expect(error.retryAfterMs == nil && !error.code.isRetryable)
            #expect(!error.message.isEmpty && completion.announcements.isEmpty)
        }
    }

    @Test("Only what may pass by itself is retryable; a store that cannot write says when")
    func retryable() {
        let retryable = ErrorCode.allCases.filter(\.isRetryable)
        #expect(Set(retryable) == [.rateLimited, .serviceUnavailable, .draining, .internalError])
        #expect(retryable.allSatisfy { $0.httpStatus == 429 || $0.httpStatus >= 500 })
        #expect(CommandError.storeUnavailable.code == .serviceUnavailable)
        #expect(CommandError.storeUnavailable.retryAfterMs == 1_000)
    }

    @Test(
        "The statuses of the contract",
        arguments: [
            (401, ["UNAUTHORIZED", "TOKEN_EXPIRED", "INVALID_TOKEN"]),
            (403, ["FORBIDDEN", "INSUFFICIENT_PERMISSIONS"]), (404, ["NOT_FOUND"]),
            (409, ["ALREADY_EXISTS", "DEVICE_MISMATCH", "IDEMPOTENCY_CONFLICT"]),
            (410, ["SEQ_EXPIRED"]), (413, ["PAYLOAD_TOO_LARGE"]),
            (400, ["VALIDATION_ERROR", "INVALID_INPUT", "UNKNOWN_EVENT"]), (429, ["RATE_LIMITED"]),
            (500, ["INTERNAL_ERROR"]), (503, ["SERVICE_UNAVAILABLE", "DRAINING"]),
        ])
    func statuses(status: Int, codes: [String]) {
        let found = ErrorCode.allCases.filter { $0.httpStatus == status }.map(\.rawValue)
        #expect(Set(found) == Set(codes))
    }

    @Test("Who may add and remove whom")
    func roles() {
        #expect(Role.allCases.map(\.mayAddMembers) == [true, true, false])
        let table: [Role: [Role]] = [.owner: [.admin, .member], .admin: [.member], .member: []]
        for role in Role.allCases {
            #expect(Role.allCases.filter(role.mayRemove) == table[role])
        }
    }

    @Test("A write is a write, and its weight grows with what it carries")
    func operations() {
        let small = Core.decide(
            SendMessage(
                chat: chat, clientMessageID: nil,
                message: Message(encryptedContent: [1], type: "t")),
            by: Actor(user: UserID(trusted: "u"), device: DeviceID(trusted: "d")),
            id: MessageID(trusted: "m"), now: now)
        #expect(small.isWrite && small.approximateBytes == 257)
        #expect(
            !Operation.head(chat).isWrite
                && !Operation.listMembers(chat, by: UserID(trusted: "u")).isWrite)
        #expect(Operation.head(chat).approximateBytes > 0)
        #expect(entry.approximateBytes == 257)
    }
}

@Suite("OpaqueIdentifier")
struct OpaqueIdentifierTests {
    private func isTaken(_ text: String) -> Bool {
        let all = [
            UserID(text) != nil, ChatID(text) != nil, DeviceID(text) != nil,
            MessageID(text) != nil, OpaqueIdentifier.isValid(text),
        ]
        #expect(Set(all).count == 1, "all kinds share the rule")
        return all[0]
    }

    @Test(
        "1 to 128 bytes of UTF-8",
        arguments: [(0, false), (1, true), (127, true), (128, true), (129, false)])
    func length(count: Int, isTaken: Bool) {
        #expect(self.isTaken(String(repeating: "a", count: count)) == isTaken)
    }

    @Test("Bytes count, not characters", arguments: [(42, true), (43, false)])
    func bytes(count: Int, isTaken: Bool) {
        #expect(self.isTaken(String(repeating: "€", count: count)) == isTaken)
    }

    @Test("No control characters, of ASCII or beyond")
    func controls() {
        for value in (0...0xFF) as ClosedRange<UInt32> {
            guard let scalar = Unicode.Scalar(value) else { continue }
            let isControl = value < 0x20 || (0x7F...0x9F).contains(value)
            for text in ["a\(scalar)b", "\(scalar)", "\(scalar)€", "€\(scalar)"] {
                #expect(isTaken(text) == !isControl, "U+\(String(value, radix: 16))")
            }
        }
    }

    @Test(
        "What existing systems use is taken",
        arguments: [
            "conv-123", "018f7d5e-8f3a-7c3b-9d2e-1a2b3c4d5e6f", "user@example.org", "a b", "用户",
            "👩‍👩‍👧",
            "\u{A0}", "../x", "\"", "\\",
        ])
    func taken(text: String) { #expect(isTaken(text)) }

    @Test("Ids that differ in one byte are two, whichever it is")
    func oneByte() {
        for count in 1...25 {
            let text = String(repeating: "a", count: count)
            #expect(ChatID(trusted: text) == ChatID(trusted: String(text.reversed())))
            #expect(ChatID(trusted: text) != ChatID(trusted: text + "a"))
            for place in 0..<count {
                var other = Array(text.utf8)
                other[place] = UInt8(ascii: "b")
                #expect(
                    ChatID(trusted: text)
                        != ChatID(trusted: String(decoding: other, as: UTF8.self)))
            }
        }
    }

    @Test("Ids are the same where their bytes are: a composed letter is not the decomposed one")
    func equality() {
        let composed = ChatID("caf\u{E9}")
        let decomposed = ChatID("cafe\u{301}")
        #expect(composed != nil && decomposed != nil && composed != decomposed)
        #expect(composed == ChatID("caf\u{E9}"))
        #expect(composed?.hashValue == ChatID("caf\u{E9}")?.hashValue)
    }
}
