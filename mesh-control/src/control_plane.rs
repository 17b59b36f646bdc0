//! The control plane: a folder, its watch and the streams of its clients.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
#[cfg(feature = "ca")]
use std::time::{Duration, SystemTime};

use futures_core::Stream;
use mesh_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};

use crate::config::Config;
use crate::folder::Folder;
use crate::jwks::{self, Fetcher};
use crate::problem::{Problem, Severity};
use crate::server::{ClientStatus, DeltaResponses, Responses, Source};
use crate::watch;

/// How a folder is read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Namespace of objects that name none; `default`.
    pub default_namespace: String,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            default_namespace: "default".to_owned(),
        }
    }
}

/// The embedded control plane of a folder. Clones share everything.
///
/// It starts no thread and no task: [`run`](ControlPlane::run) watches the folder while it is polled, and every
/// [stream](ControlPlane::stream) lives in the task that polls it.
#[derive(Clone, Debug)]
pub struct ControlPlane {
    folder: Arc<Mutex<Folder>>,
    source: Arc<Source>,
}

impl ControlPlane {
    /// Reads a folder. What is wrong in its files is in [`problems`](ControlPlane::problems) and logged once.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub fn open(dir: impl Into<PathBuf>, options: Options) -> io::Result<ControlPlane> {
        let folder = Folder::open(dir, &options.default_namespace)?;
        log(folder.problems());
        let source = Arc::new(Source::new(folder.config()));
        Ok(ControlPlane {
            folder: Arc::new(Mutex::new(folder)),
            source,
        })
    }

    /// Watches the folder and brings every edit into force, some 10 ms after it at best and 250 ms at worst.
    /// Never returns; drop it to stop. Needs a tokio runtime with time; reading files blocks it shortly.
    ///
    /// Keys that RequestAuthentications name by address are fetched meanwhile; they are in force as soon as they come.
    pub async fn run(&self) {
        let never = tokio::select! {
            never = self.follow_folder() => never,
            never = self.fetch_keys() => never,
            never = self.keep_authority() => never,
        };
        match never {}
    }

    async fn fetch_keys(&self) -> Infallible {
        let mut configs = self.source.config.subscribe();
        let mut fetcher = Fetcher::default();
        loop {
            let wanted = jwks::wanted(&configs.borrow_and_update());
            fetcher.set_wanted(&wanted);
            self.folder().retain_keys(&wanted);
            tokio::select! {
                // its sender lives as long as this handle
                _ = configs.changed() => {}
                (remote, keys) = fetcher.next() => {
                    let mut folder = self.folder();
                    if folder.set_keys(remote, &keys) {
                        self.source.config.send_replace(folder.config());
                    }
                }
            }
        }
    }

    /// Rotates the authority's root when it is time, and takes over what somebody else changed.
    async fn keep_authority(&self) -> Infallible {
        #[cfg(feature = "ca")]
        loop {
            tokio::time::sleep(Duration::from_secs(60)).await;
            let Some(authority) = self.source.authority.get() else {
                continue;
            };
            if let Err(error) = authority.refresh(SystemTime::now()) {
                tracing::error!("certificate authority: {error}");
            }
        }
        #[cfg(not(feature = "ca"))]
        std::future::pending().await
    }

    async fn follow_folder(&self) -> Infallible {
        let dir = self.folder().dir().to_owned();
        let mut changes = watch::Watch::new(dir);
        loop {
            // first, too: an edit between opening and watching leaves no event
            self.reload();
            changes.changed().await;
        }
    }

    /// Reads the folder anew, now, and sends what changed to all clients.
    pub fn reload(&self) {
        let mut folder = self.folder();
        match folder.reload() {
            Ok(changes) => {
                log(&changes.new_problems);
                if changes.config_changed {
                    self.source.config.send_replace(folder.config());
                }
            }
            Err(error) => {
                tracing::error!(dir = %folder.dir().display(), "folder cannot be read: {error}")
            }
        }
    }

    /// Serves one client: responses to its requests, and pushes when the configuration changes.
    ///
    /// State of the world. The first request must have a node.
    pub fn stream<S>(&self, requests: S) -> Responses<S>
    where
        S: Stream<Item = DiscoveryRequest> + Unpin,
    {
        Responses::new(self.source.clone(), requests)
    }

    /// The same, incremental: only what is different from what the client has.
    pub fn delta_stream<S>(&self, requests: S) -> DeltaResponses<S>
    where
        S: Stream<Item = DeltaDiscoveryRequest> + Unpin,
    {
        DeltaResponses::new(self.source.clone(), requests)
    }

    /// Serves ADS over gRPC (plaintext) on a listener, until `shutdown` resolves.
    ///
    /// # Errors
    /// If the listener fails.
    #[cfg(feature = "server")]
    pub async fn serve(
        &self,
        listener: tokio::net::TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        crate::server::serve(self.source.clone(), listener, shutdown).await
    }

    /// Offers certificates of this authority to the clients of [`serve`](Self::serve), in the trust domain of the
    /// folder's mesh configuration; only to clients of the same machine, because tokens come in plaintext. The first
    /// authority stays.
    #[cfg(feature = "ca")]
    pub fn set_authority(&self, authority: Arc<crate::ca::CertificateAuthority>) {
        let _ = self.source.authority.set(authority);
    }

    /// The mesh's trust domain.
    pub fn trust_domain(&self) -> String {
        self.source.config.borrow().mesh.trust_domain.clone()
    }

    /// Everything that is wrong in the folder now.
    pub fn problems(&self) -> Vec<Problem> {
        self.folder().problems().to_vec()
    }

    /// The connected clients and what they have.
    pub fn status(&self) -> Vec<ClientStatus> {
        self.source.clients.all()
    }

    /// The objects in force.
    pub fn config(&self) -> Arc<Config> {
        self.source.config.borrow().clone()
    }

    /// Waits until other objects are in force than these.
    pub async fn changed_from(&self, config: &Arc<Config>) {
        let mut configs = self.source.config.subscribe();
        // The sender lives as long as this handle.
        let _ = configs.wait_for(|now| !Arc::ptr_eq(now, config)).await;
    }

    /// The folder's path.
    pub fn dir(&self) -> PathBuf {
        Path::to_owned(self.folder().dir())
    }

    fn folder(&self) -> MutexGuard<'_, Folder> {
        self.folder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log(problems: &[Problem]) {
    for problem in problems {
        match problem.severity {
            Severity::Warning => tracing::warn!("{problem}"),
            Severity::Error | Severity::Refused => tracing::error!("{problem}"),
        }
    }
}
