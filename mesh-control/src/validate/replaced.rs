//! What stands instead of a field that is deprecated or often guessed wrong.

/// What to write instead of a deprecated field or value.
pub(super) fn instead_of(message: &str, field: &str) -> &'static str {
    let message = message.rsplit_once('.').map_or(message, |(_, name)| name);
    match (message, field) {
        ("OutlierDetection", "consecutive_errors") => {
            "write consecutiveGatewayErrors or consecutive5xxErrors"
        }
        ("HTTPRoute", "mirror_percent") => "write mirrorPercentage: {value: …}",
        ("CorsPolicy", "allow_origin") => "write allowOrigins: [{exact: …}]",
        ("ConsistentHashLB", "minimum_ring_size") => "write ringHash: {minimumRingSize: …}",
        ("Port" | "SidecarPort", "target_port") => "remove it, it has no effect here",
        ("LoadBalancerSettings", "warmup_duration_secs") => "write warmup: {duration: …}",
        ("SimpleLB", "LEAST_CONN") => "write LEAST_REQUEST",
        ("Delay", "percent") | ("Abort", "percent") => "write percentage: {value: …}",
        (_, "target_ref") => "write targetRefs: […]",
        _ => "see its documentation for what replaces it",
    }
}

/// The right path for a field that does not exist, where the name alone would not lead to it.
pub(super) fn meant_by(message: &str, field: &str) -> Option<&'static str> {
    let message = message.rsplit_once('.').map_or(message, |(_, name)| name);
    Some(match (message, field) {
        ("TrafficPolicy", "tcp") => "trafficPolicy.connectionPool.tcp",
        ("TrafficPolicy", "http") => "trafficPolicy.connectionPool.http",
        ("TrafficPolicy", "simple") => "trafficPolicy.loadBalancer.simple",
        ("TrafficPolicy", "mode") => "trafficPolicy.tls.mode",
        ("HTTPRoute", "retry") => "retries",
        ("HTTPRoute", "destination") => "route[].destination",
        ("HTTPRoute", "cors") => "corsPolicy",
        ("HTTPMatchRequest", "path") => "uri",
        ("HTTPMatchRequest", "host" | "hosts") => "authority",
        ("StringMatch", "suffix") => "regex: it has no suffix match",
        ("VirtualService" | "ServiceEntry", "host") => "hosts",
        ("VirtualService", "route") => "http[].route",
        ("DestinationRule", "hosts") => "host",
        ("PeerAuthentication", "mode") => "mtls.mode",
        ("AuthorizationPolicy", "rule") => "rules",
        ("WorkloadSelector", "labels") => "matchLabels",
        ("WorkloadSelector", "matchLabels") => "labels",
        _ => return None,
    })
}
