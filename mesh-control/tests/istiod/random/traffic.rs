//! How requests go: rules, routes, scopes and gateways.

use std::fmt::Write as _;

use super::*;

impl Maker<'_> {
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
        if self.random.chance(30) {
            parts.push(
                (*self.random.one(&[
                    "tls: {mode: DISABLE}",
                    "tls: {mode: SIMPLE}",
                    "tls: {mode: SIMPLE, sni: s.example.com, caCertificates: /ca.pem}",
                    "tls: {mode: SIMPLE, insecureSkipVerify: true}",
                    "tls: {mode: SIMPLE, credentialName: secret, subjectAltNames: [a.example.com]}",
                    "tls: {mode: MUTUAL, credentialName: secret}",
                    "tls: {mode: MUTUAL, clientCertificate: /c.pem, privateKey: /k.pem, subjectAltNames: [a]}",
                    "tls: {mode: MUTUAL, clientCertificate: /c.pem, privateKey: /k.pem, insecureSkipVerify: true}",
                    "tls: {mode: ISTIO_MUTUAL}",
                    "tls: {mode: ISTIO_MUTUAL}",
                    "tls: {mode: ISTIO_MUTUAL, sni: mine, subjectAltNames: [\"spiffe://x\"]}",
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

    pub(super) fn destination_rule(&mut self, i: usize) {
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

    pub(super) fn virtual_service(&mut self, i: usize) {
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

    pub(super) fn sidecar(&mut self, i: usize) {
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

    pub(super) fn gateway(&mut self) {
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
            let terminating: Vec<String> = (0..self.random.below(3))
                .map(|i| self.terminating_server(i))
                .collect();
            self.istio("Gateway", name, namespace);
            self.line(&format!(
                "spec:\n  selector: {{istio: ingressgateway}}\n  servers:\n  - {{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: [{hosts}]{tls}}}"
            ));
            if !more.is_empty() {
                self.line(&format!("  - {more}"));
            }
            for server in terminating {
                self.line(&format!("  - {server}"));
            }
        }
    }

    /// A server that ends TLS.
    fn terminating_server(&mut self, i: usize) -> String {
        let (protocol, port) = *self.random.one(&[
            ("HTTPS", 443),
            ("HTTPS", 443),
            ("HTTPS", 8443),
            ("HTTPS", 80),
            ("TLS", 9443),
            ("TLS", 443),
        ]);
        let host = *self.random.one(&[
            "\"*\"",
            "a.example.com",
            "\"*.example.com\"",
            "other/b.example.com, ./a.example.com, a.example.com",
            "entry-0.example.com, entry-1.example.com",
        ]);
        let mode = *self.random.one(&[
            "mode: SIMPLE, credentialName: cert",
            "mode: SIMPLE, credentialName: \"kubernetes://cert\", subjectAltNames: [a]",
            "mode: SIMPLE, credentialNames: [rsa, ecdsa]",
            "mode: SIMPLE, credentialName: \"builtin://\"",
            "mode: SIMPLE, serverCertificate: /c.pem, privateKey: /k.pem",
            "mode: SIMPLE, tlsCertificates: [{serverCertificate: /c.pem, privateKey: /k.pem}, {serverCertificate: /d.pem, privateKey: /l.pem}]",
            "mode: MUTUAL, credentialName: cert, verifyCertificateSpki: [\"QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=\"]",
            "mode: MUTUAL, credentialNames: [rsa, ecdsa], subjectAltNames: [a, b]",
            "mode: MUTUAL, serverCertificate: /c.pem, privateKey: /k.pem, caCertificates: /ca.pem, caCrl: /crl",
            "mode: OPTIONAL_MUTUAL, credentialName: cert, insecureSkipVerify: true",
            "mode: OPTIONAL_MUTUAL, serverCertificate: /c.pem, privateKey: /k.pem, caCertificates: /ca.pem, subjectAltNames: [c]",
            "mode: ISTIO_MUTUAL",
            "mode: ISTIO_MUTUAL, subjectAltNames: [\"spiffe://x\"], minProtocolVersion: TLSV1_3",
        ]);
        let more = *self.random.one(&[
            "",
            "",
            ", minProtocolVersion: TLSV1_2",
            ", maxProtocolVersion: TLSV1_2, cipherSuites: [ECDHE-RSA-AES128-GCM-SHA256, ECDHE-RSA-AES128-GCM-SHA256, x]",
        ]);
        let more = if mode.contains("Protocol") { "" } else { more };
        let name = *self.random.one(&["", "", ", name: titled"]);
        let bind = *self.random.one(&["", "", "", ", bind: 127.0.0.8"]);
        format!(
            "{{port: {{number: {port}, name: secure-{i}, protocol: {protocol}}}, hosts: [{host}], tls: {{{mode}{more}}}{name}{bind}}}"
        )
    }
}
