//! The JWT authentication filter (Envoy `source/extensions/filters/http/jwt_authn`), for keys that are configured.

mod extractor;
mod requirement;

pub use requirement::Requirement;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Method, StatusCode, header::WWW_AUTHENTICATE, request};

use self::requirement::{Run, Verifier};
use super::{FilterContext, FilterVerdict};
use crate::{
    head::{RequestHead, StreamView},
    jwt::{Audiences, Jwks, Status},
    local_reply::LocalReply,
    matcher::StringMatcher,
    metadata::MetadataStruct,
    model::RouteMatch,
    route,
    stats::JwtAuthnStats,
};

const METADATA: &str = "envoy.filters.http.jwt_authn";
const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");

/// `JwtProvider`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Provider {
    /// Its key in `providers`.
    pub name: Box<str>,
    /// `issuer`; empty: any.
    pub issuer: Box<str>,
    /// `audiences`; empty: any.
    pub audiences: Audiences,
    /// `subjects`.
    pub subjects: Option<StringMatcher>,
    /// `require_expiration`.
    pub require_expiration: bool,
    /// `max_lifetime`.
    pub max_lifetime: Option<Duration>,
    /// `local_jwks`; None: what is configured holds no key.
    pub keys: Option<Jwks>,
    /// `forward`: the token stays in the request.
    pub forward: bool,
    /// `from_headers`: name and prefix. Without any place, `authorization: Bearer ` and the parameter `access_token`.
    pub from_headers: Vec<(HeaderName, Box<str>)>,
    /// `from_params`.
    pub from_params: Vec<Box<str>>,
    /// `from_cookies`.
    pub from_cookies: Vec<Box<str>>,
    /// `forward_payload_header`.
    pub forward_payload_header: Option<HeaderName>,
    /// `pad_forward_payload_header`.
    pub pad_forward_payload_header: bool,
    /// `payload_in_metadata`; may be empty.
    pub payload_in_metadata: Box<str>,
    /// `header_in_metadata`; may be empty.
    pub header_in_metadata: Box<str>,
    /// `normalize_payload_in_metadata.space_delimited_claims`.
    pub space_delimited_claims: Vec<Box<str>>,
    /// `clock_skew_seconds`; default 60.
    pub clock_skew: u64,
    /// `claim_to_headers`: header and claim.
    pub claim_to_headers: Vec<(HeaderName, Box<str>)>,
    /// `clear_route_cache`.
    pub clear_route_cache: bool,
}

impl Provider {
    /// Whether a token may live that long (`JwksData::isLifetimeAllowed`). Times in seconds.
    fn allows_lifetime(&self, exp: u64, now: u64) -> bool {
        match (self.max_lifetime, exp) {
            (None, 0) => !self.require_expiration,
            (None, _) => true,
            (Some(_), 0) => false,
            (Some(max), exp) => exp.saturating_sub(now) <= max.as_secs(),
        }
    }
}

/// `JwtAuthentication`.
#[derive(Debug)]
pub struct JwtAuthnConfig {
    providers: Vec<Provider>,
    rules: Vec<(RouteMatch, Option<Arc<Verifier>>)>,
    named: BTreeMap<Box<str>, Arc<Verifier>>,
    /// What only providers may write, whichever of them the request is for.
    sanitized: Vec<HeaderName>,
    /// `bypass_cors_preflight`.
    bypass_cors_preflight: bool,
    /// `strip_failure_response`: answers say nothing.
    strip_failure_response: bool,
}

/// `PerRouteConfig`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum JwtAuthnOverride {
    /// `disabled`.
    Disabled,
    /// `requirement_name`.
    Requirement(Box<str>),
    /// A requirement of the filter.
    #[doc(hidden)]
    Resolved(ResolvedRequirement),
}

/// A requirement that a route names, found in its filter when configuration arrives.
#[derive(Clone, Debug)]
pub struct ResolvedRequirement(Result<Arc<Verifier>, Box<str>>);

/// `RequirementRule`: what it matches, and what it asks for.
pub type Rule = (RouteMatch, RuleRequirement);

/// What a [`Rule`] asks for.
#[derive(Clone, Debug)]
pub enum RuleRequirement {
    /// Nothing.
    None,
    /// `requires`.
    Requires(Requirement),
    /// `requirement_name`.
    Named(Box<str>),
}

/// A name that nothing has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnknownName(String);

impl JwtAuthnConfig {
    /// Puts providers, rules and named requirements together.
    ///
    /// # Errors
    /// A rule or a requirement names what is not there.
    pub fn new(
        providers: Vec<Provider>,
        rules: Vec<Rule>,
        requirement_map: Vec<(Box<str>, Requirement)>,
        bypass_cors_preflight: bool,
        strip_failure_response: bool,
    ) -> Result<Self, UnknownName> {
        let verifier = |requirement: &Requirement| {
            let verifier = Verifier::new(requirement, &providers);
            verifier.map(Arc::new).ok_or_else(|| {
                UnknownName(format!("a provider of {requirement:?} is not configured"))
            })
        };
        let named = requirement_map
            .iter()
            .map(|(name, requirement)| Ok((name.clone(), verifier(requirement)?)))
            .collect::<Result<BTreeMap<_, _>, _>>()?;
        let rules = rules
            .into_iter()
            .map(|(matcher, requirement)| {
                let verifier = match requirement {
                    RuleRequirement::None => None,
                    RuleRequirement::Requires(requirement) => Some(verifier(&requirement)?),
                    RuleRequirement::Named(name) => {
                        Some(find(&named, &name).map_err(|wrong| UnknownName(wrong.into()))?)
                    }
                };
                Ok((matcher, verifier))
            })
            .collect::<Result<_, UnknownName>>()?;
        let written = |provider: &Provider| {
            let claims = provider.claim_to_headers.iter().map(|(name, _)| name);
            let payload = provider.forward_payload_header.iter();
            payload.chain(claims).cloned().collect::<Vec<_>>()
        };
        Ok(Self {
            sanitized: providers.iter().flat_map(written).collect(),
            providers,
            rules,
            named,
            bypass_cors_preflight,
            strip_failure_response,
        })
    }

    /// Finds what a route names.
    pub(super) fn resolve(&self, route: &JwtAuthnOverride) -> JwtAuthnOverride {
        match route {
            JwtAuthnOverride::Requirement(name) => {
                JwtAuthnOverride::Resolved(ResolvedRequirement(find(&self.named, name)))
            }
            other => other.clone(),
        }
    }

    fn rule_for(&self, cx: &mut FilterContext<'_>) -> Option<Arc<Verifier>> {
        let view = StreamView {
            head: RequestHead::of(cx.parts),
            random: 0,
            connection: cx.connection,
            metadata: None,
        };
        self.rules
            .iter()
            .find(|(matcher, _)| route::matches(matcher, &view, cx.scratch))
            .and_then(|(_, verifier)| verifier.clone())
    }
}

fn find(named: &BTreeMap<Box<str>, Arc<Verifier>>, name: &str) -> Result<Arc<Verifier>, Box<str>> {
    named.get(name).cloned().ok_or_else(|| {
        let names: Vec<&str> = named.keys().map(|name| &**name).collect();
        let names = names.join(",");
        format!("Wrong requirement_name: {name}. It should be one of [{names}]").into()
    })
}

pub(super) fn on_request_head(
    config: &JwtAuthnConfig,
    route: Option<&JwtAuthnOverride>,
    stats: &JwtAuthnStats,
    cx: &mut FilterContext<'_>,
) -> FilterVerdict {
    for name in &config.sanitized {
        cx.parts.headers.remove(name);
    }
    if config.bypass_cors_preflight && is_preflight(cx.parts) {
        stats.cors_preflight_bypassed.inc();
        stats.allowed.inc();
        return FilterVerdict::Continue;
    }
    let verifier = match route {
        None => config.rule_for(cx),
        Some(JwtAuthnOverride::Disabled) => None,
        Some(JwtAuthnOverride::Resolved(ResolvedRequirement(Ok(verifier)))) => {
            Some(Arc::clone(verifier))
        }
        Some(JwtAuthnOverride::Resolved(ResolvedRequirement(Err(wrong)))) => {
            stats.denied.inc();
            let body = match config.strip_failure_response {
                true => String::new(),
                false => format!("Failed JWT authentication: {wrong}"),
            };
            return refuse(StatusCode::FORBIDDEN, body, wrong);
        }
        Some(JwtAuthnOverride::Requirement(_)) => None,
    };
    let Some(verifier) = verifier else {
        stats.allowed.inc();
        return FilterVerdict::Continue;
    };
    let realm = original_uri(cx.parts);
    let mut run = Run {
        providers: &config.providers,
        cx: &mut *cx,
        extracted: MetadataStruct::new(),
    };
    let result = verifier.verify(&mut run);
    let extracted = run.extracted;
    if !extracted.is_empty() {
        cx.merge_metadata(METADATA, extracted);
    }
    let Err(status) = result else {
        stats.allowed.inc();
        return FilterVerdict::Continue;
    };
    stats.denied.inc();
    let code = match status {
        Status::AudienceNotAllowed => StatusCode::FORBIDDEN,
        _ => StatusCode::UNAUTHORIZED,
    };
    let body = match config.strip_failure_response {
        true => "",
        false => status.text(),
    };
    let mut verdict = refuse(code, body.to_owned(), status.text());
    if let (FilterVerdict::Reply(reply), false) = (&mut verdict, config.strip_failure_response) {
        let error = match status {
            Status::Missing => "",
            _ => ", error=\"invalid_token\"",
        };
        let value = format!("Bearer realm=\"{realm}\"{error}");
        if let Ok(value) = HeaderValue::try_from(value) {
            reply.headers.push((WWW_AUTHENTICATE, value));
        }
    }
    verdict
}

fn refuse(code: StatusCode, body: String, why: &str) -> FilterVerdict {
    let why = why.replace(|c: char| c.is_ascii_whitespace(), "_");
    let details = format!("jwt_authn_access_denied{{{why}}}");
    FilterVerdict::Reply(Box::new(LocalReply::answer(code, body, details)))
}

fn is_preflight(parts: &request::Parts) -> bool {
    let has = |name: HeaderName| parts.headers.get(name).is_some_and(|v| !v.is_empty());
    parts.method == Method::OPTIONS
        && has(http::header::ORIGIN)
        && has(http::header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The URI as the client wrote it, its path cut at 256 bytes (Envoy `buildOriginalUri`).
fn original_uri(parts: &request::Parts) -> String {
    let head = RequestHead::of(parts);
    if head.path.is_empty() {
        return String::new();
    }
    let original = parts.headers.get(ORIGINAL_PATH);
    let path = original
        .and_then(|path| path.to_str().ok())
        .unwrap_or(head.path);
    let path = path.get(..256).unwrap_or(path);
    format!("{}://{}{path}", head.scheme, head.authority)
}
