import Basics
import Domain
import SocketIO
import Wire

/// Drives the readers of what recovery is told by clients, by other instances and by the store, with
/// arbitrary bytes, and checks what must hold for all of them. Pure, so that a fuzzer and a unit test share
/// it.
package enum RecoveryExercise {
    /// What an input was taken for.
    package struct Found: Equatable, Sendable {
        package var isAnswer = false
        package var isState = false
        package var isOffset = false
        package var isPass = false
    }

    /// Traps where something reads differently when it is written again, or where a pass or an answer is
    /// taken although there is no key that could have signed it.
    @discardableResult
    package static func run(_ input: [UInt8]) -> Found {
        var found = Found()
        if let answer = RecoveryAnswer(input, offset: nil) {
            found.isAnswer = true
            // A set and a table are written in an order of their own.
            precondition(RecoveryAnswer(answer.bytes, offset: nil) == answer, "an answer")
        }
        if let state = KeptState(input, []) {
            found.isState = true
            let again = KeptState(state.bytes, [])
            precondition(again?.bytes == state.bytes, "a state")
        }
        let text = String(decoding: input, as: UTF8.self)
        if let offset = RecoveryOffset(text) {
            found.isOffset = true
            precondition(RecoveryOffset(offset.text) == offset && offset.seq > 0, "an offset")
        }
        let place = EngineID(high: 1, low: 2, owner: 3, shard: 4)
        precondition(
            RecoveryAnswer(response: input, asker: place, offset: nil, keys: []) == nil,
            "an answer that nobody signed")
        for namespace in Namespace.allCases {
            for named in [nil, DeviceID(trusted: "phone")] {
                let pass = RecoveryPass(
                    text, in: namespace, of: UserID(trusted: "ann"), named: named, keys: [])
                if pass != nil { found.isPass = true }
            }
        }
        precondition(!found.isPass, "a pass that nobody gave")
        _ = KeptItem(KeptMark(text, 1))
        return found
    }
}
