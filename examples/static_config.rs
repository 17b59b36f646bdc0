// Configuration in code, without any control plane: a route that answers by itself and one that splits its traffic.
// `cargo run --example static_config`

use axum::{Router, routing::get};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use proxyless::{BoxError, Mesh};
use serde_json::{Value, json};

fn bootstrap(port: u16) -> Value {
    let any = |of: &str| format!("type.googleapis.com/envoy.extensions.filters.{of}");
    let address =
        |ip: &str, port: u16| json!({"socket_address": {"address": ip, "port_value": port}});
    let cluster = |name: &str| {
        let endpoint = json!({"endpoint": {"address": address("127.0.0.1", port)}});
        let assignment = json!({"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]});
        json!({"name": name, "lb_policy": "LEAST_REQUEST", "load_assignment": assignment})
    };
    let split = json!({"clusters": [{"name": "v1", "weight": 90}, {"name": "v2", "weight": 10}]});
    let routes = json!([
        {"match": {"path": "/old"}, "direct_response": {"status": 410, "body": {"inline_string": "gone"}}},
        {"match": {"prefix": "/"}, "route": {"weighted_clusters": split, "timeout": "1s"}},
    ]);
    let virtual_host = json!({"name": "hello", "domains": ["hello"], "routes": routes});
    let router = json!({"name": "router", "typed_config": {"@type": any("http.router.v3.Router")}});
    let manager = json!({
        "@type": any("network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "hello",
        "route_config": {"virtual_hosts": [virtual_host]},
        "http_filters": [router],
    });
    let chain = json!({"filters": [{"name": "http", "typed_config": manager}]});
    let listener =
        json!({"name": "hello", "address": address("0.0.0.0", 80), "filter_chains": [chain]});
    json!({"static_resources": {"listeners": [listener], "clusters": [cluster("v1"), cluster("v2")]}})
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = server.local_addr()?.port();
    let app = Router::new().route("/new", get(|| async { "hello" }));
    tokio::spawn(axum::serve(server, app).into_future());

    let text = bootstrap(port).to_string();
    let mesh = Mesh::builder().envoy_bootstrap(&text)?.build()?;
    for path in ["old", "new"] {
        let request = Request::get(format!("http://hello/{path}")).body(Empty::<Bytes>::new())?;
        let response = mesh.client().request(request).await?;
        print!("{} ", response.status());
        let body = response.into_body().collect().await?.to_bytes();
        println!("{}", std::str::from_utf8(&body)?);
    }
    Ok(())
}
