//! Chance: one generator per thread.

use std::{
    cell::Cell,
    hash::{BuildHasher, Hasher, RandomState},
};

use mesh_core::Entropy;

/// The thread's generator (SplitMix64, seeded by the operating system through `RandomState`). Not for secrets.
#[derive(Debug)]
pub struct ThreadEntropy;

impl Entropy for ThreadEntropy {
    fn next_u64(&mut self) -> u64 {
        thread_local! {
            static STATE: Cell<u64> = Cell::new(RandomState::new().build_hasher().finish());
        }
        STATE.with(|state| {
            let next = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
            state.set(next);
            let mut z = next;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        })
    }
}

/// Which shard of pickers with state this thread uses: threads are numbered as they come.
pub(crate) fn shard() -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SHARD: usize = NEXT.fetch_add(1, Relaxed);
    }
    SHARD.with(|shard| *shard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_spread() {
        let ones: u32 = (0..1000)
            .map(|_| ThreadEntropy.next_u64().count_ones())
            .sum();
        // 64,000 fair bits: mean 32,000, standard deviation 126; this is ten of them.
        assert!((30_740..33_260).contains(&ones), "{ones}");
    }

    #[test]
    fn each_thread_has_its_shard() {
        let here = shard();
        assert_eq!(shard(), here);
        let there = std::thread::spawn(shard).join().expect("joined");
        assert_ne!(here, there);
    }
}
