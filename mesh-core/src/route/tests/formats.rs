//! Substitution operators in header values, bodies and log lines.

use std::time::{Duration, Instant};

use super::*;
use crate::{
    flags::ResponseFlag,
    metadata::{MetadataStruct, MetadataValue},
};

#[test]
fn formats() {
    let parts = get("http://h:80/p?q", &["x-a: abc", "x-b: "]);
    let connection = ConnectionInfo {
        peer: Some("10.0.0.1:5000".parse().unwrap()),
        local: Some("[::1]:80".parse().unwrap()),
        ..ConnectionInfo::default()
    };
    let mut cx = FormatContext::new(RequestHead::of(&parts), &connection);
    cx.upstream_host = Some("10.0.0.2:80".parse().unwrap());
    cx.protocol = Some(http::Version::HTTP_2);
    for (format, expected) in [
        ("constant", Some("constant")),
        ("", None),
        ("100%%", Some("100%")),
        ("%%%REQ(x-a)%%%", Some("%abc%")),
        ("%REQ(X-A)%", Some("abc")),
        ("%REQ(x-a):2%", Some("ab")),
        ("%REQ(x-a):0%", None),
        ("%REQ(x-b)%", None),
        ("%REQ(nope)%", None),
        ("%REQ(nope?x-a)%", Some("abc")),
        (
            "%REQ(:METHOD)% %REQ(:SCHEME)% %REQ(:AUTHORITY)% %REQ(:PATH)%",
            Some("GET http h:80 /p?q"),
        ),
        ("%REQ(host)%", Some("h:80")),
        ("%RESP(x-a)%", None),
        ("%DOWNSTREAM_REMOTE_ADDRESS%", Some("10.0.0.1:5000")),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", Some("10.0.0.1")),
        ("%DOWNSTREAM_REMOTE_PORT%", Some("5000")),
        ("%DOWNSTREAM_LOCAL_ADDRESS%", Some("[::1]:80")),
        ("%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%", Some("::1")),
        ("%DOWNSTREAM_LOCAL_PORT%", Some("80")),
        ("%PROTOCOL%", Some("HTTP/2")),
        ("%UPSTREAM_HOST%", Some("10.0.0.2:80")),
        ("%UPSTREAM_CLUSTER%", None),
    ] {
        let value = HeaderFormat::parse(format.as_bytes())
            .unwrap()
            .evaluate(&cx);
        let value = value.as_ref().map(|v| v.to_str().unwrap());
        assert_eq!(value, expected, "{format}");
    }
}

#[test]
fn refuses_formats_that_it_cannot_keep() {
    for (format, reason) in [
        ("%NONE%", "Not supported field in StreamInfo: NONE"),
        (
            "a%",
            "Incorrect configuration: a%. Couldn't find valid command at position 1",
        ),
        ("%REQ(x-a%", "valid command at position 0"),
        ("%REQ%", "REQ requires parameters"),
        ("%REQ()%", "REQ requires parameters"),
        ("%REQ(a b)%", "\"a b\" is not a header name"),
        (
            "%REQ(a?b?c)%",
            "More than 1 alternative header specified in token: a?b?c",
        ),
        ("%REQ(x-a):x%", "valid command at position 0"),
        (
            "%PROTOCOL(x)%",
            "PROTOCOL does not take any parameters or length",
        ),
        (
            "%PROTOCOL:3%",
            "PROTOCOL does not take any parameters or length",
        ),
        ("%START_TIME(%Q)%", "is not a format of time"),
        ("%PATH(X)%", "Invalid PATH option: 'X'"),
        ("% %", "valid command at position 0"),
        ("a\nb", "control characters"),
    ] {
        let error = HeaderFormat::parse(format.as_bytes())
            .unwrap_err()
            .to_string();
        assert!(error.contains(reason), "{format:?}: {error}");
    }
}

fn written(format: &SubstitutionFormat, cx: &FormatContext<'_>) -> String {
    let mut out = Vec::new();
    format.write(cx, &mut out);
    String::from_utf8(out).unwrap()
}

fn text(text: &str) -> MetadataValue {
    MetadataValue::String(text.into())
}

/// A tree for `json_format`: what the operators are worth, beside constants of each kind.
fn tree() -> MetadataStruct {
    let nested = [("g", text("%REQ(X-NONE)%"))].map(|(k, v)| (k.into(), v));
    MetadataStruct::from(
        [
            ("b", MetadataValue::Number(1.5)),
            ("a", MetadataValue::Bool(true)),
            ("c", MetadataValue::Null),
            ("d", text("%REQ(X-NONE)%")),
            ("e", text("x%REQ(X-NONE)%")),
            ("f", MetadataValue::Struct(MetadataStruct::from(nested))),
            (
                "h",
                MetadataValue::List(vec![
                    text("%REQ(X-NONE)%"),
                    text("%RESPONSE_CODE%"),
                    MetadataValue::Null,
                    MetadataValue::Number(1e21),
                    MetadataValue::Number(123_456_789_012.0),
                    MetadataValue::Number(0.1),
                    MetadataValue::Number(-0.0),
                ]),
            ),
            ("i", text("é\u{1}\u{7f}\\/\"<")),
            ("j", text("%RESPONSE_CODE%%RESPONSE_CODE%")),
            ("k", MetadataValue::Struct(MetadataStruct::new())),
            ("l", MetadataValue::List(Vec::new())),
        ]
        .map(|(key, value)| (key.into(), value)),
    )
}

/// As Envoy 1.40 answered it.
#[test]
fn json_keeps_types_and_leaves_out_what_is_empty() {
    let connection = ConnectionInfo::default();
    let cx = FormatContext::without_request(&connection);
    let format = SubstitutionFormat::json(&tree(), true, &[]).unwrap();
    assert_eq!(
        written(&format, &cx),
        "{\"a\":true,\"b\":1.5,\"e\":\"x\",\"h\":[0,1e+21,123456789012,0.1,-0],\
         \"i\":\"é\\u0001\u{7f}\\\\/\\\"<\",\"j\":\"00\",\"l\":[]}\n"
    );
    assert_eq!(format.content_type(), "application/json");
    let format = SubstitutionFormat::json(&tree(), false, &[]).unwrap();
    assert_eq!(
        written(&format, &cx),
        "{\"a\":true,\"b\":1.5,\"c\":null,\"d\":null,\"e\":\"x-\",\"f\":{\"g\":null},\
         \"h\":[null,0,null,1e+21,123456789012,0.1,-0],\
         \"i\":\"é\\u0001\u{7f}\\\\/\\\"<\",\"j\":\"00\",\"k\":{},\"l\":[]}\n"
    );
    let empty = MetadataStruct::from([("a".into(), text("%REQ(X-NONE)%"))]);
    let format = SubstitutionFormat::json(&empty, true, &[]).unwrap();
    assert_eq!(written(&format, &cx), "{}\n");
}

/// Each operator as JSON sees it: as Envoy 1.40 answered a request without any of what they name, and with it.
#[test]
fn what_an_operator_names_may_be_there_or_not() {
    let parts = get(
        "http://h/p?q=1%20&e",
        &["x-e: ", "content-type: application/grpc"],
    );
    let connection = ConnectionInfo::default();
    let mut cx = FormatContext::new(RequestHead::of(&parts), &connection);
    let start = Instant::now();
    cx.started = Some(start);
    cx.timing.now = Some(start + Duration::from_micros(7_400));
    cx.timing.request_end = Some(start + Duration::from_micros(1_500));
    cx.local_reply_body = b"b\"y";
    cx.response_flags.set(ResponseFlag::NoClusterFound);
    cx.response_flags.set(ResponseFlag::UpstreamOverflow);
    let status = StatusCode::NOT_FOUND;
    cx.status = Some(&status);
    for (operator, expected) in [
        ("ACCESS_LOG_TYPE", "\"NotSet\""),
        ("BYTES_RECEIVED", "0"),
        ("BYTES_RETRANSMITTED", "0"),
        ("CUSTOM_FLAGS", "\"\""),
        ("COMMON_DURATION(DS_RX_BEG:DS_RX_END:us)", "1500"),
        ("COMMON_DURATION(DS_RX_BEG:NONE)", "null"),
        ("DOWNSTREAM_REMOTE_PORT", "null"),
        ("DURATION", "7"),
        ("DYNAMIC_METADATA(a:b)", "null"),
        ("ENVIRONMENT(NOPE)", "\"-\""),
        ("GRPC_STATUS", "\"Unimplemented\""),
        ("GRPC_STATUS(SNAKE_STRING)", "\"UNIMPLEMENTED\""),
        ("GRPC_STATUS_NUMBER", "12"),
        ("LOCAL_REPLY_BODY", "\"b\\\"y\""),
        ("PATH(NQ)", "\"/p\""),
        ("PATH(WQ:ORIG)", "null"),
        ("QUERY_PARAM(e)", "\"\""),
        ("QUERY_PARAM(nope)", "null"),
        ("QUERY_PARAMS", "\"q=1%20&e\""),
        // A space remains as it is: a query could not hold it.
        ("QUERY_PARAMS(DECODED)", "\"q=1%20&e\""),
        ("REQ(X-E)", "\"\""),
        ("REQ(X-NONE)", "null"),
        ("REQUEST_DURATION", "1"),
        // :method GET, :scheme http, :authority h, :path /p?q=1%20&e, x-e, content-type application/grpc
        ("REQUEST_HEADERS_BYTES", "79"),
        ("RESPONSE_CODE", "0"),
        ("RESPONSE_CODE_DETAILS", "null"),
        ("RESPONSE_DURATION", "null"),
        ("RESPONSE_FLAGS", "\"NC,UO\""),
        ("RESPONSE_FLAGS_LONG", "\"NoClusterFound,UpstreamOverflow\""),
        ("RESP(:STATUS)", "\"404\""),
        ("ROUTE_NAME", "null"),
        ("UPSTREAM_CLUSTER", "null"),
        ("UPSTREAM_HOST_NAME", "null"),
        ("UPSTREAM_REQUEST_ATTEMPT_COUNT", "0"),
    ] {
        let fields = MetadataStruct::from([("v".into(), text(&format!("%{operator}%")))]);
        let format = SubstitutionFormat::json(&fields, false, &[]).unwrap();
        assert_eq!(
            written(&format, &cx),
            format!("{{\"v\":{expected}}}\n"),
            "{operator}"
        );
    }
}

#[test]
fn a_text_marks_what_is_missing_and_may_have_lines() {
    let connection = ConnectionInfo::default();
    let mut cx = FormatContext::without_request(&connection);
    cx.local_reply_body = b"body";
    let format = "T %LOCAL_REPLY_BODY% %REQ(X-NONE)% %RESPONSE_CODE%\n100%%";
    let marked = SubstitutionFormat::text(format, false, &[]).unwrap();
    assert_eq!(written(&marked, &cx), "T body - 0\n100%");
    assert_eq!(marked.content_type(), "text/plain");
    assert!(marked.reads_request());
    let omitted = SubstitutionFormat::text(format, true, &[]).unwrap();
    assert_eq!(written(&omitted, &cx), "T body  0\n100%");
    let html = omitted.with_content_type(HeaderValue::from_static("text/html"));
    assert_eq!(html.content_type(), "text/html");
    assert_eq!(
        written(&SubstitutionFormat::text("", false, &[]).unwrap(), &cx),
        ""
    );
}

#[test]
fn a_formatter_cuts_the_query_off() {
    let format = |formatters| {
        let text = "%REQ_WITHOUT_QUERY(X-NONE?:PATH)% %REQ_WITHOUT_QUERY(:PATH):2% %REQ_WITHOUT_QUERY(X-NONE)%";
        SubstitutionFormat::text(text, false, formatters)
    };
    assert!(format(&[]).is_err());
    let (parts, _) = http::Request::builder()
        .uri("http://a/p/q?x=1?y")
        .body(())
        .unwrap()
        .into_parts();
    let connection = ConnectionInfo::default();
    let cx = FormatContext::new(RequestHead::of(&parts), &connection);
    let format = format(&[Formatter::ReqWithoutQuery]).unwrap();
    assert_eq!(written(&format, &cx), "/p/q /p -");
}

#[test]
fn a_host_that_no_uri_can_hold_is_the_authority() {
    let request = http::Request::builder()
        .uri("http://a/")
        .header("host", "/A");
    let (parts, _) = request.body(()).unwrap().into_parts();
    let connection = ConnectionInfo::default();
    let cx = FormatContext::new(RequestHead::of(&parts), &connection);
    let format = SubstitutionFormat::text("%REQ(:AUTHORITY)%", false, &[]).unwrap();
    assert_eq!(written(&format, &cx), "/A");
}
