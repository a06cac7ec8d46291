import Basics
import BusCore
import Domain
import Wire

/// Joining, leaving and resuming: see `CatchUp` for the order and why it is right.
extension GatewayShard {
    // MARK: Queueing

    func enqueue(
        _ job: CatchUp, _ frame: DecodedFrame, _ session: Session
    ) {
        guard session.job == nil || session.queuedJobs.count + 1 < CatchUp.maximumQueued else {
            limit(session, frame, retryAfterMs: 1_000)
            return
        }
        enqueue(job, session)
    }

    func enqueue(_ job: CatchUp, _ session: Session) {
        if session.job == nil, session.queuedJobs.isEmpty {
            start(job, session)
            startQueued(session)
        } else {
            session.enqueue(QueuedCatchUp(job))
        }
    }

    /// A session of such a family follows all of its user's chats, those of today and those to come.
    func followAll(_ session: Session) {
        startFirst(CatchUp(kind: .followAll, chats: []), session)
    }

    /// The user has been brought into a chat: a session that follows all follows it at once.
    func broughtIn(_ session: Session, to chat: ChatID, since: Seq) {
        enqueue(
            CatchUp(kind: .broughtIn, chats: [CatchUp.Chat(id: chat, since: since)]), session)
    }

    /// Before what waits.
    func startFirst(_ job: CatchUp, _ session: Session) {
        start(job, session)
        startQueued(session)
    }

    func startQueued(_ session: Session) {
        while session.job == nil, let next = session.takeQueuedJob() {
            start(next.job, session)
        }
    }

    private func start(_ job: CatchUp, _ session: Session) {
        switch job.kind {
        case .leave(let id):
            leave(job.chats[0].id, session)
            reply(session, id, .leave, .done)
        case .followAll:
            session.job = job
            followUser(job, session)
        case .join, .resume, .broughtIn:
            session.job = job
            follow(job, session)
        case .establish:
            session.job = job
            keep(session, floors: [:], topics: [], .kept(session.key))
        case .recover:
            session.job = job
            beginRecovery(job, session)
        }
    }

    /// First the channel on which news of new chats comes, then the list.
    private func followUser(_ job: CatchUp, _ session: Session) {
        if followsUser(job, session) { list(session) }
    }

    /// What is said to the user is heard from here on; false where that has to be waited for.
    func followsUser(_ job: CatchUp, _ session: Session) -> Bool {
        let topic = topic(for: .user(session.user.id))
        if followedTopic(topic.channel, by: session) == nil {
            subscribe(session, to: topic, deliveredSeq: 0)
        }
        if topic.isFollowing { return true }
        topic.waitingForHome.append(session.key)
        job.topicsAwaited = 1
        return false
    }

    private func leave(_ chat: ChatID, _ session: Session) {
        if session.typing.set(chat, isTyping: false, now: now.instant) {
            publishTyping(chat, session, isTyping: false)
        }
        guard let topic = followedTopic(.chat(chat), by: session) else { return }
        unsubscribe(session, from: topic)
        forgetMarks(of: session, in: chat)
        noteLeft(chat, session)
        releaseIfUnused(topic)
    }

    /// What a pong says of a chat that was left meanwhile is nothing.
    private func forgetMarks(of session: Session, in chat: ChatID) {
        guard session.encoding.isSocketIO, let engine = transport(of: session)?.ownEngine else {
            return
        }
        let place = DeliveredMark.Place(session: session.key, chat: chat)
        engine.acknowledged[place] = nil
        engine.pinged.removeAll { $0.place == place }
    }

    func list(_ session: Session) {
        submit(.listConversations(session.user.id), .catchUpList(session.key))
    }

    func listed(_ key: SubscriberKey, _ result: LaneAnswer.Result) {
        guard let session = session(key), let job = session.job else { return }
        guard case .outcome(.conversations(let conversations)) = result else {
            finishFailed(job, session)
            return
        }
        if case .recover(let recovering) = job.kind {
            job.chats = recovered(conversations, recovering, session)
        } else {
            job.chats = conversations.map { CatchUp.Chat(id: $0.id, since: nil) }
        }
        follow(job, session)
    }

    // MARK: Watching

    func follow(_ job: CatchUp, _ session: Session) {
        for index in job.chats.indices {
            let topic = topic(for: .chat(job.chats[index].id))
            job.chats[index].topic = topic
            topic.pins += 1
            if !topic.isFollowing {
                topic.waitingForHome.append(session.key)
                job.topicsAwaited += 1
            }
        }
        if job.topicsAwaited == 0 { openChats(job, session) }
    }

    /// A topic that a catch-up of this session waited for is followed now.
    func topicIsFollowed(_ key: SubscriberKey) {
        guard let session = session(key), let job = session.job, job.topicsAwaited > 0
        else { return }
        job.topicsAwaited -= 1
        guard job.topicsAwaited == 0 else { return }
        switch job.kind {
        // The user's own channel was the first.
        case .followAll where job.chats.isEmpty: list(session)
        case .recover where job.chats.isEmpty: findKept(session)
        default: openChats(job, session)
        }
    }

    // MARK: Opening

    private func openChats(_ job: CatchUp, _ session: Session) {
        submit(
            .openChats(OpenChats(user: session.user.id, chats: job.chats.map(\.id))),
            .catchUpOpen(session.key))
    }

    func opened(_ key: SubscriberKey, _ result: LaneAnswer.Result) {
        guard let session = session(key), let job = session.job else { return }
        guard case .outcome(.opened(let opened)) = result, opened.count == job.chats.count else {
            finishFailed(job, session)
            return
        }
        for (index, open) in opened.enumerated() {
            if case .recover = job.kind, job.chats[index].since == nil, open.access == .member {
                // Its user has come into it meanwhile.
                job.chats[index].since = max(0, open.staySeq - 1)
            }
            place(open, in: &job.chats[index], of: job, session)
            noteOpened(job.chats[index], job, session)
        }
        keepUnasked(job, session)
        if keepsFirst(job, session) { return }
        proceed(job, session)
    }

    /// Says that it worked, and goes on to the replay.
    func proceed(_ job: CatchUp, _ session: Session) {
        guard acknowledge(job, session) else {
            finish(job, session)
            return
        }
        job.hasAcknowledged = true
        advance(job, session)
    }

    /// Where the replay of a chat starts, now that it is known who may see what.
    private func place(
        _ open: OpenedChat, in chat: inout CatchUp.Chat, of job: CatchUp, _ session: Session
    ) {
        chat.access = open.access
        chat.lastSeq = open.lastSeq
        chat.readSeq = open.readSeq
        chat.memberCount = open.memberCount
        var known = chat.since
        /// What it was given since the store was read.
        var floor: Seq = 0
        let replaysFormer: Bool
        switch job.kind {
        case .resume, .recover: replaysFormer = true
        case .join, .leave, .followAll, .broughtIn, .establish: replaysFormer = false
        }
        if case .former = open.access, !replaysFormer {
            // Whoever follows it still is given the rest up to the entry that ended the membership,
            // which is on its way.
            chat.access = .none
            chat.isComplete = true
            return
        }
        // Joined already: go on from what it has been given, without a hole.
        if let topic = chat.topic, let delivered = unsubscribe(session, from: topic) {
            chat.wasFollowed = true
            chat.lastGiven = delivered
            switch job.kind {
            // The news of it may have overtaken entries that are still to come, the one that ended
            // an earlier stay among them.
            case .broughtIn: known = delivered
            case .join, .resume, .followAll, .leave, .establish, .recover:
                known = known ?? delivered
            }
            if known == delivered { floor = delivered }
        }
        switch open.access {
        case .member:
            chat.sentThrough = max(floor, min(known ?? open.lastSeq, open.lastSeq))
            chat.isComplete = chat.sentThrough >= open.lastSeq
            chat.topic?.memberCount = open.memberCount
        case .former(let lastVisible):
            chat.lastSeq = lastVisible
            // Whoever was a member when an entry was committed may still fetch it.
            if let since = chat.since, since < lastVisible {
                chat.sentThrough = since
            } else {
                chat.access = .none
                chat.isComplete = true
            }
        case .none:
            chat.isComplete = true
        }
    }

    /// The answer, before anything is replayed. False where the whole job was refused.
    private func acknowledge(_ job: CatchUp, _ session: Session) -> Bool {
        let notFound = CommandError(Refusal.notFound)
        switch job.kind {
        case .join(let id):
            let chat = job.chats[0]
            guard chat.isMember else {
                reply(session, id, .join, .refused(notFound))
                return false
            }
            guard let id else { return true }
            acknowledge(session, id) { json in
                json.key("chatId")
                json.string(chat.id.text)
                json.key("lastSeq")
                json.integer(chat.lastSeq)
                json.key("readSeq")
                json.integer(chat.readSeq)
            }
        case .resume(let id):
            guard let id else { return true }
            acknowledge(session, id) { writeResume(job, to: &$0) }
        case .recover:
            counters[.sessionsRecovered] += 1
            greet(session, isRecovered: true)
            return isLive(session)
        case .establish:
            greet(session)
            if isLive(session) { followBridge(session) }
            return false
        case .followAll, .broughtIn, .leave:
            break
        }
        return true
    }

    private func writeResume(_ job: CatchUp, to json: inout JSONWriter) {
        json.key("chats")
        json.beginObject()
        for chat in job.chats where chat.access != .none {
            json.key(named: chat.id.text)
            json.beginObject()
            json.key("lastSeq")
            json.integer(chat.lastSeq)
            json.key("readSeq")
            json.integer(chat.readSeq)
            json.endObject()
        }
        json.endObject()
        json.key("refused")
        json.beginObject()
        for chat in job.chats where chat.access == .none {
            json.key(named: chat.id.text)
            json.string(ErrorCode.notFound.rawValue)
        }
        json.endObject()
    }

    // MARK: Replaying

    /// Reads the next page, or ends where nothing is missing.
    private func advance(_ job: CatchUp, _ session: Session) {
        takeFromRecent(job, session)
        // A reader that could not take it is closed, and follows nothing any more.
        guard isLive(session), let connection = transport(of: session) else { return }
        job.reading = Array(
            job.chats.indices.lazy.filter { !job.chats[$0].isComplete }
                .prefix(CatchUp.chatsPerRead))
        guard !job.reading.isEmpty else {
            goLive(job, session)
            return
        }
        guard connection.outbox.count < limits.outboxBytes / 4 else {
            job.isPaused = true
            connection.mayResume = true
            return
        }
        submit(
            .readLogs(
                ReadLogs(
                    user: session.user.id,
                    chats: job.reading.map {
                        ReadLogs.From(chat: job.chats[$0].id, after: job.chats[$0].sentThrough)
                    },
                    maximumEntries: CatchUp.pageEntries,
                    // With the quarter that may wait already, a page leaves half of the outbox.
                    maximumBytes: min(CatchUp.pageBytes, limits.outboxBytes / 4))),
            .catchUpRead(session.key))
    }

    func resumeCatchUp(_ connection: Connection) {
        for session in sessions(on: connection) {
            guard let job = session.job, job.isDue else { continue }
            job.isDue = false
            advance(job, session)
        }
    }

    func pageRead(_ key: SubscriberKey, _ result: LaneAnswer.Result) {
        guard let session = session(key), let job = session.job else { return }
        guard case .outcome(.logs(let pages)) = result else {
            finishFailed(job, session)
            return
        }
        for (index, page) in zip(job.reading, pages) {
            invariant(
                page.chat == job.chats[index].id, "a page of \(page.chat) where another was asked")
            for entry in page.entries where entry.seq > job.chats[index].sentThrough {
                counters[.replayedEntries] += 1
                if encodesLegacy, case .message = entry.body {
                    recentMessages.note(entry.chat, for: entry.id)
                }
                send(session, EventEncoder.entry(entry))
                session.recovery?.note(entry.chat, entry.seq...entry.seq)
                // A reader that cannot take the replay is closed like any other slow one.
                guard isLive(session) else { return }
            }
            job.chats[index].sentThrough = max(job.chats[index].sentThrough, page.readThrough)
            job.chats[index].isComplete = page.isComplete
            if job.chats[index].access != page.access { job.chats[index].access = page.access }
            job.chats[index].lastSeq = max(job.chats[index].lastSeq, page.readThrough)
        }
        advance(job, session)
    }

    /// What arrived as deliveries after the store was read.
    private func takeFromRecent(_ job: CatchUp, _ session: Session) {
        if configuration.planted.contains(.cursorWithoutContiguity) { return }
        for index in job.chats.indices {
            let chat = job.chats[index]
            guard chat.isComplete, chat.isMember, let topic = chat.topic,
                chat.sentThrough < topic.applied
            else { continue }
            guard let entries = topic.recentEntries(after: chat.sentThrough) else {
                // More than is kept: from the store again.
                job.chats[index].isComplete = false
                continue
            }
            for delivery in entries {
                deliver(delivery, to: session)
                guard isLive(session) else { return }
                job.chats[index].sentThrough = delivery.seq
                if let membership = delivery.membership, membership.endsMembership,
                    membership.user == session.user.id
                {
                    job.chats[index].access = .former(lastVisible: delivery.seq)
                    break
                }
            }
        }
    }

    // MARK: Live

    private func goLive(_ job: CatchUp, _ session: Session) {
        let asked = job.chats.filter { $0.since != nil && $0.access != .none }
        let isAsked =
            switch job.kind {
            case .join, .resume: true
            case .followAll, .broughtIn, .leave, .establish, .recover: false
            }
        if isAsked, !asked.isEmpty {
            send(session, EventEncoder.caughtUp(asked.map { ($0.id, $0.sentThrough) }))
            guard isLive(session) else { return }
        } else if case .resume = job.kind {
            send(session, EventEncoder.caughtUp([]))
            guard isLive(session) else { return }
        }
        // What is followed stays long: no more room than that.
        // And for the joins that wait: whoever comes back asks for chat after chat.
        let fresh = job.chats.count { $0.isMember } + session.queuedJobs.count
        session.subscriptions.reserveCapacity(session.subscriptions.count + fresh)
        for chat in job.chats where chat.isMember {
            guard let topic = chat.topic, followedTopic(topic.channel, by: session) == nil,
                !isAskedLater(chat.id, session)
            else { continue }
            let delivered = max(chat.sentThrough, topic.applied)
            subscribe(session, to: topic, deliveredSeq: delivered)
            if session.encoding.isSocketIO {
                noteFollowed(
                    session, topic,
                    known: clientsWord(chat, job) ?? (chat.wasFollowed ? nil : delivered),
                    given: delivered)
            }
        }
        if case .followAll = job.kind { greet(session) }
        followTopics(of: job, session)
        finish(job, session)
    }

    /// Up to where the client says that it has a chat; nil where it has not said so. Who is brought in
    /// has said nothing: the replay begins with their stay.
    private func clientsWord(_ chat: CatchUp.Chat, _ job: CatchUp) -> Seq? {
        if case .broughtIn = job.kind, chat.wasFollowed { return nil }
        return chat.since
    }

    /// A legacy client that resumes right after it has said who it is: its replay comes first.
    private func isAskedLater(_ chat: ChatID, _ session: Session) -> Bool {
        session.queuedJobs.contains { $0.replays(chat) }
    }

    private func finish(_ job: CatchUp, _ session: Session) {
        unpin(job)
        guard isLive(session), session.job === job else { return }
        session.job = nil
        startQueued(session)
    }

    /// The store could not answer: nothing was replayed beyond what was sent, and the client is
    /// told that it must ask again.
    func finishFailed(_ job: CatchUp, _ session: Session) {
        switch job.kind {
        case .join(let id) where !job.hasAcknowledged:
            reply(session, id, .join, .refused(.storeUnavailable))
        case .resume(let id) where !job.hasAcknowledged:
            reply(session, id, .resume, .refused(.storeUnavailable))
        case .join, .resume, .followAll, .broughtIn, .leave, .establish, .recover:
            // It was told that it worked, or never asked: it has to start again.
            disconnect(session, .commitUnknown)
        }
        finish(job, session)
    }

    /// The job is not what it is to be.
    func drop(_ job: CatchUp, of session: Session) {
        unpin(job)
        session.job = nil
    }

    func abandonJobs(of session: Session) {
        let job = session.job
        session.forgetJobs()
        if let job { unpin(job) }
    }

    private func unpin(_ job: CatchUp) {
        for index in job.chats.indices {
            guard let topic = job.chats[index].topic else { continue }
            job.chats[index].topic = nil
            topic.pins -= 1
            releaseIfUnused(topic)
        }
    }
}
