//! Repeatable chance for generators: the seed is printed, a failure can be run again.

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator with this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed from the environment variable `MESH_SEED`, else a fixed one: runs repeat.
    pub fn seed() -> u64 {
        std::env::var("MESH_SEED")
            .ok()
            .and_then(|s| s.parse().ok())
            .unwrap_or(20_261_121)
    }

    /// How many cases a run has: the environment variable `MESH_CASES`, else this many.
    ///
    /// # Panics
    /// If the variable is no number.
    pub fn cases(default: usize) -> usize {
        std::env::var("MESH_CASES").map_or(default, |text| {
            text.parse().expect("MESH_CASES is a number")
        })
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next_u64() % u64::try_from(n.max(1)).unwrap_or(1)).unwrap_or(0)
    }

    /// True in `percent` of cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of these.
    pub fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}
