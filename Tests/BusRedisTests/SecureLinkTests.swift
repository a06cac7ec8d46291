import Basics
import ServerSupport
import Testing

@testable import BusRedis

/// With a redis-server that speaks TLS, and certificates of the test's own authority.
@Suite("The link to a Redis over TLS")
struct SecureLinkTests {
    /// An authority, and a server's certificate for `localhost` and 127.0.0.1 signed by it.
    private final class Certificates {
        let folder: TemporaryFolder

        init(names: String = "DNS:localhost,IP:127.0.0.1") throws {
            folder = try TemporaryFolder("tls")
            try folder.write("subjectAltName=\(names)\n", to: "names")
            try openssl(
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-days", "2", "-subj", "/CN=test authority", "-keyout", folder.file("ca.key"),
                "-out", folder.file("ca.pem"))
            try openssl(
                "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                "/CN=server", "-keyout", folder.file("key.pem"), "-out", folder.file("request"))
            try openssl(
                "x509", "-req", "-in", folder.file("request"), "-CA", folder.file("ca.pem"),
                "-CAkey", folder.file("ca.key"), "-CAcreateserial", "-days", "2", "-extfile",
                folder.file("names"), "-out", folder.file("cert.pem"))
        }

        private func openssl(_ words: String...) throws {
            let result = try ChildProcess.run("openssl", words)
            try check(result.exit == .code(0), "openssl: \(result.errors)")
        }

        func server() throws -> (RedisServer, UInt16) {
            let port = try FreePort.find()
            let redis = try RedisServer(arguments: [
                "--tls-port", String(port), "--tls-cert-file", folder.file("cert.pem"),
                "--tls-key-file", folder.file("key.pem"), "--tls-ca-cert-file",
                folder.file("ca.pem"), "--tls-auth-clients", "no",
            ])
            return (redis, port)
        }

        func address(_ host: String, _ port: UInt16) throws -> RedisAddress {
            var address = try RedisAddress(host: host, port: String(port), isSecure: true)
            address.authorities = folder.file("ca.pem")
            return address
        }
    }

    @Test(
        "Publications of any size go through, by name and by address",
        arguments: [
            "localhost", "127.0.0.1",
        ])
    func publishes(host: String) throws {
        let certificates = try Certificates()
        let (redis, port) = try certificates.server()
        let test = try TestLoop()
        let link = try TestLink(test, certificates.address(host, port), channels: ["c"])
        try link.connect()
        let payloads = [[], bytes("a\r\n\0"), [UInt8](repeating: 1, count: 1_048_576)]
        for _ in 0..<5 {
            for payload in payloads { link.link.publish(channel: bytes("c"), payload: payload) }
        }
        try test.run(until: "all messages") { link.messages.count == 15 }
        #expect(
            link.messages.map(\.payload) == payloads + payloads + payloads + payloads + payloads)
        redis.kill()
        try test.run(until: "down") { !link.downs.isEmpty }
    }

    @Test("A certificate that no authority of the system signed is refused")
    func unknownAuthority() throws {
        let certificates = try Certificates()
        let (redis, port) = try certificates.server()
        let test = try TestLoop()
        let address = try RedisAddress(host: "localhost", port: String(port), isSecure: true)
        let link = try TestLink(test, address)
        try test.run(until: "down") { !link.downs.isEmpty }
        guard case .notSecure(let text) = link.downs[0] else {
            Issue.record("\(link.downs[0])")
            return
        }
        #expect(text.contains("certificate"))
        redis.kill()
    }

    @Test(
        "A certificate for another name or address is refused",
        arguments: [
            "localhost", "127.0.0.1",
        ])
    func otherName(host: String) throws {
        let certificates = try Certificates(names: "DNS:elsewhere.example,IP:127.0.0.9")
        let (redis, port) = try certificates.server()
        let test = try TestLoop()
        let link = try TestLink(test, certificates.address(host, port))
        try test.run(until: "down") { !link.downs.isEmpty }
        guard case .notSecure(let text) = link.downs[0] else {
            Issue.record("\(link.downs[0])")
            return
        }
        #expect(text.contains("mismatch"))
        redis.kill()
    }

    @Test("A server without TLS is refused, and a password not sent to it")
    func plainServer() throws {
        let test = try TestLoop()
        let fake = try FakeRedis(test.loop)
        var address = try RedisAddress(port: fake.port, password: "hunter2")
        address.isSecure = true
        let link = try TestLink(test, address)
        try test.run(until: "a connection") { fake.connections == 1 && !fake.peers.isEmpty }
        fake.peers.first?.say("+OK\r\n+OK\r\n+OK\r\n")
        try test.run(until: "down") { !link.downs.isEmpty }
        guard case .notSecure = link.downs[0] else {
            Issue.record("\(link.downs[0])")
            return
        }
        #expect(!fake.commands.contains { $0.contains("hunter2") })
    }

    @Test("A file of authorities that is none is named")
    func noAuthorities() throws {
        let test = try TestLoop()
        let fake = try FakeRedis(test.loop)
        var address = try RedisAddress(port: fake.port)
        address.isSecure = true
        address.authorities = "/nowhere/ca.pem"
        let link = try TestLink(test, address)
        try test.run(until: "down") { !link.downs.isEmpty }
        #expect("\(link.downs[0])".contains("/nowhere/ca.pem"))
    }
}
