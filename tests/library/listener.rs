//! Servers whose listener does what the configuration says of its port: mutual TLS, strict and permissive.

use std::{pin::pin, time::Duration};

use axum::{Extension, Router, routing::get};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use mesh_proto::xds::{
    data::orca::v3::OrcaLoadReport,
    service::orca::v3::{
        OrcaLoadReportRequest,
        open_rca_service_client::OpenRcaServiceClient,
        open_rca_service_server::{OpenRcaService, OpenRcaServiceServer},
    },
};
use mesh_testkit::certificates::{Authority, Identity, Leaf};
use proxyless::{Mesh, PeerIdentity};
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, net::TcpStream};
use tonic::{Response, Status, transport::Server};

const CALLER: &str = "spiffe://td.test/ns/a/sa/caller";
const STRICT: u16 = 9081;
const PERMISSIVE: u16 = 9080;

fn mesh(bootstrap: &Value) -> Mesh {
    let builder = Mesh::builder().envoy_bootstrap(&bootstrap.to_string());
    builder
        .expect("the bootstrap is right")
        .build()
        .expect("the mesh starts")
}

fn socket(side: &str, root: &Authority, identity: &Identity) -> Value {
    let kind =
        format!("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{side}TlsContext");
    let mut context = json!({"@type": kind, "common_tls_context": {
        "tls_certificates": [{
            "certificate_chain": {"inline_string": identity.chain},
            "private_key": {"inline_string": identity.key},
        }],
        "validation_context": {"trusted_ca": {"inline_string": root.pem()}},
    }});
    if side == "Downstream" {
        context["require_client_certificate"] = json!(true);
    }
    json!({"name": "envoy.transport_sockets.tls", "typed_config": context})
}

fn manager(routes: &Value) -> Value {
    json!({"name": "hcm", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "s",
        "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        }}],
    }})
}

/// A mesh with a strict and a permissive port.
fn server(root: &Authority, identity: &Identity) -> Mesh {
    let manager = manager(&json!([{"match": {"prefix": "/"}, "route": {"cluster": "own"}}]));
    let inspector = json!({"name": "tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
    }});
    let secured = json!({
        "filter_chain_match": {"transport_protocol": "tls"},
        "transport_socket": socket("Downstream", root, identity), "filters": [manager],
    });
    let cleartext =
        json!({"filter_chain_match": {"transport_protocol": "raw_buffer"}, "filters": [manager]});
    let listener = |port: u16, chains: Value| {
        json!({
            "name": port.to_string(), "traffic_direction": "INBOUND",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
            "listener_filters": [inspector], "listener_filters_timeout": "0.2s",
            "filter_chains": chains,
        })
    };
    mesh(&json!({"static_resources": {
        "listeners": [
            listener(STRICT, json!([secured])),
            listener(PERMISSIVE, json!([secured, cleartext])),
        ],
        "clusters": [{"name": "own", "type": "STATIC"}],
    }}))
}

/// A mesh that calls `PATH` of one port with a certificate, of another root, and in cleartext, by host.
fn callers(port: u16, root: &Authority, http2: bool) -> Mesh {
    let leaf = Leaf {
        uris: vec![CALLER.to_owned()],
        ..Leaf::default()
    };
    let stranger = Authority::new("stranger").issue(&leaf);
    let sockets = [
        ("mutual", Some(socket("Upstream", root, &root.issue(&leaf)))),
        ("stranger", Some(socket("Upstream", root, &stranger))),
        ("cleartext", None),
    ];
    let protocol = match http2 {
        true => "http2_protocol_options",
        false => "http_protocol_options",
    };
    let clusters = sockets.clone().map(|(name, socket)| {
        let endpoint = json!({"endpoint": {"address": {
            "socket_address": {"address": "127.0.0.1", "port_value": port},
        }}});
        let mut cluster = json!({
            "name": name,
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {protocol: {}},
                },
            },
        });
        if let Some(socket) = socket {
            cluster["transport_socket"] = socket;
        }
        cluster
    });
    let routes = sockets.map(|(name, _)| {
        let is_it = json!({"name": ":authority", "string_match": {"prefix": name}});
        json!({"match": {"prefix": "/", "headers": [is_it]}, "route": {"cluster": name}})
    });
    mesh(&json!({"static_resources": {
        "listeners": [{
            "name": "out",
            "address": {"socket_address": {"address": "0.0.0.0", "port_value": 80}},
            "filter_chains": [{"filters": [manager(&json!(routes))]}],
        }],
        "clusters": clusters,
    }}))
}

async fn get_from(mesh: &Mesh, host: &str) -> (StatusCode, String) {
    let request = Request::get(format!("http://{host}/")).body(Empty::<Bytes>::new());
    match mesh.client().request(request.expect("a request")).await {
        Err(error) => (
            error.into_response::<Empty<Bytes>>().status(),
            String::new(),
        ),
        Ok(response) => {
            let status = response.status();
            let body = response.into_body().collect().await.expect("a whole body");
            (
                status,
                String::from_utf8_lossy(&body.to_bytes()).into_owned(),
            )
        }
    }
}

async fn greeting(caller: Option<Extension<PeerIdentity>>) -> String {
    match caller {
        Some(Extension(caller)) => caller.spiffe_id().unwrap_or("nameless").to_owned(),
        None => "nobody".to_owned(),
    }
}

#[tokio::test]
async fn axum_behind_strict_and_permissive_mutual_tls() {
    let root = Authority::new("root");
    let inbound = server(&root, &root.issue(&Leaf::default()));
    for (port, cleartext) in [
        (STRICT, (StatusCode::SERVICE_UNAVAILABLE, "")),
        (PERMISSIVE, (StatusCode::OK, "nobody")),
    ] {
        let listener = inbound.listener("127.0.0.1:0").await.expect("a free port");
        let listener = listener.for_port(port);
        let bound = listener.local_addr().expect("bound");
        let app = Router::new().route("/", get(greeting));
        let service = inbound.server_layer(port).into_make_service(app);
        tokio::spawn(axum::serve(listener, service).into_future());
        // One that says nothing holds up nobody.
        let silent = TcpStream::connect(bound).await.expect("accepted");
        let callers = callers(bound.port(), &root, false);
        let expected = (StatusCode::OK, CALLER.to_owned());
        assert_eq!(get_from(&callers, "mutual").await, expected);
        let (status, _) = get_from(&callers, "stranger").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{port}");
        let (status, body) = get_from(&callers, "cleartext").await;
        assert_eq!((status, &*body), cleartext, "{port}");
        drop(silent);
    }
}

struct WhoCalls;

#[tonic::async_trait]
impl OpenRcaService for WhoCalls {
    type StreamCoreMetricsStream = tokio_stream::Once<Result<OrcaLoadReport, Status>>;

    async fn stream_core_metrics(
        &self,
        request: tonic::Request<OrcaLoadReportRequest>,
    ) -> Result<Response<Self::StreamCoreMetricsStream>, Status> {
        let caller = request.extensions().get::<PeerIdentity>();
        match caller.and_then(PeerIdentity::spiffe_id) {
            Some(id) => Err(Status::already_exists(id)),
            None => Err(Status::unauthenticated("nobody")),
        }
    }
}

#[tokio::test]
async fn tonic_behind_strict_and_permissive_mutual_tls() {
    let root = Authority::new("root");
    let inbound = server(&root, &root.issue(&Leaf::default()));
    for (port, cleartext) in [
        (STRICT, tonic::Code::Unavailable),
        (PERMISSIVE, tonic::Code::Unauthenticated),
    ] {
        let listener = inbound.listener("127.0.0.1:0").await.expect("a free port");
        let listener = listener.for_port(port);
        let bound = listener.local_addr().expect("bound").port();
        let server = Server::builder()
            .layer(inbound.server_layer(port))
            .add_service(OpenRcaServiceServer::new(WhoCalls));
        tokio::spawn(server.serve_with_incoming(listener.into_stream()));
        let callers = callers(bound, &root, true);
        let ask = async |host: &str| {
            let mut client = OpenRcaServiceClient::new(callers.grpc_channel(host));
            let asked = client.stream_core_metrics(OrcaLoadReportRequest::default());
            asked.await.expect_err("never an answer")
        };
        let told = ask("mutual:80").await;
        assert_eq!(
            (told.code(), told.message()),
            (tonic::Code::AlreadyExists, CALLER)
        );
        assert_eq!(ask("cleartext:80").await.code(), cleartext, "{port}");
    }
}

/// A client that never ends its handshake is hung up on.
#[tokio::test]
async fn a_handshake_that_does_not_end_is_ended() {
    let root = Authority::new("root");
    let inbound = server(&root, &root.issue(&Leaf::default()));
    let listener = inbound.listener("127.0.0.1:0").await.expect("a free port");
    let mut listener = listener.for_port(STRICT);
    let address = listener.local_addr().expect("bound");
    let mut client = TcpStream::connect(address).await.expect("accepted");
    let accepting = async { listener.accept().await };
    let closed = async {
        let mut byte = [0];
        client.read(&mut byte).await
    };
    tokio::select! {
        _ = pin!(accepting) => panic!("nothing was proved"),
        read = tokio::time::timeout(Duration::from_secs(60), closed) => {
            assert_eq!(read.expect("within the limit").ok(), Some(0));
        }
    }
}
