//! Rules and policies.

use http::Request as HttpRequest;
use ipnet::IpNet;

use super::*;
use crate::{
    matcher::{HeaderCondition, HeaderMatcher, MatchedHeader, StringMatcher},
    metadata::{DynamicMetadata, MetadataMatcher, MetadataStruct, MetadataValue, ValueMatcher},
    regex::Regex,
};

fn prefix(text: &str) -> StringMatcher {
    StringMatcher::Prefix {
        value: text.into(),
        ignore_case: false,
    }
}

fn policy(permission: Rule, principal: Rule) -> Policy {
    Policy {
        permissions: vec![permission],
        principals: vec![principal],
    }
}

fn connection() -> ConnectionInfo {
    ConnectionInfo {
        peer: Some("10.0.0.9:5000".parse().unwrap()),
        local: Some("127.0.0.1:8080".parse().unwrap()),
        server_name: Some("a.test".into()),
        ..ConnectionInfo::default()
    }
}

fn matches(rule: &Rule) -> bool {
    matches_path(rule, "/x/y?q#f", false)
}

fn matches_path(rule: &Rule, path: &str, ignore_path_parameters: bool) -> bool {
    let (parts, ()) = HttpRequest::get(format!("http://a.test{path}"))
        .header("x-a", "1")
        .body(())
        .unwrap()
        .into_parts();
    let connection = connection();
    let mut metadata = DynamicMetadata::default();
    let value = MetadataValue::String("v".into());
    metadata.merge("f", MetadataStruct::from([("k".into(), value)]));
    let request = Request {
        head: RequestHead::of(&parts),
        connection: &connection,
        remote: Some("1.2.3.4".parse().unwrap()),
        metadata: Some(&metadata),
        route: None,
        ignore_path_parameters,
    };
    rule.matches(&request, &mut Scratch::default())
}

fn range(text: &str) -> IpNet {
    text.parse().unwrap()
}

#[test]
fn every_rule_looks_at_its_part() {
    let header = HeaderMatcher::new(
        MatchedHeader::Name("x-a".parse().unwrap()),
        HeaderCondition::Any,
    );
    let exact = StringMatcher::Exact {
        value: "/x/y".into(),
        ignore_case: false,
    };
    let of_metadata = |source, invert| {
        let matcher = MetadataMatcher {
            filter: "f".into(),
            path: vec!["k".into()],
            value: ValueMatcher::String(prefix("v")),
            invert,
        };
        Rule::Metadata(source, matcher)
    };
    for (rule, expected) in [
        (Rule::Any, true),
        (Rule::And(vec![]), true),
        (Rule::Or(vec![]), false),
        (Rule::Not(Box::new(Rule::Any)), false),
        (Rule::And(vec![Rule::Any, Rule::Or(vec![])]), false),
        (Rule::Header(header), true),
        (Rule::UrlPath(exact), true),
        (Rule::DestinationIp(range("127.0.0.0/8")), true),
        (Rule::DestinationIp(range("10.0.0.0/8")), false),
        (Rule::DestinationPort(8080), true),
        (Rule::DestinationPort(80), false),
        (Rule::DestinationPortRange(8080, 8081), true),
        (Rule::DestinationPortRange(8000, 8080), false),
        (Rule::RequestedServerName(prefix("a")), true),
        (Rule::DirectRemoteIp(range("10.0.0.0/8")), true),
        (Rule::DirectRemoteIp(range("1.0.0.0/8")), false),
        (Rule::RemoteIp(range("1.0.0.0/8")), true),
        (Rule::RemoteIp(range("::/0")), false),
        (Rule::Authenticated(None), false),
        (of_metadata(MetadataSource::Dynamic, false), true),
        (of_metadata(MetadataSource::Dynamic, true), false),
        (of_metadata(MetadataSource::Route, true), false),
    ] {
        assert_eq!(matches(&rule), expected, "{rule:?}");
    }
}

/// CVE-2026-73553: `/admin;x` is routed as `/admin`, and must be judged as it.
#[test]
fn path_parameters_are_ignored_where_routes_ignore_them() {
    let path = Rule::UrlPath(StringMatcher::Exact {
        value: "/admin/x".into(),
        ignore_case: false,
    });
    let template = Rule::UriTemplate(Regex::new("/admin/[^/]+").unwrap());
    for rule in [&path, &template] {
        for (target, ignored, kept) in [
            ("/admin/x", true, true),
            ("/admin;v=1/x;y?q;r", true, false),
            ("/admin/x;", true, std::ptr::eq(rule, &template)),
            ("/;x/admin/x", false, false),
        ] {
            assert_eq!(matches_path(rule, target, true), ignored, "{target}");
            assert_eq!(matches_path(rule, target, false), kept, "{target}");
        }
    }
}

#[test]
fn the_first_policy_by_name_decides() {
    let never = || Rule::Not(Box::new(Rule::Any));
    let policies = || {
        vec![
            ("c".into(), policy(Rule::Any, Rule::Any)),
            ("b".into(), policy(Rule::Any, Rule::Any)),
            ("a".into(), policy(Rule::Any, never())),
        ]
    };
    let (parts, ()) = HttpRequest::get("/").body(()).unwrap().into_parts();
    let connection = connection();
    let request = Request {
        head: RequestHead::of(&parts),
        connection: &connection,
        remote: None,
        metadata: None,
        route: None,
        ignore_path_parameters: false,
    };
    let check = |action, policies| {
        let rules = Rules::new(action, policies);
        let verdict = rules.check(&request, &mut Scratch::default());
        (verdict.allowed, verdict.policy.map(str::to_owned))
    };
    let b = Some("b".to_owned());
    assert_eq!(check(Action::Allow, policies()), (true, b.clone()));
    assert_eq!(check(Action::Deny, policies()), (false, b.clone()));
    assert_eq!(check(Action::Log, policies()), (true, b));
    assert_eq!(check(Action::Allow, vec![]), (false, None));
    assert_eq!(check(Action::Deny, vec![]), (true, None));
}
