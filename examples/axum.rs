// An axum server behind the inbound chain of its port, called by a client of the mesh. `cargo run --example axum`

use axum::{Extension, Router, routing::get};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use proxyless::{BoxError, Mesh, Peer};

/// The peer is that of the connection, for handlers that want it.
async fn greeting(Extension(peer): Extension<Peer>) -> String {
    format!("hello {}", peer.remote.ip())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // A server's own mesh: policies of its port, had it any, would come from here.
    let inbound = Mesh::builder().envoy_bootstrap("{}")?.build()?;
    let listener = inbound.listener("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let app = Router::new().route("/greeting", get(greeting));
    let service = inbound.server_layer(port).into_make_service(app);
    tokio::spawn(axum::serve(listener, service).into_future());

    // As in another process.
    let bootstrap = include_str!("services.yaml").replace("PORT", &port.to_string());
    let mesh = Mesh::builder().envoy_bootstrap(&bootstrap)?.build()?;
    let request = Request::get("http://hello/greeting").body(Empty::<Bytes>::new())?;
    let response = mesh.client().request(request).await?;
    println!("{}", response.status());
    let body = response.into_body().collect().await?.to_bytes();
    println!("{}", std::str::from_utf8(&body)?);
    Ok(())
}
