import Client
import Glibc
import LoadCore
import Reactor

/// What goes out: messages by a schedule or as answers come, and one write a connection and tick.
extension Worker {
    /// A sender that has more than this unsent has a server that does not read.
    private static let mostUnsent: Int32 = 64 << 20
    /// Sends of one tick, so that reading goes on where the schedule is far behind.
    private static let mostPerTick = 4_096
    /// Behind its schedule by more than this, the harness says so.
    private static let lateness: UInt64 = 10_000_000

    // MARK: Open loop

    func sendDue() {
        guard var arrivals = self.arrivals else { return }
        var count = 0
        while arrivals.next <= now, count < Self.mostPerTick {
            let due = arrivals.next
            arrivals.advance()
            count += 1
            if now &- due > Self.lateness, due &- windowStart < windowLength { report.late &+= 1 }
            if scenario.traffic == .typing {
                typeNext(due: due)
            } else {
                sendByAnyone(due: due)
            }
        }
        self.arrivals = arrivals
    }

    /// By a sender of chance; by the next one if that is away, for who is away says nothing.
    private func sendByAnyone(due: UInt64) {
        var place = random.index(below: senders.count)
        for _ in 0..<senders.count {
            if unsafe table[Int(senders[place].connection)].phase == .ready {
                sendNext(place, due: due)
                sendBesides(due: due)
                return
            }
            place = place + 1 == senders.count ? 0 : place + 1
        }
        if due &- windowStart < windowLength { report.unsent &+= 1 }
    }

    /// What a mixed day has besides messages.
    private func sendBesides(due: UInt64) {
        typingDebt += scenario.typingShare
        while typingDebt >= 1 {
            typingDebt -= 1
            typeNext(due: due)
        }
        readDebt += scenario.readShare
        while readDebt >= 1 {
            readDebt -= 1
            readNext()
        }
    }

    // MARK: Closed loop

    /// Every sender begins with all it may have in flight.
    func sendFirst() {
        guard let inFlight = scenario.inFlight else { return }
        for sender in senders.indices {
            for _ in 0..<inFlight {
                if scenario.thinkTime > 0 {
                    thinkThenSend(sender)
                } else {
                    sendNext(sender, due: now)
                }
            }
        }
    }

    private func thinkThenSend(_ sender: Int) {
        let pause = random.exponential(mean: Double(scenario.thinkTime))
        schedule(.think, sender, at: now + UInt64(pause))
    }

    /// One of those who must have a message has it.
    @inline(__always)
    func arrived(_ sender: Int, _ channel: Int, _ number: UInt32) {
        let inFlight = scenario.inFlight ?? 1
        let place =
            (sender &* channelCount &+ channel) &* inFlight &+ Int(number) % inFlight
        guard flights[place].number == number, flights[place].remaining > 0 else { return }
        flights[place].remaining &-= 1
        if flights[place].remaining == 0 { completed(sender) }
    }

    func giveUp(_ sender: Int, _ channel: Int, _ number: UInt32) {
        let inFlight = scenario.inFlight ?? 1
        let place = (sender * channelCount + channel) * inFlight + Int(number) % inFlight
        guard flights[place].number == number, flights[place].remaining > 0 else { return }
        flights[place].remaining = 0
        completed(sender)
    }

    private func completed(_ sender: Int) {
        senders[sender].outstanding -= 1
        guard isSending else { return }
        if scenario.thinkTime > 0 { thinkThenSend(sender) } else { sendNext(sender, due: now) }
    }

    // MARK: One message

    /// The next message of a sender, in one of its channels.
    func sendNext(_ sender: Int, due: UInt64) {
        let connection = Int(senders[sender].connection)
        guard unsafe table[connection].phase == .ready else { return }
        let channel = channelCount == 1 ? 0 : random.index(below: channelCount)
        let place = sender * channelCount + channel
        numbers[place] &+= 1
        let number = numbers[place]
        if due &- windowStart < windowLength { report.sent &+= 1 }
        if let inFlight = scenario.inFlight {
            senders[sender].outstanding += 1
            let receivers =
                listeners[unsafe Int(table[connection].block)] - (dialect.hearsItself ? 0 : 1)
            let flight = place * inFlight + Int(number) % inFlight
            flights[flight] = Flight(
                number: number, remaining: UInt32(max(0, receivers)) + (dialect.hasAcks ? 1 : 0))
        }
        senders[sender].lastID += 1
        let id = senders[sender].lastID
        if dialect.hasAcks {
            senders[sender].unanswered.append(
                Sender.Unanswered(id: id, time: due, number: number, channel: Int32(channel)))
        }
        transmit(sender, channel, number: number, time: due, id: id)
    }

    /// Comes back with what had no answer: the same texts, so that the server can tell.
    func resend(_ index: Int) {
        let sender = unsafe Int(table[index].sender)
        guard sender >= 0 else { return }
        for message in senders[sender].unanswered {
            transmit(
                sender, Int(message.channel), number: message.number, time: message.time,
                id: message.id)
        }
    }

    private func transmit(
        _ sender: Int, _ channel: Int, number: UInt32, time: UInt64, id: UInt64
    ) {
        let connection = Int(senders[sender].connection)
        let head = unsafe Content.Head(
            run: plan.run, channel: table[connection].firstChannel + UInt32(channel),
            sender: UInt32(table[connection].rank), number: number, time: time)
        var count = 0
        func put(_ text: [UInt8]) {
            unsafe (scratch + count).update(from: text, count: text.count)
            count += text.count
        }
        if dialect.isProduct {
            let isPacket = dialect == .socketV1
            put(isPacket ? Self.packetStart : Self.sendHead)
            put(Array("\(id)".utf8))
            put(isPacket ? Self.packetHead : Self.sendChat)
            put(Array(chat(connection, channel).utf8))
            put(Self.sendClientID)
            // Of one sender in one chat, as `clientMsgId` has it.
            put(Array("\(plan.run)-\(number)".utf8))
            put(Self.sendContent)
            unsafe Content.write(head, size: scenario.size, to: scratch + count)
            count += scenario.size
            put(isPacket ? Self.packetTail : Self.sendTail)
        } else if dialect == .raw || dialect == .nchan {
            unsafe Content.write(head, size: scenario.size, to: scratch)
            count = scenario.size
        } else {
            let room = LoadDialect.roomName(run: plan.run, channel: Int(head.channel))
            let envelope = dialect.envelope(room: room, size: scenario.size)
            put(envelope.head)
            unsafe Content.write(head, size: scenario.size, to: scratch + count)
            count += scenario.size
            put(envelope.tail)
        }
        unsafe queue(
            Int(senders[sender].outlet), opcode: dialect.opcode, UnsafePointer(scratch), count)
    }

    private static let sendHead = Array(#"{"type":"message.send","id":"#.utf8)
    private static let sendChat = Array(#","payload":{"chatId":""#.utf8)
    private static let sendClientID = Array(#"","clientMsgId":""#.utf8)
    private static let sendContent = Array(#"","encryptedContent":""#.utf8)
    private static let packetStart = Array("42".utf8)
    private static let packetHead = Array(#"["message.send",{"chatId":""#.utf8)
    private static let packetTail = Array(#"","type":"text"}]"#.utf8)
    private static let sendTail = Array(#"","type":"text"}}"#.utf8)

    // MARK: Typing and reading

    /// Somebody begins to type, or the one who has typed longest ends. Servers tell of a beginning
    /// once in 2 s, and end it themselves after 6 s, so each waits longer than the one and types
    /// shorter than the other: about a second.
    private func typeNext(due: UInt64) {
        let rate =
            scenario.traffic == .typing
            ? scenario.rate ?? 1 : (scenario.rate ?? 1) * scenario.typingShare
        let depth = max(1, Int(rate / 2) * senders.count / max(1, topology.senderCount(in: range)))
        while typists.count >= depth || (typists.count > 0 && isLong(typists[0])) {
            let sender = Int(typists.removeFirst())
            if senders[sender].isTyping {
                type(sender, false, due)
                return
            }
        }
        for _ in 0..<senders.count {
            typingCursor = typingCursor + 1 < senders.count ? typingCursor + 1 : 0
            let sender = typingCursor
            guard !senders[sender].isTyping, now &- senders[sender].beganTyping > 2_050_000_000,
                unsafe table[Int(senders[sender].connection)].phase == .ready
            else { continue }
            type(sender, true, due)
            typists.append(Int32(sender))
            return
        }
        if due &- windowStart < windowLength { report.late &+= 1 }
    }

    private func isLong(_ sender: Int32) -> Bool {
        now &- senders[Int(sender)].beganTyping > 4_000_000_000
    }

    private func type(_ sender: Int, _ isTyping: Bool, _ due: UInt64) {
        let connection = Int(senders[sender].connection)
        guard unsafe table[connection].phase == .ready else { return }
        senders[sender].isTyping = isTyping
        senders[sender].typingTime = due
        if isTyping { senders[sender].beganTyping = now }
        if due &- windowStart < windowLength {
            report.typingSent &+= 1
            if scenario.traffic == .typing { report.sent &+= 1 }
        }
        queue(connection, Frames.typing(chat(connection, 0), isTyping: isTyping))
    }

    /// Somebody has read what came last.
    private func readNext() {
        let index = random.index(below: count)
        let channel = channelCount == 1 ? 0 : random.index(below: channelCount)
        let seq = cursors[index * channelCount + channel]
        guard seq > 0, unsafe table[index].phase == .ready else { return }
        queue(index, Frames.read(chat(index, channel), seq: Int64(seq)))
    }

    // MARK: Out

    /// A text of the dialect; over Socket.IO a frame of the plain face, which becomes its packet.
    func queue(_ index: Int, _ text: [UInt8]) {
        queuePacket(index, dialect == .socketV1 ? SocketFrame.packet(of: text) : text)
    }

    func queuePacket(_ index: Int, _ text: [UInt8]) {
        unsafe text.withUnsafeBufferPointer {
            guard let base = $0.baseAddress else { return }
            unsafe queue(index, opcode: dialect.opcode, base, $0.count)
        }
    }

    /// A frame that leaves with the tick.
    @inline(__always)
    func queue(_ index: Int, opcode: UInt8, _ payload: UnsafePointer<UInt8>, _ count: Int) {
        guard unsafe table[index].fd >= 0 else { return }
        let room = ClientFrame.headCount(forPayload: count) &+ count
        let target = unsafe table[index].output.reserve(room)
        keyState ^= keyState &<< 13
        keyState ^= keyState &>> 7
        keyState ^= keyState &<< 17
        unsafe ClientFrame.write(
            opcode: opcode, payload, count: count, key: UInt32(truncatingIfNeeded: keyState &>> 16),
            to: target)
        unsafe table[index].output.commit(room)
        markDirty(index)
    }

    @inline(__always)
    func markDirty(_ index: Int) {
        guard unsafe !table[index].isDirty else { return }
        unsafe table[index].isDirty = true
        dirty.append(Int32(index))
    }

    func flushDirty() {
        var place = 0
        while place < dirty.count {
            let index = Int(dirty[place])
            place += 1
            unsafe table[index].isDirty = false
            if unsafe !table[index].waitsForOutput { flush(index) }
        }
        dirty.removeAll(keepingCapacity: true)
    }

    func flush(_ index: Int) {
        guard unsafe table[index].fd >= 0, unsafe !table[index].output.isEmpty,
            let base = unsafe table[index].output.base
        else { return }
        let count = unsafe Int(table[index].output.count)
        let written = unsafe Socket.write(
            table[index].fd, UnsafeRawBufferPointer(start: base, count: count))
        guard written >= 0 else { return lose(index, "reset by the server") }
        if written == count {
            // Who sends will send again.
            if unsafe table[index].sender >= 0 {
                unsafe table[index].output.clear()
            } else {
                unsafe table[index].output.release()
            }
        } else {
            unsafe table[index].output.drop(first: written)
            if unsafe table[index].output.count > Self.mostUnsent {
                return lose(index, "the server does not read")
            }
        }
        let waits = written < count
        guard unsafe waits != table[index].waitsForOutput else { return }
        unsafe table[index].waitsForOutput = waits
        setInterest(index)
    }

    /// Reads, unless it is one of the slow in the measured window; writes, where something waits.
    func setInterest(_ index: Int) {
        let reads = unsafe !(table[index].isSlow && isWindow)
        do throws(SystemError) {
            try poller.setInterest(
                unsafe table[index].fd, tag(index), reads: reads,
                writes: unsafe table[index].waitsForOutput)
        } catch {
            lose(index, "\(error)")
        }
    }
}
