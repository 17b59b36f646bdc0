//! What became of a request against what a case asserts, in the words of Envoy's tool.

use http::{HeaderMap, HeaderValue};
use mesh_core::{
    head::RequestHead,
    matcher::MatchedHeader,
    regex::Scratch,
    route::{RouteIndex, SelectedCluster},
};
use mesh_proto::envoy::config::route::v3 as proto;

use super::{
    case::{Expectation, Outcome},
    coverage::{Aspect, Coverage},
    schema::ValidationAssert,
};

/// Compares, collects what differs, marks what was asserted rightly.
pub(super) struct Check<'c> {
    pub(super) found: Option<(RouteIndex, Option<SelectedCluster>)>,
    pub(super) coverage: &'c mut Coverage,
    pub(super) failures: Vec<String>,
}

impl Check<'_> {
    pub(super) fn outcome(&mut self, outcome: &Outcome<'_>, expected: &ValidationAssert) {
        let forwarded = outcome.forwarded;
        let head = RequestHead::of(&outcome.request);
        let forwards = |text: &str| forwarded.map_or(String::new(), |_| text.to_owned());
        let compared = [
            (
                &expected.cluster_name,
                forwards(&outcome.cluster),
                "cluster_name",
                Aspect::Cluster,
            ),
            (
                &expected.virtual_cluster_name,
                outcome.virtual_cluster.clone(),
                "virtual_cluster_name",
                Aspect::VirtualCluster,
            ),
            (
                &expected.virtual_host_name,
                forwarded.map_or(String::new(), |(_, host)| host.to_owned()),
                "virtual_host_name",
                Aspect::VirtualHost,
            ),
            (
                &expected.path_rewrite,
                forwards(head.path),
                "path_rewrite",
                Aspect::PathRewrite,
            ),
            (
                &expected.host_rewrite,
                forwards(head.authority),
                "host_rewrite",
                Aspect::HostRewrite,
            ),
        ];
        for (expected, actual, kind, aspect) in compared {
            if let Some(expected) = expected {
                let covers = forwarded.is_some().then_some(aspect);
                self.compare(&actual, expected, kind, covers);
            }
        }
        let (to, status) = match &outcome.answer {
            Some((to, status)) => (to.clone(), status.as_u16()),
            None => (String::new(), 0),
        };
        let covers = |aspect| outcome.answer.is_some().then_some(aspect);
        if let Some(expected) = &expected.path_redirect {
            self.compare(&to, expected, "path_redirect", covers(Aspect::RedirectPath));
        }
        if let Some(expected) = expected.code_redirect {
            let covers = covers(Aspect::RedirectCode);
            self.compare(
                &status.to_string(),
                &expected.to_string(),
                "code_redirect",
                covers,
            );
        }
    }

    fn compare(&mut self, actual: &str, expected: &str, kind: &str, covers: Option<Aspect>) {
        if actual != expected {
            self.differs(actual, expected, kind, false);
        } else if let (Some(aspect), Some((at, selected))) = (covers, self.found) {
            let weighted = selected.and_then(|selected| selected.weighted);
            self.coverage.mark(at, weighted, aspect);
        }
    }

    fn differs(&mut self, actual: &str, expected: &str, kind: &str, not: bool) {
        let not = if not { "NOT " } else { "" };
        self.failures.push(format!(
            "expected: [{expected}], actual: {not}[{actual}], test type: {kind}"
        ));
    }

    pub(super) fn headers(&mut self, outcome: &Outcome<'_>, expected: &Expectation) {
        let head = RequestHead::of(&outcome.request);
        let joined_request = joined(head.headers);
        let joined_head = RequestHead {
            headers: &joined_request,
            ..head
        };
        let mut scratch = Scratch::default();
        for (value, matcher) in &expected.request_matches {
            if !matcher.matches(&joined_head, &mut scratch) {
                let actual = head.value(&matcher.name).map(text);
                self.unmatched(value, actual, "request_header_matches");
            }
        }
        let joined_response = joined(&outcome.response);
        for (value, matcher) in &expected.response_matches {
            if !matcher.matches_response(&joined_response, &mut scratch) {
                let actual = match &matcher.name {
                    MatchedHeader::Name(name) => outcome.response.get(name),
                    _ => None,
                };
                let actual = actual.map(|value| text(value.as_bytes()));
                self.unmatched(value, actual, "response_header_matches");
            }
        }
        let fields = [
            (
                &expected.validate.request_header_fields,
                "request_header_fields",
            ),
            (
                &expected.validate.response_header_fields,
                "response_header_fields",
            ),
        ];
        for (list, kind) in fields {
            for pair in list {
                let actual = match kind {
                    "request_header_fields" => head.header(&pair.key.to_ascii_lowercase()),
                    _ => outcome.response.get(&*pair.key).map(HeaderValue::as_bytes),
                };
                let actual = actual.map(text).unwrap_or_default();
                if actual != pair.value {
                    self.differs(&actual, &pair.value, kind, false);
                }
            }
        }
    }

    /// A header matcher that does not hold, in the words of Envoy's tool.
    fn unmatched(&mut self, matcher: &proto::HeaderMatcher, actual: Option<String>, kind: &str) {
        use proto::header_matcher::HeaderMatchSpecifier as Specifier;
        let name = &matcher.name;
        let specifier = matcher.header_match_specifier.as_ref();
        let kind = format!("{kind}.{}", specifier_name(specifier));
        let actual = format!("{name}: {}", actual.as_deref().unwrap_or("NULL"));
        match specifier {
            None | Some(Specifier::PresentMatch(_)) => {
                let has = |present: bool| format!("has({name}):{present}");
                let (actual, expected) = (has(matcher.invert_match), has(!matcher.invert_match));
                self.differs(&actual, &expected, &kind, false);
            }
            Some(Specifier::StringMatch(string)) if kind.ends_with(".exact") => {
                use mesh_proto::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
                let exact = match &string.match_pattern {
                    Some(MatchPattern::Exact(exact)) => exact.as_str(),
                    _ => "",
                };
                let expected = format!("{name}: {exact}");
                self.differs(&actual, &expected, &kind, matcher.invert_match);
            }
            Some(_) => self
                .failures
                .push(format!("actual: [{actual}], test type: {kind}")),
        }
    }
}

fn specifier_name(specifier: Option<&proto::header_matcher::HeaderMatchSpecifier>) -> &'static str {
    use mesh_proto::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
    use proto::header_matcher::HeaderMatchSpecifier as Specifier;
    match specifier {
        None | Some(Specifier::PresentMatch(_)) => "present_match",
        Some(Specifier::ExactMatch(_)) => "exact_match",
        Some(Specifier::SafeRegexMatch(_)) => "safe_regex_match",
        Some(Specifier::RangeMatch(_)) => "range_match",
        Some(Specifier::PrefixMatch(_)) => "prefix_match",
        Some(Specifier::SuffixMatch(_)) => "suffix_match",
        Some(Specifier::ContainsMatch(_)) => "contains_match",
        Some(Specifier::StringMatch(string)) => match &string.match_pattern {
            Some(MatchPattern::Exact(_)) => "string_match.exact",
            Some(MatchPattern::Prefix(_)) => "string_match.prefix",
            Some(MatchPattern::Suffix(_)) => "string_match.suffix",
            Some(MatchPattern::SafeRegex(_)) => "string_match.safe_regex",
            Some(MatchPattern::Contains(_)) => "string_match.contains",
            _ => "string_match.match_pattern_not_set",
        },
    }
}

/// Each header as one line: what cases assert are all values of a header, joined by commas, whatever the rule by which
/// routes match repeated headers.
fn joined(headers: &HeaderMap) -> HeaderMap {
    let mut joined = HeaderMap::new();
    for name in headers.keys() {
        let lines: Vec<&[u8]> = headers
            .get_all(name)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        if let Ok(value) = HeaderValue::from_bytes(&lines.join(&b","[..])) {
            joined.insert(name, value);
        }
    }
    joined
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
