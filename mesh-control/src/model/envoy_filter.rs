use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_core::regex::{Regex, Scratch};
use mesh_proto::descriptor_pool;
use prost_reflect::{DeserializeOptions, DynamicMessage};
use prost_types::Any;

use super::{Metadata, names};
use crate::yaml::{At, Fields, Node, Value};

/// Patches of what proxies are sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EnvoyFilter {
    pub(crate) metadata: Metadata,
    /// Lower ones are applied first.
    pub(crate) priority: i32,
    /// `None`: every workload.
    pub(crate) selector: Option<BTreeMap<String, String>>,
    pub(crate) targets: Vec<PolicyTarget>,
    pub(crate) patches: Vec<Arc<Patch>>,
}

/// One of `targetRefs`: what a policy is attached to instead of labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PolicyTarget {
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) namespace: String,
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
    pub(crate) operation: Operation,
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
pub(crate) enum Operation {
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

impl Operation {
    pub(crate) fn is_merge(self) -> bool {
        matches!(self, Operation::Merge | Operation::MergeAndReplaceList)
    }
}

/// `match.proxy`.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProxyMatch {
    version: Option<Version>,
    metadata: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
enum Version {
    Is(String, Regex),
    /// Istio takes no expression of this length.
    TooLong,
}

impl PartialEq for ProxyMatch {
    fn eq(&self, other: &Self) -> bool {
        let version = |this: &Self| match &this.version {
            Some(Version::Is(text, _)) => Some(text.clone()),
            Some(Version::TooLong) => Some(String::new()),
            None => None,
        };
        version(self) == version(other) && self.metadata == other.metadata
    }
}

impl ProxyMatch {
    /// Whether a proxy of this version and with these metadata is meant.
    pub(crate) fn is_met(&self, version: &str, metadata: &BTreeMap<String, String>) -> bool {
        let fits = match &self.version {
            None => true,
            Some(Version::TooLong) => false,
            Some(Version::Is(_, regex)) => {
                !version.is_empty()
                    && regex.is_full_match(version.as_bytes(), &mut Scratch::default())
            }
        };
        fits && self
            .metadata
            .iter()
            .all(|(k, v)| metadata.get(k) == Some(v))
    }

    fn read(fields: &Fields<'_>) -> Self {
        let metadata = fields.string_map("metadata");
        let version = fields.get("proxyVersion").and_then(|at| {
            let text = at.string();
            if text.is_empty() {
                return None;
            }
            if text.len() > 1024 {
                return Some(Version::TooLong);
            }
            // anywhere in the version
            match Regex::new(&format!("(?s:.*)(?:{text})(?s:.*)")) {
                Ok(regex) => Some(Version::Is(text, regex)),
                Err(error) => {
                    at.refuse(
                        format_args!("invalid regex for proxy version: {error}"),
                        "correct it, see RE2's syntax",
                    );
                    None
                }
            }
        });
        ProxyMatch { version, metadata }
    }
}

/// `match.listener`. Empty and 0: any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListenerMatch {
    pub(crate) name: String,
    pub(crate) port: u32,
    pub(crate) listener_filter: String,
    pub(crate) chain: Option<ChainMatch>,
}

/// `filterChain`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChainMatch {
    pub(crate) name: String,
    pub(crate) sni: String,
    pub(crate) transport_protocol: String,
    pub(crate) application_protocols: String,
    pub(crate) destination_port: u32,
    /// The network filter's name.
    pub(crate) filter: Option<String>,
    /// The HTTP filter's name.
    pub(crate) sub_filter: Option<String>,
}

/// `match.routeConfiguration`. Empty and 0: any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RouteConfigurationMatch {
    pub(crate) name: String,
    pub(crate) port: u32,
    pub(crate) port_name: String,
    pub(crate) gateway: String,
    pub(crate) host: Option<HostMatch>,
}

/// `vhost`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HostMatch {
    pub(crate) name: String,
    pub(crate) domain: String,
    pub(crate) route: Option<RouteMatch>,
}

/// `route`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RouteMatch {
    pub(crate) name: String,
    pub(crate) action: RouteKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouteKind {
    Any,
    Route,
    Redirect,
    DirectResponse,
}

/// `match.cluster`. Empty and 0: any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClusterMatch {
    pub(crate) name: String,
    pub(crate) service: String,
    pub(crate) subset: String,
    pub(crate) port: u32,
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
        let priority = spec.get("priority").map_or(0, |at| match at.node().value {
            Value::Int(number) => i32::try_from(number).unwrap_or_default(),
            _ => 0,
        });
        let filter = EnvoyFilter {
            metadata,
            priority,
            selector,
            targets: spec.list("targetRefs", |at| PolicyTarget::read(&at)),
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

impl PolicyTarget {
    pub(crate) fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let target = PolicyTarget {
            group: fields.string("group"),
            kind: fields.string("kind"),
            name: fields.string("name"),
            namespace: fields.string("namespace"),
        };
        fields.finish();
        target
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
                at.word(&[
                    ("ANY", PatchContext::Any),
                    ("SIDECAR_INBOUND", PatchContext::SidecarInbound),
                    ("SIDECAR_OUTBOUND", PatchContext::SidecarOutbound),
                    ("GATEWAY", PatchContext::Gateway),
                    ("WAYPOINT", PatchContext::Waypoint),
                ])
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
                    ("MERGE", Operation::Merge),
                    ("MERGE_AND_REPLACE_LIST", Operation::MergeAndReplaceList),
                    ("ADD", Operation::Add),
                    ("REMOVE", Operation::Remove),
                    ("INSERT_BEFORE", Operation::InsertBefore),
                    ("INSERT_AFTER", Operation::InsertAfter),
                    ("INSERT_FIRST", Operation::InsertFirst),
                    ("REPLACE", Operation::Replace),
                ])
            })?;
        let value = patch.as_ref().and_then(|p| p.get("value"));
        if let Some(patch) = patch {
            patch.ignore(&["filterClass"]);
            patch.finish();
        }
        fields.finish();
        let apply_to = apply_to?;
        if apply_to == ApplyTo::Bootstrap
            && let Some(at) = apply_to_at
        {
            at.warn(
                "istiod patches no bootstrap, Istio's agent does; there is none here",
                "change the proxy's bootstrap itself",
            );
        }
        let is_insert = matches!(
            operation,
            Operation::InsertAfter | Operation::InsertBefore | Operation::InsertFirst
        );
        if is_insert && !apply_to.has_order() {
            operation = Operation::Add;
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

impl ListenerMatch {
    fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let matched = ListenerMatch {
            name: fields.string("name"),
            port: number(&fields, "portNumber"),
            listener_filter: fields.string("listenerFilter"),
            chain: fields.get("filterChain").map(|at| ChainMatch::read(&at)),
        };
        // istiod does nothing with it
        fields.ignore(&["portName"]);
        fields.finish();
        matched
    }
}

impl ChainMatch {
    fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let filter = fields.get("filter").map(|at| at.fields());
        let sub_filter = filter.as_ref().and_then(|f| f.get("subFilter")).map(|at| {
            let fields = at.fields();
            let name = fields.string("name");
            fields.finish();
            name
        });
        let matched = ChainMatch {
            name: fields.string("name"),
            sni: fields.string("sni"),
            transport_protocol: fields.string("transportProtocol"),
            application_protocols: fields.string("applicationProtocols"),
            destination_port: number(&fields, "destinationPort"),
            filter: filter.as_ref().map(|filter| filter.string("name")),
            sub_filter,
        };
        if let Some(filter) = filter {
            filter.finish();
        }
        fields.finish();
        matched
    }
}

impl RouteConfigurationMatch {
    fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let matched = RouteConfigurationMatch {
            name: fields.string("name"),
            port: number(&fields, "portNumber"),
            port_name: fields.string("portName"),
            gateway: fields.string("gateway"),
            host: fields.get("vhost").map(|at| HostMatch::read(&at)),
        };
        fields.finish();
        matched
    }
}

impl HostMatch {
    fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let route = fields.get("route").map(|at| {
            let fields = at.fields();
            let words = [
                ("ANY", RouteKind::Any),
                ("ROUTE", RouteKind::Route),
                ("REDIRECT", RouteKind::Redirect),
                ("DIRECT_RESPONSE", RouteKind::DirectResponse),
            ];
            let action = fields.get("action").and_then(|at| at.word(&words));
            let matched = RouteMatch {
                name: fields.string("name"),
                action: action.unwrap_or(RouteKind::Any),
            };
            fields.finish();
            matched
        });
        let matched = HostMatch {
            name: fields.string("name"),
            domain: fields.string("domainName"),
            route,
        };
        fields.finish();
        matched
    }
}

impl ClusterMatch {
    fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let matched = ClusterMatch {
            name: fields.string("name"),
            service: fields.string("service"),
            subset: fields.string("subset"),
            port: number(&fields, "portNumber"),
        };
        fields.finish();
        matched
    }
}

fn number(fields: &Fields<'_>, name: &'static str) -> u32 {
    fields.get(name).map_or(0, |at| at.number(u32::MAX))
}

/// A value as Envoy's message; fields that it does not have are left out, as Istio leaves them out.
fn message(at: &At<'_>, name: &str) -> Option<Any> {
    let known = descriptor_pool().get_message_by_name(name)?;
    if !has_known_types(at) {
        return None;
    }
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let json = json(at.node());
    match DynamicMessage::deserialize_with_options(known, json, &options) {
        Ok(message) => Some(Any {
            type_url: format!("type.googleapis.com/{name}"),
            value: prost::Message::encode_to_vec(&message),
        }),
        Err(error) => {
            let short = name.rsplit('.').next().unwrap_or(name);
            at.refuse(
                format_args!("is no {short}: {error}"),
                format_args!("write {name} as Envoy's documentation shows it"),
            );
            None
        }
    }
}

/// Reports each `@type` that nobody here knows.
fn has_known_types(at: &At<'_>) -> bool {
    let mut all = true;
    match &at.node().value {
        Value::List(_) => {
            for item in at.items() {
                all &= has_known_types(&item);
            }
        }
        Value::Map(_) => {
            for (key, at) in at.entries() {
                all &= match key {
                    "@type" => is_known_type(&at),
                    _ => has_known_types(&at),
                };
            }
        }
        _ => {}
    }
    all
}

fn is_known_type(at: &At<'_>) -> bool {
    let url = at.node().as_str().unwrap_or_default();
    let name = url.rsplit('/').next().unwrap_or_default();
    let is_known = descriptor_pool().get_message_by_name(name).is_some();
    if !is_known {
        at.refuse(
            format_args!("the type {url:?} is not supported yet"),
            "this mesh knows the types that docs/fields.md lists",
        );
    }
    is_known
}

fn json(node: &Node) -> serde_json::Value {
    use serde_json::Value as Json;
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(value) => Json::from(*value),
        Value::Float(value) => Json::from(*value),
        Value::String(value) => Json::String(value.clone()),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(entries) => {
            let entry = |entry: &crate::yaml::Entry| (entry.key.clone(), json(&entry.value));
            Json::Object(entries.iter().map(entry).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_matched_anywhere() {
        let matcher = |text: &str| ProxyMatch {
            version: Some(Version::Is(
                text.to_owned(),
                Regex::new(&format!("(?s:.*)(?:{text})(?s:.*)")).unwrap(),
            )),
            metadata: BTreeMap::from([("A".to_owned(), "b".to_owned())]),
        };
        let metadata = BTreeMap::from([("A".to_owned(), "b".to_owned())]);
        for (expression, version, met) in [
            (r"^1\.2.*", "1.20.3", true),
            (r"1\.2", "11.20", true),
            (r"^1\.2$", "1.20", false),
            (r".*", "", false),
        ] {
            let is_met = matcher(expression).is_met(version, &metadata);
            assert_eq!(is_met, met, "{expression} {version}");
        }
        assert!(!matcher(".*").is_met("1.2", &BTreeMap::new()));
    }
}
