//! Transport sockets with TLS.

use std::time::Duration;

use mesh_core::model::{
    CertificateSource, ClusterConfig, ListenerConfig, SecretSource, TlsVersion, ValidationSource,
};
use mesh_testkit::certificates::{Authority, Identity, Leaf};
use serde_json::{Value, json};

use super::{CLUSTER, LISTENER, decode, errors, warnings};
use crate::Resource;

const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";

fn socket(kind: &str, mut context: Value) -> Value {
    context["@type"] = json!(format!("{TLS}.{kind}"));
    json!({"name": "envoy.transport_sockets.tls", "typed_config": context})
}

fn cluster_with(context: Value) -> String {
    json!({"name": "a", "transport_socket": socket("UpstreamTlsContext", context)}).to_string()
}

fn listener_with(context: Value) -> String {
    let proxy = json!({"name": "t", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "t", "cluster": "c",
    }});
    json!({
        "name": "l",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}},
        "filter_chains": [{
            "filters": [proxy],
            "transport_socket": socket("DownstreamTlsContext", context),
            "transport_socket_connect_timeout": "3s",
        }],
    })
    .to_string()
}

fn cluster(yaml: &str) -> std::sync::Arc<ClusterConfig> {
    match decode(CLUSTER, yaml).resource {
        Ok(Resource::Cluster(cluster)) => cluster,
        other => panic!("{other:?}"),
    }
}

fn listener(yaml: &str) -> std::sync::Arc<ListenerConfig> {
    match decode(LISTENER, yaml).resource {
        Ok(Resource::Listener(listener)) => listener,
        other => panic!("{other:?}"),
    }
}

fn certificate(identity: &Identity) -> Value {
    json!({
        "certificate_chain": {"inline_string": identity.chain},
        "private_key": {"inline_string": identity.key},
    })
}

#[test]
fn auto_mutual_tls_as_istiod_sends_it() {
    let secret = |name: &str| {
        json!({"name": name, "sds_config": {
            "api_config_source": {
                "api_type": "GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": true,
                "grpc_services": [{"envoy_grpc": {"cluster_name": "sds-grpc"}}],
            },
            "initial_fetch_timeout": "0s", "resource_api_version": "V3",
        }})
    };
    let context = json!({
        "common_tls_context": {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
            "alpn_protocols": ["istio-peer-exchange", "istio", "h2"],
            "tls_certificate_sds_secret_configs": [secret("default")],
            "combined_validation_context": {
                "default_validation_context": {
                    "match_subject_alt_names": [{"exact": "spiffe://cluster.local/ns/a/sa/b"}],
                },
                "validation_context_sds_secret_config": secret("ROOTCA"),
            },
        },
        "sni": "outbound_.80_._.b.a.svc.cluster.local",
    });
    let yaml = json!({
        "name": "a",
        "transport_socket_matches": [
            {"name": "tlsMode-istio", "match": {"tlsMode": "istio"}, "transport_socket": socket("UpstreamTlsContext", context)},
            {"name": "tlsMode-disabled", "match": {}, "transport_socket": {
                "name": "envoy.transport_sockets.raw_buffer",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"},
            }},
        ],
    });
    let yaml = yaml.to_string();
    assert_eq!(warnings(CLUSTER, &yaml), [""; 0]);
    let cluster = cluster(&yaml);
    let [istio, disabled] = &cluster.transport_socket_matches[..] else {
        panic!("{cluster:?}")
    };
    assert!(disabled.socket.is_none() && disabled.criteria.is_empty());
    let tls = istio.socket.as_ref().expect("a socket");
    assert_eq!(&*tls.sni, "outbound_.80_._.b.a.svc.cluster.local");
    assert_eq!(tls.common.maximum_version, Some(TlsVersion::V1_3));
    let agent = SecretSource::Grpc {
        cluster: "sds-grpc".into(),
        initial_fetch_timeout: Duration::ZERO,
    };
    let [CertificateSource::Secret(own)] = &tls.common.certificates[..] else {
        panic!("{tls:?}")
    };
    assert_eq!((&own.source, &*own.name), (&agent, "default"));
    let ValidationSource::Combined(default, root) = &tls.common.validation else {
        panic!("{tls:?}")
    };
    assert_eq!((&root.source, &*root.name), (&agent, "ROOTCA"));
    // Once for each kind of name.
    assert_eq!(default.san_matchers.len(), 4);
}

#[test]
fn certificates_files_and_hashes() {
    let root = Authority::new("root");
    let identity = root.issue(&Leaf::default());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("root.pem");
    std::fs::write(&path, root.pem()).unwrap();
    let yaml = listener_with(json!({
        "require_client_certificate": true,
        "common_tls_context": {
            "tls_certificates": [certificate(&identity)],
            "validation_context": {
                "trusted_ca": {"filename": path},
                "verify_certificate_spki": ["NvqYIYSbgK2vCJpQhObf77vv+bQWtc5ek5RIOwPiC9A="],
                "verify_certificate_hash": ["df:6f:f7:2f:e9:11:65:21:26:8f:6f:2d:d4:96:6f:51:df:47:98:83:fe:70:37:b3:9f:75:91:6a:c3:04:9d:1a"],
            },
        },
    }));
    let listener = listener(&yaml);
    let chain = &listener.filter_chains[0];
    assert_eq!(chain.transport_socket_connect_timeout.as_secs(), 3);
    let tls = chain.transport_socket.as_ref().expect("a socket");
    assert!(tls.require_client_certificate);
    let ValidationSource::Inline(rules) = &tls.common.validation else {
        panic!("{tls:?}")
    };
    assert_eq!(rules.trusted_ca[0][..], root.der());
    assert_eq!(rules.certificate_hashes[0][0], 0xdf);
    assert_eq!(rules.spki_hashes[0][0], 0x36);
    // Nothing of the key is ever shown.
    let shown = format!("{listener:?}");
    assert!(shown.contains("PrivateKey(..)"));
    let numbers = format!("{:?}", &identity.key_der[36..44]);
    assert!(!shown.contains(numbers.trim_matches(['[', ']'])));
}

#[test]
fn a_key_of_another_certificate_and_what_is_none_are_refused() {
    let root = Authority::new("root");
    let [one, other] = [root.issue(&Leaf::default()), root.issue(&Leaf::default())];
    let with = |certificate: Value| {
        listener_with(json!({"common_tls_context": {"tls_certificates": [certificate]}}))
    };
    let mixed = json!({
        "certificate_chain": {"inline_string": one.chain},
        "private_key": {"inline_string": other.key},
    });
    let place =
        "filter_chains[0].transport_socket.typed_config.common_tls_context.tls_certificates[0]";
    let refused = errors(LISTENER, &with(mixed));
    assert!(
        refused.starts_with(&format!(
            "{place}.private_key: is not that of the certificate"
        )),
        "{refused}"
    );
    let no_key = json!({
        "certificate_chain": {"inline_string": one.chain},
        "private_key": {"inline_string": one.chain},
    });
    let refused = errors(LISTENER, &with(no_key));
    assert!(
        refused.starts_with(&format!("{place}.private_key: holds no private key")),
        "{refused}"
    );
    let malformed = json!({
        "certificate_chain": {"inline_string": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"},
        "private_key": {"inline_string": one.key},
    });
    let refused = errors(LISTENER, &with(malformed));
    assert!(
        refused.contains("certificate_chain: cannot be used"),
        "{refused}"
    );
    let missing = json!({
        "certificate_chain": {"filename": "/not/there.pem"},
        "private_key": {"inline_string": one.key},
    });
    let refused = errors(LISTENER, &with(missing));
    assert!(
        refused.contains("filename: \"/not/there.pem\" cannot be read"),
        "{refused}"
    );
}

#[test]
fn what_envoy_refuses_and_what_there_is_not() {
    for (context, expected) in [
        (
            json!({"common_tls_context": {"validation_context": {"match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": "a"}}]}}}),
            "common_tls_context.validation_context: SAN-based verification of peer certificates without trusted CA is insecure and not allowed",
        ),
        (
            json!({"common_tls_context": {"tls_params": {"tls_maximum_protocol_version": "TLSv1_1"}}}),
            "common_tls_context.tls_params.tls_maximum_protocol_version: there is no TLS before 1.2",
        ),
        (
            json!({"common_tls_context": {"tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_2"}}}),
            "common_tls_context.tls_params.tls_maximum_protocol_version: must not be below the minimum",
        ),
        (
            json!({"common_tls_context": {"tls_params": {"cipher_suites": ["AES128-SHA"]}}}),
            "common_tls_context.tls_params.cipher_suites: there is no AES128-SHA, and no other is named",
        ),
        (
            json!({"common_tls_context": {"validation_context": {"verify_certificate_spki": ["AAAA"]}}}),
            "common_tls_context.validation_context.verify_certificate_spki[0]: must be SHA-256 in base64",
        ),
        (
            json!({"common_tls_context": {"alpn_protocols": [""]}}),
            "common_tls_context.alpn_protocols[0]: must be 1 to 255 bytes long",
        ),
        (
            json!({"sni": "x".repeat(256)}),
            "sni: must be at most 255 bytes long",
        ),
    ] {
        let expected = format!("transport_socket.typed_config.{expected}");
        assert_eq!(errors(CLUSTER, &cluster_with(context)), expected);
    }
    let lower = json!({"common_tls_context": {"tls_params": {
        "tls_minimum_protocol_version": "TLSv1_0", "cipher_suites": ["[ECDHE-RSA-AES128-GCM-SHA256|AES128-SHA]"],
    }}});
    assert_eq!(
        warnings(CLUSTER, &cluster_with(lower)),
        [
            "transport_socket.typed_config.common_tls_context.tls_params.tls_minimum_protocol_version: there is no TLS before 1.2; it is TLSv1_2",
            "transport_socket.typed_config.common_tls_context.tls_params.cipher_suites: there is no AES128-SHA; left out",
        ]
    );
}

#[test]
fn names_from_requests_and_endpoints() {
    let root = Authority::new("root");
    let rules = json!({"trusted_ca": {"inline_string": root.pem()}});
    let context = json!({
        "common_tls_context": {"validation_context": rules},
        "auto_host_sni": true, "auto_sni_san_validation": true, "max_session_keys": 0,
    });
    let mut yaml: Value = serde_json::from_str(&cluster_with(context)).unwrap();
    let http = |names: Value| {
        json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http_protocol_options": {}},
            "upstream_http_protocol_options": names,
        }})
    };
    yaml["typed_extension_protocol_options"] =
        http(json!({"auto_sni": true, "auto_san_validation": true}));
    let cluster = cluster(&yaml.to_string());
    assert!(cluster.http.auto_sni);
    let tls = cluster.transport_socket.as_ref().expect("a socket");
    assert!(tls.auto_host_sni && tls.auto_sni_san_validation && tls.auto_san_validation);
    assert_eq!(tls.max_session_keys, 0);
    yaml["typed_extension_protocol_options"] =
        http(json!({"auto_san_validation": true, "override_auto_sni_header": "x-name"}));
    let refused = errors(CLUSTER, &yaml.to_string());
    assert!(
        refused.contains("auto_san_validation: not supported yet without auto_sni"),
        "{refused}"
    );
    assert!(
        refused.contains("override_auto_sni_header: only :authority is supported yet"),
        "{refused}"
    );
}

#[test]
fn sessions_and_trust_domains() {
    let root = Authority::new("root");
    let identity = root.issue(&Leaf::default());
    let domains = json!({
        "@type": format!("{TLS}.SPIFFECertValidatorConfig"),
        "trust_domains": [{"name": "td.test", "trust_bundle": {"inline_string": root.pem()}}],
    });
    let yaml = listener_with(json!({
        "require_sni": true,
        "disable_stateless_session_resumption": true,
        "disable_stateful_session_resumption": true,
        "ocsp_staple_policy": "LENIENT_STAPLING",
        "common_tls_context": {
            "tls_certificates": [certificate(&identity)],
            "validation_context": {"custom_validator_config": {
                "name": "envoy.tls.cert_validator.spiffe", "typed_config": domains,
            }},
        },
    }));
    let listener = listener(&yaml);
    let tls = listener.filter_chains[0]
        .transport_socket
        .as_ref()
        .expect("a socket");
    assert!(tls.disable_stateless_session_resumption && tls.disable_stateful_session_resumption);
    let ValidationSource::Inline(rules) = &tls.common.validation else {
        panic!("{tls:?}")
    };
    let domains = rules.spiffe.as_ref().expect("trust domains");
    assert_eq!(&*domains[0].name, "td.test");
    let strict = yaml.replace("LENIENT_STAPLING", "MUST_STAPLE");
    assert!(
        errors(LISTENER, &strict)
            .ends_with("ocsp_staple_policy: only LENIENT_STAPLING is supported")
    );
}
