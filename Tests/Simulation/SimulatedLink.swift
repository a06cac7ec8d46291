/// One simulated TCP connection between a client and a shard: bytes arrive in order, cut anywhere,
/// late; or the connection is reset; or the peer is gone and nobody is told (half-open).
final class SimulatedLink {
    enum State { case open, reset, halfOpen }

    var state = State.open
    let node: Int
    let shard: Int
    /// Who reads what the server sends; nobody for the owner's requests.
    weak var client: SimulatedClient?
    /// Another node, which asks something and reads until the end.
    var peer: Peer?
    /// The gateway's key, once accepted.
    var key: UInt64?
    /// When the last piece in each direction arrives: pieces never overtake each other.
    var lastToServer: UInt64 = 0
    var lastToClient: UInt64 = 0
    /// The server process that this link belongs to: after a crash it is another one.
    let incarnation: Int
    var serverClosed = false

    final class Peer {
        var answer: [UInt8] = []
        private var whenOver: (([UInt8]?) -> Void)?

        init(_ whenOver: @escaping ([UInt8]?) -> Void) { self.whenOver = whenOver }

        /// The first end counts.
        func end(_ answer: [UInt8]?) {
            whenOver?(answer)
            whenOver = nil
        }
    }

    init(node: Int, shard: Int, incarnation: Int) {
        self.node = node
        self.shard = shard
        self.incarnation = incarnation
    }
}
