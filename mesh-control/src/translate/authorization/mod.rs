//! AuthorizationPolicies to the RBAC filters of Envoy, as istiod's `pilot/pkg/security/authz` makes them: one filter each for
//! AUDIT, DENY and ALLOW, with the rules that are only tried (annotation `istio.io/dry-run`) as shadow rules.

mod matcher;
mod rule;
mod trust_domain;

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_proto::envoy::config::listener::v3 as listener;
use mesh_proto::envoy::config::rbac::v3 as rbac;
use mesh_proto::envoy::extensions::filters::http::rbac::v3::Rbac as HttpRbac;
use mesh_proto::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use mesh_proto::envoy::extensions::filters::network::rbac::v3::Rbac as TcpRbac;
use rbac::rbac::Action;

pub(super) use matcher::{JWT_FILTER, JWT_PAYLOAD, claim_of};

use super::address::any;
use super::policies;
use super::scope::Scope;
use crate::model::{AuthorizationAction, AuthorizationPolicy};

const HTTP: &str = "envoy.filters.http.rbac";
const TCP: &str = "envoy.filters.network.rbac";

/// The filters of a node, for connection managers and for connections.
#[derive(Debug, Default)]
pub(super) struct AuthorizationFilters {
    pub(super) http: Vec<hcm::HttpFilter>,
    pub(super) tcp: Vec<listener::Filter>,
}

impl AuthorizationFilters {
    pub(super) fn new(scope: &Scope) -> Self {
        let policies = &scope.config.authorization_policies;
        if policies.is_empty() {
            return AuthorizationFilters::default();
        }
        let selected: Vec<_> = policies::namespaces(scope)
            .flat_map(|namespace| {
                policies.iter().filter(move |policy| {
                    policy.metadata.namespace == namespace
                        && policies::is_for(scope, &policy.metadata, &policy.target)
                })
            })
            .collect();
        let mut filters = AuthorizationFilters::default();
        for action in [
            AuthorizationAction::Audit,
            AuthorizationAction::Deny,
            AuthorizationAction::Allow,
        ] {
            let of_action: Vec<_> = selected
                .iter()
                .copied()
                .filter(|policy| policy.action == action)
                .collect();
            if of_action.is_empty() {
                continue;
            }
            let http = Rules::new(scope, &of_action, action, false);
            filters.http.push(http.http_filter());
            let tcp = Rules::new(scope, &of_action, action, true);
            filters.tcp.push(tcp.tcp_filter());
        }
        filters
    }
}

/// What is enforced and what is only tried; `None` without any policy of the sort.
struct Rules {
    enforced: Option<rbac::Rbac>,
    tried: Option<rbac::Rbac>,
    shadow_prefix: &'static str,
}

impl Rules {
    fn new(
        scope: &Scope,
        policies: &[&Arc<AuthorizationPolicy>],
        action: AuthorizationAction,
        tcp: bool,
    ) -> Self {
        let of = |dry_run: bool| {
            let mut policies = policies
                .iter()
                .filter(|p| p.is_dry_run == dry_run)
                .peekable();
            policies.peek()?;
            let mut built = BTreeMap::new();
            policies.for_each(|policy| add(scope, policy, tcp, &mut built));
            Some(rbac::Rbac {
                action: envoy_action(action).into(),
                policies: built,
                ..Default::default()
            })
        };
        let tried = of(true);
        let shadow_prefix = match (&tried, action) {
            // istiod names one for nothing, too
            (None, _) | (Some(_), AuthorizationAction::Allow) => "istio_dry_run_allow_",
            (Some(_), AuthorizationAction::Deny) => "istio_dry_run_deny_",
            (Some(_), AuthorizationAction::Audit) => "",
        };
        Rules {
            enforced: of(false),
            tried,
            shadow_prefix,
        }
    }

    fn http_filter(self) -> hcm::HttpFilter {
        let config = HttpRbac {
            rules: self.enforced,
            shadow_rules: self.tried,
            shadow_rules_stat_prefix: self.shadow_prefix.to_owned(),
            ..Default::default()
        };
        hcm::HttpFilter {
            name: HTTP.to_owned(),
            config_type: Some(hcm::http_filter::ConfigType::TypedConfig(any(&config))),
            ..Default::default()
        }
    }

    fn tcp_filter(self) -> listener::Filter {
        let config = TcpRbac {
            rules: self.enforced,
            shadow_rules: self.tried,
            shadow_rules_stat_prefix: self.shadow_prefix.to_owned(),
            stat_prefix: "tcp.".to_owned(),
            ..Default::default()
        };
        listener::Filter {
            name: TCP.to_owned(),
            config_type: Some(listener::filter::ConfigType::TypedConfig(any(&config))),
        }
    }
}

fn envoy_action(action: AuthorizationAction) -> Action {
    match action {
        AuthorizationAction::Allow => Action::Allow,
        AuthorizationAction::Deny => Action::Deny,
        AuthorizationAction::Audit => Action::Log,
    }
}

/// A policy of RBAC per rule; without rules one that never matches, so that ALLOW admits nothing.
fn add(
    scope: &Scope,
    policy: &AuthorizationPolicy,
    tcp: bool,
    built: &mut BTreeMap<String, rbac::Policy>,
) {
    let metadata = &policy.metadata;
    let name = |i: usize| {
        format!(
            "ns[{}]-policy[{}]-rule[{i}]",
            metadata.namespace, metadata.name
        )
    };
    for (i, rule) in policy.rules.iter().enumerate() {
        let context = rule::Context {
            mesh: &scope.config.mesh,
            namespace: &metadata.namespace,
            tcp,
            strict: policy.action == AuthorizationAction::Allow,
        };
        if let Some(rule) = context.policy(rule) {
            built.insert(name(i), rule);
        }
    }
    if policy.rules.is_empty() {
        built.insert(name(0), rule::never());
    }
}
