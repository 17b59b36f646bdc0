// The mesh's own client: a service is called by its name. `cargo run --example client`

use axum::{Router, routing::get};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use proxyless::{BoxError, Mesh};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = server.local_addr()?.port().to_string();
    let app = Router::new().route("/greeting", get(|| async { "hello" }));
    tokio::spawn(axum::serve(server, app).into_future());

    let bootstrap = include_str!("services.yaml").replace("PORT", &port);
    let mesh = Mesh::builder().envoy_bootstrap(&bootstrap)?.build()?;

    let request = Request::get("http://hello/greeting").body(Empty::<Bytes>::new())?;
    let response = mesh.client().request(request).await?;
    println!("{}", response.status());
    let body = response.into_body().collect().await?.to_bytes();
    println!("{}", std::str::from_utf8(&body)?);
    Ok(())
}
