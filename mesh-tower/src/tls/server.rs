//! Our side of a handshake with a client.

use std::{io, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use mesh_core::{
    model::{DownstreamTls, TlsVersion},
    tls::{Certificate, TlsConnection, TlsContext, dns_name_matches},
};
use rustls::{
    HandshakeKind, ProtocolVersion, ServerConfig,
    crypto::aws_lc_rs::Ticketer,
    pki_types::UnixTime,
    server::{Acceptor, ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use super::{
    InvalidContext, certificate, certified, failure, openssl_name, provider,
    verifier::{Role, Verifier},
    versions,
};
use crate::server::PrefixedIo;

/// Why a handshake with a client did not end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// It took longer than `transport_socket_connect_timeout`.
    #[error("the handshake took too long")]
    Timeout,
    /// The client does not speak TLS.
    #[error("the client does not speak TLS")]
    NotTls,
    /// The context cannot be used.
    #[error("{0}")]
    Context(String),
    /// TLS failed; Envoy's transport failure reason, where there is one.
    #[error("{0}")]
    Tls(String),
}

/// What connections of one context share: made once, with the first of them.
struct State {
    verifier: Arc<Verifier>,
    certificates: Vec<Own>,
}

/// One of our certificates.
struct Own {
    key: Arc<CertifiedKey>,
    read: Option<Arc<Certificate>>,
    with_alpn: Arc<ServerConfig>,
    /// For clients that know none of our protocols: Envoy goes on without one, rustls would not.
    without_alpn: Arc<ServerConfig>,
}

/// A connection whose handshake is done.
pub type Accepted<T> = (Box<TlsStream<PrefixedIo<T>>>, TlsConnection);

/// The record type that a ClientHello comes in.
const HANDSHAKE: u8 = 22;
/// Most ClientHellos fit.
const FIRST_READ: usize = 4096;

/// A handshake over a connection that was accepted; `read`: what was read of it before.
///
/// # Errors
/// The client is not believed, does not speak TLS, or takes longer than `timeout` (zero: for ever).
pub async fn accept<T>(
    context: &TlsContext<DownstreamTls>,
    timeout: Duration,
    read: Bytes,
    io: T,
) -> Result<Accepted<T>, AcceptError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = handshake(context, read, io);
    if timeout.is_zero() {
        return handshake.await;
    }
    match tokio::time::timeout(timeout, handshake).await {
        Ok(done) => done,
        Err(_) => Err(AcceptError::Timeout),
    }
}

async fn handshake<T>(
    context: &TlsContext<DownstreamTls>,
    read: Bytes,
    mut io: T,
) -> Result<Accepted<T>, AcceptError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let state = state(context).map_err(|invalid| AcceptError::Context(invalid.to_string()))?;
    let failed = |e: io::Error| {
        AcceptError::Tls(match failure::reason(&e) {
            reason if reason.is_empty() => e.to_string(),
            reason => reason,
        })
    };
    let mut read = BytesMut::from(read);
    if read.is_empty() {
        read.reserve(FIRST_READ);
        io.read_buf(&mut read).await.map_err(failed)?;
    }
    // Who does not speak TLS at all gets no alert: to him it would be a broken answer.
    match read.first() {
        Some(&HANDSHAKE) => {}
        Some(_) => return Err(AcceptError::NotTls),
        None => return Err(AcceptError::Tls("the client went away".to_owned())),
    }
    let io = PrefixedIo::new(read.freeze(), io);
    let begun = LazyConfigAcceptor::new(Acceptor::default(), io).await;
    let begun = begun.map_err(failed)?;
    let hello = begun.client_hello();
    let own = state.own(&hello);
    let known = &own.with_alpn.alpn_protocols;
    let is_known = |offer: &[u8]| known.iter().any(|name| name == offer);
    let config = match hello.alpn().is_none_or(|mut offered| offered.any(is_known)) {
        true => &own.with_alpn,
        false => &own.without_alpn,
    };
    let stream = begun
        .into_stream(Arc::clone(config))
        .await
        .map_err(failed)?;
    let (_, session) = stream.get_ref();
    if session.handshake_kind() == Some(HandshakeKind::Resumed) {
        let chain = session.peer_certificates().unwrap_or_default();
        let judged = state.verifier.judge_again(chain, None, UnixTime::now());
        judged.map_err(|e| failed(io::Error::other(e)))?;
    }
    let connection = state.connection(own, &stream);
    Ok((Box::new(stream), connection))
}

impl State {
    /// The certificate for a client: of the name that it asks for, else the first that it can verify.
    fn own(&self, hello: &ClientHello<'_>) -> &Own {
        let fits = |own: &&Own| {
            own.key
                .key
                .choose_scheme(hello.signature_schemes())
                .is_some()
        };
        let named = |own: &&Own| {
            let names = own.read.iter().flat_map(|read| &read.dns_sans);
            let asked = hello.server_name();
            asked.is_some_and(|asked| names.into_iter().any(|name| dns_name_matches(asked, name)))
        };
        let mut all = self.certificates.iter();
        all.clone()
            .find(|own| named(own) && fits(own))
            .or_else(|| all.clone().find(fits))
            .or_else(|| all.next())
            .expect("a downstream context has a certificate")
    }

    fn connection<T>(&self, own: &Own, stream: &TlsStream<T>) -> TlsConnection {
        let (_, session) = stream.get_ref();
        let mut connection = TlsConnection::default();
        connection.version = match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLSv1.2",
        };
        let suite = session.negotiated_cipher_suite();
        connection.cipher = suite.map_or("", |suite| openssl_name(suite.suite()));
        let alpn = session.alpn_protocol();
        connection.alpn = alpn.map(|name| String::from_utf8_lossy(name).into());
        if let Some(chain) = session.peer_certificates() {
            connection.peer = certificate::read(chain).map(Arc::new);
            connection.peer_validated = self.verifier.has_validated(chain);
        }
        connection.local.clone_from(&own.read);
        connection
    }
}

fn state(context: &TlsContext<DownstreamTls>) -> Result<&State, &InvalidContext> {
    let made = context.state().get_or_init(|| Box::new(make(context)));
    let made: &Result<State, InvalidContext> = made
        .downcast_ref()
        .expect("only this module makes the state of downstream contexts");
    made.as_ref()
}

fn make(context: &TlsContext<DownstreamTls>) -> Result<State, InvalidContext> {
    let tls = context.config();
    let provider = provider(&tls.common);
    let verifier = Verifier::new(context.validation(), Role::Client, &provider)?;
    let verifier = Arc::new(verifier.requiring(tls.require_client_certificate));
    let mut template = None;
    let mut certificates = Vec::new();
    for certificate in context.certificates() {
        let key = certified(certificate, &provider)?;
        let read = certificate::read(&key.cert).map(Arc::new);
        let resolver = Arc::new(OneCertificate(Arc::clone(&key)));
        let mut config = match template.take() {
            None => {
                let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
                    .with_protocol_versions(&versions(&tls.common, TlsVersion::V1_3))
                    .map_err(InvalidContext::of)?;
                let mut config = builder
                    .with_client_cert_verifier(Arc::clone(&verifier) as _)
                    .with_cert_resolver(Arc::clone(&resolver) as _);
                configure(&mut config, tls)?;
                config
            }
            Some(config) => config,
        };
        config.cert_resolver = resolver;
        template = Some(config.clone());
        let mut without_alpn = config.clone();
        without_alpn.alpn_protocols = Vec::new();
        certificates.push(Own {
            key,
            read,
            with_alpn: Arc::new(config),
            without_alpn: Arc::new(without_alpn),
        });
    }
    match certificates.is_empty() {
        true => Err(InvalidContext("there is no certificate".to_owned())),
        false => Ok(State {
            verifier,
            certificates,
        }),
    }
}

fn configure(config: &mut ServerConfig, tls: &DownstreamTls) -> Result<(), InvalidContext> {
    config.ignore_client_order = true;
    let names = tls.common.alpn_protocols.iter();
    config.alpn_protocols = names.map(|name| name.as_bytes().to_vec()).collect();
    if !tls.disable_stateless_session_resumption {
        config.ticketer = Ticketer::new().map_err(InvalidContext::of)?;
    }
    if tls.disable_stateful_session_resumption || !tls.disable_stateless_session_resumption {
        config.session_storage = Arc::new(NoServerSessionStorage {});
    }
    if tls.disable_stateful_session_resumption && tls.disable_stateless_session_resumption {
        config.send_tls13_tickets = 0;
    }
    Ok(())
}

/// The certificate that was chosen when the client had said what it wants.
#[derive(Debug)]
struct OneCertificate(Arc<CertifiedKey>);

impl ResolvesServerCert for OneCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}
