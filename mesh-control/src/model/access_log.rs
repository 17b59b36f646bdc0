use std::sync::Arc;

use super::Metadata;
use crate::yaml::{At, Fields, Node};

/// Where and how lines are written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FileAccessLog {
    pub(crate) path: String,
    pub(crate) format: LogFormat,
    pub(crate) omit_empty_values: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum LogFormat {
    /// Empty: Istio's own.
    Text(String),
    /// A mapping; without fields: Istio's own.
    Json(Option<Arc<Node>>),
}

impl Default for LogFormat {
    fn default() -> Self {
        LogFormat::Text(String::new())
    }
}

/// One of `extensionProviders`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Provider {
    pub(crate) name: String,
    /// `envoyFileAccessLog`; None: a provider of something else.
    pub(crate) file: Option<FileProvider>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FileProvider {
    pub(crate) log: FileAccessLog,
    /// Whether it has a `logFormat`.
    pub(crate) has_format: bool,
}

impl Provider {
    /// The one that is always there.
    pub(crate) fn envoy() -> Self {
        Provider {
            name: "envoy".to_owned(),
            file: Some(FileProvider {
                log: FileAccessLog {
                    path: "/dev/stdout".to_owned(),
                    ..FileAccessLog::default()
                },
                has_format: false,
            }),
        }
    }

    pub(crate) fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let provider = Provider {
            name: fields
                .require("name")
                .map(|at| at.string())
                .unwrap_or_default(),
            file: fields
                .get("envoyFileAccessLog")
                .map(|at| FileProvider::read(&at)),
        };
        if provider.file.is_none() && provider.name != "prometheus" {
            at.warn(
                "only providers of envoyFileAccessLog have an effect yet",
                "use envoyFileAccessLog",
            );
        }
        if provider.file.is_some() {
            fields.finish();
        }
        provider
    }
}

impl FileProvider {
    fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let mut log = FileAccessLog {
            path: fields.string("path"),
            omit_empty_values: fields.get("omitEmptyValues").is_some_and(|at| at.bool()),
            ..FileAccessLog::default()
        };
        if log.path.is_empty() {
            "/dev/stdout".clone_into(&mut log.path);
        }
        let format = fields.get("logFormat");
        let has_format = format.is_some();
        if let Some(at) = format {
            let inner = at.fields();
            if let Some(at) = inner.get("labels") {
                log.format = LogFormat::Json(Some(Arc::new(at.node().clone())));
            } else {
                log.format = LogFormat::Text(inner.string("text"));
            }
            inner.finish();
        }
        fields.finish();
        FileProvider { log, has_format }
    }
}

/// What is measured and logged, for a mesh, a namespace or workloads.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Telemetry {
    pub(crate) metadata: Metadata,
    /// Empty: all of the namespace.
    pub(crate) selector: std::collections::BTreeMap<String, String>,
    pub(crate) has_targets: bool,
    pub(crate) logging: Vec<AccessLogging>,
}

/// One entry of `accessLogging`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AccessLogging {
    pub(crate) providers: Vec<String>,
    pub(crate) mode: WorkloadMode,
    pub(crate) is_disabled: bool,
    /// `filter.expression`, in CEL.
    pub(crate) filter: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkloadMode {
    Both,
    Client,
    Server,
}

impl Telemetry {
    pub(crate) fn read(spec: Fields<'_>, metadata: Metadata) -> Self {
        let selector = spec.get("selector").map(|at| {
            let fields = at.fields();
            let labels = fields.string_map("matchLabels");
            fields.finish();
            labels
        });
        let telemetry = Telemetry {
            selector: selector.unwrap_or_default(),
            has_targets: spec.has_any_of(&["targetRef", "targetRefs"]),
            logging: spec.list("accessLogging", |at| AccessLogging::read(&at)),
            metadata,
        };
        spec.ignore(&["targetRef", "targetRefs"]);
        for name in ["metrics", "tracing"] {
            if let Some(at) = spec.get(name) {
                at.warn("has no effect yet", "remove it");
            }
        }
        spec.finish();
        telemetry
    }
}

impl AccessLogging {
    fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let providers = fields.list("providers", |at| {
            let provider = at.fields();
            let name = provider.require("name").map(|at| at.string());
            provider.finish();
            name.unwrap_or_default()
        });
        let inner = |name: &'static str, field: &'static str| {
            let fields = fields.get(name)?.fields();
            let value = fields.get(field);
            fields.finish();
            value
        };
        let mode = inner("match", "mode").and_then(|at| {
            at.word(&[
                ("CLIENT_AND_SERVER", WorkloadMode::Both),
                ("CLIENT", WorkloadMode::Client),
                ("SERVER", WorkloadMode::Server),
            ])
        });
        let logging = AccessLogging {
            providers,
            mode: mode.unwrap_or(WorkloadMode::Both),
            is_disabled: fields.get("disabled").is_some_and(|at| at.bool()),
            filter: inner("filter", "expression").map(|at| at.string()),
        };
        fields.finish();
        logging
    }
}
