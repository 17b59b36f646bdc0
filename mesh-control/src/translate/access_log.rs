//! Access logs of listeners, connection managers and TCP proxies: by Telemetry, else by the mesh's `accessLogFile`.

use std::collections::{BTreeMap, BTreeSet};

use mesh_proto::envoy::config::accesslog::v3 as al;
use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::config::listener::v3 as xds;
use mesh_proto::envoy::extensions::access_loggers::file::v3 as file;
use mesh_proto::envoy::extensions::access_loggers::filters::cel::v3::ExpressionFilter;
use mesh_proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use mesh_proto::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use mesh_proto::envoy::extensions::formatter::req_without_query::v3::ReqWithoutQuery;
use prost::{Message, Name};
use prost_types::{ListValue, Struct, Value, value::Kind};

use super::NodeKind;
use super::address::any;
use super::scope::Scope;
use crate::model::{AccessLogging, FileAccessLog, LogFormat, Provider, WorkloadMode};
use crate::yaml::{Node, Value as Yaml};

/// Istio's line.
const TEXT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% \
%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" \
%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \
\"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% \
%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% \
%ROUTE_NAME%\n";

/// Istio's fields of JSON.
const JSON: [(&str, &str); 24] = [
    ("start_time", "%START_TIME%"),
    ("route_name", "%ROUTE_NAME%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    (
        "connection_termination_details",
        "%CONNECTION_TERMINATION_DETAILS%",
    ),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    (
        "upstream_service_time",
        "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    ),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    (
        "upstream_transport_failure_reason",
        "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    ),
];

/// Logs of one direction.
struct Logs {
    /// Of connection managers and TCP proxies.
    of_filters: Vec<al::AccessLog>,
    /// Of listeners: only what no filter chain took.
    of_listener: Vec<al::AccessLog>,
}

/// Adds what is logged to listeners that are otherwise done.
pub(super) fn add(scope: &Scope, listeners: &mut [xds::Listener]) {
    let client = logs(scope, WorkloadMode::Client);
    let server = logs(scope, WorkloadMode::Server);
    for listener in listeners {
        let is_inbound = listener.traffic_direction == core::TrafficDirection::Inbound as i32;
        let logs = match is_inbound {
            true => &server,
            false => &client,
        };
        if is_inbound || scope.node.kind == NodeKind::Router || listener.name == "virtualOutbound" {
            listener.access_log.clone_from(&logs.of_listener);
        }
        if logs.of_filters.is_empty() {
            continue;
        }
        let chains = listener.filter_chains.iter_mut();
        for chain in chains.chain(&mut listener.default_filter_chain) {
            if !chain.name.ends_with("-blackhole") {
                chain
                    .filters
                    .iter_mut()
                    .for_each(|filter| add_to_filter(filter, &logs.of_filters));
            }
        }
    }
}

fn add_to_filter(filter: &mut xds::Filter, logs: &[al::AccessLog]) {
    let Some(xds::filter::ConfigType::TypedConfig(config)) = &mut filter.config_type else {
        return;
    };
    if config.type_url == HttpConnectionManager::type_url() {
        if let Ok(mut manager) = HttpConnectionManager::decode(config.value.as_slice()) {
            manager.access_log = logs.to_vec();
            *config = any(&manager);
        }
    } else if config.type_url == TcpProxy::type_url()
        && let Ok(mut proxy) = TcpProxy::decode(config.value.as_slice())
    {
        proxy.access_log = logs.to_vec();
        *config = any(&proxy);
    }
}

fn logs(scope: &Scope, mode: WorkloadMode) -> Logs {
    let mesh = &scope.config.mesh;
    let applicable = applicable(scope);
    let mut logs = Logs {
        of_filters: Vec::new(),
        of_listener: Vec::new(),
    };
    let mut add = |log: al::AccessLog| {
        if !mesh.disable_listener_log {
            let filters = [Some(no_route()), log.filter.clone()];
            let listener = al::AccessLog {
                filter: all_of(filters.into_iter().flatten().collect()),
                ..log.clone()
            };
            logs.of_listener.push(listener);
        }
        logs.of_filters.push(log);
    };
    if applicable.is_empty() && mesh.default_logging.is_empty() {
        // no Telemetry: what the mesh says
        if !mesh.access_log.path.is_empty() {
            add(access_log(&mesh.access_log, None));
        }
        return logs;
    }
    for (name, filter) in merged(&applicable, &mesh.default_logging, mode) {
        let Some(provider) = mesh.provider(&name).and_then(|p| p.file) else {
            continue;
        };
        // the built-in provider takes the mesh's format
        let is_built_in = name == Provider::envoy().name
            && !provider.has_format
            && !provider.log.omit_empty_values;
        let log = match is_built_in {
            true => FileAccessLog {
                path: provider.log.path.clone(),
                ..mesh.access_log.clone()
            },
            false => provider.log.clone(),
        };
        add(access_log(&log, filter.as_deref()));
    }
    logs
}

/// What applies to the node, the most general first: one list per Telemetry.
fn applicable(scope: &Scope) -> Vec<&[AccessLogging]> {
    let root = scope.config.mesh.root_namespace.as_str();
    let own = scope.node.namespace.as_str();
    let all = &scope.config.telemetries;
    let general = |namespace: &str| {
        all.iter()
            .find(|t| t.metadata.namespace == namespace && t.selector.is_empty() && !t.has_targets)
    };
    let selected = all.iter().filter(|t| {
        t.metadata.namespace == own
            && !t.selector.is_empty()
            && !t.has_targets
            && t.selector
                .iter()
                .all(|(k, v)| scope.labels.get(k) == Some(v))
    });
    let namespace = (own != root).then(|| general(own)).flatten();
    let found = general(root).into_iter().chain(namespace).chain(selected);
    found
        .map(|t| t.logging.as_slice())
        .filter(|logging| !logging.is_empty())
        .collect()
}

/// Providers that log, by name, with what they filter by (istiod's `mergeLogs`).
fn merged(
    logs: &[&[AccessLogging]],
    defaults: &[String],
    mode: WorkloadMode,
) -> BTreeMap<String, Option<String>> {
    let fits = |logging: &AccessLogging| logging.mode == WorkloadMode::Both || logging.mode == mode;
    if logs.is_empty() {
        return defaults.iter().map(|name| (name.clone(), None)).collect();
    }
    let mut in_scope: BTreeSet<&str> = defaults.iter().map(String::as_str).collect();
    let mut filters: BTreeMap<&str, Option<String>> = BTreeMap::new();
    for level in logs {
        let mut names = BTreeSet::new();
        for logging in level.iter().filter(|l| fits(l)) {
            for name in &logging.providers {
                names.insert(name.as_str());
                filters.insert(name, logging.filter.clone());
            }
        }
        if !names.is_empty() {
            in_scope = names;
        }
    }
    let mut parents = defaults;
    let mut found: BTreeMap<String, Option<String>> = BTreeMap::new();
    for logging in logs.iter().copied().flatten() {
        if !logging.providers.is_empty() {
            parents = &logging.providers;
        }
        if !fits(logging) {
            continue;
        }
        for name in parents.iter().filter(|n| in_scope.contains(n.as_str())) {
            match logging.is_disabled {
                true => {
                    found.remove(name);
                }
                false => {
                    let filter = filters.get(name.as_str()).cloned().flatten();
                    found.insert(name.clone(), filter);
                }
            }
        }
    }
    found
}

fn access_log(log: &FileAccessLog, expression: Option<&str>) -> al::AccessLog {
    let (format, options, text) = match &log.format {
        LogFormat::Text(text) => {
            let text = match text.as_str() {
                "" => TEXT.to_owned(),
                text if text.ends_with('\n') => text.to_owned(),
                text => format!("{text}\n"),
            };
            let source = core::DataSource {
                specifier: Some(core::data_source::Specifier::InlineString(text.clone())),
                ..Default::default()
            };
            let format = core::substitution_format_string::Format::TextFormatSource(source);
            (format, None, text)
        }
        LogFormat::Json(node) => {
            let given = node.as_deref().map(json).filter(|s| !s.fields.is_empty());
            let format = given.unwrap_or_else(|| Struct {
                fields: JSON
                    .map(|(name, operator)| (name.to_owned(), text(operator)))
                    .into(),
            });
            let words = format.fields.values().filter_map(|v| match &v.kind {
                Some(Kind::StringValue(text)) => Some(text.as_str()),
                _ => None,
            });
            let words = words.collect::<Vec<_>>().join(" ");
            let format = core::substitution_format_string::Format::JsonFormat(format);
            (format, Some(core::JsonFormatOptions::default()), words)
        }
    };
    let formatter = || core::TypedExtensionConfig {
        name: "envoy.formatter.req_without_query".to_owned(),
        typed_config: Some(any(&ReqWithoutQuery::default())),
    };
    let format = core::SubstitutionFormatString {
        format: Some(format),
        json_format_options: options,
        omit_empty_values: log.omit_empty_values,
        formatters: text
            .contains("%REQ_WITHOUT_QUERY")
            .then(formatter)
            .into_iter()
            .collect(),
        ..Default::default()
    };
    let file = file::FileAccessLog {
        path: log.path.clone(),
        access_log_format: Some(file::file_access_log::AccessLogFormat::LogFormat(format)),
    };
    al::AccessLog {
        name: "envoy.access_loggers.file".to_owned(),
        filter: expression.map(cel),
        config_type: Some(al::access_log::ConfigType::TypedConfig(any(&file))),
    }
}

fn text(value: &str) -> Value {
    Value {
        kind: Some(Kind::StringValue(value.to_owned())),
    }
}

fn json(node: &Node) -> Struct {
    let Yaml::Map(entries) = &node.value else {
        return Struct::default();
    };
    let fields = entries
        .iter()
        .map(|e| (e.key.clone(), json_value(&e.value)));
    Struct {
        fields: fields.collect(),
    }
}

fn json_value(node: &Node) -> Value {
    let kind = match &node.value {
        Yaml::Null => Kind::NullValue(0),
        Yaml::Bool(value) => Kind::BoolValue(*value),
        Yaml::Int(value) => Kind::NumberValue(*value as f64),
        Yaml::Float(value) => Kind::NumberValue(*value),
        Yaml::String(value) => Kind::StringValue(value.clone()),
        Yaml::List(items) => Kind::ListValue(ListValue {
            values: items.iter().map(json_value).collect(),
        }),
        Yaml::Map(_) => Kind::StructValue(json(node)),
    };
    Value { kind: Some(kind) }
}

fn filter(specifier: al::access_log_filter::FilterSpecifier) -> al::AccessLogFilter {
    al::AccessLogFilter {
        filter_specifier: Some(specifier),
    }
}

/// No filter chain was found.
fn no_route() -> al::AccessLogFilter {
    filter(al::access_log_filter::FilterSpecifier::ResponseFlagFilter(
        al::ResponseFlagFilter {
            flags: vec!["NR".to_owned()],
        },
    ))
}

fn cel(expression: &str) -> al::AccessLogFilter {
    let config = ExpressionFilter {
        expression: expression.to_owned(),
        ..Default::default()
    };
    filter(al::access_log_filter::FilterSpecifier::ExtensionFilter(
        al::ExtensionFilter {
            name: "envoy.access_loggers.extension_filters.cel".to_owned(),
            config_type: Some(al::extension_filter::ConfigType::TypedConfig(any(&config))),
        },
    ))
}

fn all_of(mut filters: Vec<al::AccessLogFilter>) -> Option<al::AccessLogFilter> {
    match filters.len() {
        0 | 1 => filters.pop(),
        _ => Some(filter(al::access_log_filter::FilterSpecifier::AndFilter(
            al::AndFilter { filters },
        ))),
    }
}
