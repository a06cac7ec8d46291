import Basics
import Domain
import Glibc
import Reactor
import StoreCore
import StorePostgres

/// `martlet-store-bench URL BATCH SECONDS CHATS BYTES`: appends messages to a Postgres store, one
/// batch in flight like the commit lane, and prints a line of JSON. For `Scripts/bench store`.
///
/// The chats are called `bench-0`, `bench-1`, …, each with the members `user-0` to `user-3`; they
/// are made where they are missing. Each batch goes to chats of chance.
@main
enum Main {
    static func main() {
        let words = CommandLine.arguments.dropFirst()
        let numbers = words.dropFirst().compactMap { Double($0) }
        guard words.count == 5, numbers.count == 4, numbers.allSatisfy({ $0 > 0 }) else {
            print("usage: martlet-store-bench URL BATCH SECONDS CHATS BYTES")
            exit(64)
        }
        do throws(StoreFailure) {
            let bench = try Bench(
                url: words[words.startIndex], chats: Int(numbers[2]), bytes: Int(numbers[3]))
            try bench.run(batch: Int(numbers[0]), seconds: numbers[1])
        } catch {
            print("martlet-store-bench: \(error.text)")
            exit(1)
        }
    }
}

private final class Bench {
    private static let users = (0..<4).map { UserID(trusted: "user-\($0)") }

    private let loop: EventLoop
    private let store: PostgresStore
    private let chats: [ChatID]
    private let content: [UInt8]
    private var identifiers = IdentifierGenerator(random: SystemRandomNumberGenerator())
    private var random = SystemRandomNumberGenerator()

    init(url: String, chats count: Int, bytes: Int) throws(StoreFailure) {
        do throws(SystemError) {
            loop = try EventLoop()
        } catch {
            throw StoreFailure(.unavailable, "\(error)")
        }
        store = try PostgresStore.open(
            url: url, loop: loop, random: SystemRandomNumberGenerator())
        chats = (0..<count).map { ChatID(trusted: "bench-\($0)") }
        content = [UInt8](repeating: UInt8(ascii: "A"), count: bytes)
        for start in stride(from: 0, to: count, by: 100) {
            _ = try commit(chats[start..<min(count, start + 100)].map(creation))
        }
    }

    private func creation(_ chat: ChatID) -> Operation {
        .createConversation(
            CreateConversation(
                id: chat, kind: .group, name: nil, creator: Self.users[0], members: Self.users,
                createdAt: WallTime(milliseconds: 1)))
    }

    private func append(_ now: Now) -> Operation {
        let id = identifiers.next(at: now.wall).text
        let author = Self.users[Int(random.next() & 3)]
        return .append(
            AppendMessage(
                id: MessageID(trusted: id), chat: chats[Int(random.next() % UInt64(chats.count))],
                author: author, device: DeviceID(trusted: "phone"), clientMessageID: "c" + id,
                createdAt: now.wall, message: Message(encryptedContent: content, type: "text")))
    }

    func run(batch: Int, seconds: Double) throws(StoreFailure) {
        var latencies: [UInt64] = []
        let began = loop.now.instant
        let end = began.advanced(byMilliseconds: Int(seconds * 1_000))
        while loop.now.instant < end {
            let now = loop.now
            let outcomes = try commit((0..<batch).map { _ in append(now) })
            guard outcomes.allSatisfy({ if case .appended = $0 { true } else { false } }) else {
                throw StoreFailure(.unavailable, "an append was refused")
            }
            latencies.append(loop.now.instant.nanoseconds(since: now.instant) / 1_000)
        }
        let took = Double(loop.now.instant.nanoseconds(since: began)) / 1e9
        latencies.sort()
        let rate = Int(Double(batch * latencies.count) / took)
        print(
            #"{"rate":\#(rate),"p50_us":\#(latencies[latencies.count / 2]),"#
                + #""p99_us":\#(latencies[latencies.count * 99 / 100])}"#)
    }

    private func commit(_ operations: [Operation]) throws(StoreFailure) -> [Outcome] {
        var result: BatchResult?
        store.submit(Batch(operations: operations)) { result = $0 }
        do throws(SystemError) {
            while result == nil { try loop.runOnce() }
        } catch {
            throw StoreFailure(.unavailable, "\(error)")
        }
        switch result {
        case .committed(let outcomes): return outcomes
        case .notStored(let failure), .unknown(let failure): throw failure
        case nil: throw StoreFailure(.unavailable, "no answer")
        }
    }
}
