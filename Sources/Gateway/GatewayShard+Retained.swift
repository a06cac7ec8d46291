import Basics
import BusCore
import Domain
import SocketIO

/// Sessions without a connection, until their window is over.
struct RetainedSessions {
    struct Retained {
        let session: RecoverableSession
        let until: Instant
        /// Its user's channel stays followed: a backend that ends the user's connections means this one
        /// too.
        let userTopic: Topic?
    }

    private var byName: [SessionName: Retained] = [:]
    private var byUser: [UserID: [SessionName]] = [:]
    /// In the order of their ends; those taken meanwhile are passed over.
    private var order: [(name: SessionName, until: Instant)] = []
    private var start = 0
    /// What takes the memory.
    private var chats = 0

    private let maximumCount: Int
    private let maximumChats: Int

    /// - Parameters:
    ///   - maximumCount: sessions of one shard.
    ///   - maximumChats: what they follow, all together; the last one may exceed it.
    init(maximumCount: Int = 65_536, maximumChats: Int = 1_000_000) {
        self.maximumCount = maximumCount
        self.maximumChats = maximumChats
    }

    private var isFull: Bool { byName.count >= maximumCount || chats >= maximumChats }

    func names(of user: UserID) -> [SessionName] { byUser[user] ?? [] }

    mutating func add(_ retained: Retained) {
        let session = retained.session
        byName[session.name] = retained
        byUser[session.user, default: []].append(session.name)
        order.append((session.name, retained.until))
        chats += session.received.count
    }

    mutating func remove(_ name: SessionName) -> Retained? {
        guard let found = byName.removeValue(forKey: name) else { return nil }
        let user = found.session.user
        byUser[user]?.removeAll { $0 == name }
        if byUser[user]?.isEmpty ?? false { byUser[user] = nil }
        chats -= found.session.received.count
        return found
    }

    /// One whose window is over, or the oldest where another one needs its room; nil where there is none.
    mutating func removeOldest(_ now: Instant, makingRoom: Bool = false) -> Retained? {
        while start < order.count {
            let (name, until) = order[start]
            guard until <= now || makingRoom && isFull else { return nil }
            start += 1
            if start > 1_024, start * 2 > order.count {
                order.removeFirst(start)
                start = 0
            }
            // Taken meanwhile, and perhaps retained anew: then it stands further behind as well.
            if byName[name]?.until == until { return remove(name) }
        }
        return nil
    }
}

extension GatewayShard {
    func retain(_ session: RecoverableSession) {
        // A person's devices, and not a script's.
        for name in retained.names(of: session.user).dropLast(max(0, limits.socketsPerUser - 1)) {
            if let older = retained.remove(name) { forget(older) }
        }
        if let older = retained.remove(session.name) { unpin(older) }
        while let older = retained.removeOldest(now.instant, makingRoom: true) { forget(older) }
        var userTopic: Topic?
        if configuration.isBridged {
            let topic = topic(for: .user(session.user))
            topic.pins += 1
            userTopic = topic
        }
        retained.add(
            RetainedSessions.Retained(
                session: session,
                until: now.instant.advanced(byMilliseconds: limits.recoveryWindowMs),
                userTopic: userTopic))
    }

    func takeRetained(_ name: SessionName) -> RecoverableSession? {
        forgetRetained()
        guard let found = retained.remove(name) else { return nil }
        unpin(found)
        return found.session
    }

    /// Those whose window is over.
    func forgetRetained() {
        while let over = retained.removeOldest(now.instant) { forget(over) }
    }

    private func forget(_ over: RetainedSessions.Retained) {
        unpin(over)
        owe(
            .dropSessions(
                .named(Self.keptName(over.session.name), epoch: over.session.epoch)))
    }

    private func unpin(_ retained: RetainedSessions.Retained) {
        guard let topic = retained.userTopic else { return }
        topic.pins -= 1
        releaseIfUnused(topic)
    }

    /// A backend has ended the user's connections: nothing of them is to come back.
    func forgetSessions(of user: UserID) {
        guard recovers || limits.legacyTokenGraceSeconds > 0 else { return }
        for name in retained.names(of: user) {
            if let ended = retained.remove(name) { unpin(ended) }
        }
        owe(.dropSessions(.all(of: user, at: now.wall)))
    }
}
