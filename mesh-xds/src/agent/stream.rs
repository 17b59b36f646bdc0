//! One stream, and what its task waits for.

use std::{
    pin::{Pin, pin},
    time::Instant,
};

use futures_core::Stream;
use mesh_core::Entropy;
use mesh_proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use tokio::sync::{Notify, mpsc};

use crate::transport::TransportError;

/// An open stream.
pub(super) struct Open<R> {
    pub(super) requests: mpsc::Sender<DiscoveryRequest>,
    pub(super) responses: R,
}

/// What the task waited for.
pub(super) enum Turn {
    Room(Option<mpsc::OwnedPermit<DiscoveryRequest>>),
    Response(Option<Result<DiscoveryResponse, TransportError>>),
    Timeout,
    Changed,
}

/// Waits for room to send, a response, the next deadline, or a wish from a handle.
/// `deadline` and `transmit` are the machine's, which has to be asked anew each time. Cancel safe.
pub(super) async fn wait<R>(
    deadline: Option<Instant>,
    transmit: bool,
    changed: &Notify,
    open: Option<&mut Open<R>>,
) -> Turn
where
    R: Stream<Item = Result<DiscoveryResponse, TransportError>> + Unpin,
{
    let (sender, responses) = match open {
        Some(open) => (Some(&open.requests), Some(&mut open.responses)),
        None => (None, None),
    };
    let room = async {
        match sender.filter(|_| transmit) {
            Some(sender) => sender.clone().reserve_owned().await.ok(),
            None => std::future::pending().await,
        }
    };
    let response = async {
        match responses {
            Some(responses) => next(responses).await,
            None => std::future::pending().await,
        }
    };
    let timeout = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
            None => std::future::pending().await,
        }
    };
    let (room, response, timeout) = (pin!(room), pin!(response), pin!(timeout));
    tokio::select! {
        // Responses first: a server that waits for us to read is read before it is written to.
        biased;
        response = response => Turn::Response(response),
        permit = room => Turn::Room(permit),
        () = timeout => Turn::Timeout,
        () = changed.notified() => Turn::Changed,
    }
}

async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx)).await
}

/// tokio's clock, which tests can pause.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// SplitMix64: enough for jitter.
#[derive(Debug)]
pub(super) struct SplitMix(u64);

impl SplitMix {
    pub(super) fn seeded() -> Self {
        use std::hash::{BuildHasher, RandomState};
        Self(RandomState::new().hash_one(std::process::id()))
    }
}

impl Entropy for SplitMix {
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
