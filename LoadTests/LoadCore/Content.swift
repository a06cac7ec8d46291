/// The text of a message, which says itself which one it is: a receiver checks order, repeats and
/// loss without a table of what was sent.
///
///     RRRRRRRR.CCCCCCCC.SSSSSSSS.NNNNNNNN.TTTTTTTTTTTTTTTT.mmmmmm…
///     run      channel  sender   number   time             padding to the size
///
/// Hexadecimal, lower case. A channel is a chat or a room, counted over the run; a sender is counted
/// within its channel; numbers are 1, 2, 3, … of that sender in that channel; the time is when it
/// was due to be sent, in nanoseconds of the machine's monotonic clock.
///
/// Fixed places: eight digits are read as one word, nothing is allocated.
///
/// Public, as are the other types of a delivery's path (`ServerFrame`, `Oracle`, `LatencyHistogram`):
/// Swift 6.3 inlines nothing across modules that is declared `package`, whatever its attributes.
public enum Content {
    /// Bytes of the part before the padding, its last dot included.
    public static let headCount = 53
    @inlinable public static var channelOffset: Int { 9 }
    @inlinable public static var senderOffset: Int { 18 }
    @inlinable public static var numberOffset: Int { 27 }
    @inlinable public static var timeOffset: Int { 36 }
    private static let padding = UInt8(ascii: "m")

    /// What a head says. Of another run: `run` differs.
    public struct Head: Equatable, Sendable {
        public var run: UInt32
        public var channel: UInt32
        public var sender: UInt32
        public var number: UInt32
        public var time: UInt64

        @inlinable
        public init(run: UInt32, channel: UInt32, sender: UInt32, number: UInt32, time: UInt64) {
            self.run = run
            self.channel = channel
            self.sender = sender
            self.number = number
            self.time = time
        }
    }

    /// Writes a whole text of `size` bytes, at least `headCount`.
    public static func write(
        _ head: Head, size: Int, to target: UnsafeMutablePointer<UInt8>
    ) {
        unsafe put(head.run, target)
        unsafe put(head.channel, target + channelOffset)
        unsafe put(head.sender, target + senderOffset)
        unsafe put(head.number, target + numberOffset)
        unsafe put(UInt32(truncatingIfNeeded: head.time >> 32), target + timeOffset)
        unsafe put(UInt32(truncatingIfNeeded: head.time), target + timeOffset + 8)
        unsafe target[8] = UInt8(ascii: ".")
        unsafe target[17] = UInt8(ascii: ".")
        unsafe target[26] = UInt8(ascii: ".")
        unsafe target[35] = UInt8(ascii: ".")
        unsafe target[52] = UInt8(ascii: ".")
        if size > headCount {
            unsafe (target + headCount).update(repeating: padding, count: size - headCount)
        }
    }

    /// Reads a head from at least `headCount` bytes. Bytes that are no digits of ours give numbers
    /// that nobody sent; that they are dotted where they should be is checked.
    @inlinable
    @inline(__always)
    public static func read(_ bytes: UnsafePointer<UInt8>) -> Head? {
        guard unsafe bytes[8] == UInt8(ascii: "."), unsafe bytes[17] == UInt8(ascii: "."),
            unsafe bytes[26] == UInt8(ascii: "."), unsafe bytes[35] == UInt8(ascii: "."),
            unsafe bytes[52] == UInt8(ascii: ".")
        else { return nil }
        return unsafe Head(
            run: get(bytes), channel: get(bytes + channelOffset),
            sender: get(bytes + senderOffset), number: get(bytes + numberOffset),
            time: UInt64(get(bytes + timeOffset)) << 32 | UInt64(get(bytes + timeOffset + 8)))
    }

    /// Eight digits of hexadecimal as a number: nibbles first, then pairs of them, in one word.
    @inlinable
    @inline(__always)
    public static func get(_ bytes: UnsafePointer<UInt8>) -> UInt32 {
        let text = UInt64(
            littleEndian: unsafe UnsafeRawPointer(bytes).loadUnaligned(as: UInt64.self))
        // A letter has bit 6 set, and its low nibble is 9 less than its value.
        let letters = text &>> 6 & 0x0101_0101_0101_0101
        var word = (text & 0x0F0F_0F0F_0F0F_0F0F) &+ letters &* 9
        word = (word &<< 4 | word &>> 8) & 0x00FF_00FF_00FF_00FF
        word = (word &<< 8 | word &>> 16) & 0x0000_FFFF_0000_FFFF
        return UInt32(truncatingIfNeeded: word &<< 16 | word &>> 32)
    }

    @inline(__always)
    static func put(_ number: UInt32, _ target: UnsafeMutablePointer<UInt8>) {
        // Pairs apart, then nibbles: `get` backwards.
        var word = UInt64(number)
        word = (word &<< 32 | word &>> 16) & 0x0000_FFFF_0000_FFFF
        word = (word &<< 16 | word &>> 8) & 0x00FF_00FF_00FF_00FF
        word = (word &<< 8 | word &>> 4) & 0x0F0F_0F0F_0F0F_0F0F
        let letters = (word &+ 0x0606_0606_0606_0606) &>> 4 & 0x0101_0101_0101_0101
        word = word &+ 0x3030_3030_3030_3030 &+ letters &* 39
        unsafe UnsafeMutableRawPointer(target).storeBytes(
            of: word.littleEndian, as: UInt64.self)
    }
}
