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

/// What `Scripts/fuzz --trap` must find: a message of several fragments that begins with `BUG!`.
private func isPlanted(_ stream: [UInt8], role: Role) -> Bool {
    func messages(fragments: Int) -> [FrameDecoderExercise.Event] {
        FrameDecoderExercise.events(
            of: stream, role: role, limits: MessageLimits(fragments: fragments)
        ) { $0 }
    }
    for event in messages(fragments: 64) {
        guard case .message(_, let payload) = event, payload.count >= 4 else { continue }
        // As a word: libFuzzer sees what it is compared with, which no fuzzer guesses.
        let word = payload[..<4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        if word == 0x4255_4721 { return !messages(fragments: 1).contains(event) }
    }
    return false
}
