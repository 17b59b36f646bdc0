use std::time::Duration;

use super::{LocalityLb, Retries, ZoneAwareLb};
use crate::yaml::At;

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
        for name in ["enableAutoMtls", "enablePrometheusMerge"] {
            if let Some(at) = fields.get(name)
                && at.bool()
            {
                at.refuse("is not supported yet", format_args!("write {name}: false"));
            }
        }
        for name in [
            "accessLogFile",
            "accessLogEncoding",
            "accessLogFormat",
            "defaultConfig",
            "defaultProviders",
        ] {
            if let Some(at) = fields.get(name) {
                at.warn("has no effect yet", "remove it");
            }
        }
        // nothing to say of these: names until identity lands, and tracing is always on
        fields.ignore(&["trustDomain", "enableTracing"]);
        fields.finish();
        mesh
    }
}
