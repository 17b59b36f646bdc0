//! Regular expressions with RE2's meaning (Envoy's `safe_regex`), over linear-time automata.
//!
//! The two syntaxes look alike and differ where it matters: `\d` is ASCII, `[a&&b]` is three characters, `a{,2}` is
//! text. So the pattern is read here by RE2's rules, and only the automata are those of `regex-automata`. Both text and
//! pattern are Latin-1, byte by byte (Envoy since 1.40, CVE-2026-73552): no byte of a header escapes `.` or `[^x]`.

mod class;
mod parse;
mod set;

pub(crate) use set::RegexSet;

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use regex_automata::{Input, meta, nfa::thompson::WhichCaptures};
use regex_syntax::hir::{Dot, Hir, Look, Repetition};
use rustc_hash::FxHashMap;

/// Largest automaton of one expression, in bytes. Envoy has no limit by default, RE2 refuses above about 8 MiB of its
/// own instructions; both are far beyond any sensible pattern.
const SIZE_LIMIT: usize = 10 << 20;
/// Most memory of one expression's lazily built states, in bytes.
const CACHE_CAPACITY: usize = 256 << 10;
/// Most expressions of which a [`Scratch`] keeps the working memory.
const MAX_CACHES: usize = 256;

/// A compiled expression. Cloning is one reference count.
#[derive(Clone)]
pub struct Regex(Arc<Compiled>);

/// By pattern.
impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.0.pattern == other.0.pattern
    }
}

struct Compiled {
    pattern: Box<str>,
    id: u64,
    hir: Hir,
    full_match: meta::Regex,
    /// Only for expressions that rewrite.
    search: OnceLock<Option<meta::Regex>>,
}

/// Why a pattern is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("regex {pattern:?}: {reason}")]
pub struct InvalidRegex {
    pattern: String,
    reason: String,
}

/// Working memory of matching: one per thread or service, so that no pool with a lock is needed.
#[derive(Default)]
pub struct Scratch {
    lower_case: String,
    caches: FxHashMap<u64, meta::Cache>,
    sets: FxHashMap<u64, set::SetCache>,
}

impl Scratch {
    /// The text in lower case (ASCII); allocates only until the buffer is large enough.
    pub(crate) fn lower_case(&mut self, text: &str) -> &str {
        self.lower_case.clear();
        self.lower_case.push_str(text);
        self.lower_case.make_ascii_lowercase();
        &self.lower_case
    }
}

/// An expression's memory; made on first use. When there is too much, which may belong to configurations long gone, all
/// is dropped.
fn entry<T>(memory: &mut FxHashMap<u64, T>, id: u64, make: impl FnOnce() -> T) -> &mut T {
    if memory.len() >= MAX_CACHES && !memory.contains_key(&id) {
        memory.clear();
    }
    memory.entry(id).or_insert_with(make)
}

/// Never reused, so that a cache is never taken for another expression's.
fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The expression, anchored at both ends.
fn whole(hir: &Hir) -> Hir {
    Hir::concat(vec![
        Hir::look(Look::Start),
        hir.clone(),
        Hir::look(Look::End),
    ])
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scratch")
            .field("caches", &self.caches.len())
            .finish_non_exhaustive()
    }
}

impl Regex {
    /// Compiles a pattern as RE2 reads it.
    ///
    /// # Errors
    /// What RE2 refuses is refused, with the reason; also groups that nest deeper than 250, and automata over 10 MiB.
    pub fn new(pattern: &str) -> Result<Self, InvalidRegex> {
        Self::compiled(pattern, |hir| hir)
    }

    /// The same for an expression that may match anywhere: the whole text [matches](Self::is_full_match) if a part does.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn anywhere(pattern: &str) -> Result<Self, InvalidRegex> {
        let anything = || {
            Hir::repetition(Repetition {
                min: 0,
                max: None,
                greedy: true,
                sub: Box::new(Hir::dot(Dot::AnyByte)),
            })
        };
        Self::compiled(pattern, |hir| {
            Hir::concat(vec![anything(), hir, anything()])
        })
    }

    fn compiled(pattern: &str, around: impl FnOnce(Hir) -> Hir) -> Result<Self, InvalidRegex> {
        let invalid = |reason| InvalidRegex {
            pattern: pattern.to_owned(),
            reason,
        };
        let hir = around(parse::parse(pattern).map_err(invalid)?);
        let full_match = compile(&whole(&hir), WhichCaptures::Implicit).map_err(invalid)?;
        Ok(Self(Arc::new(Compiled {
            pattern: pattern.into(),
            id: next_id(),
            hir,
            full_match,
            search: OnceLock::new(),
        })))
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0.pattern
    }

    /// Whether the whole text matches. Allocates only at the first use of the expression with this scratch.
    pub fn is_full_match(&self, text: &[u8], scratch: &mut Scratch) -> bool {
        let input = Input::new(text).earliest(true);
        let automaton = &self.0.full_match;
        let cache = entry(&mut scratch.caches, self.0.id, || automaton.create_cache());
        automaton.search_half_with(cache, &input).is_some()
    }

    /// Compiles what [`Self::replace_all`] needs, which otherwise its first call does.
    pub(crate) fn prepare_replace(&self) {
        let _ = self.search();
    }

    fn search(&self) -> Option<&meta::Regex> {
        // What compiled with anchors compiles without; captures may exceed the size limit.
        self.0
            .search
            .get_or_init(|| compile(&self.0.hir, WhichCaptures::All).ok())
            .as_ref()
    }

    /// RE2 `GlobalReplace`: every match replaced by `substitution`, in which `\1` is a group and `\0` the match, `\\` a
    /// backslash. As in RE2, a substitution that names a group which the expression lacks changes nothing, and any
    /// other `\` ends the substitution. Allocates; the memory of the search comes from the expression's own pool. A
    /// character that the expression cuts in two is replaced by U+FFFD.
    pub fn replace_all(&self, text: &str, substitution: &str) -> String {
        String::from_utf8(self.replace_all_bytes(text.as_bytes(), substitution))
            .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
    }

    /// The same for text that need not be UTF-8.
    pub(crate) fn replace_all_bytes(&self, text: &[u8], substitution: &str) -> Vec<u8> {
        let Some(search) = self.search().filter(|search| {
            highest_group(substitution).is_none_or(|group| group < search.captures_len())
        }) else {
            return text.to_owned();
        };
        let mut replaced = Vec::with_capacity(text.len());
        let mut end = 0;
        for captures in search.captures_iter(text) {
            let Some(whole) = captures.get_match() else {
                continue;
            };
            replaced.extend_from_slice(&text[end..whole.start()]);
            end = whole.end();
            append_substitution(&mut replaced, substitution, |group| {
                let span = captures.get_group(group)?;
                text.get(span.start..span.end)
            });
        }
        replaced.extend_from_slice(&text[end..]);
        replaced
    }
}

impl std::fmt::Debug for Regex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Regex({:?})", self.as_str())
    }
}

fn compile(hir: &Hir, captures: WhichCaptures) -> Result<meta::Regex, String> {
    let config = meta::Config::new()
        .which_captures(captures)
        .utf8_empty(false)
        .nfa_size_limit(Some(SIZE_LIMIT))
        .hybrid_cache_capacity(CACHE_CAPACITY);
    meta::Builder::new()
        .configure(config)
        .build_from_hir(hir)
        .map_err(|_| format!("pattern too large: its automaton exceeds {SIZE_LIMIT} bytes"))
}

fn highest_group(substitution: &str) -> Option<usize> {
    let mut bytes = substitution.bytes();
    let mut highest = None;
    while let Some(b) = bytes.next() {
        if b == b'\\'
            && let Some(digit) = bytes.next().filter(u8::is_ascii_digit)
        {
            highest = highest.max(Some(usize::from(digit - b'0')));
        }
    }
    highest
}

fn append_substitution<'t>(
    out: &mut Vec<u8>,
    substitution: &str,
    group: impl Fn(usize) -> Option<&'t [u8]>,
) {
    let mut bytes = substitution.bytes();
    while let Some(b) = bytes.next() {
        if b != b'\\' {
            out.push(b);
            continue;
        }
        match bytes.next() {
            Some(digit @ b'0'..=b'9') => {
                out.extend_from_slice(group(usize::from(digit - b'0')).unwrap_or_default());
            }
            Some(b'\\') => out.push(b'\\'),
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests;
