import ArgumentParser
import Server

/// `martlet migrate`: brings the store's schema up to date without serving. `serve` does the same
/// at its start; this is for those who want it done before.
struct Migrate: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Bring the store's schema up to date, and end.")

    @OptionGroup var options: ConfigurationOptions

    func run() {
        do throws(ConfigurationError) {
            let configuration = try options.load()
            do throws(StartError) {
                print(try Migration.run(configuration))
            } catch {
                fail("\(error)")
            }
        } catch {
            fail("\(error)")
        }
    }
}
