import Basics
import BusCore
import Domain
import SocketIO
import Wire

/// What the store keeps of sessions that can be recovered, for when their instance is gone: the chats that
/// were joined, where these are not all of the user's, and topics.
///
/// Written in the batch that answers the join, before it. While the store takes no writes a join works and
/// is not remembered: then it is missing after a crash.
extension GatewayShard {
    static func keptName(_ name: SessionName) -> String { "s:" + name.text }

    /// A join was asked for: from its answer on the chat is followed, also after a crash.
    func noteJoined(_ chats: some Sequence<ChatID>, _ session: Session) {
        guard let recovery = session.recovery, !session.dialect.followsAll else { return }
        for chat in chats where recovery.joined.insert(chat).inserted {
            recovery.hasJoinedMore = true
        }
    }

    func noteLeft(_ chat: ChatID, _ session: Session) {
        guard let recovery = session.recovery, recovery.joined.remove(chat) != nil else { return }
        keep(session)
    }

    /// Before a join is carried out, in the same batch of the store.
    func keepJoined(_ session: Session) {
        if session.recovery?.hasJoinedMore ?? false { keep(session) }
    }

    /// Writes down what another instance has to know to go on with the session.
    func keep(_ session: Session) {
        guard let recovery = session.recovery else { return }
        recovery.hasJoinedMore = false
        guard recovery.joined.count <= Recovery.maximumKept else {
            forgetKept(recovery)
            return
        }
        let kept = KeptChats(
            chats: recovery.joined.sorted { $0.text < $1.text },
            topics: followedTopics(of: session).sorted { $0.text < $1.text })
        recovery.isKept = true
        submit(
            .keepSession(
                KeepSession(
                    name: Self.keptName(recovery.pass.name),
                    session: KeptSession(user: session.user.id, state: kept.bytes),
                    at: now.wall,
                    until: WallTime(milliseconds: now.wall.milliseconds + Recovery.keptMs))),
            .nothing)
    }

    /// The session is over, and is not retained.
    func forgetRecovery(of session: Session) {
        guard let recovery = session.recovery else { return }
        if recoverable[recovery.pass.name] == session.key {
            setRecoverable(recovery.pass.name, nil)
        }
        // One that was not yet recovered may be once more.
        if recovery.isEstablished { forgetKept(recovery) }
    }

    private func forgetKept(_ recovery: Recovery) {
        guard recovery.isKept else { return }
        recovery.isKept = false
        submit(.dropSessions(.named(Self.keptName(recovery.pass.name))), .nothing)
    }

    func forgetKept(_ session: RecoverableSession) {
        guard session.isKept else { return }
        submit(.dropSessions(.named(Self.keptName(session.name))), .nothing)
    }
}
