import Glibc

/// Bytes that grow and go away again: what a connection holds of an unfinished frame, or has not
/// sent yet. Empty ones own no memory. Freed by its owner, `release`.
@safe struct HeldBytes {
    private(set) var base: UnsafeMutablePointer<UInt8>?
    private(set) var count: Int32 = 0
    private var capacity: Int32 = 0

    var isEmpty: Bool { count == 0 }

    /// Room for `extra` bytes behind what is there; `commit` says how many were written.
    mutating func reserve(_ extra: Int) -> UnsafeMutablePointer<UInt8> {
        let needed = Int(count) + extra
        precondition(needed < Int(Int32.max), "more than 2 GB of one connection")
        if unsafe needed > Int(capacity) || base == nil {
            let size = max(needed, min(2 * Int(capacity), Int(Int32.max)), 64)
            guard let moved = unsafe realloc(base, size) else {
                preconditionFailure("out of memory")
            }
            unsafe base = moved.assumingMemoryBound(to: UInt8.self)
            capacity = Int32(size)
        }
        guard let base = unsafe base else { preconditionFailure("reserved above") }
        return unsafe base + Int(count)
    }

    mutating func commit(_ extra: Int) { count += Int32(extra) }

    mutating func append(_ bytes: UnsafePointer<UInt8>, _ extra: Int) {
        unsafe reserve(extra).update(from: bytes, count: extra)
        commit(extra)
    }

    /// Takes the first bytes away.
    mutating func drop(first: Int) {
        guard let base = unsafe base else { return }
        let rest = Int(count) - first
        if rest > 0 { unsafe memmove(base, base + first, rest) }
        count = Int32(rest)
    }

    /// Empties it and keeps the memory.
    mutating func clear() { count = 0 }

    mutating func release() {
        unsafe free(base)
        unsafe base = nil
        count = 0
        capacity = 0
    }
}

/// One connection of a worker: some 90 bytes, of which there are up to 19,000.
struct Connection {
    enum Phase: UInt8 {
        /// Not opened yet, or dropped on purpose and not yet back.
        case away
        case connecting
        case upgrading
        /// A WebSocket, and saying what the dialect wants said first.
        case greeting
        case ready
        /// Gone, and not coming back.
        case lost
    }

    var fd: Int32 = -1
    /// Of its current socket, so that a late event finds nobody.
    var generation: UInt32 = 0
    var phase = Phase.away
    var isSlow = false
    /// A sender's second socket.
    var isOutlet = false
    var isDirty = false
    var waitsForOutput = false
    /// It was up once and was dropped on purpose.
    var isReturning = false
    /// Answers that are still to come until it is ready.
    var greetings: Int32 = 0
    /// The number of its block among this worker's.
    var block: Int32 = 0
    /// Its place among this worker's senders, -1 if it is none.
    var sender: Int32 = -1
    /// Its place in its block, as senders are counted.
    var rank: Int32 = 0
    /// Where its lanes begin in the oracle.
    var laneBase: Int32 = 0
    var firstChannel: UInt32 = 0
    /// When it was due to be opened; of one that was dropped, when it was.
    var since: UInt64 = 0
    var input = HeldBytes()
    var output = HeldBytes()
    /// Of dialects that are streams inside frames: an unfinished operation.
    var carry = HeldBytes()
}

/// A connection that sends.
struct Sender {
    var connection: Int32
    /// Where its messages leave: itself, or its outlet.
    var outlet: Int32
    var outstanding: Int32 = 0
    /// Of its last request; 0 for none.
    var lastID: UInt64 = 0
    /// What has no ack yet, in order.
    var unanswered: [Unanswered] = []

    struct Unanswered {
        var id: UInt64
        var time: UInt64
        var number: UInt32
        var channel: Int32
    }

    // Typing.
    var isTyping = false
    /// When it last began, and when it last said anything about it.
    var beganTyping: UInt64 = 0
    var typingTime: UInt64 = 0
}

/// A message that is in flight in a closed loop.
struct Flight {
    var number: UInt32 = 0
    /// Who must still have it: its receivers in this worker, and its ack.
    var remaining: UInt32 = 0
}
