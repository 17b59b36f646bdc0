//! Routes of one virtual host by path: first match wins, whatever their number.
//!
//! `path`, `prefix` and `path_separated_prefix` share one radix tree over the raw `:path`, query included: none of them
//! can match beyond the first `?` or `#`, so the tree needs no scan for the query. Everything else (regexes, matchers
//! that ignore case, CONNECT) is tried in order, but only while its place is before the best one that was found.

use crate::{
    model::{PathMatcher, Route, RouteMatch},
    regex::Scratch,
};

/// Up to so many routes, trying one after the other is cheaper than any index.
const LINEAR: usize = 4;

/// The index of one virtual host.
#[derive(Debug)]
pub(super) enum PathIndex {
    /// All routes, in order.
    Linear(u32),
    /// A tree, and what does not fit in it.
    Tree { tree: Tree, rest: Box<[u32]> },
}

/// What the index knows of a route that it proposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Candidate {
    /// Its path matches.
    PathMatches,
    /// Its path is to be matched.
    Unknown,
}

impl PathIndex {
    pub(super) fn new<'r>(routes: impl ExactSizeIterator<Item = &'r Route>) -> Self {
        let count = routes.len();
        let routes = (0u32..).zip(routes);
        if count <= LINEAR {
            return Self::Linear(u32::try_from(count).unwrap_or(u32::MAX));
        }
        let mut entries = Vec::new();
        let mut rest = Vec::new();
        for (at, route) in routes {
            let matcher = &route.matcher;
            let (kind, path) = match &matcher.path {
                PathMatcher::Prefix(path) => (Kind::Prefix, path),
                PathMatcher::Path(path) => (Kind::Exact, path),
                PathMatcher::PathSeparatedPrefix(path) => (Kind::Separated, path),
                PathMatcher::Regex(_) | PathMatcher::Connect => {
                    rest.push(at);
                    continue;
                }
            };
            if matcher.case_insensitive {
                rest.push(at);
            } else if !path.contains(ENDS_PATH) {
                entries.push((path.as_bytes(), kind, at));
            }
        }
        Self::Tree {
            tree: Tree::new(entries),
            rest: rest.into(),
        }
    }

    /// The first route, by place, that `holds`.
    pub(super) fn find(
        &self,
        path: &str,
        mut holds: impl FnMut(u32, Candidate) -> bool,
    ) -> Option<u32> {
        match self {
            Self::Linear(count) => (0..*count).find(|at| holds(*at, Candidate::Unknown)),
            Self::Tree { tree, rest } => {
                let mut best = u32::MAX;
                if !path.is_empty() {
                    tree.visit(path.as_bytes(), |routes| {
                        let better = routes.iter().take_while(|at| **at < best);
                        if let Some(at) = better
                            .copied()
                            .find(|at| holds(*at, Candidate::PathMatches))
                        {
                            best = at;
                        }
                    });
                }
                rest.iter()
                    .copied()
                    .take_while(|at| *at < best)
                    .find(|at| holds(*at, Candidate::Unknown))
                    .or((best != u32::MAX).then_some(best))
            }
        }
    }
}

/// What ends the path in a request target.
const ENDS_PATH: [char; 2] = ['?', '#'];

/// Whether the path specifier holds for `:path` (empty: the request has none).
pub(super) fn path_matches(
    matcher: &RouteMatch,
    path: &str,
    is_connect: bool,
    scratch: &mut Scratch,
) -> bool {
    let fold = matcher.case_insensitive;
    let after = |start: &str| {
        let matches = path.len() >= start.len() && {
            let (head, start) = (&path.as_bytes()[..start.len()], start.as_bytes());
            head == start || fold && head.eq_ignore_ascii_case(start)
        };
        (matches && !path.is_empty() && !start.contains(ENDS_PATH))
            .then(|| path.as_bytes().get(start.len()).copied())
    };
    match &matcher.path {
        PathMatcher::Prefix(prefix) => after(prefix).is_some(),
        PathMatcher::Path(exact) => after(exact).is_some_and(|next| Kind::Exact.ends_before(next)),
        PathMatcher::PathSeparatedPrefix(prefix) => {
            after(prefix).is_some_and(|next| Kind::Separated.ends_before(next))
        }
        PathMatcher::Regex(regex) => {
            let path_only = path.split(ENDS_PATH).next().unwrap_or_default();
            !path.is_empty() && regex.is_full_match(path_only.as_bytes(), scratch)
        }
        PathMatcher::Connect => is_connect,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Prefix,
    Exact,
    Separated,
}

impl Kind {
    /// Whether the matched part may be followed by this byte (None: the end).
    fn ends_before(self, next: Option<u8>) -> bool {
        let ends = matches!(next, None | Some(b'?' | b'#'));
        match self {
            Self::Prefix => true,
            Self::Exact => ends,
            Self::Separated => ends || next == Some(b'/'),
        }
    }
}

/// A radix tree from path to the routes that begin with it.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// Bytes between the parent and here.
    label: Box<[u8]>,
    /// Routes whose path ends here, by kind; each list in order.
    prefix: Box<[u32]>,
    exact: Box<[u32]>,
    separated: Box<[u32]>,
    /// The first byte of each child's label.
    keys: Box<[u8]>,
    children: Box<[Tree]>,
}

type Entry<'a> = (&'a [u8], Kind, u32);

impl Tree {
    fn new(mut entries: Vec<Entry<'_>>) -> Self {
        entries.sort_by_key(|(path, _, at)| (*path, *at));
        Self::build(&entries, 0)
    }

    /// `entries`: sorted by path, then place; all share their first `depth` bytes.
    fn build(entries: &[Entry<'_>], depth: usize) -> Self {
        let (Some((first, ..)), Some((last, ..))) = (entries.first(), entries.last()) else {
            return Self::default();
        };
        // Sorted: what the first and the last share, all share.
        let shared = first.iter().zip(*last).take_while(|(a, b)| a == b).count();
        let ends = entries.partition_point(|(path, ..)| path.len() == shared);
        let (here, below) = entries.split_at(ends);
        let of_kind = |kind| -> Box<[u32]> {
            let routes = here.iter().filter(|(_, k, _)| *k == kind);
            routes.map(|(.., at)| *at).collect()
        };
        let groups: Vec<_> = below
            .chunk_by(|(a, ..), (b, ..)| a[shared] == b[shared])
            .collect();
        Self {
            label: first[depth..shared].into(),
            prefix: of_kind(Kind::Prefix),
            exact: of_kind(Kind::Exact),
            separated: of_kind(Kind::Separated),
            keys: groups.iter().map(|group| group[0].0[shared]).collect(),
            children: groups
                .iter()
                .map(|group| Self::build(group, shared))
                .collect(),
        }
    }

    /// Visits the lists of routes whose path specifier holds for `path`, shortest first.
    fn visit(&self, path: &[u8], mut each: impl FnMut(&[u32])) {
        let mut node = self;
        let mut rest = path;
        while let Some(below) = rest.strip_prefix(&*node.label) {
            let next = below.first().copied();
            if !node.prefix.is_empty() {
                each(&node.prefix);
            }
            if !node.separated.is_empty() && Kind::Separated.ends_before(next) {
                each(&node.separated);
            }
            if !node.exact.is_empty() && Kind::Exact.ends_before(next) {
                each(&node.exact);
            }
            let child = next.and_then(|next| node.keys.iter().position(|key| *key == next));
            let Some(child) = child.and_then(|at| node.children.get(at)) else {
                return;
            };
            node = child;
            rest = below;
        }
    }
}
