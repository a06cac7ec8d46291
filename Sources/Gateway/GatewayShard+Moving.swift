import Basics
import Domain
import HTTP
import SocketIO
import Wire

/// Connections that come to where they are not served: their request names an Engine.IO session that
/// lives on another shard, or in another instance. There are no sticky sessions: a balancer may send
/// every request anywhere.
///
/// To a shard goes the socket itself. To an instance goes what is said on it: the two sockets are
/// joined, and the session's owner learns the client's address from a greeting. An owner that is not
/// there has taken its sessions with it; the client hears that its session is unknown, and begins
/// anew.
extension GatewayShard {
    enum LeadResult {
        case needMore
        /// So many bytes; the first request follows.
        case taken(Int)
        case refused
    }

    /// What stands before the first request of a connection.
    func takeLead(
        _ connection: Connection, _ http: HTTPExchange, _ bytes: Span<UInt8>
    ) -> LeadResult {
        switch http.lead {
        case .nothing:
            return .taken(0)
        case .greeting:
            guard bytes.count >= TunnelGreeting.count else { return .needMore }
            guard
                let client = TunnelGreeting.verify(
                    bytes.extracting(0..<TunnelGreeting.count), owner: configuration.instance,
                    keys: configuration.tunnelKeys)
            else {
                counters[.tunnelsRefused] += 1
                return .refused
            }
            http.lead = .nothing
            http.isTunnelled = true
            (http.peer, http.address) = (client, client)
            return .taken(TunnelGreeting.count)
        case .proxyHeader:
            switch ProxyHeader.parse(bytes) {
            case .needMore: return .needMore
            case .malformed: return .refused
            case .absent:
                http.lead = .nothing
                return .taken(0)
            case .present(let client, let length):
                http.lead = .nothing
                if let client { (http.peer, http.address) = (client, client) }
                return .taken(length)
            }
        }
    }

    /// Sends the connection where its request belongs. False where that is here, or nowhere.
    func movesElsewhere(
        _ connection: Connection, _ http: HTTPExchange, _ head: RequestHead, _ bytes: Span<UInt8>
    ) -> Bool {
        guard head.query != nil, shardCount > 1 || !peers.isEmpty,
            let sid = Self.engineSID(head, bytes), let id = sid.flatMap({ EngineID($0.utf8.span) }),
            let path = HTTPRequest(head: head, bytes: bytes).path,
            engineFace(path, head, bytes) != nil
                || http.isTunnelled && path == Self.recoveryPath
        else { return false }
        guard id.owner == UInt32(truncatingIfNeeded: configuration.instance) else {
            guard !http.isTunnelled, let peer = peers[id.owner],
                let key = configuration.tunnelKeys.first
            else { return false }
            guard ready(connection, http) else { return true }
            var client = http.peer
            if !configuration.forwardedFor.trusted.isEmpty {
                client = configuration.forwardedFor.client(peer: http.peer, head: head, in: bytes)
            }
            counters[.tunnelsOpened] += 1
            output.tunnels.append(
                (
                    connection.key,
                    Tunnel(
                        address: peer.address,
                        opening: TunnelGreeting.make(for: client, to: peer.instance, key: key)
                            + bytes.copied(),
                        refusal: lostSession(HTTPRequest(head: head, bytes: bytes)))
                ))
            return true
        }
        guard id.shard != index, id.shard < shardCount else { return false }
        guard ready(connection, http) else { return true }
        output.handedOver.append(
            (
                connection.key, Int(id.shard),
                MovedConnection(
                    descriptor: -1, address: http.peer, isTunnelled: http.isTunnelled,
                    bytes: bytes.copied())
            ))
        return true
    }

    /// Lets go of the connection, unless answers are still to be written: then it is asked again.
    private func ready(_ connection: Connection, _ http: HTTPExchange) -> Bool {
        http.needed = 0
        http.scanned = 0
        guard connection.outbox.isEmpty else { return false }
        release(connection)
        connection.phase = .draining
        return true
    }

    /// A connection that another shard accepted.
    package func adopt(_ moved: MovedConnection) -> ConnectionKey? {
        guard let key = accept(address: moved.address, isNew: false),
            let http = connection(key)?.http
        else {
            return nil
        }
        // The first shard has read what comes before the first request.
        http.lead = .nothing
        http.isTunnelled = moved.isTunnelled
        return key
    }

    private func lostSession(_ request: HTTPRequest) -> [UInt8] {
        var request = request
        request.keepsAlive = false
        if let origin = request.origin, !configuration.allowedOrigins.contains(origin) {
            request.origin = nil
        }
        request.allowsCredentials = true
        var bytes: [UInt8] = []
        write(
            request, status: 400,
            { output, response in
                response.field("Content-Type", "application/json", into: &output)
                return Self.body(of: .unknownSession)
            }, into: &bytes)
        return bytes
    }
}
