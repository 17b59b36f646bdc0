use std::time::Duration;

use super::{
    DOMAIN, FileAccessLog, Keepalive, LocalityLb, LogFormat, Provider, Retries, ZoneAwareLb,
};
use crate::yaml::{At, Node};

/// The part of Istio's mesh configuration that matters here.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MeshConfig {
    /// `connectTimeout`; 10 s.
    pub(crate) connect_timeout: Duration,
    /// `outboundTrafficPolicy.mode: REGISTRY_ONLY`.
    pub(crate) registry_only: bool,
    /// `rootNamespace`; `istio-system`.
    pub(crate) root_namespace: String,
    /// `defaultHttpRetryPolicy`.
    pub(crate) retries: Option<Retries>,
    /// `localityLbSetting`; failover by default.
    pub(crate) locality: LocalityLb,
    /// `zoneAwareLbSetting`.
    pub(crate) zone_aware: Option<ZoneAwareLb>,
    /// `tcpKeepalive`, which rules may override by field.
    pub(crate) keepalive: Option<Keepalive>,
    /// `h2UpgradePolicy: UPGRADE`.
    pub(crate) h2_upgrade: bool,
    /// `protocolDetectionTimeout`; 0: as long as it takes.
    pub(crate) protocol_detection_timeout: Duration,
    /// `pathNormalization.normalization`.
    pub(crate) path_normalization: PathNormalization,
    /// `accessLogFile`, empty for none, with `accessLogEncoding` and `accessLogFormat`.
    pub(crate) access_log: FileAccessLog,
    /// `disableEnvoyListenerLog`.
    pub(crate) disable_listener_log: bool,
    /// `defaultProviders.accessLogging`.
    pub(crate) default_logging: Vec<String>,
    /// `extensionProviders`, later ones first.
    pub(crate) providers: Vec<Provider>,
    /// `ingressControllerMode`; STRICT.
    pub(crate) ingress_mode: IngressControllerMode,
    /// `ingressClass`; `istio`.
    pub(crate) ingress_class: String,
    /// `ingressSelector`, the label `istio` of the pods that serve Ingresses; `ingressgateway`.
    pub(crate) ingress_selector: String,
    /// Ours: class `nginx` and its annotation `rewrite-target` are served too.
    pub(crate) ingress_nginx: bool,
    /// `enableAutoMtls`; off, unlike Istio's, until workloads have identities. Then without any PeerAuthentication they
    /// take both plaintext and mutual TLS, otherwise plaintext only.
    pub(crate) auto_mtls: bool,
    /// `trustDomain`; `cluster.local`.
    pub(crate) trust_domain: String,
    /// `trustDomainAliases`, sorted.
    pub(crate) trust_domain_aliases: Vec<String>,
}

/// Which Ingresses are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IngressControllerMode {
    Off,
    /// Also those without a class.
    Default,
    Strict,
}

/// What becomes of paths before routes see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathNormalization {
    None,
    Base,
    MergeSlashes,
    DecodeAndMergeSlashes,
}

impl Default for MeshConfig {
    fn default() -> Self {
        MeshConfig {
            connect_timeout: Duration::from_secs(10),
            registry_only: false,
            root_namespace: "istio-system".to_owned(),
            retries: None,
            locality: LocalityLb::default(),
            zone_aware: None,
            keepalive: None,
            h2_upgrade: false,
            protocol_detection_timeout: Duration::ZERO,
            path_normalization: PathNormalization::Base,
            access_log: FileAccessLog::default(),
            disable_listener_log: false,
            default_logging: Vec::new(),
            providers: Vec::new(),
            ingress_mode: IngressControllerMode::Strict,
            ingress_class: "istio".to_owned(),
            ingress_selector: "ingressgateway".to_owned(),
            ingress_nginx: false,
            auto_mtls: false,
            trust_domain: DOMAIN.to_owned(),
            trust_domain_aliases: Vec::new(),
        }
    }
}

impl MeshConfig {
    pub(crate) fn read(at: &At<'_>) -> Self {
        let mut mesh = MeshConfig::default();
        let fields = at.fields();
        if let Some(at) = fields.get("connectTimeout") {
            mesh.connect_timeout = at.duration_from_1ms();
        }
        if let Some(at) = fields.get("outboundTrafficPolicy") {
            let inner = at.fields();
            let mode = inner.get("mode");
            mesh.registry_only = mode
                .and_then(|at| at.word(&[("ALLOW_ANY", false), ("REGISTRY_ONLY", true)]))
                .unwrap_or(false);
            inner.finish();
        }
        if let Some(at) = fields.get("rootNamespace") {
            mesh.root_namespace = at.string();
        }
        mesh.retries = fields.get("defaultHttpRetryPolicy").map(Retries::read);
        if let Some(at) = fields.get("localityLbSetting") {
            mesh.locality = LocalityLb::read(&at);
        }
        mesh.zone_aware = fields
            .get("zoneAwareLbSetting")
            .map(|at| ZoneAwareLb::read(&at));
        mesh.auto_mtls = fields.get("enableAutoMtls").is_some_and(|at| {
            let is_on = at.bool();
            if is_on {
                at.warn(
                    "needs certificates of workloads, which proxies get from an agent of their own (sds-grpc): listeners \
                     of those that the local runner starts wait for them",
                    "remove it where the local runner starts the workloads",
                );
            }
            is_on
        });
        mesh.keepalive = fields.get("tcpKeepalive").map(|at| Keepalive::read(&at));
        let h2 = fields.get("h2UpgradePolicy");
        mesh.h2_upgrade = h2
            .and_then(|at| at.word(&[("DO_NOT_UPGRADE", false), ("UPGRADE", true)]))
            .unwrap_or(false);
        if let Some(at) = fields.get("protocolDetectionTimeout") {
            mesh.protocol_detection_timeout = at.duration();
        }
        if let Some(at) = fields.get("pathNormalization") {
            let inner = at.fields();
            let words = [
                ("DEFAULT", PathNormalization::Base),
                ("NONE", PathNormalization::None),
                ("BASE", PathNormalization::Base),
                ("MERGE_SLASHES", PathNormalization::MergeSlashes),
                (
                    "DECODE_AND_MERGE_SLASHES",
                    PathNormalization::DecodeAndMergeSlashes,
                ),
            ];
            let word = inner.get("normalization").and_then(|at| at.word(&words));
            mesh.path_normalization = word.unwrap_or(PathNormalization::Base);
            inner.finish();
        }
        mesh.access_log = read_access_log(&fields);
        mesh.disable_listener_log = fields
            .get("disableEnvoyListenerLog")
            .is_some_and(|at| at.bool());
        mesh.providers = fields.list("extensionProviders", |at| Provider::read(&at));
        mesh.providers.reverse();
        if let Some(at) = fields.get("defaultProviders") {
            let inner = at.fields();
            mesh.default_logging = inner.strings("accessLogging");
            for name in ["metrics", "tracing"] {
                if let Some(at) = inner.get(name)
                    && !at.strings().is_empty()
                {
                    at.warn("has no effect yet", "remove it");
                }
            }
            inner.finish();
        }
        let words = [
            ("OFF", IngressControllerMode::Off),
            ("DEFAULT", IngressControllerMode::Default),
            ("STRICT", IngressControllerMode::Strict),
        ];
        let mode = fields.get("ingressControllerMode");
        if let Some(mode) = mode.and_then(|at| at.word(&words)) {
            mesh.ingress_mode = mode;
        }
        if let Some(at) = fields.get("ingressClass") {
            mesh.ingress_class = at.string();
        }
        // the selector wins over the service, whose name stands for its pods
        let service = fields.string("ingressService");
        let selector = fields.get("ingressSelector").map(|at| at.string());
        match selector.as_deref() {
            Some("") if !matches!(service.as_str(), "" | "istio-ingressgateway") => {
                mesh.ingress_selector = service;
            }
            Some("") | None => {}
            Some(selector) => selector.clone_into(&mut mesh.ingress_selector),
        }
        mesh.ingress_nginx = fields.get("ingressNginx").is_some_and(|at| at.bool());
        if let Some(at) = fields.get("defaultConfig") {
            at.warn("has no effect yet", "remove it");
        }
        if let Some(at) = fields.get("trustDomain") {
            mesh.trust_domain = at.string();
        }
        mesh.trust_domain_aliases = fields.strings("trustDomainAliases");
        mesh.trust_domain_aliases.sort();
        mesh.trust_domain_aliases.dedup();
        // nothing to say of these: tracing is always on, and what Istio's agent does
        fields.ignore(&["enableTracing", "enablePrometheusMerge"]);
        fields.finish();
        mesh
    }

    /// All names of the mesh's trust domain, its own first.
    pub(crate) fn trust_domains(&self) -> impl Iterator<Item = &str> {
        let aliases = self.trust_domain_aliases.iter();
        [&self.trust_domain]
            .into_iter()
            .chain(aliases)
            .map(String::as_str)
    }

    /// A provider by name, in any case; those that are always there last.
    pub(crate) fn provider(&self, name: &str) -> Option<Provider> {
        let built_in = Provider::envoy();
        let all = self.providers.iter().chain([&built_in]);
        let mut named = all.filter(|provider| provider.name.eq_ignore_ascii_case(name));
        named.next().cloned()
    }
}

fn read_access_log(fields: &crate::yaml::Fields<'_>) -> FileAccessLog {
    let encoding = fields.get("accessLogEncoding");
    let is_json = encoding.and_then(|at| at.word(&[("TEXT", false), ("JSON", true)]));
    let format = fields.string("accessLogFormat");
    FileAccessLog {
        path: fields.string("accessLogFile"),
        format: match is_json {
            // what is no JSON is as if it were not there, as for istiod
            Some(true) => LogFormat::Json(Node::parse(&format, 0).ok().map(Into::into)),
            _ => LogFormat::Text(format),
        },
        omit_empty_values: false,
    }
}
