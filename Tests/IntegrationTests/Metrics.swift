import Client
import ServerSupport

/// A server's counters, by name.
struct Metrics {
    private var values: [String: Int] = [:]

    init(_ server: TestServer) throws {
        for line in try server.get("/metrics").text.split(separator: "\n")
        where !line.hasPrefix("#") {
            let parts = line.split(separator: " ")
            if parts.count == 2, let value = Int(parts[1]) { values[String(parts[0])] = value }
        }
    }

    /// The one that asks among them.
    var openConnections: Int {
        get throws {
            try self["martlet_connections_accepted_total"]
                - self["martlet_connections_closed_total"]
        }
    }

    /// Fails for a name that is not there: it would be 0 for ever.
    subscript(_ name: String) -> Int {
        get throws {
            guard let value = values[name] else {
                throw SupportError("there is no metric \(name)")
            }
            return value
        }
    }
}
