//! The control thread: everything that is not a request. It may stall without a request noticing.

mod dns;
mod health;
mod publisher;
mod sweeper;

use std::{net::TcpListener, pin::Pin, sync::Arc, thread};

use mesh_core::stats::Stats;
use mesh_tower::{DataPlane, WeakDataPlane};
#[cfg(feature = "control")]
use mesh_xds::transport::InProcess;
use mesh_xds::{
    Agent, Publish, SecretSupply,
    bootstrap::Bootstrap,
    subscriber::UpdateInfo,
    transport::{Grpc, NoTransport, Transport},
};
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

/// What the program has a say in.
#[derive(Default)]
pub(crate) struct Hooks {
    /// What `/quitquitquit` does; None: the data plane drains.
    pub(crate) on_quit: Option<Arc<dyn Fn() + Send + Sync>>,
    /// Whether the program serves the snapshot of this version; None: it needs nothing for that.
    pub(crate) serves: Option<Arc<dyn Fn(u64) -> bool + Send + Sync>>,
    /// Secrets that the program has itself.
    pub(crate) supplies: Vec<SecretSupply>,
    /// Sets the levels that the program logs at; None: they are its own.
    pub(crate) set_log_levels: Option<admin::SetLevels>,
}

/// Starts the thread. Static resources are in force when this returns.
pub(crate) fn start(
    bootstrap: Bootstrap,
    embedded: Option<Embedded>,
    hooks: Hooks,
) -> Result<Mesh, BuildError> {
    let plane = DataPlane::new(Arc::new(Stats::default()));
    let (ready_sender, ready) = watch::channel(false);
    let admin = match bootstrap.admin() {
        None => None,
        Some(address) => {
            Some(admin::bind(address).map_err(|source| BuildError::Admin { address, source })?)
        }
    };
    let publisher = Publisher::new(plane.downgrade());
    publisher.publish(bootstrap.static_config());
    let (stop, stopped) = oneshot::channel::<()>();
    // Dropped with the last handle of the data plane: that ends the thread.
    plane.own(stop);
    let serves = hooks.serves.unwrap_or_else(|| Arc::new(|_| true));
    let logging = Arc::new(admin::Logging::new(hooks.set_log_levels));
    let quit = hooks.on_quit.unwrap_or_else(|| {
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
        supplies: hooks.supplies,
    };
    thread::Builder::new()
        .name("mesh-control".into())
        .spawn(move || thread.run(admin, logging, quit, serves, stopped))
        .map_err(BuildError::Thread)?;
    Ok(Mesh::new(plane, ready))
}

struct Thread {
    bootstrap: Bootstrap,
    embedded: Option<Embedded>,
    plane: WeakDataPlane,
    publisher: Publisher,
    ready: watch::Sender<bool>,
    supplies: Vec<SecretSupply>,
}

impl Thread {
    fn run(
        self,
        admin: Option<TcpListener>,
        logging: Arc<admin::Logging>,
        quit: Arc<dyn Fn() + Send + Sync>,
        serves: Arc<dyn Fn(u64) -> bool + Send + Sync>,
        stopped: oneshot::Receiver<()>,
    ) {
        let runtime = match tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        {
            Ok(runtime) => runtime,
            Err(e) => return tracing::error!("the mesh has no control thread: {e}"),
        };
        runtime.block_on(async move {
            let (plane, ready) = (self.plane.clone(), self.ready.subscribe());
            let resolving = dns::run(self.publisher.clone(), dns::SystemResolver);
            let (rounds, round) = watch::channel(());
            let checking = health::run(plane.clone(), rounds);
            let (subscription, config_dump) = self.subscribe(round);
            let state = Admin {
                plane: plane.clone(),
                started: std::time::Instant::now(),
                ready,
                config_dump,
                logging,
                quit,
                serves,
                has_served: Arc::default(),
            };
            let serving = async {
                match admin.map(tokio::net::TcpListener::from_std) {
                    Some(Ok(listener)) => admin::serve(listener, state).await,
                    Some(Err(e)) => tracing::error!("admin port: {e}"),
                    None => {}
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                // The last handle of the data plane is gone.
                _ = stopped => {}
                () = serving => {}
                () = sweeper::sweep(plane) => {}
                () = resolving => {}
                () = checking => {}
                () = subscription => {}
            }
        });
    }

    /// The subscription to run, and the dump of what it holds.
    fn subscribe(self, rounds: watch::Receiver<()>) -> (Subscription, admin::ConfigDump) {
        let Self {
            bootstrap,
            embedded,
            plane,
            publisher,
            ready,
            supplies,
        } = self;
        let target = bootstrap.ads().cloned();
        let publish = move |config, info: UpdateInfo| {
            publisher.publish(config);
            if info.first {
                let (answered, ready) = (publisher.all_answered(), ready.clone());
                let warmed = health::warmed(plane.clone(), rounds.clone());
                tokio::spawn(async move {
                    answered.await;
                    warmed.await;
                    ready.send_replace(true);
                });
            }
        };
        match embedded {
            #[cfg(feature = "control")]
            Some(control) => {
                let streams = control.clone();
                let transport = InProcess::new(move |requests| streams.stream(requests));
                let agent = Agent::new(bootstrap, transport, publish);
                let (running, dump) = run(agent, &supplies);
                let both = async move {
                    tokio::join!(running, control.run());
                };
                (Box::pin(both), dump)
            }
            #[cfg(not(feature = "control"))]
            Some(never) => match never {},
            None => match target {
                Some(target) => {
                    let agent = Agent::new(bootstrap, Grpc::new(target), publish);
                    run(agent, &supplies)
                }
                None => run(Agent::new(bootstrap, NoTransport, publish), &supplies),
            },
        }
    }
}

fn run<T, P>(agent: Agent<T, P>, supplies: &[SecretSupply]) -> (Subscription, admin::ConfigDump)
where
    T: Transport + 'static,
    P: Publish + 'static,
{
    let agent = supplies.iter().fold(agent, Agent::with_supply);
    let handle = agent.handle();
    (
        Box::pin(agent.run()),
        Arc::new(move |eds| handle.config_dump(eds)),
    )
}

/// What brings configuration, until dropped.
type Subscription = Pin<Box<dyn Future<Output = ()>>>;
