import Glibc

/// Small files and the environment, without Foundation (8 MB of memory at start).
package enum Files {
    /// The whole file as bytes; nil where there is none, or it cannot be read.
    package static func read(_ path: String) -> [UInt8]? {
        let fd = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard fd >= 0 else { return nil }
        defer { close(fd) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4_096)
        while true {
            let count = unsafe Glibc.read(fd, &chunk, chunk.count)
            guard count > 0 else { return count == 0 ? bytes : nil }
            bytes.append(contentsOf: chunk[0..<count])
        }
    }

    /// Writes a new file that only its owner may read. Returns the reason where that fails.
    package static func writePrivate(_ path: String, _ bytes: [UInt8]) -> String? {
        let fd = unsafe open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard fd >= 0 else { return unsafe String(cString: strerror(errno)) }
        defer { close(fd) }
        guard unsafe Glibc.write(fd, bytes, bytes.count) == bytes.count else {
            return unsafe String(cString: strerror(errno))
        }
        return nil
    }

    /// Makes a folder and those above it, for the owner only.
    package static func makeFolder(_ path: String) {
        var prefix = path.hasPrefix("/") ? "/" : ""
        for part in path.split(separator: "/") {
            prefix += (prefix.isEmpty || prefix.hasSuffix("/") ? "" : "/") + part
            _ = unsafe mkdir(prefix, 0o700)
        }
    }

    /// Whether others than the owner may read it.
    package static func isReadableByOthers(_ path: String) -> Bool {
        var info = stat()
        guard unsafe stat(path, &info) == 0 else { return false }
        return info.st_mode & 0o077 != 0
    }
}

package enum Environment {
    package static subscript(_ name: String) -> String? {
        guard let value = unsafe getenv(name) else { return nil }
        return unsafe String(cString: value)
    }

    /// The names that are set and begin with `prefix`.
    package static func names(withPrefix prefix: String) -> [String] {
        var names: [String] = []
        var entry = unsafe environ
        while let text = unsafe entry.pointee {
            let line = unsafe String(cString: text)
            if line.hasPrefix(prefix), let name = line.split(separator: "=").first {
                names.append(String(name))
            }
            unsafe entry += 1
        }
        return names.sorted()
    }

    package static var processorCount: Int {
        max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))
    }
}
