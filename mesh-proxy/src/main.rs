//! The standalone proxy, made of the library's layers: Envoy's bootstrap and flags, one single-threaded worker per
//! core, every request through the same stages and the same `MeshService` that an application embeds.

mod args;
mod body;
mod connection;
mod http;
mod idle;
mod listener;
mod node_address;
mod original_dst;
mod streams;
mod tcp;
mod tunnel;
mod worker;

use std::{process::ExitCode, sync::Arc, time::Duration};

use clap::Parser;
use proxyless::Mesh;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tracing_subscriber::EnvFilter;

use args::{Args, Mode};
use worker::{Bound, Workers};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_new(args.log_level.filter()).unwrap_or_default();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_filter_reloading();
    let levels = log.reload_handle();
    log.init();
    let set_levels = move |text: &str| {
        // the admin port has checked the words
        if let Ok(filter) = EnvFilter::try_new(text) {
            let _ = levels.reload(filter);
        }
    };
    match run(&args, set_levels) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mesh-proxy: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(
    args: &Args,
    set_log_levels: impl Fn(&str) + Send + Sync + 'static,
) -> Result<(), Box<dyn std::error::Error>> {
    for warning in args.warnings() {
        tracing::warn!("{warning}");
    }
    let bootstrap = args.bootstrap()?;
    for warning in bootstrap.warnings() {
        tracing::warn!("bootstrap: {warning}");
    }
    if args.mode == Mode::Validate {
        println!("configuration '{}' OK", args.config_name());
        return Ok(());
    }
    let (quit, asked_to_quit) = watch::channel(false);
    let bound = Bound::new(args.concurrency());
    let serves = bound.clone();
    let mesh = Mesh::builder()
        .bootstrap(bootstrap)
        .ready_if(move |version| serves.has(version))
        .on_log_levels(set_log_levels)
        .on_quit(move || {
            quit.send_replace(true);
        })
        .build()?;
    let stats = Arc::clone(mesh.data_plane().snapshot().stats());
    stats
        .server()
        .concurrency
        .set(args.concurrency().get() as u64);
    let workers = Workers::start(mesh.data_plane(), args.concurrency(), &bound)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(until_stopped(asked_to_quit, workers, args.drain_time()))?;
    drop(mesh);
    Ok(())
}

/// Waits for a signal or `/quitquitquit`, then drains: no new connections, requests in flight to their end, no longer
/// than the limit. A second signal ends at once.
async fn until_stopped(
    mut asked_to_quit: watch::Receiver<bool>,
    workers: Workers,
    drain_time: Duration,
) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut reopen = signal(SignalKind::user_defined1())?;
    let rotations = async {
        while reopen.recv().await.is_some() {
            mesh_tower::reopen_access_logs();
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = asked_to_quit.wait_for(|quit| *quit) => {}
        () = rotations => {}
    }
    tracing::info!("draining");
    let drained = workers.drain();
    tokio::select! {
        () = drained => tracing::info!("drained"),
        () = tokio::time::sleep(drain_time) => tracing::warn!("drain time is over; closing what is left"),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
