//! Our side of a handshake with an endpoint.

use std::{io, net::IpAddr, sync::Arc};

use mesh_core::{
    model::{TlsVersion, UpstreamTls},
    outcome::ResetReason,
    tls::TlsContext,
};
use rustls::{
    ClientConfig, HandshakeKind, SignatureScheme,
    client::{ResolvesClientCert, Resumption},
    pki_types::{DnsName, ServerName, UnixTime},
    sign::CertifiedKey,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    InvalidContext, certified, failure, provider,
    verifier::{NameCheck, Role, Verifier},
    versions,
};
use crate::error::TransportError;

/// What ALPN offers where the context does not say (Envoy's `applicationProtocolFallback`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Offer {
    /// Nothing: TCP.
    None,
    /// `http/1.1`.
    Http1,
    /// `h2`.
    Http2,
}

/// What connections of one context share: made once, with the first of them.
struct State {
    verifier: Arc<Verifier>,
    none: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

/// A handshake over a connection to an address. `sni`: instead of the context's.
pub(crate) async fn connect(
    context: &TlsContext<UpstreamTls>,
    offer: Offer,
    address: IpAddr,
    sni: &str,
    stream: TcpStream,
) -> Result<Box<TlsStream<TcpStream>>, TransportError> {
    let failed = |detail: String, source: io::Error| {
        TransportError::unsent(ResetReason::RemoteConnectionFailure)
            .with_detail(detail)
            .with_source(source)
    };
    let state = match state(context) {
        Ok(state) => state,
        Err(invalid) => {
            let detail = format!("TLS_error:{invalid}:TLS_error_end");
            return Err(failed(detail, io::Error::other(invalid.clone())));
        }
    };
    let config = match offer {
        Offer::None => &state.none,
        Offer::Http1 => &state.http1,
        Offer::Http2 => &state.http2,
    };
    // An address is never sent as a name.
    let name = match sni {
        "" => ServerName::from(address),
        sni if sni.parse::<IpAddr>().is_ok() => ServerName::from(sni.parse().unwrap_or(address)),
        sni => match DnsName::try_from(sni.to_owned()) {
            Ok(name) => ServerName::DnsName(name),
            Err(e) => {
                let detail = format!("TLS_error:{sni:?} is no name:TLS_error_end");
                return Err(failed(detail, io::Error::other(e)));
            }
        },
    };
    let connector = TlsConnector::from(Arc::clone(config));
    let known = name.to_str().into_owned();
    let refused = |e: io::Error| failed(failure::reason(&e), e);
    let stream = connector.connect(name, stream).await.map_err(refused)?;
    let (_, session) = stream.get_ref();
    if session.handshake_kind() == Some(HandshakeKind::Resumed) {
        let chain = session.peer_certificates().unwrap_or_default();
        let judged = state
            .verifier
            .judge_again(chain, Some(&known), UnixTime::now());
        judged.map_err(|e| refused(io::Error::other(e)))?;
    }
    Ok(Box::new(stream))
}

fn state(context: &TlsContext<UpstreamTls>) -> Result<&State, &InvalidContext> {
    let made = context.state().get_or_init(|| Box::new(make(context)));
    let made: &Result<State, InvalidContext> = made
        .downcast_ref()
        .expect("only this module makes the state of upstream contexts");
    made.as_ref()
}

fn make(context: &TlsContext<UpstreamTls>) -> Result<State, InvalidContext> {
    let tls = context.config();
    let provider = provider(&tls.common);
    let verifier =
        Verifier::new(context.validation(), Role::Server, &provider)?.checking_names(match () {
            () if tls.auto_san_validation => NameCheck::Host,
            () if tls.auto_sni_san_validation => NameCheck::Sni,
            () => NameCheck::Matchers,
        });
    let verifier = Arc::new(verifier);
    let certificate = match context.certificates().first() {
        Some(certificate) => Some(certified(certificate, &provider)?),
        None => None,
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions(&tls.common, TlsVersion::V1_2))
        .map_err(InvalidContext::of)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
        .with_client_cert_resolver(Arc::new(OwnCertificate(certificate)));
    if tls.max_session_keys == 0 {
        config.resumption = Resumption::disabled();
    }
    let offering = |fallback: &[&str]| {
        let mut config = config.clone();
        let names = tls.common.alpn_protocols.iter();
        config.alpn_protocols = names.map(|name| name.as_bytes().to_vec()).collect();
        if config.alpn_protocols.is_empty() {
            let fallback = fallback.iter().map(|name| name.as_bytes().to_vec());
            config.alpn_protocols = fallback.collect();
        }
        Arc::new(config)
    };
    Ok(State {
        verifier,
        none: offering(&[]),
        http1: offering(&["http/1.1"]),
        http2: offering(&["h2"]),
    })
}

/// The context's certificate, whomever the server trusts: it says itself whether it believes it.
#[derive(Debug)]
struct OwnCertificate(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let own = self.0.as_ref()?;
        own.key.choose_scheme(schemes)?;
        Some(Arc::clone(own))
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}
