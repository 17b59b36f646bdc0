//! Many expressions in one automaton, so that a look-up does not grow with their number.

use regex_automata::{
    Anchored, Input, MatchKind,
    hybrid::{
        LazyStateID,
        dfa::{Cache, DFA},
    },
    nfa::thompson::{self, WhichCaptures},
};

use super::{Regex, Scratch, next_id, whole};

/// Largest automaton of a set, in bytes.
const SIZE_LIMIT: usize = 64 << 20;
/// Most memory of a set's lazily built states, in bytes; more only where a single state needs it.
const CACHE_CAPACITY: usize = 4 << 20;

/// Expressions that are matched together.
#[derive(Debug)]
pub(crate) struct RegexSet {
    id: u64,
    automaton: Box<DFA>,
}

/// Working memory of one set.
pub(super) type SetCache = Cache;

/// Which expressions matched: a state of the automaton. Good until the set is asked again with the same scratch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SetMatches {
    state: LazyStateID,
    length: usize,
}

impl RegexSet {
    /// Compiles the expressions together; None: the automaton would be too large.
    pub(crate) fn new<'r>(expressions: impl Iterator<Item = &'r Regex>) -> Option<Self> {
        let expressions: Vec<_> = expressions.map(|e| whole(&e.0.hir)).collect();
        let config = thompson::Config::new()
            .which_captures(WhichCaptures::None)
            .utf8(false)
            .nfa_size_limit(Some(SIZE_LIMIT));
        let nfa = thompson::Compiler::new()
            .configure(config)
            .build_many_from_hir(&expressions)
            .ok()?;
        let config = DFA::config()
            .match_kind(MatchKind::All)
            .cache_capacity(CACHE_CAPACITY)
            .skip_cache_capacity_check(true);
        let automaton = DFA::builder().configure(config).build_from_nfa(nfa).ok()?;
        Some(Self {
            id: next_id(),
            automaton: Box::new(automaton),
        })
    }

    /// The expressions of which the whole text is a match. Allocates only for states of the automaton that nobody with
    /// this scratch has been in yet.
    pub(crate) fn full_matches(&self, text: &[u8], scratch: &mut Scratch) -> Option<SetMatches> {
        let automaton = &self.automaton;
        let cache = super::entry(&mut scratch.sets, self.id, || automaton.create_cache());
        let input = Input::new(text).anchored(Anchored::Yes);
        let mut state = automaton.start_state_forward(cache, &input).ok()?;
        for byte in text {
            // Memory that is full is cleared, without end: this cannot fail.
            state = automaton.next_state(cache, state, *byte).ok()?;
            if state.is_dead() {
                return None;
            }
        }
        // All expressions end with the text: nothing has matched before.
        let state = automaton.next_eoi_state(cache, state).ok()?;
        let length = match state.is_match() {
            true => automaton.match_len(cache, state),
            false => return None,
        };
        Some(SetMatches { state, length })
    }

    /// The places of the expressions that matched, by number, in order.
    pub(crate) fn place(&self, matches: SetMatches, at: usize, scratch: &Scratch) -> Option<usize> {
        let cache = scratch.sets.get(&self.id)?;
        (at < matches.length).then(|| {
            let pattern = self.automaton.match_pattern(cache, matches.state, at);
            pattern.as_usize()
        })
    }
}
