use super::part::Part;
use super::schema::Schema;
use super::{selector, shape};

/// What a patch is applied to, in the order of their numbers, and Envoy's message.
const APPLY_TO: [(&str, &str); 14] = [
    ("INVALID", ""),
    ("LISTENER", "envoy.config.listener.v3.Listener"),
    ("FILTER_CHAIN", "envoy.config.listener.v3.FilterChain"),
    ("NETWORK_FILTER", "envoy.config.listener.v3.Filter"),
    (
        "HTTP_FILTER",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
    ),
    (
        "ROUTE_CONFIGURATION",
        "envoy.config.route.v3.RouteConfiguration",
    ),
    ("VIRTUAL_HOST", "envoy.config.route.v3.VirtualHost"),
    ("HTTP_ROUTE", "envoy.config.route.v3.Route"),
    ("CLUSTER", "envoy.config.cluster.v3.Cluster"),
    (
        "EXTENSION_CONFIG",
        "envoy.config.core.v3.TypedExtensionConfig",
    ),
    ("BOOTSTRAP", "envoy.config.bootstrap.v3.Bootstrap"),
    ("LISTENER_FILTER", "envoy.config.listener.v3.ListenerFilter"),
    ("?", ""),
    ("?", ""),
];

const CONTEXTS: [&str; 5] = [
    "ANY",
    "SIDECAR_INBOUND",
    "SIDECAR_OUTBOUND",
    "GATEWAY",
    "WAYPOINT",
];

const OPERATIONS: [&str; 9] = [
    "INVALID",
    "MERGE",
    "ADD",
    "REMOVE",
    "INSERT_BEFORE",
    "INSERT_AFTER",
    "INSERT_FIRST",
    "REPLACE",
    "MERGE_AND_REPLACE_LIST",
];

const MATCHES: [&str; 4] = ["listener", "routeConfiguration", "cluster", "waypoint"];

pub(super) fn check(spec: &Part<'_>) {
    if !selector::check_labels(spec.get("workloadSelector").as_ref(), "labels") {
        return;
    }
    for patch in spec.list("configPatches") {
        check_patch(&patch);
    }
}

/// What is wrong with a patch; most of it hides what follows.
fn check_patch(config: &Part<'_>) {
    let matched = config.get("match");
    if matched
        .as_ref()
        .is_some_and(|m| m.word("context", &CONTEXTS) == "WAYPOINT")
    {
        return;
    }
    let names: Vec<&str> = APPLY_TO.iter().map(|(name, _)| *name).collect();
    let apply_to = config.word("applyTo", &names);
    if apply_to == "INVALID" {
        return config.refuse_at(
            "applyTo",
            "missing applyTo",
            "add applyTo, such as HTTP_FILTER",
        );
    }
    let Some(patch) = config.get("patch") else {
        return config.refuse("missing patch", "add patch: {operation, value}");
    };
    let operation = patch.word("operation", &OPERATIONS);
    if operation == "INVALID" {
        return patch.refuse_at(
            "operation",
            "missing patch operation",
            "add operation, such as MERGE",
        );
    }
    let value = patch.get("value");
    if operation != "REMOVE" && value.is_none() {
        return patch.refuse("missing patch value for non-remove operation", "add value");
    }
    if let Some(matched) = &matched
        && !check_match(matched, apply_to)
    {
        return;
    }
    let Some(value) = value else {
        return;
    };
    match APPLY_TO.iter().find(|(name, _)| *name == apply_to) {
        Some((_, message)) if !message.is_empty() => {
            shape::check(&value, Schema::envoy(), message);
        }
        _ => config.refuse_at(
            "applyTo",
            "unknown object type for applyTo",
            "write one such as HTTP_FILTER",
        ),
    }
}

/// Whether the value is looked at, too.
fn check_match(matched: &Part<'_>, apply_to: &str) -> bool {
    if let Some(proxy) = matched.get("proxy") {
        let version = proxy.text("proxyVersion");
        if version.len() > 1024 {
            proxy.warn_at(
                "proxyVersion",
                "proxyVersion match exceeds 1024 characters and will be ignored",
                "make it shorter",
            );
        } else if !version.is_empty()
            && let Err(error) = mesh_core::regex::Regex::new(version)
        {
            proxy.refuse_at(
                "proxyVersion",
                format_args!("invalid regex for proxy version: {error}"),
                "correct it, see RE2's syntax",
            );
            return false;
        }
    }
    let Some((kind, object)) = matched.one_of(&MATCHES) else {
        return true;
    };
    let wanted = match apply_to {
        "LISTENER" | "FILTER_CHAIN" | "NETWORK_FILTER" | "HTTP_FILTER" => "listener",
        "ROUTE_CONFIGURATION" | "VIRTUAL_HOST" | "HTTP_ROUTE" => "routeConfiguration",
        "CLUSTER" => "cluster",
        _ => return true,
    };
    if kind != wanted {
        object.refuse(
            format_args!("applyTo {apply_to} cannot have a match of {kind}"),
            format_args!("write {wanted}"),
        );
        // only of listeners the value is not looked at
        return wanted != "listener";
    }
    if wanted != "listener" {
        return true;
    }
    match object
        .get("filterChain")
        .and_then(|chain| chain.get("filter"))
    {
        Some(filter) => check_filter(&filter, apply_to),
        None => true,
    }
}

fn check_filter(filter: &Part<'_>, apply_to: &str) -> bool {
    let name = filter.text("name");
    if name.is_empty() {
        filter.refuse_at("name", "filter match has no name to match on", "add name");
        return false;
    }
    let Some(sub_filter) = filter.get("subFilter") else {
        return true;
    };
    let wrong = if apply_to != "HTTP_FILTER" {
        "subfilter match can be used with applyTo HTTP_FILTER only"
    } else if !matches!(
        name,
        "envoy.filters.network.http_connection_manager" | "envoy.http_connection_manager"
    ) {
        "subfilter match requires filter match with envoy.filters.network.http_connection_manager"
    } else if sub_filter.text("name").is_empty() {
        "subfilter match has no name to match on"
    } else {
        return true;
    };
    sub_filter.refuse(wrong, "correct the match");
    false
}
