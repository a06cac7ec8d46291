import Basics

/// Outgoing messages: one under way at a time, each under its own clientMsgId until it is acked.
extension ConnectModel {
    mutating func enqueue(_ text: String) {
        clientMessageCount += 1
        let line = append(.own(text, .sending))
        queue.append(
            Pending(
                line: line, clientMessageID: "\(clientMessagePrefix)-\(clientMessageCount)",
                text: text))
    }

    mutating func sendNext(now: Instant) {
        while phase == .live, underWay == nil, let next = queue.first {
            if let retrySendAt, now < retrySendAt { return }
            let request = takeRequest()
            let frame = Frames.send(
                next.text, to: chat, clientMessageID: next.clientMessageID, id: request)
            // A frame over the limit would end the connection, and again after each reconnect.
            guard next.text.utf8.count <= ciphertextBytes, frame.count <= frameBytes else {
                fail("longer than the server takes (\(ciphertextBytes) bytes)")
                continue
            }
            if let wait = pace.take(now: now) {
                retrySendAt = now.advanced(byMilliseconds: wait)
                return
            }
            retrySendAt = nil
            queue[0].wasSent = true
            underWay = (request, now)
            effects.append(.send(frame))
        }
    }

    /// The answer to the message under way.
    mutating func sent(_ ack: ServerEvent.Ack, now: Instant) {
        underWay = nil
        guard let message = queue.first else { return }
        if let problem = ack.problem {
            if Self.isRetryable(problem.code) {
                let wait = min(max(problem.retryAfterMs ?? 1_000, 50), 60_000)
                retrySendAt = now.advanced(byMilliseconds: Int(wait))
                return
            }
            fail(problem.message)
        } else if let seq = ack.seq {
            log.insert(seq)
            held.removeAll { $0.seq == seq }
            queue.removeFirst()
            update(line: message.line, .own(message.text, delivery(of: seq)))
        } else {
            fail("the server's ack has no seq")
        }
        releaseHeld()
    }

    /// The first of the queue will not be sent.
    private mutating func fail(_ reason: String) {
        let message = queue.removeFirst()
        update(line: message.line, .own(message.text, .failed(reason)))
        releaseHeld()
    }

    /// Entries of our own devices that turned out not to be the message under way.
    private mutating func releaseHeld() {
        let released = held
        held = []
        for message in released { show(message) }
    }

    /// When `tick` has something to do next, apart from silence; nil for nothing in sight.
    package var nextSendAt: Instant? { underWay == nil && !queue.isEmpty ? retrySendAt : nil }
}
