import Basics
import BusCore
import Domain
import StoreCore
import Wire

/// What the store's answers set off: commit, then ack, then publish.
extension GatewayShard {
    func receive(_ answer: LaneAnswer) {
        guard let work = pendingWork[answer.ticket] else { return }
        if case .unknown = answer.result {
            // The batch is still being resolved: if it was committed, the chats must hear of it
            // then.
            tellUnknown(work)
            return
        }
        pendingWork[answer.ticket] = nil
        switch work {
        case .send(let key, let id, let chat, let clientMessageID):
            sent(key, id, chat, clientMessageID, answer.result)
        case .cursor(let waiter, let name, let origin):
            cursorMoved(waiter, name, origin: origin, answer.result)
        case .typing(let key, let id, let chat, let isTyping):
            mayType(key, id, chat, isTyping, answer.result)
        case .catchUpList(let key): listed(key, answer.result)
        case .catchUpOpen(let key): opened(key, answer.result)
        case .catchUpRead(let key): pageRead(key, answer.result)
        case .recoveryFound(let key): keptFound(key, answer.result)
        case .kept(let key): kept(key, answer.result)
        case .owed(let operation): owedAnswered(operation, answer.result)
        case .readMessage(let key, let id, let message, let isPrivate):
            found(key, id, message, isPrivate: isPrivate, answer.result)
        case .token(let question): tokenRead(question, answer.result)
        case .nothing: break
        case .head(let chat):
            guard case .outcome(.head(let seq)) = answer.result else {
                homes.headFailed(chat)
                startChatTimer(ChatTimer(chat: chat, retriesHead: true), inMs: 500)
                return
            }
            var effects: [HomeDirectory.Effect] = []
            homes.headRead(chat, head: seq, effects: &effects)
            carryOut(effects)
        case .range(let chat):
            var effects: [HomeDirectory.Effect] = []
            if case .outcome(.range(let entries)) = answer.result {
                homes.rangeRead(chat, entries, effects: &effects)
            } else {
                homes.readFailed(chat, effects: &effects)
            }
            carryOut(effects)
        case .marked(let receipt, let origin):
            guard case .outcome(.range(let entries)) = answer.result, let entry = entries.first
            else { return }
            var effects: [HomeDirectory.Effect] = []
            homes.markedRead(receipt, origin, entry, effects: &effects)
            carryOut(effects)
        case .news(let chats): newsRead(chats, answer.result)
        case .notices(let chats): noticesRead(chats, answer.result)
        case .locate(let channel, let entry): located(entry, on: channel, answer.result)
        case .http(let key, let work):
            answered(key, work, answer.result)
        }
    }

    /// P5: nobody can say whether it was stored, so nothing is said: the connection ends, and the
    /// client resends under the same id.
    private func tellUnknown(_ work: PendingWork) {
        switch work {
        case .send(let key, _, _, _), .typing(let key, _, _, _), .catchUpList(let key),
            .catchUpOpen(let key), .catchUpRead(let key), .recoveryFound(let key), .kept(let key),
            .readMessage(let key, _, _, _):
            if let session = session(key) { disconnect(session, .commitUnknown) }
        case .cursor(let waiter, _, _):
            if let waiter, let session = session(waiter.session) {
                disconnect(session, .commitUnknown)
            }
        case .http(let key, _):
            if let connection = connection(key) { close(connection) }
        case .token(let question):
            if let engine = engines[question.engine] { end(engine, .commitUnknown, poll: .refused) }
        case .head, .range, .marked, .news, .notices, .locate, .nothing, .owed:
            break
        }
    }

    private func sent(
        _ key: SubscriberKey, _ id: RequestID?, _ chat: ChatID, _ clientMessageID: String?,
        _ result: LaneAnswer.Result
    ) {
        let completion = completion(of: result) { Core.completeSend($0, chat: chat) }
        switch completion.reply {
        case .sent(_, _, _, _, let isDuplicate):
            counters[isDuplicate ? .sendsDuplicate : .sendsAccepted] += 1
        case .refused:
            counters[.sendsRefused] += 1
        case .cursor, .done:
            break
        }
        if let session = session(key) {
            reply(session, id, .send, completion.reply)
            if id == nil || session.dialect.tellsStored,
                case .sent(let message, let chat, let seq, _, _) = completion.reply
            {
                send(
                    session,
                    EventEncoder.messageStored(
                        id: message, clientMessageID: clientMessageID, chat: chat, seq: seq))
            }
        }
        announce(completion.announcements, from: key)
    }

    /// A batch that was certainly not stored is refused; what was is the core's to judge.
    func completion(
        of result: LaneAnswer.Result, _ complete: (Outcome) -> Completion = Core.complete
    ) -> Completion {
        guard case .outcome(let outcome) = result else {
            return Completion(reply: .refused(.storeUnavailable), announcements: [])
        }
        return complete(outcome)
    }

    func announce(_ announcements: [Announcement], from key: SubscriberKey?) {
        for announcement in announcements {
            switch announcement {
            case .entry(let entry):
                if configuration.planted.contains(.publishBeforeCommit),
                    case .message = entry.body
                {
                    continue
                }
                if let key { recentEntries.note(entry.seq, of: entry.chat, by: key) }
                publish(.chat(entry.chat), .entry(entry), from: key)
                if case .membership(let change) = entry.body, !change.endsMembership {
                    publish(
                        .user(change.user), .joined(entry.chat, since: entry.seq - 1), from: nil)
                }
            case .receipt(let receipt):
                publish(.chat(receipt.chat), .receipt(receipt), from: key)
            }
        }
    }

    private func cursorMoved(
        _ waiter: CursorWaiter?, _ name: CommandName, origin: UInt64,
        _ result: LaneAnswer.Result
    ) {
        let completion = completion(of: result)
        let origin = SubscriberKey(packed: origin)
        if let waiter, let session = session(waiter.session) {
            reply(session, waiter.id, name, completion.reply)
        } else if case .refused(let error) = completion.reply, let session = session(origin) {
            reply(session, nil, name, .refused(error))
        }
        announce(completion.announcements, from: origin)
    }

    private func mayType(
        _ key: SubscriberKey, _ id: RequestID?, _ chat: ChatID, _ isTyping: Bool,
        _ result: LaneAnswer.Result
    ) {
        guard let session = session(key) else { return }
        guard case .outcome(.opened(let opened)) = result, let open = opened.first else {
            reply(session, id, .type, .refused(.storeUnavailable))
            return
        }
        guard open.access == .member else {
            reply(session, id, .type, .refused(CommandError(Refusal.notFound)))
            return
        }
        setTyping(isTyping, in: chat, memberCount: open.memberCount, id, session)
    }

    /// The node ends: no new work, and a close that tells the client when to come back.
    func beginDraining() {
        isDraining = true
        for connection in connections {
            guard let connection else { continue }
            if connection.isOpen {
                // Spread, so that they do not all come to the next instance in one instant.
                let retryMs = 500 + identifiers.bits() % 2_500
                disconnect(connection, .draining, text: "{\"retryMs\":\(retryMs)}")
            } else if connection.phase == .http, !connection.isAnswering {
                drain(connection)
            }
        }
    }
}
