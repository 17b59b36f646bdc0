use std::time::Duration;

use crate::yaml::At;

/// Numbers that are 0 keep the default.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ConnectionPool {
    pub(crate) max_connections: u32,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) keepalive: Option<Keepalive>,
    pub(crate) max_connection_duration: Option<Duration>,
    /// `tcp.idleTimeout`.
    pub(crate) tcp_idle_timeout: Option<Duration>,
    /// `http.idleTimeout`.
    pub(crate) http_idle_timeout: Option<Duration>,
    pub(crate) http1_max_pending_requests: u32,
    pub(crate) http2_max_requests: u32,
    pub(crate) max_requests_per_connection: u32,
    pub(crate) max_retries: u32,
    pub(crate) max_concurrent_streams: u32,
    /// `h2UpgradePolicy`: UPGRADE, DO_NOT_UPGRADE, or the mesh's default.
    pub(crate) h2_upgrade: Option<bool>,
    pub(crate) use_client_protocol: bool,
    /// `http2KeepAlive`: (interval, timeout).
    pub(crate) http2_keepalive: Option<(Duration, Duration)>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Keepalive {
    pub(crate) probes: u32,
    pub(crate) time: Option<Duration>,
    pub(crate) interval: Option<Duration>,
}

impl ConnectionPool {
    pub(super) fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        if !fields.has_any_of(&["tcp", "http"]) {
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
        self.tcp_idle_timeout = fields.get("idleTimeout").map(|at| at.duration());
        self.keepalive = fields.get("tcpKeepalive").map(|at| Keepalive::read(&at));
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
        self.http_idle_timeout = fields.get("idleTimeout").map(|at| at.duration_from_1ms());
        self.use_client_protocol = fields.get("useClientProtocol").is_some_and(|at| at.bool());
        self.http2_keepalive = fields.get("http2KeepAlive").and_then(|at| {
            let fields = at.fields();
            let interval = fields.require("interval").map(|at| at.duration_from_1ms());
            let timeout = fields.require("timeout").map(|at| at.duration_from_1ms());
            fields.finish();
            interval.zip(timeout)
        });
        let policy = fields.get("h2UpgradePolicy");
        self.h2_upgrade = policy
            .and_then(|at| {
                at.word(&[
                    ("DEFAULT", None),
                    ("DO_NOT_UPGRADE", Some(false)),
                    ("UPGRADE", Some(true)),
                ])
            })
            .flatten();
        if self.h2_upgrade == Some(true) && self.use_client_protocol {
            at.refuse(
                "use client protocol must not be true when H2UpgradePolicy is UPGRADE",
                "keep one of them",
            );
        }
        fields.finish_with(&[
            ("maxPendingRequests", "http1MaxPendingRequests"),
            ("maxRequests", "http2MaxRequests"),
        ]);
    }
}

impl Keepalive {
    pub(crate) fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let keepalive = Keepalive {
            probes: fields.get("probes").map_or(0, |at| at.number(u32::MAX)),
            time: fields.get("time").map(|at| at.duration_from_1ms()),
            interval: fields.get("interval").map(|at| at.duration_from_1ms()),
        };
        fields.finish();
        keepalive
    }
}
