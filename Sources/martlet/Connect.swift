import ArgumentParser
import Basics
import Client
import Glibc
import Identity
import Reactor
import Server

/// `martlet connect`: a conversation in the terminal, over the plain-JSON face.
struct Connect: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Chat with another user, in the terminal or through a pipe.",
        discussion: """
            In a terminal it takes the whole screen; /help and /quit are its commands. With a pipe \
            as input each line is a message, each event is a line of output, and it ends when all \
            lines are acknowledged. After 40 lines they go at 15 a second, which is within what a \
            server lets one user send.

              … sending   ✓ stored   ✓✓ delivered   ✓✓ read   ✗ refused

            This client shows the protocol; it does not encrypt.
            """)

    @Option(name: .customLong("as"), help: "Your user id.")
    var user: String

    @Option(name: .customLong("with"), help: "The other's user id.")
    var peer: String

    @Option(help: "The server.")
    var url: String = "ws://127.0.0.1:3001"

    @Option(help: "Your token. Without one, it is minted with the development server's secret.")
    var token: String?

    @Option(help: "Data folder of the development server.")
    var data: String = Environment["MARTLET_DATA"] ?? "./martlet-data"

    func run() {
        guard user != peer else { fail("--with names another user than --as") }
        do throws(ConfigurationError) {
            let source = try tokenSource()
            do throws(ClientError) {
                let session = try ConnectSession(
                    url: URLParts(url), user: user, peer: peer, tokens: source)
                // The terminal is as it was again when this returns.
                if let complaint = session.run() { fail(complaint) }
            } catch {
                fail(advice(on: error))
            }
        } catch {
            fail("\(error)")
        }
    }

    private func tokenSource() throws(ConfigurationError) -> TokenSource {
        if let token { return TokenSource(user: user, way: .given(token)) }
        guard let secret = try DevelopmentSecret.load(from: data) else {
            throw ConfigurationError(
                "no token: pass --token, or --data with the folder of a server that was started "
                    + "with `martlet serve --dev`")
        }
        let source = TokenSource(user: user, way: .minted(TokenMinter(secret: secret)))
        // A name that no token can carry is found out here rather than after the first expiry.
        if let complaint = source.complaint { throw ConfigurationError(complaint) }
        return source
    }

    private func advice(on error: ClientError) -> String {
        switch error {
        case .cannotConnect:
            "\(error); is the server running? `martlet serve --dev` starts one"
        case .refused(401, _, _, _) where token != nil:
            "\(error) (--token is not one of this server's, or has expired; without it, one is minted "
                + "with the secret in --data)"
        case .refused(401, _, _, _):
            "\(error) (a token is minted with the secret in --data; it must be this server's)"
        case .refused(400, _, _, _) where token != nil:
            "\(error) (whose is --token? it has to be \(user)'s)"
        default: "\(error)"
        }
    }
}

/// Where the token comes from: the command line, or the development server's secret.
struct TokenSource {
    enum Way {
        case given(String)
        case minted(TokenMinter)
    }

    private let user: String
    private let way: Way

    init(user: String, way: Way) {
        self.user = user
        self.way = way
    }

    /// Whether `next` gives a new one each time.
    var isRenewable: Bool {
        switch way {
        case .given: false
        case .minted: true
        }
    }

    /// Why no token can be minted for that user; nil where one can.
    var complaint: String? {
        do throws(TokenMintError) {
            _ = try make()
            return nil
        } catch {
            return "no token can be minted for this user: \(error.text)"
        }
    }

    /// A token for the next connection: valid for a day where it is minted.
    var next: String {
        do throws(TokenMintError) {
            return try make()
        } catch {
            // `complaint` has been asked before; the server would say what is wrong with this one.
            return ""
        }
    }

    private func make() throws(TokenMintError) -> String {
        switch way {
        case .given(let token): token
        case .minted(let minter):
            try minter.mint(
                user: user, deviceId: "terminal-\(getpid())", lifetimeSeconds: 86_400,
                nowMilliseconds: SystemClock().now().wall.milliseconds)
        }
    }
}
