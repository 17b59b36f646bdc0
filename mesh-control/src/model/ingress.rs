use super::Metadata;
use crate::yaml::{At, Fields};

/// Routes of Kubernetes' own for what comes from outside.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ingress {
    pub(crate) metadata: Metadata,
    /// `ingressClassName`.
    pub(crate) class_name: Option<String>,
    pub(crate) rules: Vec<IngressRule>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct IngressRule {
    /// `*` if none is given.
    pub(crate) host: String,
    /// `http.paths`; None: the rule has none and says nothing.
    pub(crate) paths: Option<Vec<IngressPath>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct IngressPath {
    pub(crate) path: String,
    pub(crate) kind: PathType,
    /// None: something that is no Service.
    pub(crate) backend: Option<Backend>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathType {
    Exact,
    Prefix,
    /// Not said, or ImplementationSpecific: a star at the end makes it a prefix.
    Legacy,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Backend {
    pub(crate) service: String,
    pub(crate) port: BackendPort,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum BackendPort {
    Number(u32),
    Name(String),
}

impl Ingress {
    pub(crate) fn read(spec: Fields<'_>, metadata: Metadata) -> Self {
        for name in ["defaultBackend", "backend"] {
            if let Some(at) = spec.get(name) {
                at.warn("is ignored, as by Istio", "use a rule without a host");
            }
        }
        if let Some(at) = spec.get("tls") {
            at.warn(
                "TLS termination is not supported yet, only port 80 is served",
                "remove it",
            );
        }
        let ingress = Ingress {
            class_name: spec.get("ingressClassName").map(|at| at.string()),
            rules: spec.list("rules", |at| IngressRule::read(&at)),
            metadata,
        };
        spec.finish_with(&[("host", "rules[].host"), ("paths", "rules[].http.paths")]);
        ingress
    }
}

impl IngressRule {
    fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let host = fields.string("host");
        let paths = fields.get("http").map(|at| {
            let fields = at.fields();
            let paths = fields.list("paths", |at| IngressPath::read(&at));
            fields.finish();
            paths
        });
        fields.finish();
        IngressRule {
            host: match host.as_str() {
                "" => "*".to_owned(),
                host => host.to_owned(),
            },
            paths,
        }
    }
}

impl IngressPath {
    fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let words = [
            ("Exact", PathType::Exact),
            ("Prefix", PathType::Prefix),
            ("ImplementationSpecific", PathType::Legacy),
        ];
        let kind = fields.get("pathType").and_then(|at| at.word(&words));
        let path = IngressPath {
            path: fields.string("path"),
            kind: kind.unwrap_or(PathType::Legacy),
            backend: fields.require("backend").and_then(|at| Backend::read(&at)),
        };
        fields.finish();
        path
    }
}

impl Backend {
    fn read(at: &At<'_>) -> Option<Self> {
        let fields = at.fields();
        // the beta versions wrote both in one
        if let Some(name) = fields.get("serviceName") {
            let port = fields.require("servicePort")?;
            let port = match port.node().as_str() {
                Some(name) => BackendPort::Name(name.to_owned()),
                None => BackendPort::Number(port.number(u16::MAX.into())),
            };
            fields.finish();
            return Some(Backend {
                service: name.string(),
                port,
            });
        }
        if fields.get("resource").is_some() {
            at.warn("only services can be backends", "write service");
            return None;
        }
        let service = fields.require("service")?.fields();
        let name = service.require("name").map(|at| at.string());
        let port = service.require("port")?.fields();
        let number = port.get("number").map(|at| at.number(u16::MAX.into()));
        let by_name = port.string("name");
        port.finish();
        service.finish();
        fields.finish();
        Some(Backend {
            service: name?,
            port: match number {
                Some(number) if number > 0 => BackendPort::Number(number),
                _ => BackendPort::Name(by_name),
            },
        })
    }
}
