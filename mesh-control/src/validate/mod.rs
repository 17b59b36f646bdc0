//! What Istio's webhook says of its objects: the same verdicts, by the rules of Istio's `pkg/config/validation`.
//!
//! A document is read by its message's shape first; one that has another shape is refused as Istio would fail to read
//! it, and not looked at further.

mod attribute;
mod authorization_policy;
mod cel;
mod client_tls;
mod destination;
mod destination_rule;
mod document;
mod envoy_filter;
mod gateway;
pub(crate) mod header;
mod http_route;
mod jwks;
mod locality;
pub(crate) mod names;
pub(crate) mod part;
mod replaced;
mod request_authentication;
mod scalar;
mod schema;
mod selector;
mod server_tls;
mod service_entry;
mod shape;
mod sidecar;
mod telemetry;
mod traffic_policy;
mod url;
mod virtual_service;
mod wasm;
mod workload;

pub(crate) use document::UNSUPPORTED;
pub use document::{Verdict, verdicts};

/// Whether a text is a JSON Web Key Set.
pub(crate) fn check_jwks(text: &str) -> Result<(), String> {
    jwks::check(text).map(|_| ())
}

use crate::problem::{Problem, Severity};
use crate::yaml::{At, Node, Report, Value, nearest, parse_bool};
use part::Part;
use schema::Schema;

/// What Istio says of one object.
#[derive(Clone, Debug)]
pub(crate) struct Judgement {
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// The first line of the object.
    pub(crate) line: u32,
    pub(crate) accepted: bool,
    pub(crate) problems: Vec<Problem>,
}

/// A kind of Istio's objects.
struct IstioKind {
    group: &'static str,
    name: &'static str,
    versions: &'static [&'static str],
    message: &'static str,
}

const fn kind(
    group: &'static str,
    name: &'static str,
    versions: &'static [&'static str],
    message: &'static str,
) -> IstioKind {
    IstioKind {
        group,
        name,
        versions,
        message,
    }
}

const NETWORKING: &str = "networking.istio.io";
const SECURITY: &str = "security.istio.io";
const EXTENSIONS: &str = "extensions.istio.io";
const ALL: &[&str] = &["v1", "v1beta1", "v1alpha3"];
const BETA: &[&str] = &["v1", "v1beta1"];

static KINDS: [IstioKind; 15] = [
    kind(
        NETWORKING,
        "VirtualService",
        ALL,
        "istio.networking.v1alpha3.VirtualService",
    ),
    kind(
        NETWORKING,
        "DestinationRule",
        ALL,
        "istio.networking.v1alpha3.DestinationRule",
    ),
    kind(
        NETWORKING,
        "Gateway",
        ALL,
        "istio.networking.v1alpha3.Gateway",
    ),
    kind(
        NETWORKING,
        "ServiceEntry",
        ALL,
        "istio.networking.v1alpha3.ServiceEntry",
    ),
    kind(
        NETWORKING,
        "WorkloadEntry",
        ALL,
        "istio.networking.v1alpha3.WorkloadEntry",
    ),
    kind(
        NETWORKING,
        "WorkloadGroup",
        ALL,
        "istio.networking.v1alpha3.WorkloadGroup",
    ),
    kind(
        NETWORKING,
        "Sidecar",
        ALL,
        "istio.networking.v1alpha3.Sidecar",
    ),
    kind(
        NETWORKING,
        "EnvoyFilter",
        &["v1alpha3"],
        "istio.networking.v1alpha3.EnvoyFilter",
    ),
    kind(
        NETWORKING,
        "ProxyConfig",
        &["v1beta1"],
        "istio.networking.v1beta1.ProxyConfig",
    ),
    kind(
        SECURITY,
        "AuthorizationPolicy",
        BETA,
        "istio.security.v1beta1.AuthorizationPolicy",
    ),
    kind(
        SECURITY,
        "RequestAuthentication",
        BETA,
        "istio.security.v1beta1.RequestAuthentication",
    ),
    kind(
        SECURITY,
        "PeerAuthentication",
        BETA,
        "istio.security.v1beta1.PeerAuthentication",
    ),
    kind(
        "telemetry.istio.io",
        "Telemetry",
        &["v1", "v1alpha1"],
        "istio.telemetry.v1alpha1.Telemetry",
    ),
    kind(
        EXTENSIONS,
        "WasmPlugin",
        &["v1alpha1"],
        "istio.extensions.v1alpha1.WasmPlugin",
    ),
    kind(
        EXTENSIONS,
        "TrafficExtension",
        &["v1alpha1"],
        "istio.extensions.v1alpha1.TrafficExtension",
    ),
];

/// What Istio says of a document; `None` if it is none of Istio's.
pub(crate) fn judge(document: &Node, file: &str, default_namespace: &str) -> Option<Judgement> {
    let text = |node: &Node, key: &str| match node.get(key).map(|n| &n.value) {
        Some(Value::String(text)) => text.clone(),
        // in metadata, Go turns what is written into text
        Some(Value::Int(n)) => n.to_string(),
        Some(Value::Float(n)) => n.to_string(),
        Some(Value::Bool(b)) => b.to_string(),
        _ => String::new(),
    };
    let api_version = text(document, "apiVersion");
    let (group, version) = api_version.split_once('/')?;
    // the operator's objects are no configuration of a mesh
    if !group.ends_with("istio.io") || group == "install.istio.io" {
        return None;
    }
    let kind_name = text(document, "kind");
    let metadata = document.get("metadata");
    let of_metadata = |key| metadata.map(|node| text(node, key)).unwrap_or_default();
    let name = of_metadata("name");
    let namespace = match of_metadata("namespace") {
        namespace if namespace.is_empty() => default_namespace.to_owned(),
        namespace => namespace,
    };
    let report = Report::new(file, &format!("{kind_name} {namespace}/{name}"));
    let at = report.at(document, "");
    let kind = find_kind(&at, group, version, &kind_name);
    if let Some(kind) = kind
        && check_metadata(&at)
    {
        check_spec(&at, &report, kind, &name, &namespace);
    }
    Some(Judgement {
        kind: kind_name,
        namespace,
        name,
        line: document.mark.line,
        accepted: !report.is_refused(),
        problems: report.into_problems(),
    })
}

fn find_kind(at: &At<'_>, group: &str, version: &str, name: &str) -> Option<&'static IstioKind> {
    let place = at.find("kind").unwrap_or_else(|| at.clone());
    let Some(kind) = KINDS.iter().find(|k| k.group == group && k.name == name) else {
        let names: Vec<&str> = KINDS.iter().map(|k| k.name).collect();
        let suggestion = match KINDS.iter().find(|k| k.name == name) {
            Some(kind) => format!("{name} has apiVersion {}/{}", kind.group, kind.versions[0]),
            None => match nearest(name, &names) {
                Some(name) => format!("did you mean {name}?"),
                None => format!("Istio has {}", names.join(", ")),
            },
        };
        place.report(
            Severity::Refused,
            "unknown_kind",
            format_args!("unknown kind {name} of {group}/{version}"),
            suggestion,
        );
        return None;
    };
    if !kind.versions.contains(&version) {
        place.report(
            Severity::Refused,
            "unknown_version",
            format_args!("unknown version {version} of {name}"),
            format_args!("write {group}/{}", kind.versions[0]),
        );
        return None;
    }
    Some(kind)
}

/// Whether the metadata can be read, and no annotation is wrong.
fn check_metadata(at: &At<'_>) -> bool {
    let Some(metadata) = at.find("metadata") else {
        return true;
    };
    if !matches!(metadata.node().value, Value::Map(_)) {
        metadata.wrong_type("a mapping");
        return false;
    }
    let mut right = true;
    let mut check = |at: &At<'_>| {
        if matches!(at.node().value, Value::Map(_) | Value::List(_)) {
            at.wrong_type("a string");
            right = false;
        }
    };
    for name in ["name", "namespace"] {
        if let Some(at) = metadata.find(name) {
            check(&at);
        }
    }
    for name in ["labels", "annotations"] {
        match metadata.find(name) {
            Some(map) if matches!(map.node().value, Value::Map(_)) => {
                for (_, value) in map.entries() {
                    check(&value);
                }
            }
            Some(map) => {
                map.wrong_type("a mapping");
                return false;
            }
            None => {}
        }
    }
    if let Some(created) = metadata.find("creationTimestamp")
        && !created.node().as_str().is_some_and(scalar::is_timestamp)
    {
        created.wrong_type("a time such as 2026-01-31T12:00:00Z");
        return false;
    }
    right
}

fn check_annotations(metadata: &Part<'_>, kind: &str, spec: &Part<'_>) {
    for (name, value) in metadata.map("annotations") {
        let wrong = match name {
            "istio.io/dry-run" if kind != "AuthorizationPolicy" => {
                "is supported by AuthorizationPolicy only"
            }
            "istio.io/dry-run" => {
                let action = spec.word("action", &authorization_policy::ACTIONS);
                let text = match &value.node().value {
                    Value::Bool(_) => "true",
                    _ => value.as_text(),
                };
                let is_bool =
                    parse_bool(text).is_some() || matches!(value.node().value, Value::Int(0 | 1));
                match (action, is_bool) {
                    ("ALLOW" | "DENY", true) => continue,
                    ("ALLOW" | "DENY", false) => "must be \"true\" or \"false\"",
                    _ => "is supported with action ALLOW or DENY only",
                }
            }
            "internal.istio.io/webhook-always-reject" => "is always refused",
            "internal.istio.io/parent-namespace" | "internal.istio.io/parents" => {
                "may not be set by users"
            }
            _ => continue,
        };
        value.refuse(format_args!("annotation {name} {wrong}"), "remove it");
    }
}

fn check_spec(at: &At<'_>, report: &Report, kind: &'static IstioKind, name: &str, namespace: &str) {
    static EMPTY: Node = Node {
        value: Value::Map(Vec::new()),
        mark: crate::yaml::Mark { line: 0, column: 0 },
    };
    let spec = at
        .find("spec")
        .unwrap_or_else(|| report.at(&EMPTY, "spec").marked(at.mark()));
    shape::check(&spec, Schema::istio(), kind.message);
    if report.is_refused() {
        return;
    }
    let spec = Part::new(spec);
    let root = Part::new(at.clone());
    let metadata = root.get("metadata");
    let annotation = |name: &str| {
        let metadata = metadata.as_ref()?;
        let annotations = metadata.map("annotations");
        let (_, value) = annotations.into_iter().find(|(key, _)| *key == name)?;
        Some(value.as_text())
    };
    if let Some(metadata) = &metadata {
        check_annotations(metadata, kind.name, &spec);
    }
    match kind.name {
        "VirtualService" => {
            let converted = annotation("internal.istio.io/route-semantics") == Some("gateway");
            virtual_service::check(&spec, namespace, converted);
        }
        "Gateway" => {
            let converted = annotation("internal.istio.io/gateway-semantics") == Some("gateway");
            gateway::check(&spec, name, converted);
        }
        "ServiceEntry" => {
            let uses_waypoint = metadata.as_ref().is_some_and(|metadata| {
                metadata.map("labels").into_iter().any(|(key, value)| {
                    key == "istio.io/use-waypoint"
                        && !value.as_text().is_empty()
                        && !value.as_text().eq_ignore_ascii_case("none")
                })
            });
            service_entry::check(&spec, namespace, uses_waypoint);
        }
        "DestinationRule" => destination_rule::check(&spec, namespace),
        "WorkloadEntry" => workload::check(&spec, None, true),
        "WorkloadGroup" => workload::check_group(&spec),
        "Sidecar" => sidecar::check(&spec, namespace),
        "EnvoyFilter" => envoy_filter::check(&spec),
        "ProxyConfig" => {
            selector::check_labels(spec.get("selector").as_ref(), "matchLabels");
            if spec.number("concurrency") < 0 {
                spec.refuse_at(
                    "concurrency",
                    "concurrency must be greater than or equal to 0",
                    "write 0 for all cores",
                );
            }
        }
        "AuthorizationPolicy" => authorization_policy::check(&spec),
        "RequestAuthentication" => request_authentication::check(&spec),
        "PeerAuthentication" => request_authentication::check_peer(&spec),
        "Telemetry" => telemetry::check(&spec),
        "WasmPlugin" => wasm::check(&spec),
        _ => wasm::check_extension(&spec),
    }
}
