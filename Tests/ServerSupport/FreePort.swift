import Glibc
import Synchronization

/// A port to come back to: below those that the system gives to outgoing connections, so that none
/// of them takes it while the server is down.
package enum FreePort {
    /// Given to somebody already: a server that is down for a while finds its own free again.
    private static let given = Mutex<Set<UInt16>>([])

    package static func find() throws -> UInt16 {
        for _ in 0..<100 {
            let port = UInt16.random(in: 20_000..<32_000)
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
            guard descriptor >= 0 else { continue }
            defer { close(descriptor) }
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = port.bigEndian
            address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
            let result = unsafe withUnsafePointer(to: &address) { pointer in
                unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    unsafe bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
            if result == 0, given.withLock({ $0.insert(port).inserted }) { return port }
        }
        throw SupportError("no free port was found")
    }
}
