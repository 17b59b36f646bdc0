//! Many expressions in one automaton, so that a look-up does not grow with their number.

use regex_automata::{Anchored, Input, MatchKind, PatternSet, meta, nfa::thompson::WhichCaptures};

use super::{Regex, Scratch, next_id, whole};

/// Largest automaton of a set, in bytes.
const SIZE_LIMIT: usize = 64 << 20;
/// Most memory of a set's lazily built states, in bytes.
const CACHE_CAPACITY: usize = 4 << 20;

/// Expressions that are matched together.
#[derive(Debug)]
pub(crate) struct RegexSet {
    id: u64,
    automaton: meta::Regex,
}

/// Working memory of one set.
pub(super) struct SetCache {
    cache: meta::Cache,
    /// None: lent out as [`SetMatches`].
    matches: Option<PatternSet>,
}

/// Which expressions matched; to be given back to the scratch.
pub(crate) struct SetMatches {
    set: u64,
    patterns: PatternSet,
}

impl RegexSet {
    /// Compiles the expressions together; None: the automaton would be too large.
    pub(crate) fn new<'r>(expressions: impl Iterator<Item = &'r Regex>) -> Option<Self> {
        let config = meta::Config::new()
            .match_kind(MatchKind::All)
            .which_captures(WhichCaptures::Implicit)
            .nfa_size_limit(Some(SIZE_LIMIT))
            .hybrid_cache_capacity(CACHE_CAPACITY);
        let expressions: Vec<_> = expressions.map(|e| whole(&e.0.hir)).collect();
        let automaton = meta::Builder::new()
            .configure(config)
            .build_many_from_hir(&expressions)
            .ok()?;
        Some(Self {
            id: next_id(),
            automaton,
        })
    }

    /// The expressions of which the whole text is a match. Allocates only at the first use of the set with this scratch.
    pub(crate) fn full_matches(&self, text: &[u8], scratch: &mut Scratch) -> SetMatches {
        let automaton = &self.automaton;
        let memory = super::entry(&mut scratch.sets, self.id, || SetCache {
            cache: automaton.create_cache(),
            matches: None,
        });
        let mut patterns = memory
            .matches
            .take()
            .unwrap_or_else(|| PatternSet::new(automaton.pattern_len()));
        patterns.clear();
        let input = Input::new(text).anchored(Anchored::Yes);
        automaton.which_overlapping_matches_with(&mut memory.cache, &input, &mut patterns);
        SetMatches {
            set: self.id,
            patterns,
        }
    }
}

impl SetMatches {
    /// Places of the expressions, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        self.patterns.iter().map(|pattern| pattern.as_usize())
    }

    /// Keeps the memory for the next look-up.
    pub(crate) fn give_back(self, scratch: &mut Scratch) {
        if let Some(memory) = scratch.sets.get_mut(&self.set) {
            memory.matches = Some(self.patterns);
        }
    }
}
