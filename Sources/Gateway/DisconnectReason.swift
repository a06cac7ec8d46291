import WebSocket

/// Why the server ends a connection: one enum for the wire, the metrics and the log.
/// `Protocol/close-codes.json` is tested for equality with the codes that are used here.
package enum DisconnectReason: Hashable, Sendable, CaseIterable {
    case invalidToken, tokenExpired, authTimeout, authExpected
    case tooManySessions
    case tooManyBadInputs, protocolViolation, binaryNotAccepted, invalidUTF8, messageTooBig
    case slowConsumer, tooManyStrikes, overCapacity
    case draining, pongTimeout, commitUnknown, messageTimeout
    case revoked
    case upgradeTimeout, notUpgradable, sessionOver, malformedPacket

    package var code: CloseCode {
        switch self {
        case .invalidToken, .authTimeout, .authExpected: .unauthenticated
        case .tokenExpired: .tokenExpired
        case .tooManySessions: .tooManySessions
        case .tooManyBadInputs: .protocolMisuse
        case .protocolViolation: .protocolError
        case .binaryNotAccepted: .unsupportedData
        case .invalidUTF8: .invalidPayload
        case .messageTooBig: .messageTooBig
        case .slowConsumer: .slowConsumer
        case .tooManyStrikes: .rateLimited
        case .overCapacity: .overCapacity
        case .draining: .draining
        case .pongTimeout: .pongTimeout
        case .commitUnknown: .stateLost
        case .messageTimeout, .upgradeTimeout: .policyViolation
        case .notUpgradable: .protocolMisuse
        case .sessionOver: .stateLost
        case .malformedPacket: .protocolError
        case .revoked: .revoked
        }
    }

    /// A client that polls is to hear what it was told last, or it would come back for the same.
    var hasLastWords: Bool { self == .revoked || self == .tokenExpired || self == .invalidToken }

    /// The text of the close frame: what happened and what to do, ≤ 123 bytes.
    package var text: String {
        switch self {
        case .invalidToken: "the token is not valid; get a new one"
        case .tokenExpired: "the token has expired; get a new one"
        case .authTimeout: "no token came in time; authenticate first"
        case .authExpected: "the first frame must be session.auth"
        case .tooManySessions: "too many connections of this user; close another"
        case .tooManyBadInputs: "too many frames that are no requests; see the protocol"
        case .protocolViolation: "WebSocket protocol error"
        case .binaryNotAccepted: "this endpoint takes text frames only"
        case .invalidUTF8: "text is not valid UTF-8"
        case .messageTooBig: "message too big"
        case .slowConsumer: "reading too slowly; reconnect and resume"
        case .tooManyStrikes: "too many requests over the limit; slow down"
        case .overCapacity: "{\"retryMs\":5000}"
        case .draining: "{\"retryMs\":1000}"
        case .pongTimeout: "no pong came; reconnect and resume"
        case .commitUnknown: "the fate of a request is unknown; resend with the same id"
        case .revoked: "the session was ended; sign in again"
        case .messageTimeout: "a message took too long to arrive"
        case .upgradeTimeout: "the upgrade was not completed in time"
        case .notUpgradable: "the session has a WebSocket already"
        case .sessionOver: "the session is over; connect anew"
        case .malformedPacket: "not a packet that is expected here"
        }
    }
}
