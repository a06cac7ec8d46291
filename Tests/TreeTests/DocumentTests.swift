import Foundation
import Server
import Testing

/// The pages are true where a machine can tell.
struct DocumentTests {
    @Test("Every link of a page to a file of the tree leads somewhere")
    func linksLeadSomewhere() throws {
        let link = /\]\(([^)\s]+)\)/
        for page in try Tree.files(".md") {
            let folder = page.split(separator: "/").dropLast().joined(separator: "/")
            for match in try Tree.text(page).matches(of: link) {
                let target = match.1.prefix { $0 != "#" }
                guard !target.isEmpty, !match.1.contains("://"), !match.1.hasPrefix("mailto:")
                else { continue }
                let path = folder.isEmpty ? String(target) : folder + "/" + target
                #expect(Tree.exists(path), "\(page) links to \(match.1)")
            }
        }
    }

    @Test("Every link to a heading finds it")
    func headingsAreThere() throws {
        let link = /\]\(([^)\s#]*)#([^)\s]+)\)/
        for page in try Tree.files(".md") {
            let folder = page.split(separator: "/").dropLast().joined(separator: "/")
            for match in try Tree.text(page).matches(of: link) where !match.1.contains("://") {
                let other = folder.isEmpty ? String(match.1) : folder + "/" + match.1
                let path = match.1.isEmpty ? page : other
                guard Tree.exists(path), path.hasSuffix(".md") else { continue }
                let anchors = try Tree.text(path).split(separator: "\n")
                    .filter { $0.hasPrefix("#") }.map(Self.anchor)
                #expect(anchors.contains(String(match.2)), "\(page): #\(match.2) of \(path)")
            }
        }
    }

    /// As the usual renderers make it: lower case, hyphens for spaces, punctuation dropped.
    private static func anchor(_ heading: Substring) -> String {
        heading.drop { $0 == "#" || $0 == " " }.lowercased()
            .filter { $0.isLetter || $0.isNumber || $0 == " " || $0 == "-" || $0 == "_" }
            .replacing(" ", with: "-")
    }

    @Test("Every path of the tree that a page names exists")
    func namedPathsExist() throws {
        let path = /`((?:Sources|Tests|Scripts|Protocol|Decisions|LoadTests)\/[A-Za-z0-9_+.\/-]*)/
        for page in try Tree.files(".md") {
            for match in try Tree.text(page).matches(of: path) {
                #expect(Tree.exists(String(match.1)), "\(page) names \(match.1)")
            }
        }
    }

    @Test("README's table has every key of the configuration, with its environment names")
    func configurationIsDocumented() throws {
        let rows = try Tree.table("<!-- checked: configuration -->", in: "README.md")
        #expect(
            rows.map { $0[0] } == ConfigurationKey.allCases.map { "`\($0.rawValue)`" })
        for (row, key) in zip(rows, ConfigurationKey.allCases) {
            #expect(
                row[1] == key.environmentNames.map { "`\($0)`" }.joined(separator: ", "),
                "\(key.rawValue)")
        }
    }

    @Test("Decision records are numbered without a gap, dated, and say what would prove them wrong")
    func decisionsAreWhole() throws {
        let records = try Tree.files(".md", below: "Decisions")
            .filter { !$0.hasSuffix("README.md") }
        #expect(!records.isEmpty)
        let index = try Tree.text("Decisions/README.md")
        for (position, path) in records.enumerated() {
            let name = String(path.dropFirst("Decisions/".count))
            #expect(Int(name.prefix(4)) == position + 1, "\(path)")
            #expect(index.contains("(\(name))"), "\(path) is not in the index")
            let text = try Tree.text(path)
            #expect(text.contains(/\n\d{4}-\d\d-\d\d\n/), "\(path) has no date")
            for part in ["Context", "Decision", "Refused", "How we will know it was wrong"] {
                #expect(text.contains("\n## \(part)\n"), "\(path): \(part)")
            }
        }
    }
}
