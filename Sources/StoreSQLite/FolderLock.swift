import Glibc
import StoreCore

/// The right to use a data folder: an advisory lock on the file `lock` in it, held until this value
/// is gone. The kernel gives it up when the process dies, however it dies; the file stays and
/// names the process that had it last.
struct FolderLock: ~Copyable {
    private let descriptor: Int32

    /// Makes the folder (mode 0700) and its parents if they are missing, and locks it.
    /// - Throws: `.unwritable`, or `.locked` where another process, or another store of this one,
    ///   has it.
    init(folder: String) throws(StoreFailure) {
        try Self.makeFolder(folder)
        let path = folder + "/lock"
        let opened = unsafe open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard opened >= 0 else { throw Self.unwritable(folder, "open \(path)", errno) }
        guard flock(opened, LOCK_EX | LOCK_NB) == 0 else {
            let code = errno
            let holder = Self.holder(opened)
            close(opened)
            guard code == EWOULDBLOCK else { throw Self.unwritable(folder, "lock \(path)", code) }
            throw StoreFailure(
                .locked,
                "data folder \(folder) is in use by another instance (\(holder)); "
                    + "stop it, or give this one a folder of its own")
        }
        let written = Self.note(processID: getpid(), in: opened)
        guard written == 0 else {
            close(opened)
            if written == ENOSPC {
                throw StoreFailure(.diskFull, "write \(path): the disk is full; free space")
            }
            throw Self.unwritable(folder, "write \(path)", written)
        }
        descriptor = opened
    }

    deinit { close(descriptor) }

    private static func makeFolder(_ folder: String) throws(StoreFailure) {
        var information = stat()
        var made = folder.startIndex
        while made < folder.endIndex {
            let next = folder.index(after: made)
            made = folder[next...].firstIndex(of: "/") ?? folder.endIndex
            let part = String(folder[..<made])
            if unsafe stat(part, &information) == 0 { continue }
            guard unsafe mkdir(part, 0o700) == 0 || errno == EEXIST else {
                throw unwritable(folder, "mkdir \(part)", errno)
            }
            syncParent(of: part)
        }
        guard unsafe stat(folder, &information) == 0 else {
            throw unwritable(folder, "stat", errno)
        }
        guard information.st_mode & S_IFMT == S_IFDIR else {
            throw unwritable(folder, "mkdir", ENOTDIR)
        }
    }

    /// A new folder's name survives a power cut only when its parent is synced. Not every file
    /// system can; those that cannot do not need it.
    private static func syncParent(of path: String) {
        let parent = path.lastIndex(of: "/").map { String(path[..<$0]) + "/" } ?? "."
        let descriptor = unsafe open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        fsync(descriptor)
        close(descriptor)
    }

    /// "pid 123", from what the holder wrote into the file.
    private static func holder(_ descriptor: Int32) -> String {
        var bytes = [UInt8](repeating: 0, count: 16)
        let count = unsafe bytes.withUnsafeMutableBytes {
            unsafe pread(descriptor, $0.baseAddress, $0.count, 0)
        }
        let digits = bytes.prefix(max(0, count)).prefix { $0 >= 0x30 && $0 <= 0x39 }
        return digits.isEmpty ? "pid unknown" : "pid \(String(decoding: digits, as: UTF8.self))"
    }

    /// 0, or the errno.
    private static func note(processID: pid_t, in descriptor: Int32) -> Int32 {
        let text = Array("\(processID)\n".utf8)
        guard ftruncate(descriptor, 0) == 0 else { return errno }
        let count = unsafe text.withUnsafeBytes {
            unsafe pwrite(descriptor, $0.baseAddress, $0.count, 0)
        }
        return count == text.count ? 0 : (count < 0 ? errno : ENOSPC)
    }

    private static func unwritable(
        _ folder: String, _ call: String, _ code: Int32
    ) -> StoreFailure {
        let reason = unsafe String(cString: strerror(code))
        return StoreFailure(
            .unwritable,
            "cannot use data folder \(folder): \(call): \(reason); "
                + "make it a folder that this user may write, or choose another")
    }
}
