//! Routes of one virtual host by path: first match wins, whatever their number.
//!
//! `path`, `prefix` and `path_separated_prefix` share one radix tree over the raw `:path`, query included: none of them
//! can match beyond the first `?` or `#`, so the tree needs no scan for the query. Regexes share one automaton. The rest
//! (matchers that ignore case, CONNECT) is tried in order. Nothing is tried whose place is behind the best one found.
//! Many routes of one path that ask for exact values of one header are found by that value.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};
use rustc_hash::FxHashMap;

use crate::{
    matcher::{HeaderCondition, HeaderMatcher, MatchedHeader, StringMatcher},
    model::{PathMatcher, Route, RouteMatch},
    regex::{RegexSet, Scratch},
};

/// Up to so many routes, trying one after the other is cheaper than any index.
const LINEAR: usize = 4;
/// So many expressions share one automaton.
const REGEXES_PER_SET: usize = 1024;

/// The index of one virtual host.
#[derive(Debug)]
pub(super) struct PathIndex {
    /// None: there are so few routes that all are in `rest`.
    tree: Option<Tree>,
    regexes: Box<[Regexes]>,
    /// What is tried in order.
    rest: Box<[u32]>,
    /// The tree and the expressions see segments up to their first `;`.
    ignores_parameters: bool,
}

/// Regex routes in one automaton.
#[derive(Debug)]
struct Regexes {
    set: RegexSet,
    /// The place of each expression's route.
    routes: Box<[u32]>,
}

/// What the index knows of a route that it proposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Candidate<'p> {
    /// Its path matches.
    PathMatches,
    /// It is to be held against this path.
    Unknown(&'p str),
}

impl PathIndex {
    pub(super) fn new<'r>(
        routes: impl ExactSizeIterator<Item = &'r Route>,
        ignores_parameters: bool,
    ) -> Self {
        let linear = routes.len() <= LINEAR;
        let mut entries = Vec::new();
        let mut regexes = Vec::new();
        let mut rest = Vec::new();
        for (at, route) in (0u32..).zip(routes) {
            let matcher = &route.matcher;
            match &matcher.path {
                PathMatcher::Regex(regex) => {
                    regexes.push((at, regex));
                    continue;
                }
                // Templates see the parameters, so they may not share the automaton with those that do not.
                PathMatcher::Template(template) if !ignores_parameters => {
                    regexes.push((at, template.regex()));
                    continue;
                }
                _ => {}
            }
            match in_tree(&matcher.path) {
                // It never matches.
                Some((path, _)) if path.contains(ENDS_PATH) => {}
                Some((path, kind)) if !linear && !matcher.case_insensitive => {
                    entries.push(Entry {
                        path: path.as_bytes(),
                        kind,
                        at,
                        headers: &matcher.headers,
                    });
                }
                _ => rest.push(at),
            }
        }
        let mut sets = Vec::new();
        for chunk in regexes.chunks(REGEXES_PER_SET) {
            let routes: Box<[u32]> = chunk.iter().map(|(at, _)| *at).collect();
            let set = (chunk.len() > LINEAR)
                .then(|| RegexSet::new(chunk.iter().map(|(_, regex)| *regex)))
                .flatten();
            match set {
                Some(set) => sets.push(Regexes { set, routes }),
                None => rest.extend(routes),
            }
        }
        rest.sort_unstable();
        Self {
            tree: (!linear).then(|| Tree::new(entries)),
            regexes: sets.into(),
            rest: rest.into(),
            ignores_parameters,
        }
    }

    /// The first route, by place, that `holds`.
    #[inline]
    pub(super) fn find(
        &self,
        path: &str,
        headers: &HeaderMap,
        scratch: &mut Scratch,
        mut holds: impl FnMut(u32, Candidate<'_>, &mut Scratch) -> bool,
    ) -> Option<u32> {
        let path = match self.ignores_parameters {
            true => &*without_parameters(path),
            false => path,
        };
        let mut best = u32::MAX;
        if let Some(tree) = &self.tree
            && !path.is_empty()
        {
            tree.visit(path.as_bytes(), |here, next| {
                let mut try_all = |routes: &[(u32, Kind)]| {
                    for (at, kind) in routes {
                        if *at >= best {
                            break;
                        }
                        if kind.ends_before(next) && holds(*at, Candidate::PathMatches, scratch) {
                            best = *at;
                            break;
                        }
                    }
                };
                try_all(&here.routes);
                if let Some(by_header) = &here.by_header {
                    for value in headers.get_all(&by_header.name) {
                        if let Some(routes) = by_header.routes.get(value.as_bytes()) {
                            try_all(routes);
                        }
                    }
                }
            });
        }
        for Regexes { set, routes } in &self.regexes {
            // Sets are in order too: what comes later cannot be better.
            if path.is_empty() || routes.first().is_none_or(|at| *at >= best) {
                break;
            }
            let path = without_query(path).as_bytes();
            let Some(matches) = set.full_matches(path, scratch) else {
                continue;
            };
            for place in 0.. {
                let place = set.place(matches, place, scratch);
                match place.and_then(|place| routes.get(place).copied()) {
                    Some(at) if at < best => {
                        if holds(at, Candidate::PathMatches, scratch) {
                            best = at;
                            break;
                        }
                    }
                    _ => break,
                }
            }
        }
        for at in &self.rest {
            if *at >= best {
                break;
            }
            if holds(*at, Candidate::Unknown(path), scratch) {
                return Some(*at);
            }
        }
        (best != u32::MAX).then_some(best)
    }
}

/// What a path specifier is in the tree; None: it has no place there.
fn in_tree(path: &PathMatcher) -> Option<(&str, Kind)> {
    match path {
        PathMatcher::Prefix(path) => Some((path, Kind::Prefix)),
        PathMatcher::Path(path) => Some((path, Kind::Exact)),
        PathMatcher::PathSeparatedPrefix(path) => Some((path, Kind::Separated)),
        PathMatcher::Regex(_) | PathMatcher::Template(_) | PathMatcher::Connect => None,
    }
}

/// What ends the path in a request target.
const ENDS_PATH: [char; 2] = ['?', '#'];

fn without_query(path: &str) -> &str {
    let end = path.bytes().position(|b| matches!(b, b'?' | b'#'));
    end.map_or(path, |end| &path[..end])
}

/// The path whose segments end at their first `;` (`ignore_path_parameters_in_path_matching`); the query stays. Allocates
/// only if there is one.
pub(crate) fn without_parameters(path: &str) -> Cow<'_, str> {
    let path_only = without_query(path);
    if !path_only.contains(';') {
        return Cow::Borrowed(path);
    }
    let mut kept = String::with_capacity(path.len());
    for (at, segment) in path_only.split('/').enumerate() {
        if at > 0 {
            kept.push('/');
        }
        kept.push_str(segment.split(';').next().unwrap_or_default());
    }
    kept.push_str(&path[path_only.len()..]);
    Cow::Owned(kept)
}

/// Whether the path specifier holds for `:path` (empty: the request has none). A specifier that itself contains `?` or
/// `#` is not in the index.
#[inline]
pub(super) fn path_matches(
    matcher: &RouteMatch,
    path: &str,
    is_connect: bool,
    scratch: &mut Scratch,
) -> bool {
    if let Some((start, kind)) = in_tree(&matcher.path) {
        let Some((head, rest)) = path.as_bytes().split_at_checked(start.len()) else {
            return false;
        };
        let starts = head == start.as_bytes()
            || matcher.case_insensitive && head.eq_ignore_ascii_case(start.as_bytes());
        return starts && !path.is_empty() && kind.ends_before(rest.first().copied());
    }
    match &matcher.path {
        PathMatcher::Regex(regex) => {
            !path.is_empty() && regex.is_full_match(without_query(path).as_bytes(), scratch)
        }
        PathMatcher::Template(template) => {
            let path = without_query(path).as_bytes();
            !path.is_empty() && template.regex().is_full_match(path, scratch)
        }
        PathMatcher::Connect => is_connect,
        _ => false,
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
    #[inline]
    fn ends_before(self, next: Option<u8>) -> bool {
        let ends = matches!(next, None | Some(b'?' | b'#'));
        match self {
            Self::Prefix => true,
            Self::Exact => ends,
            Self::Separated => ends || next == Some(b'/'),
        }
    }
}

/// A radix tree from path to the routes that begin with it. Flat: however deep, neither building nor dropping recurses.
#[derive(Debug)]
struct Tree {
    /// The root first; a node's children are neighbours, after it.
    nodes: Box<[Node]>,
}

#[derive(Debug)]
struct Node {
    /// Bytes between the parent and here, without the one by which the parent chooses.
    label: Box<[u8]>,
    /// Routes whose path ends here.
    here: Here,
    /// The byte that leads to each child.
    keys: Box<[u8]>,
    /// Where the children are.
    children: usize,
}

/// Routes of one path.
#[derive(Debug, Default)]
struct Here {
    /// In order.
    routes: Box<[(u32, Kind)]>,
    by_header: Option<Box<ByHeader>>,
}

/// Routes that want one of the header's lines to be a certain value.
#[derive(Debug)]
struct ByHeader {
    name: HeaderName,
    /// In order, by value.
    routes: FxHashMap<Box<[u8]>, Vec<(u32, Kind)>>,
}

#[derive(Clone, Copy)]
struct Entry<'a> {
    path: &'a [u8],
    kind: Kind,
    at: u32,
    headers: &'a [HeaderMatcher],
}

/// From so many routes of one path on, looking them up by a header is cheaper than trying them.
const MANY: usize = 16;

impl Here {
    fn new(entries: &[Entry<'_>]) -> Self {
        let mut counts = FxHashMap::<&HeaderName, usize>::default();
        if entries.len() >= MANY {
            for (name, _) in entries.iter().flat_map(Entry::exact_headers) {
                *counts.entry(name).or_default() += 1;
            }
        }
        let commonest = counts.into_iter().max_by_key(|(_, count)| *count);
        let Some((name, _)) = commonest.filter(|(_, count)| *count >= MANY) else {
            let routes = entries.iter().map(|entry| (entry.at, entry.kind));
            return Self {
                routes: routes.collect(),
                by_header: None,
            };
        };
        let mut rest = Vec::new();
        let mut routes = FxHashMap::<Box<[u8]>, Vec<_>>::default();
        for entry in entries {
            let mut values = entry.exact_headers().filter(|(of, _)| *of == name);
            let into = match values.next() {
                Some((_, value)) => routes.entry(value.into()).or_default(),
                None => &mut rest,
            };
            into.push((entry.at, entry.kind));
        }
        Self {
            routes: rest.into(),
            by_header: Some(Box::new(ByHeader {
                name: name.clone(),
                routes,
            })),
        }
    }

    fn is_empty(&self) -> bool {
        self.routes.is_empty() && self.by_header.is_none()
    }
}

impl<'a> Entry<'a> {
    /// The headers of which the route wants a line with this value.
    fn exact_headers(&self) -> impl Iterator<Item = (&'a HeaderName, &'a [u8])> + use<'a> {
        self.headers
            .iter()
            .filter_map(|matcher| match (&matcher.name, &matcher.condition) {
                (
                    MatchedHeader::Name(name),
                    HeaderCondition::String(StringMatcher::Exact {
                        value,
                        ignore_case: false,
                    }),
                ) if !matcher.invert && !matcher.treat_missing_as_empty => {
                    Some((name, value.as_bytes()))
                }
                _ => None,
            })
    }
}

impl Node {
    /// Which child a byte leads to. Keys are sorted, and often an only one or without gaps.
    #[inline]
    fn child(&self, byte: u8) -> Option<usize> {
        let guess = usize::from(byte.wrapping_sub(*self.keys.first()?));
        if self.keys.get(guess) == Some(&byte) {
            return Some(guess);
        }
        self.keys.binary_search(&byte).ok()
    }
}

impl Tree {
    fn new(mut entries: Vec<Entry<'_>>) -> Self {
        entries.sort_by_key(|entry| (entry.path, entry.at));
        // Nodes to be made: the entries below, and how many bytes of them the parents have.
        let mut pending = vec![(&entries[..], 0)];
        let mut nodes = Vec::new();
        while let Some(&(entries, depth)) = pending.get(nodes.len()) {
            let (first, last) = match entries {
                [] => (&[][..], &[][..]),
                [first, ..] => (first.path, entries[entries.len() - 1].path),
            };
            // Sorted: what the first and the last share, all share.
            let shared = first.iter().zip(last).take_while(|(a, b)| a == b).count();
            let ends = entries.partition_point(|entry| entry.path.len() == shared);
            let (here, below) = entries.split_at(ends);
            let groups = || below.chunk_by(|a, b| a.path[shared] == b.path[shared]);
            nodes.push(Node {
                label: first[depth..shared].into(),
                here: Here::new(here),
                keys: groups().map(|group| group[0].path[shared]).collect(),
                children: pending.len(),
            });
            pending.extend(groups().map(|group| (group, shared + 1)));
        }
        Self {
            nodes: nodes.into(),
        }
    }

    /// Visits the routes that `path` begins with, shortest first, with the byte that follows in `path`.
    #[inline]
    fn visit(&self, path: &[u8], mut each: impl FnMut(&Here, Option<u8>)) {
        let mut at = 0;
        let mut rest = path;
        while let Some(node) = self.nodes.get(at) {
            if !node.label.is_empty() {
                let Some(below) = rest.strip_prefix(&*node.label) else {
                    return;
                };
                rest = below;
            }
            if !node.here.is_empty() {
                each(&node.here, rest.first().copied());
            }
            let Some((next, below)) = rest.split_first() else {
                return;
            };
            let Some(child) = node.child(*next) else {
                return;
            };
            at = node.children + child;
            rest = below;
        }
    }
}
