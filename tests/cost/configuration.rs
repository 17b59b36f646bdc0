//! The configuration whose cost is measured: static resources in code, no control plane.

use proxyless::Mesh;
use serde_json::{Value, json};

/// Where a call to the service goes: the last route of the table.
pub(crate) const URI: &str = "http://reviews:9080/shelves/shelf_99/books";

/// What varies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Configuration {
    /// Routes of the virtual host.
    pub(crate) routes: usize,
    /// Endpoints of the cluster, balanced by least request.
    pub(crate) endpoints: usize,
    /// The retry policy that istiod writes into nearly every route.
    pub(crate) retries: bool,
    /// One request header whose value is made per request.
    pub(crate) generated_header: bool,
}

impl Configuration {
    /// 100 routes, 100 endpoints, nothing else.
    pub(crate) const PLAIN: Self = Self {
        routes: 100,
        endpoints: 100,
        retries: false,
        generated_header: false,
    };

    /// What istiod would make of it: retries too.
    pub(crate) const RETRIES: Self = Self {
        retries: true,
        ..Self::PLAIN
    };

    /// A mesh with this configuration in force.
    ///
    /// # Panics
    /// If the configuration is not accepted.
    pub(crate) fn mesh(self) -> Mesh {
        Mesh::builder()
            .envoy_bootstrap(&self.bootstrap().to_string())
            .expect("the bootstrap is right")
            .build()
            .expect("the mesh starts")
    }

    fn bootstrap(self) -> Value {
        json!({
            "node": {"id": "sidecar~127.0.0.1~cost.default~default.svc.cluster.local", "cluster": "cost"},
            "static_resources": {"listeners": [self.listener()], "clusters": [self.cluster()]},
        })
    }

    fn listener(self) -> Value {
        let manager = json!({
            "@type": type_url("filters.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": "outbound_9080",
            "generate_request_id": false,
            "route_config": {
                "name": "9080",
                "virtual_hosts": [{
                    "name": "reviews:9080",
                    "domains": ["reviews", "reviews:9080"],
                    "routes": (0..self.routes).map(|n| self.route(n)).collect::<Vec<_>>(),
                }],
            },
            "http_filters": [{
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": type_url("filters.http.router.v3.Router")},
            }],
        });
        json!({
            "name": "0.0.0.0_9080",
            "traffic_direction": "OUTBOUND",
            "address": address("0.0.0.0", 9080),
            "filter_chains": [{"filters": [
                {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager},
            ]}],
        })
    }

    fn route(self, n: usize) -> Value {
        let mut route = json!({
            "name": format!("shelf_{n}"),
            "match": {"prefix": format!("/shelves/shelf_{n}/")},
            "route": {"cluster": CLUSTER, "timeout": "15s"},
        });
        if self.retries {
            // As istiod 1.31 writes it.
            route["route"]["retry_policy"] = json!({
                "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
                "num_retries": 2,
                "retriable_status_codes": [503],
                "retry_host_predicate": [{
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {"@type": type_url("retry.host.previous_hosts.v3.PreviousHostsPredicate")},
                }],
                "host_selection_retry_max_attempts": "5",
            });
        }
        if self.generated_header {
            route["request_headers_to_add"] = json!([{
                "header": {"key": "x-route", "value": "%ROUTE_NAME%-of-%UPSTREAM_CLUSTER%"},
            }]);
        }
        route
    }

    fn cluster(self) -> Value {
        let endpoints: Vec<_> = (0..self.endpoints)
            .map(|n| json!({"endpoint": {"address": address(&format!("10.0.0.{n}"), 9080)}}))
            .collect();
        json!({
            "name": CLUSTER,
            "type": "STATIC",
            "connect_timeout": "10s",
            "lb_policy": "LEAST_REQUEST",
            "circuit_breakers": {"thresholds": [
                {"max_connections": 1024, "max_pending_requests": 1024, "max_requests": 1024, "max_retries": 3},
            ]},
            "load_assignment": {"cluster_name": CLUSTER, "endpoints": [{"lb_endpoints": endpoints}]},
        })
    }
}

const CLUSTER: &str = "outbound|9080||reviews.default.svc.cluster.local";

fn address(ip: &str, port: u16) -> Value {
    json!({"socket_address": {"address": ip, "port_value": port}})
}

fn type_url(name: &str) -> String {
    format!("type.googleapis.com/envoy.extensions.{name}")
}
