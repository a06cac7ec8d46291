/// States what the program itself guarantees. A failure is a bug of ours, never a peer's doing:
/// what a peer can cause is answered with a value.
@inlinable
@inline(__always)
public func invariant(
    _ condition: @autoclosure () -> Bool, _ message: @autoclosure () -> String,
    file: StaticString = #fileID, line: UInt = #line
) {
    precondition(condition(), message(), file: file, line: line)
}
