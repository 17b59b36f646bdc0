//! One endpoint: address, live counters, health.

use std::{
    any::Any,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use crate::stats::RequestMetrics;

/// An endpoint with its live state; shared between snapshots while its address and hostname stay.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    hostname: Arc<str>,
    active: AtomicU32,
    attachment: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl Endpoint {
    /// An endpoint outside any cluster's list (original destination).
    pub fn detached(address: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            address,
            hostname: "".into(),
            active: AtomicU32::new(0),
            attachment: OnceLock::new(),
        })
    }

    /// The address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The hostname; may be empty.
    pub fn hostname(&self) -> &Arc<str> {
        &self.hostname
    }

    /// A place for the transport: its connections live and die with the endpoint, and are found without a lookup.
    pub fn attachment(&self) -> &OnceLock<Box<dyn Any + Send + Sync>> {
        &self.attachment
    }

    /// Requests in flight.
    pub fn active_requests(&self) -> u32 {
        self.active.load(Relaxed)
    }

    /// Whether outlier detection has ejected it.
    pub fn is_ejected(&self) -> bool {
        todo!()
    }

    /// Istio's request metrics for calls that reached this endpoint; by protocol (`grpc`).
    pub fn request_metrics(&self, grpc: bool) -> Option<&Arc<RequestMetrics>> {
        let _ = grpc;
        todo!()
    }
}

/// Counts a request on its endpoint until dropped: at the end of the body, or of the upgraded stream.
#[derive(Debug)]
pub struct InFlight(Arc<Endpoint>);

impl InFlight {
    /// Counts one request.
    pub fn new(endpoint: Arc<Endpoint>) -> Self {
        endpoint.active.fetch_add(1, Relaxed);
        Self(endpoint)
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Relaxed);
    }
}
