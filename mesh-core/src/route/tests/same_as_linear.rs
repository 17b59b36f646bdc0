//! Whatever the table, the index finds what trying route after route finds.

use proptest::prelude::*;

use super::*;
use crate::{
    matcher::{HeaderCondition, HeaderMatcher, MatchedHeader, StringMatcher},
    regex::Regex,
    route::path_index::path_matches,
};

/// Short paths over a small alphabet, so that prefixes nest and collide.
fn path() -> impl Strategy<Value = String> {
    "/[ab/]{0,5}"
}

fn route_match() -> impl Strategy<Value = RouteMatch> {
    let specifier = (path(), 0..6usize).prop_map(|(path, kind)| match kind {
        0 | 1 => PathMatcher::Prefix(path.into()),
        2 | 3 => PathMatcher::Path(path.into()),
        4 => PathMatcher::PathSeparatedPrefix(path.into()),
        _ => PathMatcher::Regex(Regex::new(&format!("{path}.*")).unwrap()),
    });
    let conditional = prop::bool::weighted(0.3);
    (specifier, prop::bool::weighted(0.2), conditional).prop_map(
        |(path, case_insensitive, conditional)| RouteMatch {
            case_insensitive,
            headers: conditional
                .then(|| {
                    let name = MatchedHeader::Name(HeaderName::from_static("x-a"));
                    HeaderMatcher::new(name, HeaderCondition::Any)
                })
                .into_iter()
                .collect(),
            ..on(path)
        },
    )
}

/// Nearly always an exact value of one of two headers, on one of two paths.
fn header_match() -> impl Strategy<Value = RouteMatch> {
    let rarely = || prop::bool::weighted(0.05);
    let header = ("x-[ab]", "[0-9]", rarely(), rarely(), rarely());
    let header = header.prop_map(|(name, value, invert, missing, ignore_case)| {
        let exact = StringMatcher::Exact {
            value: value.into(),
            ignore_case,
        };
        let name = MatchedHeader::Name(HeaderName::try_from(name).unwrap());
        HeaderMatcher {
            invert,
            treat_missing_as_empty: missing,
            ..HeaderMatcher::new(name, HeaderCondition::String(exact))
        }
    });
    let headers = prop::collection::vec(header, 1..3);
    (headers, any::<bool>()).prop_map(|(headers, whole)| RouteMatch {
        headers,
        ..on(match whole {
            true => PathMatcher::Path("/a".into()),
            false => PathMatcher::Prefix("/a".into()),
        })
    })
}

fn request() -> impl Strategy<Value = (String, bool)> {
    let query = prop::option::of("[ab/]{0,3}");
    ("/[abA/]{0,7}", query, any::<bool>()).prop_map(|(path, query, header)| {
        let query = query.map(|q| format!("?{q}")).unwrap_or_default();
        (format!("{path}{query}"), header)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn the_index_finds_the_first_match(
        matchers in prop::collection::vec(route_match(), 0..40),
        requests in prop::collection::vec(request(), 1..20),
    ) {
        let table = table(routes(matchers.iter().map(|m| to(m.clone(), "c")).collect()));
        let mut scratch = Scratch::default();
        for (path, with_header) in requests {
            let parts = get(&format!("http://h{path}"), if with_header { &["x-a: 1"] } else { &[] });
            let expected = matchers.iter().position(|m| {
                path_matches(m, &path, false, &mut scratch) && (m.headers.is_empty() || with_header)
            });
            prop_assert_eq!(place(&table, &parts), expected.map(|at| u32::try_from(at).unwrap()), "{}", path);
            // and why, for each that comes before
            let connection = ConnectionInfo::default();
            let search = table.explain(&view(&parts, &connection, 0), &mut scratch);
            prop_assert_eq!(search.found, find(&table, &parts));
            prop_assert_eq!(search.passed_over.len(), expected.unwrap_or(matchers.len()));
            prop_assert!(search.passed_over.iter().all(|passed| !passed.unmet.is_empty()));
        }
    }

    #[test]
    fn many_routes_of_one_path_are_told_apart_by_headers(
        matchers in prop::collection::vec(header_match(), 0..120),
        requests in prop::collection::vec(prop::collection::vec(("x-[ab]", "[0-3]"), 0..4), 1..20),
    ) {
        let table = table(routes(matchers.iter().map(|m| to(m.clone(), "c")).collect()));
        let mut scratch = Scratch::default();
        for lines in requests {
            let lines: Vec<String> = lines.iter().map(|(n, v)| format!("{n}: {v}")).collect();
            let parts = get("http://h/a", &lines.iter().map(String::as_str).collect::<Vec<_>>());
            let connection = ConnectionInfo::default();
            let view = view(&parts, &connection, 0);
            let expected = matchers.iter().position(|m| compiled::matches(m, &view, &mut scratch));
            prop_assert_eq!(place(&table, &parts), expected.map(|at| u32::try_from(at).unwrap()), "{:?}", lines);
        }
    }

    #[test]
    fn the_domain_index_finds_the_most_specific(
        domains in prop::collection::btree_set("(\\*[ab.]{1,3}|[ab.]{1,3}\\*|[ab.]{1,4}|\\*)", 1..20),
        hosts in prop::collection::vec("[abAB.]{1,5}", 1..20),
    ) {
        let domains: Vec<_> = domains.into_iter().collect();
        let hosts_config = domains
            .iter()
            .map(|d| virtual_host(&[d], vec![to(prefix("/"), "c")]))
            .collect();
        let table = table(config(hosts_config));
        for host in hosts {
            let parts = get(&format!("http://{host}/"), &[]);
            let found = match find(&table, &parts) {
                Found::Route(at) => Some(at.virtual_host as usize),
                _ => None,
            };
            prop_assert_eq!(found, naive_domain(&domains, &host.to_ascii_lowercase()), "{}", host);
        }
    }
}

/// Exact, then suffix, then prefix wildcards, the longest first, then `*`.
fn naive_domain(domains: &[String], host: &str) -> Option<usize> {
    let best = |fits: &dyn Fn(&str) -> bool| {
        let fitting = (0..domains.len()).filter(|at| fits(&domains[*at]));
        fitting.max_by_key(|at| domains[*at].len())
    };
    let shorter = |part: &str| !part.is_empty() && part.len() < host.len();
    best(&|d| d == host)
        .or_else(|| {
            best(&|d| {
                d.strip_prefix('*')
                    .is_some_and(|s| shorter(s) && host.ends_with(s))
            })
        })
        .or_else(|| {
            best(&|d| {
                let start = d.strip_suffix('*').filter(|_| !d.starts_with('*'));
                start.is_some_and(|s| shorter(s) && host.starts_with(s))
            })
        })
        .or_else(|| best(&|d| d == "*"))
}
