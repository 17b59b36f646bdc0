//! Random folders of valid objects.
//!
//! What istiod leaves to the order of Go's maps is not written: a host with several addresses and HTTP, the same
//! name of a port with two meanings.

use std::fmt::Write as _;

use mesh_testkit::random::Random;

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
                    "app: app-{}, version: {}",
                    i % 2,
                    self.random.one(&VERSIONS)
                ),
            };
            let node = match self.random.chance(70) {
                true => format!("nodeName: {}, ", self.random.one(&LOCALITIES).1),
                false => String::new(),
            };
            self.object("v1", "Pod", &format!("pod-{i}"), namespace, &labels);
            self.line(&format!(
                "spec: {{{node}containers: [{{name: app, ports: [{{name: web, containerPort: 8123, protocol: TCP}}]}}]}}\n\
                 status: {{phase: Running, podIP: 127.9.8.{}, conditions: [{{type: Ready, status: \"True\"}}]}}",
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
        self.line(&format!(
            "spec:\n  hosts: [\"{host}\"]\n  resolution: {resolution}\n  location: {location}\n  ports: [{}]",
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

    fn policy(&mut self, whole: bool) -> String {
        let mut parts = Vec::new();
        if self.random.chance(60) {
            let mut balancer = vec![(*self.random.one(&[
                "simple: RANDOM",
                "simple: ROUND_ROBIN",
                "simple: LEAST_REQUEST",
                "simple: PASSTHROUGH",
                "consistentHash: {httpHeaderName: x-user}",
                "consistentHash: {useSourceIp: true, maglev: {tableSize: 101}}",
                "consistentHash: {httpCookie: {name: c, ttl: 3s}, ringHash: {minimumRingSize: 7}}",
                "consistentHash: {httpQueryParameterName: q}",
            ]))
            .to_owned()];
            if self.random.chance(40) {
                balancer.push((*self.random.one(&[
                    "localityLbSetting: {enabled: false}",
                    "localityLbSetting: {failover: [{from: eu, to: us}]}",
                    "localityLbSetting: {failoverPriority: [topology.kubernetes.io/region, \"version=v1\"]}",
                    "localityLbSetting: {distribute: [{from: \"eu/*\", to: {\"eu/*\": 80, us: 20}}]}",
                    "warmup: {duration: 10s}",
                    "zoneAwareLbSetting: {minClusterSize: 2}",
                ]))
                .to_owned());
            }
            parts.push(format!("loadBalancer: {{{}}}", balancer.join(", ")));
        }
        if self.random.chance(50) {
            parts.push(
                (*self.random.one(&[
                    "connectionPool: {tcp: {maxConnections: 3, connectTimeout: 2s}}",
                    "connectionPool: {tcp: {idleTimeout: 4s, maxConnectionDuration: 9s}}",
                    "connectionPool: {http: {http1MaxPendingRequests: 4, maxRetries: 2, idleTimeout: 7s}}",
                    "connectionPool: {http: {h2UpgradePolicy: UPGRADE, maxConcurrentStreams: 5}}",
                    "connectionPool: {http: {useClientProtocol: true, maxRequestsPerConnection: 1}}",
                ]))
                .to_owned(),
            );
        }
        if self.random.chance(50) {
            parts.push(
                (*self.random.one(&[
                    "outlierDetection: {consecutive5xxErrors: 3, minHealthPercent: 20}",
                    "outlierDetection: {interval: 1s, baseEjectionTime: 2s, maxEjectionPercent: 100}",
                ]))
                .to_owned(),
            );
        }
        if whole && self.random.chance(20) {
            parts.push("retryBudget: {percent: 30}".to_owned());
        }
        if whole && self.random.chance(10) {
            parts.push("proxyProtocol: {version: V2}".to_owned());
        }
        if parts.is_empty() {
            parts.push("outlierDetection: {consecutive5xxErrors: 1}".to_owned());
        }
        if whole && self.random.chance(30) {
            let port = self.random.one(&PORTS).1;
            let inner = self.policy(false);
            parts.push(format!(
                "portLevelSettings: [{{port: {{number: {port}}}, {}}}]",
                &inner[1..inner.len() - 1]
            ));
        }
        format!("{{{}}}", parts.join(", "))
    }

    /// A service by its index, as an object of a namespace may call it.
    fn host(&mut self, from: &str) -> (usize, String) {
        let i = self.random.below(self.services.len());
        let service = &self.services[i];
        let short = service.kubernetes && service.namespace == from;
        let host = match short && self.random.chance(50) {
            true => service.host.split('.').next().unwrap_or_default(),
            false => &service.host,
        };
        (i, host.to_owned())
    }

    fn destination_rule(&mut self, i: usize) {
        let namespace = self.namespace();
        let host = match self.random.below(6) {
            0 => "*.svc.cluster.local".to_owned(),
            1 => "*.example.com".to_owned(),
            _ => self.host(namespace).1,
        };
        self.istio("DestinationRule", &format!("rule-{i}"), namespace);
        self.line(&format!("spec:\n  host: \"{host}\""));
        if self.random.chance(70) {
            let policy = self.policy(true);
            self.line(&format!("  trafficPolicy: {policy}"));
        }
        match self.random.below(6) {
            0 => self.line("  exportTo: [\".\"]"),
            1 => self.line("  workloadSelector: {matchLabels: {app: app-1}}"),
            2 => self.line("  exportTo: [default]"),
            _ => {}
        }
        if self.random.chance(60) {
            self.line("  subsets:");
            for version in VERSIONS {
                if self.random.chance(60) {
                    let policy = match self.random.chance(40) {
                        true => format!(", trafficPolicy: {}", self.policy(true)),
                        false => String::new(),
                    };
                    self.line(&format!(
                        "  - {{name: {version}, labels: {{version: {version}}}{policy}}}"
                    ));
                }
            }
        }
    }

    fn destination(&mut self, namespace: &str) -> String {
        let (i, host) = self.host(namespace);
        if host.starts_with('*') {
            return "{host: nowhere.example.com}".to_owned();
        }
        let mut text = format!("{{host: {host}");
        if self.random.chance(50) {
            let ports = &self.services[i].ports;
            let port = ports[self.random.below(ports.len())].1;
            let _ = write!(text, ", port: {{number: {port}}}");
        }
        if self.random.chance(40) {
            let _ = write!(text, ", subset: {}", self.random.one(&VERSIONS));
        }
        text + "}"
    }

    fn routes(&mut self, namespace: &str) -> String {
        let count = 1 + self.random.below(3);
        let routes: Vec<String> = (0..count)
            .map(|k| {
                let destination = self.destination(namespace);
                let weight = 1 + self.random.below(50) * usize::from(k > 0);
                match count {
                    1 => format!("{{destination: {destination}}}"),
                    _ => format!("{{destination: {destination}, weight: {weight}}}"),
                }
            })
            .collect();
        format!("[{}]", routes.join(", "))
    }

    fn virtual_service(&mut self, i: usize) {
        let namespace = self.namespace();
        let (service, host) = self.host(namespace);
        let in_gateway = self.random.chance(30);
        let name = format!("routes-{i}");
        let is_root = self.random.chance(20);
        if is_root {
            self.istio("VirtualService", &format!("{name}-delegate"), namespace);
            let routes = self.routes(namespace);
            self.line(&format!(
                "spec:\n  http:\n  - name: own\n    match: [{{uri: {{prefix: /a/b}}}}, {{headers: {{x-a: {{exact: \"1\"}}}}}}]\n    route: {routes}\n  - timeout: 2s\n    route: {routes}"
            ));
        }
        self.istio("VirtualService", &name, namespace);
        self.line(&format!("spec:\n  hosts: [\"{host}\"]"));
        if in_gateway {
            self.line("  gateways: [mesh, default/gate, other/second]");
        }
        let export = *self.random.one(&["", "", "", "[\".\"]", "[default]"]);
        if !export.is_empty() {
            self.line(&format!("  exportTo: {export}"));
        }
        self.line("  http:");
        for _ in 0..self.random.below(3) {
            let matched = *self.random.one(&[
                "uri: {prefix: /x}",
                "uri: {exact: /y}, method: {exact: GET}",
                "headers: {x-b: {regex: \"a+\"}}, port: 80",
                "uri: {prefix: /z}, sourceLabels: {app: app-1}",
                "queryParams: {q: {exact: \"1\"}}, sourceNamespace: other",
                "withoutHeaders: {x-c: {}}, gateways: [default/gate]",
            ]);
            let more = *self.random.one(&[
                "",
                ", timeout: 3s",
                ", retries: {attempts: 2, retryOn: \"503,reset\", perTryTimeout: 1s}",
                ", fault: {abort: {httpStatus: 418, percentage: {value: 3}}}",
                ", rewrite: {uri: /w, authority: w.example.com}",
                ", headers: {request: {set: {x-d: \"2\"}, remove: [x-e]}, response: {add: {x-f: \"3\"}}}",
                ", corsPolicy: {allowOrigins: [{prefix: \"https://\"}], allowMethods: [GET]}",
            ]);
            let routes = self.routes(namespace);
            self.line(&format!(
                "  - {{match: [{{{matched}}}], route: {routes}{more}}}"
            ));
        }
        if is_root {
            self.line(&format!(
                "  - {{match: [{{uri: {{prefix: /a}}}}], delegate: {{name: {name}-delegate}}}}"
            ));
        }
        let routes = self.routes(namespace);
        let mirror = match self.random.chance(20) {
            true => {
                let destination = self.destination(namespace);
                format!(", mirrors: [{{destination: {destination}, percentage: {{value: 10}}}}]")
            }
            false => String::new(),
        };
        self.line(&format!("  - {{route: {routes}{mirror}}}"));
        let ports = self.services[service].ports.clone();
        if ports.iter().any(|p| p.0 == "tcp") && self.random.chance(60) {
            let (first, second) = (self.routes(namespace), self.routes(namespace));
            let matched = *self.random.one(&[
                "port: 9000",
                "port: 9000, sourceLabels: {app: app-0}",
                "destinationSubnets: [10.96.0.0/16]",
            ]);
            self.line(&format!(
                "  tcp: [{{match: [{{{matched}}}], route: {first}}}, {{route: {second}}}]"
            ));
        }
        if ports.iter().any(|p| p.0 == "tls") && self.random.chance(60) {
            let routes = self.routes(namespace);
            self.line(&format!(
                "  tls: [{{match: [{{port: 443, sniHosts: [\"{host}\"]}}], route: {routes}}}]"
            ));
        }
    }

    fn sidecar(&mut self, i: usize) {
        let namespace = self.namespace();
        self.istio("Sidecar", &format!("sidecar-{i}"), namespace);
        self.line("spec:");
        if i > 0 || self.random.chance(50) {
            let app = self.random.below(2);
            self.line(&format!(
                "  workloadSelector: {{labels: {{app: app-{app}}}}}"
            ));
        }
        if self.random.chance(40) {
            self.line("  outboundTrafficPolicy: {mode: REGISTRY_ONLY}");
        }
        if self.random.chance(40) {
            self.line("  ingress:");
            for (name, port, protocol) in PORTS {
                if self.random.chance(30) {
                    let more = *self.random.one(&[
                        "",
                        ", defaultEndpoint: 127.0.0.1:18000",
                        ", defaultEndpoint: 0.0.0.0:18001",
                        ", captureMode: NONE, bind: 127.9.8.77",
                    ]);
                    self.line(&format!(
                        "  - {{port: {{number: {port}, protocol: \"{protocol}\", name: {name}}}{more}}}"
                    ));
                }
            }
            self.line("  - {port: {number: 18888, protocol: HTTP, name: last}}");
        }
        self.line("  egress:");
        if self.random.chance(40) {
            self.line("  - {port: {number: 80, protocol: HTTP, name: http}, bind: 127.9.8.88, captureMode: NONE, hosts: [\"./*\"]}");
        }
        let hosts = *self.random.one(&[
            "\"*/*\"",
            "\"./*\"",
            "\"default/*\", \"*/*.example.com\"",
            "\"./*\", \"~*/svc-0.default.svc.cluster.local\"",
            "\"other/*\", \"default/svc-1.default.svc.cluster.local\"",
        ]);
        self.line(&format!("  - {{hosts: [{hosts}]}}"));
    }

    fn gateway(&mut self) {
        for (name, namespace) in [("gate", "default"), ("second", "other")] {
            let hosts = *self.random.one(&[
                "\"*\"",
                "\"*.example.com\"",
                "\"./*.svc.cluster.local\"",
                "entry-0.example.com, entry-1.example.com",
            ]);
            let (port, tls) = match self.random.below(3) {
                0 => (8443, ", tls: {httpsRedirect: true}"),
                _ => (80, ""),
            };
            let more = *self.random.one(&[
                "",
                "{port: {number: 9000, name: tcp, protocol: TCP}, hosts: [\"*\"]}",
                "{port: {number: 80, name: tcp, protocol: TCP}, hosts: [\"*\"]}",
                "{port: {number: 443, name: tls, protocol: TLS}, hosts: [\"*\"], tls: {mode: PASSTHROUGH}}",
                "{port: {number: 443, name: https, protocol: HTTPS}, hosts: [\"*.example.com\"], tls: {mode: PASSTHROUGH}, bind: 127.0.0.8}",
                "{port: {number: 9000, name: mysql, protocol: MYSQL}, hosts: [\"*.example.com\"], bind: 127.0.0.9}",
            ]);
            self.istio("Gateway", name, namespace);
            self.line(&format!(
                "spec:\n  selector: {{istio: ingressgateway}}\n  servers:\n  - {{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: [{hosts}]{tls}}}"
            ));
            if !more.is_empty() {
                self.line(&format!("  - {more}"));
            }
        }
    }
}
