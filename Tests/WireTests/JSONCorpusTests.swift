import Foundation
import Testing
import Wire

@Suite("The fuzzer's JSON corpus")
struct JSONCorpusTests {
    @Test("Every file is read, rewritten and read again without a disagreement")
    func replay() throws {
        let folder = URL(filePath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "Fuzz/Corpus/json")
        let files = try FileManager.default.contentsOfDirectory(
            at: folder, includingPropertiesForKeys: nil)
        #expect(files.count >= 30)
        for file in files {
            let bytes = [UInt8](try Data(contentsOf: file))
            let written = JSONReaderExercise.run(bytes.span)
            let name = file.lastPathComponent
            // The name says what the reader must think of it; crashes found later have neither.
            if name.hasPrefix("valid-") { #expect(written != nil, "\(name)") }
            if name.hasPrefix("refused-") { #expect(written == nil, "\(name)") }
        }
    }
}
