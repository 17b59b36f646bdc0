//! The real istiod over a folder.

use std::path::Path;
use std::process::Stdio;

use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::service::discovery::v3::DiscoveryRequest;
use mesh_proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use prost::{Message, Name};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::support;

pub(crate) struct Istiod {
    _process: Child,
    address: String,
}

impl Istiod {
    pub(crate) async fn start(folder: &Path) -> Istiod {
        let program = std::env::var("MESH_ISTIOD")
            .expect("MESH_ISTIOD names the program (run by cargo verify)");
        let mut process = Command::new(program)
            .arg("-dir")
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        while let Some(line) = lines.next_line().await.unwrap() {
            assert!(!line.starts_with("refused"), "istiod: {line}");
            if let Some(address) = line.strip_prefix("listening ") {
                return Istiod {
                    _process: process,
                    address: format!("http://{address}"),
                };
            }
        }
        panic!("istiod ended before it listened");
    }

    pub(crate) async fn fetch<M: Message + Name + Default>(
        &self,
        node: &core::Node,
        names: &[String],
    ) -> Vec<M> {
        let channel = tonic::transport::Channel::from_shared(self.address.clone())
            .unwrap()
            .connect()
            .await
            .unwrap();
        let mut client =
            AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(64 << 20);
        let (requests, receiver) = mpsc::unbounded_channel();
        requests
            .send(DiscoveryRequest {
                node: Some(node.clone()),
                type_url: M::type_url(),
                resource_names: names.to_vec(),
                ..Default::default()
            })
            .unwrap();
        let responses = client
            .stream_aggregated_resources(UnboundedReceiverStream::new(receiver))
            .await
            .unwrap();
        let response = responses.into_inner().message().await.unwrap().unwrap();
        support::decode(&response)
    }
}
