//! Random TLS contexts of both sides.

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
        }
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
            common["tls_certificates"] = json!([{
                "certificate_chain": {"inline_string": identity.chain},
                "private_key": {"inline_string": identity.key},
            }]);
        }
        if random.chance(80) {
            let (words, rules) = self.rules(random);
            said.push(words);
            common["validation_context"] = rules;
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
            && !context["common_tls_context"]["validation_context"]["trusted_ca"].is_null()
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
