/// FNV-1a over the bytes of a name: the same on every run, every shard and every instance, so that
/// the home shard of a chat can be computed anywhere. Not for hostile hash tables (the standard
/// library's seeded hash serves there): a client that crafts colliding ids only loads one shard.
public func stableHash(_ text: String) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in text.utf8 {
        hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3
    }
    // FNV's low bits are weak for short names; fold the high half in.
    return hash ^ (hash >> 32)
}
