//! Random folders: rules for hosts that both a sidecar and a gateway serve, and requests that meet them.

use std::{collections::BTreeMap, fmt::Write as _};

use mesh_testkit::random::Random;

use crate::{
    side::{Case, Node, Sides},
    workloads::{Pod, Workloads},
};

/// Folders, each with so many requests through a sidecar and as many through a gateway.
const FOLDERS: usize = 3;
const CASES: usize = 100;

const PODS: [Pod; 4] = [
    Pod::http("web", "v1", "web"),
    Pod::http("api", "v1", "api"),
    Pod::http("reviews", "v1", "reviews-v1"),
    Pod::http("reviews", "v2", "reviews-v2"),
];
const SIDECAR: Node = Node {
    kind: "sidecar",
    name: "client",
    labels: "{app: client}",
    ports: &[9080],
};
const GATEWAY: Node = Node {
    kind: "router",
    name: "istio-ingressgateway",
    labels: "{istio: ingressgateway}",
    ports: &[8080],
};
const HOSTS: &[&str] = &[
    "web:9080",
    "web",
    "api.default",
    "api.default.svc.cluster.local:9080",
    "reviews",
    "reviews.default.svc:9080",
    "a.example.com",
    "b.example.com:8080",
    "B.example.com",
    "nobody.example.org",
];
const PATHS: &[&str] = &[
    "/",
    "/a",
    "/a/b",
    "/A/b",
    "/ab",
    "/api/v1/x",
    "/api/v2",
    "/re/12",
    "/re/x",
    "/old/1?q=1",
    "/c?d=1&e=2",
    "//a/../a/b",
    "/a%2fb",
];
/// Services that every folder has, and where a proxy of each kind takes requests.
const FIXED: &str = "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec:
  egress:
  - {port: {number: 9080, name: http, protocol: HTTP}, bind: BIND, captureMode: NONE, hosts: ['./*']}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{name: http, port: 9080, targetPort: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: api}
spec: {clusterIP: 10.96.0.2, selector: {app: api}, ports: [{name: http, port: 9080, targetPort: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {clusterIP: 10.96.0.3, selector: {app: reviews}, ports: [{name: http, port: 9080, targetPort: 9080}]}
";

/// Writes the rules of one folder.
struct Maker<'a> {
    random: &'a mut Random,
    text: String,
}

fn rules(random: &mut Random) -> String {
    let mut maker = Maker {
        random,
        text: FIXED.to_owned(),
    };
    maker.gateways();
    maker.destination_rules();
    for (at, hosts) in ["web", "api", "reviews", "a.example.com", "*.example.com"]
        .iter()
        .enumerate()
    {
        // which of two versions answers would be chance
        if *hosts == "reviews" || maker.random.chance(75) {
            maker.virtual_service(at, hosts);
        }
    }
    maker.text
}

impl Maker<'_> {
    fn add(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn object(&mut self, kind: &str, name: &str) {
        let version = *self.random.one(&["v1", "v1beta1", "v1alpha3"]);
        let _ = writeln!(
            self.text,
            "---\napiVersion: networking.istio.io/{version}\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:"
        );
    }

    fn gateways(&mut self) {
        self.object("Gateway", "front");
        let hosts = *self.random.one(&[
            "'*'",
            "'*.example.com'",
            "a.example.com, b.example.com",
            "./*",
        ]);
        self.add(&format!(
            "  selector: {{istio: ingressgateway}}\n  servers:\n  - {{port: {{number: 8080, name: http, protocol: HTTP}}, hosts: [{hosts}], bind: BIND}}"
        ));
    }

    fn destination_rules(&mut self) {
        self.object("DestinationRule", "reviews");
        self.add("  host: reviews\n  subsets:");
        self.add("  - {name: v1, labels: {version: v1}}\n  - {name: v2, labels: {version: v2}}\n  - {name: v9, labels: {version: v9}}");
        for host in ["web", "api"] {
            if self.random.chance(50) {
                let policy = *self.random.one(&[
                    "{loadBalancer: {simple: RANDOM}}",
                    "{loadBalancer: {consistentHash: {httpHeaderName: x-user}}}",
                    "{connectionPool: {http: {maxRetries: 1, maxRequestsPerConnection: 1}}}",
                    "{outlierDetection: {consecutive5xxErrors: 100, minHealthPercent: 50}}",
                    "{connectionPool: {http: {useClientProtocol: true}}}",
                ]);
                self.object("DestinationRule", host);
                self.add(&format!("  host: {host}\n  trafficPolicy: {policy}"));
            }
        }
    }

    fn virtual_service(&mut self, at: usize, hosts: &str) {
        self.object("VirtualService", &format!("rules-{at}"));
        let gateways = match hosts {
            "a.example.com" | "*.example.com" => "front, mesh",
            _ => *self.random.one(&["mesh", "front, mesh"]),
        };
        self.add(&format!(
            "  hosts: ['{hosts}']\n  gateways: [{gateways}]\n  http:"
        ));
        for _ in 0..self.random.below(4) {
            self.rule(hosts, true);
        }
        self.rule(hosts, false);
    }

    fn string_match(&mut self, values: &[&'static str]) -> String {
        let value = self.random.one(values);
        match self.random.below(3) {
            0 => format!("{{exact: '{value}'}}"),
            1 => format!("{{prefix: '{value}'}}"),
            _ => format!("{{regex: '{value}.*'}}"),
        }
    }

    fn matcher(&mut self) -> String {
        let mut parts = Vec::new();
        if self.random.chance(70) {
            let uri =
                self.string_match(&["/", "/a", "/api/v1", "/api", "/re/", "/old", "/c", "/a/b"]);
            parts.push(format!("uri: {uri}"));
            if self.random.chance(20) {
                parts.push("ignoreUriCase: true".to_owned());
            }
        }
        if self.random.chance(30) {
            let value = match self.random.chance(20) {
                true => "{}".to_owned(),
                false => self.string_match(&["jason", "an"]),
            };
            let side = *self.random.one(&["headers", "headers", "withoutHeaders"]);
            parts.push(format!("{side}: {{x-user: {value}}}"));
        }
        if self.random.chance(15) {
            let value = self.string_match(&["1", "2"]);
            parts.push(format!("queryParams: {{d: {value}}}"));
        }
        if self.random.chance(15) {
            parts.push("method: {exact: POST}".to_owned());
        }
        if self.random.chance(10) {
            let value = self.string_match(&["web", "api", "b.ex"]);
            parts.push(format!("authority: {value}"));
        }
        if parts.is_empty() {
            parts.push("port: 9080".to_owned());
        }
        format!("{{{}}}", parts.join(", "))
    }

    fn operations(&mut self) -> String {
        let one = *self.random.one(&[
            "request: {set: {x-set: '1'}}",
            "request: {add: {x-user: more}}",
            "request: {remove: [x-user, x-gone]}",
            "request: {set: {host: other.example}}",
            "response: {set: {x-upstream: hidden}}",
            "response: {add: {x-code: '%RESPONSE_CODE%'}}",
            "response: {remove: [x-upstream]}",
        ]);
        format!("headers: {{{one}}}")
    }

    fn rule(&mut self, hosts: &str, matched: bool) {
        let mut parts = Vec::new();
        if matched {
            let count = 1 + self.random.below(2);
            let matches: Vec<String> = (0..count).map(|_| self.matcher()).collect();
            parts.push(format!("match: [{}]", matches.join(", ")));
            match self.random.below(8) {
                0 => {
                    let to = *self.random.one(&[
                        "{uri: /there, redirectCode: 302}",
                        "{authority: there.example}",
                        "{scheme: https, uri: /x}",
                        "{port: 8443}",
                        "{derivePort: FROM_PROTOCOL_DEFAULT, authority: x.example, redirectCode: 307}",
                    ]);
                    parts.push(format!("redirect: {to}"));
                    return self.add(&format!("  - {{{}}}", parts.join(", ")));
                }
                1 => {
                    let body = *self.random.one(&[
                        "",
                        ", body: {string: gone}",
                        ", body: {bytes: Z29uZQ==}",
                    ]);
                    let status = *self.random.one(&[200, 204, 403, 503]);
                    parts.push(format!("directResponse: {{status: {status}{body}}}"));
                    return self.add(&format!("  - {{{}}}", parts.join(", ")));
                }
                _ => {}
            }
        }
        let destination = match (hosts, self.random.below(6)) {
            ("reviews", n) => format!(
                "{{host: reviews, subset: {}}}",
                ["v1", "v2", "v1", "v2", "v9", "v0"][n]
            ),
            (_, 0) => "{host: nowhere}".to_owned(),
            (_, 1) => "{host: reviews, subset: v2}".to_owned(),
            (_, 2) => "{host: web.default.svc.cluster.local, port: {number: 9080}}".to_owned(),
            _ => "{host: api}".to_owned(),
        };
        let mut route = format!("destination: {destination}");
        if self.random.chance(25) {
            let operations = self.operations();
            let _ = write!(route, ", {operations}");
        }
        parts.push(match self.random.chance(15) {
            true => format!(
                "route: [{{{route}, weight: 100}}, {{destination: {{host: api}}, weight: 0}}]"
            ),
            false => format!("route: [{{{route}}}]"),
        });
        if self.random.chance(30) {
            let to = *self.random.one(&[
                "{uri: /new}",
                "{uri: /}",
                "{uriRegexRewrite: {match: '^/(.)', rewrite: '/x\\1'}}",
            ]);
            parts.push(format!("rewrite: {to}"));
        }
        if self.random.chance(25) {
            let operations = self.operations();
            parts.push(operations);
        }
        if self.random.chance(25) {
            let retries = *self.random.one(&[
                "{attempts: 0}",
                "{attempts: 2, retryOn: '5xx', backoff: 1ms}",
                "{attempts: 3, retryOn: 'reset,503', backoff: 1ms, perTryTimeout: 5s}",
                "{attempts: 1, retryOn: 'gateway-error,retriable-4xx', backoff: 2ms}",
            ]);
            parts.push(format!("retries: {retries}"));
        }
        if self.random.chance(10) {
            parts.push("timeout: 5s".to_owned());
        }
        if self.random.chance(15) {
            let fault = *self.random.one(&[
                "{abort: {httpStatus: 555, percentage: {value: 100}}}",
                "{abort: {grpcStatus: UNAVAILABLE, percentage: {value: 100}}}",
                "{delay: {fixedDelay: 2ms, percentage: {value: 100}}}",
                "{abort: {httpStatus: 418, percentage: {value: 0}}}",
            ]);
            parts.push(format!("fault: {fault}"));
        }
        if self.random.chance(15) {
            parts.push(
                "corsPolicy: {allowOrigins: [{exact: 'https://a.example'}, {prefix: 'https://b'}], allowMethods: [GET], maxAge: 1m}"
                    .to_owned(),
            );
        }
        self.add(&format!("  - {{{}}}", parts.join(", ")));
    }
}

fn request(random: &mut Random, port: u16) -> Case {
    let mut headers = Vec::new();
    if random.chance(40) {
        headers.push(("x-user", *random.one(&["jason", "anna", "", "other"])));
    }
    if random.chance(15) {
        headers.push((
            "origin",
            *random.one(&["https://a.example", "https://b.test", "https://c.example"]),
        ));
        if random.chance(50) {
            headers.push(("access-control-request-method", "GET"));
        }
    }
    if random.chance(10) {
        headers.push(("x-forwarded-for", "9.9.9.9"));
    }
    if random.chance(10) {
        headers.push(("content-type", "application/grpc"));
    }
    if random.chance(5) {
        headers.push(("x-envoy-max-retries", "1"));
    }
    Case {
        method: random.one::<&str>(&["GET", "GET", "GET", "POST", "OPTIONS", "HEAD"]),
        headers,
        script: random.one::<&str>(&[
            "200",
            "200",
            "200",
            "404",
            "503,200",
            "500,503,200",
            "reset,200",
        ]),
        ..Case::get(port, random.one::<&str>(HOSTS), random.one::<&str>(PATHS))
    }
}

/// `MESH_SEED` repeats a run, `MESH_CASES` asks for more folders.
async fn compare(node: Node) {
    let seed = Random::seed();
    let folders = Random::cases(FOLDERS);
    println!("MESH_SEED={seed} MESH_CASES={folders}");
    let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
    for at in 0..folders {
        let seed = seed.wrapping_add(at as u64);
        println!("the folder of MESH_SEED={seed} MESH_CASES=1");
        let mut random = Random::new(seed);
        let text = rules(&mut random);
        if std::env::var_os("MESH_SHOW").is_some() {
            println!("{text}");
        }
        let workloads = Workloads::start(&PODS).await;
        let sides = Sides::start(node, &[("rules.yaml", text)], workloads).await;
        let cases: Vec<Case> = (0..CASES)
            .map(|_| request(&mut random, node.ports[0]))
            .collect();
        for transcript in sides.run_all(&cases).await {
            let status = transcript.answer.map_or(0, |answer| answer.status);
            *statuses.entry(status).or_insert(0) += 1;
        }
    }
    println!("{statuses:?}");
    let reached = statuses.get(&200).copied().unwrap_or(0);
    assert!(
        reached > folders * CASES / 10 && statuses.len() > 4,
        "too few kinds of answers: {statuses:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs istiod, needs Envoy: cargo verify"]
async fn random_sidecars_answer_the_same() {
    compare(SIDECAR).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs istiod, needs Envoy: cargo verify"]
async fn random_gateways_answer_the_same() {
    compare(GATEWAY).await;
}
