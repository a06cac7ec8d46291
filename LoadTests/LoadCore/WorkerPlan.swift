import Wire

/// What the coordinator tells a worker, in the first line of its standard input.
package struct WorkerPlan: Sendable, Equatable {
    /// Words `key=value`: the scenario in force.
    package var settings: [String] = []
    package var dialect = LoadDialect.raw
    package var urls: [String] = []
    package var worker = 0
    package var workers = 1
    /// Local addresses 127.0.0.2, 127.0.0.3, … to connect from; 0 for the system's choice.
    package var sources = 0
    package var seed: UInt64 = 0
    /// Names the run in every message, room and user.
    package var run: UInt32 = 0
    /// The HS256 secret that tokens are minted with; nil where none is needed.
    package var secret: String?
    /// Ids of the channels of this worker's blocks, in order; empty where rooms have names.
    package var chats: [String] = []
    /// The first of them.
    package var firstChannel = 0
    /// The core to run on; nil for any.
    package var core: Int?

    package init() {}

    /// One line, its end included.
    package var line: [UInt8] {
        var json = JSONWriter(capacity: 1_024 + chats.count * 40)
        json.beginObject()
        json.strings("settings", settings)
        json.string("dialect", dialect.rawValue)
        json.strings("urls", urls)
        json.integer("worker", worker)
        json.integer("workers", workers)
        json.integer("sources", sources)
        json.string("seed", "\(seed)")
        json.integer("run", Int(run))
        if let secret {
            json.string("secret", secret)
        }
        json.strings("chats", chats)
        json.integer("firstChannel", firstChannel)
        if let core {
            json.integer("core", core)
        }
        json.endObject()
        return json.bytes + [UInt8(ascii: "\n")]
    }

    /// Nil where the line is none of `line`'s.
    package init?(line: [UInt8]) {
        guard let tree = JSONTree(line),
            let dialect = tree["dialect"].string.flatMap(LoadDialect.init(rawValue:)),
            let seed = tree["seed"].string.flatMap(UInt64.init)
        else { return nil }
        settings = tree["settings"].array.compactMap(\.string)
        self.dialect = dialect
        urls = tree["urls"].array.compactMap(\.string)
        worker = tree["worker"].int
        workers = tree["workers"].int
        sources = tree["sources"].int
        self.seed = seed
        run = UInt32(truncatingIfNeeded: tree["run"].count)
        secret = tree["secret"].string
        chats = tree["chats"].array.compactMap(\.string)
        firstChannel = tree["firstChannel"].int
        core = tree["core"].double.map { Int($0) }
    }
}
