import Basics
import Domain
import Testing

@testable import Gateway

@Suite("Sessions without a connection")
struct RetainedSessionTests {
    private typealias Retained = RetainedSessions.Retained

    private func name(_ number: Int) -> SessionName {
        SessionName(high: UInt64(number), low: 0)
    }

    private func at(_ milliseconds: Int) -> Instant {
        Instant(nanoseconds: UInt64(milliseconds) * 1_000_000)
    }

    /// That session, of user `u`, whose window ends at its number in milliseconds.
    private func session(_ number: Int, chats: Int = 1) -> Retained {
        let received = (0..<chats).map { (ChatID(trusted: "c\($0)"), Seq(1)) }
        return Retained(
            session: RecoverableSession(
                name: name(number), user: UserID(trusted: "u"), epoch: 0,
                received: Dictionary(uniqueKeysWithValues: received)),
            until: at(number), userTopic: nil)
    }

    /// Makes room as a newcomer needs it; those that had to go.
    private func makeRoom(_ retained: inout RetainedSessions, _ now: Instant) -> [SessionName] {
        var gone: [SessionName] = []
        while let older = retained.removeOldest(now, makingRoom: true) {
            gone.append(older.session.name)
        }
        return gone
    }

    @Test("As many as there is room for stay; then the oldest goes for a new one")
    func count() {
        var retained = RetainedSessions(maximumCount: 3)
        for number in 1...3 {
            #expect(makeRoom(&retained, at(0)) == [])
            retained.add(session(number))
        }
        #expect(retained.removeOldest(at(0))?.session == nil, "full, but nobody comes")
        #expect(makeRoom(&retained, at(0)) == [name(1)])
        retained.add(session(4))
        #expect(retained.names(of: UserID(trusted: "u")) == [name(2), name(3), name(4)])
        #expect(retained.remove(name(1))?.session == nil)
        #expect(retained.remove(name(2))?.session != nil)
    }

    @Test("What they follow is counted as well, and is given back")
    func chats() {
        var retained = RetainedSessions(maximumChats: 10)
        retained.add(session(1, chats: 4))
        retained.add(session(2, chats: 5))
        #expect(makeRoom(&retained, at(0)) == [])
        retained.add(session(3, chats: 1))
        #expect(makeRoom(&retained, at(0)) == [name(1)])
        #expect(retained.remove(name(2))?.session != nil)
        retained.add(session(4, chats: 8))
        #expect(makeRoom(&retained, at(0)) == [])
        retained.add(session(5, chats: 1))
        #expect(makeRoom(&retained, at(0)) == [name(3)])
    }

    @Test("A window that is over ends one; who was taken and came anew has a new one")
    func windows() {
        var retained = RetainedSessions()
        for number in 1...3 { retained.add(session(number)) }
        #expect(retained.removeOldest(at(0))?.session == nil)
        #expect(retained.removeOldest(at(1))?.session.name == name(1))
        #expect(retained.removeOldest(at(1))?.session == nil)
        let taken = retained.remove(name(2))
        retained.add(
            Retained(session: session(2).session, until: at(9), userTopic: nil))
        #expect(taken?.session != nil)
        #expect(retained.removeOldest(at(5))?.session.name == name(3))
        #expect(retained.removeOldest(at(8))?.session == nil)
        #expect(retained.removeOldest(at(9))?.session.name == name(2))
        #expect(retained.names(of: UserID(trusted: "u")) == [])
    }
}
