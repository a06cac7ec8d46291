import Testing
import WebSocket

/// A Socket.IO client by hand: each request on a connection of its own, perhaps to another shard, or
/// a WebSocket.
final class EngineClient {
    private let node: TestNode
    /// Where the next request arrives.
    var shard: Int
    let path: String
    private(set) var sid = ""
    private(set) var open: JSONValue = .missing
    private(set) var socket: TestSocket?

    init(_ node: TestNode, shard: Int = 0, path: String = "/socket.io/") {
        self.node = node
        self.shard = shard
        self.path = path
    }

    func target(_ transport: String) -> String {
        "\(path)?EIO=4&transport=\(transport)" + (sid.isEmpty ? "" : "&sid=\(sid)")
    }

    // MARK: Polling

    @discardableResult
    func openPolling() -> TestSocket.Response {
        let response = node.connect(shard: shard).request("GET", target("polling"))
        if response.text.hasPrefix("0") {
            open = JSONValue(parsing: Array(response.body.dropFirst()))
            sid = open.sid.stringValue ?? ""
        }
        return response
    }

    @discardableResult
    func post(_ packets: String...) -> TestSocket.Response {
        node.connect(shard: shard).request(
            "POST", target("polling"), body: packets.joined(separator: "\u{1E}"))
    }

    /// Begins a poll; its answer is read from the socket.
    func beginPoll() -> TestSocket {
        let socket = node.connect(shard: shard)
        socket.send(TestSocket.request("GET", target("polling")))
        return socket
    }

    /// What a poll brings, now.
    func poll() -> [String] { Self.packets(beginPoll().response()) }

    static func packets(_ response: TestSocket.Response) -> [String] {
        guard response.status == 200 else { return ["status \(response.status)"] }
        return response.text.split(separator: "\u{1E}", omittingEmptySubsequences: false)
            .map(String.init)
    }

    // MARK: WebSocket

    /// Opens a WebSocket; with a sid it is one that wants to take the session over.
    @discardableResult
    func openSocket() -> TestSocket {
        let socket = node.connect(shard: shard)
        #expect(socket.upgrade(target("websocket")).status == 101)
        if sid.isEmpty {
            self.socket = socket
            let first = socket.takeTexts().first ?? ""
            open = JSONValue(parsing: Array(first.utf8.dropFirst()))
            sid = open.sid.stringValue ?? ""
        }
        return socket
    }

    func upgrade() {
        let probe = openSocket()
        probe.sendText("2probe")
        #expect(probe.takeTexts() == ["3probe"])
        probe.sendText("5")
        socket = probe
    }

    // MARK: Either

    func send(_ packet: String) {
        if let socket { socket.sendText(packet) } else { #expect(post(packet).text == "ok") }
    }

    func received() -> [String] { socket?.takeTexts() ?? poll() }

    /// The events that came: a name and its payload, without their namespace.
    func events() -> [(name: String, payload: JSONValue)] {
        received().compactMap { packet in
            guard packet.hasPrefix("42"), let start = packet.firstIndex(of: "[") else { return nil }
            let array = JSONValue(parsing: Array(packet[start...].utf8))
            guard case .array(let arguments) = array else { return nil }
            return (arguments[0].stringValue ?? "?", arguments.count > 1 ? arguments[1] : .missing)
        }
    }

    func names() -> [String] { events().map(\.name) }

    /// Joins a namespace; what is said to that is left to be read.
    func connect(_ user: String, namespace: String = "", extra: String = "") {
        send("40\(namespace){\"token\":\"\(node.token(user))\"\(extra)}")
    }
}

extension TestNode {
    /// A client of Socket.IO that is somebody, and has read its greeting.
    func socketIO(
        _ user: String, namespace: String = "", extra: String = "", isPolling: Bool = false,
        shard: Int = 0
    ) -> EngineClient {
        let client = EngineClient(self, shard: shard)
        if isPolling { client.openPolling() } else { client.openSocket() }
        client.connect(user, namespace: namespace, extra: extra)
        _ = client.received()
        return client
    }
}
