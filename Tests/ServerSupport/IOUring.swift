import Foundation

/// What the system itself says of io_uring, without trying it.
package enum IOUring {
    /// Whether this process may use it: the kernel has it, the administrator allows it
    /// (kernel.io_uring_disabled, Linux 6.6), and no filter of system calls is in force.
    package static let isOffered: Bool = {
        let disabled = text("/proc/sys/kernel/io_uring_disabled") ?? "0"
        let isAllowed = disabled == "0" || disabled == "1" && getuid() == 0
        let isFiltered = !status.contains("Seccomp:\t0")
        let symbols = text("/proc/kallsyms") ?? ""
        return isAllowed && !isFiltered && symbols.contains(" __x64_sys_io_uring_enter")
    }()

    private static var status: String { text("/proc/self/status") ?? "" }

    private static func text(_ path: String) -> String? {
        // Not by its size, which /proc does not know.
        guard let bytes = FileHandle(forReadingAtPath: path)?.readDataToEndOfFile() else {
            return nil
        }
        return String(decoding: bytes, as: UTF8.self).trimmingCharacters(
            in: .whitespacesAndNewlines)
    }
}
