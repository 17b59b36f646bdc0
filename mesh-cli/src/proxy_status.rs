//! `meshctl proxy-status`: who is in sync, asked of the control plane as `istioctl proxy-status --xds-address` asks.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use mesh_proto::envoy::config::core::v3::Node;
use mesh_proto::envoy::service::discovery::v3::DiscoveryRequest;
use mesh_proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use mesh_proto::envoy::service::status::v3::client_config::GenericXdsConfig;
use mesh_proto::envoy::service::status::v3::{ClientConfig, ConfigStatus};
use prost::Message as _;
use prost_types::value::Kind;
use serde_json::json;
use tonic::transport::Endpoint;

use crate::Error;
use crate::columns::{columns, row};
use crate::proxy_config::{Format, value};

#[derive(Debug, Args)]
pub(crate) struct ProxyStatusArgs {
    /// Only this proxy (NAME[.NAMESPACE])
    pub(crate) proxy: Option<String>,
    /// The control plane, plaintext: `meshctl serve`, or an istiod's port 15010
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:15010")]
    pub(crate) xds_address: String,
    /// Only proxies of this namespace
    #[arg(short, long)]
    pub(crate) namespace: Option<String>,
    /// Format
    #[arg(short, long, value_name = "FORMAT", default_value = "short")]
    pub(crate) output: Format,
}

/// The types in istioctl's order, and what it calls them.
const TYPES: [(&str, &str); 5] = [
    ("CDS", "envoy.config.cluster.v3.Cluster"),
    ("LDS", "envoy.config.listener.v3.Listener"),
    ("EDS", "envoy.config.endpoint.v3.ClusterLoadAssignment"),
    ("RDS", "envoy.config.route.v3.RouteConfiguration"),
    ("ECDS", "envoy.config.core.v3.TypedExtensionConfig"),
];

/// A control plane that says nothing for this long is none.
const LIMIT: Duration = Duration::from_secs(5);

pub(crate) async fn run(args: &ProxyStatusArgs) -> Result<ExitCode, Error> {
    let address = &args.xds_address;
    let asked = tokio::time::timeout(LIMIT, ask(address)).await;
    let mut clients = asked
        .map_err(|_| format!("{address} does not say who its clients are (waited {LIMIT:?})"))?
        .map_err(|error| format!("{address}: {error}"))?;
    clients.retain(|client| {
        let of_namespace = args.namespace.as_deref();
        of_namespace.is_none_or(|wanted| metadata(client, "NAMESPACE") == wanted)
            && args.proxy.as_deref().is_none_or(|wanted| {
                let name = name(client);
                name == wanted
                    || name
                        .rsplit_once('.')
                        .is_some_and(|(name, _)| name == wanted)
            })
    });
    clients.sort_by(|a, b| name(a).cmp(name(b)));
    match args.output {
        Format::Short => print!("{}", table(&clients)),
        format => print!("{}", value(&clients.iter().map(json).collect(), format)?),
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask(address: &str) -> Result<Vec<ClientConfig>, Error> {
    let channel = Endpoint::try_from(format!("http://{address}"))?
        .connect()
        .await?;
    let request = DiscoveryRequest {
        node: Some(Node {
            id: "sidecar~0.0.0.0~meshctl.default~default.svc.cluster.local".to_owned(),
            ..Default::default()
        }),
        type_url: "istio.io/debug/syncz".to_owned(),
        ..Default::default()
    };
    let (requests, stream) = tokio::sync::mpsc::channel(1);
    requests.send(request).await?;
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let mut client = AggregatedDiscoveryServiceClient::new(channel);
    let mut responses = client
        .stream_aggregated_resources(stream)
        .await?
        .into_inner();
    let response = responses
        .message()
        .await?
        .ok_or("the control plane ended the stream without an answer")?;
    let configs = response
        .resources
        .iter()
        .map(|any| ClientConfig::decode(&*any.value));
    Ok(configs.collect::<Result<_, _>>()?)
}

/// `NAME.NAMESPACE` of the node id `TYPE~IP~NAME.NAMESPACE~DOMAIN`, which is all that istioctl shows, too.
fn name(client: &ClientConfig) -> &str {
    let id = client.node.as_ref().map_or("", |node| node.id.as_str());
    id.split('~').nth(2).unwrap_or(id)
}

fn metadata<'a>(client: &'a ClientConfig, name: &str) -> &'a str {
    let fields = client
        .node
        .as_ref()
        .and_then(|node| node.metadata.as_ref())
        .and_then(|metadata| metadata.fields.get(name));
    match fields.and_then(|value| value.kind.as_ref()) {
        Some(Kind::StringValue(text)) => text,
        _ => "",
    }
}

fn of_type<'a>(client: &'a ClientConfig, kind: &str) -> Option<&'a GenericXdsConfig> {
    client
        .generic_xds_configs
        .iter()
        .find(|config| config.type_url.rsplit('/').next() == Some(kind))
}

fn status(config: Option<&GenericXdsConfig>) -> &'static str {
    match config.map(GenericXdsConfig::config_status) {
        None | Some(ConfigStatus::Unknown) => "IGNORED",
        Some(ConfigStatus::NotSent) => "NOT SENT",
        Some(status) => status.as_str_name(),
    }
}

/// A line per client, and below them what was refused and why.
fn table(clients: &[ClientConfig]) -> String {
    let mut head = row!["NAME", "CLUSTER"];
    head.extend(TYPES.map(|(short, _)| short.to_owned()));
    head.push("VERSION".to_owned());
    let mut rows = vec![head];
    let mut refused = String::new();
    for client in clients {
        let mut row = row![name(client), metadata(client, "CLUSTER_ID")];
        for (short, kind) in TYPES {
            let config = of_type(client, kind);
            row.push(status(config).to_owned());
            if let Some(error) = config.and_then(|config| config.error_state.as_ref()) {
                refused += &format!("\n{} refused {short}: {}\n", name(client), error.details);
            }
        }
        row.push(metadata(client, "ISTIO_VERSION").to_owned());
        rows.push(row);
    }
    columns(&rows, 5) + &refused
}

fn json(client: &ClientConfig) -> serde_json::Value {
    let types = client.generic_xds_configs.iter().map(|config| {
        json!({
            "typeUrl": config.type_url,
            "configStatus": config.config_status().as_str_name(),
            "error": config.error_state.as_ref().map(|error| &error.details),
        })
    });
    json!({
        "name": name(client),
        "id": client.node.as_ref().map(|node| &node.id),
        "clusterId": metadata(client, "CLUSTER_ID"),
        "namespace": metadata(client, "NAMESPACE"),
        "istioVersion": metadata(client, "ISTIO_VERSION"),
        "types": types.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use mesh_proto::envoy::admin::v3::UpdateFailureState;

    use super::*;

    #[test]
    fn what_was_refused_is_told_below_the_table() {
        let config = |kind: &str, status: ConfigStatus, error: Option<&str>| GenericXdsConfig {
            type_url: format!("type.googleapis.com/{kind}"),
            config_status: status.into(),
            error_state: error.map(|details| UpdateFailureState {
                details: details.to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let client = ClientConfig {
            node: Some(Node {
                id: "sidecar~1.2.3.4~web.shop~shop.svc.cluster.local".to_owned(),
                ..Default::default()
            }),
            generic_xds_configs: vec![
                config(TYPES[0].1, ConfigStatus::Synced, None),
                config(TYPES[1].1, ConfigStatus::Error, Some("no such filter")),
                config(TYPES[3].1, ConfigStatus::Stale, None),
            ],
            ..Default::default()
        };
        assert_eq!(
            table(&[client]),
            "NAME         CLUSTER     CDS        LDS       EDS         RDS       ECDS        VERSION\n\
             web.shop                 SYNCED     ERROR     IGNORED     STALE     IGNORED     \n\
             \n\
             web.shop refused LDS: no such filter\n"
        );
    }
}
