import Basics
import Client
import ServerSupport
import Synchronization
import Testing

/// Two users who talk while others misbehave, and who must not notice.
struct HealthyPair {
    /// The slowest message, from its sending to its arrival. Others are at work on the machine, so
    /// this is no measurement: it tells a server that stands still from one that does not.
    static let patienceMs = 3_000

    /// Runs the bodies, each on a thread of its own, and the pair until all have ended.
    ///
    /// - Returns: how many messages the pair exchanged, and how long the slowest took.
    @discardableResult
    static func talk(
        _ server: TestServer, during bodies: [@Sendable () throws -> Void]
    ) throws -> (messages: Int, slowestMs: Int) {
        let chat = try server.api("healthy-1").openDirectChat(with: "healthy-2").id
        let left = Mutex(bodies.count)
        let result = Mutex((messages: 0, slowestMs: 0))
        let counted: [@Sendable () throws -> Void] = bodies.map { body in
            {
                defer { left.withLock { $0 -= 1 } }
                try body()
            }
        }
        let pair: @Sendable () throws -> Void = {
            let clients = try ["healthy-1", "healthy-2"].map {
                try TestClient(server, user: $0)
            }
            for client in clients { try client.join(chat) }
            while left.withLock({ $0 }) > 0 {
                let number = result.withLock { $0.messages } + 1
                let began = MonotonicClock.now()
                try clients[number % 2].send("\(number)", to: chat)
                let message = try clients[1 - number % 2].message()
                try check(
                    message.content == "\(number)" && message.seq == Int64(number),
                    "message \(number) came as \(message.seq)")
                let tookMs = MonotonicClock.now().milliseconds(since: began)
                result.withLock { $0 = (number, max($0.slowestMs, tookMs)) }
            }
        }
        try inParallel(counted + [pair])
        let (messages, slowestMs) = result.withLock { $0 }
        #expect(messages >= 2)
        #expect(slowestMs < patienceMs, "the slowest of \(messages) messages")
        return (messages, slowestMs)
    }
}
