import StoreCore
import StoreSQLite

/// Migrating by hand.
package enum Migration {
    /// Returns a line that says what was done.
    package static func run(_ configuration: Configuration) throws(StartError) -> String {
        do throws(StoreFailure) {
            let migration = try SQLiteStore.migrate(folder: configuration.data)
            return migration.from == migration.to
                ? "the schema in \(configuration.data) is up to date (version \(migration.to))"
                : "the schema in \(configuration.data) went from version \(migration.from) to \(migration.to)"
        } catch {
            throw StartError(error.text)
        }
    }
}
