import Glibc

/// Where scenarios lie: files `NAME.conf` in a folder.
enum ScenarioFiles {
    /// The folder that was named, or LoadTests/Scenarios of the package that this program was built
    /// from or is started in.
    static func folder(_ named: String?) -> String {
        if let named { return named }
        let binary = Files.ownPath.split(separator: "/").map(String.init)
        // …/.build/x86_64-unknown-linux-gnu/release/martlet-load
        for depth in stride(from: binary.count - 1, to: 0, by: -1) {
            let folder = "/" + binary[..<depth].joined(separator: "/") + "/LoadTests/Scenarios"
            if Files.isFolder(folder) { return folder }
        }
        return "LoadTests/Scenarios"
    }

    static func names(in folder: String) -> [String] {
        Files.names(in: folder).filter { $0.hasSuffix(".conf") }
            .map { String($0.dropLast(".conf".count)) }.sorted()
    }

    /// The same in words, with what to do where there are none.
    static func whatThereIs(in folder: String) -> String {
        let names = names(in: folder)
        return names.isEmpty
            ? "there are none in \(folder): name LoadTests/Scenarios of the source with --scenarios, or a "
                + "file by its path"
            : "in \(folder) are " + names.joined(separator: ", ")
    }

    /// The first comment line.
    static func summary(of text: String) -> String {
        let line = text.split(whereSeparator: \.isNewline).first { $0.hasPrefix("#") } ?? ""
        return String(line.drop { $0 == "#" || $0 == " " })
    }

    /// The text of a scenario by its path or its name.
    static func text(of scenario: String, in folder: String) -> (name: String, text: String)? {
        if scenario.contains("/") || scenario.hasSuffix(".conf") {
            let last = scenario.split(separator: "/").last.map(String.init) ?? scenario
            let name = last.hasSuffix(".conf") ? String(last.dropLast(5)) : last
            return Files.text(scenario).map { (name: name, text: $0) }
        }
        return Files.text("\(folder)/\(scenario).conf").map { (name: scenario, text: $0) }
    }
}

/// Files by the system's own calls.
enum Files {
    static var ownPath: String {
        var buffer = [CChar](repeating: 0, count: 4_096)
        let count = unsafe readlink("/proc/self/exe", &buffer, buffer.count - 1)
        return String(
            decoding: buffer.prefix(max(0, count)).map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    static func isFolder(_ path: String) -> Bool {
        guard let folder = unsafe opendir(path) else { return false }
        unsafe closedir(folder)
        return true
    }

    static func names(in path: String) -> [String] {
        guard let folder = unsafe opendir(path) else { return [] }
        defer { unsafe closedir(folder) }
        var names: [String] = []
        while let entry = unsafe readdir(folder) {
            // d_name is an array in C and a tuple here.
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
                unsafe String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
            }
            names.append(name)
        }
        return names
    }

    /// All of a file; nil where it cannot be read.
    static func bytes(_ path: String) -> [UInt8]? {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = unsafe chunk.withUnsafeMutableBytes {
                unsafe read(descriptor, $0.baseAddress, $0.count)
            }
            guard count >= 0 else { return nil }
            if count == 0 { return bytes }
            bytes += chunk.prefix(count)
        }
    }

    static func text(_ path: String) -> String? {
        bytes(path).map { String(decoding: $0, as: UTF8.self) }
    }

    /// The system's word for why a file cannot be written there, before there is something to write; nil
    /// where nothing speaks against it. Nothing is opened: it may be a pipe.
    static func whyNotWritable(_ path: String) -> String? {
        if isFolder(path) { return unsafe String(cString: strerror(EISDIR)) }
        if unsafe access(path, F_OK) == 0 {
            return unsafe access(path, W_OK) == 0 ? nil : systemWord
        }
        guard errno == ENOENT, !path.isEmpty else { return systemWord }
        let folder = path.lastIndex(of: "/").map { String(path[...$0]) } ?? "."
        return unsafe access(folder, W_OK | X_OK) == 0 ? nil : systemWord
    }

    /// Returns the system's word for what went wrong.
    static func write(_ bytes: [UInt8], to path: String) -> String? {
        let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { return systemWord }
        defer { close(descriptor) }
        var place = 0
        while place < bytes.count {
            let count = unsafe bytes.withUnsafeBytes {
                unsafe Glibc.write(
                    descriptor, $0.baseAddress.map { unsafe $0 + place }, bytes.count - place)
            }
            guard count > 0 else { return systemWord }
            place += count
        }
        return nil
    }

    private static var systemWord: String {
        unsafe strerror(errno).map { unsafe String(cString: $0) } ?? "error \(errno)"
    }

    /// A line on standard error.
    static func say(_ text: String) {
        let line = Array("martlet-load: \(text)\n".utf8)
        _ = unsafe Glibc.write(2, line, line.count)
    }
}
