//! A small map that is read and grown by all threads without a lock: response codes that were seen.

use std::{borrow::Borrow, sync::OnceLock};

/// Values by key in a chain that only grows, in the order first seen; for few keys of which the first are the most used.
#[derive(Debug)]
pub(crate) struct Sparse<K, V> {
    head: Link<K, V>,
}

type Link<K, V> = OnceLock<Box<Node<K, V>>>;

#[derive(Debug)]
struct Node<K, V> {
    key: K,
    value: V,
    next: Link<K, V>,
}

impl<K, V> Default for Sparse<K, V> {
    fn default() -> Self {
        Self {
            head: OnceLock::new(),
        }
    }
}

impl<K, V: Default> Sparse<K, V> {
    /// The value of the key, made at its first use (one allocation); None: `limit` other keys are there already.
    pub(crate) fn entry<Q>(&self, key: &Q, limit: usize) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: PartialEq + ToOwned<Owned = K> + ?Sized,
    {
        let mut link = &self.head;
        for _ in 0..limit {
            let node = link.get_or_init(|| {
                Box::new(Node {
                    key: key.to_owned(),
                    value: V::default(),
                    next: OnceLock::new(),
                })
            });
            if node.key.borrow() == key {
                return Some(&node.value);
            }
            link = &node.next;
        }
        None
    }

    /// All entries, in the order first seen.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        std::iter::successors(self.head.get(), |node| node.next.get())
            .map(|node| (&node.key, &node.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Counter;

    #[test]
    fn counts_by_key_up_to_the_limit() {
        let sparse = Sparse::<u16, Counter>::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for key in 0..100 {
                        if let Some(counter) = sparse.entry(&(key % 5), 4) {
                            counter.inc();
                        }
                    }
                });
            }
        });
        let mut entries: Vec<_> = sparse.iter().map(|(k, v)| (*k, v.value())).collect();
        entries.sort_unstable();
        assert_eq!(entries, [(0, 80), (1, 80), (2, 80), (3, 80)]);
        assert!(sparse.entry(&9, 4).is_none());
        assert!(sparse.entry(&3, 4).is_some());
    }
}
