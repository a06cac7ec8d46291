import Foundation
import HTTP
import Testing

@Suite("The request corpus and seeded requests")
struct RequestCorpusTests {
    private static let folder = URL(filePath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "Fuzz/Corpus/request")

    private static func corpus() throws -> [(name: String, bytes: [UInt8])] {
        try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
            .sorted { $0.path < $1.path }
            .map { ($0.lastPathComponent, [UInt8](try Data(contentsOf: $0))) }
    }

    @Test("Every file of the corpus keeps the invariants")
    func files() throws {
        let corpus = try Self.corpus()
        #expect(corpus.count >= 20)
        for (name, bytes) in corpus {
            #expect(bytes.count >= 2, "\(name)")
            RequestParserExercise.run(bytes.span)
        }
    }

    @Test("5,000 seeded mutations of the corpus keep the invariants")
    func mutations() throws {
        let corpus = try Self.corpus().map(\.bytes).filter { $0.count < 2_000 }
        let spice = Array("\r\n\t :,;%?#\0\u{7F}0aA/*".utf8)
        for seed in UInt64(0)..<5_000 {
            var generator = SeededGenerator(seed: seed)
            var bytes = corpus.randomElement(using: &generator)!
            for _ in 0..<Int.random(in: 1...4, using: &generator) where bytes.count > 1 {
                let index = Int.random(in: 0..<bytes.count, using: &generator)
                switch Int.random(in: 0..<4, using: &generator) {
                case 0: bytes[index] = spice.randomElement(using: &generator)!
                case 1: bytes[index] = UInt8.random(in: 0...255, using: &generator)
                case 2: bytes.remove(at: index)
                default: bytes.insert(spice.randomElement(using: &generator)!, at: index)
                }
            }
            RequestParserExercise.run(bytes.span)
        }
    }
}

/// SplitMix64: a seed gives the same sequence everywhere.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }
}
