import BusCore
import Domain

/// libFuzzer's door to `PublicationCodecExercise`, called once an input; built and run by
/// `Scripts/fuzz publication`. The input's layout is told there.
@c(LLVMFuzzerTestOneInput)
public func fuzzPublications(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let input = unsafe UnsafeBufferPointer(start: start, count: count)
    unsafe PublicationCodecExercise.run(input.span)
    #if MARTLET_PLANTED_TRAP
        precondition(unsafe !isPlanted([UInt8](input)), "the planted trap")
    #endif
    return 0
}

/// What `Scripts/fuzz --trap` must find: a digest that says goodbye and lists two chats.
private func isPlanted(_ input: [UInt8]) -> Bool {
    guard let length = input.first, input.count > Int(length),
        Array(input[1..<(1 + Int(length))]) == ChannelNames.digest,
        let digest = Digest(decoding: Array(input[(1 + Int(length))...]))
    else { return false }
    return digest.isLast && digest.heads.count == 2
}
