import Domain

extension OpenChats.Given {
    /// `OpenedChat.givenSeq` from what the tables say.
    ///
    /// - Parameters:
    ///   - mark: what the device acknowledged; 0 where nothing.
    ///   - before: the last entry made before `since`, among the last `depth`; nil where none is.
    ///   - lastSeq: the last that the user may see.
    package static func seq(mark: Seq, before: Seq?, lastSeq: Seq) -> Seq? {
        let earliest = lastSeq - depth
        let given = max(mark, before ?? 0)
        return given >= earliest ? given : nil
    }
}
