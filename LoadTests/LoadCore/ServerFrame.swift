/// The head of a frame from a server: two to ten bytes, never masked. Read where it lies in the read
/// buffer, many of them one behind the other (RFC 6455 §5.2).
public struct ServerFrame {
    public enum Status {
        case whole
        /// Its end has not come.
        case partial
        /// Masked, fragmented, with reserved bits, or longer than `longest`.
        case refused
    }

    /// The longest payload that a load client takes.
    @inlinable public static var longest: Int { 16 << 20 }

    public var status: Status
    public var opcode: UInt8
    public var headCount: Int
    public var payloadCount: Int

    /// - Parameters:
    ///   - bytes: where the frame begins.
    ///   - count: how many there are.
    @inlinable
    @inline(__always)
    public init(_ bytes: UnsafePointer<UInt8>, count: Int) {
        status = .partial
        opcode = 0
        headCount = 2
        payloadCount = 0
        guard count >= 2 else { return }
        let first = unsafe bytes[0]
        let second = unsafe bytes[1]
        opcode = first & 15
        // FIN without reserved bits; a continuation has no first fragment here.
        guard first & 0xF0 == 0x80, opcode != 0, second < 0x80 else {
            status = .refused
            return
        }
        payloadCount = Int(second)
        if second >= 126 {
            headCount = second == 126 ? 4 : 10
            guard count >= headCount else { return }
            payloadCount = 0
            for index in 2..<headCount {
                payloadCount = payloadCount &<< 8 | Int(unsafe bytes[index])
            }
            guard payloadCount >= 0, payloadCount <= Self.longest else {
                status = .refused
                return
            }
        }
        if count &- headCount >= payloadCount { status = .whole }
    }

    @inlinable public static var text: UInt8 { 1 }
    @inlinable public static var binary: UInt8 { 2 }
    @inlinable public static var close: UInt8 { 8 }
    @inlinable public static var ping: UInt8 { 9 }
    @inlinable public static var pong: UInt8 { 10 }
}

/// A client's frame, masked.
public enum ClientFrame {
    /// Bytes of the head before `count` bytes of payload, its masking key included.
    @inlinable
    public static func headCount(forPayload count: Int) -> Int {
        count < 126 ? 6 : count < 65_536 ? 8 : 14
    }

    /// Writes head and masked payload. The key hides nothing (RFC 6455 §10.3 has it for the sake of
    /// proxies between); it varies so that the server's unmasking does real work.
    ///
    /// - Parameter target: room for `headCount(forPayload:)` and the payload.
    @inlinable
    @inline(__always)
    public static func write(
        opcode: UInt8, _ payload: UnsafePointer<UInt8>, count: Int, key: UInt32,
        to target: UnsafeMutablePointer<UInt8>
    ) {
        unsafe target[0] = 0x80 | opcode
        var place = 2
        if count < 126 {
            unsafe target[1] = 0x80 | UInt8(truncatingIfNeeded: count)
        } else if count < 65_536 {
            unsafe target[1] = 0x80 | 126
            unsafe target[2] = UInt8(truncatingIfNeeded: count &>> 8)
            unsafe target[3] = UInt8(truncatingIfNeeded: count)
            place = 4
        } else {
            unsafe target[1] = 0x80 | 127
            for index in 0..<8 {
                unsafe target[2 + index] = UInt8(truncatingIfNeeded: count &>> (56 - 8 * index))
            }
            place = 10
        }
        let to = unsafe UnsafeMutableRawPointer(target + place)
        unsafe to.storeBytes(of: key.littleEndian, as: UInt32.self)
        let body = unsafe to + 4
        let from = unsafe UnsafeRawPointer(payload)
        let wide = (UInt64(key) | UInt64(key) &<< 32).littleEndian
        var index = 0
        while count &- index >= 8 {
            let word = unsafe from.loadUnaligned(fromByteOffset: index, as: UInt64.self)
            unsafe body.storeBytes(of: word ^ wide, toByteOffset: index, as: UInt64.self)
            index &+= 8
        }
        while index < count {
            let mask = UInt8(truncatingIfNeeded: key &>> (8 &* UInt32(index & 3)))
            unsafe target[place &+ 4 &+ index] = unsafe payload[index] ^ mask
            index &+= 1
        }
    }
}
