/// A page of results.
package struct ReportPage {
    private let results: [JSONTree]

    /// Nil where one of them is no result.
    package init?(results: [[UInt8]]) {
        self.results = results.compactMap { JSONTree($0) }
        guard self.results.count == results.count,
            self.results.allSatisfy({ $0["tool"].string == "martlet-load" })
        else { return nil }
    }

    package var html: String { "<!doctype html>" }
}
