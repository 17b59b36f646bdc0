//! Responses.

use http::{HeaderName, StatusCode};

use super::*;
use crate::model::ServerHeader;

fn responded(
    manager: &ConnectionManagerConfig,
    status: u16,
    headers: Headers<'_>,
    upgraded: bool,
) -> Vec<String> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::from_static(name);
        map.append(name, HeaderValue::from_static(value));
    }
    let date = HeaderValue::from_static("now");
    let id = HeaderValue::from_static("i");
    let status = StatusCode::from_u16(status).unwrap();
    on_response(manager, status, &mut map, &date, Some(&id), upgraded);
    lines(&map)
}

#[test]
fn responses_lose_hop_by_hop_headers_and_get_date_and_server() {
    let hops = [
        ("connection", "close"),
        ("keep-alive", "5"),
        ("proxy-connection", "x"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "foo"),
        ("x-a", "b"),
    ];
    let lines = responded(&manager(), 200, &hops, false);
    assert_eq!(lines, ["date: now", "server: envoy", "x-a: b"]);
    let lines = responded(&manager(), 101, &hops, true);
    assert_eq!(
        lines,
        [
            "connection: close",
            "date: now",
            "server: envoy",
            "upgrade: foo",
            "x-a: b",
        ]
    );
    assert_eq!(
        responded(&manager(), 200, &[("date", "then")], false)[0],
        "date: then"
    );
    assert!(responded(&manager(), 103, &[], false).is_empty());
}

#[test]
fn the_server_header_is_overwritten_appended_or_passed() {
    let server = |transformation, given: Headers<'_>| {
        let mut manager = manager();
        manager.server_header = transformation;
        manager.server_name = HeaderValue::from_static("istio-envoy");
        let lines = responded(&manager, 200, given, false);
        lines.into_iter().nth(1)
    };
    let given = &[("server", "up")][..];
    for (transformation, given, expected) in [
        (ServerHeader::Overwrite, given, Some("server: istio-envoy")),
        (ServerHeader::Overwrite, &[], Some("server: istio-envoy")),
        (ServerHeader::AppendIfAbsent, given, Some("server: up")),
        (
            ServerHeader::AppendIfAbsent,
            &[],
            Some("server: istio-envoy"),
        ),
        (ServerHeader::PassThrough, given, Some("server: up")),
        (ServerHeader::PassThrough, &[], None),
    ] {
        let found = server(transformation, given);
        assert_eq!(found.as_deref(), expected, "{transformation:?} {given:?}");
    }
}

#[test]
fn the_request_id_is_in_the_response_if_told_so() {
    let mut manager = manager();
    assert_eq!(responded(&manager, 200, &[], false).len(), 2);
    manager.always_set_request_id_in_response = true;
    assert_eq!(responded(&manager, 200, &[], false)[2], "x-request-id: i");
}

#[test]
fn via_is_appended_both_ways() {
    let mut manager = manager();
    manager.via = Some(HeaderValue::from_static("mesh"));
    let (_, lines) = accepted(&manager, &from("1.1.1.1:1"), &[("via", "1.1 q")]);
    assert!(lines.contains(&"via: 1.1 q, mesh".to_owned()));
    assert_eq!(
        responded(&manager, 200, &[("via", "1.1 q")], false)[2],
        "via: 1.1 q, mesh"
    );
    assert_eq!(responded(&manager, 200, &[], false)[2], "via: mesh");
}
