import WebSocket

/// libFuzzer's door to `FrameDecoderExercise`, called once an input; built and run by
/// `Scripts/fuzz frame`. The input's layout is told there.
@c(LLVMFuzzerTestOneInput)
public func fuzzFrames(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let input = unsafe UnsafeBufferPointer(start: start, count: count)
    unsafe FrameDecoderExercise.run(input.span)
    #if MARTLET_PLANTED_TRAP
        if count > 2 {
            let stream = unsafe [UInt8](input.dropFirst(2))
            let role: Role = unsafe input[0] & 1 == 0 ? .server : .client
            precondition(!isPlanted(stream, role: role), "the planted trap")
        }
    #endif
    return 0
}

/// What `Scripts/fuzz --trap` must find: a ping with a payload directly after a message of several
/// fragments.
private func isPlanted(_ stream: [UInt8], role: Role) -> Bool {
    func events(fragments: Int) -> [FrameDecoderExercise.Event] {
        let limits = MessageLimits(fragments: fragments)
        return FrameDecoderExercise.events(of: stream, role: role, limits: limits) { $0 }
    }
    var isAfterFragments = false
    for event in events(fragments: 64) {
        if isAfterFragments, case .ping(let payload) = event, !payload.isEmpty { return true }
        isAfterFragments = false
        if case .message = event { isAfterFragments = !events(fragments: 1).contains(event) }
    }
    return false
}
