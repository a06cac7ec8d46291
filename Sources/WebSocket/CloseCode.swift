/// Why a WebSocket is closed, as the two bytes at the front of a close frame's payload
/// (RFC 6455 §7.4, the IANA registry, and Martlet's own range).
///
/// Martlet's codes tell a client what to do next by their hundred: 40xx do not retry unchanged,
/// 41xx back off first, 42xx retry (the reason may hold `{"retryMs":n}`).
public struct CloseCode: RawRepresentable, Hashable, Sendable {
    public let rawValue: UInt16

    public init(rawValue: UInt16) {
        self.rawValue = rawValue
    }

    /// Whether a peer may put the code in a close frame. 1004, 1005, 1006 and 1015 only exist for
    /// reporting inside a program; below 1000 and 1016–2999 are unassigned, above 4999 undefined
    /// (RFC 6455 §7.4.1, §7.4.2; 1012–1014 are registered with IANA).
    public var isValidOnWire: Bool {
        switch rawValue {
        case 1000...1003, 1007...1014, 3000...4999: true
        default: false
        }
    }
}

// MARK: - RFC 6455 §7.4.1 and the IANA registry

extension CloseCode {
    /// The purpose of the connection is fulfilled.
    public static let normal = CloseCode(rawValue: 1000)
    /// The endpoint goes away: a browser left the page, a server shuts down.
    public static let goingAway = CloseCode(rawValue: 1001)
    /// The peer broke the framing rules.
    public static let protocolError = CloseCode(rawValue: 1002)
    /// The kind of data is not accepted here, such as a binary frame on a JSON address.
    public static let unsupportedData = CloseCode(rawValue: 1003)
    /// The content does not fit its type: text that is not UTF-8.
    public static let invalidPayload = CloseCode(rawValue: 1007)
    /// A rule of this server without a better code.
    public static let policyViolation = CloseCode(rawValue: 1008)
    /// A frame or a message over the limit.
    public static let messageTooBig = CloseCode(rawValue: 1009)
    /// Sent by clients only: the server did not agree to an extension they need.
    public static let mandatoryExtension = CloseCode(rawValue: 1010)
    /// The server met a condition that it did not expect.
    public static let internalError = CloseCode(rawValue: 1011)
    /// The server restarts; reconnect after a random wait.
    public static let serviceRestart = CloseCode(rawValue: 1012)
    /// The server is overloaded; reconnect later or elsewhere.
    public static let tryAgainLater = CloseCode(rawValue: 1013)
    /// A gateway had no valid answer from the server behind it.
    public static let badGateway = CloseCode(rawValue: 1014)
}

// MARK: - 4000–4099: do not retry unchanged

extension CloseCode {
    /// No token, or one that does not verify, or none within the time for it.
    public static let unauthenticated = CloseCode(rawValue: 4001)
    /// The token has expired: fetch a new one, then reconnect.
    public static let tokenExpired = CloseCode(rawValue: 4002)
    /// The origin or the user may not connect here.
    public static let forbidden = CloseCode(rawValue: 4003)
    /// The user has as many sockets as one user may have.
    public static let tooManySessions = CloseCode(rawValue: 4004)
    /// The session, the device or the user was revoked.
    public static let revoked = CloseCode(rawValue: 4005)
    /// The client kept breaking the message protocol above the frames.
    public static let protocolMisuse = CloseCode(rawValue: 4006)
    /// A newer connection of the same session took over.
    public static let replaced = CloseCode(rawValue: 4007)
}

// MARK: - 4100–4199: back off, then retry

extension CloseCode {
    /// The server is at its capacity.
    public static let overCapacity = CloseCode(rawValue: 4100)
    /// The client reads more slowly than its messages arrive; resume replays what it missed.
    public static let slowConsumer = CloseCode(rawValue: 4101)
    /// The client went over its rate limits again and again.
    public static let rateLimited = CloseCode(rawValue: 4102)
}

// MARK: - 4200–4299: retry

extension CloseCode {
    /// This instance is being stopped; another one, or its successor, answers.
    public static let draining = CloseCode(rawValue: 4200)
    /// The client did not answer a ping in time.
    public static let pongTimeout = CloseCode(rawValue: 4201)
    /// The server lost what it knew about the connection; resume repairs it.
    public static let stateLost = CloseCode(rawValue: 4202)
}
