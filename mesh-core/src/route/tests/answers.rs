//! Routes that answer by themselves, and which cluster is drawn.

use http::{StatusCode, header::LOCATION};

use super::*;
use crate::{
    filter::{FaultConfig, FilterKind, FilterOverride, HttpFilterConfig},
    local_reply::LocalReply,
    matcher::MatchedHeader,
    regex::Regex,
};

fn answer(matcher: RouteMatch, action: RouteAction, parts: &request::Parts) -> Option<LocalReply> {
    let route = Route {
        matcher,
        action,
        ..Route::default()
    };
    let table = table(routes(vec![route]));
    let at = RouteIndex {
        virtual_host: 0,
        route: 0,
    };
    let connection = ConnectionInfo::default();
    table.route(at).unwrap().reply(
        &view(parts, &connection, 0),
        &FormatContext::without_request(&connection),
    )
}

fn location(reply: &LocalReply) -> Option<&str> {
    let (_, value) = reply.headers.iter().find(|(name, _)| name == LOCATION)?;
    value.to_str().ok()
}

fn redirect(change: impl FnOnce(&mut Redirect)) -> Redirect {
    let mut redirect = Redirect {
        response_code: StatusCode::MOVED_PERMANENTLY,
        ..Redirect::default()
    };
    change(&mut redirect);
    redirect
}

/// The locations are those of Envoy 1.40.
#[test]
fn redirects() {
    let full = |path: &str| Some(PathRewrite::Full(path.into()));
    let to_prefix = |path: &str| Some(PathRewrite::Prefix(path.into()));
    let regex = Some(PathRewrite::Regex {
        pattern: Regex::new("^/rd/(.*)").unwrap(),
        substitution: r"/z/\1".into(),
    });
    let http = "http://foo.com:80/rd/a?q=1";
    for (redirect, uri, proto, expected) in [
        (
            redirect(|r| {
                r.path = full("/p?own=1");
                r.strip_query = true
            }),
            http,
            None,
            "http://foo.com:80/p?own=1",
        ),
        (
            redirect(|r| {
                r.path = full("/p");
                r.strip_query = true
            }),
            http,
            None,
            "http://foo.com:80/p",
        ),
        (
            redirect(|r| r.path = full("p")),
            http,
            None,
            "http://foo.com:80/p?q=1",
        ),
        (
            redirect(|r| {
                r.path = to_prefix("/");
                r.port = Some(8443);
                r.scheme = Some("https".into())
            }),
            http,
            None,
            "https://foo.com:8443//a?q=1",
        ),
        (
            redirect(|r| r.host = Some("h.example.com".into())),
            http,
            None,
            "http://h.example.com/rd/a?q=1",
        ),
        (
            redirect(|r| {
                r.host = Some("h.example.com".into());
                r.path = to_prefix("/new")
            }),
            http,
            None,
            "http://h.example.com/new/a?q=1",
        ),
        (
            redirect(|r| {
                r.scheme = Some("http".into());
                r.strip_query = true
            }),
            http,
            None,
            "http://foo.com:80/rd/a",
        ),
        (
            redirect(|r| {
                r.path = regex.clone();
                r.port = Some(80)
            }),
            http,
            None,
            "http://foo.com:80/z/a?q=1",
        ),
        (
            redirect(|r| {
                r.scheme = Some("http".into());
                r.strip_query = true
            }),
            "https://foo.com:443/rd/a?q",
            Some("https"),
            "http://foo.com/rd/a",
        ),
        (
            redirect(|r| r.scheme = Some("https".into())),
            http,
            None,
            "https://foo.com/rd/a?q=1",
        ),
        (
            redirect(|r| r.scheme = Some("https".into())),
            "http://foo.com:29000/rd",
            None,
            "https://foo.com:29000/rd",
        ),
        (
            redirect(|r| r.scheme = Some("https".into())),
            "http://[::1]:80/rd",
            None,
            "https://[::1]/rd",
        ),
        (
            redirect(|r| r.scheme = Some("https".into())),
            "http://[::1]/rd",
            None,
            "https://[::1]/rd",
        ),
    ] {
        let proto = proto.map(|p| format!("x-forwarded-proto: {p}"));
        let parts = get(uri, &proto.as_deref().into_iter().collect::<Vec<_>>());
        let described = format!("{redirect:?} of {uri}");
        let reply = answer(
            prefix("/rd"),
            RouteAction::Redirect(Box::new(redirect)),
            &parts,
        )
        .unwrap();
        assert_eq!(location(&reply), Some(expected), "{described}");
        assert_eq!(reply.status, StatusCode::MOVED_PERMANENTLY);
        assert!(!reply.is_failure && reply.body.is_empty() && reply.flag.is_none());
        assert_eq!(reply.details, "direct_response");
    }
}

/// As Envoy 1.40: a rewriting redirect changes the request's path, `path_redirect` does not.
#[test]
fn response_operations_of_a_redirect_see_the_new_path() {
    for (rewrite, expected) in [
        (PathRewrite::Prefix("/new".into()), "/new/a?q"),
        (PathRewrite::Full("/new".into()), "/rd/a?q"),
    ] {
        let redirect = redirect(|r| r.path = Some(rewrite));
        let mut route = Route {
            matcher: prefix("/rd"),
            action: RouteAction::Redirect(Box::new(redirect)),
            ..Route::default()
        };
        route.headers.response.add = vec![HeaderAddition::new(
            HeaderName::from_static("x-path"),
            HeaderFormat::parse(b"%REQ(:path)%").unwrap(),
            AppendAction::AppendIfExistsOrAdd,
        )];
        let table = table(routes(vec![route]));
        let mut parts = get("http://h/rd/a?q", &[]);
        let at = RouteIndex {
            virtual_host: 0,
            route: 0,
        };
        let route = table.route(at).unwrap();
        route.rewrite_redirected(&mut parts, false).unwrap();
        let connection = ConnectionInfo::default();
        let cx = FormatContext::new(RequestHead::of(&parts), &connection);
        let mut response = HeaderMap::new();
        table.finalize_response(at, None, &mut response, &cx);
        assert_eq!(lines(&response), [format!("x-path: {expected}")]);
    }
}

#[test]
fn answers_directly() {
    let parts = get("http://foo.com/dr/x?y", &[]);
    for (status, expected) in [
        (200, None),
        (404, None),
        (201, Some("http://foo.com/dr/x?y")),
        (302, Some("http://foo.com/dr/x?y")),
    ] {
        let direct = DirectResponse {
            body_format: None,
            status: StatusCode::from_u16(status).unwrap(),
            body: "hi".into(),
        };
        let reply = answer(prefix("/"), RouteAction::DirectResponse(direct), &parts).unwrap();
        assert_eq!(reply.status.as_u16(), status);
        assert_eq!(reply.body, "hi");
        assert_eq!(location(&reply), expected);
        assert!(!reply.is_failure);
    }
    assert!(answer(prefix("/"), RouteAction::NonForwarding, &parts).is_none());
}

#[test]
fn requires_tls() {
    let host = |require_tls| VirtualHost {
        require_tls,
        ..virtual_host(&["*"], vec![to(prefix("/"), "c")])
    };
    let all = table(config(vec![host(RequireTls::All)]));
    let external = table(config(vec![host(RequireTls::ExternalOnly)]));
    let found = |table: &RouteTable, uri, headers: &[&str]| find(table, &get(uri, headers));
    let to_https = Found::RedirectToHttps;

    assert_eq!(found(&all, "http://h/x?y", &[]), to_https);
    assert_ne!(found(&all, "https://h/", &[]), to_https);
    assert_ne!(
        found(&all, "http://h/", &["x-forwarded-proto: https"]),
        to_https
    );
    assert_eq!(
        found(&all, "http://h/", &["x-envoy-internal: true"]),
        to_https
    );
    assert_eq!(found(&external, "http://h/", &[]), to_https);
    assert_ne!(
        found(&external, "http://h/", &["x-envoy-internal: true"]),
        to_https
    );
    let in_process = ConnectionInfo {
        in_process: true,
        ..ConnectionInfo::default()
    };
    let parts = get("http://h/", &[]);
    let from_inside = external.find(&view(&parts, &in_process, 0), &mut Scratch::default());
    assert_ne!(from_inside, to_https);

    let parts = get("http://h:80/x?y", &[]);
    let connection = ConnectionInfo::default();
    let reply = https_redirect(&view(&parts, &connection, 0));
    assert_eq!(location(&reply), Some("https://h:80/x?y"));
    assert_eq!(reply.status, StatusCode::MOVED_PERMANENTLY);
}

fn select(forward: Forward, parts: &request::Parts, random: u64) -> Option<SelectedCluster> {
    let table = table(routes(vec![super::forward(prefix("/"), forward)]));
    let at = RouteIndex {
        virtual_host: 0,
        route: 0,
    };
    let connection = ConnectionInfo::default();
    let by_name = |name: &str| (name == "known").then_some(ClusterIndex(7));
    let route = table.route(at).unwrap();
    route.select_cluster(&view(parts, &connection, random), &by_name)
}

/// Envoy's answers for weights 30 and 70.
#[test]
fn draws_by_weight() {
    let weights = vec![
        WeightedCluster::new("a".into(), 30),
        WeightedCluster::new("b".into(), 70),
    ];
    let mut forward = Forward::to(ClusterSpecifier::Weighted(weights));
    forward.weighted_header = Some(HeaderName::from_static("x-draw"));
    for (value, entry) in [
        (0, 0),
        (29, 0),
        (30, 1),
        (99, 1),
        (100, 0),
        (129, 0),
        (130, 1),
    ] {
        let expected = Some(SelectedCluster {
            cluster: ClusterIndex(entry),
            weighted: Some(entry),
        });
        let drawn = select(forward.clone(), &get("http://h/", &[]), value);
        assert_eq!(drawn, expected, "{value}");
        let given = get("http://h/", &[&format!("x-draw: {value}")]);
        assert_eq!(
            select(forward.clone(), &given, 30),
            expected,
            "header {value}"
        );
    }
    // A header that is no number, or repeated, counts as none.
    for headers in [&["x-draw: x"][..], &["x-draw: 30", "x-draw: 30"]] {
        let drawn = select(forward.clone(), &get("http://h/", headers), 0).unwrap();
        assert_eq!(drawn.weighted, Some(0));
    }
    let empty = Forward::to(ClusterSpecifier::Weighted(Vec::new()));
    assert_eq!(select(empty, &get("http://h/", &[]), 0), None);
}

#[test]
fn a_header_names_the_cluster() {
    let name = HeaderName::from_static("x-cluster");
    let forward = Forward::to(ClusterSpecifier::ClusterHeader(MatchedHeader::Name(name)));
    let drawn = |headers: &[&str]| select(forward.clone(), &get("http://h/", headers), 0);
    let known = SelectedCluster {
        cluster: ClusterIndex(7),
        weighted: None,
    };
    assert_eq!(drawn(&["x-cluster: known"]), Some(known));
    assert_eq!(drawn(&["x-cluster: unknown"]), None);
    assert_eq!(drawn(&[]), None);
}

/// The most specific level wins, and a weighted cluster is more specific than its route.
#[test]
fn filters_depend_on_the_cluster_drawn() {
    let chain = FilterChain::compile(&[HttpFilterConfig::new(
        "fault",
        FilterKind::Fault(Arc::default()),
    )]);
    let fault = |cluster: &str| {
        let fault = FaultConfig {
            upstream_cluster: cluster.into(),
            ..FaultConfig::default()
        };
        vec![("fault".into(), FilterOverride::Fault(Arc::new(fault)))]
    };
    let mut special = WeightedCluster::new("special".into(), 1);
    special.filter_overrides = fault("of-entry");
    let plain = WeightedCluster::new("plain".into(), 1);
    let weights = ClusterSpecifier::Weighted(vec![special, plain]);
    let mut route = super::forward(prefix("/"), Forward::to(weights));
    route.filter_overrides = fault("of-route");
    let mut config = routes(vec![route, to(prefix("/"), "c")]);
    config.virtual_hosts[0].filter_overrides = fault("of-host");
    let table = RouteTable::compile(Arc::new(config), &chain, &Slots::default());

    let filters = |route, weighted| {
        let at = RouteIndex {
            virtual_host: 0,
            route,
        };
        let selected = SelectedCluster {
            cluster: ClusterIndex(0),
            weighted,
        };
        format!(
            "{:?}",
            table.route(at).unwrap().filters_for(Some(&selected))
        )
    };
    assert!(filters(0, Some(0)).contains("of-entry"));
    assert!(filters(0, Some(1)).contains("of-route"));
    assert!(filters(0, None).contains("of-route"));
    assert!(filters(1, None).contains("of-host"));
}
