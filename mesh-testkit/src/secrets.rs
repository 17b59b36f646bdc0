//! A server of secrets: SDS over gRPC, one version after the other.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use mesh_proto::envoy::{
    config::core::v3::{DataSource, data_source::Specifier},
    extensions::transport_sockets::tls::v3::{
        CertificateValidationContext, Secret, TlsCertificate, secret::Type,
    },
    service::{
        discovery::v3::{
            DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
        },
        secret::v3::secret_discovery_service_server::{
            SecretDiscoveryService, SecretDiscoveryServiceServer,
        },
    },
};
use prost::{Message, Name};
use prost_reflect::DynamicMessage;
use prost_types::Any;
use tokio::{
    net::{TcpListener, ToSocketAddrs, UnixListener},
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_stream::{
    Stream,
    wrappers::{ReceiverStream, TcpListenerStream, UnixListenerStream},
};
use tonic::{Request, Response, Status, Streaming, transport::Server};

use crate::certificates::Identity;

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Serves until dropped.
#[derive(Debug)]
pub struct SecretServer {
    service: Service,
    task: JoinHandle<()>,
}

#[derive(Clone, Debug)]
struct Service {
    secrets: Arc<watch::Sender<BTreeMap<String, (u64, Any)>>>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Of each stream: the versions that were taken or refused.
    streams: BTreeMap<u64, BTreeMap<String, u64>>,
    opened: u64,
    acknowledged: BTreeSet<(String, u64)>,
    refused: Vec<String>,
}

impl Drop for SecretServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl SecretServer {
    /// At an address.
    ///
    /// # Panics
    /// If it is taken.
    pub async fn start(address: impl ToSocketAddrs) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free address");
        let service = Service::new();
        let serving = Server::builder()
            .add_service(SecretDiscoveryServiceServer::new(service.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        Self {
            service,
            task: tokio::spawn(async move { drop(serving.await) }),
        }
    }

    /// At a Unix socket, as Istio's agent.
    ///
    /// # Panics
    /// If it cannot be made.
    pub async fn start_unix(path: &Path) -> Self {
        let listener = UnixListener::bind(path).expect("a free path");
        let service = Service::new();
        let serving = Server::builder()
            .add_service(SecretDiscoveryServiceServer::new(service.clone()))
            .serve_with_incoming(UnixListenerStream::new(listener));
        Self {
            service,
            task: tokio::spawn(async move { drop(serving.await) }),
        }
    }

    /// The next version of a secret.
    pub fn set(&self, name: &str, of: Type) -> u64 {
        let secret = Secret {
            name: name.to_owned(),
            r#type: Some(of),
        };
        let any = Any {
            type_url: Secret::type_url(),
            value: secret.encode_to_vec(),
        };
        let mut number = 0;
        self.service.secrets.send_modify(|secrets| {
            let (version, held) = secrets.entry(name.to_owned()).or_default();
            *version += 1;
            *held = any;
            number = *version;
        });
        number
    }

    /// A certificate and its key.
    pub fn set_certificate(&self, name: &str, identity: &Identity) -> u64 {
        self.set(name, certificate(identity))
    }

    /// Roots.
    pub fn set_roots(&self, name: &str, pem: &str) -> u64 {
        self.set(name, roots(pem))
    }

    /// Whether somebody has taken this version of a secret.
    pub fn is_acknowledged(&self, name: &str, version: u64) -> bool {
        let seen = self.service.seen();
        seen.acknowledged.contains(&(name.to_owned(), version))
    }

    /// Waits until all streams have answered the last version of each secret that they asked for.
    ///
    /// # Panics
    /// If they do not.
    pub async fn settled(&self) {
        let is_settled = || {
            let secrets = self.service.secrets.borrow().clone();
            let seen = self.service.seen();
            seen.streams.values().all(|answered| {
                answered.iter().all(|(name, version)| {
                    let last = secrets.get(name).map_or(0, |(version, _)| *version);
                    *version == last
                })
            })
        };
        let settling = async {
            while !is_settled() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(LIMIT, settling)
            .await
            .expect("all versions are answered");
    }

    /// The next version of a secret, as it is written in YAML or JSON without its name.
    ///
    /// # Panics
    /// If it is not one.
    pub fn set_json(&self, name: &str, secret: &serde_json::Value) -> u64 {
        let descriptor = mesh_proto::descriptor_pool()
            .get_message_by_name(&Secret::full_name())
            .expect("a message");
        let message = DynamicMessage::deserialize(descriptor, secret).expect("a secret");
        let secret: Secret = message.transcode_to().expect("a secret");
        self.set(name, secret.r#type.expect("a type"))
    }

    /// Why versions were refused, since the last call.
    pub fn refused(&self) -> Vec<String> {
        std::mem::take(&mut self.service.seen().refused)
    }
}

/// `Secret.tls_certificate`.
pub fn certificate(identity: &Identity) -> Type {
    Type::TlsCertificate(TlsCertificate {
        certificate_chain: Some(inline(&identity.chain)),
        private_key: Some(inline(&identity.key)),
        ..Default::default()
    })
}

/// `Secret.validation_context` with these roots.
pub fn roots(pem: &str) -> Type {
    Type::ValidationContext(CertificateValidationContext {
        trusted_ca: Some(inline(pem)),
        ..Default::default()
    })
}

fn inline(text: &str) -> DataSource {
    DataSource {
        specifier: Some(Specifier::InlineString(text.to_owned())),
        ..Default::default()
    }
}

impl Service {
    fn new() -> Self {
        Self {
            secrets: Arc::default(),
            seen: Arc::default(),
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn stream(
        self,
        mut requests: Streaming<DiscoveryRequest>,
        responses: mpsc::Sender<Result<DiscoveryResponse, Status>>,
    ) {
        let mut secrets = self.secrets.subscribe();
        let stream = {
            let mut seen = self.seen();
            seen.opened += 1;
            seen.opened
        };
        let mut names = BTreeSet::new();
        let mut sent: BTreeMap<String, u64> = BTreeMap::new();
        loop {
            tokio::select! {
                request = requests.message() => {
                    let Ok(Some(request)) = request else {
                        self.seen().streams.remove(&stream);
                        return;
                    };
                    let answered = answered(&request.response_nonce);
                    let mut seen = self.seen();
                    if let Some((name, version)) = &answered {
                        let of_stream = seen.streams.entry(stream).or_default();
                        of_stream.retain(|name, _| request.resource_names.contains(name));
                        of_stream.insert(name.clone(), *version);
                    }
                    match request.error_detail {
                        Some(status) => seen.refused.push(status.message),
                        None => seen.acknowledged.extend(answered),
                    }
                    drop(seen);
                    names = request.resource_names.into_iter().collect();
                }
                changed = secrets.changed() => if changed.is_err() { return },
            }
            let mut news = Vec::new();
            for (name, (version, any)) in &*secrets.borrow_and_update() {
                if names.contains(name) && sent.insert(name.clone(), *version) != Some(*version) {
                    news.push((nonce(name, *version), *version, any.clone()));
                }
            }
            for (nonce, version, any) in news {
                let response = DiscoveryResponse {
                    version_info: version.to_string(),
                    nonce,
                    resources: vec![any],
                    type_url: Secret::type_url(),
                    ..Default::default()
                };
                if responses.send(Ok(response)).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Says which secret's version is answered: another may have been sent since.
fn nonce(name: &str, version: u64) -> String {
    format!("{version} {name}")
}

fn answered(nonce: &str) -> Option<(String, u64)> {
    let (version, name) = nonce.split_once(' ')?;
    Some((name.to_owned(), version.parse().ok()?))
}

#[tonic::async_trait]
impl SecretDiscoveryService for Service {
    type DeltaSecretsStream =
        Pin<Box<dyn Stream<Item = Result<DeltaDiscoveryResponse, Status>> + Send>>;

    async fn delta_secrets(
        &self,
        _: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        Err(Status::unimplemented("delta"))
    }

    type StreamSecretsStream = ReceiverStream<Result<DiscoveryResponse, Status>>;

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        let (sender, responses) = mpsc::channel(8);
        tokio::spawn(self.clone().stream(request.into_inner(), sender));
        Ok(Response::new(ReceiverStream::new(responses)))
    }

    async fn fetch_secrets(
        &self,
        _: Request<DiscoveryRequest>,
    ) -> Result<Response<DiscoveryResponse>, Status> {
        Err(Status::unimplemented("fetch"))
    }
}
