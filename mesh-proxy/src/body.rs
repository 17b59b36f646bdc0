//! The bodies of requests over either protocol, and of their answers.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use mesh_tower::{MeshBody, MeshError, server::Http1Body, transport::TransportBody};

use crate::streams::OpenStream;

/// A request's body as its connection reads it.
#[derive(Debug)]
pub(crate) enum DownstreamBody {
    Http1(Http1Body),
    Http2(Incoming),
}

impl Body for DownstreamBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Http1(body) => Pin::new(body).poll_frame(cx),
            Self::Http2(body) => Pin::new(body).poll_frame(cx).map_err(io::Error::other),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}

pin_project_lite::pin_project! {
    /// A response's body. Its stream is open until it is dropped.
    #[derive(Debug)]
    pub(crate) struct AnswerBody {
        #[pin]
        pub(crate) body: MeshBody<TransportBody>,
        pub(crate) stream: Option<OpenStream>,
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = MeshError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, MeshError>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
