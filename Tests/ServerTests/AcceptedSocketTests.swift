import Basics
import Foundation
import Glibc
import Reactor
import Testing

@Suite("Accepted sockets")
struct AcceptedSocketTests {
    /// A connection to that port of this machine; the caller closes it.
    private func connect(to port: UInt16) -> Int32 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = unsafe withUnsafeBytes(of: &address) {
            unsafe Glibc.connect(
                descriptor, $0.baseAddress!.assumingMemoryBound(to: sockaddr.self), length)
        }
        #expect(result == 0)
        return descriptor
    }

    @Test("Room for their descriptors is there before anybody comes")
    func room() throws {
        let limit = System.prepareFiles(4_000)
        let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
        let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("FDSize:") })
        let size = try #require(Int(line.dropFirst(7).trimmingCharacters(in: .whitespaces)))
        #expect(size >= min(4_000, limit))
    }

    @Test(
        "They send what is small at once, and their peer's address is its own",
        arguments: ["127.0.0.1", "::"])
    func accepted(host: String) throws {
        let listener = try Listener(address: host, port: 0)
        let client = connect(to: listener.port)
        defer { Glibc.close(client) }
        #expect(unsafe send(client, "G", 1, 0) == 1)
        guard case .connection(let descriptor, let address) = try listener.accept() else {
            Issue.record("nobody waits")
            return
        }
        defer { Glibc.close(descriptor) }
        #expect(address == 0xFFFF_7F00_0001, "IPv4 in IPv6")
        var isOn: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        unsafe getsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &isOn, &length)
        #expect(isOn != 0)
        guard case .none = try listener.accept() else {
            Issue.record("there was one only")
            return
        }
    }

    @Test("Who says nothing waits with the kernel, and is there a second later")
    func silent() throws {
        let listener = try Listener(address: "127.0.0.1", port: 0)
        let began = SystemClock().now().instant
        let client = connect(to: listener.port)
        defer { Glibc.close(client) }
        if case .connection(let descriptor, _) = try listener.accept() {
            Glibc.close(descriptor)
            // Where the machine was busy elsewhere it is there by now.
            #expect(SystemClock().now().instant.nanoseconds(since: began) > 900_000_000)
            return
        }
        var waited = 0
        while waited < 10_000 {
            if case .connection(let descriptor, _) = try listener.accept() {
                Glibc.close(descriptor)
                return
            }
            usleep(50_000)
            waited += 50
        }
        Issue.record("not there after 10 s")
    }
}
