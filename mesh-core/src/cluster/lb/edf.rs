//! Earliest deadline first: weighted picking that spreads picks evenly (Envoy `source/common/upstream/edf_scheduler.h`).

use std::{cmp::Ordering, collections::BinaryHeap};

/// More picks than this are not simulated at the start, as in Envoy.
const MAX_INITIAL_PICKS: u32 = 429_496_729;

/// A schedule of entries `0..n`. Each pick takes the entry with the earliest deadline, first in first out among
/// equals, and puts it back one weighted turn later.
#[derive(Debug, Default)]
pub(crate) struct Edf {
    now: f64,
    next_order: u64,
    heap: BinaryHeap<Turn>,
}

#[derive(Clone, Copy, Debug)]
struct Turn {
    deadline: f64,
    order: u64,
    entry: u32,
}

impl Edf {
    /// A schedule as if `picks` had been made before, so that workers do not start in step. `weight` gives the
    /// weight of an entry now; entries whose weight is not positive are left out.
    pub(crate) fn with_picks(entries: u32, weight: impl Fn(u32) -> f64, picks: u32) -> Self {
        let weighted: Vec<(u32, f64)> = (0..entries)
            .map(|entry| (entry, weight(entry)))
            .filter(|(_, weight)| *weight > 0.0)
            .collect();
        let sum: f64 = weighted.iter().map(|(_, weight)| weight).sum();
        let mut edf = Self {
            now: 0.0,
            next_order: 0,
            heap: BinaryHeap::with_capacity(weighted.len()),
        };
        if weighted.is_empty() {
            return edf;
        }
        let picks = picks % MAX_INITIAL_PICKS;
        let per_weight = f64::from(picks) / sum;
        let mut made = 0;
        for (entry, weight) in weighted {
            let mut own = (weight * per_weight) as u32;
            // The product may have been rounded up to a pick that is not due yet.
            if own > 0 && f64::from(own) / weight >= per_weight {
                own -= 1;
            }
            made += own;
            edf.now = edf.now.max(f64::from(own) / weight);
            edf.put(entry, (f64::from(own) + 1.0) / weight);
        }
        for _ in made..picks {
            edf.pick(&weight);
        }
        edf
    }

    /// The next entry; None: there are none. Logarithmic, allocates nothing.
    pub(crate) fn pick(&mut self, weight: impl Fn(u32) -> f64) -> Option<u32> {
        let mut top = self.heap.peek_mut()?;
        let entry = top.entry;
        self.now = top.deadline;
        // An entry whose weight fell to zero since comes last rather than never, so that the schedule stays whole.
        top.deadline = self.now + 1.0 / weight(entry).max(f64::MIN_POSITIVE);
        top.order = self.next_order;
        self.next_order += 1;
        Some(entry)
    }

    fn put(&mut self, entry: u32, deadline: f64) {
        self.heap.push(Turn {
            deadline,
            order: self.next_order,
            entry,
        });
        self.next_order += 1;
    }
}

/// Greatest first in a [`BinaryHeap`]: the earliest deadline, then the lowest order.
impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        // Deadlines are positive, so their bits are in the same order.
        let key = |turn: &Self| (turn.deadline.to_bits(), turn.order);
        key(other).cmp(&key(self))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Turn {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Turn {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn picks(weights: &[u32], seed: u32, count: usize) -> Vec<u32> {
        let weight = |entry: u32| f64::from(weights[entry as usize]);
        let mut edf = Edf::with_picks(weights.len() as u32, weight, seed);
        (0..count).filter_map(|_| edf.pick(weight)).collect()
    }

    #[test]
    fn nothing_to_pick_from() {
        assert_eq!(Edf::with_picks(0, |_| 1.0, 7).pick(|_| 1.0), None);
        assert_eq!(Edf::with_picks(3, |_| 0.0, 7).pick(|_| 0.0), None);
    }

    #[test]
    fn three_to_one_within_every_four_picks() {
        for four in picks(&[3, 1], 0, 400).chunks(4) {
            assert_eq!(four.iter().filter(|p| **p == 0).count(), 3, "{four:?}");
        }
    }

    /// Thirds are not exact in binary, so of two deadlines that should be equal either may come first, here as in
    /// Envoy: a window may be off by one turn, the sum never by more.
    #[test]
    fn three_to_one_from_any_start() {
        for seed in (0..64).chain([429_496_728, u32::MAX]) {
            let picks = picks(&[3, 1], seed, 400);
            for four in picks.chunks(4) {
                let first = four.iter().filter(|p| **p == 0).count();
                assert!((2..=4).contains(&first), "seed {seed}: {four:?}");
            }
            let first = picks.iter().filter(|p| **p == 0).count();
            assert!((299..=301).contains(&first), "seed {seed}: {first}");
        }
    }

    #[test]
    fn equal_weights_take_turns_in_order() {
        assert_eq!(picks(&[5, 5, 5], 0, 7), [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(picks(&[5, 5, 5], 4, 4), [1, 2, 0, 1]);
    }

    #[test]
    fn an_entry_of_no_weight_is_never_picked() {
        assert!(picks(&[2, 0, 1], 11, 300).iter().all(|p| *p != 1));
    }

    #[test]
    fn weights_are_read_at_every_pick() {
        let mut edf = Edf::with_picks(2, |_| 1.0, 0);
        edf.pick(|_| 1.0);
        edf.pick(|_| 1.0);
        let late = (0..30)
            .filter_map(|_| edf.pick(|entry| if entry == 0 { 9.0 } else { 1.0 }))
            .filter(|entry| *entry == 0)
            .count();
        assert!(late >= 24, "{late}");
    }

    proptest! {
        /// Over any run of consecutive picks each entry is within two turns of its share.
        #[test]
        fn every_entry_gets_its_share(
            weights in prop::collection::vec(1u32..50, 1..12),
            seed in any::<u32>(),
            rounds in 1usize..5,
        ) {
            let total: u32 = weights.iter().sum();
            let count = total as usize * rounds;
            let picks = picks(&weights, seed, count);
            prop_assert_eq!(picks.len(), count);
            for (entry, weight) in weights.iter().enumerate() {
                let got = picks.iter().filter(|p| **p as usize == entry).count() as f64;
                let due = f64::from(*weight) * rounds as f64;
                prop_assert!((got - due).abs() <= 2.0, "entry {} of {:?}: {} picks, {} due", entry, weights, got, due);
            }
        }
    }
}
