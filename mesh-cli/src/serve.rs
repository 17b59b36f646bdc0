//! `meshctl serve`: the embedded control plane as a server.

use std::process::ExitCode;

use mesh_control::{ControlPlane, Options};
use tokio::net::TcpListener;

use crate::args::ServeArgs;
use crate::{Error, last};

pub(crate) async fn run(args: &ServeArgs) -> Result<ExitCode, Error> {
    let dir = args.dir.display();
    let control_plane = ControlPlane::open(&args.dir, Options::default())
        .map_err(|error| format!("{dir}: {error}"))?;
    let listener = TcpListener::bind(args.grpc_addr)
        .await
        .map_err(|error| format!("--grpc-addr {}: {error}", args.grpc_addr))?;
    if let Err(error) = last::write(&args.dir) {
        tracing::warn!("other commands need --dir: {error}");
    }
    tracing::info!("serving {dir} at {}", listener.local_addr()?);
    let ended = ended()?;
    tokio::select! {
        served = control_plane.serve(listener, ended) => served?,
        () = control_plane.run() => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Resolves at SIGTERM or Ctrl-C.
///
/// # Errors
/// If signals cannot be received.
pub(crate) fn ended() -> Result<impl Future<Output = ()>, Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
