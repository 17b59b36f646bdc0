//! What the real istiod sends.

use std::path::Path;

use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use mesh_proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use prost::{Message, Name};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::support;

pub(crate) struct Istiod(mesh_testkit::istiod::Istiod);

impl Istiod {
    pub(crate) async fn start(folder: &Path) -> Istiod {
        // with identities, what is not said is Istio's own default
        let mesh = std::fs::read_to_string(folder.join("mesh.yaml")).unwrap_or_default();
        let flags: &[&str] = match mesh.contains("enableAutoMtls: true") {
            true => &["-mtls"],
            false => &[],
        };
        Istiod::with_flags(folder, flags).await
    }

    pub(crate) async fn with_flags(folder: &Path, flags: &[&str]) -> Istiod {
        Istiod(mesh_testkit::istiod::Istiod::start(folder, flags).await)
    }

    pub(crate) async fn fetch<M: Message + Name + Default>(
        &self,
        node: &core::Node,
        names: &[String],
    ) -> Vec<M> {
        support::decode(&self.response::<M>(node, names).await)
    }

    /// Resources of names, each asked for alone: virtual hosts of names that are asked for together are shared by
    /// istiod, and what EnvoyFilters make of one shows in another if its turn comes later, which is chance.
    pub(crate) async fn fetch_each<M: Message + Name + Default>(
        &self,
        node: &core::Node,
        names: &[String],
    ) -> Vec<M> {
        let mut client = self.connect().await;
        let (requests, receiver) = mpsc::unbounded_channel();
        let mut last = DiscoveryResponse::default();
        let mut responses = None;
        let mut receiver = Some(receiver);
        let mut resources = Vec::new();
        for name in names {
            requests
                .send(DiscoveryRequest {
                    node: Some(node.clone()),
                    type_url: M::type_url(),
                    resource_names: vec![name.clone()],
                    version_info: last.version_info.clone(),
                    response_nonce: last.nonce.clone(),
                    ..Default::default()
                })
                .unwrap();
            if let Some(receiver) = receiver.take() {
                let stream = UnboundedReceiverStream::new(receiver);
                let answered = client.stream_aggregated_resources(stream).await.unwrap();
                responses = Some(answered.into_inner());
            }
            let stream = responses.as_mut().unwrap();
            last = stream.message().await.unwrap().unwrap();
            resources.extend(support::decode(&last));
        }
        resources
    }

    /// The resources as they were on the wire.
    pub(crate) async fn response<M: Name>(
        &self,
        node: &core::Node,
        names: &[String],
    ) -> DiscoveryResponse {
        let mut client = self.connect().await;
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
        responses.into_inner().message().await.unwrap().unwrap()
    }

    async fn connect(&self) -> AggregatedDiscoveryServiceClient<tonic::transport::Channel> {
        let channel =
            tonic::transport::Channel::from_shared(format!("http://{}", self.0.address()))
                .unwrap()
                .connect()
                .await
                .unwrap();
        AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(64 << 20)
    }
}
