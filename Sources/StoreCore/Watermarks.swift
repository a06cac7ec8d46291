import Basics
import Domain

/// A user's watermarks in a chat over all devices. `publicRead` is what others are shown.
package struct Watermarks: Hashable, Sendable {
    package var delivered: Seq
    package var read: Seq
    package var publicRead: Seq

    package init(delivered: Seq = 0, read: Seq = 0, publicRead: Seq = 0) {
        self.delivered = delivered
        self.read = read
        self.publicRead = publicRead
    }

    /// Raises them to what a device has now. The receipt says what moved: for the public, or, of a
    /// private read, for the user's devices; nil where nothing did.
    ///
    /// - Parameter isRepeated: an earlier submission of the same may have been committed. A mark
    ///   that stands where it was asked to be may then have been moved by that one, whose receipt
    ///   nobody has had: it is given, perhaps again.
    package mutating func raise(
        for advance: AdvanceCursor, delivered: Seq, read: Seq, isRepeated: Bool
    ) -> Receipt? {
        let before = self
        self.delivered = max(before.delivered, delivered)
        self.read = max(before.read, read)
        if !advance.isReadPrivate { publicRead = max(before.publicRead, read) }
        func moved(_ from: Seq, _ to: Seq) -> Bool {
            to > from || (isRepeated && to == from && to > 0)
        }
        let shown = advance.isReadPrivate ? before.read : before.publicRead
        let receipt = Receipt(
            chat: advance.chat, user: advance.user,
            deliveredSeq: moved(before.delivered, delivered) ? delivered : nil,
            readSeq: moved(shown, read) ? read : nil,
            isReadPrivate: advance.isReadPrivate && moved(shown, read), at: advance.at)
        return receipt.deliveredSeq == nil && receipt.readSeq == nil ? nil : receipt
    }
}
