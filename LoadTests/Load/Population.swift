import Basics
import Client
import Glibc
import Identity
import LoadCore
import Reactor

/// Users and chats that a product dialect needs, made over HTTP before anything is measured.
struct Population {
    let urls: [String]
    let secret: String
    let run: UInt32
    let topology: Topology
    /// As the server's own limit for one request (`membersPerRequest`), the maker included.
    private static let membersPerRequest = 400

    /// Ids of all channels, in order.
    ///
    /// - Throws: what the server refused.
    func make(_ progress: (String) -> Void) throws(WorkerError) -> [String] {
        let minter: TokenMinter
        let url: URLParts
        do throws(SecretError) {
            minter = TokenMinter(secret: try Secret(secret))
        } catch {
            throw WorkerError("\(error)")
        }
        do throws(ClientError) {
            url = try URLParts(urls[0])
        } catch {
            throw WorkerError("--url: \(error)")
        }
        var last = MonotonicClock.now()
        func tell(_ text: @autoclosure () -> String) {
            let now = MonotonicClock.now()
            guard now.milliseconds(since: last) >= 1_000 else { return }
            last = now
            progress(text())
        }
        do throws(ClientError) {
            // A user exists from the first request with its token on.
            for user in 0..<topology.users {
                tell("\(user) of \(topology.users) users are known to the server")
                let token = try token(user, minter)
                let answer = try HTTPExchange.request(
                    "GET", url.at("/api/v1/chats?limit=1"), token: token, timeoutMs: 20_000)
                guard answer.status == 200 else {
                    throw .refused(
                        status: answer.status, code: nil, message: "asking for a user's chats",
                        retryAfterMs: nil)
                }
            }
            var chats: [String] = []
            for block in 0..<topology.blocks {
                let users = topology.users(in: block)
                let api = ChatAPI(
                    url: url, token: try token(users.lowerBound, minter), timeoutMs: 30_000)
                let others = users.dropFirst().map { LoadDialect.userName(run: run, user: $0) }
                for _ in 0..<topology.channelsPerBlock {
                    tell("\(chats.count) of \(topology.channels) chats are made")
                    let first = others.prefix(Self.membersPerRequest)
                    let chat = try api.createChat(type: "group", members: Array(first))
                    var rest = others.dropFirst(first.count)
                    while !rest.isEmpty {
                        try api.addMembers(
                            Array(rest.prefix(Self.membersPerRequest)), to: chat.id)
                        rest = rest.dropFirst(Self.membersPerRequest)
                    }
                    chats.append(chat.id)
                }
            }
            return chats
        } catch {
            throw WorkerError(
                "users and chats could not be made: \(error)"
                    + Coordinator.advice(on: ["\(error)": 1], .v1))
        }
    }

    private func token(_ user: Int, _ minter: TokenMinter) throws(ClientError) -> String {
        do throws(TokenMintError) {
            return try minter.mint(
                user: LoadDialect.userName(run: run, user: user), lifetimeSeconds: 24 * 3_600,
                nowMilliseconds: SystemClock().now().wall.milliseconds)
        } catch {
            throw .badAnswer("no token: \(error.text)")
        }
    }
}
