//! RequestAuthentications to the filter `envoy.filters.http.jwt_authn`, as istiod's
//! `pilot/pkg/security/authn/policy_applier.go` makes it.

use std::collections::{BTreeMap, BTreeSet};

use jwt::jwt_provider::{JwksSourceSpecifier, NormalizePayload};
use jwt::jwt_requirement::RequiresType;
use jwt::requirement_rule::RequirementType;
use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::config::route::v3 as route;
use mesh_proto::envoy::extensions::filters::http::jwt_authn::v3 as jwt;
use mesh_proto::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;

use super::NodeKind;
use super::address::any;
use super::authorization::{JWT_FILTER, JWT_PAYLOAD};
use super::policies;
use super::scope::Scope;
use crate::model::{JwksSource, JwtRule};

/// Claims that are always lists of words.
const SPACE_DELIMITED: [&str; 2] = ["permission", "scope"];

/// Istio's `PublicOnlyJwks` (`pilot/pkg/model/jwks_resolver.go`): a key whose private half nobody has, for issuers whose keys
/// could not be fetched. No token is right then.
const NOBODYS_KEY: &str = r#"{
  "keys": [
    {
      "kty": "RSA",
      "e": "AQAB",
      "n": "0xObjM0UvS_oaazjpEYlAbwctEJ4L8pH3OuTb7qth7gUwqet-EzQB4dgFdvSdMgrLnSncQGRjpEYz3F3viIbH-3EN3TxSlPNviHxeOdyiBVfumN8dMxbLvVJUpfNOnvmMxJcl-8NNjAwcOjk4otSALaYgYYyOPyvKtgVdrQr-FoubWX4yrjxW-MJ2-7OBeepUUNOsVwGV23YX03sVkkyvY3otRflkBcY3_HKpBxJl9wk2GyOShN4_PNUF9-vwfnvOXMbCDX-w4PTef4geeb_GiT40YCKHTKMSPVanGRn5GExIWmki-mmqh94-mPTJyBR74ShspL3BxPZitDL574T1w"
    }
  ]
}"#;

/// `None` without any rule for the node.
pub(super) fn filter(scope: &Scope) -> Option<hcm::HttpFilter> {
    let policies = &scope.config.request_authentications;
    if policies.is_empty() {
        return None;
    }
    let mut namespaces: Vec<_> = policies::namespaces(scope).collect();
    // the node's own first
    namespaces.reverse();
    let selected = namespaces.into_iter().flat_map(|namespace| {
        policies.iter().filter(move |policy| {
            policy.metadata.namespace == namespace
                && policies::is_for(scope, &policy.metadata, &policy.target)
        })
    });
    let mut rules: Vec<_> = selected.flat_map(|policy| &policy.rules).collect();
    rules.sort_by(|a, b| a.issuer.cmp(&b.issuer));
    if rules.is_empty() {
        return None;
    }
    Some(hcm::HttpFilter {
        name: JWT_FILTER.to_owned(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(any(&config(
            scope, &rules,
        )))),
        ..Default::default()
    })
}

fn config(scope: &Scope, rules: &[&JwtRule]) -> jwt::JwtAuthentication {
    let mut providers = BTreeMap::new();
    let mut one_is_right = Vec::new();
    let mut none_is_wrong = Vec::new();
    for (i, rule) in rules.iter().enumerate() {
        let name = format!("origins-{i}");
        providers.insert(name.clone(), provider(scope, rule));
        let provider = requires(RequiresType::ProviderName(name));
        one_is_right.push(provider.clone());
        none_is_wrong.push(any_of(vec![
            provider,
            requires(RequiresType::AllowMissing(())),
        ]));
    }
    let requirement = match none_is_wrong.len() {
        1 => none_is_wrong.remove(0),
        _ => {
            one_is_right.push(requires(RequiresType::RequiresAll(
                jwt::JwtRequirementAndList {
                    requirements: none_is_wrong,
                },
            )));
            any_of(one_is_right)
        }
    };
    jwt::JwtAuthentication {
        providers,
        rules: vec![jwt::RequirementRule {
            r#match: Some(route::RouteMatch {
                path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".to_owned())),
                ..Default::default()
            }),
            requirement_type: Some(RequirementType::Requires(requirement)),
        }],
        bypass_cors_preflight: true,
        ..Default::default()
    }
}

fn requires(what: RequiresType) -> jwt::JwtRequirement {
    jwt::JwtRequirement {
        requires_type: Some(what),
    }
}

fn any_of(requirements: Vec<jwt::JwtRequirement>) -> jwt::JwtRequirement {
    requires(RequiresType::RequiresAny(jwt::JwtRequirementOrList {
        requirements,
    }))
}

fn provider(scope: &Scope, rule: &JwtRule) -> jwt::JwtProvider {
    let keys = match &rule.keys {
        JwksSource::Inline(keys) => keys.clone(),
        JwksSource::Remote(remote) => match scope.config.jwks.get(remote) {
            Some(keys) => keys.to_string(),
            None => NOBODYS_KEY.to_owned(),
        },
    };
    let always = SPACE_DELIMITED.map(str::to_owned);
    let claims: BTreeSet<String> = rule
        .space_delimited_claims
        .iter()
        .cloned()
        .chain(always)
        .collect();
    let header = |(name, value_prefix): &(String, String)| jwt::JwtHeader {
        name: name.clone(),
        value_prefix: value_prefix.clone(),
    };
    let claim = |(header_name, claim_name): &(String, String)| jwt::JwtClaimToHeader {
        header_name: header_name.clone(),
        claim_name: claim_name.clone(),
        ..Default::default()
    };
    jwt::JwtProvider {
        issuer: rule.issuer.clone(),
        audiences: rule.audiences.clone(),
        forward: rule.forward_original_token,
        forward_payload_header: rule.output_payload_to_header.clone(),
        payload_in_metadata: JWT_PAYLOAD.to_owned(),
        normalize_payload_in_metadata: Some(NormalizePayload {
            space_delimited_claims: claims.into_iter().collect(),
        }),
        clear_route_cache: scope.node.kind != NodeKind::Sidecar,
        claim_to_headers: rule.output_claim_to_headers.iter().map(claim).collect(),
        from_headers: rule.from_headers.iter().map(header).collect(),
        from_params: rule.from_params.clone(),
        from_cookies: rule.from_cookies.clone(),
        jwks_source_specifier: Some(JwksSourceSpecifier::LocalJwks(core::DataSource {
            specifier: Some(core::data_source::Specifier::InlineString(keys)),
            ..Default::default()
        })),
        ..Default::default()
    }
}
