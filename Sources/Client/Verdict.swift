import WebSocket

/// What the end of a connection means for the next one (the close codes' hundreds).
struct Verdict {
    /// Set where trying again would not help: what to tell the user.
    var end: String?
    /// The least wait before the next attempt.
    var waitMs = 0
    var text: String

    init(_ loss: ConnectModel.Loss, canRenewToken: Bool) {
        switch loss {
        case .failed(let error):
            text = error.description
            if case .refused(401, "TOKEN_EXPIRED", _, _) = error, canRenewToken { return }
            if !error.isRetryable { end = error.description }
            if case .refused(_, _, _, let retryAfterMs?) = error {
                waitMs = min(max(retryAfterMs, 0), 60_000)
            }
        case .closed(let code, let reason):
            guard let code else {
                text = "closed by the server"
                return
            }
            text = "closed with \(code.rawValue)" + (reason.isEmpty ? "" : ": \(reason)")
            switch code.rawValue {
            case 4002 where canRenewToken: break
            case 4000...4099: end = text
            case 4100...4199: waitMs = 1_000
            default: break
            }
            waitMs = max(waitMs, Self.retryMs(in: reason) ?? 0)
        }
    }

    /// `{"retryMs":n}` in the reason of a close frame.
    private static func retryMs(in reason: String) -> Int? {
        let prefix = "{\"retryMs\":"
        guard reason.hasPrefix(prefix), reason.hasSuffix("}") else { return nil }
        return Int(reason.dropFirst(prefix.count).dropLast()).map { min(max($0, 0), 60_000) }
    }
}
