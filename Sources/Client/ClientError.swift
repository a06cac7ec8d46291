import Glibc

/// Why the client could not do what it was asked: the environment's or the server's doing, never a
/// programmer's mistake. `description` is one line for the person at the terminal.
package enum ClientError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The text is no address that this client can use, and why.
    case badURL(String)
    case cannotResolve(host: String, reason: String)
    /// The last of the addresses that were tried, and the system's word for it.
    case cannotConnect(to: String, reason: String)
    /// The deadline passed; what was being waited for.
    case timedOut(String)
    /// The connection ended before the answer was whole.
    case ended
    /// A system call failed.
    case failed(call: String, reason: String)
    /// The server answered, and it was a refusal: an HTTP status, with the API's error where there
    /// is one.
    case refused(status: Int, code: String?, message: String, retryAfterMs: Int?)
    /// The server's answer is not what the protocol says.
    case badAnswer(String)

    package var description: String {
        switch self {
        case .badURL(let text): text
        case .cannotResolve(let host, let reason): "cannot find the host \(host): \(reason)"
        case .cannotConnect(let address, let reason): "cannot connect to \(address): \(reason)"
        case .timedOut(let what): "no answer in time: \(what)"
        case .ended: "the server ended the connection"
        case .failed(let call, let reason): "\(call): \(reason)"
        case .refused(let status, let code, let message, _):
            "the server refused (\(code ?? "HTTP \(status)")): \(message)"
        case .badAnswer(let text): "the server's answer is not what was expected: \(text)"
        }
    }

    /// Whether the same attempt may succeed later without a change on our side.
    package var isRetryable: Bool {
        switch self {
        case .badURL, .badAnswer: false
        case .cannotResolve, .cannotConnect, .timedOut, .ended, .failed: true
        case .refused(let status, _, _, _): status == 408 || status == 429 || status >= 500
        }
    }

    /// The system's own words for an error number.
    static func text(of number: Int32) -> String {
        guard let text = unsafe strerror(number) else { return "error \(number)" }
        return unsafe String(cString: text)
    }
}
