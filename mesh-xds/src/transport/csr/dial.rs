use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint, Uri};
use tower_service::Service;

use crate::{
    bootstrap::AdsAddress,
    transport::{Connect, TransportError},
};

/// A connection for one request: an authority is asked a few times a day.
pub(super) async fn channel<C: Connect>(
    address: &AdsAddress,
    connect: &Arc<C>,
) -> Result<Channel, TransportError> {
    let authority = match address {
        AdsAddress::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
        AdsAddress::Tcp { host, port } => format!("{host}:{port}"),
        AdsAddress::Unix(_) => "localhost".to_owned(),
    };
    let endpoint = Endpoint::from_shared(format!("http://{authority}"));
    let endpoint = endpoint.map_err(TransportError::new)?;
    let dialler = Dialler {
        connect: Arc::clone(connect),
        address: address.clone(),
    };
    let channel = endpoint.connect_with_connector(dialler).await;
    channel.map_err(TransportError::new)
}

/// Dials one address, whatever the URI says.
struct Dialler<C> {
    connect: Arc<C>,
    address: AdsAddress,
}

impl<C: Connect> Service<Uri> for Dialler<C> {
    type Response = TokioIo<C::Io>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<C::Io>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (connect, address) = (Arc::clone(&self.connect), self.address.clone());
        Box::pin(async move { connect.connect(&address).await.map(TokioIo::new) })
    }
}
