//! Requests.

use http::{HeaderName, Method, StatusCode, Uri, Version};

use super::*;
use crate::model::{ClusterSpecifier, EscapedSlashes, Forward, OriginalIpDetection, StripHostPort};

#[test]
fn the_uri_becomes_absolute() {
    for (uri, headers, expected) in [
        ("/x?q", &[("host", "a:80")][..], "http://a:80/x?q"),
        ("http://b:80/x", &[("host", "a")], "http://b:80/x"),
        ("http://b", &[("host", "a")], "http://b/"),
        ("https://b/x", &[("host", "a")], "https://b/x"),
        (
            "/",
            &[("host", "a"), ("x-forwarded-proto", "https")],
            "https://a/",
        ),
        (
            "/",
            &[("host", "a"), ("x-forwarded-proto", "ftp")],
            "http://a/",
        ),
    ] {
        let mut parts = parts(uri, headers);
        accept(&manager(), &from("1.1.1.1:1"), &mut parts).unwrap();
        assert_eq!(parts.uri, expected, "{uri} {headers:?}");
        assert!(!parts.headers.contains_key("host"));
    }
    let mut tls = from("1.1.1.1:1");
    tls.tls = Some(Default::default());
    let mut parts = parts("/", &[("host", "a")]);
    accept(&manager(), &tls, &mut parts).unwrap();
    assert_eq!(parts.uri, "https://a/");
    assert_eq!(parts.headers["x-forwarded-proto"], "https");
}

#[test]
fn the_host_of_a_call_from_inside_names_the_virtual_host() {
    let mut parts = parts("http://10.0.0.1:9080/x", &[("host", "reviews")]);
    let accepted = accept(&manager(), &in_process(), &mut parts).unwrap();
    assert!(accepted.internal);
    assert_eq!(parts.uri, "http://reviews/x");
    assert!(!parts.headers.contains_key("host"));
}

#[test]
fn a_call_from_inside_keeps_what_the_application_set() {
    let headers = [
        ("x-envoy-upstream-rq-timeout-ms", "100"),
        ("x-envoy-internal", "true"),
        ("te", "gzip"),
        ("keep-alive", "5"),
        ("x-request-id", "mine"),
    ];
    let mut parts = parts("http://a/", &headers);
    accept(&manager(), &in_process(), &mut parts).unwrap();
    assert_eq!(
        lines(&parts.headers),
        [
            "keep-alive: 5",
            "te: gzip",
            "x-envoy-internal: true",
            "x-envoy-upstream-rq-timeout-ms: 100",
            "x-forwarded-proto: http",
            "x-request-id: mine",
        ]
    );
}

#[test]
fn bad_heads_are_refused_in_envoys_words() {
    let (plain, peer) = (manager(), from("1.1.1.1:1"));
    let host = ("host", "a");
    let is = |status, details: &str| (status, details.to_owned());
    assert_eq!(
        refused(&plain, &peer, "/", &[]),
        is(400, "missing_host_header")
    );
    assert_eq!(
        refused(&plain, &in_process(), "/", &[]),
        is(400, "missing_host_header")
    );
    let bad = refused(&plain, &peer, "/", &[("host", "a b")]);
    assert_eq!(bad, is(400, "http.invalid_authority"));
    assert_eq!(
        refused(&plain, &peer, "*", &[host]),
        is(404, "absolute_path_rejected")
    );
    let mut normal = manager();
    normal.normalize_path = true;
    let bad = refused(&normal, &peer, "/a%00", &[host]);
    assert_eq!(bad, is(400, "path_normalization_failed"));
    let https = refused(&edge(), &peer, "https://a/", &[]);
    assert_eq!(https, is(403, "http1.invalid_scheme"));
    assert_eq!(
        refused(&plain, &peer, "a", &[host]),
        is(400, "http1.codec_error")
    );
    for nominated in ["x-forwarded-for", "close, :path", "1,2,3,4,5,6,7,8,9,10,11"] {
        let bad = refused(&plain, &peer, "/", &[host, ("connection", nominated)]);
        assert_eq!(
            bad,
            is(400, "http1.connection_header_rejected"),
            "{nominated}"
        );
    }
    // Envoy's codec looks at what `connection` names unless a tunnel is asked for.
    let mut connect = parts("a.test:443", &[("connection", "x-forwarded-for")]);
    connect.method = Method::CONNECT;
    assert!(accept(&plain, &peer, &mut connect).is_ok());
    let mut old = parts("/", &[host]);
    old.version = Version::HTTP_10;
    let reply = accept(&plain, &peer, &mut old.clone()).unwrap_err();
    assert_eq!(reply.status.as_u16(), 426);
    assert_eq!(reply.body, "Upgrade Required");
    let mut lenient = manager();
    lenient.accept_http_10 = true;
    assert!(accept(&lenient, &peer, &mut old).is_ok());
    let reply = check_upgrade("foo", &plain, None).unwrap_err();
    assert_eq!(
        (reply.status.as_u16(), reply.closes_connection),
        (403, true)
    );
}

#[test]
fn an_escaped_slash_redirects_to_the_normal_path() {
    let mut manager = manager();
    manager.normalize_path = true;
    manager.escaped_slashes = EscapedSlashes::UnescapeAndRedirect;
    let mut parts = parts("/a%2Fb/../c?q", &[("host", "a")]);
    let reply = accept(&manager, &from("1.1.1.1:1"), &mut parts).unwrap_err();
    assert_eq!(reply.status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(reply.headers[0].1, "/a/c?q");
    assert!(!reply.is_failure);
    assert_eq!(parts.uri.path_and_query().unwrap(), "/a/c?q");
}

/// Envoy rewrites the head before it decides (`PathUtil::unescapeSlashes`): formats and routes of the refusal see that.
#[test]
fn what_is_refused_for_its_slashes_shows_the_path_as_far_as_it_was_normal() {
    let grpc = ("content-type", "application/grpc");
    for (action, normalize, header, came, seen) in [
        (
            EscapedSlashes::RejectRequest,
            true,
            ("x", ""),
            "/a%2Fb/../c?%2F",
            "/a/b/../c?%2F",
        ),
        (
            EscapedSlashes::UnescapeAndRedirect,
            true,
            grpc,
            "/a%2Fb/../c?%2F",
            "/a/c?%2F",
        ),
        (
            EscapedSlashes::UnescapeAndRedirect,
            false,
            grpc,
            "/a%5Cb",
            "/a\\b",
        ),
        (
            EscapedSlashes::UnescapeAndForward,
            true,
            ("x", ""),
            "/a%2Fb%00",
            "/a/b%00",
        ),
        (
            EscapedSlashes::KeepUnchanged,
            true,
            ("x", ""),
            "/a%2Fb%00",
            "/a%2Fb%00",
        ),
    ] {
        let mut manager = manager();
        manager.normalize_path = normalize;
        manager.escaped_slashes = action;
        let mut parts = parts(came, &[("host", "a"), header]);
        let reply = accept(&manager, &from("1.1.1.1:1"), &mut parts).unwrap_err();
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{came}");
        assert_eq!(
            parts.uri.path_and_query().unwrap(),
            seen,
            "{action:?} {came}"
        );
    }
}

#[test]
fn ports_are_cut_from_the_host() {
    for (strip, host, expected) in [
        (StripHostPort::No, "a:8080", "a:8080"),
        (StripHostPort::Matching, "a:8080", "a"),
        (StripHostPort::Matching, "a:81", "a:81"),
        (StripHostPort::Any, "a:81", "a"),
        (StripHostPort::Any, "[::1]:81", "[::1]"),
        (StripHostPort::Any, "A.B", "A.B"),
    ] {
        let mut manager = manager();
        manager.strip_host_port = strip;
        for uri in [format!("http://{host}/"), "/".to_owned()] {
            let mut parts = parts(&uri, &[]);
            if uri == "/" {
                parts.headers.insert("host", host.parse().unwrap());
            }
            accept(&manager, &from("1.1.1.1:1"), &mut parts).unwrap();
            assert_eq!(parts.uri.authority().unwrap(), expected, "{strip:?} {uri}");
        }
    }
}

#[test]
fn hop_by_hop_headers_end_here() {
    let headers = [
        ("connection", "keep-alive, x-foo"),
        ("keep-alive", "5"),
        ("proxy-connection", "y"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("x-foo", "1"),
        ("x-envoy-internal", "true"),
        ("x-forwarded-client-cert", "z"),
        ("x-request-id", "i"),
    ];
    let (_, lines) = accepted(&manager(), &from("1.1.1.1:1"), &headers);
    assert_eq!(lines, ["x-forwarded-proto: http", "x-request-id: i"]);
    let expect = [("expect", "100-Continue"), ("x-request-id", "i")];
    let (_, lines) = accepted(&manager(), &from("1.1.1.1:1"), &expect);
    assert_eq!(lines, ["x-forwarded-proto: http", "x-request-id: i"]);
    for (te, expected) in [
        ("trailers", Some("trailers")),
        ("gzip, trailers", Some("trailers")),
        ("trailers;q=1, gzip", None),
        ("gzip", None),
    ] {
        let mut parts = parts("http://a/", &[("te", te)]);
        accept(&manager(), &from("1.1.1.1:1"), &mut parts).unwrap();
        let left = parts.headers.get("te").map(|v| v.to_str().unwrap());
        assert_eq!(left, expected, "{te}");
    }
}

#[test]
fn a_referer_must_be_one_uri() {
    for (referers, kept) in [
        (&["http://a/b?c"][..], true),
        (&["/path"], true),
        (&["a.test"], true),
        (&["a/b:c?d"], true),
        (&["a/b#c"], false),
        (&["path?q"], true),
        (&["javascript:x"], false),
        (&["http://user@a/"], false),
        (&["http://a/#f"], false),
        // One line for two, as in Envoy.
        (&["http://a/", "b"], true),
    ] {
        let mut parts = parts("http://a/", &[]);
        for referer in referers {
            parts.headers.append("referer", referer.parse().unwrap());
        }
        accept(&manager(), &from("1.1.1.1:1"), &mut parts).unwrap();
        assert_eq!(parts.headers.contains_key("referer"), kept, "{referers:?}");
    }
}

/// Headers that clients use to steer a proxy, and one that all may send.
const STEERING: Headers<'static> = &[
    ("x-envoy-retry-on", "5xx"),
    ("x-envoy-force-trace", "1"),
    ("x-envoy-upstream-rq-timeout-ms", "100"),
    ("x-envoy-expected-rq-timeout-ms", "5"),
    ("x-envoy-original-path", "/p"),
    ("x-envoy-original-host", "h"),
    ("x-envoy-downstream-service-node", "n"),
    ("x-envoy-decorator-operation", "d"),
    ("x-envoy-attempt-count", "3"),
    ("x-request-id", "i"),
];

#[test]
fn steering_headers_of_external_peers_are_removed() {
    let (inner, lines) = accepted(&manager(), &from("127.0.0.1:1"), STEERING);
    assert!(!inner.internal, "no range is internal by default");
    assert_eq!(
        lines,
        [
            "x-envoy-attempt-count: 3",
            "x-envoy-decorator-operation: d",
            "x-envoy-downstream-service-node: n",
            "x-envoy-original-host: h",
            "x-envoy-original-path: /p",
            "x-forwarded-proto: http",
            "x-request-id: i",
        ]
    );
    let (_, lines) = accepted(&edge(), &from("8.8.8.8:1"), STEERING);
    let id = format!("x-request-id: {NEW_ID}");
    assert_eq!(
        lines,
        [
            "x-envoy-attempt-count: 3",
            "x-envoy-external-address: 8.8.8.8",
            "x-forwarded-for: 8.8.8.8",
            "x-forwarded-proto: http",
            &id,
        ]
    );
}

#[test]
fn internal_is_a_lone_address_in_an_internal_range() {
    let internal = |mut manager: ConnectionManagerConfig| {
        manager.internal_address_ranges = vec!["10.0.0.0/8".parse().unwrap()];
        manager
    };
    let (inner, front) = (internal(manager()), internal(edge()));
    let one = &[("x-forwarded-for", "10.1.1.1")][..];
    let two = &[("x-forwarded-for", "9.9.9.9, 10.1.1.1")][..];
    let lines = &[
        ("x-forwarded-for", "9.9.9.9"),
        ("x-forwarded-for", "10.1.1.1"),
    ][..];
    let other = &[("x-forwarded-for", "9.9.9.9")][..];
    let broken = &[("x-forwarded-for", "x")][..];
    for (manager, peer, headers, expected) in [
        (&inner, "10.2.2.2:1", &[][..], false),
        (&inner, "8.8.8.8:1", one, true),
        (&inner, "8.8.8.8:1", two, false),
        (&inner, "8.8.8.8:1", lines, false),
        (&inner, "8.8.8.8:1", other, false),
        (&inner, "8.8.8.8:1", broken, false),
        (&front, "10.2.2.2:1", &[], true),
        (&front, "8.8.8.8:1", &[], false),
        (&front, "10.2.2.2:1", one, false),
    ] {
        let (accepted, lines) = accepted(manager, &from(peer), headers);
        assert_eq!(accepted.internal, expected, "{peer} {headers:?}");
        let marked = lines.iter().any(|line| line == "x-envoy-internal: true");
        assert_eq!(marked, expected, "{peer} {headers:?}");
    }
    let mut headers = STEERING.to_vec();
    headers.extend(one);
    let (_, kept) = accepted(&inner, &from("8.8.8.8:1"), &headers);
    assert!(kept.contains(&"x-envoy-retry-on: 5xx".to_owned()));
}

#[test]
fn the_peer_is_appended_to_x_forwarded_for() {
    let forwarded = |manager: &ConnectionManagerConfig, connection: &ConnectionInfo| {
        let before = ("x-forwarded-for", "1.2.3.4");
        let (_, lines) = accepted(manager, connection, &[before]);
        let find = |name: &str| {
            let line = lines.iter().find_map(|line| line.strip_prefix(name));
            line.map(str::to_owned)
        };
        (
            find("x-forwarded-for: "),
            find("x-envoy-external-address: "),
        )
    };
    let some = |text: &str| Some(text.to_owned());
    let peer = from("8.8.8.8:1");
    assert_eq!(forwarded(&manager(), &peer), (some("1.2.3.4"), None));
    let at_edge = forwarded(&edge(), &peer);
    assert_eq!(at_edge, (some("1.2.3.4,8.8.8.8"), some("8.8.8.8")));

    // Envoy names itself instead of a loopback peer.
    let mut loopback = from("127.0.0.1:1");
    loopback.node_address = Some("192.0.2.2".parse().unwrap());
    let at_edge = forwarded(&edge(), &loopback);
    assert_eq!(at_edge, (some("1.2.3.4,192.0.2.2"), some("127.0.0.1")));

    let mut skip = edge();
    skip.skip_xff_append = true;
    assert_eq!(forwarded(&skip, &peer), (some("1.2.3.4"), some("8.8.8.8")));
    // One trusted proxy in front: its peer is the client.
    let mut trusted = edge();
    trusted.xff_num_trusted_hops = 1;
    let at_edge = forwarded(&trusted, &peer);
    assert_eq!(at_edge, (some("1.2.3.4,8.8.8.8"), some("1.2.3.4")));
}

#[test]
fn only_a_trusted_proxy_says_the_scheme_at_the_edge() {
    let proto = |manager: &ConnectionManagerConfig| {
        let mut parts = parts("/", &[("host", "a"), ("x-forwarded-proto", "https")]);
        accept(manager, &from("1.1.1.1:1"), &mut parts).unwrap();
        let scheme = parts.uri.scheme_str().unwrap().to_owned();
        assert_eq!(parts.headers["x-forwarded-proto"], scheme);
        scheme
    };
    assert_eq!(proto(&manager()), "https");
    assert_eq!(proto(&edge()), "http");
    let mut trusted = edge();
    trusted.xff_num_trusted_hops = 1;
    assert_eq!(proto(&trusted), "https");
}

#[test]
fn upgrades_that_the_manager_allows_keep_their_headers() {
    let mut manager = manager();
    manager.upgrades = vec!["websocket".into()];
    let headers = [("connection", "Upgrade"), ("upgrade", "WebSocket")];
    let (found, lines) = accepted(&manager, &from("1.1.1.1:1"), &headers);
    assert_eq!(found.upgrade.as_deref(), Some("websocket"));
    assert!(lines.contains(&"connection: Upgrade".to_owned()));
    assert!(lines.contains(&"upgrade: WebSocket".to_owned()));
    let (found, _) = accepted(&manager, &from("1.1.1.1:1"), &headers[..1]);
    assert_eq!(found.upgrade, None);
    let h2c = [("connection", "Upgrade"), ("upgrade", "h2c")];
    let (found, lines) = accepted(&manager, &from("1.1.1.1:1"), &h2c);
    assert_eq!(found.upgrade, None);
    assert!(!lines.iter().any(|line| line.starts_with("upgrade")));
    let mut route = Forward::to(ClusterSpecifier::Cluster("c".into()));
    assert!(check_upgrade("websocket", &manager, Some(&route)).is_ok());
    route.upgrades = vec![("websocket".into(), false), ("foo".into(), true)];
    assert!(check_upgrade("websocket", &manager, Some(&route)).is_err());
    assert!(check_upgrade("foo", &manager, Some(&route)).is_ok());
}

#[test]
fn a_client_is_found_by_the_extensions_in_their_order() {
    let custom = |reject| OriginalIpDetection::CustomHeader {
        name: HeaderName::from_static("x-client"),
        trusted: true,
        reject,
    };
    let xff = |ranges: &[&str], skip_append| OriginalIpDetection::Xff {
        trusted_hops: 0,
        trusted_ranges: ranges.iter().map(|r| r.parse().unwrap()).collect(),
        skip_append,
    };
    let peer = from("10.0.0.9:1");
    let mut manager = manager();
    manager.original_ip_detection = vec![custom(None), xff(&["10.0.0.0/8"], true)];
    for (headers, client, forwarded) in [
        (&[("x-client", "1.1.1.1")][..], Some("1.1.1.1"), None),
        (
            &[("x-forwarded-for", "2.2.2.2, 10.0.0.1")],
            Some("2.2.2.2"),
            Some("2.2.2.2, 10.0.0.1"),
        ),
        (&[("x-client", "bad")], None, None),
    ] {
        let mut parts = parts("http://a/", headers);
        let accepted = accept(&manager, &peer, &mut parts).unwrap();
        assert_eq!(
            accepted.client,
            client.map(|c| c.parse().unwrap()),
            "{headers:?}"
        );
        let got = parts.headers.get("x-forwarded-for");
        assert_eq!(got.map(|v| v.to_str().unwrap()), forwarded, "{headers:?}");
    }
    manager.original_ip_detection = vec![xff(&["11.0.0.0/8"], true)];
    let mut untrusted = parts("http://a/", &[]);
    accept(&manager, &peer, &mut untrusted).unwrap();
    assert_eq!(untrusted.headers["x-forwarded-for"], "10.0.0.9");
    manager.original_ip_detection = vec![custom(Some(StatusCode::FORBIDDEN))];
    let bad = refused(&manager, &peer, "http://a/", &[]);
    assert_eq!(bad, (403, "rejecting_because_detection_failed".to_owned()));
}

#[test]
fn hosts_lose_their_port_and_dot_as_told() {
    for (host, any, dot, expected) in [
        ("a.test.:80", false, true, "a.test:80"),
        ("a.test.", true, true, "a.test"),
        ("a.test.:80", true, true, "a.test"),
        ("a.test:99999", true, false, "a.test"),
        ("[::1]:80", true, false, "[::1]"),
        ("[::1]", true, false, "[::1]"),
    ] {
        let mut manager = manager();
        if any {
            manager.strip_host_port = StripHostPort::Any;
        }
        manager.strip_trailing_host_dot = dot;
        let mut parts = parts("/", &[("host", host)]);
        accept(&manager, &from("1.1.1.1:1"), &mut parts).unwrap();
        assert_eq!(parts.uri.authority().unwrap(), expected, "{host}");
    }
}

#[test]
fn what_the_codec_refused_is_answered_in_its_words() {
    let mut parts = parts("/", &[]);
    parts.extensions.insert(CodecError::HEAD_TOO_LARGE);
    let reply = accept(&manager(), &from("1.1.1.1:1"), &mut parts).unwrap_err();
    assert_eq!(reply.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    assert!(reply.closes_connection);
}

#[test]
fn connect_keeps_its_authority_and_is_an_upgrade_if_allowed() {
    let connect = |manager: &ConnectionManagerConfig| {
        let mut parts = parts("a:80", &[("host", "a:80")]);
        parts.method = Method::CONNECT;
        let accepted = accept(manager, &from("1.1.1.1:1"), &mut parts).unwrap();
        assert_eq!(parts.uri, Uri::from_static("a:80"));
        accepted.upgrade
    };
    let mut manager = manager();
    assert_eq!(connect(&manager).as_deref(), Some("connect"));
    assert!(check_upgrade("connect", &manager, None).is_err());
    manager.upgrades = vec!["connect".into()];
    assert!(check_upgrade("connect", &manager, None).is_ok());
    manager.strip_host_port = StripHostPort::Any;
    assert_eq!(connect(&manager).as_deref(), Some("connect"));
}

#[test]
fn request_ids_are_generated_unless_told_not_to() {
    let mut manager = manager();
    let (_, lines) = accepted(&manager, &from("1.1.1.1:1"), &[]);
    assert!(lines.contains(&format!("x-request-id: {NEW_ID}")));
    manager.generate_request_id = false;
    let (_, lines) = accepted(&manager, &from("1.1.1.1:1"), &[]);
    assert_eq!(lines, ["x-forwarded-proto: http"]);
}

#[test]
fn a_query_says_what_it_holds() {
    for (method, headers, accepted) in [
        ("QUERY", &[("host", "a")][..], false),
        ("QUERY", &[("host", "a"), ("content-type", "")], false),
        ("QUERY", &[("host", "a"), ("content-type", "a/b")], true),
        ("POST", &[("host", "a")], true),
    ] {
        for connection in [from("1.1.1.1:1"), in_process()] {
            let mut parts = parts("/", headers);
            parts.method = method.parse().unwrap();
            let reply = accept(&manager(), &connection, &mut parts).err();
            let details = reply.map(|reply| (reply.status.as_u16(), reply.details.to_string()));
            let expected = (400, "query_missing_content_type".to_owned());
            assert_eq!(
                details,
                (!accepted).then_some(expected),
                "{method} {headers:?}"
            );
        }
    }
}
