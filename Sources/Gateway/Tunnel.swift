import HTTP
import Identity

/// A connection that another instance is to serve: its request names a session that lives there. The
/// driver joins the two sockets until one of them ends; nothing of what goes through is looked at.
///
/// It serves one request, or one upgrade and what follows it.
package struct Tunnel: Sendable {
    /// The other instance's internal listener, `host:port`.
    package var address: String
    /// What is said there first: the greeting, then what the client has said.
    package var opening: [UInt8]
    /// The answer to the client where nobody listens there: the session is lost.
    package var refusal: [UInt8]
}

/// What an instance says first on another's internal listener: whose connection it brings, and that it
/// belongs to the same deployment.
///
///     "MARTLET" and 2 │ client's address 16 │ HMAC-SHA-256 of these and the owner's instance 32
///
/// The instance in the code is the process's own random name, which its peers know by its digests: what
/// was overheard on the way to one process opens no other.
enum TunnelGreeting {
    static let count = 56
    private static let magic: [UInt8] = Array("MARTLET".utf8) + [2]

    static func make(for client: IPAddress, to owner: UInt64, key: Secret) -> [UInt8] {
        var greeting = magic
        for shift in stride(from: 120, through: 0, by: -8) {
            greeting.append(UInt8(truncatingIfNeeded: client.bits >> UInt128(shift)))
        }
        return greeting + key.authenticationCode(for: signed(greeting, owner).span)
    }

    /// The client's address, where the greeting is good. `bytes` has `count` bytes.
    static func verify(_ bytes: Span<UInt8>, owner: UInt64, keys: [Secret]) -> IPAddress? {
        let head = bytes.extracting(0..<24).copied()
        guard Array(head[..<8]) == magic else { return nil }
        let message = signed(head, owner)
        let code = bytes.extracting(24..<count)
        guard keys.contains(where: { $0.authenticates(message.span, code: code) }) else {
            return nil
        }
        return IPAddress(bits: head[8...].reduce(0) { $0 << 8 | UInt128($1) })
    }

    private static func signed(_ greeting: [UInt8], _ owner: UInt64) -> [UInt8] {
        greeting
            + stride(from: 56, through: 0, by: -8).map {
                UInt8(truncatingIfNeeded: owner >> UInt64($0))
            }
    }
}
