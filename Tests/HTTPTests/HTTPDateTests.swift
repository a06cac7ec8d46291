import HTTP
import Testing

@Suite struct HTTPDateTests {
    @Test(
        "Dates are written as RFC 9110 §5.6.7 says",
        arguments: [
            (784_111_777_000, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (-5, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_400_000, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_164_799_999, "Wed, 28 Feb 2024 23:59:59 GMT"),
            (1_709_251_200_000, "Fri, 01 Mar 2024 00:00:00 GMT"),
            (4_107_542_400_000, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (253_402_300_799_999, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (Int64.max, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ])
    func text(milliseconds: Int64, expected: String) {
        #expect(HTTPDate.text(milliseconds: milliseconds) == expected)
    }
}
