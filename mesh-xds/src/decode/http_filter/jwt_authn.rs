//! The JWT authentication filter.

use std::{sync::Arc, time::Duration};

use mesh_core::{
    filter::{
        JwtAuthnConfig, JwtAuthnOverride, JwtProvider, JwtRequirement, JwtRule, JwtRuleRequirement,
    },
    jwt::{Audiences, Jwks},
};
use mesh_proto::envoy::{
    config::core::v3::{DataSource, data_source::Specifier},
    extensions::filters::http::jwt_authn::v3::{
        self as proto, jwt_provider::JwksSourceSpecifier, jwt_requirement::RequiresType,
        per_route_config::RequirementSpecifier, requirement_rule::RequirementType,
    },
};

use crate::{
    decode::{
        any::MAX_DEPTH,
        matcher,
        route_match::route_match,
        scalar::{duration, header_name},
    },
    problems::Problems,
};

const DEFAULT_CLOCK_SKEW: u32 = 60;

/// `JwtAuthentication`.
pub(super) fn jwt_authn(
    p: &mut Problems,
    value: &proto::JwtAuthentication,
) -> Option<Arc<JwtAuthnConfig>> {
    let providers = p.field("providers", |p| {
        let mut providers: Vec<_> = value.providers.iter().collect();
        providers.sort_by_key(|(name, _)| name.as_str());
        let providers = providers.into_iter();
        providers
            .map(|(name, value)| p.key(name, |p| provider(p, name, value)))
            .collect::<Vec<_>>()
    });
    let map = p.field("requirement_map", |p| {
        let mut requirements: Vec<_> = value.requirement_map.iter().collect();
        requirements.sort_by_key(|(name, _)| name.as_str());
        let requirements = requirements.into_iter();
        requirements
            .filter_map(|(name, value)| {
                let requirement = p.key(name, |p| requirement(p, value))?;
                Some((name.as_str().into(), requirement))
            })
            .collect()
    });
    let rules = p.each("rules", &value.rules, rule);
    if !p.is_ok() {
        return None;
    }
    let config = JwtAuthnConfig::new(
        providers,
        rules,
        map,
        value.bypass_cors_preflight,
        value.strip_failure_response,
    );
    p.check(config).map(Arc::new)
}

/// `PerRouteConfig`.
pub(super) fn jwt_authn_override(
    p: &mut Problems,
    value: &proto::PerRouteConfig,
) -> Option<JwtAuthnOverride> {
    match &value.requirement_specifier {
        Some(RequirementSpecifier::Disabled(true)) => Some(JwtAuthnOverride::Disabled),
        Some(RequirementSpecifier::Disabled(false)) => {
            p.error_at("disabled", "must be true");
            None
        }
        Some(RequirementSpecifier::RequirementName(name)) => p
            .require_text("requirement_name", name)
            .map(|name| JwtAuthnOverride::Requirement(name.into())),
        None => {
            p.error("must hold disabled or requirement_name");
            None
        }
    }
}

fn provider(p: &mut Problems, name: &str, value: &proto::JwtProvider) -> JwtProvider {
    let mut provider = JwtProvider::default();
    provider.name = name.into();
    provider.issuer = value.issuer.as_str().into();
    provider.audiences = Audiences::new(value.audiences.iter().map(String::as_str));
    provider.subjects = value
        .subjects
        .as_ref()
        .and_then(|subjects| p.field("subjects", |p| matcher::string(p, subjects)));
    provider.require_expiration = value.require_expiration;
    provider.max_lifetime = duration(p, "max_lifetime", value.max_lifetime.as_ref())
        .map(|max| Duration::from_secs(max.as_secs()));
    match &value.jwks_source_specifier {
        Some(JwksSourceSpecifier::LocalJwks(source)) => {
            provider.keys = p.field("local_jwks", |p| local_jwks(p, source));
        }
        // found by the field table
        Some(JwksSourceSpecifier::RemoteJwks(_)) => {}
        None => p.error("must hold local_jwks or remote_jwks"),
    }
    provider.forward = value.forward;
    provider.from_headers = p.each("from_headers", &value.from_headers, |p, header| {
        let name = p.field("name", |p| header_name(p, &header.name))?;
        Some((name, header.value_prefix.as_str().into()))
    });
    provider.from_params = value
        .from_params
        .iter()
        .map(|n| n.as_str().into())
        .collect();
    provider.from_cookies = value
        .from_cookies
        .iter()
        .map(|n| n.as_str().into())
        .collect();
    if !value.forward_payload_header.is_empty() {
        provider.forward_payload_header = p.field("forward_payload_header", |p| {
            header_name(p, &value.forward_payload_header)
        });
    }
    provider.pad_forward_payload_header = value.pad_forward_payload_header;
    provider.payload_in_metadata = value.payload_in_metadata.as_str().into();
    provider.header_in_metadata = value.header_in_metadata.as_str().into();
    if let Some(normalize) = &value.normalize_payload_in_metadata {
        let claims = normalize.space_delimited_claims.iter();
        provider.space_delimited_claims = claims.map(|claim| claim.as_str().into()).collect();
    }
    provider.clock_skew = u64::from(match value.clock_skew_seconds {
        0 => DEFAULT_CLOCK_SKEW,
        seconds => seconds,
    });
    provider.claim_to_headers = p.each("claim_to_headers", &value.claim_to_headers, |p, entry| {
        let name = p.field("header_name", |p| header_name(p, &entry.header_name));
        let claim = p.require_text("claim_name", &entry.claim_name);
        Some((name?, claim?.into()))
    });
    provider.clear_route_cache = value.clear_route_cache;
    provider
}

/// A key set without a key that can be used is refused, as by Envoy since 1.40.
fn local_jwks(p: &mut Problems, source: &DataSource) -> Option<Jwks> {
    let json: &[u8] = match &source.specifier {
        Some(Specifier::InlineString(text)) => text.as_bytes(),
        Some(Specifier::InlineBytes(bytes)) => bytes,
        Some(Specifier::Filename(_) | Specifier::EnvironmentVariable(_)) => {
            p.error("only inline_string and inline_bytes are supported yet");
            return None;
        }
        None => {
            p.error("must hold inline_string or inline_bytes");
            return None;
        }
    };
    match Jwks::parse(json) {
        Ok(keys) => Some(keys),
        Err(error) => {
            p.warn(format!(
                "{error}; no token of this provider can be verified"
            ));
            None
        }
    }
}

fn rule(p: &mut Problems, value: &proto::RequirementRule) -> Option<JwtRule> {
    let matched = p.require("match", value.r#match.as_ref())?;
    let mut matched = p.field("match", |p| route_match(p, matched))?;
    // Envoy reads only path, headers and query parameters here (`jwt_authn/matcher.cc`).
    matched.runtime_fraction = None;
    matched.grpc = false;
    matched.cookies = Vec::new();
    matched.tls_context = None;
    matched.filter_state = false;
    matched.dynamic_metadata = Vec::new();
    let requirement = match &value.requirement_type {
        None => JwtRuleRequirement::None,
        Some(RequirementType::Requires(value)) => {
            JwtRuleRequirement::Requires(p.field("requires", |p| requirement(p, value))?)
        }
        Some(RequirementType::RequirementName(name)) => {
            JwtRuleRequirement::Named(p.require_text("requirement_name", name)?.into())
        }
    };
    Some((matched, requirement))
}

fn requirement(p: &mut Problems, value: &proto::JwtRequirement) -> Option<JwtRequirement> {
    if p.depth() > MAX_DEPTH {
        p.error("is nested too deeply");
        return None;
    }
    let list = |p: &mut Problems, name: &'static str, list: &[proto::JwtRequirement]| {
        p.field(name, |p| {
            if list.len() < 2 {
                p.error_at("requirements", "must hold at least two");
            }
            p.each("requirements", list, requirement)
        })
    };
    Some(match &value.requires_type {
        None => JwtRequirement::AllowAll,
        Some(RequiresType::ProviderName(name)) => {
            JwtRequirement::Provider(name.as_str().into(), None)
        }
        Some(RequiresType::ProviderAndAudiences(value)) => {
            let audiences = (!value.audiences.is_empty())
                .then(|| Audiences::new(value.audiences.iter().map(String::as_str)));
            JwtRequirement::Provider(value.provider_name.as_str().into(), audiences)
        }
        Some(RequiresType::RequiresAny(any)) => {
            JwtRequirement::Any(list(p, "requires_any", &any.requirements))
        }
        Some(RequiresType::RequiresAll(all)) => {
            JwtRequirement::All(list(p, "requires_all", &all.requirements))
        }
        Some(RequiresType::AllowMissing(())) => JwtRequirement::AllowMissing,
        Some(RequiresType::AllowMissingOrFailed(())) => JwtRequirement::AllowMissingOrFailed,
        // found by the field table
        Some(RequiresType::ExtractOnlyWithoutValidation(_)) => return None,
    })
}
