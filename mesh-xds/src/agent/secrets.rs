//! Secrets that do not come with the aggregated stream: a task for each brings its versions, from a server (SDS), a file,
//! or the program itself.
//!
//! A stream for each secret, as in Envoy: servers end the stream of a secret that they do not have (Istio's agent), and
//! the others must not suffer.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    path::PathBuf,
    sync::Arc,
    time::SystemTime,
};

use mesh_core::model::{SecretName, SecretSource};
use mesh_proto::envoy::extensions::transport_sockets::tls::v3::Secret;
use prost::{Message, Name};
use prost_types::Any;
use tokio::{sync::watch, task::JoinHandle};

use super::{
    Shared,
    file::{Watched, read_response},
    stream::now,
};
use crate::decode::decode_resource;

/// The tasks.
#[derive(Debug, Default)]
pub(super) struct Fetchers {
    tasks: HashMap<SecretName, Fetcher>,
    supplies: HashMap<Arc<str>, watch::Receiver<Supplied>>,
}

/// A task that ends with this.
#[derive(Debug)]
struct Fetcher(JoinHandle<()>);

impl Drop for Fetcher {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Secrets that this program has itself, for who would ask a cluster for them: a client of a certificate authority in
/// this process takes the place of Istio's agent. Cloning is cheap; all clones are one.
#[derive(Clone)]
pub struct SecretSupply {
    cluster: Arc<str>,
    secrets: Arc<watch::Sender<Supplied>>,
}

/// By name, with a number for each version.
#[derive(Clone, Default)]
struct Supplied(HashMap<String, (u64, Any)>);

impl fmt::Debug for Supplied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl fmt::Debug for SecretSupply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretSupply")
            .field("cluster", &self.cluster)
            .field("secrets", &*self.secrets.borrow())
            .finish()
    }
}

impl SecretSupply {
    /// Secrets that would be asked of this cluster (`sds_config.api_config_source`), for example `sds-grpc`.
    pub fn new(cluster: impl Into<Arc<str>>) -> Self {
        Self {
            cluster: cluster.into(),
            secrets: Arc::default(),
        }
    }

    /// A new version of a secret, in force for all connections that begin from now on.
    pub fn set(&self, secret: &Secret) {
        let any = Any {
            type_url: Secret::type_url(),
            value: secret.encode_to_vec(),
        };
        self.secrets.send_modify(|supplied| {
            let (version, held) = supplied.0.entry(secret.name.clone()).or_default();
            *version += 1;
            *held = any;
        });
    }
}

impl Fetchers {
    pub(super) fn supply(&mut self, supply: &SecretSupply) {
        let secrets = supply.secrets.subscribe();
        self.supplies.insert(Arc::clone(&supply.cluster), secrets);
    }

    /// Gets exactly these from now on.
    pub(super) fn fetch(&mut self, names: BTreeSet<SecretName>, shared: &Arc<Shared>) {
        self.tasks.retain(|name, _| names.contains(name));
        for name in names {
            if self.tasks.contains_key(&name) {
                continue;
            }
            let bring = Bring {
                name: name.clone(),
                shared: Arc::clone(shared),
            };
            let task = match &name.source {
                SecretSource::Grpc { cluster, .. } => match self.supplies.get(cluster) {
                    Some(supplied) => tokio::spawn(from_program(bring, supplied.clone())),
                    None => tokio::spawn(server::fetch(bring, Arc::clone(cluster))),
                },
                SecretSource::Path(path) => tokio::spawn(from_file(bring, path.as_ref().into())),
                _ => continue,
            };
            self.tasks.insert(name, Fetcher(task));
        }
    }
}

/// Brings what a task got to the subscriber.
struct Bring {
    name: SecretName,
    shared: Arc<Shared>,
}

impl Bring {
    /// A version; returns why it is refused.
    fn secret(&self, version: &str, secret: &Any) -> Option<String> {
        let decoded = decode_resource(secret);
        let refused = decoded.resource.as_ref().err().map(ToString::to_string);
        let mut subscriber = self.shared.subscriber();
        subscriber.handle_secret(now(), SystemTime::now(), &self.name, version, decoded);
        drop(subscriber);
        self.shared.changed.notify_one();
        refused
    }

    /// There is none.
    fn none(&self, reason: &str) {
        let mut subscriber = self.shared.subscriber();
        subscriber.handle_no_secret(now(), &self.name, reason);
        drop(subscriber);
        self.shared.changed.notify_one();
    }
}

async fn from_program(bring: Bring, mut supplied: watch::Receiver<Supplied>) {
    let mut last = 0;
    loop {
        let current = {
            let supplied = supplied.borrow_and_update();
            supplied.0.get(&*bring.name.name).cloned()
        };
        if let Some((version, secret)) = current.filter(|(version, _)| *version != last) {
            last = version;
            bring.secret(&version.to_string(), &secret);
        }
        if supplied.changed().await.is_err() {
            // What is in force stays.
            return;
        }
    }
}

/// Envoy: `path_config_source`. A file that cannot be read leaves the secret before in force.
async fn from_file(bring: Bring, path: PathBuf) {
    loop {
        let mut watched = Watched::default();
        watched.add(&path);
        let resource = read_response(&path).and_then(|response| {
            let named = |any: &&Any| decode_resource(any).name.as_ref() == Some(&bring.name.name);
            match response.resources.iter().find(named) {
                Some(any) => Ok((response.version_info.clone(), any.clone())),
                None => Err(format!("{}: holds no secret of this name", path.display())),
            }
        });
        match resource {
            Err(reason) => {
                bring.none(&reason);
                watched.changed().await;
            }
            Ok((version, secret)) => {
                let mut of_secret = Watched::of(&secret);
                bring.secret(&version, &secret);
                tokio::select! {
                    () = watched.changed() => {}
                    () = of_secret.changed() => {}
                }
            }
        }
    }
}

#[cfg(not(feature = "grpc"))]
mod server {
    use super::{Arc, Bring};

    pub(super) async fn fetch(bring: Bring, _: Arc<str>) {
        bring.none("this program is built without gRPC");
    }
}

#[cfg(feature = "grpc")]
mod server {
    use std::collections::BTreeSet;

    use tokio::sync::Notify;

    use super::{
        super::stream::{Open, SplitMix, Turn, now, wait},
        Any, Arc, Bring, Watched, decode_resource,
    };
    use crate::{
        ResourceKind,
        ads::{Ads, AdsEvent, AdsOptions, Judged},
        nack,
        transport::{Grpc, GrpcResponses, Requests, Transport},
    };

    /// SDS over gRPC, until dropped: versions as they come, errors to the server as a NACK.
    pub(super) async fn fetch(bring: Bring, cluster: Arc<str>) {
        let server = match bring.shared.bootstrap.secret_server(&cluster) {
            Ok(server) => server,
            Err(problems) => return bring.none(&problems.to_string()),
        };
        let options = AdsOptions {
            back_off: server.back_off,
            ..AdsOptions::default()
        };
        let mut stream = Stream {
            ads: Ads::new(bring.shared.bootstrap.node().clone(), options),
            transport: Grpc::secrets(server),
            entropy: SplitMix::seeded(),
            open: None,
        };
        let names = BTreeSet::from([Arc::clone(&bring.name.name)]);
        stream.ads.subscribe(now(), ResourceKind::Secret, &names);
        stream.run(&bring).await;
    }

    struct Stream {
        ads: Ads,
        transport: Grpc,
        entropy: SplitMix,
        open: Option<Open<GrpcResponses>>,
    }

    impl Stream {
        async fn run(mut self, bring: &Bring) {
            let never = Notify::new();
            let mut held: Option<(String, Any, Watched)> = None;
            loop {
                // Absence after 15 s says nothing here: who waits for the secret knows how long.
                while let Some(event) = self.ads.poll_event() {
                    if event == AdsEvent::Connect {
                        self.connect(bring).await;
                    }
                }
                let (deadline, transmit) = (self.ads.poll_timeout(), self.ads.wants_transmit());
                let files = async {
                    match &mut held {
                        Some((_, _, watched)) => watched.changed().await,
                        None => std::future::pending().await,
                    }
                };
                let turn = tokio::select! {
                    turn = wait(deadline, transmit, &never, self.open.as_mut()) => turn,
                    () = files => {
                        if let Some((version, secret, _)) = &held {
                            bring.secret(version, secret);
                        }
                        continue;
                    }
                };
                match turn {
                    Turn::Room(Some(permit)) => {
                        if let Some(request) = self.ads.poll_transmit() {
                            permit.send(request);
                        }
                    }
                    Turn::Response(Some(Ok(response))) => {
                        let named = |any: &&Any| {
                            decode_resource(any).name.as_ref() == Some(&bring.name.name)
                        };
                        let secret = response.resources.iter().find(named);
                        let refused = secret.and_then(|secret| {
                            let watched = Watched::of(secret);
                            let refused = bring.secret(&response.version_info, secret);
                            held = Some((response.version_info.clone(), secret.clone(), watched));
                            refused
                        });
                        let refused = refused.map(|error| (bring.name.name.to_string(), error));
                        let rejection = nack::text(refused.into_iter().collect());
                        self.ads.handle_response(
                            ResourceKind::Secret,
                            &Judged {
                                version: &response.version_info,
                                nonce: &response.nonce,
                                seen: std::slice::from_ref(&bring.name.name),
                                unnamed: false,
                                rejection: rejection.as_deref(),
                            },
                        );
                    }
                    Turn::Room(None) | Turn::Response(None) => {
                        self.close(bring, "the server closed the stream");
                    }
                    Turn::Response(Some(Err(error))) => self.close(bring, &error.to_string()),
                    Turn::Timeout => self.ads.handle_timeout(now()),
                    Turn::Changed => {}
                }
            }
        }

        async fn connect(&mut self, bring: &Bring) {
            let (sender, requests) = Requests::channel();
            match self.transport.open(requests).await {
                Ok(responses) => {
                    self.ads.handle_open(now());
                    self.open = Some(Open {
                        requests: sender,
                        responses,
                    });
                }
                Err(error) => self.close(bring, &error.to_string()),
            }
        }

        fn close(&mut self, bring: &Bring, reason: &str) {
            tracing::warn!(secret = %bring.name.name, reason, "no stream to the server of a secret");
            self.open = None;
            self.ads.handle_close(now(), &mut self.entropy);
        }
    }
}
