//! The gRPC side of the stream.

mod support;

use mesh_proto::envoy::config::cluster::v3::Cluster;
use mesh_proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use mesh_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use mesh_proto::envoy::service::status::v3::{ClientConfig, ConfigStatus};
use prost::Name;
use support::{bookinfo, copy_of, decode, node, open};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

#[tokio::test]
async fn state_of_the_world_and_differences_are_served() {
    let folder = copy_of(&bookinfo());
    let control = open(folder.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn({
        let control = control.clone();
        async move {
            control
                .serve(listener, async move {
                    let _ = stopped.await;
                })
                .await
        }
    });

    let channel = tonic::transport::Channel::from_shared(address)
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut client = AggregatedDiscoveryServiceClient::new(channel);
    let request = DiscoveryRequest {
        node: Some(node("sidecar", "127.9.0.1", "web", &[])),
        type_url: Cluster::type_url(),
        ..Default::default()
    };
    let (sender, requests) = tokio::sync::mpsc::channel(1);
    sender.send(request).await.unwrap();
    let mut responses = client
        .stream_aggregated_resources(tokio_stream::wrappers::ReceiverStream::new(requests))
        .await
        .unwrap()
        .into_inner();
    let response = responses.message().await.unwrap().unwrap();
    assert!(
        decode::<Cluster>(&response)
            .iter()
            .any(|c| c.name == "BlackHoleCluster")
    );

    // as istioctl asks who is in sync, on a stream of its own; the client above has not answered yet
    let who = DiscoveryRequest {
        node: Some(node("sidecar", "0.0.0.0", "asks", &[])),
        type_url: "istio.io/debug/syncz".to_owned(),
        ..Default::default()
    };
    let asked = client
        .stream_aggregated_resources(tokio_stream::iter([who]))
        .await
        .unwrap();
    let answer = asked.into_inner().message().await.unwrap().unwrap();
    let clients: Vec<ClientConfig> = answer
        .resources
        .iter()
        .map(|any| any.to_msg().unwrap())
        .collect();
    let [status] = &clients[..] else {
        panic!("{clients:?}")
    };
    let types: Vec<_> = status
        .generic_xds_configs
        .iter()
        .map(|config| (config.type_url.clone(), config.config_status()))
        .collect();
    assert_eq!(types, [(Cluster::type_url(), ConfigStatus::Stale)]);
    assert!(status.node.as_ref().unwrap().id.contains("~web."));

    let no_node = DiscoveryRequest {
        type_url: Cluster::type_url(),
        ..Default::default()
    };
    let refused = client
        .stream_aggregated_resources(tokio_stream::iter([no_node]))
        .await
        .unwrap();
    let status = refused.into_inner().message().await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (
            tonic::Code::InvalidArgument,
            "the first request has no node"
        )
    );

    let request = DeltaDiscoveryRequest {
        node: Some(node("sidecar", "127.9.0.1", "web", &[])),
        type_url: Cluster::type_url(),
        ..Default::default()
    };
    let delta = client
        .delta_aggregated_resources(tokio_stream::iter([request]))
        .await
        .unwrap();
    let response = delta.into_inner().message().await.unwrap().unwrap();
    let names: Vec<_> = response.resources.iter().map(|r| r.name.as_str()).collect();
    assert!(names.contains(&"BlackHoleCluster"), "{names:?}");

    drop((sender, responses, client));
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
}
