import Basics
import Domain
import StoreCore

/// What becomes of the kept sessions of a batch. In the tables the drops come first, then what is kept.
struct SessionPlan {
    /// What the table has, or will have, under a name.
    struct Known {
        var user: UserID
        var epoch: Int64
        var at: WallTime
    }

    struct Departed: Hashable {
        var user: UserID
        var at: WallTime
    }

    struct Mark: Hashable {
        var name: String
        /// As bytes: `String` compares characters.
        var item: ExactText
    }

    private var known: [String: Known]
    private(set) var kept: [String: KeepSession] = [:]
    private(set) var marks: [Mark: Seq] = [:]
    private(set) var droppedNames = Distinct<String>()
    private(set) var droppedUsers = Distinct<Departed>()
    /// What is kept anew has none of the marks that it had.
    private(set) var clearedNames = Distinct<String>()

    init(_ known: [String: Known]) { self.known = known }

    mutating func keep(_ keep: KeepSession) -> Outcome {
        let before = known[keep.name]?.epoch
        guard before == keep.epoch || before == keep.replaces else {
            return .refused(.alreadyExists)
        }
        known[keep.name] = Known(user: keep.user, epoch: keep.epoch, at: keep.at)
        kept[keep.name] = keep
        if before != keep.epoch {
            forgetMarks(of: keep.name)
            clearedNames.insert(keep.name)
        }
        return .done
    }

    mutating func keep(_ keep: KeepMarks) -> Outcome {
        guard known[keep.name]?.epoch == keep.epoch else { return .refused(.notFound) }
        for mark in keep.marks {
            marks[Mark(name: keep.name, item: ExactText(mark.item))] = mark.seq
        }
        return .done
    }

    mutating func drop(_ drop: DropSessions) -> Outcome {
        switch drop {
        case .named(let name, let epoch):
            if known[name]?.epoch == epoch { forget(name) }
        case .all(let user, let at):
            for (name, known) in known where known.user == user && known.at <= at {
                forget(name)
            }
            droppedUsers.insert(Departed(user: user, at: at))
        }
        return .done
    }

    /// What the table has under the name may be another's by now.
    private mutating func forget(_ name: String) {
        known[name] = nil
        kept[name] = nil
        forgetMarks(of: name)
        droppedNames.insert(name)
    }

    private mutating func forgetMarks(of name: String) {
        marks = marks.filter { $0.key.name != name }
    }
}
