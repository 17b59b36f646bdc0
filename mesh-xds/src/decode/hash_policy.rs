//! `RouteAction.HashPolicy`.

use http::HeaderValue;
use mesh_core::model::{HashCookie, HashPolicy, HashSource, MadeUpCookie};
use mesh_proto::envoy::config::route::v3::route_action::{
    self as proto,
    hash_policy::{Cookie, PolicySpecifier},
};

use super::{
    matcher::{self, matched_header},
    scalar::{duration, header_name},
};
use crate::problems::Problems;

/// A list of hash policies.
pub(super) fn hash_policies(
    p: &mut Problems,
    name: &'static str,
    list: &[proto::HashPolicy],
) -> Box<[HashPolicy]> {
    let decoded = p.each(name, list, |p, value| {
        let source = match &value.policy_specifier {
            Some(specifier) => source(p, specifier)?,
            None => {
                p.error("must hold a policy_specifier");
                return None;
            }
        };
        let mut policy = HashPolicy::new(source?);
        policy.terminal = value.terminal;
        Some(policy)
    });
    decoded.into()
}

/// Some(None): it is valid and does nothing; None: it is wrong.
fn source(p: &mut Problems, specifier: &PolicySpecifier) -> Option<Option<HashSource>> {
    Some(Some(match specifier {
        PolicySpecifier::Header(header) => p.field("header", |p| {
            let name = p.field("header_name", |p| matched_header(p, &header.header_name));
            let rewrite = match &header.regex_rewrite {
                None => None,
                Some(rewrite) => Some(p.field("regex_rewrite", |p| {
                    let pattern = p.require("pattern", rewrite.pattern.as_ref())?;
                    let pattern = p.field("pattern", |p| matcher::regex(p, pattern))?;
                    Some((pattern, rewrite.substitution.as_str().into()))
                })?),
            };
            let name = name?;
            Some(HashSource::Header { name, rewrite })
        })?,
        PolicySpecifier::Cookie(value) => {
            HashSource::Cookie(Box::new(p.field("cookie", |p| cookie(p, value))?))
        }
        PolicySpecifier::ConnectionProperties(properties) => {
            return Some(properties.source_ip.then_some(HashSource::SourceIp));
        }
        PolicySpecifier::QueryParameter(parameter) => p.field("query_parameter", |p| {
            let name = p.require_text("name", &parameter.name)?;
            Some(HashSource::QueryParameter(name.into()))
        })?,
        PolicySpecifier::FilterState(state) => p.field("filter_state", |p| {
            let key = p.require_text("key", &state.key)?;
            Some(HashSource::FilterState(key.into()))
        })?,
    }))
}

fn cookie(p: &mut Problems, value: &Cookie) -> Option<HashCookie> {
    let name = p.require_text("name", &value.name);
    let ttl = duration(p, "ttl", value.ttl.as_ref());
    let mut attributes = String::new();
    match ttl.map(|ttl| ttl.as_secs()) {
        None | Some(0) => {}
        Some(seconds) => attributes += &format!("; Max-Age={seconds}"),
    }
    if !value.path.is_empty() {
        attributes += &format!("; Path={}", value.path);
    }
    p.each("attributes", &value.attributes, |p, attribute| {
        p.field("name", |p| header_name(p, &attribute.name))?;
        attributes += "; ";
        attributes += &attribute.name;
        if !attribute.value.is_empty() {
            attributes += "=";
            attributes += &attribute.value;
        }
        Some(())
    });
    attributes += "; HttpOnly";
    let attributes = p.check(HeaderValue::from_str(&attributes))?;
    HeaderValue::from_str(name?)
        .map_err(|error| p.error_at("name", error.to_string()))
        .ok()?;
    let made_up = ttl.map(|_| MadeUpCookie { attributes });
    Some(HashCookie::new(name?, made_up))
}
