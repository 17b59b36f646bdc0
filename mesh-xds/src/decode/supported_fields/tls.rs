//! Transport sockets.

use super::Fields;

pub(super) const FIELDS: &[Fields] = fields! {
    "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer" { "", silent: "", warn: "" }
    "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext" {
        "common_tls_context sni auto_host_sni auto_sni_san_validation max_session_keys",
        silent: "enforce_rsa_key_usage", warn: "allow_renegotiation"
    }
    "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext" {
        "common_tls_context require_client_certificate disable_stateless_session_resumption
         disable_stateful_session_resumption ocsp_staple_policy",
        // Envoy reads require_sni nowhere.
        silent: "full_scan_certs_on_sni_mismatch require_sni",
        warn: "session_ticket_keys session_ticket_keys_sds_secret_config session_timeout prefer_client_ciphers"
    }
    "envoy.extensions.transport_sockets.tls.v3.CommonTlsContext" {
        "tls_params tls_certificates tls_certificate_sds_secret_configs validation_context
         validation_context_sds_secret_config combined_validation_context alpn_protocols",
        silent: "", warn: "key_log"
    }
    "envoy.extensions.transport_sockets.tls.v3.CommonTlsContext.CombinedCertificateValidationContext" {
        "default_validation_context validation_context_sds_secret_config", silent: "", warn: ""
    }
    "envoy.extensions.transport_sockets.tls.v3.TlsParameters" {
        "tls_minimum_protocol_version tls_maximum_protocol_version cipher_suites", silent: "",
        warn: "ecdh_curves signature_algorithms"
    }
    "envoy.extensions.transport_sockets.tls.v3.TlsCertificate" {
        "certificate_chain private_key", silent: "watched_directory", warn: ""
    }
    "envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext" {
        "trusted_ca crl only_verify_leaf_cert_crl match_typed_subject_alt_names match_subject_alt_names
         verify_certificate_spki verify_certificate_hash allow_expired_certificate trust_chain_verification
         custom_validator_config",
        silent: "watched_directory suppress_client_ca_list", warn: ""
    }
    "envoy.extensions.transport_sockets.tls.v3.SubjectAltNameMatcher" {
        "san_type matcher", silent: "", warn: ""
    }
    "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig" {
        "trust_domains", silent: "", warn: ""
    }
    "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig.TrustDomain" {
        "name trust_bundle", silent: "", warn: ""
    }
    "envoy.extensions.transport_sockets.tls.v3.Secret" {
        "name tls_certificate validation_context", silent: "", warn: ""
    }
    // What a secret's source is, is read where the secret is named.
    "envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig" { "name", silent: "sds_config", warn: "" }
};
