//! The Envoy v3 bootstrap that a pod's data plane starts with.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::desired::ADMIN_PORT;
use super::status::{PodStatus, pod_labels};

/// The mesh's name in node metadata.
const DOMAIN: &str = "cluster.local";

/// A bootstrap as JSON: ADS from `control_plane` with a back-off of 0.1 to 1 s, the admin server at the pod's address.
pub(super) fn bootstrap(pod: &PodStatus, is_gateway: bool, control_plane: SocketAddr) -> Value {
    let kind = if is_gateway { "router" } else { "sidecar" };
    let PodStatus {
        name,
        namespace,
        address,
        ..
    } = pod;
    let labels = pod_labels(&pod.labels, &pod.template_hash);
    let app = labels.get("app").unwrap_or(&pod.workload);
    json!({
        "node": {
            "id": format!("{kind}~{address}~{name}.{namespace}~{namespace}.svc.{DOMAIN}"),
            "cluster": format!("{app}.{namespace}"),
            "metadata": {
                "NAME": name,
                "NAMESPACE": namespace,
                "LABELS": labels,
                "INSTANCE_IPS": address.to_string(),
                "BIND_INSTANCE_IP": "true",
                "CLUSTER_ID": "Kubernetes",
                "MESH_ID": DOMAIN,
                "WORKLOAD_NAME": pod.workload,
                "SERVICE_ACCOUNT": pod.service_account,
                "OWNER": format!("kubernetes://apis/apps/v1/namespaces/{namespace}/deployments/{}", pod.workload),
            },
        },
        "admin": {"address": {"socket_address": {"address": address.to_string(), "port_value": ADMIN_PORT}}},
        "dynamic_resources": {
            "lds_config": {"ads": {}, "resource_api_version": "V3"},
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
            "ads_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {
                    "cluster_name": "xds-grpc",
                    "retry_policy": {"retry_back_off": {"base_interval": "0.1s", "max_interval": "1s"}},
                }}],
            },
        },
        "static_resources": {"clusters": [{
            "name": "xds-grpc",
            "type": "STATIC",
            "connect_timeout": "1s",
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {"http2_protocol_options": {}},
                },
            },
            "load_assignment": {"cluster_name": "xds-grpc", "endpoints": [{"lb_endpoints": [{"endpoint": {
                "address": {"socket_address": {
                    "address": control_plane.ip().to_string(),
                    "port_value": control_plane.port(),
                }},
            }}]}]},
        }]},
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn the_node_says_who_the_pod_is() {
        let pod = PodStatus {
            name: "web-1".to_owned(),
            namespace: "shop".to_owned(),
            workload: "web".to_owned(),
            template_hash: "7f".to_owned(),
            labels: [("app".to_owned(), "web".to_owned())].into(),
            service_account: "default".to_owned(),
            container: String::new(),
            image: String::new(),
            ports: Vec::new(),
            address: Ipv4Addr::new(127, 200, 0, 10),
            ready: false,
            terminating: false,
            failed: false,
        };
        let value = bootstrap(&pod, false, SocketAddr::from(([127, 200, 0, 1], 15010)));
        assert_eq!(
            value["node"]["id"],
            "sidecar~127.200.0.10~web-1.shop~shop.svc.cluster.local"
        );
        assert_eq!(
            value["node"]["metadata"]["LABELS"]["pod-template-hash"],
            "7f"
        );
        assert_eq!(value["node"]["cluster"], "web.shop");
        let gateway = bootstrap(&pod, true, SocketAddr::from(([127, 200, 0, 1], 15010)));
        assert!(
            gateway["node"]["id"]
                .as_str()
                .is_some_and(|id| id.starts_with("router~"))
        );
    }
}
