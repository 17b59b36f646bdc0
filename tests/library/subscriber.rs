//! One subscriber for all clients of a mesh; it ends with the last of them.

use mesh_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
    aggregated_discovery_service_server::{
        AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
    },
};
use proxyless::Mesh;
use serde_json::json;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming, transport::Server};
use tower::Layer;

#[derive(Debug, PartialEq)]
enum Event {
    Opened,
    Closed,
}

/// A control plane that has nothing to say, and tells of its streams.
struct Silent(mpsc::UnboundedSender<Event>);

#[tonic::async_trait]
impl AggregatedDiscoveryService for Silent {
    type StreamAggregatedResourcesStream = tokio_stream::Pending<Result<DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream =
        tokio_stream::Pending<Result<DeltaDiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let events = self.0.clone();
        events.send(Event::Opened).expect("the test waits");
        let mut requests = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(_)) = requests.message().await {}
            // The test may be over.
            let _ = events.send(Event::Closed);
        });
        Ok(Response::new(tokio_stream::pending()))
    }

    async fn delta_aggregated_resources(
        &self,
        _: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("state of the world only"))
    }
}

#[tokio::test]
async fn all_clients_share_one_stream_and_the_last_one_closes_it() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let (sender, mut events) = mpsc::unbounded_channel();
    let service = AggregatedDiscoveryServiceServer::new(Silent(sender));
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    tokio::spawn(
        Server::builder()
            .add_service(service)
            .serve_with_incoming(incoming),
    );

    let mesh = mesh_of_control_plane(port);
    let client = mesh.clone().client();
    let channel = mesh.grpc_channel("load:80");
    let layer = mesh.layer();
    let stack = layer.layer(mesh.transport::<String>());
    assert_eq!(events.recv().await, Some(Event::Opened));
    drop((mesh, layer, channel, client));
    assert!(
        events.try_recv().is_err(),
        "one stream, open while anything is left"
    );
    drop(stack);
    assert_eq!(events.recv().await, Some(Event::Closed));
    assert!(events.try_recv().is_err(), "one stream");
}

fn mesh_of_control_plane(port: u16) -> Mesh {
    let address = json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let endpoint = json!({"endpoint": {"address": address}});
    let http2 = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let bootstrap = json!({
        "node": {"id": "sidecar~127.0.0.1~library.default~default.svc.cluster.local", "cluster": "library"},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "control_plane"}}],
            },
            "lds_config": {"ads": {}, "resource_api_version": "V3"},
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "static_resources": {"clusters": [{
            "name": "control_plane",
            "load_assignment": {"cluster_name": "control_plane", "endpoints": [{"lb_endpoints": [endpoint]}]},
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": http2,
                    "explicit_http_config": {"http2_protocol_options": {}},
                },
            },
        }]},
    });
    Mesh::builder()
        .envoy_bootstrap(&bootstrap.to_string())
        .expect("the bootstrap is right")
        .build()
        .expect("the mesh starts")
}
