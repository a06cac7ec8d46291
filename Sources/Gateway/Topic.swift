import Basics
import BusCore
import Domain
import WebSocket
import Wire

/// One followed channel on one shard: who follows it here, and what they are still to be given.
///
///     awaiting (the home was told) ── watching(head) ──► following
///
/// Deliveries arrive in order. They gather in `pending`; a *pass* takes all of them, joins their
/// frames into one run of bytes an encoding, and walks the members, over several ticks where they
/// are many.
final class Topic {
    /// Four bytes: 24 bits name the subscriber, and a delivery to most members reads no more. Which
    /// of the subscriber's subscriptions it is, is looked for there: only who is moved needs it.
    struct Member {
        private var bits: UInt32

        init(place: UInt32, encoding: Encoding) {
            bits = place | UInt32(encoding.rawValue) << 24
        }

        /// The subscriber's, in the shard's slab.
        var place: UInt32 { bits & 0xFF_FFFF }

        var encoding: Encoding {
            get { Encoding(rawValue: UInt8(truncatingIfNeeded: bits >> 24 & 0x7F)) ?? .v1Frames }
            set { bits = bits & 0x80FF_FFFF | UInt32(newValue.rawValue) << 24 }
        }

        /// How far it has been served is not what the topic says of all, but in `ownSeqs`.
        var hasOwnSeq: Bool {
            get { bits >> 31 != 0 }
            set { bits = bits & 0x7FFF_FFFF | (newValue ? 1 << 31 : 0) }
        }
    }

    final class Pass {
        let deliveries: [Delivery]
        /// All its deliveries in the encoding of the first member that was met, and as a run of the
        /// tick `runTick` of the pool. Most passes are needed in one encoding, and of 22 places in each
        /// pass 21 would be made and freed for nothing.
        private var encoding: Encoding?
        private var joined: SharedBytes?
        private var run: Run?
        private var runTick = UInt64.max
        /// The same in other encodings.
        private var others: [Other] = []

        private struct Other {
            let encoding: Encoding
            let joined: SharedBytes
            var run: Run?
            var runTick: UInt64
        }

        private var pieces: [Int: [UInt8]] = [:]
        var position = 0
        /// 0 where the pass holds no entry of the log.
        var firstSeq: Seq = 0
        var lastSeq: Seq = 0
        /// Subscribers of this instance that must not get everything.
        var exceptions: [UInt64] = []
        /// Something in it is for one user only: everyone takes the careful path.
        var isSelective = false
        var hasDroppable = false
        /// Everybody gets everything: the way of nearly all passes, with one test.
        private(set) var isPlain = false

        init(deliveries: [Delivery]) { self.deliveries = deliveries }

        /// What it holds is known.
        func seal() { isPlain = !isSelective && !hasDroppable && exceptions.isEmpty }

        /// All its deliveries in an encoding.
        func joined(in encoding: Encoding) -> SharedBytes {
            if encoding == self.encoding, let joined { return joined }
            if let made = others.first(where: { $0.encoding == encoding }) { return made.joined }
            var bytes: [UInt8] = []
            bytes.reserveCapacity(deliveries.reduce(0) { $0 + $1.byteCount(in: encoding) })
            for delivery in deliveries { delivery.append(in: encoding, to: &bytes) }
            let made = SharedBytes(bytes)
            if self.encoding == nil {
                self.encoding = encoding
                joined = made
            } else {
                others.append(
                    Other(encoding: encoding, joined: made, run: nil, runTick: .max))
            }
            return made
        }

        /// One of its deliveries in an encoding: where not everybody gets everything, many get most.
        func piece(_ index: Int, in encoding: Encoding) -> [UInt8] {
            let key = index * Encoding.count + Int(encoding.rawValue)
            if let made = pieces[key] { return made }
            var bytes: [UInt8] = []
            deliveries[index].append(in: encoding, to: &bytes)
            pieces[key] = bytes
            return bytes
        }

        /// The same as a run of this tick; nil where the pool takes none of it.
        @inline(__always)
        func run(in encoding: Encoding, from pool: inout BufferPool) -> Run? {
            if encoding == self.encoding, runTick == pool.tick, let run { return run }
            return makeRun(in: encoding, from: &pool)
        }

        private func makeRun(in encoding: Encoding, from pool: inout BufferPool) -> Run? {
            let bytes = joined(in: encoding)
            if encoding == self.encoding {
                runTick = pool.tick
                run = pool.addRun(bytes)
                return run
            }
            guard let place = others.firstIndex(where: { $0.encoding == encoding }) else {
                return nil
            }
            if others[place].runTick == pool.tick, let run = others[place].run { return run }
            others[place].runTick = pool.tick
            others[place].run = pool.addRun(bytes)
            return others[place].run
        }
    }

    let channel: Channel
    var isChat: Bool { if case .chat = channel { true } else { false } }
    let index: Int32
    /// The ticket of the watch that was sent home.
    let ticket: UInt64
    var isFollowing = false
    /// The last entry that arrived here.
    var applied: Seq = 0
    var memberCount = 0

    private(set) var members: [Member] = []
    /// What the passes that have ended gave to everybody who was here. Nearly always a member has
    /// been served up to here, or up to the end of the pass that has visited it; so that is stored
    /// once, and not in each member.
    private var servedSeq: Seq = 0
    /// By place: how far those members have been served that joined ahead of the passes.
    private var ownSeqs: [UInt32: Seq] = [:]
    /// Catch-ups that need this topic to stay.
    var pins = 0
    var waitingForHome: [SubscriberKey] = []

    var pending: [Delivery] = []
    var pendingBytes = 0
    private(set) var pass: Pass?
    var isQueued = false

    /// The last entries, kept while somebody catches up: what arrives between their read of the
    /// store and its answer is taken from here.
    private(set) var recent: [Delivery] = []
    private var recentBytes = 0
    static let maximumRecentBytes = 1_000_000

    init(channel: Channel, index: Int32, ticket: UInt64) {
        self.channel = channel
        self.index = index
        self.ticket = ticket
    }

    /// Takes in what the home sent. False for an entry that was here before.
    func accept(_ delivery: Delivery) -> Bool {
        if delivery.seq > 0 {
            guard delivery.seq > applied else { return false }
            applied = delivery.seq
            if pins > 0 { remember(delivery) }
            if let membership = delivery.membership {
                memberCount += membership.endsMembership ? -1 : 1
            }
        }
        if members.isEmpty { return true }
        pending.append(delivery)
        pendingBytes += delivery.approximateBytes
        return true
    }

    private func remember(_ delivery: Delivery) {
        recent.append(delivery)
        recentBytes += delivery.approximateBytes
        while recentBytes > Self.maximumRecentBytes, let first = recent.first {
            recentBytes -= first.approximateBytes
            recent.removeFirst()
        }
    }

    func forgetRecent() {
        recent = []
        recentBytes = 0
    }

    /// The entries (after, applied]; nil where they are not all at hand.
    func recentEntries(after: Seq) -> ArraySlice<Delivery>? {
        guard after < applied else { return [] }
        guard let first = recent.first, first.seq <= after + 1 else { return nil }
        // Contiguous, so the place is known.
        let start = recent.index(recent.startIndex, offsetBy: Int(after + 1 - first.seq))
        return recent[start...]
    }

    /// Starts a pass over all that is pending.
    func beginPass(instance: UInt64) {
        let pass = Pass(deliveries: pending)
        for delivery in pending {
            if delivery.seq > 0 {
                if pass.firstSeq == 0 { pass.firstSeq = delivery.seq }
                pass.lastSeq = delivery.seq
            }
            switch delivery.audience {
            case .all: break
            case .allButOrigin, .allButCanonicalOrigin:
                if delivery.origin.instance == instance, delivery.origin.subscriber != 0 {
                    pass.exceptions.append(delivery.origin.subscriber)
                }
            case .user: pass.isSelective = true
            }
            if delivery.isDroppable { pass.hasDroppable = true }
            switch delivery.content {
            case .joined, .disconnect: pass.isSelective = true
            case .event, .text: break
            }
        }
        pass.seal()
        pending = []
        pendingBytes = 0
        self.pass = pass
    }

    /// The pass has met everybody.
    func endPass() {
        guard let pass else { return }
        servedSeq = max(servedSeq, pass.lastSeq)
        self.pass = nil
    }

    // MARK: Members

    /// Adds a member at the end; a pass that is under way will meet it.
    ///
    /// - Parameter deliveredSeq: entries up to here have been given to it, or are none of its
    ///   business.
    func add(_ subscriber: Subscriber, deliveredSeq: Seq) -> Int32 {
        // Nothing is on its way: what arrived while nobody was here has been served, too.
        if pass == nil, pending.isEmpty { servedSeq = max(servedSeq, applied) }
        var member = Member(place: subscriber.place, encoding: subscriber.encoding)
        if deliveredSeq != servedSeq {
            member.hasOwnSeq = true
            ownSeqs[member.place] = deliveredSeq
        }
        // By an eighth of what is here, not by doubling: most topics come to rest somewhere.
        if members.count == members.capacity, members.count >= 64 {
            members.reserveCapacity(members.count + members.count / 8)
        }
        members.append(member)
        return Int32(members.count - 1)
    }

    /// The member's transport has changed.
    func setEncoding(_ encoding: Encoding, of index: Int) { members[index].encoding = encoding }

    /// Entries up to here have been put into the member's outbox, or were none of its business.
    func deliveredSeq(of index: Int) -> Seq {
        let member = members[index]
        if member.hasOwnSeq, let seq = ownSeqs[member.place] { return seq }
        if let pass, index < pass.position { return max(servedSeq, pass.lastSeq) }
        return servedSeq
    }

    /// The pass comes to its next member: returns how far that has been served before it.
    @inline(__always)
    func visit(_ index: Int, _ pass: Pass) -> Seq {
        pass.position = index + 1
        guard members[index].hasOwnSeq else { return servedSeq }
        return visitAhead(index, pass)
    }

    private func visitAhead(_ index: Int, _ pass: Pass) -> Seq {
        let place = members[index].place
        let before = ownSeqs[place] ?? servedSeq
        if max(before, pass.lastSeq) == max(servedSeq, pass.lastSeq) {
            members[index].hasOwnSeq = false
            ownSeqs[place] = nil
        } else {
            ownSeqs[place] = max(before, pass.lastSeq)
        }
        return before
    }

    /// Removes the member at `index` by moving others into its place; `moved` is told who went
    /// where. A pass under way still meets every remaining member exactly once.
    func remove(at index: Int, moved: (Member, Int32) -> Void) {
        if members[index].hasOwnSeq { ownSeqs[members[index].place] = nil }
        var hole = index
        if let pass, hole < pass.position {
            // Keep what was visited in front: the last visited fills the hole.
            pass.position -= 1
            if hole != pass.position {
                members[hole] = members[pass.position]
                moved(members[hole], Int32(hole))
            }
            hole = pass.position
        }
        let last = members.count - 1
        if hole != last {
            members[hole] = members[last]
            moved(members[hole], Int32(hole))
        }
        members.removeLast()
    }
}

extension Delivery {
    /// May be left out for a reader that is half behind: only the latest counts.
    var isDroppable: Bool {
        guard isEphemeral, case .event = content else { return false }
        return true
    }

    /// What `append` adds, or a little more.
    func byteCount(in encoding: Encoding) -> Int {
        switch content {
        case .event(let event): encoding.byteCount(of: event)
        case .text(let bytes): FrameHeader.headerLength(forPayload: bytes.count) + bytes.count
        case .joined, .disconnect: 0
        }
    }

    func append(in encoding: Encoding, to output: inout [UInt8]) {
        switch content {
        case .event(let event):
            encoding.append(event, to: &output)
        case .text(let bytes):
            FrameHeader.encode(opcode: .text, length: bytes.count, into: &output)
            output.append(contentsOf: bytes)
        case .joined, .disconnect:
            break
        }
    }
}
