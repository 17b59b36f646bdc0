//! The services of the example: small programs with the mesh inside.

mod calls;
mod details;
mod inventory;
mod page;
mod productpage;
mod ratings;
mod reviews;

use std::net::IpAddr;
use std::process::ExitCode;

use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use proxyless::Mesh;
use serde_json::Value;

use crate::args::{ServiceArgs, ServiceName};
use crate::{Error, serve};

/// Port of the HTTP services, and of the gRPC service.
const HTTP_PORT: u16 = 9080;
const GRPC_PORT: u16 = 9090;

/// Serves until SIGTERM, then finishes what is in flight.
pub(crate) async fn run(args: &ServiceArgs) -> Result<ExitCode, Error> {
    let mesh = Mesh::from_env()?;
    match args.name {
        ServiceName::Productpage => serve_http(&mesh, productpage::router(&mesh)).await?,
        ServiceName::Details => serve_http(&mesh, details::router(&mesh)?).await?,
        ServiceName::Reviews => serve_http(&mesh, reviews::router(&mesh)?).await?,
        ServiceName::Ratings => serve_http(&mesh, ratings::router()).await?,
        ServiceName::Inventory => {
            let listener = mesh.listener((address()?, GRPC_PORT)).await?;
            let service = mesh
                .server_layer(GRPC_PORT)
                .into_make_service(inventory::Server);
            axum::serve(listener, service)
                .with_graceful_shutdown(serve::ended()?)
                .await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn serve_http(mesh: &Mesh, router: Router) -> Result<(), Error> {
    let router = router.route("/health", get(async || "healthy"));
    let listener = mesh.listener((address()?, HTTP_PORT)).await?;
    let service = mesh.server_layer(HTTP_PORT).into_make_service(router);
    axum::serve(listener, service)
        .with_graceful_shutdown(serve::ended()?)
        .await?;
    Ok(())
}

/// The pod's own address: on this machine every pod has one, so that all can use the same ports.
fn address() -> Result<IpAddr, Error> {
    let text = std::env::var("INSTANCE_IP").unwrap_or_else(|_| "127.0.0.1".to_owned());
    text.parse()
        .map_err(|_| format!("INSTANCE_IP is {text:?}, which is no IP address").into())
}

/// An answer with a status and JSON.
fn json(status: http::StatusCode, value: Value) -> axum::response::Response {
    (status, Json(value)).into_response()
}
