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

#[tokio::test]
async fn who_has_a_token_gets_a_certificate_beside_ads() {
    use mesh_control::ca::{CaOptions, CertificateAuthority, ServiceAccount};
    use mesh_proto::istio::v1::auth::IstioCertificateRequest;
    use mesh_proto::istio::v1::auth::istio_certificate_service_client::IstioCertificateServiceClient;
    use std::time::{Duration, SystemTime};

    let folder = copy_of(&bookinfo());
    let control = open(folder.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let served = control.clone();
    tokio::spawn(async move { served.serve(listener, std::future::pending()).await });
    let channel = tonic::transport::Channel::from_shared(address).unwrap();
    let mut client = IstioCertificateServiceClient::new(channel.connect_lazy());
    let key = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::default().serialize_request(&key);
    let csr = csr.unwrap().pem().unwrap();
    let mut ask = async |token: Option<&str>, csr: &str| {
        let mut request = tonic::Request::new(IstioCertificateRequest {
            csr: csr.to_owned(),
            ..Default::default()
        });
        if let Some(token) = token {
            let bearer = format!("Bearer {token}").parse().unwrap();
            request.metadata_mut().insert("authorization", bearer);
        }
        let answer = client.create_certificate(request).await;
        answer.map(|answer| answer.into_inner().cert_chain)
    };
    let none = ask(Some("x"), &csr).await.unwrap_err();
    assert_eq!(none.code(), tonic::Code::Unimplemented);

    let dir = CertificateAuthority::dir_in(folder.path());
    let authority = CertificateAuthority::open(dir, CaOptions::default(), SystemTime::now());
    let authority = std::sync::Arc::new(authority.unwrap());
    control.set_authority(authority.clone());
    let account = ServiceAccount::parse("default/web").unwrap();
    let token = authority
        .token(&account, Duration::from_secs(60), SystemTime::now())
        .unwrap();
    let chain = ask(Some(&token), &csr).await.unwrap();
    assert_eq!(chain.len(), 2);
    assert_eq!(chain[1], authority.roots());
    for (token, csr, code) in [
        (None, csr.as_str(), tonic::Code::Unauthenticated),
        (Some("x.y.z"), &csr, tonic::Code::Unauthenticated),
        (Some(&token), "no request", tonic::Code::InvalidArgument),
    ] {
        assert_eq!(ask(token, csr).await.unwrap_err().code(), code);
    }
}
