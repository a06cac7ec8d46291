import Basics
import Testing

@Suite("Limits")
struct LimitsTests {
    @Test(
        "Every limit takes both ends of its range and nothing beyond them",
        arguments: Limits.catalogue.indices)
    func ranges(index: Int) {
        let entry = Limits.catalogue[index]
        for (value, isTaken) in [
            (entry.range.lowerBound, true), (entry.range.lowerBound - 1, false),
            (entry.range.upperBound, true), (entry.range.upperBound + 1, false),
        ] {
            var limits = Limits()
            let complaint = limits.set(entry.name, to: "\(value)")
            #expect((complaint == nil) == isTaken, "\(entry.name) = \(value)")
            if isTaken {
                #expect(limits[keyPath: entry.field] == value)
            } else {
                #expect(limits == Limits(), "a refused value changes nothing")
                #expect(complaint?.contains(entry.name) == true)
                #expect(complaint?.contains("\(entry.range.upperBound)") == true)
            }
        }
    }

    @Test(
        "Off is taken where the table says so, and only there", arguments: Limits.catalogue.indices)
    func off(index: Int) {
        let entry = Limits.catalogue[index]
        var limits = Limits()
        let complaint = limits.set(entry.name, to: "off")
        #expect((complaint == nil) == entry.canBeOff)
        if entry.canBeOff {
            #expect(limits[keyPath: entry.field] == Limits.off)
            #expect(limits.set(entry.name, to: "\(entry.range.lowerBound)") == nil)
            #expect(limits[keyPath: entry.field] == entry.range.lowerBound)
        } else {
            #expect(limits == Limits())
        }
    }

    @Test(
        "What is no whole number is refused",
        arguments: [
            "", " ", "1.5", "1e3", "0x10", "one", "OFF", "100 000", "99999999999999999999", "-",
        ])
    func noNumber(text: String) {
        for entry in Limits.catalogue {
            var limits = Limits()
            #expect(limits.set(entry.name, to: text) != nil)
            #expect(limits == Limits())
        }
    }

    @Test("An unknown name is refused by name")
    func unknownName() {
        var limits = Limits()
        #expect(limits.set("nothing", to: "1")?.contains("'nothing'") == true)
        #expect(limits.set("", to: "1") != nil)
        #expect(limits.set("Frame", to: "1000") != nil)
        #expect(limits == Limits())
    }

    @Test(
        "Every default lies within its own range, and each limit has a name of its own and a reason"
    )
    func catalogue() {
        let limits = Limits()
        var names: Set<String> = []
        var fields: [AnyKeyPath] = []
        for entry in Limits.catalogue {
            #expect(entry.range.contains(limits[keyPath: entry.field]), "\(entry.name)")
            #expect(names.insert(entry.name).inserted)
            #expect(!fields.contains(entry.field), "\(entry.name) sets another's field")
            fields.append(entry.field)
            #expect(!entry.reason.isEmpty && !entry.unit.isEmpty)
        }
        #expect(
            Mirror(reflecting: limits).children.count == names.count, "a limit is not in the table")
    }

    @Test(
        "The defaults of the contract",
        arguments: [
            ("requestHead", 16_384), ("requestHeaders", 64), ("requestHeadTimeout", 10_000),
            ("http", 120), ("frame", 1_000_000), ("message", 1_000_000), ("messageFragments", 64),
            ("messageTimeout", 30_000), ("authTimeout", 5_000), ("pingInterval", 25_000),
            ("pongTimeout", 20_000), ("jsonDepth", 32), ("outbox", 1_000_000), ("connects", 10),
            ("socketsPerUser", 20), ("sends", 20), ("sendBurst", 60), ("joins", 50), ("typing", 5),
            ("strikes", 10), ("badInputs", 10), ("ciphertext", 256_000), ("typingMembers", 200),
            ("batch", 512), ("batchBytes", 4_000_000), ("holdBack", 200), ("cursorCoalesce", 250),
            ("unknownCommit", 10_000),
        ])
    func defaults(name: String, value: Int) {
        let entry = Limits.catalogue.first { $0.name == name }
        #expect(entry.map { Limits()[keyPath: $0.field] } == value)
    }
}

@Suite("StableHash, Instant, Counters")
struct SmallBasicsTests {
    @Test(
        "The hash is the same on every run and machine",
        arguments: [
            ("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c),
            ("foobar", 0x8594_4171_f739_67e8),
        ] as [(String, UInt64)])
    func fnv(text: String, fnv: UInt64) {
        #expect(stableHash(text) == fnv ^ (fnv >> 32))
    }

    @Test(
        "Names as clients make them spread evenly over any number of shards",
        arguments: [
            2, 3, 4, 7, 8, 16, 32,
        ])
    func spread(shards: Int) {
        var generator = IdentifierGenerator(random: SplitMix64(seed: 4))
        let families: [(Int) -> String] = [
            { "conv-\($0)" }, { "c\($0)" }, { "room:\($0 * 7)" }, { String($0) },
        ]
        let uuids = (0..<4_000).map { generator.next(at: WallTime(milliseconds: Int64($0))).text }
        for names in families.map({ name in (0..<4_000).map(name) }) + [uuids] {
            var counts = [Int](repeating: 0, count: shards)
            for name in names { counts[Int(stableHash(name) % UInt64(shards))] += 1 }
            let fair = 4_000 / shards
            #expect(counts.allSatisfy { $0 > fair / 2 && $0 < fair * 2 }, "\(names[1]): \(counts)")
        }
    }

    @Test("Time since a later instant is none")
    func instants() {
        let early = Instant(nanoseconds: 5_000_000)
        let late = early.advanced(byMilliseconds: 3)
        #expect(late.milliseconds(since: early) == 3 && early.milliseconds(since: late) == 0)
        #expect(late.nanoseconds(since: early) == 3_000_000 && early < late)
        #expect(early.advanced(byMilliseconds: -7) == early)
        #expect(Instant(nanoseconds: 1_999_999).milliseconds == 1)
    }

    @Test("A shard's counters are read by others once published, not before")
    func counters() {
        let counters = Counters()
        let published = PublishedCounters()
        for (index, counter) in Counter.allCases.enumerated() { counters[counter] = index + 1 }
        #expect(Counter.allCases.allSatisfy { published[$0] == 0 })
        published.publish(counters)
        for (index, counter) in Counter.allCases.enumerated() {
            #expect(published[counter] == index + 1)
        }
    }

    @Test("Each counter has a series of its own, named as Prometheus asks")
    func names() {
        let names = Counter.allCases.map(\.name)
        #expect(Set(names).count == names.count)
        for counter in Counter.allCases {
            #expect(counter.name.utf8.allSatisfy { $0 == 0x5F || (0x61...0x7A).contains($0) })
            #expect(counter.isGauge != counter.name.hasSuffix("_total"))
            #expect(!counter.help.isEmpty && !counter.help.contains("\n"))
        }
    }
}
