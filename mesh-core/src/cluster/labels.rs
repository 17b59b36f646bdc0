//! Istio's metric labels of a cluster and its endpoints.

use std::{collections::HashMap, sync::Arc};

use super::endpoint::Metrics;
use crate::{
    model::ClusterConfig,
    stats::{RequestLabels, Stats},
};

const UNKNOWN: &str = "unknown";

/// Makes the metrics handles of one cluster, one pair for each workload behind it.
pub(super) struct Labels<'a> {
    stats: &'a Stats,
    service: Arc<str>,
    name: Arc<str>,
    namespace: Arc<str>,
    by_workload: HashMap<Arc<str>, Metrics>,
}

impl<'a> Labels<'a> {
    pub(super) fn of(config: &ClusterConfig, stats: &'a Stats) -> Self {
        let (service, name, namespace) = match &config.service {
            Some(service) => (
                Arc::clone(&service.host),
                Arc::clone(&service.name),
                Arc::clone(&service.namespace),
            ),
            None => service_of_name(&config.name),
        };
        Self {
            stats,
            service,
            name,
            namespace,
            by_workload: HashMap::new(),
        }
    }

    /// Metrics of calls that reached no endpoint.
    pub(super) fn cluster(&self) -> Metrics {
        self.metrics("")
    }

    /// Metrics of calls that reached an endpoint of this workload
    /// (`workload;namespace;canonical-name;canonical-revision;cluster`).
    pub(super) fn endpoint(&mut self, workload: Option<&Arc<str>>) -> Metrics {
        let Some(workload) = workload else {
            return self.cluster();
        };
        if let Some(metrics) = self.by_workload.get(workload) {
            return metrics.clone();
        }
        let metrics = self.metrics(workload);
        self.by_workload
            .insert(Arc::clone(workload), metrics.clone());
        metrics
    }

    fn metrics(&self, workload: &str) -> Metrics {
        let mut labels = self.labels(workload);
        let http = self.stats.request_metrics(&labels);
        labels.grpc = true;
        let grpc = self.stats.request_metrics(&labels);
        Metrics { http, grpc }
    }

    fn labels(&self, workload: &str) -> RequestLabels {
        let mut parts = workload.split(';').map(|part| match part {
            "" => None,
            part => Some(Arc::from(part)),
        });
        let mut part = |missing: &str| parts.next().flatten().unwrap_or_else(|| missing.into());
        // An endpoint that says nothing of itself has no revision either; one that does runs the latest.
        let revision = if workload.is_empty() {
            UNKNOWN
        } else {
            "latest"
        };
        RequestLabels {
            reporter_source: true,
            grpc: false,
            destination_service: Arc::clone(&self.service),
            destination_service_name: Arc::clone(&self.name),
            destination_service_namespace: Arc::clone(&self.namespace),
            destination_workload: part(UNKNOWN),
            destination_workload_namespace: part(UNKNOWN),
            destination_canonical_service: part(UNKNOWN),
            destination_canonical_revision: part(revision),
            destination_cluster: part(UNKNOWN),
        }
    }
}

/// Host, name and namespace of the service from a cluster name of istiod's form (`outbound|9080|v1|HOST`); for any
/// other name, the name is all that is known.
fn service_of_name(cluster: &Arc<str>) -> (Arc<str>, Arc<str>, Arc<str>) {
    let mut parts = cluster.split('|');
    let host = match (parts.next(), parts.nth(2)) {
        (Some("outbound" | "inbound"), Some(host)) if !host.is_empty() => host,
        _ => return (UNKNOWN.into(), Arc::clone(cluster), UNKNOWN.into()),
    };
    let mut labels = host.split('.');
    match (labels.next(), labels.next(), labels.next()) {
        (Some(name), Some(namespace), Some("svc")) => (host.into(), name.into(), namespace.into()),
        _ => (host.into(), host.into(), UNKNOWN.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ClusterDiscovery, IstioService};

    fn labels(config: &ClusterConfig, workload: &str) -> RequestLabels {
        Labels::of(config, &Stats::default()).labels(workload)
    }

    fn config(name: &str) -> ClusterConfig {
        ClusterConfig::new(name, ClusterDiscovery::OriginalDst)
    }

    #[test]
    fn the_service_comes_from_metadata_else_from_the_name() {
        let mut with_metadata = config("whatever");
        with_metadata.service = Some(IstioService {
            host: "reviews.b.svc.cluster.local".into(),
            name: "reviews".into(),
            namespace: "b".into(),
        });
        let cases = [
            (
                with_metadata,
                ["reviews.b.svc.cluster.local", "reviews", "b"],
            ),
            (
                config("outbound|9080|v1|reviews.default.svc.cluster.local"),
                ["reviews.default.svc.cluster.local", "reviews", "default"],
            ),
            (
                config("outbound|443||www.example.com"),
                ["www.example.com", "www.example.com", UNKNOWN],
            ),
            (
                config("PassthroughCluster"),
                [UNKNOWN, "PassthroughCluster", UNKNOWN],
            ),
            (config("inbound|80||"), [UNKNOWN, "inbound|80||", UNKNOWN]),
        ];
        for (config, [service, name, namespace]) in cases {
            let labels = labels(&config, "");
            assert_eq!(&*labels.destination_service, service);
            assert_eq!(&*labels.destination_service_name, name);
            assert_eq!(&*labels.destination_service_namespace, namespace);
        }
    }

    #[test]
    fn the_workload_is_split_and_what_is_missing_is_unknown() {
        let cases = [
            (
                "reviews-v1;default;reviews;v1;Kubernetes",
                ["reviews-v1", "default", "reviews", "v1", "Kubernetes"],
            ),
            (
                "reviews-v1;default;reviews;;",
                ["reviews-v1", "default", "reviews", "latest", UNKNOWN],
            ),
            (
                ";;;;Kubernetes",
                [UNKNOWN, UNKNOWN, UNKNOWN, "latest", "Kubernetes"],
            ),
            ("", [UNKNOWN; 5]),
        ];
        for (workload, expected) in cases {
            let l = labels(&config("c"), workload);
            let got = [
                &*l.destination_workload,
                &*l.destination_workload_namespace,
                &*l.destination_canonical_service,
                &*l.destination_canonical_revision,
                &*l.destination_cluster,
            ];
            assert_eq!(got, expected, "{workload:?}");
        }
    }
}
