import Gateway

/// libFuzzer's door to `RecoveryExercise`, called once an input; built and run by `Scripts/fuzz recovery`.
/// The input is an answer between instances, what the store keeps of a session, an offset and a pass, each
/// in its turn.
@c(LLVMFuzzerTestOneInput)
public func fuzzRecovery(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let input = unsafe Array(UnsafeBufferPointer(start: start, count: count))
    let found = RecoveryExercise.run(input)
    #if MARTLET_PLANTED_TRAP
        // What `Scripts/fuzz --trap` must find: an answer with something in it, or a state.
        precondition(!(found.isAnswer && input.count > 30) && !found.isState, "the planted trap")
    #else
        _ = found
    #endif
    return 0
}
