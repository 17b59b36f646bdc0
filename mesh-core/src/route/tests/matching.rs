use super::*;
use crate::{
    matcher::{
        CookieMatcher, HeaderCondition, HeaderMatcher, MatchedHeader, QueryCondition,
        QueryParameterMatcher, StringMatcher,
    },
    regex::Regex,
};

/// The answers are those of Envoy 1.40.
#[test]
fn path_parameters_may_be_ignored() {
    let template = |text| on(PathMatcher::Template(PathTemplate::new(text).unwrap()));
    let regex = |text| on(PathMatcher::Regex(Regex::new(text).unwrap()));
    for (matcher, matching, other) in [
        (
            prefix("/a/b"),
            &["/a;v=1/b", "/a/b;x", "/a;/b;?q=;"][..],
            &["/a;v=1", "/b;/a/b"][..],
        ),
        (
            on(PathMatcher::Path("/a".into())),
            &["/a;v=1", "/a?q;v"],
            &["/a;v=1/b"],
        ),
        (regex("/a"), &["/a;x?q"], &["/a;x/b"]),
        (prefix("/a;"), &[], &["/a;", "/a;v=1"]),
        (template("/{x}/b"), &["/a;v=1/b"], &["/a/b;x"]),
    ] {
        // Beside enough others that the index takes part.
        for others in [0, 5] {
            let mut all = vec![to(matcher.clone(), "c")];
            all.extend((0..others).map(|n| to(prefix(&format!("/none{n}")), "c")));
            let mut config = routes(all);
            config.ignore_path_parameters_in_path_matching = true;
            let table = table(config);
            for path in matching {
                let parts = get(&format!("http://h{path}"), &[]);
                assert_eq!(place(&table, &parts), Some(0), "{path}");
            }
            for path in other {
                let parts = get(&format!("http://h{path}"), &[]);
                assert_eq!(place(&table, &parts), None, "{path}");
            }
        }
    }
}

#[test]
fn cookies_are_matched_by_their_first_value() {
    let cookie = |invert| RouteMatch {
        cookies: vec![CookieMatcher {
            name: "c".into(),
            value: StringMatcher::Exact {
                value: "1".into(),
                ignore_case: false,
            },
            invert,
        }],
        ..prefix("/")
    };
    for (headers, holds) in [
        (&["cookie: a=2; c=1"][..], true),
        (&["cookie: a=2", "cookie: c=1"], true),
        (&["cookie: c=\"1\""], true),
        (&["cookie: c=2; c=1"], false),
        (&["cookie: c"], false),
        (&[], false),
    ] {
        let parts = get("http://h/", headers);
        let found = |invert| place(&table(routes(vec![to(cookie(invert), "c")])), &parts).is_some();
        assert_eq!((found(false), found(true)), (holds, !holds), "{headers:?}");
    }
}

#[test]
fn nobody_has_presented_a_certificate() {
    for (presented, holds) in [(None, true), (Some(false), true), (Some(true), false)] {
        let matcher = RouteMatch {
            tls_context: Some(TlsContextMatch {
                presented,
                validated: None,
            }),
            ..prefix("/")
        };
        let table = table(routes(vec![to(matcher, "c")]));
        let found = place(&table, &get("http://h/", &[]));
        assert_eq!(found.is_some(), holds, "{presented:?}");
    }
}

#[test]
fn finds_the_virtual_host() {
    let domains: &[&[&str]] = &[
        &["*"],
        &["a.com"],
        &["*.foo.com"],
        &["*-bar.foo.com"],
        &["foo.*"],
        &["foo.bar.*"],
        &["a.com:19000", "www.foo.com"],
        &["[::1]", "UPPER.com"],
    ];
    let mut config = config(
        domains
            .iter()
            .map(|domains| virtual_host(domains, vec![to(prefix("/"), "c")]))
            .collect(),
    );
    let cases = [
        ("a.com", 1, 1),
        ("A.Com", 1, 1),
        ("a.com:80", 0, 1),
        ("a.com:19000", 6, 1),
        ("x.foo.com", 2, 2),
        ("x.y.foo.com", 2, 2),
        ("www.foo.com", 6, 6),
        ("X-bar.Foo.com", 3, 3),
        // The part that the wildcard stands for is not empty.
        ("-bar.foo.com", 2, 2),
        ("foo.com", 4, 4),
        ("foo.", 0, 0),
        ("foo.bar.com", 5, 5),
        ("x.foo.com:80", 0, 2),
        ("[::1]", 7, 7),
        ("[::1]:80", 0, 7),
        ("upper.com", 7, 7),
        ("other", 0, 0),
    ];
    for ignore_port in [false, true] {
        config.ignore_port_in_host_matching = ignore_port;
        let table = table(config.clone());
        for (host, exact, without_port) in cases {
            let Found::Route(at) = find(&table, &get(&format!("http://{host}/"), &[])) else {
                panic!("{host}: no route");
            };
            let expected = if ignore_port { without_port } else { exact };
            assert_eq!(
                at.virtual_host, expected,
                "{host}, ignore_port {ignore_port}"
            );
        }
    }
}

#[test]
fn without_authority_only_a_lone_catch_all_matches() {
    let hosts = |domains: &[&str]| {
        table(config(vec![virtual_host(
            domains,
            vec![to(prefix("/"), "c")],
        )]))
    };
    let parts = get("/", &[]);
    assert_eq!(place(&hosts(&["*"]), &parts), Some(0));
    assert_eq!(place(&hosts(&["*", "a"]), &parts), None);
    assert_eq!(place(&hosts(&["a"]), &get("http://b/", &[])), None);
}

#[test]
fn matches_paths() {
    let regex = |pattern| PathMatcher::Regex(Regex::new(pattern).unwrap());
    let cases: Vec<(PathMatcher, bool, &[&str], &[&str])> = vec![
        (
            PathMatcher::Prefix("/a".into()),
            false,
            &["/a", "/ab", "/a?x", "/a/b"],
            &["/A", "/", "/?/a"],
        ),
        (
            PathMatcher::Prefix("/a".into()),
            true,
            &["/A", "/aB"],
            &["/"],
        ),
        (PathMatcher::Prefix("/a?x".into()), false, &[], &["/a?x"]),
        (PathMatcher::Prefix("".into()), false, &["/", "/x"], &[]),
        (
            PathMatcher::Path("/exact".into()),
            false,
            &["/exact", "/exact?z=1"],
            &["/exact/", "/exac", "/Exact"],
        ),
        (
            PathMatcher::Path("/exact".into()),
            true,
            &["/EXACT?z=1"],
            &["/exact/"],
        ),
        (PathMatcher::Path("/e?z".into()), false, &[], &["/e?z"]),
        (
            PathMatcher::PathSeparatedPrefix("/psp".into()),
            false,
            &["/psp", "/psp?q", "/psp/1"],
            &["/pspx", "/ps", "/PSP"],
        ),
        (
            PathMatcher::PathSeparatedPrefix("/psp".into()),
            true,
            &["/PSP/1"],
            &["/PSPX"],
        ),
        (
            regex("/r[0-9]+"),
            false,
            &["/r12", "/r1?x=/"],
            &["/r", "/r1/", "/x/r1"],
        ),
        (regex("/r[0-9]+"), true, &["/r12"], &["/R12"]),
    ];
    for (path, case_insensitive, yes, no) in cases {
        let matcher = RouteMatch {
            case_insensitive,
            ..on(path)
        };
        // Alone, and in a tree beside routes that never match.
        let alone = table(routes(vec![to(matcher.clone(), "c")]));
        let mut many: Vec<_> = (0..9)
            .map(|i| to(prefix(&format!("/never{i}")), "n"))
            .collect();
        many.insert(3, to(matcher.clone(), "c"));
        let many = table(routes(many));
        for (paths, expected) in [(yes, true), (no, false)] {
            for path in paths {
                let parts = get(&format!("http://h{path}"), &[]);
                assert_eq!(
                    place(&alone, &parts),
                    expected.then_some(0),
                    "{matcher:?} on {path}"
                );
                assert_eq!(
                    place(&many, &parts),
                    expected.then_some(3),
                    "{matcher:?} on {path}, indexed"
                );
            }
        }
    }
}

#[test]
fn connect_has_its_own_matcher() {
    let table = table(routes(vec![
        to(prefix("/"), "path"),
        to(prefix(""), "any"),
        to(on(PathMatcher::Connect), "connect"),
    ]));
    let mut parts = get("/", &[]);
    parts.method = Method::CONNECT;
    parts.uri = "example.com:443".parse().unwrap();
    assert_eq!(place(&table, &parts), Some(2));
    assert_eq!(place(&table, &get("http://h/", &[])), Some(0));
}

fn header(name: MatchedHeader, condition: HeaderCondition) -> HeaderMatcher {
    HeaderMatcher::new(name, condition)
}

fn named(condition: HeaderCondition) -> HeaderMatcher {
    header(
        MatchedHeader::Name(HeaderName::from_static("x-a")),
        condition,
    )
}

fn string(matcher: StringMatcher) -> HeaderCondition {
    HeaderCondition::String(matcher)
}

fn exact(value: &str) -> StringMatcher {
    StringMatcher::Exact {
        value: value.into(),
        ignore_case: false,
    }
}

fn holds(matcher: &HeaderMatcher, headers: &[&str]) -> bool {
    let parts = get("http://host.com/path?q=1", headers);
    matcher.matches(&RequestHead::of(&parts), &mut Scratch::default())
}

/// Envoy 1.40's answers for the lines `x-a: 1` and `x-a: 2`: each line is matched by itself.
#[test]
fn matches_each_line_of_a_header() {
    let suffix = |value: &str| StringMatcher::Suffix {
        value: value.into(),
        ignore_case: false,
    };
    let lines = &["x-a: 1", "x-a: 2"];
    for (condition, invert, expected) in [
        (string(exact("1")), false, true),
        (string(exact("1,2")), false, false),
        (string(exact("1")), true, false),
        (string(exact("3")), true, true),
        (string(suffix("1")), false, true),
        (string(suffix("2")), false, true),
        (HeaderCondition::Range { start: 2, end: 3 }, false, true),
        (
            string(StringMatcher::Regex(Regex::new("[0-9],[0-9]").unwrap())),
            false,
            false,
        ),
        (HeaderCondition::Any, false, true),
        (HeaderCondition::Present(true), false, true),
    ] {
        let mut matcher = named(condition);
        matcher.invert = invert;
        assert_eq!(holds(&matcher, lines), expected, "{matcher:?}");
    }
    assert!(holds(&named(string(exact("1,2"))), &["x-a: 1,2"]));
}

#[test]
fn missing_headers_match_only_presence() {
    for (condition, missing, missing_inverted, as_empty, as_empty_inverted) in [
        (HeaderCondition::Present(true), false, true, true, false),
        (HeaderCondition::Present(false), true, false, false, true),
        (HeaderCondition::Any, false, true, true, false),
        (string(exact("1")), false, false, false, true),
        (string(exact("")), false, false, true, false),
        (
            HeaderCondition::Range { start: 0, end: 1 },
            false,
            false,
            false,
            true,
        ),
    ] {
        let mut matcher = named(condition);
        let mut results = Vec::new();
        for treat_missing_as_empty in [false, true] {
            for invert in [false, true] {
                matcher.invert = invert;
                matcher.treat_missing_as_empty = treat_missing_as_empty;
                results.push(holds(&matcher, &[]));
            }
        }
        let expected = [missing, missing_inverted, as_empty, as_empty_inverted];
        assert_eq!(results, expected, "{:?}", matcher.condition);
    }
    let mut inverted = named(string(exact("1")));
    inverted.invert = true;
    assert!(!holds(&inverted, &["x-a: 1"]));
    assert!(holds(&inverted, &["x-a: 2"]));
}

#[test]
fn matches_pseudo_headers_and_numbers() {
    let is = |name, value| holds(&header(name, string(exact(value))), &[]);
    assert!(is(MatchedHeader::Method, "GET"));
    assert!(is(MatchedHeader::Scheme, "http"));
    assert!(is(MatchedHeader::Authority, "host.com"));
    assert!(is(MatchedHeader::Path, "/path?q=1"));
    assert!(!is(MatchedHeader::Path, "/path"));

    let range = named(HeaderCondition::Range { start: -1, end: 10 });
    for (value, expected) in [
        ("-1", true),
        ("9", true),
        ("10", false),
        ("x", false),
        ("1.0", false),
    ] {
        assert_eq!(
            holds(&range, &[&format!("x-a: {value}")]),
            expected,
            "{value}"
        );
    }
}

#[test]
fn matches_strings() {
    type Make = fn(Box<str>, bool) -> StringMatcher;
    let exact: Make = |value, ignore_case| StringMatcher::Exact { value, ignore_case };
    let prefix: Make = |value, ignore_case| StringMatcher::Prefix { value, ignore_case };
    let suffix: Make = |value, ignore_case| StringMatcher::Suffix { value, ignore_case };
    let contains: Make = |value, ignore_case| StringMatcher::Contains { value, ignore_case };
    for (make, value, ignore_case, text, expected) in [
        (exact, "ab", false, "ab", true),
        (exact, "ab", false, "AB", false),
        (exact, "ab", true, "AB", true),
        (exact, "ab", true, "abc", false),
        (prefix, "ab", false, "abc", true),
        (prefix, "ab", false, "a", false),
        (prefix, "ab", true, "ABc", true),
        (suffix, "bc", false, "abc", true),
        (suffix, "abcd", false, "bcd", false),
        (suffix, "bc", true, "aBC", true),
        (contains, "b", false, "abc", true),
        (contains, "d", false, "abc", false),
        (contains, "bc", true, "aBCd", true),
        (contains, "", false, "", true),
        (contains, "abc", false, "ab", false),
    ] {
        let matcher = make(value.into(), ignore_case);
        let matches = matcher.matches(text.as_bytes(), &mut Scratch::default());
        assert_eq!(matches, expected, "{matcher:?} on {text}");
    }
}

#[test]
fn matches_query_parameters() {
    let value = |value: &str| Some(QueryCondition::String(exact(value)));
    for (name, condition, query, expected) in [
        ("a", None, "a", true),
        ("a", None, "b=a", false),
        ("a", Some(QueryCondition::Present(true)), "a=1", true),
        ("a", Some(QueryCondition::Present(false)), "a=1", false),
        ("a", Some(QueryCondition::Present(false)), "b", true),
        ("a", value("1"), "b=2&a=1", true),
        // The first occurrence, not decoded; a parameter without `=` is empty.
        ("a", value("1"), "a=2&a=1", false),
        ("a", value("%31"), "a=%31", true),
        ("a", value(""), "a", true),
        ("a", value(""), "b", false),
        ("a", value("b=c"), "a=b=c", true),
    ] {
        let matcher = QueryParameterMatcher::new(name, condition);
        let matches = matcher.matches(query, &mut Scratch::default());
        assert_eq!(matches, expected, "{matcher:?} on {query}");
    }
}

#[test]
fn all_parts_of_a_match_must_hold() {
    let matcher = RouteMatch {
        headers: vec![
            named(HeaderCondition::Any),
            header(MatchedHeader::Method, string(exact("GET"))),
        ],
        query_parameters: vec![QueryParameterMatcher::new("q", None)],
        grpc: true,
        ..prefix("/a")
    };
    let table = table(routes(vec![to(matcher, "c")]));
    let grpc = "content-type: application/grpc+proto";
    for (uri, headers, expected) in [
        ("http://h/a?q", vec!["x-a: 1", grpc], true),
        ("http://h/b?q", vec!["x-a: 1", grpc], false),
        ("http://h/a?q", vec![grpc], false),
        ("http://h/a", vec!["x-a: 1", grpc], false),
        (
            "http://h/a?q",
            vec!["x-a: 1", "content-type: application/grpc-web"],
            false,
        ),
    ] {
        assert_eq!(
            place(&table, &get(uri, &headers)).is_some(),
            expected,
            "{uri} {headers:?}"
        );
    }
}

#[test]
fn a_fraction_reads_the_streams_random_number() {
    let fraction = Fraction {
        numerator: 30,
        denominator: 100,
    };
    let table = table(routes(vec![
        to(
            RouteMatch {
                runtime_fraction: Some(fraction),
                ..prefix("/")
            },
            "some",
        ),
        to(prefix("/"), "rest"),
    ]));
    let parts = get("http://h/", &[]);
    let connection = ConnectionInfo::default();
    for (random, expected) in [(0, 0), (29, 0), (30, 1), (99, 1), (100, 0), (130, 1)] {
        let found = table.find(&view(&parts, &connection, random), &mut Scratch::default());
        let at = RouteIndex {
            virtual_host: 0,
            route: expected,
        };
        assert_eq!(found, Found::Route(at), "{random}");
    }
}

/// Neither building, finding nor dropping depends on the stack.
#[test]
fn prefixes_may_nest_deeply() {
    let depth = 3_000;
    let path = format!("/{}", "a".repeat(depth));
    let nested = (0..depth).rev().map(|i| to(prefix(&path[..=i]), "c"));
    let table = table(routes(nested.collect()));
    assert_eq!(
        place(&table, &get(&format!("http://h{path}"), &[])),
        Some(0)
    );
    assert_eq!(place(&table, &get("http://h/aa/b", &[])), Some(2_997));
}
