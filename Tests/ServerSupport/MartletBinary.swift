import Foundation

/// Where the program under test is.
package enum MartletBinary {
    /// `MARTLET_BINARY`, else the `martlet` that was built beside the running tests.
    ///
    /// - Throws: where there is none: tests of the real program fail then, they are not passed
    ///   over.
    package static func path() throws -> String {
        if let path = ProcessInfo.processInfo.environment["MARTLET_BINARY"], !path.isEmpty {
            guard FileManager.default.isExecutableFile(atPath: path) else {
                throw SupportError("MARTLET_BINARY is \(path), which cannot be run")
            }
            return path
        }
        for folder in folders() {
            let path = folder.appendingPathComponent("martlet").path
            if FileManager.default.isExecutableFile(atPath: path) { return path }
        }
        throw SupportError(
            "there is no martlet beside the tests; run: swift build --product martlet "
                + "(or set MARTLET_BINARY)")
    }

    /// Of the running program, which may be inside a bundle; then that of a debug build.
    private static func folders() -> [URL] {
        let program = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        let root = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        var folder = program.deletingLastPathComponent()
        var found: [URL] = []
        for _ in 0..<4 {
            found.append(folder)
            folder = folder.deletingLastPathComponent()
        }
        return found + [root.appendingPathComponent(".build/debug")]
    }
}
