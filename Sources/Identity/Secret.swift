import COpenSSL

/// A key shared with whoever signs tokens or webhooks: at least 32 bytes, zeroed when the last
/// owner lets go of it, and never printed.
///
/// The bytes are the key as they are: a text of 64 hex digits is a key of 64 bytes, which is how
/// the other programs that share it read it too. The text it was made from is the caller's to
/// forget; this copy is not reachable from outside.
package final class Secret: Sendable, CustomStringConvertible, CustomDebugStringConvertible,
    CustomReflectable
{
    /// RFC 7518 §3.2: a key of the same size as the hash output or larger.
    package static let minimumCount = 32

    /// Internal for the test that looks at the memory afterwards.
    let bytes: [UInt8]

    package init(_ key: borrowing Span<UInt8>) throws(SecretError) {
        guard key.count >= Self.minimumCount else { throw .tooShort(count: key.count) }
        var copy: [UInt8] = []
        copy.reserveCapacity(key.count)
        for index in key.indices { copy.append(key[index]) }
        bytes = copy
    }

    /// - Parameter text: its UTF-8 is the key; it is not decoded.
    package convenience init(_ text: String) throws(SecretError) {
        try self.init(text.utf8.span)
    }

    deinit {
        // The array was made here and never handed out, so this object is its only owner, and
        // nobody reads it after this line. Writing through the pointer keeps it from being copied.
        unsafe bytes.withUnsafeBufferPointer { memory in
            unsafe martlet_cleanse(
                UnsafeMutableRawPointer(mutating: memory.baseAddress), memory.count)
        }
    }

    package var description: String { "Secret(hidden)" }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: []) }

    /// HMAC-SHA-256 (RFC 2104): 32 bytes.
    package func authenticationCode(for message: borrowing Span<UInt8>) -> [UInt8] {
        var code = [UInt8](repeating: 0, count: 32)
        var codeSpan = code.mutableSpan
        let isComputed = unsafe codeSpan.withUnsafeMutableBufferPointer { code in
            unsafe compute(message, code)
        }
        // Out of memory, or a library without SHA-256: no code can be issued.
        precondition(isComputed, "libcrypto could not compute HMAC-SHA-256")
        return code
    }

    /// Whether `code` is the HMAC-SHA-256 of `message`. The time it takes depends on the lengths
    /// only. False as well if the library fails: closed, not open.
    package func authenticates(
        _ message: borrowing Span<UInt8>, code: borrowing Span<UInt8>
    ) -> Bool {
        guard code.count == 32 else { return false }
        var expected = InlineArray<32, UInt8>(repeating: 0)
        var expectedSpan = expected.mutableSpan
        return unsafe code.withUnsafeBufferPointer { code in
            unsafe expectedSpan.withUnsafeMutableBufferPointer { expected in
                unsafe compute(message, expected)
                    && martlet_equal_constant_time(expected.baseAddress, code.baseAddress, 32) == 1
            }
        }
    }

    private func compute(
        _ message: borrowing Span<UInt8>, _ code: UnsafeMutableBufferPointer<UInt8>
    ) -> Bool {
        unsafe bytes.withUnsafeBufferPointer { key in
            unsafe message.withUnsafeBufferPointer { message in
                unsafe martlet_hmac_sha256(
                    key.baseAddress, key.count, message.baseAddress, message.count,
                    code.baseAddress) == 1
            }
        }
    }
}

/// Why a text is no secret.
package enum SecretError: Error, Equatable, Sendable, CustomStringConvertible {
    case tooShort(count: Int)

    package var description: String {
        switch self {
        case .tooShort(let count):
            "the secret has \(count) bytes, at least \(Secret.minimumCount) are needed; "
                + "make one with: openssl rand -hex 32"
        }
    }
}

/// The operating system's random generator, by way of libcrypto: for keys, tokens and ids that must
/// not be guessed.
package enum SecureRandom {
    package static func bytes(count: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var span = bytes.mutableSpan
        let isFilled = unsafe span.withUnsafeMutableBufferPointer { memory in
            unsafe martlet_random_bytes(memory.baseAddress, memory.count) == 1
        }
        // Going on with predictable keys would be worse than stopping.
        precondition(isFilled, "the system has no random bytes")
        return bytes
    }
}
