//! TLS to an authority, before there is a certificate of one's own.

use std::{io, path::PathBuf, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    bootstrap::AdsAddress,
    transport::{Connect, Dial, DialIo},
};

/// A connection of [`DialTls`].
pub type TlsIo = TlsStream<DialIo>;

/// Dials with TLS, and believes the roots of a file, which is read at every connection: Istio's agent finds istiod's root
/// in `var/run/secrets/istio/root-cert.pem`.
#[derive(Clone, Debug)]
pub struct DialTls {
    roots: PathBuf,
    server_name: String,
}

impl DialTls {
    /// `server_name`: what the server's certificate must be for; empty: the host that is dialled.
    pub fn new(roots: impl Into<PathBuf>, server_name: impl Into<String>) -> Self {
        DialTls {
            roots: roots.into(),
            server_name: server_name.into(),
        }
    }

    async fn config(&self) -> io::Result<ClientConfig> {
        let pem = tokio::fs::read(&self.roots).await?;
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(&pem) {
            let root = root.map_err(io::Error::other)?;
            roots.add(root).map_err(io::Error::other)?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

impl Connect for DialTls {
    type Io = TlsIo;

    async fn connect(&self, address: &AdsAddress) -> io::Result<TlsIo> {
        let config = self.config().await?;
        let name = match (&*self.server_name, address) {
            ("", AdsAddress::Tcp { host, .. }) => host.clone(),
            ("", AdsAddress::Unix(_)) => "localhost".to_owned(),
            (name, _) => name.to_owned(),
        };
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        let stream = Dial.connect(address).await?;
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }
}
