// The mesh in front of a plain hyper client. `cargo run --example by_uri`

use axum::{Router, routing::get};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use proxyless::{BoxError, ByUri, Mesh, RequestBody};
use tower::{Layer, ServiceExt};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = server.local_addr()?.port().to_string();
    let app = Router::new().route("/greeting", get(|| async { "hello" }));
    tokio::spawn(axum::serve(server, app).into_future());

    let bootstrap = include_str!("services.yaml").replace("PORT", &port);
    let mesh = Mesh::builder().envoy_bootstrap(&bootstrap)?.build()?;

    // The client dials the endpoint that the mesh has chosen; name, routes, retries and metrics are the mesh's.
    let client = Client::builder(TokioExecutor::new()).build_http::<RequestBody<Empty<Bytes>>>();
    let service = mesh.layer().layer(ByUri::new(client));

    let request = Request::get("http://hello/greeting").body(Empty::new())?;
    let response = service.oneshot(request).await?;
    println!("{}", response.status());
    let body = response.into_body().collect().await?.to_bytes();
    println!("{}", std::str::from_utf8(&body)?);
    Ok(())
}
