import CPostgres
import Glibc
import StoreCore

/// One connection to the server, never blocking: what is sent goes into libpq's buffer, what comes
/// back is taken out statement by statement (pipeline mode).
///
/// A *flight* is what is sent up to a synchronisation point, and its replies. One is under way at a
/// time.
///
/// libpq resolves a host's name with getaddrinfo(3), which blocks; `hostaddr` in the URL avoids it.
@safe final class Link {
    /// What a statement came to.
    enum Reply {
        /// With the tag, such as "COMMIT".
        case done(Rows, tag: String)
        case failed(PostgresError)
        /// A statement before it in the flight failed.
        case skipped
    }

    private let handle: OpaquePointer
    private(set) var descriptor: Int32 = -1
    /// Of the flight under way, a reply a statement.
    private(set) var replies: [Reply] = []
    private var calls: [String] = []
    private var syncsAwaited = 0

    /// Begins to connect.
    /// - Throws: only where the URL cannot be read, or memory is out.
    init(url: String) throws(StoreFailure) {
        let settings: KeyValuePairs<String, String> = [
            // The URL may set these otherwise: what comes later in the list wins.
            "keepalives": "1", "keepalives_idle": "10", "keepalives_interval": "3",
            "keepalives_count": "3", "tcp_user_timeout": "9000",
            "dbname": url,
            // These it may not.
            "application_name": "martlet", "client_encoding": "UTF8",
        ]
        try Self.check(url)
        var names = unsafe settings.map { unsafe strdup($0.key) } + [nil]
        var values = unsafe settings.map { unsafe strdup($0.value) } + [nil]
        defer {
            for index in unsafe names.indices { unsafe free(names[index]) }
            for index in unsafe values.indices { unsafe free(values[index]) }
        }
        let started = unsafe names.withUnsafeMutableBufferPointer { names in
            unsafe values.withUnsafeMutableBufferPointer { values in
                unsafe names.baseAddress!.withMemoryRebound(
                    to: UnsafePointer<CChar>?.self, capacity: names.count
                ) { names in
                    unsafe values.baseAddress!.withMemoryRebound(
                        to: UnsafePointer<CChar>?.self, capacity: values.count
                    ) { values in
                        unsafe PQconnectStartParams(names, values, 1)
                    }
                }
            }
        }
        guard let handle = unsafe started else {
            throw StoreFailure(.unavailable, "postgres: out of memory")
        }
        unsafe self.handle = unsafe handle
        unsafe martlet_pg_silence(handle)
        unsafe descriptor = PQsocket(handle)
    }

    deinit { unsafe PQfinish(handle) }

    /// libpq's complaint about a connection string quotes parts of it, so it is not passed on.
    private static func check(_ url: String) throws(StoreFailure) {
        guard let options = unsafe PQconninfoParse(url, nil) else {
            throw StoreFailure(
                .unavailable,
                "postgres: the connection string cannot be read; give "
                    + "postgres://user:password@host:port/database?sslmode=…, special characters "
                    + "percent-encoded")
        }
        unsafe PQconninfoFree(options)
    }

    /// Where it leads, for log lines: host and port, no user, no password.
    var address: String {
        let host = unsafe PQhost(handle).map { unsafe String(cString: $0) } ?? "?"
        let port = unsafe PQport(handle).map { unsafe String(cString: $0) } ?? "?"
        return SafeText.line("\(host):\(port)", without: secrets)
    }

    /// libpq's last words, without secrets.
    var failure: StoreFailure {
        let text = unsafe PQerrorMessage(handle).map { unsafe String(cString: $0) } ?? ""
        let line = SafeText.line(text, without: secrets)
        return StoreFailure(
            .unavailable, "postgres: \(line.isEmpty ? "the connection was lost" : line)")
    }

    /// Whether the server itself refused the session, which waiting does not mend (a password, an
    /// unknown database); as opposed to "starting up" and to no server.
    var isRefusedForGood: Bool {
        guard let text = unsafe PQerrorMessage(handle).map({ unsafe String(cString: $0) }) else {
            return false
        }
        return ["password authentication failed", "does not exist", "no pg_hba.conf entry"]
            .contains { text.contains($0) }
    }

    private var secrets: [String] {
        var found: [String] = []
        if let password = unsafe PQpass(handle) { unsafe found.append(String(cString: password)) }
        guard let options = unsafe PQconninfo(handle) else { return found }
        defer { unsafe PQconninfoFree(options) }
        var option = unsafe options
        while let keyword = unsafe option.pointee.keyword {
            let name = unsafe String(cString: keyword)
            if name.hasSuffix("password"), let value = unsafe option.pointee.val {
                unsafe found.append(String(cString: value))
            }
            unsafe option += 1
        }
        return found
    }

    // MARK: Connecting

    enum Progress {
        case reading, writing
        case connected
        case failed
    }

    /// To be called when the descriptor, which may be another after each call, is ready for what the
    /// last call asked for; the first time, when it can be written.
    func proceed() -> Progress {
        defer { unsafe descriptor = PQsocket(handle) }
        switch unsafe PQconnectPoll(handle) {
        case PGRES_POLLING_READING: return .reading
        case PGRES_POLLING_WRITING: return .writing
        case PGRES_POLLING_OK:
            guard unsafe PQsetnonblocking(handle, 1) == 0 else { return .failed }
            return .connected
        default: return .failed
        }
    }

    // MARK: One statement at a time, for migrations

    /// Sends SQL text of ours by the simple protocol.
    func sendText(_ sql: String) -> Bool { unsafe PQsendQuery(handle, sql) == 1 }

    /// The next result of it; nil after the last. Only where `isWaiting` is false.
    func nextText() throws(StoreFailure) -> Rows? {
        guard let result = unsafe PQgetResult(handle) else { return nil }
        let rows = unsafe Rows(result)
        switch unsafe PQresultStatus(result) {
        case PGRES_TUPLES_OK, PGRES_COMMAND_OK: return rows
        default:
            // Our own statements: the server's words quote no client.
            let words =
                unsafe martlet_pg_primary(result).map { unsafe String(cString: $0) } ?? ""
            var failure = unsafe Self.error(result, call: "migration").failure
            failure.text = SafeText.line(failure.text + ": " + words, without: secrets)
            throw failure
        }
    }

    /// A result has not come whole yet.
    var isWaiting: Bool { unsafe PQisBusy(handle) == 1 }

    // MARK: Flights

    func enterPipeline() -> Bool { unsafe PQenterPipelineMode(handle) == 1 }

    /// False where the connection is gone.
    func prepare(_ statement: Statement) -> Bool {
        calls.append("prepare \(statement.rawValue)")
        return unsafe PQsendPrepare(handle, statement.rawValue, statement.sql, 0, nil) == 1
    }

    func send(_ statement: Statement, _ parameters: Parameters = Parameters()) -> Bool {
        calls.append(statement.rawValue)
        return unsafe withPointers(parameters) { values, lengths, formats in
            unsafe PQsendQueryPrepared(
                handle, statement.rawValue, Int32(parameters.count), values, lengths, formats, 1)
                == 1
        }
    }

    /// A statement that is not prepared.
    func sendUnprepared(_ sql: String, call: String) -> Bool {
        calls.append(call)
        return unsafe PQsendQueryParams(handle, sql, 0, nil, nil, nil, nil, 1) == 1
    }

    private func withPointers(
        _ parameters: Parameters,
        _ body: (UnsafePointer<UnsafePointer<CChar>?>, UnsafePointer<Int32>, UnsafePointer<Int32>)
            -> Bool
    ) -> Bool {
        let count = parameters.count
        let lengths = (0..<count).map { Int32(parameters.length($0)) }
        let formats = [Int32](repeating: 1, count: count)
        return unsafe parameters.bytes.withUnsafeBytes { bytes in
            unsafe withUnsafeTemporaryAllocation(
                of: UnsafePointer<CChar>?.self, capacity: max(1, count)
            ) { values in
                // A null pointer would mean NULL, also where an empty text is meant.
                let empty: StaticString = ""
                for index in 0..<count {
                    let start =
                        unsafe bytes.baseAddress.map { unsafe $0 + parameters.starts[index] }
                        ?? UnsafeRawPointer(empty.utf8Start)
                    unsafe values.initializeElement(
                        at: index, to: start.assumingMemoryBound(to: CChar.self))
                }
                return unsafe body(UnsafePointer(values.baseAddress!), lengths, formats)
            }
        }
    }

    /// Ends a part of the flight: an error skips what follows it up to here.
    func sync() -> Bool {
        syncsAwaited += 1
        return unsafe PQpipelineSync(handle) == 1
    }

    enum Flushed {
        case all, some
        case failed
    }

    /// Gives the socket what it takes.
    func flush() -> Flushed {
        switch unsafe PQflush(handle) {
        case 0: .all
        case 1: .some
        default: .failed
        }
    }

    /// Takes from the socket what is there. False where the connection is gone.
    func consume() -> Bool {
        unsafe PQconsumeInput(handle) == 1 && PQstatus(handle) == CONNECTION_OK
    }

    enum Landing {
        /// Every reply is there.
        case landed
        case waiting
        case lost
    }

    /// Takes up the replies that have come. Also those that came before the connection was lost: a
    /// COMMIT may be among them.
    func collect() -> Landing {
        var emptyCount = 0
        while syncsAwaited > 0 {
            if unsafe PQisBusy(handle) == 1 { return isAlive ? .waiting : .lost }
            guard let result = unsafe PQgetResult(handle) else {
                // The end of a statement's results. Twice in a row there is none: the end of all.
                emptyCount += 1
                if emptyCount > 1 { return isAlive ? .waiting : .lost }
                continue
            }
            emptyCount = 0
            unsafe take(result)
            if !isAlive { return .lost }
        }
        return .landed
    }

    var isAlive: Bool { unsafe PQstatus(handle) == CONNECTION_OK }

    private func take(_ result: OpaquePointer) {
        let rows = unsafe Rows(result)
        let status = unsafe PQresultStatus(result)
        if status == PGRES_PIPELINE_SYNC {
            syncsAwaited -= 1
            return
        }
        let call = replies.count < calls.count ? calls[replies.count] : "an unknown statement"
        switch status {
        case PGRES_TUPLES_OK, PGRES_COMMAND_OK:
            let tag = unsafe PQcmdStatus(result).map { unsafe String(cString: $0) } ?? ""
            replies.append(.done(rows, tag: tag))
        case PGRES_PIPELINE_ABORTED: replies.append(.skipped)
        default: unsafe replies.append(.failed(Self.error(result, call: call)))
        }
    }

    private static func error(_ result: OpaquePointer, call: String) -> PostgresError {
        let state = unsafe martlet_pg_sqlstate(result).map { unsafe String(cString: $0) }
        return PostgresError(state: state ?? "08006", call: call)
    }

    /// The flight's replies, which are thereby forgotten.
    func takeReplies() -> [Reply] {
        defer {
            replies = []
            calls = []
        }
        return replies
    }

    // MARK: Notifications

    /// What other sessions have told, in the order of their commits.
    func takeNotices() -> [Notice] {
        var found: [Notice] = []
        let own = unsafe PQbackendPID(handle)
        while let notice = unsafe PQnotifies(handle) {
            if unsafe notice.pointee.be_pid != own, let extra = unsafe notice.pointee.extra,
                let channel = unsafe notice.pointee.relname,
                let known = unsafe Notice(
                    channel: String(cString: channel), payload: String(cString: extra))
            {
                found.append(known)
            }
            unsafe PQfreemem(notice)
        }
        return found
    }
}
