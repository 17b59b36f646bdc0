//! Slots of clusters: where compiled routes find a cluster without its name.

use std::{cell::RefCell, sync::Arc};

use rustc_hash::FxHashMap;

use super::ClusterIndex;
use crate::route::ClusterSlots;

/// Slots by name.
pub(super) type Slots = FxHashMap<Arc<str>, ClusterIndex>;

/// Gives names their slots while a snapshot is built. A name that is still used keeps the slot that it had, so that
/// compiled tables can be shared between snapshots; a slot is free again when no table, listener or cluster names it.
pub(super) struct Allocation(RefCell<State>);

struct State {
    before: Arc<Slots>,
    now: Slots,
    free: Vec<u32>,
    end: u32,
    /// Names asked for since [`Allocation::take_names`].
    names: Vec<Arc<str>>,
}

impl Allocation {
    /// Goes on from the slots of the snapshot before, which had `end` places.
    pub(super) fn after(before: &Arc<Slots>, end: usize) -> Self {
        let end = u32::try_from(end).unwrap_or(u32::MAX);
        let mut used: Vec<u32> = before.values().map(|slot| slot.0).collect();
        used.sort_unstable();
        let free = (0..end)
            .rev()
            .filter(|slot| used.binary_search(slot).is_err())
            .collect();
        Self(RefCell::new(State {
            before: Arc::clone(before),
            now: Slots::default(),
            free,
            end,
            names: Vec::new(),
        }))
    }

    /// The names that were asked for since the last call, each once.
    pub(super) fn take_names(&self) -> Arc<[Arc<str>]> {
        let mut names = std::mem::take(&mut self.0.borrow_mut().names);
        names.sort_unstable();
        names.dedup();
        names.into()
    }

    /// The slots in use, and how many places they need.
    pub(super) fn finish(self) -> (Slots, usize) {
        let state = self.0.into_inner();
        (state.now, state.end as usize)
    }
}

impl ClusterSlots for Allocation {
    fn slot(&self, name: &Arc<str>) -> ClusterIndex {
        let mut state = self.0.borrow_mut();
        state.names.push(Arc::clone(name));
        if let Some(slot) = state.now.get(name) {
            return *slot;
        }
        let slot = match state.before.get(name) {
            Some(slot) => *slot,
            None => ClusterIndex(state.free.pop().unwrap_or_else(|| {
                state.end += 1;
                state.end - 1
            })),
        };
        state.now.insert(Arc::clone(name), slot);
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_slot_and_a_forgotten_one_is_used_again_later() {
        let name = |text: &str| Arc::<str>::from(text);
        let first = Allocation::after(&Arc::default(), 0);
        let [a, b] = ["a", "b"].map(|n| first.slot(&name(n)));
        assert_eq!(first.slot(&name("a")), a);
        assert_eq!(*first.take_names(), [name("a"), name("b")]);
        assert!(first.take_names().is_empty());
        let (slots, end) = first.finish();

        let second = Allocation::after(&Arc::new(slots), end);
        assert_eq!(second.slot(&name("b")), b);
        let c = second.slot(&name("c"));
        assert!(c != a && c != b, "a is forgotten only after this build");
        let (slots, end) = second.finish();
        assert_eq!(slots.len(), 2);

        let third = Allocation::after(&Arc::new(slots), end);
        assert_eq!(third.slot(&name("d")), a);
        assert_eq!(third.slot(&name("c")), c);
        assert_eq!(third.finish().1, 3);
    }
}
