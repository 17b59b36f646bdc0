//! Decoding, from YAML as authors write it.

mod accepted;
mod access_logs;
mod balancing;
mod documented;
mod health_checks;
mod ignored;
mod limits;
mod refused;
mod replies;
mod tls;
mod values;

use mesh_proto::descriptor_pool;
use prost::Message;
use prost_reflect::DynamicMessage;
use prost_types::Any;

use super::{Decoded, decode_resource};

const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
const ENDPOINTS: &str = "envoy.config.endpoint.v3.ClusterLoadAssignment";
const LISTENER: &str = "envoy.config.listener.v3.Listener";
const ROUTES: &str = "envoy.config.route.v3.RouteConfiguration";

fn any(type_name: &str, yaml: &str) -> Any {
    let descriptor = descriptor_pool().get_message_by_name(type_name).unwrap();
    let message = serde_saphyr::with_deserializer_from_str(yaml, |yaml| {
        DynamicMessage::deserialize(descriptor, yaml)
    });
    let value = message
        .unwrap_or_else(|e| panic!("{e}\n{yaml}"))
        .encode_to_vec();
    Any {
        type_url: format!("type.googleapis.com/{type_name}"),
        value,
    }
}

fn decode(type_name: &str, yaml: &str) -> Decoded {
    decode_resource(&any(type_name, yaml))
}

/// The errors of a resource that must be refused.
fn errors(type_name: &str, yaml: &str) -> String {
    match decode(type_name, yaml).resource {
        Ok(_) => panic!("accepted:\n{yaml}"),
        Err(problems) => problems.to_string(),
    }
}

/// The warnings of a resource that must be accepted.
fn warnings(type_name: &str, yaml: &str) -> Vec<String> {
    let decoded = decode(type_name, yaml);
    if let Err(problems) = decoded.resource {
        panic!("refused: {problems}\n{yaml}");
    }
    decoded.warnings
}

/// A route configuration around one route.
fn with_route(route: &str) -> String {
    format!("{{name: r, virtual_hosts: [{{name: v, domains: ['*'], routes: [{route}]}}]}}")
}

/// A route configuration around the fields of one forwarding route.
fn with_action(action: &str) -> String {
    with_route(&format!("{{match: {{prefix: /}}, route: {{{action}}}}}"))
}

/// A listener around further fields of a connection manager.
fn with_manager(fields: &str, filters: &str) -> String {
    format!(
        r#"
name: l
address: {{socket_address: {{address: 127.0.0.1, port_value: 80}}}}
filter_chains:
- filters:
  - name: http
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: s
      rds: {{route_config_name: r, config_source: {{ads: {{}}}}}}
      {fields}
      http_filters:
{filters}
      - name: router
        typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
"#
    )
}

/// An HTTP filter for [`with_manager`].
fn filter(name: &str, type_name: &str, fields: &str) -> String {
    format!(
        "      - name: {name}\n        typed_config: {{\"@type\": type.googleapis.com/{type_name}{}{fields}}}",
        if fields.is_empty() { "" } else { ", " }
    )
}

#[test]
fn the_table_names_existing_fields() {
    assert_eq!(super::supported::unknown_names(), Vec::<String>::new());
}

#[test]
fn the_table_names_each_message_once() {
    let mut names: Vec<_> = super::supported_fields::all()
        .map(|(message, _)| message)
        .collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}
