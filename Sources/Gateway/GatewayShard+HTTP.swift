import Basics
import Domain
import HTTP
import Identity
import SocketIO
import WebSocket
import Wire

/// Requests in, answers out, and the step from HTTP to WebSocket. What the paths mean is in
/// Endpoints.
extension GatewayShard {
    // MARK: Bytes to requests

    func receiveHTTP(_ connection: Connection, _ bytes: inout MutableSpan<UInt8>) {
        guard let http = connection.http else { return }
        if http.isAnswering || !http.inbound.isEmpty {
            // One read may bring the end of the largest request and the beginning of others.
            // Behind a poll that waits nothing has to come, and anybody may park one.
            let bound =
                http.served == nil || !http.isAnswering
                ? limits.requestHeadBytes + limits.requestBodyBytes + limits.readBytesPerTick
                : limits.requestHeadBytes
            guard http.inbound.count + bytes.count <= bound else {
                // Pipelined beyond all measure while an answer is awaited.
                close(connection)
                return
            }
            unsafe bytes.span.withUnsafeBufferPointer {
                unsafe http.inbound.append(contentsOf: $0)
            }
            if !http.isAnswering { continueHTTP(connection) }
            return
        }
        process(connection, http, &bytes)
    }

    /// Answers that wait for a client that pipelines and does not read; no further request is
    /// looked at above it.
    static let unreadAnswers = 65_536

    /// Looks at what has gathered: more of a request has come, or an answer has gone out.
    func continueHTTP(_ connection: Connection) {
        guard let http = connection.http, !http.inbound.isEmpty,
            http.inbound.count >= http.needed, connection.outbox.count < Self.unreadAnswers
        else { return }
        var gathered = http.inbound
        http.inbound = []
        var span = gathered.mutableSpan
        process(connection, http, &span)
    }

    private func process(
        _ connection: Connection, _ http: HTTPExchange, _ bytes: inout MutableSpan<UInt8>
    ) {
        var start = 0
        if http.lead != .nothing {
            switch takeLead(connection, http, bytes.span) {
            case .needMore: break
            case .taken(let count): start = count
            case .refused:
                close(connection)
                return
            }
        }
        while http.lead == .nothing, start < bytes.count, connection.phase == .http,
            !http.isAnswering,
            connection.outbox.count < Self.unreadAnswers
        {
            guard let length = nextRequest(connection, http, bytes.span, from: start) else {
                break
            }
            start += length
        }
        guard self.connection(connection.key) === connection else { return }
        if connection.isWebSocket {
            if start < bytes.count { receiveFrames(connection, &bytes, from: start) }
        } else if connection.phase == .http, start < bytes.count {
            let rest = bytes.span.extracting(start..<bytes.count)
            unsafe rest.withUnsafeBufferPointer { unsafe http.inbound = Array($0) }
        }
    }

    /// Handles the request at `start`. Returns how long it was, or nil where it is not whole yet,
    /// or no further one is to be read.
    private func nextRequest(
        _ connection: Connection, _ http: HTTPExchange, _ bytes: Span<UInt8>, from start: Int
    ) -> Int? {
        let rest = bytes.extracting(start..<bytes.count)
        if http.scanned == 0 {
            http.began = now.instant
            setDeadline(connection, inMs: limits.requestHeadTimeoutMs)
        }
        switch requestParser.parse(rest, scannedFrom: &http.scanned) {
        case .needMore:
            return nil
        case .bad(let error):
            counters[.httpErrors] += 1
            append(to: connection) { ResponseWriter.append(error, into: &$0) }
            drain(connection)
            return nil
        case .head(let length):
            let head = requestParser.head
            let total = length + (head.contentLength ?? 0)
            if movesElsewhere(connection, http, head, rest) { return nil }
            guard rest.count >= total else {
                if refusesEarly(connection, head, rest.extracting(0..<length)) { return nil }
                http.needed = total
                http.scanned = 0
                setDeadline(connection, inMs: limits.messageTimeoutMs)
                if head.expectsContinue, !http.hasContinued {
                    http.hasContinued = true
                    append(to: connection) { ResponseWriter.appendContinue(into: &$0) }
                }
                return nil
            }
            http.needed = 0
            http.scanned = 0
            http.hasContinued = false
            connection.deadline = nil
            handle(
                connection, head, rest.extracting(0..<length),
                body: rest.extracting(length..<total))
            return total
        }
    }

    /// A body that would be refused anyway is not waited for, and takes no memory: wrong path, nobody's
    /// token. The answer comes at once, and the connection ends, because the body may follow.
    private func refusesEarly(
        _ connection: Connection, _ head: RequestHead, _ bytes: Span<UInt8>
    ) -> Bool {
        if takesBody(connection, head, bytes) { return false }
        let nothing: [UInt8] = []
        handle(connection, head, bytes, body: nothing.span, keepsAlive: false)
        return true
    }

    private func takesBody(
        _ connection: Connection, _ head: RequestHead, _ bytes: Span<UInt8>
    ) -> Bool {
        guard head.method == .post, let path = HTTPRequest(head: head, bytes: bytes).path else {
            return false
        }
        if engineFace(path, head, bytes) != nil { return takesEngineBody(connection, head, bytes) }
        guard let token = Credentials.bearer(head, bytes),
            path.starts(with: ["api", "v1", "chats"]),
            case .valid = verifier.verify(token, nowMilliseconds: now.wall.milliseconds)
        else { return false }
        return true
    }

    /// The body of a POST is waited for where its session lives, and no other is coming.
    private func takesEngineBody(
        _ connection: Connection, _ head: RequestHead, _ bytes: Span<UInt8>
    ) -> Bool {
        guard let length = head.contentLength, let sid = Self.engineSID(head, bytes),
            let id = sid.flatMap({ EngineID($0.utf8.span) }),
            let engine = engine(id), engine.isPolling, length <= maximumPayload(of: engine)
        else { return false }
        // A second one is handled without its body, and found to be one too many.
        if let other = engine.post, other != connection.key { return false }
        beginPost(engine, connection)
        return true
    }

    /// A request took too long to arrive.
    func answerTimeout(_ connection: Connection) {
        append(to: connection) { output in
            let response = ResponseWriter(status: 408, into: &output)
            response.field("Connection", "close", into: &output)
            response.end(into: &output)
        }
        drain(connection)
    }

    // MARK: Requests

    private func handle(
        _ connection: Connection, _ head: RequestHead, _ bytes: Span<UInt8>, body: Span<UInt8>,
        keepsAlive: Bool = true
    ) {
        counters[.httpRequests] += 1
        var request = HTTPRequest(head: head, bytes: bytes)
        if !keepsAlive { request.keepsAlive = false }
        guard let http = connection.http else { return }
        if http.isTunnelled { request.keepsAlive = false }
        if let engine = http.served {
            http.served = nil
            if engine.post == connection.key { engine.post = nil }
        }
        request.began = http.began
        if !configuration.forwardedFor.trusted.isEmpty {
            http.address = configuration.forwardedFor.client(
                peer: http.peer, head: head, in: bytes)
        }
        guard let path = request.path else {
            answer(connection, request, CommandError(.invalidInput, "the path cannot be decoded"))
            return
        }
        if let origin = request.origin, !configuration.allowedOrigins.contains(origin),
            !isOwnOrigin(origin, path, head, bytes)
        {
            request.origin = nil
            answer(
                connection, request,
                CommandError(
                    .forbidden, "this origin is not allowed; add it with --allowed-origin"))
            return
        }
        if head.method == .options {
            answerPreflight(connection, request)
            return
        }
        if http.isTunnelled, path == Self.recoveryPath {
            answerRecovery(connection, request, head, bytes)
            return
        }
        if http.isTunnelled, engineFace(path, head, bytes) == nil {
            answerUnknown(connection, request)
            return
        }
        if let face = engineFace(path, head, bytes) {
            serveEngine(connection, request, face, head, bytes, body)
            return
        }
        if let socket = socketPath(path) {
            upgrade(connection, request, head, bytes, to: socket)
            return
        }
        route(connection, request, path, head, bytes, body)
    }

    /// A Socket.IO client that names the server itself as its origin, as the Python one does for want
    /// of a page. What a page of another origin may do is no more for it: nothing here is
    /// authorised by cookies.
    private func isOwnOrigin(
        _ origin: String, _ path: [String], _ head: RequestHead, _ bytes: Span<UInt8>
    ) -> Bool {
        guard let host = head.host, engineFace(path, head, bytes) != nil else { return false }
        let name = HTTPRequest.text(bytes, host)
        return origin == "http://\(name)" || origin == "https://\(name)"
    }

    private enum SocketPath {
        case plain
        case echo
        case room(String)
    }

    private func socketPath(_ path: [String]) -> SocketPath? {
        switch path.first {
        case "ws":
            return path.count == 1 || path.count == 2 && path[1] == "messages" ? .plain : nil
        case "bench" where configuration.isBench:
            if path.count == 2, path[1] == "echo" { return .echo }
            if path.count == 3, path[1] == "room", !path[2].isEmpty { return .room(path[2]) }
            return nil
        default:
            return nil
        }
    }

    // MARK: Upgrade

    private func upgrade(
        _ connection: Connection, _ request: HTTPRequest, _ head: RequestHead,
        _ bytes: Span<UInt8>, to socket: SocketPath
    ) {
        var request = request
        request.route = .socket
        guard let accept = acceptHandshake(connection, request, head, bytes) else { return }
        if let error = refusalOfHandshake(connection) {
            answer(connection, request, error)
            return
        }
        guard case .plain = socket else {
            acceptBench(connection, accept, socket)
            return
        }
        upgradePlain(connection, request, accept, Credentials(head, bytes))
    }

    /// The upgrade of an Engine.IO request; `then` goes on with the WebSocket.
    func upgradeEngine(
        _ connection: Connection, _ request: HTTPRequest, _ head: RequestHead,
        _ bytes: Span<UInt8>, isNew: Bool, then: () -> Void
    ) {
        guard let accept = acceptHandshake(connection, request, head, bytes) else { return }
        // The second connection of a session that is there was paid for with the first.
        if isNew, let error = refusalOfHandshake(connection) {
            answer(connection, request, error)
            return
        }
        switchProtocols(connection, accept, subprotocol: nil)
        then()
    }

    /// The answer's key, or nil where the handshake of a WebSocket was refused.
    private func acceptHandshake(
        _ connection: Connection, _ request: HTTPRequest, _ head: RequestHead,
        _ bytes: Span<UInt8>
    ) -> [UInt8]? {
        let facts = HandshakeFacts(
            isGET: head.method == .get, isHTTP11: head.minorVersion == 1,
            upgradeListsWebSocket: head.upgradeListsWebSocket,
            connectionListsUpgrade: head.connectionListsUpgrade,
            key: head.webSocketKey, version: head.webSocketVersion,
            hasRepeatedField: head.repeatsWebSocketField)
        switch Handshake.accept(facts, in: bytes) {
        case .success(let key): return key
        case .failure(let refusal):
            refuseHandshake(connection, request, refusal)
            return nil
        }
    }

    /// Why there is no new session just now; nil where there is.
    func refusalOfHandshake(_ connection: Connection) -> CommandError? {
        guard !isDraining else {
            return CommandError(.draining, "this server is stopping", retryAfterMs: 1_000)
        }
        if let address = connection.http?.address, let wait = takeConnect(address) {
            counters[.rateLimited] += 1
            return CommandError(
                .rateLimited, "too many connections from this address; wait", retryAfterMs: wait)
        }
        return nil
    }

    private func upgradePlain(
        _ connection: Connection, _ request: HTTPRequest, _ accept: [UInt8],
        _ credentials: Credentials
    ) {
        // A bad token in the header is refused before the upgrade: whoever can set a header can
        // read a status.
        if let token = credentials.header, verified(token, connection, request) == nil { return }
        connection.encoding = Encoding(framing: credentials.offersV1 ? .v1 : .ws)
        switchProtocols(
            connection, accept, subprotocol: credentials.offersV1 ? "martlet.v1" : nil)
        connection.phase = .unauthenticated
        if let token = credentials.token {
            authenticate(
                connection, token: token, device: credentials.device.flatMap { DeviceID($0) },
                id: nil)
        } else {
            setDeadline(connection, inMs: limits.authTimeoutMs)
        }
    }

    private func acceptBench(
        _ connection: Connection, _ accept: [UInt8], _ socket: SocketPath
    ) {
        switchProtocols(connection, accept, subprotocol: nil)
        if case .room(let name) = socket {
            connection.phase = .benchRoom
            joinRoom(connection, name)
        } else {
            connection.phase = .benchEcho
        }
        scheduleCheck(connection)
    }

    private func switchProtocols(
        _ connection: Connection, _ accept: [UInt8], subprotocol: String?
    ) {
        append(to: connection) {
            Handshake.appendAnswer(accept: accept, subprotocol: subprotocol, into: &$0)
        }
        connection.deadline = nil
        connection.http = nil
        counters[.activeConnections] += 1
    }

    private func refuseHandshake(
        _ connection: Connection, _ request: HTTPRequest, _ refusal: HandshakeRefusal
    ) {
        finish(connection, request, status: refusal.status) { output, response in
            if refusal.status == 426 {
                for field in Handshake.refusalFields {
                    response.field(field.name, field.value, into: &output)
                }
            }
            response.field("Content-Type", "text/plain; charset=utf-8", into: &output)
            return Array("\(refusal.text)\n".utf8)
        }
    }

    /// Five seconds' worth: a browser that restores its tabs.
    static func connectBurst(_ rate: Int) -> Int { rate == Limits.off ? rate : rate * 5 }

    private func takeConnect(_ address: IPAddress) -> Int? {
        let rate = limits.connectsPerSecondPerAddress
        guard rate != Limits.off else { return nil }
        let burst = Self.connectBurst(rate)
        var bucket = connectBuckets[address] ?? TokenBucket(full: burst, now: now.instant)
        defer { connectBuckets[address] = bucket }
        return bucket.take(rate: rate, periodMs: 1_000, burst: burst, now: now.instant)
    }

    // MARK: Answers

    /// An answer in JSON without an envelope.
    func answerJSON(
        _ connection: Connection, _ request: HTTPRequest, status: UInt16,
        _ write: (inout JSONWriter) -> Void
    ) {
        finish(connection, request, status: status) { output, response in
            response.field("Content-Type", "application/json", into: &output)
            var json = JSONWriter(capacity: 256)
            write(&json)
            return json.bytes
        }
    }

    /// The envelope of a success: `{success, data, meta, timestamp}`.
    func answer(
        _ connection: Connection, _ request: HTTPRequest, status: UInt16,
        data: (inout JSONWriter) -> Void, meta: (inout JSONWriter) -> Void = { _ in }
    ) {
        answerJSON(connection, request, status: status) { json in
            json.beginObject()
            json.key("success")
            json.bool(true)
            json.key("data")
            data(&json)
            json.key("meta")
            json.beginObject()
            meta(&json)
            json.endObject()
            json.key("timestamp")
            json.timestamp(milliseconds: now.wall.milliseconds)
            json.endObject()
        }
    }

    /// The envelope of an error: `{success:false, error:{code, message, details}, meta,
    /// timestamp}`.
    func answer(
        _ connection: Connection, _ request: HTTPRequest, _ error: CommandError,
        status: Int? = nil
    ) {
        counters[.httpErrors] += 1
        finish(connection, request, status: UInt16(status ?? error.code.httpStatus)) {
            output, response in
            if let retry = error.retryAfterMs {
                response.field(
                    "Retry-After", number: UInt64(max(1, (retry + 999) / 1_000)), into: &output)
            }
            if error.code.httpStatus == 401 {
                response.field("WWW-Authenticate", "Bearer", into: &output)
            }
            if let allow = request.allow { response.field("Allow", allow, into: &output) }
            response.field("Content-Type", "application/json", into: &output)
            var json = JSONWriter(capacity: 256)
            json.beginObject()
            json.key("success")
            json.bool(false)
            json.key("error")
            json.beginObject()
            EventEncoder.write(error, to: &json)
            json.key("details")
            json.null()
            json.endObject()
            json.key("meta")
            json.beginObject()
            json.endObject()
            json.key("timestamp")
            json.timestamp(milliseconds: now.wall.milliseconds)
            json.endObject()
            return json.bytes
        }
    }

    func answerText(
        _ connection: Connection, _ request: HTTPRequest, _ type: StaticString, _ body: [UInt8]
    ) {
        finish(connection, request, status: 200) { output, response in
            response.field("Content-Type", type, into: &output)
            return body
        }
    }

    private func answerPreflight(_ connection: Connection, _ request: HTTPRequest) {
        finish(connection, request, status: 204) { output, response in
            response.field(
                "Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
                into: &output)
            response.field(
                "Access-Control-Allow-Headers",
                "Authorization, Content-Type, Idempotency-Key, X-Requested-With", into: &output)
            response.field("Access-Control-Max-Age", number: 600, into: &output)
            return []
        }
    }

    /// Writes one whole answer, and goes on with what the client sent behind the request.
    func finish(
        _ connection: Connection, _ request: HTTPRequest, status: UInt16,
        _ write: (inout [UInt8], ResponseWriter) -> [UInt8]
    ) {
        let elapsed = Int(now.instant.nanoseconds(since: request.began) / 1_000)
        self.status.latency.record(request.route, microseconds: elapsed)
        append(to: connection) { self.write(request, status: status, write, into: &$0) }
        closeIfTooSlow(connection)
        let wasAnswering = connection.isAnswering
        connection.http?.isAnswering = false
        guard connection.phase == .http else { return }
        guard request.keepsAlive, !isDraining else {
            drain(connection)
            return
        }
        setDeadline(connection, inMs: limits.keepAliveTimeoutMs)
        // In a round of its own: who ends or answers something must not find that a request which was
        // pipelined behind it has been carried out in between.
        if wasAnswering, connection.hasInbound { resumable.append(connection.key) }
    }

    /// One whole answer, as bytes.
    func write(
        _ request: HTTPRequest, status: UInt16,
        _ write: (inout [UInt8], ResponseWriter) -> [UInt8], into output: inout [UInt8]
    ) {
        let response = ResponseWriter(status: status, into: &output)
        _ = response.field(
            "Date", untrusted: HTTPDate.text(milliseconds: now.wall.milliseconds),
            into: &output)
        if let origin = request.origin {
            _ = response.field(
                "Access-Control-Allow-Origin", untrusted: origin, into: &output)
            response.field("Vary", "Origin", into: &output)
            if request.allowsCredentials {
                response.field("Access-Control-Allow-Credentials", "true", into: &output)
            }
        }
        if !request.keepsAlive { response.field("Connection", "close", into: &output) }
        let body = write(&output, response)
        response.end(body: body.span, isHead: request.isHead, into: &output)
    }
}
