use super::Metadata;
use crate::yaml::{At, Fields};

/// Plaintext for the workloads of a namespace; the only mode until identity lands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PeerAuthentication {
    pub(crate) metadata: Metadata,
}

impl PeerAuthentication {
    pub(crate) fn read(spec: Option<Fields<'_>>, metadata: Metadata) -> Self {
        if let Some(spec) = spec {
            if let Some(at) = spec.get("selector") {
                let fields = at.fields();
                fields.string_map("matchLabels");
                fields.finish();
            }
            if let Some(at) = spec.get("mtls") {
                read_mode(at);
            }
            for (_, at) in spec
                .get("portLevelMtls")
                .map(|at| at.entries())
                .unwrap_or_default()
            {
                if spec.get("selector").is_none() {
                    at.refuse(
                        "mesh/namespace peer authentication cannot have port level mTLS",
                        "add a selector",
                    );
                }
                read_mode(at);
            }
            spec.finish_with(&[("mode", "mtls.mode")]);
        }
        PeerAuthentication { metadata }
    }
}

fn read_mode(at: At<'_>) {
    let fields = at.fields();
    if let Some(mode) = fields.get("mode") {
        let words = [
            ("DISABLE", true),
            ("UNSET", true),
            ("PERMISSIVE", false),
            ("STRICT", false),
        ];
        if mode.word(&words) == Some(false) {
            mode.refuse(
                format_args!(
                    "mTLS is not supported yet, so mode {} cannot be used",
                    mode.string()
                ),
                "write mode: DISABLE",
            );
        }
    }
    fields.finish();
}
