import SocketIO

/// libFuzzer's door to `SocketIOExercise`, called once an input; built and run by
/// `Scripts/fuzz socketio`. The input is a body of polling, a packet, and an id, each in its turn.
@c(LLVMFuzzerTestOneInput)
public func fuzzSocketIO(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let input = unsafe UnsafeBufferPointer(start: start, count: count)
    unsafe SocketIOExercise.run(input.span)
    #if MARTLET_PLANTED_TRAP
        precondition(unsafe !isPlanted(input.span), "the planted trap")
    #endif
    return 0
}

/// What `Scripts/fuzz --trap` must find: a binary event with two parts, in a namespace, with an id of
/// two digits.
private func isPlanted(_ input: Span<UInt8>) -> Bool {
    guard let packet = SocketPacket.parse(input) else { return false }
    return packet.kind == .binaryEvent && packet.attachments == 2 && packet.namespace != nil
        && (10...99).contains(packet.id ?? 0)
}
