import Identity

/// The secret that `--dev` makes, kept in the data folder so that `martlet token` and `martlet
/// connect` find it. Mode 0600: whoever reads it can be anyone.
package enum DevelopmentSecret {
    package static func path(in folder: String) -> String { folder + "/dev-secret" }

    /// The secret of an earlier run, or a new one.
    package static func load(orMakeIn folder: String) throws(ConfigurationError) -> Secret {
        if let secret = try load(from: folder) { return secret }
        let text = SecureRandom.bytes(count: 32).map { byte in
            let digits = Array("0123456789abcdef")
            return "\(digits[Int(byte >> 4)])\(digits[Int(byte & 15)])"
        }.joined()
        Files.makeFolder(folder)
        if let reason = Files.writePrivate(path(in: folder), Array(text.utf8)) {
            throw ConfigurationError("cannot write \(path(in: folder)): \(reason)")
        }
        return try make(text, folder)
    }

    /// nil where no development server has run on this folder.
    package static func load(from folder: String) throws(ConfigurationError) -> Secret? {
        guard let bytes = Files.read(path(in: folder)) else { return nil }
        guard !Files.isReadableByOthers(path(in: folder)) else {
            throw ConfigurationError(
                "\(path(in: folder)) can be read by others; run: chmod 600 \(path(in: folder))")
        }
        return try make(String(decoding: bytes, as: UTF8.self), folder)
    }

    private static func make(
        _ text: String, _ folder: String
    ) throws(ConfigurationError) -> Secret {
        do throws(SecretError) {
            return try Secret(text)
        } catch {
            throw ConfigurationError(
                "\(path(in: folder)) is damaged; delete it, and a new one is made")
        }
    }
}
