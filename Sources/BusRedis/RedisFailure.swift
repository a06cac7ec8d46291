/// Why there is no connection to Redis. For the operator: it names no password, and of what Redis
/// said only the first word (`-ERR unknown command 'AUTH', with args beginning with: …` repeats what
/// it was told).
package enum RedisFailure: Error, Hashable, Sendable, CustomStringConvertible {
    case cannotResolve(String)
    case cannotConnect(String)
    /// Not ready within the time for connecting.
    case timedOut
    case notSecure(String)
    /// AUTH was refused, or is wanted and there is no password.
    case notLetIn(String)
    case refused(String)
    case protocolViolation
    /// It answers nothing any more.
    case silent
    case closedByServer
    /// It takes nothing any more, and there is no room for what is to be told.
    case outputOverflow
    case stopped

    package var description: String {
        switch self {
        case .cannotResolve(let text): "the name of the host has no address: \(text)"
        case .cannotConnect(let text): text
        case .timedOut: "it did not answer within 2 s"
        case .notSecure(let text): "TLS: \(text)"
        case .notLetIn(let code): "it refused the password or user (\(code))"
        case .refused(let code): "it refused a command (\(code))"
        case .protocolViolation: "it does not speak the Redis protocol"
        case .silent: "it answers no more"
        case .closedByServer: "it closed the connection"
        case .outputOverflow: "it takes no more"
        case .stopped: "stopped"
        }
    }

    /// The first word of an error reply, if it is one of Redis's own: a word that it was told may
    /// be repeated there.
    static func code(of error: [UInt8]) -> String {
        let word = error.prefix { $0 != UInt8(ascii: " ") }
        return codes.first { word.elementsEqual($0.utf8) } ?? "no known code"
    }

    private static let codes = [
        "ERR", "NOAUTH", "WRONGPASS", "NOPERM", "LOADING", "BUSY", "OOM", "READONLY", "MASTERDOWN",
        "NOREPLICAS", "MISCONF", "CLUSTERDOWN", "MOVED", "DENIED",
    ]
}
