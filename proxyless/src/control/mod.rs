//! The control thread: everything that is not a request. It may stall without a request noticing.

mod publisher;
mod sweeper;

use std::{net::TcpListener, sync::Arc, thread};

use mesh_core::stats::Stats;
use mesh_tower::{DataPlane, WeakDataPlane};
use mesh_xds::bootstrap::Bootstrap;
use tokio::sync::{oneshot, watch};

use crate::{
    BuildError, Mesh,
    admin::{self, Admin},
};
use publisher::Publisher;

/// An embedded control plane, if there is one.
#[cfg(feature = "control")]
pub(crate) type Embedded = mesh_control::ControlPlane;
/// Without feature `control` there is none.
#[cfg(not(feature = "control"))]
pub(crate) type Embedded = std::convert::Infallible;

/// Starts the thread. Static resources are in force when this returns.
pub(crate) fn start(
    bootstrap: Bootstrap,
    embedded: Option<Embedded>,
    on_quit: Option<Arc<dyn Fn() + Send + Sync>>,
) -> Result<Mesh, BuildError> {
    let plane = DataPlane::new(Arc::new(Stats::default()));
    let (ready_sender, ready) = watch::channel(false);
    let admin = match bootstrap.admin() {
        None => None,
        Some(address) => {
            Some(admin::bind(address).map_err(|source| BuildError::Admin { address, source })?)
        }
    };
    let mut publisher = Publisher::new(plane.downgrade());
    publisher.publish(bootstrap.static_config());
    let (stop, stopped) = oneshot::channel::<()>();
    // Dropped with the last handle of the data plane: that ends the thread.
    plane.own(stop);
    let quit = on_quit.unwrap_or_else(|| {
        let plane = plane.downgrade();
        Arc::new(move || {
            if let Some(plane) = plane.upgrade() {
                plane.drain();
            }
        })
    });
    let thread = Thread {
        bootstrap,
        embedded,
        plane: plane.downgrade(),
        publisher,
        ready: ready_sender,
    };
    thread::Builder::new()
        .name("mesh-control".into())
        .spawn(move || thread.run(admin, quit, stopped))
        .map_err(BuildError::Thread)?;
    Ok(Mesh::new(plane, ready))
}

struct Thread {
    bootstrap: Bootstrap,
    embedded: Option<Embedded>,
    plane: WeakDataPlane,
    publisher: Publisher,
    ready: watch::Sender<bool>,
}

impl Thread {
    fn run(
        self,
        admin: Option<TcpListener>,
        quit: Arc<dyn Fn() + Send + Sync>,
        stopped: oneshot::Receiver<()>,
    ) {
        let runtime = match tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        {
            Ok(runtime) => runtime,
            Err(e) => return tracing::error!("the mesh has no control thread: {e}"),
        };
        let state = Admin {
            plane: self.plane.clone(),
            ready: self.ready.subscribe(),
            config_dump: Arc::new(|_| String::new()),
            quit,
        };
        runtime.block_on(async move {
            let serving = async {
                match admin.map(tokio::net::TcpListener::from_std) {
                    Some(Ok(listener)) => admin::serve(listener, state).await,
                    Some(Err(e)) => tracing::error!("admin port: {e}"),
                    None => {}
                }
                std::future::pending::<()>().await;
            };
            let sweeping = sweeper::sweep(self.plane.clone());
            let subscribing = self.subscribe();
            tokio::select! {
                _ = stopped => {}
                () = serving => {}
                () = sweeping => {}
                () = subscribing => {}
            }
        });
    }

    async fn subscribe(self) {
        if self.bootstrap.ads().is_none() {
            self.ready.send_replace(true);
        }
        std::future::pending::<()>().await;
    }
}
