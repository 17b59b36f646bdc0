//! The library as programs use it: in spawned tasks, in handlers, with interceptors, with boxed bodies; and the examples.

mod examples;
mod listener;
mod places;
mod subscriber;

use axum::{Router, routing::any};
use proxyless::Mesh;

/// A mesh whose services are behind this port, as in the examples.
fn mesh_of(port: u16) -> Mesh {
    let bootstrap = include_str!("../../examples/services.yaml").replace("PORT", &port.to_string());
    Mesh::builder()
        .envoy_bootstrap(&bootstrap)
        .expect("the bootstrap is right")
        .build()
        .expect("the mesh starts")
}

/// Serves a router; returns its port.
async fn serve(app: Router) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(axum::serve(listener, app).into_future());
    port
}

/// A server that answers with what it was sent.
async fn echo() -> u16 {
    serve(Router::new().route("/echo", any(|body: String| async { body }))).await
}
