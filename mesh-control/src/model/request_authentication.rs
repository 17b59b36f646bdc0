use std::time::Duration;

use super::{Metadata, PolicyTarget};
use crate::yaml::{At, Fields};

/// Which tokens of requests are believed. A request without one is let through; one with a wrong one is not.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RequestAuthentication {
    pub(crate) metadata: Metadata,
    pub(crate) target: PolicyTarget,
    pub(crate) rules: Vec<JwtRule>,
}

/// One of `jwtRules`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct JwtRule {
    pub(crate) issuer: String,
    pub(crate) audiences: Vec<String>,
    pub(crate) keys: JwksSource,
    /// How long keys are waited for: `timeout`; 5 s.
    pub(crate) timeout: Duration,
    /// Names of headers, and what comes before the token there.
    pub(crate) from_headers: Vec<(String, String)>,
    pub(crate) from_params: Vec<String>,
    pub(crate) from_cookies: Vec<String>,
    pub(crate) output_payload_to_header: String,
    pub(crate) forward_original_token: bool,
    /// Headers, and the claims that they get.
    pub(crate) output_claim_to_headers: Vec<(String, String)>,
    pub(crate) space_delimited_claims: Vec<String>,
}

/// Where the keys of an issuer are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum JwksSource {
    /// `jwks`, as written.
    Inline(String),
    Remote(RemoteJwks),
}

/// Keys that the control plane fetches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RemoteJwks {
    /// `jwksUri`; empty: found by OpenID discovery at the issuer.
    pub(crate) uri: String,
    pub(crate) issuer: String,
}

impl RequestAuthentication {
    /// What Istio's webhook refuses is refused elsewhere.
    pub(crate) fn read(spec: Option<Fields<'_>>, metadata: Metadata) -> Self {
        let mut policy = RequestAuthentication {
            metadata,
            target: PolicyTarget::default(),
            rules: Vec::new(),
        };
        if let Some(spec) = spec {
            policy.target = PolicyTarget::read(&spec);
            policy.rules = spec.list("jwtRules", |at| JwtRule::read(&at));
            spec.finish_with(&[("issuer", "jwtRules[].issuer"), ("rules", "jwtRules")]);
        }
        policy
    }
}

impl JwtRule {
    fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let issuer = fields.string("issuer");
        let uri_at = fields.get("jwksUri");
        let uri = uri_at.as_ref().map(|at| at.string()).unwrap_or_default();
        let timeout = fields.get("timeout").map(|at| at.duration());
        let keys = match fields.string("jwks") {
            keys if keys.is_empty() => {
                let from = if uri.is_empty() { &issuer } else { &uri };
                if from.starts_with("https://") {
                    uri_at.as_ref().unwrap_or(at).warn(
                        "keys are not fetched over https yet, so no token of the issuer is accepted",
                        "write the keys in jwks",
                    );
                }
                JwksSource::Remote(RemoteJwks {
                    uri,
                    issuer: issuer.clone(),
                })
            }
            keys => JwksSource::Inline(keys),
        };
        let pair = |at: At<'_>, a: &'static str, b: &'static str| {
            let fields = at.fields();
            let pair = (fields.string(a), fields.string(b));
            fields.finish();
            pair
        };
        let rule = JwtRule {
            issuer,
            audiences: fields.strings("audiences"),
            keys,
            timeout: timeout.unwrap_or(Duration::from_secs(5)),
            from_headers: fields.list("fromHeaders", |at| pair(at, "name", "prefix")),
            from_params: fields.strings("fromParams"),
            from_cookies: fields.strings("fromCookies"),
            output_payload_to_header: fields.string("outputPayloadToHeader"),
            forward_original_token: fields
                .get("forwardOriginalToken")
                .is_some_and(|at| at.bool()),
            output_claim_to_headers: fields
                .list("outputClaimToHeaders", |at| pair(at, "header", "claim")),
            space_delimited_claims: fields.strings("spaceDelimitedClaims"),
        };
        fields.finish();
        rule
    }
}
