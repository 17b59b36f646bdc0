//! `envoy.config.route.v3.RateLimit`, and token buckets.

use std::time::Duration;

use mesh_core::{
    rate_limit::{Action, RateLimit, TokenBucketConfig},
    rbac::MetadataSource,
};
use mesh_proto::envoy::{
    config::route::v3::{
        self as proto,
        rate_limit::{
            XRateLimitOption,
            action::{ActionSpecifier, meta_data::Source},
        },
    },
    r#type::{
        metadata::v3::{MetadataKey, metadata_key::path_segment::Segment},
        v3::TokenBucket,
    },
};

use super::{
    matcher::{self, matched_header},
    scalar::{duration, enumeration},
};
use crate::problems::Problems;

/// The most that `hits_addend.number` may be.
const MOST_HITS: u64 = 1_000_000_000;

/// Of a route or virtual host: how many tokens a request takes is the filter's own `rate_limits`' alone to say.
pub(super) fn of_route(p: &mut Problems, value: &proto::RateLimit) -> Option<RateLimit> {
    let mut limit = rate_limit(p, value)?;
    limit.hits = None;
    limit.refills = false;
    Some(limit)
}

/// Of the filter.
pub(super) fn of_filter(p: &mut Problems, value: &proto::RateLimit) -> Option<RateLimit> {
    if value.stage.is_some() || !value.disable_key.is_empty() {
        p.error("'stage' field and 'disable_key' field are not supported");
    }
    rate_limit(p, value)
}

/// None: wrong, or not understood (warned of): then there is no descriptor.
fn rate_limit(p: &mut Problems, value: &proto::RateLimit) -> Option<RateLimit> {
    let mut limit = RateLimit::default();
    limit.stage = value.stage.unwrap_or(0);
    if limit.stage > 10 {
        p.error_at("stage", format!("{} is greater than 10", limit.stage));
    }
    limit.disabled = !value.disable_key.is_empty();
    if value.actions.is_empty() {
        p.error_at("actions", "must not be empty");
    }
    limit.actions = p.each("actions", &value.actions, |p, value| {
        let Some(specifier) = &value.action_specifier else {
            p.error("must hold an action_specifier");
            return None;
        };
        action(p, specifier)
    });
    if let Some(hits) = &value.hits_addend {
        limit.hits = hits.number;
        limit.refills = hits.is_negative_hits;
        if hits.number.is_some_and(|number| number > MOST_HITS) {
            p.field("hits_addend", |p| {
                p.error_at("number", format!("must be at most {MOST_HITS}"));
            });
        }
    }
    let option = enumeration(p, "x_ratelimit_option", value.x_ratelimit_option)?;
    limit.answers_headers = match option {
        XRateLimitOption::Unspecified => None,
        XRateLimitOption::Off => Some(false),
        XRateLimitOption::DraftVersion03 => Some(true),
    };
    Some(limit)
}

fn action(p: &mut Problems, value: &ActionSpecifier) -> Option<Action> {
    let or = |key: &str, default: &str| -> Box<str> {
        if key.is_empty() { default } else { key }.into()
    };
    Some(match value {
        ActionSpecifier::SourceCluster(_) => Action::SourceCluster,
        ActionSpecifier::DestinationCluster(_) => Action::DestinationCluster,
        ActionSpecifier::RemoteAddress(_) => Action::RemoteAddress,
        ActionSpecifier::MaskedRemoteAddress(masked) => p.field("masked_remote_address", |p| {
            let mut length = |name, value: Option<u32>, most: u8| {
                let value = value.unwrap_or(most.into());
                let length = u8::try_from(value).ok().filter(|length| *length <= most);
                if length.is_none() {
                    p.error_at(name, format!("{value} is greater than {most}"));
                }
                length
            };
            let v4 = length("v4_prefix_mask_len", masked.v4_prefix_mask_len, 32);
            let v6 = length("v6_prefix_mask_len", masked.v6_prefix_mask_len, 128);
            Some(Action::MaskedRemoteAddress(v4?, v6?))
        })?,
        ActionSpecifier::RequestHeaders(header) => p.field("request_headers", |p| {
            let name = p.field("header_name", |p| matched_header(p, &header.header_name));
            let key = p.require_text("descriptor_key", &header.descriptor_key);
            Some(Action::Header {
                name: name?,
                key: key?.into(),
                skip_if_absent: header.skip_if_absent,
            })
        })?,
        ActionSpecifier::QueryParameters(query) => p.field("query_parameters", |p| {
            let name = p.require_text("query_parameter_name", &query.query_parameter_name);
            Some(Action::QueryParameter {
                name: name?.into(),
                key: or(&query.descriptor_key, "query_param"),
                skip_if_absent: query.skip_if_absent,
            })
        })?,
        ActionSpecifier::GenericKey(generic) => p.field("generic_key", |p| {
            let value = p.require_text("descriptor_value", &generic.descriptor_value);
            Some(Action::GenericKey {
                key: or(&generic.descriptor_key, "generic_key"),
                value: value?.into(),
            })
        })?,
        ActionSpecifier::HeaderValueMatch(matching) => p.field("header_value_match", |p| {
            let value = p.require_text("descriptor_value", &matching.descriptor_value);
            if matching.headers.is_empty() {
                p.error_at("headers", "must not be empty");
            }
            let headers = matcher::headers(p, "headers", &matching.headers);
            Some(Action::HeaderMatch {
                key: or(&matching.descriptor_key, "header_match"),
                value: value?.into(),
                expect: matching.expect_match.unwrap_or(true),
                headers,
            })
        })?,
        ActionSpecifier::QueryParameterValueMatch(matching) => {
            p.field("query_parameter_value_match", |p| {
                let value = p.require_text("descriptor_value", &matching.descriptor_value);
                if matching.query_parameters.is_empty() {
                    p.error_at("query_parameters", "must not be empty");
                }
                let list = &matching.query_parameters;
                let parameters = p.each("query_parameters", list, matcher::query_parameter);
                Some(Action::QueryMatch {
                    key: or(&matching.descriptor_key, "query_match"),
                    value: value?.into(),
                    expect: matching.expect_match.unwrap_or(true),
                    parameters,
                })
            })?
        }
        ActionSpecifier::DynamicMetadata(dynamic) => p.field("dynamic_metadata", |p| {
            let key = p.require_text("descriptor_key", &dynamic.descriptor_key);
            let (filter, path) = metadata_key(p, dynamic.metadata_key.as_ref())?;
            Some(Action::Metadata {
                key: key?.into(),
                source: MetadataSource::Dynamic,
                filter,
                path,
                default: dynamic.default_value.as_str().into(),
                skip_if_absent: false,
            })
        })?,
        ActionSpecifier::Metadata(metadata) => p.field("metadata", |p| {
            let key = p.require_text("descriptor_key", &metadata.descriptor_key);
            let source = match enumeration::<Source>(p, "source", metadata.source)? {
                Source::Dynamic => MetadataSource::Dynamic,
                Source::RouteEntry => MetadataSource::Route,
                Source::ClusterEntry | Source::ClusterLocalityEntry => {
                    p.error_at("source", "not supported yet");
                    return None;
                }
            };
            let (filter, path) = metadata_key(p, metadata.metadata_key.as_ref())?;
            Some(Action::Metadata {
                key: key?.into(),
                source,
                filter,
                path,
                default: metadata.default_value.as_str().into(),
                skip_if_absent: metadata.skip_if_absent,
            })
        })?,
        // found by the field table
        ActionSpecifier::Extension(_) | ActionSpecifier::RemoteAddressMatch(_) => return None,
    })
}

fn metadata_key(
    p: &mut Problems,
    value: Option<&MetadataKey>,
) -> Option<(Box<str>, Vec<Box<str>>)> {
    let value = p.require("metadata_key", value)?;
    p.field("metadata_key", |p| {
        let key = p.require_text("key", &value.key);
        if value.path.is_empty() {
            p.error_at("path", "must not be empty");
        }
        let path = p.each("path", &value.path, |p, segment| match &segment.segment {
            Some(Segment::Key(key)) => p.require_text("key", key).map(Box::from),
            // found by the field table
            Some(Segment::Index(_)) => None,
            None => {
                p.error("must hold a key");
                None
            }
        });
        Some((key?.into(), path))
    })
}

/// `TokenBucket`; None: wrong.
pub(super) fn token_bucket(p: &mut Problems, value: &TokenBucket) -> Option<TokenBucketConfig> {
    const SHORTEST: Duration = Duration::from_millis(50);
    if value.tokens_per_fill == Some(0) {
        p.error_at("tokens_per_fill", "must be greater than 0");
    }
    let interval = p.require("fill_interval", value.fill_interval.as_ref())?;
    let interval = duration(p, "fill_interval", Some(interval))?;
    if interval < SHORTEST {
        p.error_at(
            "fill_interval",
            "local rate limit token bucket fill timer must be >= 50ms",
        );
        return None;
    }
    Some(TokenBucketConfig {
        max_tokens: value.max_tokens,
        tokens_per_fill: value.tokens_per_fill.unwrap_or(1),
        fill_interval: interval,
    })
}
