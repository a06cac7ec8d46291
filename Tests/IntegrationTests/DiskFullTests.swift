import Client
import Foundation
import ServerSupport
import Testing
import Wire

/// A disk that is full, and then is not: a small tmpfs(5), which takes root to mount.
struct DiskFullTests {
    /// Told to be passed over.
    private static var isSkipped: Bool {
        ProcessInfo.processInfo.environment["MARTLET_SKIP_TMPFS"] == "1"
    }

    /// A mounted tmpfs; unmounted when the last owner lets go.
    private final class SmallDisk {
        let path: String
        private let folder: TemporaryFolder

        init(megabytes: Int) throws {
            folder = try TemporaryFolder("disk")
            path = folder.path
            try Self.mount(["-t", "tmpfs", "-o", "size=\(megabytes)m", "tmpfs", path])
        }

        func resize(megabytes: Int) throws {
            try Self.mount(["-o", "remount,size=\(megabytes)m", path])
        }

        private static func mount(_ arguments: [String]) throws {
            let (exit, _, errors) = try ChildProcess.run("mount", arguments)
            guard exit == .code(0) else {
                throw SupportError(
                    "mount failed (\(errors)); run as root, or set MARTLET_SKIP_TMPFS=1")
            }
        }

        deinit { _ = try? ChildProcess.run("umount", ["-l", path]) }
    }

    @Test(
        "P19 On a full disk sends are refused, what was acked stays, and with space it goes on",
        .disabled(if: isSkipped, "MARTLET_SKIP_TMPFS=1"))
    func fullDisk() throws {
        let disk = try SmallDisk(megabytes: 6)
        var options = TestServer.Options()
        options.data = disk.path + "/data"
        let server = try TestServer(options)
        let chat = try server.api("alice").openDirectChat(with: "bob").id
        let alice = try TestClient(server, user: "alice")
        let bob = try TestClient(server, user: "bob")
        try bob.join(chat)
        #expect(try server.get("/health/ready").status == 200)

        let padding = String(repeating: "x", count: 40_000)
        var acked: [Int64: String] = [:]
        var refused: [String] = []
        for number in 1...400 where refused.count < 5 {
            let content = "\(number) \(padding)"
            let ack = try alice.request {
                Frames.send(content, to: chat, clientMessageID: "m-\(number)", id: $0)
            }
            if let seq = ack.seq {
                acked[seq] = content
            } else {
                refused.append("m-\(number)")
                #expect(ack.problem?.code == "SERVICE_UNAVAILABLE")
                #expect(ack.problem?.retryAfterMs != nil)
            }
        }
        #expect(refused.count == 5, "6 MB are full after 400 messages of 40 KB")
        #expect(acked.count > 20)

        let ready = try server.get("/health/ready")
        #expect(ready.status == 503)
        #expect(ready.text.contains(#""database":"error""#))
        #expect(try server.get("/health").status == 503)
        #expect(try server.get("/health/live").status == 200, "a restart would not help")
        #expect(try Self.history(server, chat) == acked, "reading still works")

        try disk.resize(megabytes: 64)
        try eventually("the store works again") {
            try server.get("/health/ready").status == 200
        }
        // The same clients, the same process; the refused ones are sent again.
        for id in refused {
            let content = "again \(id)"
            let ack = try alice.send(content, to: chat, id: id)
            #expect(ack.isDuplicate == false, "it was refused, so it was not stored")
            acked[try #require(ack.seq)] = content
        }
        #expect(try Self.history(server, chat) == acked)
        #expect(acked.keys.sorted() == Array(1...Int64(acked.count)), "no seq was burnt")
        var heard: [Int64] = []
        while heard.count < acked.count { heard.append(try bob.message().seq) }
        #expect(heard == acked.keys.sorted())
        #expect(try server.stop() == .code(0))
        try server.start()
        #expect(try Self.history(server, chat) == acked)
        #expect(try server.stop() == .code(0))
    }

    private static func history(_ server: TestServer, _ chat: String) throws -> [Int64: String] {
        let api = try server.api("alice")
        var found: [Int64: String] = [:]
        while true {
            let page = try api.history(of: chat, after: found.keys.max() ?? 0, limit: 50)
            if page.isEmpty { return found }
            for case .message(let message) in page { found[message.seq] = message.content }
        }
    }
}
