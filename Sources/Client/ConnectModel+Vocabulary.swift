import Basics
import WebSocket

/// What goes in and out of the model: lines of the transcript, phases, effects.
extension ConnectModel {
    /// A line of the transcript. `id` grows by one with each line.
    package struct Line: Hashable, Sendable, Identifiable {
        package let id: Int
        package var content: Content

        package enum Content: Hashable, Sendable {
            /// A message of the user's own.
            case own(String, Delivery)
            case message(from: String, String)
            /// What the client itself has to say.
            case notice(String)
        }
    }

    /// How far a message of the user's own has come.
    package enum Delivery: Hashable, Sendable {
        case sending
        case stored(seq: Int64)
        case delivered(seq: Int64)
        case read(seq: Int64)
        /// Refused for good, and why.
        case failed(String)

        /// The mark beside the message.
        package var mark: String {
            switch self {
            case .sending: "…"
            case .stored: "✓"
            case .delivered: "✓✓"
            case .read: "✓✓ read"
            case .failed: "✗"
            }
        }
    }

    /// What the loop is to do.
    package enum Effect: Hashable, Sendable {
        /// Send a text frame.
        case send([UInt8])
        /// A line came to the end of the transcript, or changed.
        case appended(Line)
        case updated(Line)
        /// `peer` began to type.
        case typingBegan
        /// Ask the API how far the other has received and read, and call `watermarks`.
        case fetchWatermarks
        /// Make a new token and call `renewed`.
        case renewToken
        /// Drop the connection: `lost` has been taken care of.
        case disconnect
        /// It is over. nil: as the user wanted.
        case end(String?)
    }

    package enum Phase: Hashable, Sendable {
        /// Not connected; the next attempt is due then.
        case offline(retryAt: Instant)
        case joining
        case replaying
        case live
        case ended
    }

    /// How a connection ended.
    package enum Loss: Hashable, Sendable {
        case closed(CloseCode?, reason: String)
        case failed(ClientError)
    }
}

extension ConnectModel.Delivery {
    /// The seq of a message that is stored.
    package var seq: Int64? {
        switch self {
        case .stored(let seq), .delivered(let seq), .read(let seq): seq
        case .sending, .failed: nil
        }
    }
}
