import Testing

@testable import BusRedis

@Suite("Where Redis is")
struct RedisAddressTests {
    private static func problem(_ url: String) -> String? {
        do throws(RedisAddress.Problem) {
            _ = try RedisAddress(url: url)
            return nil
        } catch {
            return error.description
        }
    }

    @Test("All parts of a URL are taken")
    func whole() throws {
        let address = try RedisAddress(url: "rediss://ann:p%40ss%3A@cache.example:6380/3")
        #expect(address.isSecure)
        #expect(address.host == "cache.example")
        #expect(address.port == 6_380)
        #expect(address.user == "ann")
        #expect(address.password == RedisPassword("p@ss:"))
        #expect(address.database == 3)
        #expect(address.description == "rediss://cache.example:6380/3")
    }

    @Test("What is left out is usual")
    func least() throws {
        let address = try RedisAddress(url: "redis://localhost")
        #expect(try address == RedisAddress(host: "localhost"))
        #expect(!address.isSecure)
        #expect(address.port == 6_379)
        #expect(address.user == nil && address.password == nil)
        #expect(address.database == 0)
        #expect(try RedisAddress(url: "redis://localhost/") == address)
        #expect(try RedisAddress(url: "redis://:secret@h").user == nil)
    }

    @Test("An IPv6 address stands in brackets")
    func version6() throws {
        let address = try RedisAddress(url: "redis://[::1]:7000")
        #expect(address.host == "::1")
        #expect(address.port == 7_000)
        #expect(address.description == "redis://[::1]:7000/0")
        #expect(try RedisAddress(url: "redis://[::1]").port == 6_379)
    }

    @Test("A colon in the password need not be encoded, an @ may stand too")
    func colons() throws {
        #expect(try RedisAddress(url: "redis://:a:b@h").password == RedisPassword("a:b"))
        #expect(try RedisAddress(url: "redis://:a@b@h").password == RedisPassword("a@b"))
    }

    @Test(
        "Ports from 1 to 65535",
        arguments: [
            ("0", false), ("1", true), ("65535", true), ("65536", false), ("x", false),
            ("-1", false),
        ])
    func ports(text: String, isGood: Bool) {
        #expect((Self.problem("redis://h:\(text)") == nil) == isGood)
        #expect(((try? RedisAddress(host: "h", port: text)) != nil) == isGood)
    }

    @Test(
        "Other texts are refused with a reason, which never has the password",
        arguments: [
            "", "localhost", "http://h", "redis:/h", "redis://", "redis://:6379", "redis://a b",
            "redis://hunter2@h", "redis://u:@h", "redis://u:hunter2%@h", "redis://u:hunter2%zz@h",
            "redis://u:hunter2%FF@h", "redis://u:hunter2?@h", "redis://u:hunter2#@h",
            "redis://[::1",
            "redis://[::1]x", "redis://::1", "redis://h/x", "redis://h/1/2", "redis://h/65536",
            "redis://u:hunter2/@h", "redis://h\n", "redis://h\u{0}",
        ])
    func refused(url: String) throws {
        let problem = try #require(Self.problem(url), "\(url) was taken")
        #expect(!problem.isEmpty)
        #expect(!problem.contains("hunter2"))
    }

    @Test("Nothing that is printed has the password")
    func hidden() throws {
        let address = try RedisAddress(url: "redis://u:hunter2@h")
        var dumped = ""
        dump(address, to: &dumped)
        for text in ["\(address)", String(reflecting: address), dumped] {
            #expect(!text.contains("hunter2"))
        }
    }
}
