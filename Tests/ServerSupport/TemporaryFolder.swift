import Foundation

/// A folder of its own in the system's temporary one, removed with all that is in it when the last
/// owner lets go.
package final class TemporaryFolder: Sendable {
    package let path: String

    package init(_ name: String = "test") throws {
        path =
            FileManager.default.temporaryDirectory
            .appendingPathComponent("martlet-\(name)-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: true,
            attributes: [.posixPermissions: 0o700])
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// The path of something in it.
    package func file(_ name: String) -> String { path + "/" + name }

    package func write(_ text: String, to name: String) throws {
        try Data(text.utf8).write(to: URL(fileURLWithPath: file(name)))
    }
}

/// The bytes of a file as text; empty where there is none.
package func contents(of path: String) -> String {
    FileManager.default.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) } ?? ""
}
