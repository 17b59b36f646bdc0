//! Building a mesh in code.

use std::{path::PathBuf, sync::Arc};

use mesh_xds::{
    SecretSupply,
    bootstrap::{Bootstrap, InvalidBootstrap, NodeOverrides},
};

use crate::{
    BuildError, Mesh,
    control::{self, Hooks},
    env::{self, Source},
};

/// Makes a [`Mesh`]. Names one source of configuration; the last one named counts.
#[derive(Default)]
pub struct MeshBuilder {
    source: Option<(String, Configuration)>,
    hooks: Hooks,
    #[cfg(feature = "control")]
    pod: Option<crate::Pod>,
}

enum Configuration {
    Bootstrap(Box<Bootstrap>),
    /// Without the feature, an error that names it.
    #[cfg_attr(not(feature = "control"), expect(dead_code))]
    Folder(PathBuf),
}

impl MeshBuilder {
    /// An Envoy v3 bootstrap, YAML or JSON, with static resources, an ADS server, or both.
    ///
    /// # Errors
    /// What is wrong, with line and column.
    pub fn envoy_bootstrap(mut self, text: &str) -> Result<Self, BuildError> {
        let origin = "bootstrap".to_owned();
        let read = Bootstrap::from_envoy(text, &NodeOverrides::default());
        self.source = Some((origin.clone(), Configuration::of(origin, read)?));
        Ok(self)
    }

    /// A bootstrap that was read before.
    #[must_use]
    pub fn bootstrap(mut self, bootstrap: Bootstrap) -> Self {
        self.source = Some((
            "bootstrap".to_owned(),
            Configuration::Bootstrap(Box::new(bootstrap)),
        ));
        self
    }

    /// A folder of Istio and Kubernetes YAML, read by the embedded control plane (feature `control`). Who this program is
    /// in it, the environment says, or `pod`.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        self.source = Some((folder.display().to_string(), Configuration::Folder(folder)));
        self
    }

    /// Who this program is in a [`folder`](Self::folder). Default: what the environment says. A bootstrap has a node of
    /// its own and does not ask.
    #[cfg(feature = "control")]
    #[must_use]
    pub fn pod(mut self, pod: crate::Pod) -> Self {
        self.pod = Some(pod);
        self
    }

    /// What [`Mesh::from_env`] does.
    ///
    /// # Errors
    /// No variable is set, or what it names is wrong.
    pub fn from_env(mut self) -> Result<Self, BuildError> {
        let (name, source) =
            env::source(|name| std::env::var_os(name)).ok_or(BuildError::NoConfiguration)?;
        tracing::info!(variable = name, "configuration of the mesh");
        let origin = name.to_owned();
        let configuration = match source {
            Source::EnvoyFile(path) => Configuration::of(
                origin,
                Bootstrap::from_envoy_file(&path, &NodeOverrides::default()),
            )?,
            Source::GrpcFile(path) => Configuration::of(origin, Bootstrap::from_grpc_file(&path))?,
            Source::GrpcText(text) => Configuration::of(origin, Bootstrap::from_grpc(&text))?,
            Source::Folder(folder) => Configuration::Folder(folder),
        };
        self.source = Some((name.to_owned(), configuration));
        Ok(self)
    }

    /// What a POST to the admin port's `/quitquitquit` does. Default: the data plane drains.
    #[must_use]
    pub fn on_quit(mut self, quit: impl Fn() + Send + Sync + 'static) -> Self {
        self.hooks.on_quit = Some(Arc::new(quit));
        self
    }

    /// What the admin port's `/ready` waits for beside the first complete configuration: whether the program serves the
    /// snapshot of this version (a proxy: its sockets are bound). Asked until it says yes once. Default: nothing.
    #[must_use]
    pub fn ready_if(mut self, serves: impl Fn(u64) -> bool + Send + Sync + 'static) -> Self {
        self.hooks.serves = Some(Arc::new(serves));
        self
    }

    /// Takes the secrets of a cluster (`sds_config`) from the program, for example from its own client of a certificate
    /// authority, instead of asking the cluster for them.
    #[must_use]
    pub fn supply_secrets(mut self, supply: SecretSupply) -> Self {
        self.hooks.supplies.push(supply);
        self
    }

    /// Lets the admin port's `/logging` change what the program logs: `set` is given the levels of the mesh's crates in the
    /// words of `tracing_subscriber`'s filters, such as `warn,mesh_xds=debug`. Default: the levels are only shown.
    #[must_use]
    pub fn on_log_levels(mut self, set: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.hooks.set_log_levels = Some(Arc::new(set));
        self
    }

    /// Starts the mesh's control thread and returns at once; no runtime is needed. See [`Mesh::ready`].
    ///
    /// # Errors
    /// No source was named, the admin address cannot be bound, the folder cannot be read, or the thread not be started.
    pub fn build(self) -> Result<Mesh, BuildError> {
        let (origin, configuration) = self.source.ok_or(BuildError::NoConfiguration)?;
        match configuration {
            Configuration::Bootstrap(bootstrap) => control::start(*bootstrap, None, self.hooks),
            #[cfg(feature = "control")]
            Configuration::Folder(folder) => {
                let plane =
                    mesh_control::ControlPlane::open(&folder, mesh_control::Options::default())
                        .map_err(|e| BuildError::Folder {
                            origin,
                            reason: e.to_string(),
                        })?;
                let pod = self.pod.unwrap_or_default();
                let bootstrap = Bootstrap::in_process(pod.node());
                control::start(bootstrap, Some(plane), self.hooks)
            }
            #[cfg(not(feature = "control"))]
            Configuration::Folder(_) => Err(BuildError::FeatureControl { origin }),
        }
    }
}

impl Configuration {
    fn of(origin: String, read: Result<Bootstrap, InvalidBootstrap>) -> Result<Self, BuildError> {
        match read {
            Ok(bootstrap) => {
                for warning in bootstrap.warnings() {
                    tracing::warn!("{origin}: {warning}");
                }
                Ok(Self::Bootstrap(Box::new(bootstrap)))
            }
            Err(source) => Err(BuildError::Bootstrap { origin, source }),
        }
    }
}

impl std::fmt::Debug for MeshBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MeshBuilder")
            .field("source", &self.source.as_ref().map(|(origin, _)| origin))
            .finish_non_exhaustive()
    }
}
