import CRedis

/// What Redis says, bounded: an array has at most 16 elements and none of them is an array, and the
/// strings of a reply have 2 MiB together.
enum RESPReply: Hashable, Sendable {
    case status([UInt8])
    case error([UInt8])
    case integer(Int64)
    case bulk([UInt8])
    case array([RESPReply])
    case null
}

/// Reads the Redis serialization protocol, version 2, from bytes that come in any pieces.
///
/// The bytes may be anything: a reply that breaks the protocol or a bound is an error, after which
/// the connection is of no use. What waits here for the rest of its reply is bounded likewise, so
/// the reader never holds more than twice `maximumReplyBytes`.
@safe struct RESPReader: ~Copyable {
    static let maximumElements = Int(MARTLET_REDIS_ELEMENTS)
    static let maximumReplyBytes = Int(MARTLET_REDIS_REPLY_BYTES)
    /// The headers of a largest reply, and the beginning of the next one.
    private static let slack = 131_072

    struct Violation: Error, Hashable, Sendable {}

    private let reader: UnsafeMutablePointer<redisReader>

    init() {
        guard let reader = unsafe martlet_redis_reader_create() else {
            // As an allocation of Swift's own ends: nothing a peer says comes here.
            fatalError("no memory for a reader")
        }
        unsafe self.reader = reader
    }

    deinit { unsafe martlet_redis_reader_free(reader) }

    /// - Parameter bytes: at most 64 KiB; then all replies are to be taken with `next`.
    mutating func feed(_ bytes: Span<UInt8>) throws(Violation) {
        guard
            unsafe martlet_redis_reader_waiting(reader) + bytes.count
                <= Self.maximumReplyBytes + Self.slack
        else { throw Violation() }
        let result = unsafe bytes.withUnsafeBytes {
            unsafe redisReaderFeed(
                reader, $0.baseAddress?.assumingMemoryBound(to: CChar.self), $0.count)
        }
        guard result == REDIS_OK else { throw Violation() }
    }

    /// The next reply; nil where it has not come whole.
    mutating func next() throws(Violation) -> RESPReply? {
        var object: UnsafeMutablePointer<redisReply>?
        guard unsafe martlet_redis_reader_next(reader, &object) == REDIS_OK else {
            throw Violation()
        }
        guard let object = unsafe object else { return nil }
        defer { unsafe freeReplyObject(object) }
        guard let reply = unsafe Self.value(object.pointee) else { throw Violation() }
        return reply
    }

    private static func value(_ reply: redisReply) -> RESPReply? {
        switch unsafe reply.type {
        case REDIS_REPLY_STATUS: return unsafe .status(bytes(reply))
        case REDIS_REPLY_ERROR: return unsafe .error(bytes(reply))
        case REDIS_REPLY_INTEGER: return unsafe .integer(reply.integer)
        case REDIS_REPLY_STRING: return unsafe .bulk(bytes(reply))
        case REDIS_REPLY_NIL: return .null
        case REDIS_REPLY_ARRAY:
            var elements: [RESPReply] = []
            unsafe elements.reserveCapacity(reply.elements)
            for index in unsafe 0..<reply.elements {
                guard let element = unsafe reply.element[index],
                    let value = unsafe value(element.pointee)
                else { return nil }
                elements.append(value)
            }
            return .array(elements)
        default: return nil
        }
    }

    private static func bytes(_ reply: redisReply) -> [UInt8] {
        unsafe Array(UnsafeRawBufferPointer(start: reply.str, count: reply.len))
    }
}
