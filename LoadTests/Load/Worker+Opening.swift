import Basics
import Client
import Glibc
import Identity
import LoadCore
import Reactor
import WebSocket
import Wire

/// Where connections go, and the parts of their requests that do not change.
struct Endpoint {
    var url: URLParts
    var address: SocketAddress
    /// Behind the target.
    var requestTail: [UInt8]
}

/// Opening: a bounded number at the same time, by a ramp or as fast as that allows; the WebSocket
/// handshake; what the dialect wants said before a connection is ready.
extension Worker {
    /// All connections use one key: it only shows that the server computes the answer.
    private static let handshake = ClientHandshake(
        host: "load", nonce: Array("martlet-load key".utf8), subprotocols: ["martlet.v1"])
    private static let accept = accepted(handshake.key)

    private static func accepted(_ key: [UInt8]) -> [UInt8] { Handshake.acceptKey(for: key.span) }

    /// With this many pending none opens for so long: the rest is given up.
    private static let openingPatience: UInt64 = 15_000_000_000

    func resolve() throws(WorkerError) {
        for text in plan.urls {
            let url: URLParts
            do throws(ClientError) {
                url = try URLParts(text)
            } catch {
                throw WorkerError("--url \(text): \(error)")
            }
            let host = url.host == "localhost" ? "127.0.0.1" : url.host
            guard
                case .success(let found) = SocketAddress.resolveBlocking(host, port: url.port),
                let address = found.first
            else { throw WorkerError("--url \(text): the host is not found") }
            let tail =
                " HTTP/1.1\r\nHost: \(url.hostField)\r\nUpgrade: websocket\r\n"
                + "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
                + "\(String(decoding: Self.handshake.key, as: UTF8.self))\r\n"
            endpoints.append(Endpoint(url: url, address: address, requestTail: Array(tail.utf8)))
        }
        guard plan.sources > 0 else { return }
        for number in 0..<plan.sources {
            // 127.0.0.2 onwards; the whole of 127/8 is this machine's.
            let host = number + 2
            let text = "127.0.\(host / 250).\(host % 250 + (host / 250 > 0 ? 1 : 0))"
            if let address = SocketAddress(numeric: text, port: 0) { sources.append(address) }
        }
    }

    // MARK: When

    /// When the next one is to be opened; never where others have to be ready first.
    func nextOpening() -> UInt64 {
        guard nextToOpen < total, pending < scenario.pending else {
            return hasOpened ? .max : lastSettled + Self.openingPatience
        }
        return dueToOpen(nextToOpen)
    }

    private func dueToOpen(_ index: Int) -> UInt64 {
        guard scenario.rampUp > 0 else { return openingStarted }
        let share = Double(index) / Double(max(1, total))
        return openingStarted + UInt64(Double(scenario.rampUp) * share)
    }

    func openMore() {
        while nextToOpen < total, pending < scenario.pending, dueToOpen(nextToOpen) <= now {
            let index = nextToOpen
            nextToOpen += 1
            // With a ramp the time counts from when it was due, as for messages.
            unsafe table[index].since = scenario.rampUp > 0 ? dueToOpen(index) : now
            open(index)
        }
        guard !hasOpened else { return }
        if settled < total, pending > 0, now > lastSettled + Self.openingPatience {
            for index in 0..<nextToOpen {
                switch unsafe table[index].phase {
                case .connecting, .upgrading, .greeting: lose(index, "no answer while opening")
                case .away, .ready, .lost: break
                }
            }
        }
        if settled == total {
            hasOpened = true
            report.openingTook = now - openingStarted
            report.openingCPU = Self.cpuSeconds()
            tell(.opened)
        }
    }

    // MARK: One connection

    func open(_ index: Int) {
        let endpoint = endpoints[
            topology.user(of: range.lowerBound + min(index, count - 1))
                % endpoints.count]
        let source = sources.isEmpty ? nil : sources[(range.lowerBound + index) % sources.count]
        pending += 1
        unsafe table[index].phase = .connecting
        unsafe table[index].generation &+= 1
        do throws(SystemError) {
            let fd = try Socket.connect(
                to: endpoint.address, from: source,
                receiveBufferBytes: unsafe table[index].isSlow ? 4_096 : 0)
            unsafe table[index].fd = fd
            try poller.add(fd, tag(index), reads: false, writes: true)
        } catch {
            lose(index, "\(error)")
        }
    }

    func tag(_ index: Int) -> PollTag {
        unsafe PollTag(bits: UInt64(table[index].generation) << 32 | UInt64(index))
    }

    func connected(_ index: Int) {
        let fd = unsafe table[index].fd
        do throws(SystemError) {
            try Socket.finishConnecting(fd)
            try poller.setInterest(fd, tag(index), reads: true, writes: false)
        } catch {
            lose(index, "\(error)")
            return
        }
        unsafe table[index].phase = .upgrading
        let user = topology.user(of: globalIndex(index))
        let endpoint = endpoints[user % endpoints.count]
        let room = LoadDialect.roomName(
            run: plan.run, channel: unsafe Int(table[index].firstChannel))
        var request = Array("GET ".utf8)
        request +=
            dialect.target(
                base: endpoint.url.target, layout: scenario.layout, room: room,
                isOutlet: unsafe table[index].isOutlet
            ).utf8
        request += endpoint.requestTail
        if dialect.isProduct, dialect != .socketV1 {
            guard let token = token(user, index) else {
                lose(index, "no token could be made")
                return
            }
            request +=
                dialect == .v1
                ? "Sec-WebSocket-Protocol: martlet.v1, bearer.\(token)\r\n".utf8
                : "Authorization: Bearer \(token)\r\n".utf8
        }
        request += "\r\n".utf8
        unsafe request.withUnsafeBufferPointer {
            guard let base = $0.baseAddress else { return }
            unsafe table[index].output.append(base, $0.count)
        }
        markDirty(index)
    }

    /// Of the whole run; an outlet has its sender's.
    func globalIndex(_ index: Int) -> Int {
        guard index >= count else { return range.lowerBound + index }
        return range.lowerBound + Int(senders[index - count].connection)
    }

    /// Says who is there, once a session of Socket.IO is open.
    func connectNamespace(_ index: Int) {
        guard let token = token(topology.user(of: globalIndex(index)), index) else {
            lose(index, "no token could be made")
            return
        }
        queuePacket(index, SocketFrame.connect(token: token))
    }

    private func token(_ user: Int, _ index: Int) -> String? {
        let seconds = 24 * 3_600
        // One device a connection, the same when it comes back.
        return try? minter?.mint(
            user: LoadDialect.userName(run: plan.run, user: user),
            deviceId: "d\(globalIndex(index))", lifetimeSeconds: Int64(seconds),
            nowMilliseconds: SystemClock().now().wall.milliseconds)
    }

    // MARK: The handshake's answer

    /// Bytes of the head; 0 where its end has not come, or the connection was lost.
    func takeHead(_ index: Int, _ bytes: UnsafePointer<UInt8>, _ count: Int) -> Int {
        var end = 3
        while end < count {
            if unsafe bytes[end] == 10 && bytes[end - 1] == 13 && bytes[end - 2] == 10
                && bytes[end - 3] == 13
            {
                break
            }
            end += 1
        }
        guard end < count else {
            if count > ClientHandshake.longestHead { lose(index, "the handshake has no end") }
            return 0
        }
        let length = end + 1
        let head = unsafe UnsafeBufferPointer(start: bytes, count: length)
        guard unsafe Self.contains(head, Array("HTTP/1.1 101".utf8)),
            unsafe Self.contains(head, Self.accept),
            dialect != .v1 || (unsafe Self.contains(head, Array("martlet.v1".utf8)))
        else {
            lose(index, unsafe Self.refusal(head))
            return 0
        }
        unsafe table[index].phase = .greeting
        greet(index)
        return length
    }

    private static func contains(_ head: UnsafeBufferPointer<UInt8>, _ text: [UInt8]) -> Bool {
        guard head.count >= text.count, let base = head.baseAddress else { return false }
        for place in 0...(head.count - text.count)
        where unsafe base[place] == text[0] && memcmp(base + place, text, text.count) == 0 {
            return true
        }
        return false
    }

    private static func refusal(_ head: UnsafeBufferPointer<UInt8>) -> String {
        switch unsafe handshake.check(head.span) {
        case .refused(let status, _): "refused with HTTP \(status)"
        case .invalid(let reason): "no handshake: \(reason)"
        case .needMore, .accepted: "no handshake"
        }
    }

    // MARK: Greetings

    private func greet(_ index: Int) {
        switch dialect {
        case .raw, .nchan: becomeReady(index)
        case .nats:
            let room = LoadDialect.roomName(
                run: plan.run, channel: unsafe Int(table[index].firstChannel))
            // The answer to a PING comes after the subscription is in force.
            let idles = scenario.layout == .idle
            queue(
                index,
                NatsReader.connect + (idles ? [] : NatsReader.subscribe(room)) + NatsReader.ping)
        // These wait for the server's first word.
        case .sio, .v1, .plain, .socketV1: break
        }
    }

    func becomeReady(_ index: Int) {
        guard unsafe table[index].phase == .greeting else { return }
        unsafe table[index].phase = .ready
        pending -= 1
        if unsafe table[index].isOutlet {
            noteSettled()
            return
        }
        report.connections += 1
        let took = unsafe now &- table[index].since
        guard unsafe table[index].isReturning else {
            report.opened += 1
            report.connect.record(took)
            noteSettled()
            return
        }
        report.recovered += 1
        report.reconnect.record(took)
        report.recoveryTook = now &- droppedAt
        resend(index)
    }

    func noteSettled() {
        settled += 1
        lastSettled = now
    }

    // MARK: Losing one

    /// It is gone, by somebody's fault.
    func lose(_ index: Int, _ reason: String) {
        let phase = unsafe table[index].phase
        closeSocket(index, reset: true)
        unsafe table[index].phase = .lost
        switch phase {
        case .connecting, .upgrading, .greeting:
            pending -= 1
            noteError(reason)
            if unsafe table[index].isReturning {
                report.lost += 1
                report.returnsFailed += 1
            } else {
                report.failed += 1
                noteSettled()
            }
        case .ready:
            if unsafe !table[index].isOutlet { report.connections -= 1 }
            if unsafe table[index].isSlow && startsAt != nil {
                report.slowClosed += 1
            } else {
                report.lost += 1
                noteError(reason)
            }
        case .away, .lost: break
        }
    }

    func closeSocket(_ index: Int, reset: Bool) {
        let fd = unsafe table[index].fd
        if fd >= 0 {
            if reset { Socket.reset(fd) } else { Socket.close(fd) }
        }
        unsafe table[index].fd = -1
        unsafe table[index].generation &+= 1
        unsafe table[index].waitsForOutput = false
        unsafe table[index].input.release()
        unsafe table[index].output.release()
        unsafe table[index].carry.release()
    }
}
