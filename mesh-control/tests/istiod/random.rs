//! Random folders of valid objects.
//!
//! What istiod leaves to the order of Go's maps is not written: a host with several addresses and HTTP, the same
//! name of a port with two meanings.

mod gateway_api;
mod patches;
mod security;
mod traffic;

use std::fmt::Write as _;

use mesh_testkit::random::Random;

pub(crate) use gateway_api::folder_with_gateway_api;
pub(crate) use patches::folder_with_patches;

const NAMESPACES: [&str; 3] = ["default", "other", "istio-system"];
const VERSIONS: [&str; 3] = ["v1", "v2", "v3"];
const LOCALITIES: [(&str, &str); 4] = [
    ("eu/eu-a/s1", "n1"),
    ("eu/eu-b/s1", "n2"),
    ("us/us-a/s1", "n3"),
    ("eu/eu-a/s2", "n4"),
];
const PORTS: [(&str, u32, &str); 9] = [
    ("http", 80, "HTTP"),
    ("http-admin", 8080, "HTTP"),
    ("grpc", 9090, "GRPC"),
    ("http2", 9091, "HTTP2"),
    ("tcp", 9000, "TCP"),
    ("tls", 443, "TLS"),
    ("mysql", 3306, "MYSQL"),
    ("any", 7000, ""),
    ("grpc-web", 9092, "GRPC-WEB"),
];

struct Named {
    host: String,
    namespace: &'static str,
    ports: Vec<(&'static str, u32, &'static str)>,
    /// Known by a short name in its namespace.
    kubernetes: bool,
}

struct Maker<'a> {
    random: &'a mut Random,
    text: String,
    services: Vec<Named>,
    addresses: u32,
}

/// The text of a folder.
pub(crate) fn folder(random: &mut Random) -> String {
    let mut maker = Maker {
        random,
        text: String::new(),
        services: Vec::new(),
        addresses: 0,
    };
    maker.nodes();
    maker.pods();
    for i in 0..2 + maker.random.below(4) {
        maker.kubernetes_service(i);
    }
    for i in 0..maker.random.below(5) {
        maker.service_entry(i);
    }
    for i in 0..maker.random.below(3) {
        maker.workload_entry(i);
    }
    for i in 0..maker.random.below(5) {
        maker.destination_rule(i);
    }
    for i in 0..maker.random.below(5) {
        maker.virtual_service(i);
    }
    for i in 0..maker.random.below(3) {
        maker.sidecar(i);
    }
    if maker.random.chance(60) {
        maker.gateway();
    }
    for i in 0..maker.random.below(4) {
        maker.authorization_policy(i);
    }
    for i in 0..maker.random.below(3) {
        maker.request_authentication(i);
    }
    for i in 0..maker.random.below(4) {
        maker.peer_authentication(i);
    }
    maker.text
}

impl Maker<'_> {
    fn object(&mut self, api: &str, kind: &str, name: &str, namespace: &str, labels: &str) {
        let labels = match labels {
            "" => String::new(),
            labels => format!(", labels: {{{labels}}}"),
        };
        let namespace = match namespace {
            "" => String::new(),
            namespace => format!(", namespace: {namespace}"),
        };
        let separator = if self.text.is_empty() { "" } else { "---\n" };
        let _ = write!(
            self.text,
            "{separator}apiVersion: {api}\nkind: {kind}\nmetadata: {{name: {name}{namespace}{labels}}}\n"
        );
    }

    fn istio(&mut self, kind: &str, name: &str, namespace: &str) {
        let version = *self.random.one(&["v1", "v1beta1", "v1alpha3"]);
        let version = match kind {
            "ServiceEntry" | "VirtualService" | "DestinationRule" | "Gateway" | "Sidecar" => {
                version
            }
            _ => "v1",
        };
        let api = format!("networking.istio.io/{version}");
        self.object(&api, kind, name, namespace, "");
    }

    fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn namespace(&mut self) -> &'static str {
        let n = if self.random.chance(60) { 1 } else { 3 };
        NAMESPACES[self.random.below(n)]
    }

    fn nodes(&mut self) {
        for (locality, name) in LOCALITIES {
            let parts: Vec<&str> = locality.split('/').collect();
            let labels = format!(
                "topology.kubernetes.io/region: {}, topology.kubernetes.io/zone: {}, topology.istio.io/subzone: {}",
                parts[0], parts[1], parts[2]
            );
            self.object("v1", "Node", name, "", &labels);
        }
    }

    fn pods(&mut self) {
        for i in 0..4 {
            let namespace = if i == 3 { "other" } else { "default" };
            let labels = match i {
                0 => "istio: ingressgateway".to_owned(),
                _ => format!(
                    "app: app-{}, version: {}{}",
                    i % 2,
                    self.random.one(&VERSIONS),
                    self.random.one(&["", ", security.istio.io/tlsMode: istio"])
                ),
            };
            let node = match self.random.chance(70) {
                true => format!("nodeName: {}, ", self.random.one(&LOCALITIES).1),
                false => String::new(),
            };
            self.object("v1", "Pod", &format!("pod-{i}"), namespace, &labels);
            self.line(&format!(
                "spec: {{{node}serviceAccountName: account-{}, containers: [{{name: app, ports: [{{name: web, containerPort: 8123, protocol: TCP}}]}}]}}\n\
                 status: {{phase: Running, podIP: 127.9.8.{}, conditions: [{{type: Ready, status: \"True\"}}]}}",
                i % 2,
                i + 1
            ));
        }
    }

    fn ports(&mut self) -> Vec<(&'static str, u32, &'static str)> {
        let mut ports = Vec::new();
        for port in PORTS {
            if self.random.chance(30) {
                ports.push(port);
            }
        }
        if ports.is_empty() {
            ports.push(PORTS[0]);
        }
        ports
    }

    fn address(&mut self) -> String {
        self.addresses += 1;
        format!("10.96.7.{}", self.addresses)
    }

    fn kubernetes_service(&mut self, i: usize) {
        let namespace = self.namespace();
        let name = format!("svc-{i}");
        let ports = self.ports();
        let app = self.random.below(2);
        self.object("v1", "Service", &name, namespace, "");
        let written: Vec<String> = ports
            .iter()
            .map(|(name, port, _)| {
                let target = match self.random.below(8) {
                    0 => "web".to_owned(),
                    _ => (port + 10_000).to_string(),
                };
                format!("{{name: {name}, port: {port}, targetPort: {target}, protocol: TCP}}")
            })
            .collect();
        let ip = match self.random.below(6) {
            0 => "clusterIP: None".to_owned(),
            _ => format!("clusterIP: {}", self.address()),
        };
        let more = *self.random.one(&[
            "",
            "",
            "",
            "",
            ", trafficDistribution: PreferClose",
            ", internalTrafficPolicy: Local",
        ]);
        self.line(&format!(
            "spec: {{selector: {{app: app-{app}}}, {ip}{more}, ports: [{}]}}",
            written.join(", ")
        ));
        if self.random.chance(80) {
            self.slice(&name, namespace, &ports);
        }
        self.services.push(Named {
            host: format!("{name}.{namespace}.svc.cluster.local"),
            namespace,
            ports,
            kubernetes: true,
        });
    }

    fn slice(&mut self, service: &str, namespace: &str, ports: &[(&str, u32, &str)]) {
        let labels = format!("kubernetes.io/service-name: {service}");
        self.object(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            service,
            namespace,
            &labels,
        );
        self.line("addressType: IPv4\nendpoints:");
        for i in 1..4 {
            let pod_namespace = if i == 3 { "other" } else { "default" };
            if self.random.chance(60) {
                let ready = match self.random.chance(80) {
                    true => "ready: true",
                    false => "ready: false, terminating: false",
                };
                self.line(&format!(
                    "- {{addresses: [127.9.8.{}], conditions: {{{ready}}}, targetRef: {{kind: Pod, name: pod-{i}, namespace: {pod_namespace}}}}}",
                    i + 1
                ));
            }
        }
        self.line("- {addresses: [127.9.9.9], conditions: {ready: true}}");
        let ports: Vec<String> = ports
            .iter()
            .map(|(name, port, _)| {
                format!("{{name: {name}, port: {}, protocol: TCP}}", port + 10_000)
            })
            .collect();
        self.line(&format!("ports: [{}]", ports.join(", ")));
    }

    fn service_entry(&mut self, i: usize) {
        let namespace = self.namespace();
        let resolution = *self
            .random
            .one(&["STATIC", "DNS", "DNS_ROUND_ROBIN", "NONE"]);
        let host = match (resolution, self.random.below(4)) {
            ("NONE" | "STATIC", 0) => format!("*.wild-{i}.example.com"),
            _ => format!("entry-{i}.example.com"),
        };
        let ports = self.ports();
        self.istio("ServiceEntry", &format!("entry-{i}"), namespace);
        let written: Vec<String> = ports
            .iter()
            .map(|(name, port, protocol)| {
                let target = match self.random.chance(30) {
                    true => format!(", targetPort: {}", port + 20_000),
                    false => String::new(),
                };
                format!("{{number: {port}, name: {name}, protocol: \"{protocol}\"{target}}}")
            })
            .collect();
        let location = *self.random.one(&["MESH_EXTERNAL", "MESH_INTERNAL"]);
        let names = *self.random.one(&[
            "",
            "",
            "\n  subjectAltNames: [san.example.com, \"spiffe://td/ns/a/sa/b\"]",
        ]);
        self.line(&format!(
            "spec:\n  hosts: [\"{host}\"]\n  resolution: {resolution}\n  location: {location}\n  ports: [{}]{names}",
            written.join(", ")
        ));
        if self.random.chance(40) {
            let address = match resolution {
                "NONE" | "STATIC" if self.random.chance(30) => format!("10.{}.0.0/16", 100 + i),
                _ => self.address(),
            };
            self.line(&format!("  addresses: [{address}]"));
        }
        let export = *self
            .random
            .one(&["", "", "", "[\".\"]", "[\"*\"]", "[default, other]"]);
        if !export.is_empty() {
            self.line(&format!("  exportTo: {export}"));
        }
        let count = match resolution {
            "NONE" => 0,
            "DNS_ROUND_ROBIN" => self.random.below(2),
            _ => self.random.below(4),
        };
        if resolution != "NONE" && self.random.chance(20) {
            let app = self.random.below(2);
            self.line(&format!(
                "  workloadSelector: {{labels: {{app: app-{app}}}}}"
            ));
        } else if count > 0 {
            self.line("  endpoints:");
            for k in 0..count {
                let address = match resolution {
                    "STATIC" => format!("127.9.7.{}", i * 10 + k + 1),
                    _ => format!("e{k}.entry-{i}.example.com"),
                };
                let workload = self.workload(ports[0].0);
                self.line(&format!("  - {{address: {address}{workload}}}"));
            }
        }
        self.services.push(Named {
            host,
            namespace,
            ports,
            kubernetes: false,
        });
    }

    fn workload(&mut self, port: &str) -> String {
        let mut text = String::new();
        if self.random.chance(50) {
            let _ = write!(
                text,
                ", labels: {{version: {}}}",
                self.random.one(&VERSIONS)
            );
        }
        if self.random.chance(30) {
            let _ = write!(text, ", weight: {}", 1 + self.random.below(9));
        }
        if self.random.chance(40) {
            let _ = write!(text, ", locality: {}", self.random.one(&LOCALITIES).0);
        }
        if self.random.chance(30) {
            let _ = write!(text, ", ports: {{{port}: 8765}}");
        }
        if self.random.chance(30) {
            text.push_str(", serviceAccount: machine");
        }
        text
    }

    fn workload_entry(&mut self, i: usize) {
        let namespace = self.namespace();
        let app = self.random.below(2);
        let port = self.random.one(&PORTS).0;
        let workload = self.workload(port).replace(
            ", labels: {version",
            &format!(", labels: {{app: app-{app}, version"),
        );
        self.object(
            "networking.istio.io/v1",
            "WorkloadEntry",
            &format!("vm-{i}"),
            namespace,
            "",
        );
        self.line(&format!("spec: {{address: 127.9.6.{}{workload}}}", i + 1));
    }
}
