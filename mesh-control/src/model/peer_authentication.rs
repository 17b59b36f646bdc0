use std::collections::BTreeMap;

use super::{Metadata, PolicyTarget};
use crate::yaml::{At, Fields};

/// Whether the workloads of a mesh, a namespace or a selector take plaintext, mutual TLS or both.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PeerAuthentication {
    pub(crate) metadata: Metadata,
    pub(crate) target: PolicyTarget,
    pub(crate) mode: MtlsMode,
    /// `portLevelMtls`, by port of the workload.
    pub(crate) ports: BTreeMap<u32, MtlsMode>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MtlsMode {
    /// As the wider policy says.
    Unset,
    Disable,
    Permissive,
    Strict,
}

impl MtlsMode {
    /// The other, where this one says nothing.
    pub(crate) fn or(self, wider: MtlsMode) -> MtlsMode {
        match self {
            MtlsMode::Unset => wider,
            mode => mode,
        }
    }
}

impl PeerAuthentication {
    /// What Istio's webhook refuses is refused elsewhere.
    pub(crate) fn read(spec: Option<Fields<'_>>, metadata: Metadata) -> Self {
        let mut policy = PeerAuthentication {
            metadata,
            target: PolicyTarget::default(),
            mode: MtlsMode::Unset,
            ports: BTreeMap::new(),
        };
        if let Some(spec) = spec {
            policy.target = PolicyTarget::read(&spec);
            policy.mode = spec.get("mtls").map_or(MtlsMode::Unset, read_mode);
            let ports = spec.get("portLevelMtls").map(|at| at.entries());
            for (port, at) in ports.unwrap_or_default() {
                let mode = read_mode(at);
                policy
                    .ports
                    .extend(port.parse().ok().map(|port: u32| (port, mode)));
            }
            spec.finish_with(&[("mode", "mtls.mode")]);
        }
        policy
    }
}

fn read_mode(at: At<'_>) -> MtlsMode {
    let fields = at.fields();
    let mode = fields.get("mode").and_then(|mode| {
        mode.word(&[
            ("UNSET", MtlsMode::Unset),
            ("DISABLE", MtlsMode::Disable),
            ("PERMISSIVE", MtlsMode::Permissive),
            ("STRICT", MtlsMode::Strict),
        ])
    });
    if mode == Some(MtlsMode::Strict) {
        at.warn(
            "needs certificates of workloads, which proxies get from an agent of their own (sds-grpc): between those that \
             the local runner starts nothing gets through yet",
            "use PERMISSIVE there",
        );
    }
    fields.finish();
    mode.unwrap_or(MtlsMode::Unset)
}
