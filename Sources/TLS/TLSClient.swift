import CTLS

/// Why a connection is not secure: a bad certificate, a peer that does not speak TLS. Nothing of
/// what was sent is in it.
package struct TLSError: Error, Hashable, Sendable {
    package let text: String
}

/// The client's side of a TLS connection, without its socket: bytes of the peer go in, bytes for the
/// peer come out.
///
///     receive ─► │ ciphertext ─► plaintext │ ─► read
///     take   ◄── │ ciphertext ◄─ plaintext │ ◄── write
///
/// TLS 1.2 or later. The server's certificate must be signed by an authority of the system's store,
/// or of the file that was named instead, and be for the host; there is no way around that.
@safe package struct TLSClient: ~Copyable {
    private let context: OpaquePointer
    private let ssl: OpaquePointer
    package private(set) var isEstablished = false

    /// - Parameters:
    ///   - host: the name or the address that the certificate must be for.
    ///   - authorities: a PEM file of certificates to trust; nil for the system's store.
    package init(host: String, authorities: String?) throws(TLSError) {
        guard let context = unsafe martlet_tls_context(authorities) else {
            throw TLSError(
                text: authorities.map { "no certificates can be read from \($0)" }
                    ?? Self.latestError())
        }
        guard let ssl = unsafe martlet_tls_new(context, host) else {
            unsafe SSL_CTX_free(context)
            throw TLSError(text: Self.latestError())
        }
        unsafe self.context = context
        unsafe self.ssl = ssl
    }

    deinit {
        unsafe SSL_free(ssl)
        unsafe SSL_CTX_free(context)
    }

    /// Takes what the peer sent. Call `read` until it has no more.
    package mutating func receive(_ bytes: Span<UInt8>) throws(TLSError) {
        guard !bytes.isEmpty else { return }
        let count = unsafe bytes.withUnsafeBytes {
            unsafe martlet_tls_feed(ssl, $0.baseAddress, Int32(clamping: $0.count))
        }
        guard count == bytes.count else { throw TLSError(text: Self.latestError()) }
    }

    /// Goes on with the handshake, which begins with the first call.
    package mutating func shakeHands() throws(TLSError) {
        guard !isEstablished else { return }
        ERR_clear_error()
        let result = unsafe SSL_do_handshake(ssl)
        if result == 1 {
            isEstablished = true
        } else if !wantsMore(unsafe SSL_get_error(ssl, result)) {
            throw complaint()
        }
    }

    /// What the peer said, once the connection is established. Returns how many bytes, 0 for none
    /// yet, nil where the peer has ended it.
    package mutating func read(into buffer: inout MutableSpan<UInt8>) throws(TLSError) -> Int? {
        ERR_clear_error()
        let count = unsafe buffer.withUnsafeMutableBytes {
            unsafe SSL_read(ssl, $0.baseAddress, Int32(clamping: $0.count))
        }
        if count > 0 { return Int(count) }
        let error = unsafe SSL_get_error(ssl, count)
        if error == SSL_ERROR_ZERO_RETURN { return nil }
        guard wantsMore(error) else { throw complaint() }
        return 0
    }

    /// Encrypts all of it.
    ///
    /// - Precondition: the connection is established.
    package mutating func write(_ bytes: Span<UInt8>) throws(TLSError) {
        precondition(isEstablished, "written before the handshake was over")
        guard !bytes.isEmpty else { return }
        ERR_clear_error()
        let count = unsafe bytes.withUnsafeBytes {
            unsafe SSL_write(ssl, $0.baseAddress, Int32(clamping: $0.count))
        }
        guard count == bytes.count else { throw complaint() }
    }

    /// Appends what is to be sent to the peer.
    package mutating func take(into output: inout [UInt8]) {
        let waiting = unsafe Int(martlet_tls_waiting(ssl))
        guard waiting > 0 else { return }
        let start = output.count
        output.append(contentsOf: repeatElement(0, count: waiting))
        let count = unsafe output.withUnsafeMutableBytes {
            unsafe martlet_tls_take(
                ssl, $0.baseAddress.map { unsafe $0 + start }, Int32(clamping: waiting))
        }
        output.removeLast(waiting - Int(max(0, count)))
    }

    private func wantsMore(_ error: Int32) -> Bool {
        error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE
    }

    private func complaint() -> TLSError {
        let reason = Self.latestError()
        if let certificate = unsafe martlet_tls_certificate_complaint(ssl) {
            return unsafe TLSError(text: "the certificate: \(String(cString: certificate))")
        }
        return TLSError(text: reason)
    }

    private static func latestError() -> String {
        guard let text = unsafe martlet_tls_error() else { return "the connection ended" }
        return unsafe String(cString: text)
    }
}
