use std::collections::BTreeSet;

use super::names::{self, check_duration, check_duration_of};
use super::part::Part;
use super::{client_tls, locality};

const POLICIES: [&str; 8] = [
    "outlierDetection",
    "connectionPool",
    "loadBalancer",
    "tls",
    "portLevelSettings",
    "tunnel",
    "proxyProtocol",
    "retryBudget",
];

pub(super) fn check(policy: &Part<'_>, namespace: &str) {
    let is_set = |name: &str| match name {
        "portLevelSettings" => !policy.list(name).is_empty(),
        name => policy.has(name),
    };
    if !POLICIES.into_iter().any(is_set) {
        return policy.refuse(
            "traffic policy must have at least one field",
            "add one, or remove it",
        );
    }
    if policy.has("tunnel") && policy.has("proxyProtocol") {
        return policy.refuse(
            "tunnel and proxyProtocol must not be set together",
            "keep one of them",
        );
    }
    check_policies(policy, namespace);
    for port in policy.list("portLevelSettings") {
        if !port.has("port") {
            port.refuse(
                "portTrafficPolicy must have valid port",
                "add port: {number: …}",
            );
        }
        if ["outlierDetection", "connectionPool", "loadBalancer", "tls"]
            .into_iter()
            .any(|name| port.has(name))
        {
            check_policies(&port, namespace);
        } else {
            port.refuse(
                "port traffic policy must have at least one field",
                "add one, or remove it",
            );
        }
    }
    if let Some(tunnel) = policy.get("tunnel") {
        check_tunnel(&tunnel);
    }
    if let Some(version) = policy.get("proxyProtocol").and_then(|p| p.get("version"))
        && version.node().as_str().is_none()
        && !(0..=1).contains(&version.as_number())
    {
        version.refuse("proxy protocol version is invalid", "write V1 or V2");
    }
}

fn check_policies(of: &Part<'_>, namespace: &str) {
    let outlier = of.get("outlierDetection");
    if let Some(outlier) = &outlier {
        check_outlier(outlier);
    }
    if let Some(pool) = of.get("connectionPool") {
        check_connection_pool(&pool);
    }
    if let Some(load_balancer) = of.get("loadBalancer") {
        check_load_balancer(&load_balancer, outlier.is_some());
    }
    if let Some(tls) = of.get("tls") {
        client_tls::check(&tls, namespace);
    }
}

fn check_tunnel(tunnel: &Part<'_>) {
    let protocol = tunnel.text("protocol");
    if !matches!(protocol, "" | "CONNECT" | "POST") {
        tunnel.refuse_at(
            "protocol",
            "tunnel protocol must be \"CONNECT\" or \"POST\"",
            "write CONNECT or POST",
        );
    }
    let host = tunnel.text("targetHost");
    if names::fqdn(host).is_err() && !names::is_ip(host) {
        tunnel.refuse_at(
            "targetHost",
            "tunnel target host must be valid FQDN or IP address",
            "write a full domain name or an address",
        );
    }
    names::check_port_of(tunnel, "targetPort");
}

fn check_outlier(outlier: &Part<'_>) {
    check_duration_of(outlier, "baseEjectionTime");
    check_duration_of(outlier, "interval");
    if !outlier.flag("splitExternalLocalOriginErrors")
        && outlier.number("consecutiveLocalOriginFailures") > 0
    {
        outlier.refuse_at(
            "consecutiveLocalOriginFailures",
            "outlier detection consecutive local origin failures is specified, but split external local origin errors is \
             set to false",
            "add splitExternalLocalOriginErrors: true",
        );
    }
    for name in ["maxEjectionPercent", "minHealthPercent"] {
        if !(0..=100).contains(&outlier.number(name)) {
            outlier.refuse_at(
                name,
                format_args!("percentage {} is not in range 0..100", outlier.number(name)),
                "write a number from 0 to 100",
            );
        }
    }
}

/// Of a traffic policy or a Sidecar.
pub(super) fn check_connection_pool(pool: &Part<'_>) {
    let (http, tcp) = (pool.get("http"), pool.get("tcp"));
    if http.is_none() && tcp.is_none() {
        pool.refuse(
            "connection pool must have at least one field",
            "add http or tcp",
        );
    }
    if let Some(http) = http {
        for name in [
            "http1MaxPendingRequests",
            "http2MaxRequests",
            "maxRequestsPerConnection",
            "maxRetries",
            "maxConcurrentStreams",
        ] {
            check_not_negative(&http, name);
        }
        check_duration_of(&http, "idleTimeout");
        if http.word("h2UpgradePolicy", &["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"]) == "UPGRADE"
            && http.flag("useClientProtocol")
        {
            http.refuse_at(
                "useClientProtocol",
                "use client protocol must not be true when H2UpgradePolicy is UPGRADE",
                "keep one of them",
            );
        }
        if let Some(keepalive) = http.get("http2KeepAlive") {
            for name in ["interval", "timeout"] {
                match keepalive.get(name) {
                    Some(at) => check_duration(&at),
                    None => keepalive.refuse(
                        format_args!("http2 keepalive {name} is required"),
                        format_args!("add {name}"),
                    ),
                }
            }
        }
    }
    if let Some(tcp) = tcp {
        check_not_negative(&tcp, "maxConnections");
        check_duration_of(&tcp, "connectTimeout");
        check_duration_of(&tcp, "maxConnectionDuration");
        // 0 turns it off
        if let Some(idle) = tcp
            .get("idleTimeout")
            .filter(|at| at.nanos() / 1_000_000 != 0)
        {
            check_duration(&idle);
        }
        if let Some(keepalive) = tcp.get("tcpKeepalive") {
            check_duration_of(&keepalive, "time");
            check_duration_of(&keepalive, "interval");
        }
    }
}

fn check_not_negative(of: &Part<'_>, name: &str) {
    if of.number(name) < 0 {
        of.refuse_at(
            name,
            format_args!("{name} must be non-negative"),
            "write 0 or more, or remove it",
        );
    }
}

fn check_load_balancer(of: &Part<'_>, has_outlier: bool) {
    let hash = match of.one_of(&["simple", "consistentHash"]) {
        Some(("consistentHash", hash)) => Some(hash),
        _ => None,
    };
    if let Some(hash) = hash {
        check_consistent_hash(&hash);
    }
    if of.has("localityLbSetting") && of.has("zoneAwareLbSetting") {
        of.refuse_at(
            "zoneAwareLbSetting",
            "only one of localityLbSetting and zoneAwareLbSetting can be set",
            "keep one of them",
        );
    }
    if let Some(setting) = of.get("localityLbSetting") {
        locality::check(&setting, has_outlier);
    }
    if let Some(setting) = of.get("zoneAwareLbSetting") {
        locality::check_zone_aware(&setting, has_outlier);
    }
    if let Some(warmup) = of.get("warmup") {
        match warmup.get("duration") {
            Some(duration) => check_duration(&duration),
            None => warmup.refuse("duration is required", "add duration"),
        }
        if warmup.float("minimumPercent") > 100.0 {
            warmup.refuse_at(
                "minimumPercent",
                "minimumPercent value should be less than or equal to 100",
                "write 100 or less",
            );
        }
        if warmup.has("aggression") && warmup.float("aggression") <= 0.0 {
            warmup.refuse_at(
                "aggression",
                "aggression should be greater than 0",
                "write 1 or more",
            );
        }
    }
}

fn check_consistent_hash(hash: &Part<'_>) {
    const KEYS: [&str; 4] = [
        "httpHeaderName",
        "httpCookie",
        "useSourceIp",
        "httpQueryParameterName",
    ];
    if let Some(("httpCookie", cookie)) = hash.one_of(&KEYS) {
        if cookie.text("name").is_empty() {
            cookie.refuse_at("name", "name required for HttpCookie", "add name");
        }
        let mut seen = BTreeSet::new();
        for attribute in cookie.list("attributes") {
            let name = attribute.text("name");
            if name.is_empty() {
                attribute.refuse_at("name", "cookie attribute name cannot be empty", "add name");
            } else if !seen.insert(name) {
                attribute.refuse_at(
                    "name",
                    format_args!("duplicate cookie attribute name: {name}"),
                    "keep one of them",
                );
            }
        }
    }
    let algorithm = hash.one_of(&["ringHash", "maglev"]);
    if hash.number("minimumRingSize") != 0 && algorithm.is_some() {
        hash.refuse_at(
            "minimumRingSize",
            "only one of MinimumRingSize or Maglev/Ringhash can be specified",
            "remove minimumRingSize",
        );
    }
    if let Some(("maglev", maglev)) = algorithm {
        let size = maglev.number("tableSize");
        if size == 0 {
            maglev.refuse_at(
                "tableSize",
                "tableSize must be set for maglev",
                "write 65537",
            );
        } else if size >= 5_000_011 {
            maglev.refuse_at(
                "tableSize",
                "tableSize must be less than 5000011 for maglev",
                "write 65537",
            );
        } else if !is_prime(size) {
            maglev.refuse_at(
                "tableSize",
                "tableSize must be a prime number for maglev",
                "write 65537",
            );
        }
    }
}

fn is_prime(n: i128) -> bool {
    let is_odd_or_small = n < 4 || n % 2 != 0;
    n > 0
        && is_odd_or_small
        && (3..)
            .step_by(2)
            .take_while(|f| f * f <= n)
            .all(|f| n % f != 0)
}
