import Basics
import BusCore
import Domain
import Identity
import SocketIO

/// Names a session of Socket.IO that can be recovered, over all connections that it ever had. Its text is
/// the `sid` of its CONNECT: to know it is no right to anything.
struct SessionName: Hashable, Sendable {
    let high: UInt64
    let low: UInt32

    init(high: UInt64, low: UInt32) {
        self.high = high
        self.low = low
    }

    init(_ place: EngineID) { self.init(high: place.high, low: place.low) }

    /// At a shard of an instance, where it is or was.
    func place(owner: UInt64, shard: Int) -> EngineID {
        EngineID(
            high: high, low: low, owner: UInt32(truncatingIfNeeded: owner),
            shard: UInt16(truncatingIfNeeded: shard))
    }

    /// 16 characters of base64url.
    var text: String {
        var bytes: [UInt8] = []
        bytes.append(integer: high)
        bytes.append(integer: low)
        return Base64URL.encode(bytes)
    }
}

/// The `pid` of a CONNECT's answer, by which a client comes back to its session: its name, and that it was
/// given to this user, this device, for this namespace. Nobody else can use it, and nobody can make one.
///
///     1 │ flags 1 │ name 12 │ [device 16] │ HMAC-SHA-256 32
///
/// The code covers what stands before it, and the user and the device besides. base64url.
struct RecoveryPass: Equatable, Sendable {
    let name: SessionName
    let namespace: Namespace
    /// The device that was made for the session; nil where its client names one.
    let madeDevice: Identifier?

    static let maximumCharacters = 128
    private static let version: UInt8 = 1
    private static let hasDevice: UInt8 = 0x80
    private static let headBytes = 14
    private static let codeBytes = 32

    init(name: SessionName, namespace: Namespace, madeDevice: Identifier?) {
        self.name = name
        self.namespace = namespace
        self.madeDevice = madeDevice
    }

    private var bytes: [UInt8] {
        var bytes: [UInt8] = [
            Self.version, namespace.rawValue | (madeDevice == nil ? 0 : Self.hasDevice),
        ]
        bytes.append(integer: name.high)
        bytes.append(integer: name.low)
        if let madeDevice {
            bytes.append(integer: madeDevice.high)
            bytes.append(integer: madeDevice.low)
        }
        return bytes
    }

    /// Names hold no control characters.
    private static func signed(_ bytes: [UInt8], _ user: UserID, _ device: DeviceID) -> [UInt8] {
        Array("martlet, recovery, 1\n".utf8) + bytes + user.text.utf8 + [10] + device.text.utf8
    }

    func text(for user: UserID, _ device: DeviceID, key: Secret) -> String {
        let bytes = bytes
        let code = key.authenticationCode(for: Self.signed(bytes, user, device).span)
        return Base64URL.encode(bytes + code)
    }

    /// What a client shows.
    ///
    /// - Parameters:
    ///   - named: the device that it names; nil where it names none.
    /// - Returns: nil where it was not given to them, or is none.
    init?(
        _ text: String, in namespace: Namespace, of user: UserID, named: DeviceID?,
        keys: [Secret]
    ) {
        guard text.utf8.count <= Self.maximumCharacters, let all = Base64URL.decode(text),
            all.count > Self.codeBytes, all[0] == Self.version
        else { return nil }
        let bytes = Array(all[..<(all.count - Self.codeBytes)])
        let hasDevice = bytes.count > 1 && bytes[1] & Self.hasDevice != 0
        guard bytes.count == Self.headBytes + (hasDevice ? 16 : 0),
            bytes[1] & ~Self.hasDevice == namespace.rawValue, hasDevice == (named == nil)
        else { return nil }
        func number(_ range: Range<Int>) -> UInt64 {
            bytes[range].reduce(0) { $0 << 8 | UInt64($1) }
        }
        self.init(
            name: SessionName(high: number(2..<10), low: UInt32(number(10..<14))),
            namespace: namespace,
            madeDevice: hasDevice
                ? Identifier(high: number(14..<22), low: number(22..<30)) : nil)
        guard let device = named ?? self.device else { return nil }
        let message = Self.signed(bytes, user, device)
        let code = Array(all[(all.count - Self.codeBytes)...])
        guard keys.contains(where: { $0.authenticates(message.span, code: code.span) }) else {
            return nil
        }
    }

    var device: DeviceID? { madeDevice.map { DeviceID(trusted: $0.text) } }
}
