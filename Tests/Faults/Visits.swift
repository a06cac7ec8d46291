import Client
import Foundation
import Glibc
import ServerSupport
import Synchronization

/// Brings visitors into chats and removes them again, on a thread of its own, by any instance's
/// HTTP API. Each change is asked for again until it was answered, so what follows it is certain to
/// come after it.
final class Visits: Sendable {
    private let fleet: Fleet
    private let chats: [String]
    private let owner: String
    private let visitors: [String]
    private let stopping = Atomic<Bool>(false)
    private let ended = DispatchSemaphore(value: 0)
    /// Answered changes, by chat and user.
    private let changes = Mutex<[Int: [String: Int]]>([:])
    private let failure = Mutex<String?>(nil)

    init(
        _ fleet: Fleet, chats: [String], owner: String, visitors: [String], seed: UInt64
    ) throws {
        self.fleet = fleet
        self.chats = chats
        self.owner = owner
        self.visitors = visitors
        try inBackground { [self] in
            do {
                try run(seed)
            } catch {
                failure.withLock { $0 = "\(error)" }
            }
            ended.signal()
        }
    }

    /// All visitors are members in the end. Returns what was broken.
    func finish(_ evidence: [Int: [Delivery]]) -> Verdict {
        var verdict = Verdict("Each answered change of the members is in the log")
        if let text = failure.withLock({ $0 }) { verdict.violate(text) }
        for (chat, users) in changes.withLock({ $0 }) {
            for (user, count) in users {
                verdict.looked += count
                let found = evidence[chat]?.count { $0.change?.user == user } ?? 0
                // One whose answer was lost may have been done and then found done.
                if found < count { verdict.violate("chat \(chat), \(user): \(found) of \(count)") }
            }
        }
        return verdict
    }

    func stop() throws {
        stopping.store(true, ordering: .relaxed)
        guard ended.wait(timeout: .now() + 90) == .success else {
            throw SupportError("the changes of members do not end")
        }
    }

    private func run(_ seed: UInt64) throws {
        var random = SeededRandom(seed)
        var members: Set<[Int]> = []
        while !stopping.load(ordering: .relaxed) {
            let place = [random.next(below: chats.count), random.next(below: visitors.count)]
            try change(place, isEnd: members.contains(place), &random)
            members.formSymmetricDifference([place])
            usleep(useconds_t(200_000 + random.next(below: 600_000)))
        }
        for chat in chats.indices {
            for visitor in visitors.indices where !members.contains([chat, visitor]) {
                try change([chat, visitor], isEnd: false, &random)
            }
        }
    }

    /// A retry of one that was done is refused or does nothing: then it is done as well.
    private func change(_ place: [Int], isEnd: Bool, _ random: inout SeededRandom) throws {
        let (chat, user) = (chats[place[0]], visitors[place[1]])
        let deadline = Date(timeIntervalSinceNow: 80)
        while Date() < deadline {
            var api = try fleet.instances[random.next(below: Fleet.size)].api(owner)
            api.timeoutMs = 4_000
            do throws(ClientError) {
                if isEnd {
                    try api.removeMember(user, from: chat)
                } else {
                    try api.addMembers([user], to: chat)
                }
                changes.withLock { $0[place[0], default: [:]][user, default: 0] += 1 }
                return
            } catch {
                if case .refused(404, _, _, _) = error, isEnd { return }
                guard error.isRetryable else { throw error }
            }
            usleep(100_000)
        }
        throw SupportError("\(user) could not be \(isEnd ? "removed" : "added") for 80 s")
    }
}
