//! Istio's standard metrics of requests.

use std::sync::Arc;

use super::{Histogram, Sample, sparse::Sparse};
use crate::flags::ResponseFlags;

/// How many combinations of code, flags and grpc status one set of labels tells apart: the upstream chooses codes, so
/// their number must have a bound (CVE-2025-43915). The rest counts as response code `unknown`.
const COMBINATIONS: usize = 48;

/// Istio's request metrics for one set of labels but response code, flags and grpc status.
#[derive(Debug)]
pub struct RequestMetrics {
    labels: RequestLabels,
    durations: Sparse<Combination, Histogram>,
    rest: Histogram,
}

/// What the answer adds to the labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Combination {
    /// The HTTP status; 0: no response.
    pub(crate) code: u16,
    pub(crate) grpc_status: Option<u32>,
    pub(crate) flags: ResponseFlags,
}

/// Labels of [`RequestMetrics`] that configuration determines. Labels of our own side are added at exposition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
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
    pub(super) fn new(labels: RequestLabels) -> Self {
        Self {
            labels,
            durations: Sparse::default(),
            rest: Histogram::default(),
        }
    }

    /// The labels that configuration determines.
    pub fn labels(&self) -> &RequestLabels {
        &self.labels
    }

    /// Counts one finished request. `code`: the HTTP status, 0 if there was no response. No lock; no allocation but
    /// for the first request with a new combination of code, flags and grpc status.
    pub fn record(
        &self,
        code: u16,
        grpc_status: Option<u32>,
        flags: ResponseFlags,
        duration: impl Into<Sample>,
    ) {
        let combination = Combination {
            code,
            grpc_status,
            flags,
        };
        self.durations
            .entry(&combination, COMBINATIONS)
            .unwrap_or(&self.rest)
            .record(duration);
    }

    /// How many requests were counted with this code, whatever their flags and grpc status.
    pub fn count(&self, code: u16) -> u64 {
        self.durations
            .iter()
            .filter(|(combination, _)| combination.code == code)
            .map(|(_, durations)| durations.read().count())
            .sum()
    }

    /// Durations by combination; None: all combinations beyond the limit.
    pub(crate) fn durations(&self) -> impl Iterator<Item = (Option<Combination>, &Histogram)> {
        self.durations
            .iter()
            .map(|(combination, durations)| (Some(*combination), durations))
            .chain([(None, &self.rest)])
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::flags::ResponseFlag;

    #[test]
    fn counts_by_code_flags_and_status_and_the_rest_together() {
        let metrics = RequestMetrics::new(RequestLabels::default());
        let flags = ResponseFlags::NONE.with(ResponseFlag::NoRouteFound);
        let second = Duration::from_secs(1);
        metrics.record(200, None, ResponseFlags::NONE, second);
        metrics.record(200, Some(0), ResponseFlags::NONE, second);
        metrics.record(404, None, flags, second);
        metrics.record(404, None, flags, second);
        assert_eq!(metrics.count(200), 2);
        assert_eq!(metrics.count(404), 2);
        assert_eq!(metrics.durations().count(), 4);
        for code in 300..400 {
            metrics.record(code, None, ResponseFlags::NONE, second);
        }
        let kept: u64 = (300..400).map(|code| metrics.count(code)).sum();
        assert_eq!(kept, COMBINATIONS as u64 - 3);
        assert_eq!(metrics.rest.read().count(), 100 - kept);
    }
}
