import ArgumentParser
import Basics
import Identity
import Reactor
import Server

/// `martlet token`: mints a token for development, with the secret of a development server or one
/// that is given.
struct Token: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Mint a JWT for development and print it.")

    @Option(help: "The user's id.")
    var user: String

    @Option(help: "The device's id. Without one, each connection is a device of its own.")
    var device: String?

    @Option(help: "The role claim; service may name chat ids.")
    var role: String?

    @Option(help: "Seconds until it expires.")
    var lifetime: Int = 86_400

    @Option(help: "Data folder of the development server whose secret is used.")
    var data: String = Environment["MARTLET_DATA"] ?? "./martlet-data"

    @Option(name: .customLong("jwt-secret"), help: "The secret to use instead.")
    var jwtSecret: String?

    func run() {
        do throws(ConfigurationError) {
            let secret = try chosenSecret()
            do throws(TokenMintError) {
                print(
                    try TokenMinter(secret: secret).mint(
                        user: user, deviceId: device, role: role, lifetimeSeconds: Int64(lifetime),
                        nowMilliseconds: SystemClock().now().wall.milliseconds))
            } catch {
                fail("cannot make a token: \(error.text)")
            }
        } catch {
            fail("\(error)")
        }
    }

    private func chosenSecret() throws(ConfigurationError) -> Secret {
        if let text = jwtSecret {
            do throws(SecretError) {
                return try Secret(text)
            } catch {
                throw ConfigurationError("jwt-secret: \(error)")
            }
        }
        if let secret = try DevelopmentSecret.load(from: data) { return secret }
        throw ConfigurationError(
            "no development server has run on \(data); start `martlet serve --dev`, or pass "
                + "--data or --jwt-secret")
    }
}
