import Gateway
import Simulation
import Testing

/// A short run for the inner loop; `Scripts/simulate` runs the thousand seeds in release.
@Suite struct SimulationTests {
    @Test("Seeds hold every promise", arguments: 1...24)
    func clean(seed: Int) {
        let result = World.run(seed: UInt64(seed))
        #expect(result.violations == [], "replay with MARTLET_SEED=\(seed) Scripts/simulate")
        #expect(result.acked > 0)
        #expect(result.deliveries > result.acked)
    }

    @Test("A seed replays exactly")
    func replay() {
        let first = World.run(seed: 7, keepsTrace: true)
        let second = World.run(seed: 7, keepsTrace: true)
        #expect(first.trace == second.trace)
        #expect(first.trace.count > 100)
    }

    @Test("Each planted bug is found", arguments: PlantedBug.allCases)
    func planted(bug: PlantedBug) {
        let found = (1...100).contains { seed in
            !World.run(seed: UInt64(seed), planted: [bug]).violations.isEmpty
        }
        #expect(found)
    }
}
