//! Kubernetes' Gateway API: gateways and routes, at gateways and in the mesh.
//!
//! Written out is what an API server would fill in: the oracle has none. For the same reason ServiceEntries are no
//! parents here: there they are in another store than that where routes look for them.

use super::*;

const HOSTS: [&str; 6] = [
    "a.example.com",
    "b.example.com",
    "*.example.com",
    "x.y.example.com",
    "*.com",
    "other.org",
];

/// The text of a folder with objects of the Gateway API.
pub(crate) fn folder_with_gateway_api(random: &mut Random) -> String {
    let mut maker = Maker {
        random,
        text: String::new(),
        services: Vec::new(),
        addresses: 0,
    };
    maker.nodes();
    maker.pods();
    for i in 0..2 + maker.random.below(3) {
        maker.kubernetes_service(i);
    }
    for i in 0..maker.random.below(3) {
        maker.service_entry(i);
    }
    for i in 0..maker.random.below(3) {
        maker.destination_rule(i);
    }
    for i in 0..maker.random.below(2) {
        maker.virtual_service(i);
    }
    if maker.random.chance(30) {
        maker.sidecar(0);
    }
    if maker.random.chance(30) {
        maker.gateway();
    }
    maker.gateways_of_api();
    for i in 0..1 + maker.random.below(4) {
        maker.http_route(i);
    }
    for i in 0..maker.random.below(3) {
        maker.grpc_route(i);
    }
    for i in 0..maker.random.below(3) {
        maker.l4_route(i);
    }
    for i in 0..maker.random.below(3) {
        maker.grant(i);
    }
    maker.text
}

impl Maker<'_> {
    fn api(&mut self, kind: &str, name: &str, namespace: &str) {
        let version = match kind {
            "ReferenceGrant" => "v1beta1",
            _ => "v1",
        };
        let api = format!("gateway.networking.k8s.io/{version}");
        self.object(&api, kind, name, namespace, "");
    }

    fn gateways_of_api(&mut self) {
        for (name, labels) in [
            ("default", "team: a"),
            ("other", "team: b"),
            ("istio-system", ""),
        ] {
            self.object("v1", "Namespace", name, "", labels);
        }
        self.api("GatewayClass", "mine", "");
        self.line("spec: {controllerName: istio.io/gateway-controller}");
        self.api("GatewayClass", "foreign", "");
        self.line("spec: {controllerName: example.com/other}");
        for (name, ports) in [
            ("gw-0-istio", "80 8080 9000 443"),
            ("gw-1-mine", "80 8443"),
            ("edge", "80 8080 9000"),
        ] {
            self.object("v1", "Service", name, "default", "");
            let address = self.address();
            let ports: Vec<String> = ports
                .split(' ')
                .map(|port| {
                    let shift = if name == "edge" { 30_000 } else { 20_000 };
                    let target = port.parse::<u32>().unwrap() + shift;
                    format!("{{name: p-{port}, port: {port}, targetPort: {target}, protocol: TCP}}")
                })
                .collect();
            self.line(&format!(
                "spec: {{selector: {{istio: ingressgateway}}, clusterIP: {address}, ports: [{}]}}",
                ports.join(", ")
            ));
        }
        for i in 0..1 + self.random.below(3) {
            self.gateway_of_api(i);
        }
    }

    fn gateway_of_api(&mut self, i: usize) {
        self.api("Gateway", &format!("gw-{i}"), "default");
        let class = *self
            .random
            .one(&[["istio", "istio"], ["mine", "mine"], ["istio", "foreign"]][i.min(2)]);
        self.line(&format!("spec:\n  gatewayClassName: {class}"));
        if i == 2 || self.random.chance(20) {
            self.line("  addresses: [{type: Hostname, value: edge}]");
        }
        self.line("  listeners:");
        for k in 0..1 + self.random.below(4) {
            let (port, protocol, tls) = *self.random.one(&[
                (80, "HTTP", ""),
                (80, "HTTP", ""),
                (8080, "HTTP", ""),
                (9000, "TCP", ""),
                (443, "TLS", ", tls: {mode: Passthrough}"),
                (443, "TLS", ""),
                (8443, "HTTPS", ", tls: {mode: Passthrough}"),
                (7777, "HTTP", ""),
            ]);
            let host = match protocol != "TCP" && self.random.chance(60) {
                true => format!(", hostname: \"{}\"", self.random.one(&HOSTS)),
                false => String::new(),
            };
            let allowed = *self.random.one(&[
                "",
                ", allowedRoutes: {namespaces: {from: All}}",
                ", allowedRoutes: {namespaces: {from: All}}",
                ", allowedRoutes: {namespaces: {from: Same}}",
                ", allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {team: b}}}}",
                ", allowedRoutes: {namespaces: {from: Selector, selector: {matchExpressions: [{key: team, operator: In, values: [a, b]}]}}}",
                ", allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {team: none}}}}",
                ", allowedRoutes: {namespaces: {from: All}, kinds: [{kind: HTTPRoute}]}",
            ]);
            self.line(&format!(
                "  - {{name: l-{k}, port: {port}, protocol: {protocol}{tls}{host}{allowed}}}"
            ));
        }
    }

    fn parents(&mut self) -> String {
        let mut parents = Vec::new();
        for _ in 0..1 + self.random.below(2) {
            let section = *self.random.one(&[
                "",
                "",
                ", sectionName: l-0",
                ", sectionName: l-1",
                ", port: 80",
            ]);
            let gateway = self.random.below(3);
            parents.push(match self.random.below(10) {
                0..6 => format!("{{name: gw-{gateway}, namespace: default{section}}}"),
                6 => format!("{{group: gateway.networking.k8s.io, kind: Gateway, name: gw-{gateway}{section}}}"),
                _ => self.parent_in_mesh(),
            });
        }
        parents.sort();
        parents.dedup();
        parents.join(", ")
    }

    fn parent_in_mesh(&mut self) -> String {
        let known: Vec<usize> = (0..self.services.len())
            .filter(|i| self.services[*i].kubernetes)
            .collect();
        let at = *self.random.one(&known);
        let service = &self.services[at];
        let (name, namespace, port) = (service.host.clone(), service.namespace, service.ports[0].1);
        let port = match self.random.chance(40) {
            true => format!(", port: {port}"),
            false => String::new(),
        };
        let name = name.split('.').next().unwrap();
        format!("{{group: \"\", kind: Service, name: {name}, namespace: {namespace}{port}}}")
    }

    fn hostnames(&mut self) -> String {
        match self.random.chance(60) {
            true => {
                let (a, b) = (*self.random.one(&HOSTS), *self.random.one(&HOSTS));
                match a == b {
                    true => format!("  hostnames: [\"{a}\"]\n"),
                    false => format!("  hostnames: [\"{a}\", \"{b}\"]\n"),
                }
            }
            false => String::new(),
        }
    }

    /// A Service, with its port.
    fn backend(&mut self) -> String {
        if self.random.chance(8) {
            return (*self.random.one(&[
                "name: missing, port: 80",
                "group: example.com, kind: Bucket, name: b, port: 80",
                "group: networking.istio.io, kind: Hostname, name: entry-0.example.com, port: 80",
            ]))
            .to_owned();
        }
        let known: Vec<usize> = (0..self.services.len())
            .filter(|i| self.services[*i].kubernetes)
            .collect();
        let service = &self.services[*self.random.one(&known)];
        let name = service.host.split('.').next().unwrap();
        let port = service.ports[0].1;
        let namespace = match service.namespace {
            "default" if self.random.chance(50) => String::new(),
            namespace => format!(", namespace: {namespace}"),
        };
        format!("name: {name}{namespace}, port: {port}")
    }

    fn backends(&mut self, with_filters: bool) -> String {
        let backends: Vec<String> = (0..self.random.below(4))
            .map(|_| {
                let backend = self.backend();
                let weight = match self.random.below(4) {
                    0 => ", weight: 0".to_owned(),
                    1 => format!(", weight: {}", 1 + self.random.below(9)),
                    _ => String::new(),
                };
                let filters = match with_filters && self.random.chance(20) {
                    true => ", filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Own, value: v}]}}]",
                    false => "",
                };
                format!("{{{backend}{weight}{filters}}}")
            })
            .collect();
        backends.join(", ")
    }

    fn http_route(&mut self, i: usize) {
        let namespace = self.namespace();
        self.api("HTTPRoute", &format!("http-{i}"), namespace);
        let (parents, hostnames) = (self.parents(), self.hostnames());
        self.line(&format!("spec:\n  parentRefs: [{parents}]"));
        self.text.push_str(&hostnames);
        self.line("  rules:");
        for k in 0..1 + self.random.below(3) {
            let mut matches = Vec::new();
            for _ in 0..1 + self.random.below(2) {
                matches.push(self.http_match());
            }
            let backends = self.backends(true);
            let mut more = self.filters();
            if self.random.chance(20) {
                more += *self.random.one(&[
                    ", timeouts: {request: 3s}",
                    ", timeouts: {request: 3s, backendRequest: 1s}",
                    ", timeouts: {request: 0s}",
                    ", retry: {attempts: 3, codes: [500, 503], backoff: 100ms}",
                    ", retry: {codes: [502]}, timeouts: {backendRequest: 500ms}",
                    ", retry: {attempts: 0}",
                ]);
            }
            if self.random.chance(20) {
                let _ = write!(more, ", name: rule-{k}");
            }
            self.line(&format!(
                "  - {{matches: [{}], backendRefs: [{backends}]{more}}}",
                matches.join(", ")
            ));
        }
    }

    fn http_match(&mut self) -> String {
        let path = *self.random.one(&[
            "{type: PathPrefix, value: /}",
            "{type: PathPrefix, value: /a}",
            "{type: PathPrefix, value: /a/b/}",
            "{type: Exact, value: /a}",
            "{type: Exact, value: /a/}",
            "{type: RegularExpression, value: \"/r/.*\"}",
        ]);
        let mut text = format!("{{path: {path}");
        if self.random.chance(25) {
            text += ", headers: [{name: X-User, value: jason}, {type: RegularExpression, name: x-b, value: \"b.*\"}]";
        }
        if self.random.chance(20) {
            text += ", queryParams: [{type: Exact, name: q, value: \"1\"}]";
        }
        if self.random.chance(20) {
            text += ", method: POST";
        }
        text + "}"
    }

    fn filters(&mut self) -> String {
        let mut filters = Vec::new();
        if self.random.chance(20) {
            filters.push("{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-A, value: a}, {name: x-a, value: b}], add: [{name: B, value: b}], remove: [c]}}".to_owned());
        }
        if self.random.chance(15) {
            filters.push("{type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: R, value: r}]}}".to_owned());
        }
        if self.random.chance(15) {
            let backend = self.backend();
            let amount = *self.random.one(&[
                "",
                ", percent: 25",
                ", fraction: {numerator: 1, denominator: 3}",
            ]);
            filters.push(format!(
                "{{type: RequestMirror, requestMirror: {{backendRef: {{{backend}}}{amount}}}}}"
            ));
        }
        if self.random.chance(15) {
            filters.push((*self.random.one(&[
                "{type: CORS, cors: {allowOrigins: [\"https://a.com\", \"*\"], allowMethods: [GET], maxAge: 7}}",
                "{type: CORS, cors: {allowOrigins: [\"https://*.a.com\", \"http://b*\"], allowCredentials: true, allowHeaders: [x], exposeHeaders: [x-y], maxAge: 5}}",
            ])).to_owned());
        }
        match self.random.below(8) {
            0 => filters.push((*self.random.one(&[
                "{type: RequestRedirect, requestRedirect: {scheme: https, statusCode: 301}}",
                "{type: RequestRedirect, requestRedirect: {hostname: new.example.com, port: 8443, statusCode: 302}}",
                "{type: RequestRedirect, requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: /x}, statusCode: 302}}",
                "{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /y}, statusCode: 302}}",
            ])).to_owned()),
            1 => filters.push((*self.random.one(&[
                "{type: URLRewrite, urlRewrite: {hostname: in.example.com}}",
                "{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}",
                "{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /v1/}}}",
                "{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /all}}}",
            ])).to_owned()),
            _ => {}
        }
        match filters.is_empty() {
            true => String::new(),
            false => format!(", filters: [{}]", filters.join(", ")),
        }
    }

    fn grpc_route(&mut self, i: usize) {
        let namespace = self.namespace();
        self.api("GRPCRoute", &format!("grpc-{i}"), namespace);
        let (parents, hostnames) = (self.parents(), self.hostnames());
        self.line(&format!("spec:\n  parentRefs: [{parents}]"));
        self.text.push_str(&hostnames);
        let backends = self.backends(true);
        let matches = *self.random.one(&[
            "",
            "matches: [{method: {service: pkg.Service}}], ",
            "matches: [{method: {service: pkg.Service, method: Get}}, {headers: [{name: a, value: b}]}], ",
            "matches: [{method: {type: RegularExpression, service: \"p.*\"}}], ",
            "matches: [{method: {method: Get}}], ",
        ]);
        self.line(&format!(
            "  rules: [{{{matches}backendRefs: [{backends}]}}]"
        ));
    }

    fn l4_route(&mut self, i: usize) {
        let namespace = self.namespace();
        let is_tls = self.random.chance(50);
        let (kind, name) = match is_tls {
            true => ("TLSRoute", "tls"),
            false => ("TCPRoute", "tcp"),
        };
        self.api(kind, &format!("{name}-{i}"), namespace);
        let parents = self.parents();
        self.line(&format!("spec:\n  parentRefs: [{parents}]"));
        if is_tls {
            let hostnames = self.hostnames();
            self.text.push_str(&hostnames);
        }
        let backends = self.backends(false);
        self.line(&format!("  rules: [{{backendRefs: [{backends}]}}]"));
    }

    fn grant(&mut self, i: usize) {
        let namespace = self.namespace();
        self.api("ReferenceGrant", &format!("grant-{i}"), namespace);
        let kind = *self
            .random
            .one(&["HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute"]);
        let from = self.namespace();
        let name = *self.random.one(&["", "", ", name: svc-0", ", name: svc-1"]);
        self.line(&format!(
            "spec: {{from: [{{group: gateway.networking.k8s.io, kind: {kind}, namespace: {from}}}], to: [{{group: \"\", kind: Service{name}}}]}}"
        ));
    }
}
