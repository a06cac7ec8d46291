/// What went wrong, in the words of the wire contract: the same code in an ack, an `error` event
/// and an HTTP answer. `Protocol/errors.json` is tested for equality with this table.
package enum ErrorCode: String, CaseIterable, Sendable {
    case unauthorized = "UNAUTHORIZED"
    case tokenExpired = "TOKEN_EXPIRED"
    case invalidToken = "INVALID_TOKEN"
    case forbidden = "FORBIDDEN"
    case insufficientPermissions = "INSUFFICIENT_PERMISSIONS"
    case notFound = "NOT_FOUND"
    case alreadyExists = "ALREADY_EXISTS"
    case deviceMismatch = "DEVICE_MISMATCH"
    case idempotencyConflict = "IDEMPOTENCY_CONFLICT"
    case seqExpired = "SEQ_EXPIRED"
    case payloadTooLarge = "PAYLOAD_TOO_LARGE"
    case validationError = "VALIDATION_ERROR"
    case invalidInput = "INVALID_INPUT"
    case unknownEvent = "UNKNOWN_EVENT"
    case rateLimited = "RATE_LIMITED"
    case internalError = "INTERNAL_ERROR"
    case serviceUnavailable = "SERVICE_UNAVAILABLE"
    case draining = "DRAINING"

    package var httpStatus: Int {
        switch self {
        case .unauthorized, .tokenExpired, .invalidToken: 401
        case .forbidden, .insufficientPermissions: 403
        case .notFound: 404
        case .alreadyExists, .deviceMismatch, .idempotencyConflict: 409
        case .seqExpired: 410
        case .payloadTooLarge: 413
        case .validationError, .invalidInput, .unknownEvent: 400
        case .rateLimited: 429
        case .internalError: 500
        case .serviceUnavailable, .draining: 503
        }
    }

    /// Whether the same request may succeed later without a change.
    package var isRetryable: Bool {
        switch self {
        case .rateLimited, .serviceUnavailable, .draining, .internalError: true
        default: false
        }
    }
}

/// A request's refusal. `message` tells the reader what to do; it never quotes what they sent.
package struct CommandError: Error, Hashable, Sendable {
    package var code: ErrorCode
    package var message: String
    package var retryAfterMs: Int?

    package init(_ code: ErrorCode, _ message: String, retryAfterMs: Int? = nil) {
        self.code = code
        self.message = message
        self.retryAfterMs = retryAfterMs
    }

    /// Certain: the request had no effect.
    package static let storeUnavailable = CommandError(
        .serviceUnavailable, "the store cannot write now and nothing was stored; retry later",
        retryAfterMs: 1_000)

    package static func tooManyTopics(_ limit: Int) -> CommandError {
        CommandError(
            .rateLimited,
            "a connection has at most \(limit) topics and nothing was changed; "
                + "unsubscribe from others first",
            retryAfterMs: 1_000)
    }

    package init(_ refusal: Refusal) {
        switch refusal {
        case .notFound:
            self.init(.notFound, "there is no such chat or entry among yours; check the id")
        case .forbidden:
            self.init(.insufficientPermissions, "your role in this chat does not allow that")
        case .alreadyExists:
            self.init(.alreadyExists, "this id is taken; choose another or leave it out")
        case .idempotencyConflict:
            self.init(
                .idempotencyConflict,
                "another message was sent under this clientMsgId; use a new one for a new message")
        case .invalidPosition:
            self.init(.invalidInput, "seq lies beyond the end of the chat's log")
        case .tooManyMembers:
            self.init(.validationError, "the chat would have too many members")
        }
    }
}
