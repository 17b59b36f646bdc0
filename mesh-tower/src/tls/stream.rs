//! A connection in cleartext or with TLS, as one type: which it is, is a branch.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{client, server};

use crate::server::PrefixedIo;

/// A connection to an endpoint.
#[derive(Debug)]
#[non_exhaustive]
pub enum UpstreamIo {
    /// In cleartext.
    Plain(TcpStream),
    /// With TLS.
    Tls(Box<client::TlsStream<TcpStream>>),
}

/// A connection from a client.
#[derive(Debug)]
#[non_exhaustive]
pub enum DownstreamIo {
    /// In cleartext.
    Plain(TcpStream),
    /// With TLS; what was inspected of it comes first.
    Tls(Box<server::TlsStream<PrefixedIo<TcpStream>>>),
}

impl UpstreamIo {
    /// Our address on it.
    ///
    /// # Errors
    /// The operating system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Plain(io) => io.local_addr(),
            Self::Tls(io) => io.get_ref().0.local_addr(),
        }
    }
}

macro_rules! forwarded {
    ($io:ty) => {
        impl AsyncRead for $io {
            #[inline]
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    Self::Plain(io) => Pin::new(io).poll_read(cx, buf),
                    Self::Tls(io) => Pin::new(io).poll_read(cx, buf),
                }
            }
        }

        impl AsyncWrite for $io {
            #[inline]
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    Self::Plain(io) => Pin::new(io).poll_write(cx, bytes),
                    Self::Tls(io) => Pin::new(io).poll_write(cx, bytes),
                }
            }

            #[inline]
            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    Self::Plain(io) => Pin::new(io).poll_write_vectored(cx, bytes),
                    Self::Tls(io) => Pin::new(io).poll_write_vectored(cx, bytes),
                }
            }

            #[inline]
            fn is_write_vectored(&self) -> bool {
                match self {
                    Self::Plain(io) => io.is_write_vectored(),
                    Self::Tls(io) => io.is_write_vectored(),
                }
            }

            #[inline]
            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    Self::Plain(io) => Pin::new(io).poll_flush(cx),
                    Self::Tls(io) => Pin::new(io).poll_flush(cx),
                }
            }

            #[inline]
            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    Self::Plain(io) => Pin::new(io).poll_shutdown(cx),
                    Self::Tls(io) => Pin::new(io).poll_shutdown(cx),
                }
            }
        }
    };
}

forwarded!(UpstreamIo);
forwarded!(DownstreamIo);
