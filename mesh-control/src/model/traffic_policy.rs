use std::collections::BTreeMap;

use super::{ClientTls, ConnectionPool, LoadBalancer, OutlierDetection};
use crate::yaml::At;

/// What is `None` has the mesh's default.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TrafficPolicy {
    pub(crate) load_balancer: Option<LoadBalancer>,
    pub(crate) connection_pool: Option<ConnectionPool>,
    pub(crate) outlier_detection: Option<OutlierDetection>,
    /// `proxyProtocol.version`: 0 is V1, 1 is V2, as Envoy numbers them.
    pub(crate) proxy_protocol: Option<u32>,
    pub(crate) retry_budget: Option<RetryBudget>,
    pub(crate) tls: Option<ClientTls>,
    /// `portLevelSettings`, by port.
    pub(crate) ports: BTreeMap<u32, TrafficPolicy>,
}

/// How many retries may be under way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RetryBudget {
    /// `None`: 20.
    pub(crate) percent: Option<f64>,
    /// 0: 3.
    pub(crate) min_concurrency: u32,
    pub(crate) interval: Option<std::time::Duration>,
}

impl TrafficPolicy {
    pub(super) fn read(at: &At<'_>, with_ports: bool) -> Self {
        let fields = at.fields();
        if !fields.has_any_but(&["port", "portLevelSettings"])
            && fields
                .get("portLevelSettings")
                .is_none_or(|at| at.items().is_empty())
        {
            let what = if with_ports {
                "traffic policy"
            } else {
                "port traffic policy"
            };
            at.refuse(
                format_args!("{what} must have at least one field"),
                "add one, or remove it",
            );
        }
        fields.unsupported(
            &["tunnel"],
            "remove it, connections cannot go through another proxy",
        );
        let balances = fields.get("loadBalancer");
        let has_outlier_detection = fields.get("outlierDetection").is_some();
        let mut policy = TrafficPolicy {
            load_balancer: balances.map(|at| LoadBalancer::read(&at, has_outlier_detection)),
            connection_pool: fields
                .get("connectionPool")
                .map(|at| ConnectionPool::read(&at)),
            outlier_detection: fields
                .get("outlierDetection")
                .map(|at| OutlierDetection::read(&at)),
            proxy_protocol: None,
            retry_budget: None,
            tls: fields.get("tls").map(|at| ClientTls::read(&at)),
            ports: BTreeMap::new(),
        };
        if with_ports {
            policy.proxy_protocol = fields.get("proxyProtocol").map(|at| {
                let fields = at.fields();
                let version = fields
                    .get("version")
                    .and_then(|at| at.word(&[("V1", 0), ("V2", 1)]));
                fields.finish();
                version.unwrap_or(0)
            });
            policy.retry_budget = fields.get("retryBudget").map(|at| read_retry_budget(&at));
        }
        let mut mistakes = vec![
            ("tcp", "trafficPolicy.connectionPool.tcp"),
            ("http", "trafficPolicy.connectionPool.http"),
            ("simple", "trafficPolicy.loadBalancer.simple"),
            (
                "maxConnections",
                "trafficPolicy.connectionPool.tcp.maxConnections",
            ),
            (
                "consecutive5xxErrors",
                "trafficPolicy.outlierDetection.consecutive5xxErrors",
            ),
            (
                "consecutiveErrors",
                "trafficPolicy.outlierDetection.consecutive5xxErrors",
            ),
            ("ports", "trafficPolicy.portLevelSettings"),
        ];
        if with_ports {
            policy.ports = fields
                .list("portLevelSettings", read_port)
                .into_iter()
                .flatten()
                .collect();
        } else {
            fields.ignore(&["port"]);
            mistakes.push(("number", "port: {number: …}"));
        }
        fields.finish_with(&mistakes);
        policy
    }

    /// The policy for a port: its own replaces the whole.
    pub(crate) fn for_port(&self, port: u32) -> TrafficPolicy {
        match self.ports.get(&port) {
            Some(policy) => policy.clone(),
            None => TrafficPolicy {
                ports: BTreeMap::new(),
                ..self.clone()
            },
        }
    }

    /// This policy of a rule, with that of a subset over it, for a port.
    pub(crate) fn with_subset(&self, subset: Option<&TrafficPolicy>, port: u32) -> TrafficPolicy {
        let base = self.for_port(port);
        let Some(subset) = subset else { return base };
        let from_port = subset.ports.get(&port);
        let over = from_port.unwrap_or(subset);
        // settings for a port replace even by their absence
        let or = from_port.is_none();
        TrafficPolicy {
            load_balancer: (over.load_balancer.clone())
                .or_else(|| base.load_balancer.filter(|_| or)),
            connection_pool: (over.connection_pool.clone())
                .or_else(|| base.connection_pool.filter(|_| or)),
            outlier_detection: (over.outlier_detection.clone())
                .or_else(|| base.outlier_detection.filter(|_| or)),
            proxy_protocol: over.proxy_protocol.or(base.proxy_protocol),
            retry_budget: over.retry_budget.or(base.retry_budget),
            tls: (over.tls.clone()).or_else(|| base.tls.filter(|_| or)),
            ports: BTreeMap::new(),
        }
    }
}

fn read_retry_budget(at: &At<'_>) -> RetryBudget {
    let fields = at.fields();
    let budget = RetryBudget {
        percent: fields.get("percent").map(|at| at.float()),
        min_concurrency: fields
            .get("minRetryConcurrency")
            .map_or(0, |at| at.number(u32::MAX)),
        interval: fields.get("budgetInterval").map(|at| at.duration()),
    };
    fields.finish();
    budget
}

fn read_port(at: At<'_>) -> Option<(u32, TrafficPolicy)> {
    let policy = TrafficPolicy::read(&at, false);
    let fields = at.fields();
    let port = fields.require("port")?.fields();
    let number = port.require("number")?.port();
    port.finish();
    Some((u32::from(number), policy))
}
