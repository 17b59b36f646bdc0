//! Random TLS contexts of both sides, with inline certificates and with secrets of a server.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use mesh_testkit::{
    certificates::{Authority, Identity, Leaf, Usage},
    random::Random,
};
use serde_json::{Value, json};

/// The workloads' name.
pub(crate) const WORKLOAD: &str = "spiffe://td.test/ns/a/sa/w";

/// Who signs, and what was signed.
pub(crate) struct Certificates {
    good: Authority,
    other: Authority,
    identities: Vec<(&'static str, Identity)>,
    revoked: String,
    /// Secrets that contexts name, by name; `missing`: the server does not have it yet.
    secrets: RefCell<BTreeMap<String, Value>>,
    named: Cell<usize>,
}

const REVOKED: u64 = 4_711;

impl Certificates {
    pub(crate) fn new() -> Self {
        let good = Authority::new("good root");
        let other = Authority::new("other root");
        let between = good.intermediate("between");
        let usual = Leaf {
            uris: vec![WORKLOAD.to_owned()],
            dns: vec!["a.test".to_owned(), "*.w.test".to_owned()],
            common_name: "workload + one".to_owned(),
            ..Leaf::default()
        };
        let leaf = |set: &dyn Fn(&mut Leaf)| {
            let mut leaf = usual.clone();
            set(&mut leaf);
            leaf
        };
        let mut identities = vec![
            ("usual", good.issue(&usual)),
            ("of the other root", other.issue(&usual)),
            ("expired", good.issue(&leaf(&|l| l.expired = true))),
            (
                "not yet valid",
                good.issue(&leaf(&|l| l.not_yet_valid = true)),
            ),
            (
                "only a server's",
                good.issue(&leaf(&|l| l.usage = Usage::Server)),
            ),
            (
                "only a client's",
                good.issue(&leaf(&|l| l.usage = Usage::Client)),
            ),
            ("of any usage", good.issue(&leaf(&|l| l.usage = Usage::Any))),
            ("without a URI", good.issue(&leaf(&|l| l.uris.clear()))),
            (
                "with two URIs",
                good.issue(&leaf(&|l| l.uris.push("spiffe://else.test/x".to_owned()))),
            ),
            (
                "of another trust domain",
                good.issue(&leaf(&|l| {
                    l.uris = vec!["spiffe://else.test/ns/a/sa/w".to_owned()]
                })),
            ),
            (
                "without names",
                good.issue(&leaf(&|l| {
                    l.uris.clear();
                    l.dns.clear();
                })),
            ),
            (
                "without a subject",
                good.issue(&leaf(&|l| l.common_name.clear())),
            ),
            ("revoked", good.issue(&leaf(&|l| l.serial = REVOKED))),
        ];
        let mut indirect = between.issue(&usual);
        indirect.chain += &between.pem();
        identities.push(("of an authority between", indirect));
        let revoked = good.revoke(&[REVOKED]);
        Self {
            good,
            other,
            identities,
            revoked,
            secrets: RefCell::default(),
            named: Cell::new(0),
        }
    }

    /// The secrets that contexts have named since the last call.
    pub(crate) fn secrets(&self) -> BTreeMap<String, Value> {
        self.secrets.take()
    }

    /// Other versions of some of them.
    pub(crate) fn rotated(
        &self,
        random: &mut Random,
        secrets: &BTreeMap<String, Value>,
    ) -> BTreeMap<String, Value> {
        let mut rotated = BTreeMap::new();
        for (name, secret) in secrets {
            if random.chance(40) {
                continue;
            }
            // One that never came may come now.
            let is_rules = |secret: &Value| secret["validation_context"].is_object();
            let next = match is_rules(secret) || is_rules(&secret["missing"]) {
                false => tls_certificate(&self.identity(random).1),
                // What it is merged with may need roots.
                true => loop {
                    let rules = self.rules(random).1;
                    if rules["trusted_ca"].is_object() {
                        break json!({"validation_context": rules});
                    }
                },
            };
            rotated.insert(name.clone(), next);
        }
        rotated
    }

    /// Leaves a secret to the server; the reference to it.
    fn named(&self, random: &mut Random, secret: Value) -> Value {
        self.named.set(self.named.get() + 1);
        let name = format!("s{}", self.named.get());
        let secret = match random.chance(4) {
            true => json!({"missing": secret}),
            false => secret,
        };
        self.secrets.borrow_mut().insert(name.clone(), secret);
        sds(&name)
    }

    /// The usual one half of the time.
    fn identity(&self, random: &mut Random) -> &(&'static str, Identity) {
        match random.chance(50) {
            true => &self.identities[0],
            false => random.one(&self.identities),
        }
    }

    /// Of either side: certificate, rules, versions, ALPN.
    fn common(&self, random: &mut Random, is_server: bool) -> (String, Value) {
        let mut said = Vec::new();
        let mut common = json!({});
        if is_server || random.chance(80) {
            let (name, identity) = match is_server && random.chance(30) {
                true => &self.identities[0],
                false => self.identity(random),
            };
            said.push(format!("certificate {name}"));
            let certificate = tls_certificate(identity);
            if random.chance(40) {
                let secret = self.named(random, certificate);
                said.push(format!("as {}", secret["name"]));
                common["tls_certificate_sds_secret_configs"] = json!([secret]);
            } else {
                common["tls_certificates"] = json!([certificate["tls_certificate"]]);
            }
        }
        if random.chance(80) {
            let (words, mut rules) = self.rules(random);
            said.push(words);
            match random.below(5) {
                0 if rules["trusted_ca"].is_object() => {
                    let secret = self.named(random, json!({"validation_context": rules}));
                    said.push(format!("as {}", secret["name"]));
                    common["validation_context_sds_secret_config"] = secret;
                }
                1 if rules["trusted_ca"].is_object() => {
                    let root =
                        json!({"validation_context": {"trusted_ca": rules["trusted_ca"].take()}});
                    let secret = self.named(random, root);
                    said.push(format!("the root as {}", secret["name"]));
                    if let Some(rules) = rules.as_object_mut() {
                        rules.remove("trusted_ca");
                    }
                    common["combined_validation_context"] = json!({
                        "default_validation_context": rules,
                        "validation_context_sds_secret_config": secret,
                    });
                }
                _ => common["validation_context"] = rules,
            }
        }
        if random.chance(40) {
            let alpn = *random.one::<&[&str]>(&[
                &["h2"][..],
                &["http/1.1"],
                &["h2", "http/1.1"],
                &["istio-peer-exchange", "istio", "h2"],
                &["istio"],
            ]);
            said.push(format!("alpn {alpn:?}"));
            common["alpn_protocols"] = json!(alpn);
        }
        if random.chance(50) {
            let (min, max) = *random.one(&[
                ("TLSv1_2", "TLSv1_3"),
                ("TLSv1_3", "TLSv1_3"),
                ("TLSv1_2", "TLSv1_2"),
                ("TLS_AUTO", "TLSv1_3"),
                ("TLS_AUTO", "TLS_AUTO"),
            ]);
            said.push(format!("{min} to {max}"));
            common["tls_params"] = json!({
                "tls_minimum_protocol_version": min, "tls_maximum_protocol_version": max,
            });
        }
        (said.join(", "), common)
    }

    /// A `CertificateValidationContext`, and what it is.
    fn rules(&self, random: &mut Random) -> (String, Value) {
        let mut said = Vec::new();
        let mut rules = json!({});
        let root = *random.one(&["good", "good", "good", "good", "other", "both", "none"]);
        said.push(format!("root {root}"));
        let (good, other) = (self.good.pem(), self.other.pem());
        let roots = match root {
            "good" => good,
            "other" => other,
            "both" => good + &other,
            _ => String::new(),
        };
        if !roots.is_empty() {
            rules["trusted_ca"] = json!({"inline_string": roots});
        }
        if root != "none" && random.chance(50) {
            let (kind, matcher) = random
                .one::<(&str, Value)>(&[
                    ("URI", json!({"exact": WORKLOAD})),
                    ("URI", json!({"prefix": "spiffe://td.test/"})),
                    ("URI", json!({"suffix": "/sa/w"})),
                    (
                        "URI",
                        json!({"safe_regex": {"regex": "spiffe://[a-z.]+/ns/.*"}}),
                    ),
                    ("URI", json!({"exact": "spiffe://td.test/ns/b/sa/w"})),
                    ("DNS", json!({"exact": "a.test"})),
                    ("DNS", json!({"exact": "x.w.test"})),
                    ("DNS", json!({"exact": "x.y.w.test"})),
                    ("DNS", json!({"contains": "w.te"})),
                    ("EMAIL", json!({"prefix": "a"})),
                    ("IP_ADDRESS", json!({"exact": "127.0.0.1"})),
                ])
                .clone();
            said.push(format!("{kind} {matcher}"));
            rules["match_typed_subject_alt_names"] =
                json!([{"san_type": kind, "matcher": matcher}]);
        }
        if root != "none" && random.chance(15) {
            said.push("expired is allowed".to_owned());
            rules["allow_expired_certificate"] = json!(true);
        }
        if random.chance(10) {
            said.push("untrusted is accepted".to_owned());
            rules["trust_chain_verification"] = json!("ACCEPT_UNTRUSTED");
        }
        if root == "good" && random.chance(20) {
            said.push("with revocations".to_owned());
            rules["crl"] = json!({"inline_string": self.revoked});
            rules["only_verify_leaf_cert_crl"] = json!(true);
        }
        (said.join(", "), rules)
    }

    /// An `UpstreamTlsContext`, and what it is.
    pub(crate) fn upstream(&self, random: &mut Random) -> (String, Value) {
        let (mut said, common) = self.common(random, false);
        let sni = *random.one(&[
            "",
            "a.test",
            "A.test",
            "x.w.test",
            "b.test",
            "outbound_.80_._.a.test",
        ]);
        said += &format!(", SNI {sni:?}");
        let mut context = json!({"common_tls_context": common, "sni": sni});
        if random.chance(10)
            && context["common_tls_context"]["validation_context"]["trusted_ca"].is_object()
        {
            said += ", checks SNI";
            context["auto_sni_san_validation"] = json!(true);
        }
        if random.chance(20) {
            context["max_session_keys"] = json!(0);
        }
        context["@type"] = json!(
            "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
        );
        (
            said,
            json!({"name": "envoy.transport_sockets.tls", "typed_config": context}),
        )
    }

    /// A `DownstreamTlsContext`, and what it is.
    pub(crate) fn downstream(&self, random: &mut Random) -> (String, Value) {
        let (mut said, common) = self.common(random, true);
        let required = random.chance(50);
        said += &format!(", required {required}");
        let mut context =
            json!({"common_tls_context": common, "require_client_certificate": required});
        if random.chance(10) {
            said += ", SNI required";
            context["require_sni"] = json!(true);
        }
        context["@type"] = json!(
            "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
        );
        (
            said,
            json!({"name": "envoy.transport_sockets.tls", "typed_config": context}),
        )
    }
}

fn tls_certificate(identity: &Identity) -> Value {
    json!({"tls_certificate": {
        "certificate_chain": {"inline_string": identity.chain},
        "private_key": {"inline_string": identity.key},
    }})
}

/// A secret of the cluster `sds`.
pub(crate) fn sds(name: &str) -> Value {
    json!({"name": name, "sds_config": {
        "api_config_source": {
            "api_type": "GRPC", "transport_api_version": "V3",
            "grpc_services": [{"envoy_grpc": {"cluster_name": "sds"}}],
        },
        "initial_fetch_timeout": "1s", "resource_api_version": "V3",
    }})
}
