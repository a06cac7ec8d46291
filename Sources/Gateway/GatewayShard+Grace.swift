import Basics
import Domain
import Identity
import SocketIO
import Wire

/// Tokens that have expired and go on serving those who came with them, for `legacyTokenGrace`.
///
/// Clients of the Socket.IO families read their token once, when the page is loaded, and show the same one
/// each time they reconnect. Where that is set, a session lasts so much longer than its token, and an
/// expired token opens another one: if it is genuine, and had opened one while it was good. The store
/// remembers that, so any instance knows; who is signed out by a backend is forgotten. An expired token
/// that nobody has seen opens nothing.
extension GatewayShard {
    private var graceMs: Int64 { Int64(limits.legacyTokenGraceSeconds) * 1_000 }

    /// How much longer than its token a session lasts.
    func graceMs(of encoding: Encoding) -> Int64 {
        encoding.isSocketIO && encoding.dialect != .v1 ? graceMs : 0
    }

    func mayOutlive(_ claims: Claims, _ auth: SocketAuth) -> Bool {
        graceMs > 0 && !auth.isCanonical && !configuration.tunnelKeys.isEmpty
            && now.wall.milliseconds < claims.expiresAtMilliseconds + graceMs
    }

    /// A good token has opened a session.
    func noteToken(of session: Session, _ auth: SocketAuth, _ claims: Claims) {
        guard mayOutlive(claims, auth), let token = auth.token,
            now.wall.milliseconds
                < claims.expiresAtMilliseconds + TokenVerifier.leewayMilliseconds
        else { return }
        // Not again later: the user may have been signed out meanwhile.
        submit(
            .keepSession(
                KeepSession(
                    name: keptName(token), user: session.user.id, epoch: 0, state: [],
                    at: now.wall,
                    until: WallTime(milliseconds: claims.expiresAtMilliseconds + graceMs))),
            .nothing)
    }

    /// Not the token, and nothing that it could be found by without the deployment's secret.
    private func keptName(_ token: String) -> String {
        guard let key = configuration.tunnelKeys.first else { return "t:" }
        let text = Array("martlet, tokens, 1\n".utf8) + token.utf8
        return "t:" + Base64URL.encode(key.authenticationCode(for: text.span))
    }

    func askWhetherKnown(
        _ engine: EngineSession, _ namespace: Namespace, _ claims: Claims, _ auth: SocketAuth
    ) {
        guard let token = auth.token else { return }
        engine.awaited.append(namespace)
        submit(
            .findSession(keptName(token), at: now.wall),
            .token(
                TokenQuestion(engine: engine.id, namespace: namespace, claims: claims, auth: auth)))
    }

    func tokenRead(_ question: TokenQuestion, _ result: LaneAnswer.Result) {
        guard let engine = engines[question.engine] else { return }
        engine.awaited.removeAll { $0 == question.namespace }
        guard case .outcome(.session(let found)) = result else {
            // The client comes again; a refusal would be for good.
            end(engine, .commitUnknown, poll: .refused)
            return
        }
        if let found, found.user.text == question.claims.userId {
            open(engine, question.namespace, question.claims, question.auth)
        } else {
            counters[.authenticationsFailed] += 1
            refuse(engine, question.namespace, Self.tokenError(isExpired: true))
        }
    }
}

/// A CONNECT whose token has expired, while the store is asked.
final class TokenQuestion: Sendable {
    let engine: EngineID
    let namespace: Namespace
    let claims: Claims
    let auth: SocketAuth

    init(engine: EngineID, namespace: Namespace, claims: Claims, auth: SocketAuth) {
        self.engine = engine
        self.namespace = namespace
        self.claims = claims
        self.auth = auth
    }
}
