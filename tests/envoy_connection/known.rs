//! The differences that are listed: what the `http` crate and hyper cannot say or refuse below us, which of several
//! faults is named, and what would cost every request for the sake of one in a million.

use crate::request::Case;

/// Whether the case is one that need not be the same.
pub(crate) fn is_listed(case: &Case, manager: &str) -> bool {
    let says = |field: &str| manager.contains(field);
    // `http::uri::Authority` refuses what Envoy passes on, and an empty host finds no virtual host but a lone `*`.
    let odd = |host: &&str| host.contains('%') || *host == "[::1" || host.is_empty();
    let odd_host = case.hosts.iter().any(odd) || case.target == "c.test:99999";
    // hyper does not look at the length that an answer to HEAD or CONNECT announces.
    let bodiless = ["HEAD", "CONNECT"].contains(&case.method);
    let odd_length = bodiless && case.answers_with(11);
    // hyper makes no tunnel of 204.
    let no_tunnel = case.method == "CONNECT" && case.answers_with(3);
    // hyper sends no length with success to CONNECT over HTTP/2.
    let no_length = case.http2 && case.method == "CONNECT" && case.answers_with(10);
    // An informational response, or a refusal by the codec, lacks the request's id or has one.
    let is_early = says("\"proxy_100_continue\": true")
        && (case.expects() || case.answers_with(8) || case.answers_with(9));
    let is_id = says("\"always_set_request_id_in_response\": true")
        && (is_early || case.body_is_bad() || case.is_old() || case.faults() > 0);
    // `100 Continue` is said before everything of the head was looked at.
    let is_hasty =
        case.expects() && (case.nominates("x-forwarded-for") || case.target.starts_with("https:"));
    // The scheme that is written over the request's own is not the one that a front proxy minds.
    let is_foreign = case.target.starts_with("https:") && says("scheme_to_overwrite");
    // What comes of gRPC that asks for a tunnel.
    let grpc = ("content-type", "application/grpc".to_owned());
    let is_tunnel = case.method == "CONNECT" || case.headers.iter().any(|(n, _)| *n == "upgrade");
    let is_both = is_tunnel && (case.headers.contains(&grpc) || case.is_old());
    odd_host
        || odd_length
        || no_length
        || no_tunnel
        || is_both
        || is_id
        || is_hasty
        || is_foreign
        || case.faults() > 1
}
