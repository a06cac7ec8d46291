import Foundation
import Glibc
import ServerSupport

/// A network of its own for one instance: a namespace (ip-netns(8)) and a veth pair, with one pair
/// of addresses for each of its peers, so that the way to one of them can be closed in one
/// direction while all else goes on.
///
///     this machine                    the instance
///     …1  Redis's proxy     ◄──────►  …11
///     …2  Postgres's proxy  ◄──────►  …12
///     …3  the clients       ◄──────►  …13
///
/// A direction is closed by a table of nft(8)'s own in the namespace, with one rule that drops. TCP is
/// told nothing of it, on either side: it repeats itself as for frames that were lost on the way.
final class Namespace: Sendable {
    enum Peer: Int, CaseIterable, Sendable {
        case redis = 1
        case postgres, clients
    }

    private let name: String
    private let outside: String
    private let inside: String
    private let network: String

    private static let prefix = "martlet-faults-"

    /// - Throws: where this machine does not allow it, with the system's words.
    init() throws {
        guard geteuid() == 0 else { throw SupportError("network namespaces need root") }
        Self.removeLeftOver()
        let id = getpid()
        name = Self.prefix + "\(id)"
        outside = "mfo\(id)"
        inside = "mfi\(id)"
        network = "10.213.\(id % 250)"
        do {
            try Self.ip("netns", "add", name)
            try Self.ip("link", "add", outside, "type", "veth", "peer", "name", inside)
            try Self.ip("link", "set", inside, "netns", name)
            for peer in Peer.allCases {
                try Self.ip("address", "add", address(of: peer) + "/32", "dev", outside)
                try within("address", "add", ownAddress(for: peer) + "/32", "dev", inside)
            }
            try Self.ip("link", "set", outside, "up")
            try within("link", "set", inside, "up")
            try within("link", "set", "lo", "up")
            // It is there, and the kernel has what it speaks to.
            try nft("list tables")
            for peer in Peer.allCases {
                try Self.ip(
                    "route", "add", ownAddress(for: peer) + "/32", "dev", outside, "src",
                    address(of: peer))
                try within(
                    "route", "add", address(of: peer) + "/32", "dev", inside, "src",
                    ownAddress(for: peer))
            }
        } catch {
            end()
            throw error
        }
    }

    /// The words before a program that is to run in it.
    var launcher: [String] { ["ip", "netns", "exec", name] }

    /// Where the instance finds that peer.
    func address(of peer: Peer) -> String { "\(network).\(peer.rawValue)" }
    /// Where that peer finds the instance.
    func ownAddress(for peer: Peer) -> String { "\(network).\(peer.rawValue + 10)" }

    /// - Parameter outgoing: what the instance says to the peer; else what the peer says to it.
    func close(_ peer: Peer, outgoing: Bool) throws {
        let (hook, field) = outgoing ? ("output", "daddr") : ("input", "saddr")
        try nft(
            "table ip \(peer)-\(hook) { chain lost { "
                + "type filter hook \(hook) priority 0; ip \(field) \(address(of: peer)) drop; }; }"
        )
    }

    func open(_ peer: Peer, outgoing: Bool) throws {
        try nft("delete table ip \(peer)-\(outgoing ? "output" : "input")")
    }

    /// Removes it; the pair goes with it.
    func end() { Self.remove(name) }

    private static func remove(_ name: String) {
        try? ip("netns", "del", name)
        // Where the pair was not moved yet.
        try? ip("link", "del", "mfo" + name.dropFirst(prefix.count))
    }

    /// Of programs of this kind that were killed.
    private static func removeLeftOver() {
        let names = try? FileManager.default.contentsOfDirectory(atPath: "/run/netns")
        for name in names ?? [] where name.hasPrefix(prefix) {
            guard let id = pid_t(name.dropFirst(prefix.count)), Glibc.kill(id, 0) != 0 else {
                continue
            }
            remove(name)
        }
    }

    private func within(_ words: String...) throws { try Self.ip(["-n", name] + words) }

    private func nft(_ rules: String) throws { try Self.ip("netns", "exec", name, "nft", rules) }

    private static func ip(_ words: String...) throws { try ip(words) }

    private static func ip(_ words: [String]) throws {
        let result = try ChildProcess.run("ip", words)
        guard result.exit == .code(0) else {
            let line = result.errors.split(separator: "\n").first ?? "no reason was given"
            throw SupportError("ip \(words.joined(separator: " ")): \(line)")
        }
    }
}
