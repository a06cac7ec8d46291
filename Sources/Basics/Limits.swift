/// Every bound of the program, in one place, each with its reason and its range.
///
/// `Limits.catalogue` is the table: the command line (`--limit name=value|off`), the configuration
/// file, `Protocol/limits.json` and the documentation are made from it or tested against it.
public struct Limits: Sendable, Equatable {
    // HTTP
    public var requestHeadBytes = 16_384
    public var requestHeaders = 64
    public var requestHeadTimeoutMs = 10_000
    public var requestBodyBytes = 1_000_000
    public var keepAliveTimeoutMs = 60_000
    public var httpRequestsPerMinute = 120

    // WebSocket
    public var frameBytes = 1_000_000
    public var messageBytes = 1_000_000
    public var messageFragments = 64
    public var messageTimeoutMs = 30_000
    public var authTimeoutMs = 5_000
    public var pingIntervalMs = 25_000
    public var pongTimeoutMs = 20_000
    public var recoveryWindowMs = 0
    public var legacyTokenGraceSeconds = 0
    public var closeTimeoutMs = 5_000

    // JSON
    public var jsonDepth = 32
    public var jsonNodes = 16_384

    // Memory
    public var outboxBytes = 1_000_000
    public var totalOutboxBytes = 512_000_000
    public var connections = 100_000
    public var readBytesPerTick = 262_144

    // People
    public var connectsPerSecondPerAddress = 10
    public var socketsPerUser = 20
    public var sendsPerSecond = 20
    public var sendBurst = 60
    public var joinsPerSecond = 50
    public var cursorsPerSecond = 100
    public var cursorBurst = 500
    public var typingPer10Seconds = 5
    public var strikesPer60Seconds = 10
    public var badInputsPer60Seconds = 10
    public var ciphertextBytes = 256_000
    public var chatsPerResume = 1_000
    public var topicsPerConnection = 100
    public var membersPerChat = 10_000
    public var membersPerRequest = 500
    public var typingMembers = 200
    public var historyPage = 100

    // Store
    public var batchOperations = 512
    public var batchBytes = 4_000_000
    public var laneOperations = 16_384
    public var laneBytes = 64_000_000
    public var holdBackMs = 200
    public var cursorCoalesceMs = 250
    public var unknownCommitMs = 10_000
    public var mailboxBytes = 32_000_000

    public init() {}

    /// The value that `off` stands for: never reached.
    public static let off = Int.max

    public struct Entry: Sendable {
        public let name: String
        public let field: any WritableKeyPath<Limits, Int> & Sendable
        public let unit: String
        public let range: ClosedRange<Int>
        public let canBeOff: Bool
        public let reason: String
    }

    /// Sets the limit called `name` from its text. Returns the complaint where that cannot be done.
    public mutating func set(_ name: String, to text: String) -> String? {
        guard let entry = Self.catalogue.first(where: { $0.name == name }) else {
            return "there is no limit called '\(name)'; `martlet config` lists them"
        }
        if text == "off" {
            guard entry.canBeOff else {
                return "limit '\(name)' cannot be off, only within "
                    + "\(entry.range.lowerBound)...\(entry.range.upperBound) \(entry.unit)"
            }
            self[keyPath: entry.field] = Self.off
            return nil
        }
        guard let value = Int(text), entry.range.contains(value) else {
            return "limit '\(name)' takes a whole number of \(entry.unit) within "
                + "\(entry.range.lowerBound)...\(entry.range.upperBound)"
                + (entry.canBeOff ? ", or off" : "") + ", not '\(text)'"
        }
        self[keyPath: entry.field] = value
        return nil
    }

    public static let catalogue: [Entry] = {
        func e(
            _ name: String, _ field: any WritableKeyPath<Limits, Int> & Sendable, _ unit: String,
            _ range: ClosedRange<Int>, off: Bool = false, _ reason: String
        ) -> Entry {
            Entry(
                name: name, field: field, unit: unit, range: range, canBeOff: off, reason: reason)
        }
        return [
            e(
                "requestHead", \.requestHeadBytes, "bytes", 1_024...65_536,
                "A head is held whole before it is answered, also for peers not yet known."),
            e(
                "requestHeaders", \.requestHeaders, "headers", 8...256,
                "Look-ups walk the table; a browser sends about 20."),
            e(
                "requestHeadTimeout", \.requestHeadTimeoutMs, "ms", 100...120_000,
                "An absolute deadline: a head that drips in holds a connection no longer."),
            e(
                "requestBody", \.requestBodyBytes, "bytes", 1_024...16_000_000,
                "A body is held whole before it is parsed."),
            e(
                "keepAliveTimeout", \.keepAliveTimeoutMs, "ms", 1_000...600_000,
                "An idle HTTP connection costs a descriptor."),
            e(
                "http", \.httpRequestsPerMinute, "requests a minute a user", 1...1_000_000,
                off: true,
                "Keeps one account's scripts from the store that all share."),
            e(
                "frame", \.frameBytes, "bytes", 125...17_000_000,
                "Checked against the announced length, before any payload is read."),
            e(
                "message", \.messageBytes, "bytes", 125...17_000_000,
                "Fragments are gathered, so their sum is bounded too."),
            e(
                "messageFragments", \.messageFragments, "fragments", 1...70_000,
                "Empty fragments cost work and no bytes."),
            e(
                "messageTimeout", \.messageTimeoutMs, "ms", 100...600_000,
                "An absolute deadline for one message, however slowly it drips."),
            e(
                "authTimeout", \.authTimeoutMs, "ms", 100...60_000,
                "A socket that has not said who it is may not stay."),
            e(
                "pingInterval", \.pingIntervalMs, "ms", 100...600_000,
                "Below the 60 s after which common proxies drop a silent connection."),
            e(
                "pongTimeout", \.pongTimeoutMs, "ms", 100...600_000,
                "Long enough for a phone that changes networks."),
            e(
                "recoveryWindow", \.recoveryWindowMs, "ms", 0...3_600_000,
                "How long a Socket.IO session can be recovered; 0: never, and no offsets."),
            e(
                "legacyTokenGrace", \.legacyTokenGraceSeconds, "s", 0...2_592_000,
                "How long an expired token goes on serving the Socket.IO client that came with it."),
            e(
                "closeTimeout", \.closeTimeoutMs, "ms", 100...60_000,
                "How long the closing handshake waits for the peer's half."),
            e(
                "jsonDepth", \.jsonDepth, "levels", 4...64,
                "No event nests deeper than 5; the reader is iterative, so this bounds work only."),
            e(
                "jsonNodes", \.jsonNodes, "values", 256...1_000_000,
                "One reader's tape a shard: 20 bytes a value, two for a member."),
            e(
                "outbox", \.outboxBytes, "bytes", 16_384...64_000_000,
                "A reader slower than this is closed (4101) and resumes; at half, typing is dropped."
            ),
            e(
                "totalOutbox", \.totalOutboxBytes, "bytes a process", 1_000_000...64_000_000_000,
                "The memory that all slow readers together may hold."),
            e(
                "connections", \.connections, "connections a process", 16...10_000_000,
                "Above it a new connection is answered 503 with Retry-After, and closed."),
            e(
                "readPerTick", \.readBytesPerTick, "bytes a connection", 4_096...16_000_000,
                "One loud peer cannot starve the others of its shard."),
            e(
                "connects", \.connectsPerSecondPerAddress, "a second an address", 1...1_000_000,
                off: true, "A reconnect loop gone wrong; loopback counts too."),
            e(
                "socketsPerUser", \.socketsPerUser, "connections a user and shard", 1...100_000,
                off: true, "Tabs and devices of a person, not of a script."),
            e(
                "sends", \.sendsPerSecond, "messages a second a user", 1...1_000_000, off: true,
                "Faster than anyone types; bursts have their own bound."),
            e(
                "sendBurst", \.sendBurst, "messages", 1...1_000_000, off: true,
                "What a client that was offline may flush at once."),
            e(
                "joins", \.joinsPerSecond, "joins and resumes a second a user", 1...1_000_000,
                off: true,
                "Each reads the store, or is told to Redis (topics). A list counts once: its length has its own bound."
            ),
            e(
                "cursors", \.cursorsPerSecond, "movements a second a user", 1...1_000_000,
                off: true,
                "Those that merge with a waiting one are free; the others are a write each."),
            e(
                "cursorBurst", \.cursorBurst, "movements", 1...1_000_000, off: true,
                "A device that opens many chats at once."),
            e(
                "typing", \.typingPer10Seconds, "events per 10 s a user", 1...1_000_000, off: true,
                "Clients send on key presses."),
            e(
                "strikes", \.strikesPer60Seconds, "refusals in 60 s", 1...1_000_000, off: true,
                "A client that ignores RATE_LIMITED is closed (4102)."),
            e(
                "badInputs", \.badInputsPer60Seconds, "errors in 60 s a connection", 1...1_000_000,
                off: true,
                "A client that keeps sending what cannot be read is closed (4006)."),
            e(
                "ciphertext", \.ciphertextBytes, "bytes", 1_024...16_000_000,
                "A blob is stored, logged and sent to every member."),
            e(
                "chatsPerResume", \.chatsPerResume, "chats", 1...8_000,
                "One resume is one read of the store."),
            e(
                "topics", \.topicsPerConnection, "topics a connection", 1...10_000,
                "Any name will do, and each is a channel that the instance asks Redis for."),
            e(
                "members", \.membersPerChat, "members a chat", 2...1_000_000,
                "A group, not a broadcast channel."),
            e(
                "membersPerRequest", \.membersPerRequest, "members", 2...1_000,
                "Each is a row of one transaction that everybody else waits for."),
            e(
                "typingMembers", \.typingMembers, "members", 2...10_000,
                "In a large group typing is noise that costs one send a member."),
            e(
                "historyPage", \.historyPage, "entries", 1...1_000,
                "One page is held in memory whole."),
            e(
                "batch", \.batchOperations, "operations", 1...10_000,
                "One transaction: more raises the latency of the first without more throughput."),
            e(
                "batchBytes", \.batchBytes, "bytes", 100_000...64_000_000,
                "As batch, for large blobs."),
            e(
                "lane", \.laneOperations, "operations", 64...1_000_000,
                "What may wait for the store before sends are refused."),
            e(
                "laneBytes", \.laneBytes, "bytes", 1_000_000...1_000_000_000,
                "As lane, for large blobs."),
            e(
                "holdBack", \.holdBackMs, "ms", 1...10_000,
                "How long an entry waits for its predecessor before the store is asked."),
            e(
                "cursorCoalesce", \.cursorCoalesceMs, "ms", 1...5_000,
                "Receipts of one window become one write; losing a window repeats deliveries only."),
            e(
                "unknownCommit", \.unknownCommitMs, "ms", 100...120_000,
                "How long a sender waits to learn the fate of a commit before it is closed (4202)."),
            e(
                "mailbox", \.mailboxBytes, "bytes a shard", 1_000_000...1_000_000_000,
                "Above it the commit lane pauses and typing is dropped."),
        ]
    }()
}
