mod matching;
mod value;

use std::sync::Arc;

use prost_types::Any;

use super::policy_target::{PolicyReference, PolicyTarget};
use super::{Metadata, names};
use crate::yaml::{At, Fields};
pub(crate) use matching::{
    ChainMatch, ClusterMatch, ListenerMatch, ProxyMatch, RouteConfigurationMatch, RouteKind,
    RouteMatch,
};
use value::message;

/// Patches of what proxies are sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EnvoyFilter {
    pub(crate) metadata: Metadata,
    /// Lower ones are applied first.
    pub(crate) priority: i32,
    pub(crate) target: PolicyTarget,
    pub(crate) patches: Vec<Arc<Patch>>,
}

/// One of `configPatches`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Patch {
    pub(crate) apply_to: ApplyTo,
    pub(crate) context: PatchContext,
    pub(crate) proxy: ProxyMatch,
    pub(crate) listener: Option<ListenerMatch>,
    pub(crate) route_configuration: Option<RouteConfigurationMatch>,
    pub(crate) cluster: Option<ClusterMatch>,
    pub(crate) operation: PatchOperation,
    /// The message of `apply_to`; none where something is removed.
    pub(crate) value: Option<Any>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ApplyTo {
    Listener,
    FilterChain,
    NetworkFilter,
    HttpFilter,
    RouteConfiguration,
    VirtualHost,
    HttpRoute,
    Cluster,
    ExtensionConfig,
    Bootstrap,
    ListenerFilter,
}

const APPLY_TO: [(&str, ApplyTo); 11] = [
    ("LISTENER", ApplyTo::Listener),
    ("FILTER_CHAIN", ApplyTo::FilterChain),
    ("NETWORK_FILTER", ApplyTo::NetworkFilter),
    ("HTTP_FILTER", ApplyTo::HttpFilter),
    ("ROUTE_CONFIGURATION", ApplyTo::RouteConfiguration),
    ("VIRTUAL_HOST", ApplyTo::VirtualHost),
    ("HTTP_ROUTE", ApplyTo::HttpRoute),
    ("CLUSTER", ApplyTo::Cluster),
    ("EXTENSION_CONFIG", ApplyTo::ExtensionConfig),
    ("BOOTSTRAP", ApplyTo::Bootstrap),
    ("LISTENER_FILTER", ApplyTo::ListenerFilter),
];

impl ApplyTo {
    /// The message that a patch of it holds.
    fn message(self) -> &'static str {
        match self {
            ApplyTo::Listener => "envoy.config.listener.v3.Listener",
            ApplyTo::FilterChain => "envoy.config.listener.v3.FilterChain",
            ApplyTo::NetworkFilter => "envoy.config.listener.v3.Filter",
            ApplyTo::HttpFilter => {
                "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter"
            }
            ApplyTo::RouteConfiguration => "envoy.config.route.v3.RouteConfiguration",
            ApplyTo::VirtualHost => "envoy.config.route.v3.VirtualHost",
            ApplyTo::HttpRoute => "envoy.config.route.v3.Route",
            ApplyTo::Cluster => "envoy.config.cluster.v3.Cluster",
            ApplyTo::ExtensionConfig => "envoy.config.core.v3.TypedExtensionConfig",
            ApplyTo::Bootstrap => "envoy.config.bootstrap.v3.Bootstrap",
            ApplyTo::ListenerFilter => "envoy.config.listener.v3.ListenerFilter",
        }
    }

    /// Whether the place within a list can be said; elsewhere what is inserted is added.
    fn has_order(self) -> bool {
        matches!(
            self,
            ApplyTo::HttpFilter
                | ApplyTo::NetworkFilter
                | ApplyTo::HttpRoute
                | ApplyTo::ListenerFilter
        )
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatchContext {
    Any,
    SidecarInbound,
    SidecarOutbound,
    Gateway,
    /// There are no waypoints here.
    Waypoint,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatchOperation {
    Merge,
    /// `MERGE_AND_REPLACE_LIST`.
    MergeAndReplaceList,
    Add,
    Remove,
    InsertBefore,
    InsertAfter,
    InsertFirst,
    Replace,
}

impl PatchOperation {
    pub(crate) fn is_merge(self) -> bool {
        matches!(
            self,
            PatchOperation::Merge | PatchOperation::MergeAndReplaceList
        )
    }
}

impl EnvoyFilter {
    pub(crate) fn read(spec: Fields<'_>, metadata: Metadata) -> Self {
        let selector = spec.get("workloadSelector").map(|at| {
            let fields = at.fields();
            let labels = fields
                .get("labels")
                .map(|at| names::selector(&at))
                .unwrap_or_default();
            fields.finish_with(&[("matchLabels", "labels")]);
            labels
        });
        let priority = spec.get("priority").map_or(0, |at| at.int32());
        let filter = EnvoyFilter {
            metadata,
            priority,
            target: PolicyTarget {
                selector: selector.unwrap_or_default(),
                references: spec.list("targetRefs", |at| PolicyReference::read(at.fields())),
            },
            patches: spec
                .list("configPatches", |at| Patch::read(&at))
                .into_iter()
                .flatten()
                .map(Arc::new)
                .collect(),
        };
        spec.finish();
        filter
    }
}

impl Patch {
    /// `None`: it is not right, which was said, or does nothing.
    fn read(at: &At<'_>) -> Option<Self> {
        let fields = at.fields();
        let apply_to_at = fields.get("applyTo");
        let apply_to = apply_to_at.as_ref().and_then(|at| at.word(&APPLY_TO));
        let matched = fields.get("match").map(|at| at.fields());
        let patch = fields.get("patch").map(|at| at.fields());
        let context = matched
            .as_ref()
            .and_then(|m| m.get("context"))
            .and_then(|at| {
                let context = at.word(&[
                    ("ANY", PatchContext::Any),
                    ("SIDECAR_INBOUND", PatchContext::SidecarInbound),
                    ("SIDECAR_OUTBOUND", PatchContext::SidecarOutbound),
                    ("GATEWAY", PatchContext::Gateway),
                    ("WAYPOINT", PatchContext::Waypoint),
                ]);
                if context == Some(PatchContext::Waypoint) {
                    at.without_effect(
                        "there are no waypoints here, so nothing is patched",
                        "name the context of the proxies that are meant",
                    );
                }
                context
            });
        let proxy = matched.as_ref().and_then(|m| m.get("proxy")).map(|at| {
            let fields = at.fields();
            let proxy = ProxyMatch::read(&fields);
            fields.finish();
            proxy
        });
        let object = |name: &'static str| matched.as_ref().and_then(|m| m.get(name));
        let listener = object("listener").map(|at| ListenerMatch::read(&at));
        let route_configuration =
            object("routeConfiguration").map(|at| RouteConfigurationMatch::read(&at));
        let cluster = object("cluster").map(|at| ClusterMatch::read(&at));
        if let Some(matched) = matched {
            matched.ignore(&["waypoint"]);
            matched.finish();
        }
        let mut operation = patch
            .as_ref()
            .and_then(|p| p.get("operation"))
            .and_then(|at| {
                at.word(&[
                    ("MERGE", PatchOperation::Merge),
                    (
                        "MERGE_AND_REPLACE_LIST",
                        PatchOperation::MergeAndReplaceList,
                    ),
                    ("ADD", PatchOperation::Add),
                    ("REMOVE", PatchOperation::Remove),
                    ("INSERT_BEFORE", PatchOperation::InsertBefore),
                    ("INSERT_AFTER", PatchOperation::InsertAfter),
                    ("INSERT_FIRST", PatchOperation::InsertFirst),
                    ("REPLACE", PatchOperation::Replace),
                ])
            })?;
        let value = patch.as_ref().and_then(|p| p.get("value"));
        if let Some(patch) = patch {
            patch.ignore(&["filterClass"]);
            patch.finish();
        }
        fields.finish();
        let apply_to = apply_to?;
        match (apply_to, apply_to_at) {
            (ApplyTo::Bootstrap, Some(at)) => at.warn(
                "istiod patches no bootstrap, Istio's agent does; there is none here",
                "change the proxy's bootstrap itself",
            ),
            (ApplyTo::ExtensionConfig, Some(at)) => at.without_effect(
                "configurations of extensions are not served by themselves (ECDS) yet, so nothing is patched",
                "write the filter's configuration into a patch of HTTP_FILTER",
            ),
            _ => {}
        }
        let is_insert = matches!(
            operation,
            PatchOperation::InsertAfter
                | PatchOperation::InsertBefore
                | PatchOperation::InsertFirst
        );
        if is_insert && !apply_to.has_order() {
            operation = PatchOperation::Add;
        }
        let value = match value {
            Some(at) => Some(message(&at, apply_to.message())?),
            None => None,
        };
        Some(Patch {
            apply_to,
            context: context.unwrap_or(PatchContext::Any),
            proxy: proxy.unwrap_or_default(),
            listener,
            route_configuration,
            cluster,
            operation,
            value,
        })
    }
}
