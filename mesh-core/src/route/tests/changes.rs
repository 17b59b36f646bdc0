//! What a route does to requests and responses.

use super::*;
use crate::{matcher::MatchedHeader, regex::Regex};

fn add(name: &'static str, value: &str, action: AppendAction) -> HeaderAddition {
    HeaderAddition::new(
        HeaderName::from_static(name),
        HeaderFormat::parse(value.as_bytes()).unwrap(),
        action,
    )
}

fn append(name: &'static str, value: &str) -> HeaderAddition {
    add(name, value, AppendAction::AppendIfExistsOrAdd)
}

fn overwrite(name: &'static str, value: &str) -> HeaderAddition {
    add(name, value, AppendAction::OverwriteIfExistsOrAdd)
}

const FIRST: RouteIndex = RouteIndex {
    virtual_host: 0,
    route: 0,
};

/// Runs a request through the first route; the head afterwards as URI and header lines.
fn changed(
    config: RouteConfiguration,
    parts: request::Parts,
    weighted: Option<u32>,
    suppress: bool,
) -> (String, Vec<String>) {
    let table = table(config);
    let mut parts = parts;
    let local = "127.0.0.1:19778".parse().unwrap();
    let connection = ConnectionInfo {
        local: Some(local),
        ..ConnectionInfo::default()
    };
    let selected = SelectedCluster {
        cluster: ClusterIndex(0),
        weighted,
    };
    let mut cx = FormatContext::without_request(&connection);
    cx.route_name = "rn";
    cx.upstream_cluster = Some("u");
    table
        .finalize_request(FIRST, Some(&selected), &mut parts, &cx, suppress)
        .unwrap();
    (parts.uri.to_string(), lines(&parts.headers))
}

/// As Envoy 1.40 forwarded it.
#[test]
fn removes_then_computes_then_overwrites_then_appends() {
    let mut route = to(prefix("/"), "u");
    let mut kept = append("x-kept", "%REQ(nope)%");
    kept.keep_empty_value = true;
    route.headers.request = HeaderMutations {
        remove: vec![HeaderName::from_static("x-c")],
        add: vec![
            add("x-ab", "1", AppendAction::AddIfAbsent),
            add("x-ab", "2", AppendAction::AddIfAbsent),
            add("x-a", "3", AppendAction::AddIfAbsent),
            overwrite("x-ow", "1"),
            overwrite("x-ow", "2"),
            add("x-oe", "n", AppendAction::OverwriteIfExists),
            append("x-c", "[%REQ(x-c)%]"),
            append(
                "x-mix",
                "%REQ(nope?x-a):3%-%PROTOCOL%-%%-%DOWNSTREAM_LOCAL_ADDRESS%-%ROUTE_NAME%-%UPSTREAM_CLUSTER%-%UPSTREAM_HOST%",
            ),
            append("x-empty", "%REQ(nope)%"),
            kept,
            append("x-a2", "%REQ(x-a)%"),
        ],
    };
    let mut config = routes(vec![route]);
    config.headers.request.add = vec![append("x-lvl", "config")];
    let request = get(
        "http://h/ops",
        &["x-a: 12345", "x-a: 2", "x-c: c", "x-ow: 0", "x-ow: 00"],
    );
    let (_, headers) = changed(config, request, None, false);
    assert_eq!(
        headers,
        [
            "x-a: 12345",
            "x-a: 2",
            "x-a2: 12345",
            "x-ab: 1",
            "x-ab: 2",
            "x-c: []",
            "x-kept: ",
            "x-lvl: config",
            "x-mix: 123-HTTP/1.1-%-127.0.0.1:19778-rn-u-",
            "x-ow: 2",
        ]
    );
}

/// Every level overwrites the same header; each also appends its name to another.
fn levels(most_specific_wins: bool) -> RouteConfiguration {
    let operations = |level: &str| HeaderMutations {
        remove: Vec::new(),
        add: vec![overwrite("x-lvl", level), append("x-order", level)],
    };
    let both = |level: &str| HeaderOperations {
        request: operations(level),
        response: operations(level),
    };
    let mut entry = WeightedCluster::new("u".into(), 1);
    entry.headers = both("cluster");
    let mut route = forward(
        prefix("/"),
        Forward::to(ClusterSpecifier::Weighted(vec![entry])),
    );
    route.headers = both("route");
    let mut config = routes(vec![route]);
    config.virtual_hosts[0].headers = both("vhost");
    config.headers = both("config");
    config.most_specific_header_mutations_wins = most_specific_wins;
    config
}

#[test]
fn levels_apply_in_envoys_order() {
    for (most_specific_wins, order) in [
        (false, ["cluster", "route", "vhost", "config"]),
        (true, ["cluster", "config", "vhost", "route"]),
    ] {
        let mut expected = vec![format!("x-lvl: {}", order[3])];
        expected.extend(order.iter().map(|level| format!("x-order: {level}")));
        let (_, headers) = changed(
            levels(most_specific_wins),
            get("http://h/", &[]),
            Some(0),
            false,
        );
        assert_eq!(headers, expected);

        let table = table(levels(most_specific_wins));
        let connection = ConnectionInfo::default();
        let cx = FormatContext::without_request(&connection);
        let selected = SelectedCluster {
            cluster: ClusterIndex(0),
            weighted: Some(0),
        };
        let mut response = HeaderMap::new();
        table.finalize_response(FIRST, Some(&selected), &mut response, &cx);
        assert_eq!(lines(&response), expected);

        // Without a drawn cluster its level is left out.
        let mut response = HeaderMap::new();
        table.finalize_response(FIRST, None, &mut response, &cx);
        assert_eq!(response.get_all("x-order").iter().count(), 3);
    }
}

#[test]
fn many_additions_of_one_level() {
    let mut route = to(prefix("/"), "u");
    route.headers.request.add = (0..20)
        .map(|i| append("x-n", &format!("{i}-%REQ(x-a)%")))
        .collect();
    let (_, headers) = changed(
        routes(vec![route]),
        get("http://h/", &["x-a: v"]),
        None,
        false,
    );
    let expected: Vec<_> = (0..20).map(|i| format!("x-n: {i}-v")).collect();
    assert_eq!(headers[1..], expected);
}

#[test]
fn response_operations_read_the_response() {
    let mut route = to(prefix("/"), "u");
    route.headers.response = HeaderMutations {
        remove: vec![HeaderName::from_static("x-gone")],
        add: vec![
            append("x-copy", "%RESP(x-up)%"),
            append("x-alt", "%RESP(nope?x-up):2%|"),
            append("x-req", "%REQ(:path)%"),
        ],
    };
    let table = table(routes(vec![route]));
    assert!(table.route(FIRST).unwrap().response_reads_request());
    let parts = get("http://h/p?q", &[]);
    let connection = ConnectionInfo::default();
    let cx = FormatContext::new(RequestHead::of(&parts), &connection);
    let mut response = HeaderMap::new();
    response.insert("x-up", HeaderValue::from_static("value"));
    response.insert("x-gone", HeaderValue::from_static("1"));
    table.finalize_response(FIRST, None, &mut response, &cx);
    assert_eq!(
        lines(&response),
        ["x-alt: va|", "x-copy: value", "x-req: /p?q", "x-up: value"]
    );
}

fn rewriting(matcher: RouteMatch, change: impl FnOnce(&mut Forward)) -> RouteConfiguration {
    let mut to = Forward::to(ClusterSpecifier::Cluster("u".into()));
    change(&mut to);
    routes(vec![forward(matcher, to)])
}

#[test]
fn rewrites_paths() {
    let to_prefix = |path: &str| PathRewrite::Prefix(path.into());
    let regex = |pattern: &str, substitution: &str| PathRewrite::Regex {
        pattern: Regex::new(pattern).unwrap(),
        substitution: substitution.into(),
    };
    let ignoring_case = |matcher| RouteMatch {
        case_insensitive: true,
        ..matcher
    };
    let by_regex = || on(PathMatcher::Regex(Regex::new("/r.*").unwrap()));
    for (matcher, rewrite, path, expected) in [
        (
            prefix("/prewrite/"),
            to_prefix("/"),
            "/prewrite/x?q",
            "/x?q",
        ),
        (prefix("/foo"), to_prefix("/"), "/foo/bar", "//bar"),
        (
            ignoring_case(prefix("/foo")),
            to_prefix("/new"),
            "/FOO/bar?q",
            "/new/bar?q",
        ),
        (
            on(PathMatcher::Path("/foo".into())),
            to_prefix("/new"),
            "/foo?q",
            "/new?q",
        ),
        (
            on(PathMatcher::PathSeparatedPrefix("/foo".into())),
            to_prefix("/new"),
            "/foo/x",
            "/new/x",
        ),
        (by_regex(), to_prefix("/new"), "/r/a?q", "/new?q"),
        (
            by_regex(),
            regex("^/rr/(.*)", r"/x/\1"),
            "/rr/a?q",
            "/x/a?q",
        ),
        (prefix("/"), regex("/v[0-9]", "/v"), "/v1/v2?v3", "/v/v?v3"),
        // A rewrite to nothing is none.
        (by_regex(), regex("^/re/(.*)", ""), "/re/a?q", "/re/a?q"),
        (prefix("/"), regex("nope", "x"), "/a?q", "/a?q"),
    ] {
        let config = rewriting(matcher, |f| f.path_rewrite = Some(rewrite));
        let request = get(&format!("http://h{path}"), &[]);
        let (uri, headers) = changed(config.clone(), request.clone(), None, false);
        assert_eq!(uri, format!("http://h{expected}"));
        let kept = format!("x-envoy-original-path: {path}");
        // Envoy sets it even if the regex matched nothing, but not if the result was empty.
        let rewritten = !path.starts_with("/re/");
        assert_eq!(
            headers,
            rewritten.then_some(kept).into_iter().collect::<Vec<_>>()
        );
        assert_eq!(changed(config, request, None, true), (uri, Vec::new()));
    }
}

/// As Envoy 1.40 forwarded it.
#[test]
fn rewrites_hosts() {
    let literal = |host| HostRewrite::Literal(HeaderValue::from_static(host));
    let by_header = || HostRewrite::Header(MatchedHeader::Name(HeaderName::from_static("x-h")));
    type Case<'a> = (HostRewrite, bool, &'a [&'a str], &'a str, &'a [&'a str]);
    let cases: &[Case<'_>] = &[
        (
            literal("new.host"),
            false,
            &[],
            "new.host",
            &["x-envoy-original-host: h:80"],
        ),
        (
            literal("new.host"),
            true,
            &["x-forwarded-host: a"],
            "new.host",
            &["x-envoy-original-host: h:80", "x-forwarded-host: a,h:80"],
        ),
        (
            literal("new.host"),
            true,
            &["x-forwarded-host: a,h:80"],
            "new.host",
            &["x-envoy-original-host: h:80", "x-forwarded-host: a,h:80"],
        ),
        (
            literal("new.host"),
            true,
            &[],
            "new.host",
            &["x-envoy-original-host: h:80", "x-forwarded-host: h:80"],
        ),
        (
            by_header(),
            false,
            &["x-h: hh.host"],
            "hh.host",
            &["x-envoy-original-host: h:80", "x-h: hh.host"],
        ),
        (by_header(), true, &[], "h:80", &[]),
        (HostRewrite::Auto, true, &[], "h:80", &[]),
    ];
    for (rewrite, append, headers, host, expected) in cases {
        let config = rewriting(prefix("/"), |f| {
            f.host_rewrite = Some(rewrite.clone());
            f.append_x_forwarded_host = *append;
        });
        let (uri, headers) = changed(config, get("http://h:80/p?q", headers), None, false);
        assert_eq!(uri, format!("http://{host}/p?q"));
        assert_eq!(headers, *expected, "{rewrite:?}");
    }
}

/// A header that the route adds can name the host; a weighted cluster's host yields to the route's, silently.
#[test]
fn host_rewrites_come_after_header_operations() {
    let mut config = rewriting(prefix("/"), |f| {
        f.host_rewrite = Some(HostRewrite::Header(MatchedHeader::Name(
            HeaderName::from_static("x-h"),
        )));
    });
    let route = Arc::make_mut(&mut config.virtual_hosts[0].routes[0]);
    route.headers.request.add = vec![overwrite("x-h", "%REQ(:authority)%.suffix")];
    let (uri, _) = changed(config, get("http://h/", &[]), None, true);
    assert_eq!(uri, "http://h.suffix/");

    let mut entry = WeightedCluster::new("u".into(), 1);
    entry.host_rewrite_literal = Some(HeaderValue::from_static("weighted.host"));
    entry.headers.request.add = vec![append("x-w", "%REQ(:authority)%")];
    let mut to = Forward::to(ClusterSpecifier::Weighted(vec![entry]));
    let request = || get("http://h/", &[]);
    let config = routes(vec![forward(prefix("/"), to.clone())]);
    let (uri, headers) = changed(config, request(), Some(0), false);
    assert_eq!(
        (uri.as_str(), headers),
        ("http://weighted.host/", vec!["x-w: h".to_owned()])
    );

    to.host_rewrite = Some(HostRewrite::Literal(HeaderValue::from_static("route.host")));
    let config = routes(vec![forward(prefix("/"), to)]);
    let (uri, headers) = changed(config, request(), Some(0), false);
    assert_eq!(uri, "http://route.host/");
    assert_eq!(headers, ["x-envoy-original-host: weighted.host", "x-w: h"]);
}

/// Envoy sends both as they are.
#[test]
fn a_host_that_no_uri_can_hold_is_a_header_and_such_a_path_a_bad_request() {
    let rewritten = |change: fn(&mut Forward)| {
        let table = table(rewriting(prefix("/"), change));
        let connection = ConnectionInfo::default();
        let cx = FormatContext::without_request(&connection);
        let mut parts = get("http://h/", &["x-h: a b"]);
        let result = table.finalize_request(FIRST, None, &mut parts, &cx, false);
        result
            .map(|()| parts)
            .map_err(|reply| reply.status.as_u16())
    };
    let by_header = rewritten(|f| {
        f.host_rewrite = Some(HostRewrite::Header(MatchedHeader::Name(
            HeaderName::from_static("x-h"),
        )));
    });
    let parts = by_header.unwrap();
    assert_eq!(parts.headers["host"], "a b");
    assert_eq!(parts.headers["x-envoy-original-host"], "h");
    let no_slash = rewritten(|f| f.path_rewrite = Some(PathRewrite::Prefix("no slash".into())));
    assert_eq!(no_slash.unwrap_err(), 400);
    let relative = rewritten(|f| f.path_rewrite = Some(PathRewrite::Prefix("relative".into())));
    assert_eq!(relative.unwrap_err(), 400);
}

#[test]
fn a_prefix_that_the_path_does_not_begin_with_is_not_rewritten() {
    let mut config = rewriting(prefix("/a/b"), |f| {
        f.path_rewrite = Some(PathRewrite::Prefix("/new".into()));
    });
    config.ignore_path_parameters_in_path_matching = true;
    let (uri, headers) = changed(config, get("http://h/a;v=1/b", &[]), None, false);
    assert_eq!((&*uri, headers), ("http://h/a;v=1/b", Vec::<String>::new()));
}

#[test]
fn hosts_are_made_of_paths_and_formats() {
    let by_path = |f: &mut Forward| {
        f.host_rewrite = Some(HostRewrite::PathRegex {
            pattern: Regex::new("^/([a-z]+)/.*$").unwrap(),
            substitution: r"\1.test".into(),
        });
        f.path_rewrite = Some(PathRewrite::Format(
            HeaderFormat::parse(b"/f/%REQ(x-a)%").unwrap(),
        ));
    };
    let request = || get("http://h/abc/d?q", &["x-a: 1"]);
    let (uri, _) = changed(rewriting(prefix("/"), by_path), request(), None, true);
    assert_eq!(uri, "http://abc.test/f/1?q");
    let by_format = |format: &'static str| {
        let config = rewriting(prefix("/"), |f| {
            let format = HeaderFormat::parse_marking_missing(format.as_bytes());
            f.host_rewrite = Some(HostRewrite::Format(format.unwrap()));
        });
        changed(config, request(), None, true).0
    };
    assert_eq!(by_format("%REQ(x-a)%.test"), "http://1.test/abc/d?q");
    assert_eq!(by_format("%REQ(x-none)%"), "http://-/abc/d?q");
}

#[test]
fn auto_host_is_the_endpoints_hostname() {
    assert_eq!(auto_host("a.b:80").unwrap().as_str(), "a.b:80");
    assert_eq!(auto_host(""), None);
}
