//! `meshctl serve`: the embedded control plane as a server.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use mesh_control::ca::{CaOptions, CertificateAuthority};
use mesh_control::{ControlPlane, Options};
use tokio::net::TcpListener;

use crate::args::ServeArgs;
use crate::refused::refused;
use crate::{Error, last};

pub(crate) async fn run(args: &ServeArgs) -> Result<ExitCode, Error> {
    let dir = args.dir.display();
    let control_plane = ControlPlane::open(&args.dir, Options::default())
        .map_err(|error| format!("{dir}: {error}"))?;
    control_plane.set_authority(Arc::new(authority(args, &control_plane)?));
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
        () = warn_of_refused(&control_plane) => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// The folder's own authority.
fn authority(
    args: &ServeArgs,
    control_plane: &ControlPlane,
) -> Result<CertificateAuthority, Error> {
    let mut options = CaOptions::default();
    options.trust_domain = control_plane.trust_domain();
    options.jwks.clone_from(&args.token_jwks);
    options.issuer = args.token_issuer.clone().unwrap_or_default();
    let dir = CertificateAuthority::dir_in(&args.dir);
    Ok(CertificateAuthority::open(dir, options, SystemTime::now())?)
}

/// Logs once what our own data plane would refuse, now and after each change. Beside the clients, who come first.
async fn warn_of_refused(control_plane: &ControlPlane) {
    let mut known = BTreeSet::new();
    loop {
        let config = control_plane.config();
        let judged = Arc::clone(&config);
        let now = tokio::task::spawn_blocking(move || refused(&judged)).await;
        let now = now.unwrap_or_default();
        for line in now.difference(&known) {
            tracing::warn!("this mesh's data plane refuses {line}");
        }
        known = now;
        control_plane.changed_from(&config).await;
    }
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
