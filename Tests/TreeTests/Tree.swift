import Foundation

/// The project's own files, as the tests of this folder see them.
enum Tree {
    /// The project's folder, two above this file's.
    static let root = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    static func data(_ path: String) throws -> Data {
        try Data(contentsOf: root.appendingPathComponent(path))
    }

    static func text(_ path: String) throws -> String {
        String(decoding: try data(path), as: UTF8.self)
    }

    static func json<Value: Decodable>(_ path: String, as type: Value.Type) throws -> Value {
        try JSONDecoder().decode(type, from: try data(path))
    }

    static func exists(_ path: String) -> Bool {
        FileManager.default.fileExists(atPath: root.appendingPathComponent(path).path)
    }

    static func names(in folder: String) throws -> [String] {
        try FileManager.default
            .contentsOfDirectory(atPath: root.appendingPathComponent(folder).path)
            .filter { !$0.hasPrefix(".") }.sorted()
    }

    /// Paths of all files below `folder` whose names end so, without what builds leave behind.
    static func files(_ suffix: String, below folder: String = "") throws -> [String] {
        var found: [String] = []
        var folders = [folder]
        while let folder = folders.popLast() {
            for name in try names(in: folder) {
                let path = folder.isEmpty ? name : folder + "/" + name
                var isFolder: ObjCBool = false
                let place = root.appendingPathComponent(path).path
                _ = unsafe FileManager.default.fileExists(atPath: place, isDirectory: &isFolder)
                if isFolder.boolValue {
                    folders.append(path)
                } else if name.hasSuffix(suffix) {
                    found.append(path)
                }
            }
        }
        return found.sorted()
    }

    /// The rows below the header of the Markdown table that follows the line `mark`, cells trimmed.
    static func table(_ mark: String, in path: String) throws -> [[String]] {
        let lines = try text(path).split(separator: "\n", omittingEmptySubsequences: false)
        guard let start = lines.firstIndex(where: { $0 == mark }) else { return [] }
        return lines[(start + 1)...].drop { !$0.hasPrefix("|") }.prefix { $0.hasPrefix("|") }
            .dropFirst(2)
            .map { line in
                line.dropFirst().dropLast().split(separator: "|", omittingEmptySubsequences: false)
                    .map { $0.trimmingCharacters(in: .whitespaces) }
            }
    }
}
