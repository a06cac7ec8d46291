import Client
import ServerSupport
import Testing
import WebSocket
import Wire

/// What backends say on `job:{id}`, and who hears it.
struct FleetTopicTests {
    /// Two instances, and a client of each in each dialect.
    private final class Audience {
        let fleet: Fleet
        let clients: [TestClient]

        init(bridge: String = "in") throws {
            var options = Fleet.Options()
            options.arguments = ["--bridge", bridge]
            fleet = try Fleet.together(options)
            var clients: [TestClient] = []
            for node in fleet.nodes.indices {
                for dialect in Dialect.plain {
                    clients.append(try fleet.client("bob", at: node, dialect: dialect))
                }
            }
            self.clients = clients
        }

        func subscribe(_ topics: String...) throws {
            for client in clients { try FleetTopicTests.subscribe(client, topics) }
        }

        /// The next thing that each client hears is this update, byte for byte.
        func expectUpdate(_ topic: String, _ payload: String) throws {
            for client in clients {
                let text = try FleetTopicTests.text(client)
                let update = #"{"type":"JOB_UPDATE","payload":\#(payload)}"#
                let expected =
                    client.plain.subprotocol == nil
                    ? update
                    : #"{"type":"topic.event","payload":{"topic":"\#(topic)",\#(update.dropFirst())}"#
                try check(text == expected, "\(text), not \(expected)")
            }
        }
    }

    private static func subscribe(_ client: TestClient, _ topics: [String]) throws {
        let ack = try client.request { Frames.subscribe(topics, id: $0) }
        try check(ack.isOK, "\(topics): \(ack.problem?.code ?? "")")
    }

    /// The next frame, as it came.
    private static func text(_ client: TestClient) throws -> String {
        guard case .text(let text) = try client.plain.receive(timeoutMs: 20_000) else {
            throw SupportError("nothing came")
        }
        return String(decoding: text, as: UTF8.self)
    }

    @Test("redis-cli PUBLISH job:42 reaches each subscriber of each instance once, and nobody else")
    func updates() async throws {
        try await apart {
            let audience = try Audience()
            let fleet = audience.fleet
            let strangers = try fleet.nodes.indices.flatMap { node in
                try Dialect.plain.map { try fleet.client("carol", at: node, dialect: $0) }
            }
            try check(try fleet.publish("job:42", "{}") == 0, "nobody listens before")
            for stranger in strangers { try Self.subscribe(stranger, ["job:4", "job:421"]) }
            try audience.subscribe("job:42", "job:7")
            let payload = #"{"jobId":42, "status":"filled","list":[1,2.50,null,"é\u00e9"]}"#
            let said = try ChildProcess.run(
                "redis-cli",
                [
                    "-p", "\(fleet.redis.port)", "PUBLISH", "job:42",
                    #"{"type":"JOB_UPDATE","payload":\#(payload)}"#,
                ])
            try check(
                said.exit == .code(0) && said.output.hasPrefix("2"),
                "two instances listen: \(said.output) \(said.errors)")
            try audience.expectUpdate("job:42", payload)
            for number in 1...20 {
                let topic = number.isMultiple(of: 2) ? "job:42" : "job:7"
                try fleet.publish(topic, #"{"type":"JOB_UPDATE","payload":{"n":\#(number)}}"#)
                try audience.expectUpdate(topic, "{\"n\":\(number)}")
            }
            // The first and only thing they hear.
            try fleet.publish("user:carol", #"{"type":"notification","payload":{"last":1}}"#)
            for stranger in strangers {
                let text = try Self.text(stranger)
                try check(text.hasSuffix(#""payload":{"last":1}}"#), "carol heard \(text)")
                try check(stranger.events.isEmpty, "\(stranger.events)")
            }
        }
    }

    @Test("An instance listens to a topic on Redis while somebody there follows it, and no longer")
    func interest() async throws {
        try await apart {
            let audience = try Audience()
            let fleet = audience.fleet
            let update = #"{"type":"JOB_UPDATE","payload":{}}"#
            func awaitListeners(_ count: Int) throws {
                try eventually("\(count) instances listen on job:1") {
                    try fleet.publish("job:1", update) == count
                }
            }
            for (index, client) in audience.clients.enumerated() {
                try Self.subscribe(client, ["job:1"])
                // The ack came, so it holds: without waiting.
                let heard = try fleet.publish("job:1", update)
                try check(heard == index / 2 + 1, "\(heard) listen after \(index + 1)")
            }
            for client in audience.clients[0...1] {
                let ack = try client.request { Frames.unsubscribe(["job:1"], id: $0) }
                try check(ack.isOK, "\(ack)")
            }
            try awaitListeners(1)
            for client in audience.clients[2...3] { client.plain.close() }
            try awaitListeners(0)
            try Self.subscribe(audience.clients[0], ["job:1"])
            try check(try fleet.publish("job:1", update) == 1, "and again")
        }
    }

    @Test("P12 What is no update is dropped and counted at each instance that hears it")
    func garbage() async throws {
        try await apart {
            let audience = try Audience()
            let fleet = audience.fleet
            try audience.subscribe("job:42")
            let garbage = [
                "", "nothing", "null", "[]", "{}", "{", "\u{0}", "\u{FEFF}{}",
                #"{"type":"JOB_UPDATE"}"#, #"{"type":"JOB_UPDATE","payload":null}"#,
                #"{"type":"JOB_UPDATE","payload":"{}"}"#, #"{"type":"JOB_UPDATE","payload":[]}"#,
                #"{"type":"JOB_UPDATE","payload":{}} {}"#,
                #"{"type":"JOB_UPDATE","payload":{"a":1,"a":1}}"#,
                #"{"type":"JOB_CREATED","payload":{}}"#, #"{"type":"disconnect"}"#,
                #"{"type":"notification","payload":{"title":"not for topics"}}"#,
                #"{"type":"new-message","chatId":"c","message":{"id":"i","senderId":"a","content":"x"}}"#,
                String(repeating: "[", count: 100_000),
                #"{"type":"JOB_UPDATE","payload":{"t":"\#(String(repeating: "x", count: 2_000_000))"}}"#,
            ]
            // Another instance's words may stand on these channels, and nothing is said there.
            let internally = ["", "{}", "\u{1}\u{4}", #"{"type":"JOB_UPDATE","payload":{}}"#]
            let before = try fleet.unreadable()
            let reconnects = try fleet.failures()
            var count = 0
            for (channel, payloads) in [("job:42", garbage), ("martlet:t:job:42", internally)] {
                for payload in payloads {
                    let heard = try fleet.publish(channel, payload)
                    try check(heard == 2, "\(heard) instances follow \(channel)")
                    count += 1
                    try eventually("\(channel) \(payload.prefix(80)) is counted") {
                        try fleet.unreadable() == before.map { $0 + count }
                    }
                }
            }
            try fleet.publish("job:42", #"{"origin":"martlet","type":"JOB_UPDATE","payload":{}}"#)
            try fleet.publish("job:42", #"{"type":"JOB_UPDATE","payload":{"all":"well"}}"#)
            try audience.expectUpdate("job:42", #"{"all":"well"}"#)
            try check(try fleet.unreadable() == before.map { $0 + count }, "and nothing else is")
            try check(try fleet.failures() == reconnects, "no connection to Redis was lost")
        }
    }

    @Test(
        "After a loss of Redis subscriptions hold, new ones are taken meanwhile, nothing is replayed"
    )
    func redisLost() async throws {
        try await apart {
            let audience = try Audience()
            let fleet = audience.fleet
            try audience.subscribe("job:1")
            fleet.redis.kill()
            try fleet.awaitDegraded()
            try audience.subscribe("job:2")
            try fleet.redis.start()
            // Said to a Redis that nobody listens to yet, or to both: never to be heard twice.
            try fleet.publish("job:1", #"{"type":"JOB_UPDATE","payload":{"early":1}}"#)
            try fleet.awaitHealthy()
            for topic in ["job:1", "job:2"] {
                try check(
                    try fleet.publish(topic, #"{"type":"JOB_UPDATE","payload":{"t":"\#(topic)"}}"#)
                        == 2, "both listen again on \(topic)")
                for client in audience.clients {
                    var text = try Self.text(client)
                    if text.contains("early") { text = try Self.text(client) }
                    try check(text.contains(#"{"t":"\#(topic)"}"#), text)
                }
            }
        }
    }

    @Test("With --bridge off a topic is followed, and nobody listens on its public channel")
    func off() async throws {
        try await apart {
            let audience = try Audience(bridge: "off")
            try audience.subscribe("job:1")
            let heard = try audience.fleet.publish(
                "job:1", #"{"type":"JOB_UPDATE","payload":{}}"#)
            try check(heard == 0, "\(heard) listen")
        }
    }
}
