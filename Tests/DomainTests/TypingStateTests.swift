import Basics
import Domain
import Testing

@Suite("TypingState")
struct TypingStateTests {
    private let chat = ChatID(trusted: "c")
    private let other = ChatID(trusted: "o")

    private func at(_ milliseconds: Int) -> Instant {
        Instant(nanoseconds: 9_000_000_000).advanced(byMilliseconds: milliseconds)
    }

    @Test("The first true is told, the next within 2 s are not, then one is")
    func pace() {
        var state = TypingState()
        let times = [0, 1, 1_000, 1_999, 2_000, 2_500, 3_999, 4_000]
        let told = times.map { state.set(chat, isTyping: true, now: at($0)) }
        #expect(told == [true, false, false, false, true, false, false, true])
    }

    @Test("False is told where true was, once")
    func ending() {
        var state = TypingState()
        #expect(state.set(chat, isTyping: false, now: at(0)) == false)
        #expect(state.set(chat, isTyping: true, now: at(0)) == true)
        #expect(state.set(chat, isTyping: false, now: at(10)) == true)
        #expect(state.set(chat, isTyping: false, now: at(20)) == false)
    }

    @Test("Whoever stops and starts again keeps the pace, and the last word is consistent")
    func restart() {
        var state = TypingState()
        #expect(state.set(chat, isTyping: true, now: at(0)) == true)
        #expect(state.set(chat, isTyping: false, now: at(500)) == true)
        #expect(state.set(chat, isTyping: true, now: at(1_000)) == false, "too soon to be told")
        #expect(state.set(chat, isTyping: false, now: at(1_200)) == false, "nobody was told of it")
        #expect(state.set(chat, isTyping: true, now: at(2_000)) == true)
        #expect(state.expire(now: at(8_000)) == [chat])
    }

    @Test("It expires 6 s after the last true, told or not")
    func expiry() {
        var state = TypingState()
        _ = state.set(chat, isTyping: true, now: at(0))
        _ = state.set(chat, isTyping: true, now: at(1_500))
        #expect(state.nextExpiry == at(7_500))
        #expect(state.expire(now: at(7_499)) == [] && !state.isEmpty)
        #expect(state.expire(now: at(7_500)) == [chat])
        #expect(state.isEmpty && state.nextExpiry == nil)
        #expect(state.expire(now: at(9_000)) == [])
    }

    @Test("What has ended expires without a word")
    func endedExpiry() {
        var state = TypingState()
        _ = state.set(chat, isTyping: true, now: at(0))
        _ = state.set(chat, isTyping: false, now: at(100))
        #expect(state.expire(now: at(6_000)) == [] && state.isEmpty)
    }

    @Test("Chats are apart from each other")
    func chats() {
        var state = TypingState()
        #expect(state.set(chat, isTyping: true, now: at(0)) == true)
        #expect(state.set(other, isTyping: true, now: at(1_000)) == true)
        #expect(state.set(chat, isTyping: false, now: at(1_100)) == true)
        #expect(state.nextExpiry == at(6_000))
        #expect(state.expire(now: at(6_999)) == [])
        #expect(state.expire(now: at(7_000)) == [other])
    }

    @Test("The end of the connection ends all that others were told of, and nothing else")
    func endAll() {
        var state = TypingState()
        _ = state.set(chat, isTyping: true, now: at(0))
        _ = state.set(other, isTyping: true, now: at(0))
        _ = state.set(other, isTyping: false, now: at(1))
        #expect(state.endAll() == [chat])
        #expect(state.isEmpty && state.endAll() == [])
    }

    @Test("At most so many chats at once; one more is not told, and takes no memory")
    func bound() {
        var state = TypingState()
        let chats = (0...TypingState.maximumChats).map { ChatID(trusted: "c\($0)") }
        for chat in chats.dropLast() {
            #expect(state.set(chat, isTyping: true, now: at(0)) == true)
        }
        #expect(state.set(chats[TypingState.maximumChats], isTyping: true, now: at(0)) == false)
        #expect(state.set(chats[TypingState.maximumChats], isTyping: false, now: at(0)) == false)
        #expect(state.expire(now: at(6_000)).count == TypingState.maximumChats)
        #expect(state.set(chats[TypingState.maximumChats], isTyping: true, now: at(6_000)) == true)
    }

    @Test(
        "For the others true and false alternate, trues 2 s apart, ends within 6 s (property)",
        arguments: 1...30)
    func property(seed: UInt64) {
        var numbers = SplitMix64(seed: seed)
        var state = TypingState()
        var isTold = false
        var lastForward = -10_000
        var lastTrue = -10_000
        var time = 0
        for _ in 0..<300 {
            time += Int(numbers.next() % 1_500)
            for _ in state.expire(now: at(time)) {
                #expect(isTold && time >= lastTrue + 6_000)
                isTold = false
            }
            let isTyping = numbers.next() % 3 != 0
            if isTyping { lastTrue = time }
            guard state.set(chat, isTyping: isTyping, now: at(time)) else { continue }
            if isTyping {
                #expect(time - lastForward >= 2_000)
                lastForward = time
            } else {
                #expect(isTold)
            }
            isTold = isTyping
        }
        #expect(state.endAll() == (isTold ? [chat] : []))
    }
}

/// The same numbers from the same seed.
struct SplitMix64: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
