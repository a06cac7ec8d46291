import StoreCore
import StorePostgres
import StoreSQLite

/// Migrating by hand.
package enum Migration {
    /// Returns a line that says what was done.
    package static func run(_ configuration: Configuration) throws(StartError) -> String {
        do throws(StoreFailure) {
            if let url = configuration.databaseURL {
                let migration = try PostgresStore.migrate(url: url)
                return line(ServiceURL.place(url), migration.from, migration.to)
            }
            let migration = try SQLiteStore.migrate(folder: configuration.data)
            return line(configuration.data, migration.from, migration.to)
        } catch {
            throw StartError(error.text)
        }
    }

    private static func line(_ place: String, _ from: Int, _ to: Int) -> String {
        from == to
            ? "the schema in \(place) is up to date (version \(to))"
            : "the schema in \(place) went from version \(from) to \(to)"
    }
}
