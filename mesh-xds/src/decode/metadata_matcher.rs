//! `MetadataMatcher` and `ValueMatcher` (`envoy.type.matcher.v3`).

use mesh_core::metadata::{MetadataMatcher, ValueMatcher};
use mesh_proto::envoy::r#type::matcher::v3::{
    self as proto, double_matcher::MatchPattern as Double, list_matcher::MatchPattern as List,
    metadata_matcher::path_segment::Segment, value_matcher::MatchPattern as Pattern,
};

use super::matcher;
use crate::problems::Problems;

/// `MetadataMatcher`.
pub(super) fn metadata(
    p: &mut Problems,
    value: &proto::MetadataMatcher,
) -> Option<MetadataMatcher> {
    let filter = p.require_text("filter", &value.filter);
    if value.path.is_empty() {
        p.error_at("path", "must not be empty");
    }
    let path = p.each("path", &value.path, |p, segment| match &segment.segment {
        Some(Segment::Key(key)) => p.require_text("key", key).map(Box::from),
        None => {
            p.error("must hold a key");
            None
        }
    });
    let matcher = p.require("value", value.value.as_ref());
    let matcher = matcher.and_then(|matcher| p.field("value", |p| value_matcher(p, matcher)));
    Some(MetadataMatcher {
        filter: filter?.into(),
        path,
        value: matcher?,
        invert: value.invert,
    })
}

fn value_matcher(p: &mut Problems, value: &proto::ValueMatcher) -> Option<ValueMatcher> {
    Some(match &value.match_pattern {
        Some(Pattern::NullMatch(_)) => ValueMatcher::Null,
        Some(Pattern::DoubleMatch(double)) => match &double.match_pattern {
            Some(Double::Range(range)) => ValueMatcher::Range(range.start, range.end),
            Some(Double::Exact(exact)) => ValueMatcher::Number(*exact),
            None => {
                p.error_at("double_match", "must hold range or exact");
                return None;
            }
        },
        Some(Pattern::StringMatch(string)) => {
            ValueMatcher::String(p.field("string_match", |p| matcher::string(p, string))?)
        }
        Some(Pattern::BoolMatch(expected)) => ValueMatcher::Bool(*expected),
        Some(Pattern::PresentMatch(present)) => ValueMatcher::Present(*present),
        Some(Pattern::ListMatch(list)) => {
            let Some(List::OneOf(one)) = &list.match_pattern else {
                p.error_at("list_match", "must hold one_of");
                return None;
            };
            let one = p.field("list_match", |p| {
                p.field("one_of", |p| value_matcher(p, one))
            });
            ValueMatcher::OneOf(Box::new(one?))
        }
        Some(Pattern::OrMatch(or)) => p.field("or_match", |p| {
            if or.value_matchers.len() < 2 {
                p.error_at("value_matchers", "must hold at least 2 matchers");
            }
            ValueMatcher::Or(p.each("value_matchers", &or.value_matchers, value_matcher))
        }),
        None => {
            p.error("must hold a match_pattern");
            return None;
        }
    })
}
