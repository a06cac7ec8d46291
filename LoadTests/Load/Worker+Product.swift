import Basics
import Client
import LoadCore
import Wire

/// Martlet's plain face, both dialects: joins and resumes, deliveries with a seq, acks, typing.
extension Worker {
    @inline(__always)
    func takeProduct(_ index: Int, _ payload: UnsafePointer<UInt8>, _ count: Int) {
        // While greeting, acks are those of joins, which say more.
        if unsafe table[index].phase == .ready,
            let frame = unsafe ProductFrame.scan(payload, count: count, names, hint: &contentHint)
        {
            unsafe take(frame, index, payload)
            return
        }
        let text = unsafe UnsafeBufferPointer(start: payload, count: count)
        guard let frame = ProductFrame.read(unsafe text.span, with: &json) else {
            noteError("a frame that is none of the protocol's")
            return
        }
        unsafe take(frame, index, payload)
    }

    @inline(__always)
    private func take(_ frame: ProductFrame, _ index: Int, _ payload: UnsafePointer<UInt8>) {
        switch frame.kind {
        case .message:
            unsafe takeContent(
                index, payload + frame.content.lowerBound, frame.content.count, seq: frame.seq)
        case .ack: unsafe takeAck(frame, index, payload)
        case .typing: unsafe takeTyping(frame, index, payload)
        case .ready: sessionReady(index)
        case .caughtUp: becomeReady(index)
        case .error: noteError("error \(unsafe Self.text(payload, frame.code))")
        case .other: break
        }
    }

    static func text(_ bytes: UnsafePointer<UInt8>, _ range: Range<Int>) -> String {
        let buffer = unsafe UnsafeBufferPointer(
            start: bytes + range.lowerBound, count: range.count)
        return unsafe String(decoding: buffer, as: UTF8.self)
    }

    // MARK: Getting in

    private func sessionReady(_ index: Int) {
        guard unsafe table[index].phase == .greeting else { return }
        guard !plan.chats.isEmpty else { return becomeReady(index) }
        let chats = (0..<channelCount).map { chat(index, $0) }
        if unsafe table[index].isReturning {
            unsafe table[index].greetings = 1
            let cursors = (0..<channelCount).map {
                (chat: chats[$0], seq: Int64(self.cursors[index * channelCount + $0]))
            }
            queue(index, Frames.resume(cursors, id: 1))
        } else {
            unsafe table[index].greetings = Int32(channelCount)
            for (number, chat) in chats.enumerated() {
                queue(index, Frames.join(chat, id: Int64(number)))
            }
        }
    }

    func chat(_ index: Int, _ channel: Int) -> String {
        plan.chats[unsafe Int(table[index].firstChannel) - plan.firstChannel + channel]
    }

    private func takeAck(_ frame: ProductFrame, _ index: Int, _ payload: UnsafePointer<UInt8>) {
        guard unsafe table[index].phase == .ready else {
            guard frame.isOK else {
                lose(index, "join refused: \(unsafe Self.text(payload, frame.code))")
                return
            }
            unsafe table[index].greetings -= 1
            // A resume is done when all has been replayed, which `caughtUp` says.
            guard unsafe !table[index].isReturning else { return }
            if frame.id < UInt64(channelCount) {
                cursors[index * channelCount + Int(frame.id)] = frame.lastSeq
            }
            if unsafe table[index].greetings == 0 { becomeReady(index) }
            return
        }
        let sender = unsafe Int(table[index].sender)
        guard sender >= 0,
            let place = senders[sender].unanswered.firstIndex(where: { $0.id == frame.id })
        else { return }
        let message = senders[sender].unanswered.remove(at: place)
        let channel = Int(message.channel)
        if frame.isOK {
            let number = sender * channelCount + channel
            acknowledged[number] = max(acknowledged[number], message.number)
            if message.time &- windowStart < windowLength {
                report.acked &+= 1
                report.ack.record(now > message.time ? now &- message.time : 0)
            }
        } else {
            noteError("send refused: \(unsafe Self.text(payload, frame.code))")
            excuse(index, channel, message.number)
        }
        if !flights.isEmpty {
            arrived(sender, channel, message.number)
            // A refused message reaches nobody: its place is free.
            if !frame.isOK { giveUp(sender, channel, message.number) }
        }
    }

    /// Nobody needs to have got that one. Beyond the bound it counts as lost, and the findings are
    /// incomplete: where others have to be told, each is told of all workers' together.
    func excuse(_ index: Int, _ channel: Int, _ number: UInt32) {
        let bound = topology.isWhole(among: plan.workers) ? 1_000_000 : 500_000 / plan.workers
        guard excused.count < bound else {
            oracle.findings.isIncomplete = true
            return
        }
        excused.append(
            unsafe WorkerReport.Lane(
                channel: table[index].firstChannel + UInt32(channel),
                sender: UInt32(table[index].rank), number: number))
    }

    // MARK: Typing

    private func takeTyping(_ frame: ProductFrame, _ index: Int, _ payload: UnsafePointer<UInt8>) {
        let first = frame.user.lowerBound + LoadDialect.userNumberOffset
        guard first < frame.user.upperBound,
            let user = Int(unsafe Self.text(payload, first..<frame.user.upperBound))
        else { return }
        let block = user / topology.blockSize - firstBlock
        let rank = user % topology.blockSize
        guard block >= 0, block < blockCount, rank < senderCount else { return }
        let from = senderOf[block * senderCount + rank]
        guard from >= 0, senders[Int(from)].isTyping == frame.isTyping else { return }
        let time = senders[Int(from)].typingTime
        if isWindow { report.typingDelivered &+= 1 }
        guard time &- windowStart < windowLength else { return }
        let took = now > time ? now &- time : 0
        if scenario.traffic == .typing {
            report.recent.record(took)
            if isWindow { report.delivered &+= 1 }
        } else {
            report.typing.record(took)
        }
    }
}
