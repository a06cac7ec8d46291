import Synchronization

/// What a shard counts. The raw value is the index in its block of counters, `name` the Prometheus
/// series, `help` its line of documentation.
public enum Counter: Int, CaseIterable, Sendable {
    case activeConnections, authenticatedConnections, subscriptions, outboxBytes
    case connectionsAccepted, connectionsClosed, connectionsShed
    case tunnelsOpened, tunnelsRefused, sessionsRecovered, recoveriesRefused
    case bytesReceived, bytesSent, messagesReceived, deliveries, flushes
    case slowConsumersClosed, droppedEphemeral
    case httpRequests, httpErrors
    case sendsAccepted, sendsDuplicate, sendsRefused, rateLimited, badInputs
    case authenticationsFailed, entriesHeldBack, entriesRepaired, replayedEntries, busGaps
    case foreignEvents, foreignUnreadable
    case ticks

    public var isGauge: Bool {
        switch self {
        case .activeConnections, .authenticatedConnections, .subscriptions, .outboxBytes: true
        default: false
        }
    }

    public var name: String {
        switch self {
        case .activeConnections: "websocket_active_connections"
        case .authenticatedConnections: "martlet_authenticated_connections"
        case .subscriptions: "martlet_subscriptions"
        case .outboxBytes: "martlet_outbox_bytes"
        case .connectionsAccepted: "martlet_connections_accepted_total"
        case .connectionsClosed: "martlet_connections_closed_total"
        case .connectionsShed: "martlet_connections_shed_total"
        case .tunnelsOpened: "martlet_tunnels_opened_total"
        case .tunnelsRefused: "martlet_tunnels_refused_total"
        case .sessionsRecovered: "martlet_sessions_recovered_total"
        case .recoveriesRefused: "martlet_recoveries_refused_total"
        case .bytesReceived: "martlet_received_bytes_total"
        case .bytesSent: "martlet_sent_bytes_total"
        case .messagesReceived: "martlet_messages_received_total"
        case .deliveries: "martlet_deliveries_total"
        case .flushes: "martlet_flushes_total"
        case .slowConsumersClosed: "martlet_slow_consumers_closed_total"
        case .droppedEphemeral: "martlet_ephemeral_dropped_total"
        case .httpRequests: "martlet_http_requests_total"
        case .httpErrors: "martlet_http_errors_total"
        case .sendsAccepted: "martlet_sends_accepted_total"
        case .sendsDuplicate: "martlet_sends_duplicate_total"
        case .sendsRefused: "martlet_sends_refused_total"
        case .rateLimited: "martlet_rate_limited_total"
        case .badInputs: "martlet_bad_inputs_total"
        case .authenticationsFailed: "martlet_authentications_failed_total"
        case .entriesHeldBack: "martlet_entries_held_back_total"
        case .entriesRepaired: "martlet_entries_repaired_total"
        case .replayedEntries: "martlet_entries_replayed_total"
        case .busGaps: "martlet_bus_gaps_total"
        case .foreignEvents: "martlet_bridge_events_total"
        case .foreignUnreadable: "martlet_bridge_unreadable_total"
        case .ticks: "martlet_ticks_total"
        }
    }

    public var help: String {
        switch self {
        case .activeConnections: "Open WebSocket connections"
        case .authenticatedConnections: "Open connections that have said who they are"
        case .subscriptions: "Chats, topics and users followed, summed over connections"
        case .outboxBytes: "Bytes waiting for slow readers"
        case .connectionsAccepted: "TCP connections accepted"
        case .connectionsClosed: "TCP connections closed"
        case .connectionsShed: "Connections refused because a bound was reached"
        case .tunnelsOpened: "Connections handed to the instance that has their session"
        case .tunnelsRefused: "Connections to the internal listener without a valid greeting"
        case .sessionsRecovered: "Socket.IO sessions whose clients came back to them"
        case .recoveriesRefused: "Socket.IO sessions that were asked for and could not be recovered"
        case .bytesReceived: "Bytes read from clients"
        case .bytesSent: "Bytes written to clients"
        case .messagesReceived: "WebSocket messages received"
        case .deliveries: "Events put into a connection's outbox by the hub"
        case .flushes: "Writes made for dirty connections"
        case .slowConsumersClosed: "Connections closed because their outbox was full (4101)"
        case .droppedEphemeral: "Typing events dropped for slow readers or full mailboxes"
        case .httpRequests: "HTTP requests answered"
        case .httpErrors: "HTTP requests answered with 4xx or 5xx"
        case .sendsAccepted: "Messages committed"
        case .sendsDuplicate: "Resends answered with the first ack"
        case .sendsRefused: "Messages refused by the store's decision"
        case .rateLimited: "Requests answered RATE_LIMITED"
        case .badInputs: "Frames that could not be read as a request"
        case .authenticationsFailed: "Tokens refused"
        case .entriesHeldBack: "Log entries that waited for a predecessor"
        case .entriesRepaired: "Log entries fetched from the store to fill a hole"
        case .replayedEntries: "Log entries replayed to resuming clients"
        case .foreignEvents: "Messages, notifications and updates of backends on public channels"
        case .foreignUnreadable: "What was said on public channels in no known form, and dropped"
        case .busGaps: "Gaps of the bus, after each of which a shard compares with the store"
        case .ticks: "Turns of the event loop"
        }
    }
}

/// A shard's own counters: plain integers, touched by one thread.
///
/// A class: read through a getter, the struct that this was got copied as a whole, 256 bytes for
/// each addition (a tenth of a delivery's instructions).
public final class Counters {
    /// One more than there are cases would be a trap at start.
    fileprivate var values = InlineArray<40, Int>(repeating: 0)

    public init() {
        invariant(Counter.allCases.count <= values.count, "more counters than places")
    }

    public subscript(_ counter: Counter) -> Int {
        @inline(__always) get { values[counter.rawValue] }
        @inline(__always) _modify { yield &values[counter.rawValue] }
    }
}

@available(*, unavailable)
extension Counters: Sendable {}

/// The copy of a shard's counters that other threads may read. The shard stores into it once a
/// tick, so counting costs the hot path a plain addition.
public final class PublishedCounters: Sendable {
    private let cells: [Cell]
    private final class Cell: Sendable { let value = Atomic<Int>(0) }

    public init() { cells = Counter.allCases.map { _ in Cell() } }

    public func publish(_ counters: Counters) {
        for index in cells.indices {
            cells[index].value.store(counters.values[index], ordering: .relaxed)
        }
    }

    public subscript(_ counter: Counter) -> Int {
        cells[counter.rawValue].value.load(ordering: .relaxed)
    }
}
