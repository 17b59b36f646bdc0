//! The hash functions of Envoy's consistent hashing (`source/common/common/hash.{h,cc}`).

use xxhash_rust::xxh64::xxh64;

/// xxHash64.
pub(crate) fn xx_hash(text: &[u8], seed: u64) -> u64 {
    xxh64(text, seed)
}

/// MurmurHash2 of 64 bits with the seed of libstdc++'s `std::hash<string>`.
pub(crate) fn murmur_hash_2(text: &[u8]) -> u64 {
    const SEED: u64 = 0xc70f_6907;
    const MULTIPLIER: u64 = 0xc6a4_a793_5bd1_e995;
    let mix = |value: u64| value ^ (value >> 47);
    let mut hash = SEED ^ (text.len() as u64).wrapping_mul(MULTIPLIER);
    let (words, rest) = text.as_chunks::<8>();
    for word in words {
        let word = u64::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        hash = (hash ^ mix(word).wrapping_mul(MULTIPLIER)).wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let last = rest
            .iter()
            .rev()
            .fold(0, |word, byte| word << 8 | u64::from(*byte));
        hash = (hash ^ last).wrapping_mul(MULTIPLIER);
    }
    mix(mix(hash).wrapping_mul(MULTIPLIER))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of Envoy's own `hash_test.cc`.
    #[test]
    fn hashes_are_envoys() {
        let cases: [(&str, u64); 5] = [
            ("foo", 3_728_699_739_546_630_719),
            ("bar", 5_234_164_152_756_840_025),
            ("foo\nbar", 8_917_841_378_505_826_757),
            ("lyft", 4_400_747_396_090_729_504),
            ("", 17_241_709_254_077_376_921),
        ];
        for (text, expected) in cases {
            assert_eq!(xx_hash(text.as_bytes(), 0), expected, "{text:?}");
        }
        let chained = xx_hash(b"bar", xx_hash(b"foo", 0));
        assert_eq!(chained, 17_745_830_980_996_999_794);
        let cases: [(&str, u64); 6] = [
            ("foo", 9_631_199_822_919_835_226),
            ("bar", 11_474_628_671_133_349_555),
            ("foo\nbar", 16_306_510_975_912_980_159),
            ("lyft", 12_847_078_931_730_529_320),
            ("", 6_142_509_188_972_423_790),
            ("longer than seven chars", 15_194_079_855_121_201_171),
        ];
        for (text, expected) in cases {
            assert_eq!(murmur_hash_2(text.as_bytes()), expected, "{text:?}");
        }
    }
}
