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
        // Not anywhere else: that might be another build than the one under test.
        let path = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
            .deletingLastPathComponent().appendingPathComponent("martlet").path
        if FileManager.default.isExecutableFile(atPath: path) { return path }
        throw SupportError(
            "there is no martlet beside the tests; run: swift build --product martlet "
                + "(or set MARTLET_BINARY)")
    }
}
