import Basics
import BusCore
import Domain
import WebSocket
import Wire

/// Publishing, and the fan-out to the connections that follow a channel here.
extension GatewayShard {
    // MARK: Publishing

    /// Tells all that follow a channel. What is homed here needs no bus to get here.
    func publish(_ channel: Channel, _ content: Publication.Content, from key: SubscriberKey?) {
        let publication = Publication(
            channel: channel, content: content,
            origin: Origin(instance: configuration.instance, subscriber: key?.packed ?? 0))
        let isHome = channel.home(of: shardCount) == index
        if busReachesOthers || !isHome { output.publications.append(publication) }
        if isHome { acceptAtHome(publication) }
    }

    func acceptAtHome(_ publication: Publication) {
        // Its memory is kept from one to the next.
        var effects: [HomeDirectory.Effect] = []
        swap(&effects, &homeEffects)
        homes.accept(publication, effects: &effects)
        carryOut(effects)
        effects.removeAll(keepingCapacity: true)
        swap(&effects, &homeEffects)
    }

    func carryOut(_ effects: [HomeDirectory.Effect]) {
        for effect in effects {
            switch effect {
            case .deliver(let shard, let delivery):
                if shard == index {
                    accept(delivery)
                } else {
                    output.deliveries[shard].append(delivery)
                }
            case .watching(let shard, let channel, let ticket, let head):
                if shard == index {
                    // At once: a delivery to ourselves takes no mailbox that it could queue behind.
                    watching(channel, ticket: ticket, head: head)
                } else {
                    mail(shard, .watching(channel, ticket: ticket, head: head))
                }
            case .change(let interest):
                output.interests.append(interest)
            case .readHead(let chat):
                submit(.head(chat), .head(chat))
            case .readRange(let chat, let after):
                submit(
                    .readRange(
                        ReadRange(
                            chat: chat, after: after, maximumEntries: HomeDirectory.repairPage)),
                    .range(chat))
            case .readMarked(let receipt, let origin):
                guard encodesLegacy else { break }
                let seq = receipt.readSeq ?? receipt.deliveredSeq ?? 0
                submit(
                    .readRange(
                        ReadRange(chat: receipt.chat, after: seq - 1, maximumEntries: 1)),
                    .marked(receipt, origin))
            case .holdBackTimer(let chat):
                startChatTimer(
                    ChatTimer(chat: chat, retriesHead: false), inMs: limits.holdBackMs)
            }
        }
    }

    /// Mail to another shard, in order with the deliveries to it.
    func mail(_ shard: Int, _ item: ShardMail) {
        if shard == index {
            ownMail.append(item)
            return
        }
        if !output.deliveries[shard].isEmpty {
            output.mail.append((shard, .deliveries(output.deliveries[shard])))
            output.deliveries[shard] = []
        }
        output.mail.append((shard, item))
    }

    func startChatTimer(_ timer: ChatTimer, inMs milliseconds: Int) {
        chatTimerNumber += 1
        chatTimers[chatTimerNumber] = timer
        schedule(
            .chat, chatTimerNumber, at: now.instant.advanced(byMilliseconds: milliseconds))
    }

    func chatTimerFired(_ timer: ChatTimer) {
        var effects: [HomeDirectory.Effect] = []
        if timer.retriesHead {
            homes.retryHead(timer.chat, effects: &effects)
        } else {
            homes.holdBackExpired(timer.chat, effects: &effects)
        }
        carryOut(effects)
    }

    /// Mail from other shards, the lane and the bus.
    package func receive(_ mail: ShardMail) {
        switch mail {
        case .answers(let answers):
            for answer in answers { receive(answer) }
        case .bus(let news):
            receive(news)
        case .deliveries(let deliveries):
            for delivery in deliveries { accept(delivery) }
        case .watch(let channel, let shard, let ticket):
            var effects: [HomeDirectory.Effect] = []
            homes.watch(channel, shard: shard, ticket: ticket, effects: &effects)
            carryOut(effects)
        case .unwatch(let channel, let shard):
            var effects: [HomeDirectory.Effect] = []
            homes.unwatch(channel, shard: shard, effects: &effects)
            carryOut(effects)
        case .watching(let channel, let ticket, let head):
            watching(channel, ticket: ticket, head: head)
        case .handedOver:
            // The driver's: it has the socket, and gives its bytes like any others.
            break
        case .recoveryAsked(let request):
            answer(request)
        case .recoveryAnswered(let key, let answer):
            answered(key, answer)
        case .drain:
            beginDraining()
        }
    }

    // MARK: Topics

    /// The topic of a channel on this shard, made and announced to its home where there is none.
    func topic(for channel: Channel) -> Topic {
        if let index = topicIndices[channel], let topic = topics[Int(index)] { return topic }
        let index: Int32
        if let free = freeTopics.popLast() {
            index = free
        } else {
            index = Int32(topics.count)
            topics.append(nil)
        }
        watchTickets += 1
        let topic = Topic(channel: channel, index: index, ticket: watchTickets)
        topics[Int(index)] = topic
        topicIndices[channel] = index
        mail(
            channel.home(of: shardCount),
            .watch(channel, shard: self.index, ticket: watchTickets))
        return topic
    }

    private func watching(_ channel: Channel, ticket: UInt64, head: Seq) {
        guard let index = topicIndices[channel], let topic = topics[Int(index)],
            topic.ticket == ticket, !topic.isFollowing
        else { return }
        topic.isFollowing = true
        topic.applied = max(topic.applied, head)
        let waiting = topic.waitingForHome
        topic.waitingForHome = []
        for key in waiting {
            if case .topic = channel { subscriptionHolds(key) } else { topicIsFollowed(key) }
        }
    }

    /// Lets go of a topic that nobody needs any more.
    func releaseIfUnused(_ topic: Topic) {
        guard topic.pins == 0 else { return }
        topic.forgetRecent()
        guard topic.members.isEmpty, topics[Int(topic.index)] === topic else { return }
        topics[Int(topic.index)] = nil
        topicIndices[topic.channel] = nil
        freeTopics.append(topic.index)
        pendingFanOutBytes -= topic.pendingBytes
        topic.pending = []
        topic.pendingBytes = 0
        mail(
            topic.channel.home(of: shardCount), .unwatch(topic.channel, shard: index))
    }

    /// The topic of a channel, where the subscriber follows it.
    func followedTopic(_ channel: Channel, by subscriber: Subscriber) -> Topic? {
        guard let index = topicIndices[channel], let topic = topics[Int(index)],
            subscriber.follows(topic)
        else { return nil }
        return topic
    }

    // MARK: Subscriptions

    /// A place in the slab for somebody who speaks through the connection. There are no more of
    /// them than connections have namespaces, and 24 bits name it.
    func takePlace(of connection: Connection) -> SubscriberKey {
        let place: UInt32
        if let free = freePlaces.popLast() {
            place = free
            transports[Int(place)] = connection.key.slot
        } else {
            place = UInt32(subscribers.count)
            subscribers.append(nil)
            transports.append(connection.key.slot)
        }
        subscriberGeneration = subscriberGeneration == .max ? 1 : subscriberGeneration + 1
        return SubscriberKey(place: place, shard: index, generation: subscriberGeneration)
    }

    /// The session of that key, while it lives.
    func session(_ key: SubscriberKey) -> Session? {
        guard Int(key.place) < subscribers.count, let found = subscribers[Int(key.place)],
            found.key == key
        else { return nil }
        return found.session
    }

    /// What was said to it may have ended it.
    func isLive(_ session: Session) -> Bool { subscribers[Int(session.place)] === session }

    /// The connection that a subscriber speaks through.
    func transport(of subscriber: Subscriber) -> Connection? {
        connections[Int(transports[Int(subscriber.place)])]
    }

    /// Ends all that it follows; its place is another's from here on.
    func removeSubscriber(_ subscriber: Subscriber) {
        let subscriptions = subscriber.subscriptions
        subscriber.subscriptions = []
        counters[.subscriptions] -= subscriptions.count
        for subscription in subscriptions {
            guard let topic = topics[Int(subscription.topic)] else { continue }
            removeMember(Int(subscription.member), of: topic)
            releaseIfUnused(topic)
        }
        subscribers[Int(subscriber.place)] = nil
        freePlaces.append(subscriber.place)
    }

    func subscribe(_ subscriber: Subscriber, to topic: Topic, deliveredSeq: Seq) {
        let member = topic.add(subscriber, deliveredSeq: deliveredSeq)
        subscriber.subscriptions.append(Subscription(topic: topic.index, member: member))
        counters[.subscriptions] += 1
    }

    /// Ends a subscription. Returns how far the subscriber had been served.
    @discardableResult
    func unsubscribe(_ subscriber: Subscriber, from topic: Topic) -> Seq? {
        guard
            let place = subscriber.subscriptions.firstIndex(where: { $0.topic == topic.index })
        else { return nil }
        let member = Int(subscriber.subscriptions[place].member)
        let delivered = topic.deliveredSeq(of: member)
        removeMember(member, of: topic)
        subscriber.subscriptions.swapAt(place, subscriber.subscriptions.count - 1)
        subscriber.subscriptions.removeLast()
        counters[.subscriptions] -= 1
        return delivered
    }

    private func removeMember(_ index: Int, of topic: Topic) {
        topic.remove(at: index) { member, place in
            subscribers[Int(member.place)]?.hasMoved(in: topic.index, to: place)
        }
    }

    // MARK: Fan-out

    /// Members that one step serves, over all topics; and of one topic before the next has its turn.
    static let fanOutStepMembers = 2_000
    static let fanOutTurnMembers = 500

    func accept(_ delivery: Delivery) {
        guard let index = topicIndices[delivery.channel], let topic = topics[Int(index)],
            topic.isFollowing
        else { return }
        if case .disconnect = delivery.content, case .user(let user) = delivery.channel {
            forgetSessions(of: user)
        }
        var delivery = delivery
        if delivery.seq > 0, delivery.origin.instance == 0,
            case .chat(let chat) = delivery.channel
        {
            // Read from the store: whoever caused it here has its ack.
            let subscriber = recentEntries.subscriber(of: delivery.seq, in: chat)
            if subscriber != 0 {
                delivery = delivery.caused(
                    by: Origin(instance: configuration.instance, subscriber: subscriber))
            }
        }
        if encodesLegacy, let message = delivery.message, case .chat(let chat) = delivery.channel {
            recentMessages.note(chat, for: message)
        }
        let before = topic.pendingBytes
        guard topic.accept(delivery) else { return }
        pendingFanOutBytes += topic.pendingBytes - before
        if let membership = delivery.membership, membership.endsMembership,
            !isRemovalForgotten(delivery)
        {
            serveLast(membership.user, through: delivery.seq, of: topic)
        }
        if topic.pendingBytes > 0, !topic.isQueued {
            topic.isQueued = true
            fanOutQueue.append(topic.index)
        }
    }

    /// Planted.
    private func isRemovalForgotten(_ delivery: Delivery) -> Bool {
        configuration.planted.contains(.removalOutOfOrder)
            && delivery.origin.instance != configuration.instance
    }

    /// A member is gone: their connections get everything up to that entry now, and nothing after
    /// it.
    private func serveLast(_ user: UserID, through end: Seq, of topic: Topic) {
        guard let state = users[user] else { return }
        for key in state.sessions {
            guard let session = session(key),
                let subscription = session.subscriptions.first(where: {
                    $0.topic == topic.index
                })
            else { continue }
            let served = topic.deliveredSeq(of: Int(subscription.member))
            // It joined by a membership that was read later than this one ended.
            guard served < end else { continue }
            let passing = topic.pass?.deliveries ?? []
            for delivery in passing + topic.pending where delivery.seq > served {
                deliver(delivery, to: session)
            }
            unsubscribe(session, from: topic)
            // The news that they are back may have overtaken this one on its way from another shard.
            if session.dialect.followsAll, case .chat(let chat) = topic.channel {
                broughtIn(session, to: chat, since: topic.applied)
            }
        }
        releaseIfUnused(topic)
    }

    /// One step: up to 2,000 members, each given everything that waits for it; the rest goes on in
    /// the next tick, so a large channel holds up nobody else.
    func fanOutStep() {
        var budget = Self.fanOutStepMembers
        while budget > 0, fanOutStart < fanOutQueue.count {
            let index = fanOutQueue[fanOutStart]
            guard let topic = topics[Int(index)], topic.isQueued else {
                fanOutStart += 1
                continue
            }
            if topic.pass == nil {
                pendingFanOutBytes -= topic.pendingBytes
                topic.beginPass(instance: configuration.instance)
            }
            budget -= max(1, servePass(of: topic, budget: min(budget, Self.fanOutTurnMembers)))
            fanOutStart += 1
            if let pass = topic.pass, pass.position >= topic.members.count { topic.endPass() }
            if topic.pass == nil, topic.pending.isEmpty {
                topic.isQueued = false
            } else {
                // Behind the others: a large channel holds up nobody.
                fanOutQueue.append(index)
            }
        }
        if fanOutStart == fanOutQueue.count {
            fanOutQueue.removeAll(keepingCapacity: true)
            fanOutStart = 0
        } else if fanOutStart > 1_024 {
            fanOutQueue.removeFirst(fanOutStart)
            fanOutStart = 0
        }
    }

    /// Serves up to `budget` members. Returns how many.
    private func servePass(of topic: Topic, budget: Int) -> Int {
        guard let pass = topic.pass else { return 0 }
        var served = 0
        // Counted here and not at each member: the counters are another module's.
        var (deliveries, bytes) = (0, 0)
        func count() {
            counters[.deliveries] += deliveries
            counters[.outboxBytes] += bytes
            (deliveries, bytes) = (0, 0)
        }
        // Whoever is closed for being too slow leaves the topic, so its members are asked each time.
        while served < budget, pass.position < topic.members.count {
            let index = pass.position
            let member = topic.members[index]
            let delivered = topic.visit(index, pass)
            served += 1
            guard let connection = connections[Int(transports[Int(member.place)])] else { continue }
            guard pass.isPlain, pass.firstSeq > delivered || pass.firstSeq == 0 else {
                count()
                serve(connection, member, pass, after: delivered)
                continue
            }
            bytes += servePlain(connection, member, pass)
            deliveries += pass.deliveries.count
            if connection.outbox.count > Self.smallOutbox {
                count()
                closeIfTooSlow(connection)
            }
        }
        count()
        return served
    }

    /// Everything that the pass has, as it is. Returns the bytes, which the caller counts before it
    /// judges whether the reader is too slow.
    @inline(__always)
    private func servePlain(
        _ connection: Connection, _ member: Topic.Member, _ pass: Topic.Pass
    ) -> Int {
        let encoding = member.encoding
        let before = connection.outbox.count
        if let run = pass.run(in: encoding, from: &pool) {
            connection.outbox.append(run, from: &pool)
        } else {
            let bytes = pass.joined(in: encoding)
            // What its namespace does not hear.
            if bytes.bytes.isEmpty { return 0 }
            connection.outbox.append(shared: bytes, from: &pool)
        }
        markDirty(connection)
        if encoding.isSocketIO, pass.firstSeq > 0 { noteGiven(connection, member, pass) }
        return connection.outbox.count - before
    }

    private func noteGiven(
        _ connection: Connection, _ member: Topic.Member, _ pass: Topic.Pass
    ) {
        oweReceipt(connection)
        guard member.encoding.hasOffsets, case .chat(let chat)? = pass.deliveries.first?.channel
        else { return }
        subscribers[Int(member.place)]?.session?.recovery?.note(chat, pass.firstSeq...pass.lastSeq)
    }

    /// The connection was given entries: where it is a Socket.IO client's, its next pong says that
    /// they arrived, and is asked for soon.
    func oweReceipt(_ connection: Connection) {
        if let engine = connection.engine, !engine.isOwedPing { owePing(engine) }
    }

    /// Where not everybody gets everything.
    private func serve(
        _ connection: Connection, _ member: Topic.Member, _ pass: Topic.Pass, after delivered: Seq
    ) {
        guard let subscriber = subscribers[Int(member.place)] else { return }
        if !pass.isSelective, pass.firstSeq == 0 || pass.firstSeq > delivered,
            !pass.exceptions.contains(subscriber.key.packed),
            !pass.hasDroppable || connection.outbox.count < limits.outboxBytes / 2
        {
            counters[.outboxBytes] += servePlain(connection, member, pass)
            counters[.deliveries] += pass.deliveries.count
            closeIfTooSlow(connection)
            return
        }
        for (index, delivery) in pass.deliveries.enumerated()
        where delivery.seq == 0 || delivery.seq > delivered {
            deliver(delivery, to: subscriber) { $0 += pass.piece(index, in: subscriber.encoding) }
        }
    }

    /// The careful path: one delivery to one subscriber, if it is for them.
    func deliver(_ delivery: Delivery, to subscriber: Subscriber) {
        deliver(delivery, to: subscriber) { delivery.append(in: subscriber.encoding, to: &$0) }
    }

    private func deliver(
        _ delivery: Delivery, to subscriber: Subscriber, _ write: (inout [UInt8]) -> Void
    ) {
        // An earlier one of the same run may have filled its outbox: nothing follows a close frame.
        guard let connection = transport(of: subscriber), connection.isOpen else { return }
        let isOrigin =
            delivery.origin.instance == configuration.instance
            && delivery.origin.subscriber == subscriber.key.packed
        switch delivery.audience {
        case .all: break
        case .allButOrigin: if isOrigin { return }
        case .allButCanonicalOrigin: if isOrigin, !subscriber.dialect.hearsEcho { return }
        case .user(let user):
            guard !isOrigin, subscriber.session?.user.id == user else { return }
        }
        switch delivery.content {
        case .joined(let chat, let since):
            if subscriber.dialect.followsAll, let session = subscriber.session {
                broughtIn(session, to: chat, since: since)
            }
            return
        case .disconnect:
            if let session = subscriber.session { revoke(session) }
            return
        case .event, .text:
            break
        }
        if delivery.isDroppable, connection.outbox.count >= limits.outboxBytes / 2 {
            counters[.droppedEphemeral] += 1
            return
        }
        append(to: connection, write)
        if subscriber.encoding.isSocketIO, delivery.seq > 0 {
            oweReceipt(connection)
            if subscriber.encoding.hasOffsets, case .chat(let chat) = delivery.channel {
                subscriber.session?.recovery?.note(chat, delivery.seq...delivery.seq)
            }
        }
        counters[.deliveries] += 1
        closeIfTooSlow(connection)
    }

    // MARK: Bench rooms

    func joinRoom(_ connection: Connection, _ name: String) {
        let topic = topic(for: .room(name))
        let subscriber = Subscriber(
            key: takePlace(of: connection), encoding: connection.encoding)
        subscribers[Int(subscriber.place)] = subscriber
        connection.subscriber = subscriber
        subscribe(subscriber, to: topic, deliveredSeq: 0)
    }

    func publishToRoom(_ connection: Connection, _ text: [UInt8]) {
        guard let subscriber = connection.subscriber,
            let subscription = subscriber.subscriptions.first,
            let topic = topics[Int(subscription.topic)]
        else { return }
        publish(topic.channel, .text(text), from: subscriber.key)
    }
}
