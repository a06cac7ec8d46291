import ArgumentParser
import Server

/// `martlet config`: the effective configuration, in the form of the configuration file.
struct Config: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print the effective configuration; secrets are masked.")

    @OptionGroup var options: ConfigurationOptions

    func run() {
        do throws(ConfigurationError) {
            for line in try options.load().lines { print(line) }
        } catch {
            fail("\(error)")
        }
    }
}
