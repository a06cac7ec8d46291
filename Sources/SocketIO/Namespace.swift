/// The namespaces of Socket.IO that this server knows. What each of them does is the gateway's
/// business; here they are names.
public enum Namespace: UInt8, CaseIterable, Sendable {
    case root
    case messages
    case notifications
    case presence
    case location

    /// As it stands in front of a packet's id and payload: nothing for the main one.
    public var prefix: StaticString {
        switch self {
        case .root: ""
        case .messages: "/messages,"
        case .notifications: "/notifications,"
        case .presence: "/presence,"
        case .location: "/location,"
        }
    }

    /// The namespace of that name (`/`, `/messages`, …).
    public init?(named name: Span<UInt8>) {
        if name.count == 1, name[0] == UInt8(ascii: "/") {
            self = .root
            return
        }
        for namespace in Namespace.allCases where namespace != .root {
            let prefix = namespace.prefix
            guard name.count == prefix.utf8CodeUnitCount - 1 else { continue }
            var isEqual = true
            // A literal lives as long as the program, and the index is below its count.
            for index in 0..<name.count where unsafe name[index] != prefix.utf8Start[index] {
                isEqual = false
            }
            if isEqual {
                self = namespace
                return
            }
        }
        return nil
    }
}
