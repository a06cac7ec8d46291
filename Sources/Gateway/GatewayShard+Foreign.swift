import Basics
import BusCore
import Domain
import Wire

/// What backends say on the public channels `chat:{id}`, `user:{id}` and `job:{id}`, at the channel's
/// home.
///
/// A message whose id is in the log already (a service that inserted the row itself, and announces
/// it) says only how far the log goes: followers have it from the log, with its seq. Any other goes
/// to the followers as it is, without a seq, and is not stored.
extension GatewayShard {
    /// Look-ups under way; a flood beyond them is passed on without one.
    static let maximumLocates = 1_024

    func receiveForeign(_ payload: [UInt8], on channel: Channel) {
        let place: ForeignEvent.Place
        switch channel {
        case .chat(let chat): place = .chat(chat)
        case .user: place = .user
        case .topic(let topic): place = .topic(topic)
        case .room: return
        }
        guard
            let event = ForeignEvent.decode(
                payload.span, with: &json, on: place, at: now.wall,
                maximumContent: limits.ciphertextBytes)
        else {
            counters[.foreignUnreadable] += 1
            return
        }
        switch event {
        case .own:
            return
        case .message(let entry):
            locate(entry, on: channel)
        case .notification(let encoded), .topicEvent(let encoded):
            deliverForeign(.event(encoded), on: channel)
        case .disconnect:
            deliverForeign(.disconnect, on: channel)
        }
        counters[.foreignEvents] += 1
    }

    private func locate(_ entry: LogEntry, on channel: Channel) {
        guard locates < Self.maximumLocates else {
            deliverForeign(.event(EventEncoder.entry(entry)), on: channel)
            return
        }
        locates += 1
        submit(.locate(entry.id, in: entry.chat), .locate(channel, entry))
    }

    func located(_ entry: LogEntry, on channel: Channel, _ result: LaneAnswer.Result) {
        locates -= 1
        if case .outcome(.located(let seq)) = result, let seq {
            // The log delivers it. Of a user's channel the chat may be at home elsewhere, where it
            // is found like any other that was not published.
            var effects: [HomeDirectory.Effect] = []
            homes.suspect(entry.chat, head: seq, effects: &effects)
            carryOut(effects)
            return
        }
        // Also where the store cannot say: better twice, under one id, than not at all.
        deliverForeign(.event(EventEncoder.entry(entry)), on: channel)
    }

    private func deliverForeign(_ content: Delivery.Content, on channel: Channel) {
        var effects: [HomeDirectory.Effect] = []
        homes.relay(
            Delivery(channel: channel, content: content, audience: .all), effects: &effects)
        carryOut(effects)
    }
}
