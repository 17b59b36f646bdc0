use std::collections::BTreeMap;
use std::time::Duration;

use crate::yaml::At;

/// What is `None` has the mesh's default.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TrafficPolicy {
    pub(crate) load_balancer: Option<LoadBalancer>,
    pub(crate) connection_pool: Option<ConnectionPool>,
    pub(crate) outlier_detection: Option<OutlierDetection>,
    /// `portLevelSettings`, by port.
    pub(crate) ports: BTreeMap<u32, TrafficPolicy>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoadBalancer {
    LeastRequest,
    RoundRobin,
    Random,
    Passthrough,
}

/// Numbers that are 0 keep the default.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ConnectionPool {
    pub(crate) max_connections: u32,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) keepalive: Option<Keepalive>,
    pub(crate) max_connection_duration: Option<Duration>,
    /// `http.idleTimeout`, else `tcp.idleTimeout`.
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) http1_max_pending_requests: u32,
    pub(crate) http2_max_requests: u32,
    pub(crate) max_requests_per_connection: u32,
    pub(crate) max_retries: u32,
    pub(crate) max_concurrent_streams: u32,
    /// `h2UpgradePolicy: UPGRADE`.
    pub(crate) upgrade_to_h2: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Keepalive {
    pub(crate) probes: u32,
    pub(crate) time: Option<Duration>,
    pub(crate) interval: Option<Duration>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct OutlierDetection {
    pub(crate) consecutive_5xx: Option<u32>,
    pub(crate) consecutive_gateway: Option<u32>,
    pub(crate) consecutive_local_origin: Option<u32>,
    pub(crate) split_local_origin: bool,
    pub(crate) interval: Option<Duration>,
    pub(crate) base_ejection_time: Option<Duration>,
    pub(crate) max_ejection_percent: u32,
    pub(crate) min_health_percent: u32,
    /// `consecutiveErrors` of Istio 1.1 to 1.6, which counted gateway errors and nothing else.
    pub(crate) old_consecutive_errors: bool,
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
        if let Some(at) = fields.get("tls") {
            read_tls(&at);
        }
        fields.unsupported(&["tunnel", "proxyProtocol", "retryBudget"], "remove it");
        let mut policy = TrafficPolicy {
            load_balancer: fields
                .get("loadBalancer")
                .and_then(|at| LoadBalancer::read(&at)),
            connection_pool: fields
                .get("connectionPool")
                .map(|at| ConnectionPool::read(&at)),
            outlier_detection: fields
                .get("outlierDetection")
                .map(|at| OutlierDetection::read(&at)),
            ports: BTreeMap::new(),
        };
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
        match subset.ports.get(&port) {
            Some(policy) => policy.clone(),
            None => TrafficPolicy {
                load_balancer: subset.load_balancer.or(base.load_balancer),
                connection_pool: subset.connection_pool.clone().or(base.connection_pool),
                outlier_detection: subset.outlier_detection.clone().or(base.outlier_detection),
                ports: BTreeMap::new(),
            },
        }
    }
}

fn read_port(at: At<'_>) -> Option<(u32, TrafficPolicy)> {
    let policy = TrafficPolicy::read(&at, false);
    let fields = at.fields();
    let port = fields.require("port")?.fields();
    let number = port.require("number")?.port();
    port.finish();
    Some((u32::from(number), policy))
}

/// Only plaintext until TLS exists.
fn read_tls(at: &At<'_>) {
    let fields = at.fields();
    match fields.get("mode") {
        Some(mode) if mode.node().as_str() == Some("DISABLE") => {}
        Some(mode) => {
            mode.refuse(
                format_args!(
                    "TLS is not supported yet, so mode {} cannot be used",
                    mode.string()
                ),
                "write mode: DISABLE, or remove tls",
            );
        }
        None => {}
    }
    fields.ignore(&[
        "clientCertificate",
        "privateKey",
        "caCertificates",
        "subjectAltNames",
        "sni",
    ]);
    fields.ignore(&["credentialName", "insecureSkipVerify", "caCrl"]);
    fields.finish();
}

impl LoadBalancer {
    fn read(at: &At<'_>) -> Option<Self> {
        let fields = at.fields();
        fields.unsupported(
            &["consistentHash"],
            "use simple: RANDOM, ROUND_ROBIN or LEAST_REQUEST",
        );
        fields.unsupported(
            &[
                "localityLbSetting",
                "zoneAwareLbSetting",
                "warmup",
                "warmupDurationSecs",
            ],
            "remove it",
        );
        let simple = fields.get("simple").and_then(|at| {
            at.word(&[
                ("UNSPECIFIED", LoadBalancer::LeastRequest),
                ("LEAST_REQUEST", LoadBalancer::LeastRequest),
                ("LEAST_CONN", LoadBalancer::LeastRequest),
                ("RANDOM", LoadBalancer::Random),
                ("ROUND_ROBIN", LoadBalancer::RoundRobin),
                ("PASSTHROUGH", LoadBalancer::Passthrough),
            ])
        });
        fields.finish();
        simple
    }
}

impl ConnectionPool {
    fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        if fields.is_empty() {
            at.refuse(
                "connection pool must have at least one field",
                "add tcp or http, or remove it",
            );
        }
        let mut pool = ConnectionPool::default();
        if let Some(at) = fields.get("tcp") {
            pool.read_tcp(&at);
        }
        if let Some(at) = fields.get("http") {
            pool.read_http(&at);
        }
        fields.finish_with(&[
            ("maxConnections", "tcp.maxConnections"),
            ("connectTimeout", "tcp.connectTimeout"),
            ("http1MaxPendingRequests", "http.http1MaxPendingRequests"),
            ("http2MaxRequests", "http.http2MaxRequests"),
            ("maxRequestsPerConnection", "http.maxRequestsPerConnection"),
            ("maxRetries", "http.maxRetries"),
        ]);
        pool
    }

    fn read_tcp(&mut self, at: &At<'_>) {
        let fields = at.fields();
        let connections = fields.get("maxConnections");
        self.max_connections = connections.map_or(0, |at| at.number(i32::MAX as u32));
        self.connect_timeout = fields
            .get("connectTimeout")
            .map(|at| at.duration_from_1ms());
        self.max_connection_duration = fields
            .get("maxConnectionDuration")
            .map(|at| at.duration_from_1ms());
        // 0 turns it off
        self.idle_timeout = fields.get("idleTimeout").map(|at| at.duration());
        self.keepalive = fields.get("tcpKeepalive").map(|at| {
            let fields = at.fields();
            let keepalive = Keepalive {
                probes: fields.get("probes").map_or(0, |at| at.number(u32::MAX)),
                time: fields.get("time").map(|at| at.duration()),
                interval: fields.get("interval").map(|at| at.duration()),
            };
            fields.finish();
            keepalive
        });
        fields.finish();
    }

    fn read_http(&mut self, at: &At<'_>) {
        let fields = at.fields();
        let number = |name| {
            fields
                .get(name)
                .map_or(0, |at: At<'_>| at.number(i32::MAX as u32))
        };
        self.http1_max_pending_requests = number("http1MaxPendingRequests");
        self.http2_max_requests = number("http2MaxRequests");
        self.max_requests_per_connection = number("maxRequestsPerConnection");
        self.max_retries = number("maxRetries");
        self.max_concurrent_streams = number("maxConcurrentStreams");
        if let Some(at) = fields.get("idleTimeout") {
            self.idle_timeout = Some(at.duration_from_1ms());
        }
        fields.unsupported(&["useClientProtocol", "http2KeepAlive"], "remove it");
        let policy = fields.get("h2UpgradePolicy");
        self.upgrade_to_h2 = policy
            .and_then(|at| {
                at.word(&[
                    ("DEFAULT", false),
                    ("DO_NOT_UPGRADE", false),
                    ("UPGRADE", true),
                ])
            })
            .unwrap_or_default();
        fields.finish_with(&[
            ("maxPendingRequests", "http1MaxPendingRequests"),
            ("maxRequests", "http2MaxRequests"),
        ]);
    }
}

impl OutlierDetection {
    fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let number = |name| fields.get(name).map(|at: At<'_>| at.number(u32::MAX));
        let percent = |name| fields.get(name).map_or(0, |at: At<'_>| at.number(100));
        fields.unsupported(
            &["outlierDetectionHttpErrorCodes"],
            "use consecutive5xxErrors",
        );
        let mut outlier = OutlierDetection {
            consecutive_5xx: number("consecutive5xxErrors"),
            consecutive_gateway: number("consecutiveGatewayErrors"),
            consecutive_local_origin: number("consecutiveLocalOriginFailures"),
            split_local_origin: fields
                .get("splitExternalLocalOriginErrors")
                .is_some_and(|at| at.bool()),
            interval: fields.get("interval").map(|at| at.duration_from_1ms()),
            base_ejection_time: fields
                .get("baseEjectionTime")
                .map(|at| at.duration_from_1ms()),
            max_ejection_percent: percent("maxEjectionPercent"),
            min_health_percent: percent("minHealthPercent"),
            old_consecutive_errors: false,
        };
        if outlier.consecutive_local_origin.is_some() && !outlier.split_local_origin {
            at.refuse(
                "outlier detection consecutive local origin failures is specified, but split external local origin \
                 errors is set to false",
                "write splitExternalLocalOriginErrors: true",
            );
        }
        if let Some(at) = fields.get("consecutiveErrors") {
            let errors = at.number(u32::MAX);
            at.warn(
                "was removed from Istio; it is read as gateway errors only, as Istio 1.1 to 1.6 did",
                "write consecutive5xxErrors or consecutiveGatewayErrors",
            );
            if outlier.consecutive_gateway.is_none() && outlier.consecutive_5xx.is_none() {
                outlier.consecutive_gateway = Some(errors);
                outlier.old_consecutive_errors = true;
            }
        }
        fields.finish_with(&[
            ("consecutive5xx", "consecutive5xxErrors"),
            ("consecutiveGatewayFailure", "consecutiveGatewayErrors"),
            ("sleepWindow", "baseEjectionTime"),
        ]);
        outlier
    }
}
