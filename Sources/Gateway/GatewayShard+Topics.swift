import Basics
import BusCore
import Domain
import Wire

/// A `topic.subscribe` or `topic.unsubscribe` of one connection.
///
///     asked ──► watching (the homes are told) ──► ack ──► subscribed
///
/// The ack waits until the homes follow, so what is published after it arrives, as far as Redis
/// carries it. These have a queue of their own: joins and resumes need the store, topics do not, and
/// so they do not wait behind one that is away.
final class TopicRequest {
    let frame: DecodedFrame
    /// Each once.
    let names: [TopicName]
    var hasStarted = false
    /// Those that were not followed by the connection before, pinned.
    var watched: [Topic] = []
    /// Of those, how many the homes do not follow yet.
    var awaited = 0

    init(_ frame: DecodedFrame, _ names: [TopicName]) {
        self.frame = frame
        self.names = names
    }

    var isSubscribing: Bool { frame.name == .subscribe }

    static let maximumQueued = 64
}

/// Subscribing to topics: one request at a time, each as a whole or not at all.
extension GatewayShard {
    func enqueue(_ request: TopicRequest, _ session: Session) {
        guard session.topicRequests.count < TopicRequest.maximumQueued else {
            limit(session, request.frame, retryAfterMs: 1_000)
            return
        }
        session.topicRequests.append(request)
        advance(session)
    }

    /// A channel that the first request waited for is followed now.
    func subscriptionHolds(_ key: SubscriberKey) {
        guard let session = session(key),
            let request = session.topicRequests.first, request.awaited > 0
        else { return }
        request.awaited -= 1
        advance(session)
    }

    /// Carries out what is queued, up to one that has to wait. An answer may end the connection.
    private func advance(_ session: Session) {
        while isLive(session), let request = session.topicRequests.first {
            if request.isSubscribing, !request.hasStarted {
                request.hasStarted = true
                guard watch(request, session) else {
                    session.topicRequests.removeFirst()
                    limit(
                        session, request.frame,
                        .tooManyTopics(limits.topicsPerConnection))
                    continue
                }
            }
            guard request.awaited == 0 else { return }
            session.topicRequests.removeFirst()
            if request.isSubscribing {
                subscribe(session, request)
            } else {
                unsubscribe(session, request)
            }
        }
        // An empty array that was not always empty keeps its memory.
        if session.topicRequests.isEmpty { session.topicRequests = [] }
    }

    /// Has the homes follow what is new. False, and nothing done, where that would be too many.
    private func watch(_ request: TopicRequest, _ session: Session) -> Bool {
        let followed = followedTopics(of: session)
        let new = request.names.filter { !followed.contains($0) }
        guard followed.count + new.count <= limits.topicsPerConnection else { return false }
        for name in new {
            let topic = topic(for: .topic(name))
            topic.pins += 1
            request.watched.append(topic)
            if !topic.isFollowing {
                topic.waitingForHome.append(session.key)
                request.awaited += 1
            }
        }
        return true
    }

    /// One walk over all that it follows, which may be thousands of chats.
    func followedTopics(of session: Session) -> Set<TopicName> {
        var names: Set<TopicName> = []
        for subscription in session.subscriptions {
            if case .topic(let name)? = topics[Int(subscription.topic)]?.channel {
                names.insert(name)
            }
        }
        return names
    }

    private func subscribe(
        _ session: Session, _ request: TopicRequest
    ) {
        acknowledge(session, request)
        if isLive(session) {
            for topic in request.watched { subscribe(session, to: topic, deliveredSeq: 0) }
            noteTopics(request.names, areFollowed: true, session)
        }
        unpin(request)
    }

    private func unsubscribe(
        _ session: Session, _ request: TopicRequest
    ) {
        let followed = followedTopics(of: session)
        for name in request.names where followed.contains(name) {
            guard let topic = followedTopic(.topic(name), by: session) else { continue }
            unsubscribe(session, from: topic)
            releaseIfUnused(topic)
        }
        noteTopics(request.names, areFollowed: false, session)
        acknowledge(session, request)
    }

    private func acknowledge(_ session: Session, _ request: TopicRequest) {
        guard let id = request.frame.id else { return }
        acknowledge(session, id) { json in
            json.key("topics")
            json.beginArray()
            for name in request.names { json.string(name.text) }
            json.endArray()
        }
    }

    func abandonTopics(of session: Session) {
        let requests = session.topicRequests
        session.topicRequests = []
        for request in requests { unpin(request) }
    }

    private func unpin(_ request: TopicRequest) {
        for topic in request.watched {
            topic.pins -= 1
            releaseIfUnused(topic)
        }
        request.watched = []
    }
}
