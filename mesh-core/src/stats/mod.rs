//! Statistics: sharded counters and histograms, handles resolved when configuration arrives, bounded by it.

use std::{sync::Arc, time::Duration};

use crate::flags::ResponseFlags;

/// All statistics of a process: survives snapshots; a name keeps its counters while any snapshot uses it.
#[derive(Debug, Default)]
pub struct Stats {}

/// Envoy's counters of a cluster (`cluster.NAME.…`).
#[derive(Debug, Default)]
pub struct ClusterStats {}

/// Envoy's counters of a connection manager (`http.PREFIX.…`).
#[derive(Debug, Default)]
pub struct ManagerStats {}

/// Istio's request metrics for one set of labels but response code, flags and grpc status.
#[derive(Debug)]
pub struct RequestMetrics {}

/// Labels of [`RequestMetrics`] that configuration determines.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RequestLabels {
    /// `reporter`: true: `source`, false: `destination`.
    pub reporter_source: bool,
    /// `request_protocol`: true: `grpc`, false: `http`.
    pub grpc: bool,
    /// `destination_service`.
    pub destination_service: Arc<str>,
    /// `destination_service_name`.
    pub destination_service_name: Arc<str>,
    /// `destination_service_namespace`.
    pub destination_service_namespace: Arc<str>,
    /// `destination_workload`.
    pub destination_workload: Arc<str>,
    /// `destination_workload_namespace`.
    pub destination_workload_namespace: Arc<str>,
    /// `destination_canonical_service`, also `destination_app`.
    pub destination_canonical_service: Arc<str>,
    /// `destination_canonical_revision`, also `destination_version`.
    pub destination_canonical_revision: Arc<str>,
    /// `destination_cluster`.
    pub destination_cluster: Arc<str>,
}

impl RequestMetrics {
    /// Counts one finished request. `code`: the HTTP status, 0 if there was no response. No lock; no allocation but
    /// for the first request with a new combination of code, flags and grpc status.
    pub fn record(
        &self,
        code: u16,
        grpc_status: Option<u32>,
        flags: ResponseFlags,
        duration: Duration,
    ) {
        let _ = (code, grpc_status, flags, duration);
        todo!()
    }
}

impl Stats {
    /// The metrics for these labels, the same handle for the same labels.
    pub fn request_metrics(&self, labels: &RequestLabels) -> Arc<RequestMetrics> {
        let _ = labels;
        todo!()
    }

    /// The counters of a cluster by its stat name.
    pub fn cluster(&self, stat_name: &str) -> Arc<ClusterStats> {
        let _ = stat_name;
        todo!()
    }

    /// The counters of a connection manager by its stat prefix.
    pub fn manager(&self, stat_prefix: &str) -> Arc<ManagerStats> {
        let _ = stat_prefix;
        todo!()
    }
}
