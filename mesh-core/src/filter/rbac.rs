//! The RBAC filter (Envoy `source/extensions/filters/http/rbac/rbac_filter.cc`).

use std::{net::IpAddr, sync::Arc};

use http::StatusCode;

use super::{FilterContext, FilterVerdict};
use crate::{
    head::RequestHead,
    local_reply::LocalReply,
    metadata::{MetadataStruct, MetadataValue},
    rbac::{Action, Request, Rules, Verdict, stat_prefix},
    stats::{Counter, ManagerStats},
};

/// The namespace of what the filter writes.
pub(super) const METADATA: &str = "envoy.filters.http.rbac";

/// `envoy.extensions.filters.http.rbac.v3.RBAC`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RbacConfig {
    /// `rules`; None: nothing is enforced.
    pub rules: Option<Rules>,
    /// `shadow_rules`: only noted.
    pub shadow_rules: Option<Rules>,
    /// `rules_stat_prefix`.
    pub rules_stat_prefix: Box<str>,
    /// `shadow_rules_stat_prefix`.
    pub shadow_rules_stat_prefix: Box<str>,
}

/// A filter and its counters (`http.PREFIX.rbac.…`), which its per-route configurations share.
#[derive(Debug)]
pub(super) struct RbacFilter {
    pub(super) config: Arc<RbacConfig>,
    allowed: Arc<Counter>,
    denied: Arc<Counter>,
    shadow_allowed: Arc<Counter>,
    shadow_denied: Arc<Counter>,
}

impl RbacFilter {
    pub(super) fn new(config: &Arc<RbacConfig>, stats: &ManagerStats) -> Self {
        let counter = |prefix: &str, name| {
            let prefix = stat_prefix(prefix);
            stats.named.counter(&format!("rbac.{prefix}{name}"))
        };
        let (enforced, shadow) = (&config.rules_stat_prefix, &config.shadow_rules_stat_prefix);
        Self {
            allowed: counter(enforced, "allowed"),
            denied: counter(enforced, "denied"),
            shadow_allowed: counter(shadow, "shadow_allowed"),
            shadow_denied: counter(shadow, "shadow_denied"),
            config: Arc::clone(config),
        }
    }
}

/// `metadata_is_read`: somebody may ask for what the filter decided; otherwise only shadow rules write it down.
pub(super) fn on_request_head(
    filter: &RbacFilter,
    route: Option<&RbacConfig>,
    metadata_is_read: bool,
    cx: &mut FilterContext<'_>,
) -> FilterVerdict {
    let config = route.unwrap_or(&filter.config);
    if config.rules.is_none() && config.shadow_rules.is_none() {
        return FilterVerdict::Continue;
    }
    let remote = cx.remote_address();
    let mut fields = MetadataStruct::new();
    if let Some(rules) = &config.shadow_rules {
        let verdict = check(rules, remote, cx);
        let counter = match verdict.allowed {
            true => &filter.shadow_allowed,
            false => &filter.shadow_denied,
        };
        counter.inc();
        let prefixes = [route, Some(&filter.config)].into_iter().flatten();
        let prefix = prefixes
            .map(|config| &*config.shadow_rules_stat_prefix)
            .find(|prefix| !prefix.is_empty());
        note(&mut fields, prefix.unwrap_or_default(), "shadow", verdict);
    }
    let mut denied = None;
    if let Some(rules) = &config.rules {
        let verdict = check(rules, remote, cx);
        if rules.action() == Action::Log {
            let hint = MetadataValue::Bool(verdict.policy.is_some());
            cx.merge_metadata(
                "envoy.common",
                MetadataStruct::from([("access_log_hint".into(), hint)]),
            );
        }
        if metadata_is_read {
            let prefixes = [route, Some(&filter.config)].into_iter().flatten();
            let prefix = prefixes
                .map(|config| &*config.rules_stat_prefix)
                .find(|prefix| !prefix.is_empty());
            note(&mut fields, prefix.unwrap_or_default(), "enforced", verdict);
        }
        if verdict.allowed {
            filter.allowed.inc();
        } else {
            filter.denied.inc();
            denied = Some(refusal(verdict.policy.unwrap_or("none")));
        }
    }
    if !fields.is_empty() {
        cx.merge_metadata(METADATA, fields);
    }
    match denied {
        Some(reply) => FilterVerdict::Reply(Box::new(reply)),
        None => FilterVerdict::Continue,
    }
}

fn check<'r>(rules: &'r Rules, remote: Option<IpAddr>, cx: &mut FilterContext<'_>) -> Verdict<'r> {
    let request = Request {
        head: RequestHead::of(cx.parts),
        connection: cx.connection,
        remote,
        metadata: cx.metadata.as_deref(),
        route: cx.route.map(|route| &route.metadata),
        ignore_path_parameters: cx.ignore_path_parameters,
    };
    rules.check(&request, cx.scratch)
}

fn note(fields: &mut MetadataStruct, prefix: &str, engine: &str, verdict: Verdict<'_>) {
    let mut set = |name: &str, value: &str| {
        let value = MetadataValue::String(value.into());
        fields.insert(format!("{prefix}{engine}_{name}").into(), value);
    };
    if let Some(policy) = verdict.policy {
        set("effective_policy_id", policy);
    }
    set(
        "engine_result",
        if verdict.allowed { "allowed" } else { "denied" },
    );
}

/// 403; white space in the policy's name becomes `_`, since the details are one word of a log line.
fn refusal(policy: &str) -> LocalReply {
    let policy = policy.replace(|c: char| c.is_ascii_whitespace(), "_");
    LocalReply::answer(
        StatusCode::FORBIDDEN,
        "RBAC: access denied",
        format!("rbac_access_denied_matched_policy[{policy}]"),
    )
}
