import Basics
import Client
import Glibc
import LoadCore
import Reactor

/// What comes: bytes, frames, deliveries. The hot path of a receiver.
extension Worker {
    func readable(_ index: Int) {
        var held = 0
        if unsafe !table[index].input.isEmpty, let base = unsafe table[index].input.base {
            held = unsafe Int(table[index].input.count)
            if held + 65_536 > bufferCount { growBuffer(to: 2 * (held + 65_536)) }
            unsafe buffer.update(from: base, count: held)
        }
        let received = unsafe Socket.receive(
            table[index].fd,
            into: UnsafeMutableRawBufferPointer(start: buffer + held, count: bufferCount - held))
        var total = held
        switch received {
        case .bytes(let count): total += count
        case .wouldBlock: return
        case .ended:
            lose(index, "ended by the server")
            return
        case .failed:
            lose(index, "reset by the server")
            return
        }
        now = MonotonicClock.now().nanoseconds
        let generation = unsafe table[index].generation
        var taken = 0
        if unsafe table[index].phase == .upgrading {
            taken = unsafe takeHead(index, buffer, total)
        }
        if unsafe table[index].phase.rawValue >= Connection.Phase.greeting.rawValue,
            unsafe table[index].generation == generation
        {
            taken += unsafe takeFrames(index, buffer + taken, total - taken)
        }
        guard unsafe table[index].generation == generation else { return }
        if taken == total {
            if held > 0 { unsafe table[index].input.release() }
        } else {
            unsafe table[index].input.clear()
            unsafe table[index].input.append(buffer + taken, total - taken)
        }
    }

    private func growBuffer(to size: Int) {
        unsafe buffer.deallocate()
        bufferCount = size
        unsafe buffer = .allocate(capacity: size)
    }

    /// Returns how many bytes whole frames took.
    @inline(__always)
    private func takeFrames(
        _ index: Int, _ bytes: UnsafePointer<UInt8>, _ count: Int
    ) -> Int {
        let generation = unsafe table[index].generation
        var taken = 0
        while true {
            let frame = unsafe ServerFrame(bytes + taken, count: count &- taken)
            guard frame.status == .whole else {
                if frame.status == .refused { lose(index, "a frame that no server may send") }
                return taken
            }
            let payload = unsafe bytes + (taken &+ frame.headCount)
            taken &+= frame.headCount &+ frame.payloadCount
            if frame.opcode <= ServerFrame.binary {
                unsafe takeMessage(index, payload, frame.payloadCount)
            } else {
                unsafe takeControl(index, frame.opcode, payload, frame.payloadCount)
            }
            guard unsafe table[index].generation == generation else { return taken }
        }
    }

    @inline(never)
    private func takeControl(
        _ index: Int, _ opcode: UInt8, _ payload: UnsafePointer<UInt8>, _ count: Int
    ) {
        switch opcode {
        case ServerFrame.ping:
            unsafe queue(index, opcode: ServerFrame.pong, payload, count)
        case ServerFrame.close:
            guard count >= 2 else {
                lose(index, "closed by the server without a code")
                return
            }
            let code = unsafe Int(payload[0]) << 8 | Int(payload[1])
            let reason = unsafe UnsafeBufferPointer(start: payload + 2, count: min(count - 2, 80))
            lose(
                index,
                "closed by the server with \(code) "
                    + (unsafe String(decoding: reason, as: UTF8.self)))
        default: break
        }
    }

    @inline(__always)
    private func takeMessage(_ index: Int, _ payload: UnsafePointer<UInt8>, _ count: Int) {
        switch dialect {
        case .raw: unsafe takeContent(index, payload, count, seq: 0)
        case .v1, .plain: unsafe takeProduct(index, payload, count)
        case .socketV1: unsafe takePacket(index, payload, count)
        case .nchan:
            // What an outlet hears is how its message was taken.
            if unsafe !table[index].isOutlet { unsafe takeContent(index, payload, count, seq: 0) }
        case .nats: unsafe takeNats(index, payload, count)
        case .sio: unsafe takeSocketIO(index, payload, count)
        }
    }

    // MARK: A delivery

    /// - Parameter seq: the log's number; 0 where there is no log.
    @inline(__always)
    func takeContent(
        _ index: Int, _ bytes: UnsafePointer<UInt8>, _ count: Int, seq: UInt64
    ) {
        guard count == scenario.size, let head = unsafe Content.read(bytes), head.run == plan.run
        else {
            unsafe takeForeign(index, bytes, count)
            return
        }
        let channel = unsafe Int(head.channel &- table[index].firstChannel)
        let sender = Int(head.sender)
        guard channel < channelCount, sender < senderCount else {
            unsafe takeForeign(index, bytes, count)
            return
        }
        if seq > 0, !noteSeq(index, channel, seq, head) { return }
        let lane = unsafe Int(table[index].laneBase) &+ channel &* senderCount &+ sender
        let settled = oracle.received(lane, head.number)
        if unsafe table[index].phase != .ready {
            report.replayed &+= 1
        } else if unsafe table[index].isSlow {
            // How long it did not read says nothing of the server.
        } else if head.time &- windowStart < windowLength {
            report.recent.record(now > head.time ? now &- head.time : 0)
        }
        if isWindow { report.delivered &+= 1 }
        if settled > 0, !flights.isEmpty, unsafe !table[index].isSlow {
            let place = unsafe Int(table[index].block) &* senderCount &+ sender
            let from = senderOf[place]
            if from >= 0 {
                for number in (head.number &- settled &+ 1)...head.number {
                    arrived(Int(from), channel, number)
                }
            }
        }
    }

    /// Keeps the cursor and checks the log's order. False for a message of the receiver's own,
    /// which only comes back when it has resumed and proves nothing.
    @inline(__always)
    private func noteSeq(
        _ index: Int, _ channel: Int, _ seq: UInt64, _ head: Content.Head
    ) -> Bool {
        let place = index &* channelCount &+ channel
        let before = cursors[place]
        if seq > before { cursors[place] = seq }
        if !dialect.hearsItself, unsafe table[index].sender >= 0,
            unsafe head.sender == table[index].rank
        {
            return false
        }
        if seq <= before {
            let connection = range.lowerBound + index
            oracle.receivedOutOfLog(
                "connection \(connection), channel \(head.channel): seq \(seq) after \(before)")
        }
        return true
    }

    @inline(never)
    private func takeForeign(_ index: Int, _ bytes: UnsafePointer<UInt8>, _ count: Int) {
        let text = unsafe UnsafeBufferPointer(start: bytes, count: min(count, 60))
        let connection = range.lowerBound + index
        let start = unsafe String(decoding: text, as: UTF8.self)
        oracle.receivedForeign("connection \(connection): \(count) bytes, '\(start)'")
    }

    // MARK: Dialects with a shell around the content

    private func takePacket(_ index: Int, _ payload: UnsafePointer<UInt8>, _ count: Int) {
        if count + SocketFrame.growth > packetScratch.count {
            packetScratch = [UInt8](repeating: 0, count: 2 * (count + SocketFrame.growth))
        }
        // Taken out while it is read: nothing that follows touches it.
        var scratch: [UInt8] = []
        swap(&scratch, &packetScratch)
        unsafe scratch.withUnsafeMutableBufferPointer { target in
            guard let base = target.baseAddress else { return }
            switch unsafe SocketFrame.read(payload, count: count, into: base) {
            case .open: connectNamespace(index)
            case .ping: queuePacket(index, SocketIO.pong)
            case .frame(let length): unsafe takeProduct(index, UnsafePointer(base), length)
            case .other: break
            }
        }
        swap(&scratch, &packetScratch)
    }

    private func takeSocketIO(_ index: Int, _ payload: UnsafePointer<UInt8>, _ count: Int) {
        switch unsafe SocketIO.read(payload, count: count) {
        case .message(let range):
            unsafe takeContent(index, payload + range.lowerBound, range.count, seq: 0)
        case .ping: queue(index, SocketIO.pong)
        case .open: queue(index, SocketIO.connect)
        case .connected:
            if scenario.layout == .idle {
                becomeReady(index)
            } else {
                let channel = unsafe Int(table[index].firstChannel)
                queue(
                    index,
                    SocketIO.join(LoadDialect.roomName(run: plan.run, channel: channel)))
            }
        case .ack: becomeReady(index)
        case .other: break
        }
    }

    /// A stream inside frames: an operation may end in a later frame than it began.
    private func takeNats(_ index: Int, _ payload: UnsafePointer<UInt8>, _ count: Int) {
        guard unsafe table[index].carry.isEmpty else {
            unsafe table[index].carry.append(payload, count)
            guard let base = unsafe table[index].carry.base else { return }
            let generation = unsafe table[index].generation
            let taken = unsafe takeOperations(index, base, Int(table[index].carry.count))
            guard unsafe table[index].generation == generation else { return }
            unsafe table[index].carry.drop(first: taken)
            if unsafe table[index].carry.isEmpty { unsafe table[index].carry.release() }
            return
        }
        let generation = unsafe table[index].generation
        let taken = unsafe takeOperations(index, payload, count)
        if taken < count, unsafe table[index].generation == generation {
            unsafe table[index].carry.append(payload + taken, count - taken)
        }
    }

    private func takeOperations(
        _ index: Int, _ bytes: UnsafePointer<UInt8>, _ count: Int
    ) -> Int {
        var taken = 0
        while true {
            switch unsafe NatsReader.next(bytes + taken, count: count - taken) {
            case .needMore: return taken
            case .broken:
                lose(index, "not the NATS protocol")
                return taken
            case .operation(let operation, let length):
                switch operation {
                case .message(let range):
                    unsafe takeContent(
                        index, bytes + taken + range.lowerBound, range.count, seq: 0)
                case .ping: queue(index, NatsReader.pong)
                case .pong: becomeReady(index)
                case .error(let range):
                    let text = unsafe UnsafeBufferPointer(
                        start: bytes + taken + range.lowerBound, count: range.count)
                    let error = unsafe String(decoding: text, as: UTF8.self)
                    noteError("NATS: \(error)")
                case .info, .other: break
                }
                taken += length
            }
        }
    }
}
