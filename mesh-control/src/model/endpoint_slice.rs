use super::Metadata;
use crate::yaml::{At, Fields};

/// Endpoints of a service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EndpointSlice {
    pub(crate) metadata: Metadata,
    /// Name of the service, in the slice's namespace.
    pub(crate) service: String,
    pub(crate) endpoints: Vec<SliceEndpoint>,
    /// (port name, port number).
    pub(crate) ports: Vec<(String, u32)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SliceEndpoint {
    pub(crate) addresses: Vec<String>,
    pub(crate) ready: bool,
    /// Matters only if it is not ready; unknown means yes, as Istio reads it.
    pub(crate) terminating: bool,
    pub(crate) zone: String,
    /// Namespace and name of the pod.
    pub(crate) pod: Option<(String, String)>,
}

const SERVICE_LABEL: &str = "kubernetes.io/service-name";

impl EndpointSlice {
    pub(crate) fn read(fields: Fields<'_>, metadata: Metadata) -> Self {
        let service = metadata
            .labels
            .get(SERVICE_LABEL)
            .cloned()
            .unwrap_or_default();
        if service.is_empty() {
            fields.at().warn(
                format_args!("has no label {SERVICE_LABEL}, so it belongs to no service"),
                format_args!("add the label {SERVICE_LABEL}"),
            );
        }
        if let Some(at) = fields.get("addressType") {
            at.word(&[("IPv4", ()), ("IPv6", ()), ("FQDN", ())]);
        }
        let namespace = metadata.namespace.clone();
        let slice = EndpointSlice {
            service,
            endpoints: fields.list("endpoints", |at| SliceEndpoint::read(&at, &namespace)),
            ports: fields.list("ports", |at| {
                let fields = at.fields();
                let port = (
                    fields.string("name"),
                    fields.get("port").map_or(0, |at| u32::from(at.port())),
                );
                fields.ignore(&["protocol", "appProtocol"]);
                fields.finish();
                port
            }),
            metadata,
        };
        fields.finish();
        slice
    }
}

impl SliceEndpoint {
    fn read(at: &At<'_>, namespace: &str) -> Self {
        let fields = at.fields();
        let conditions = fields.get("conditions").map(|at| {
            let fields = at.fields();
            let condition = |name| fields.get(name).map(|at: At<'_>| at.bool());
            fields.ignore(&["serving"]);
            let read = (condition("ready"), condition("terminating"));
            fields.finish();
            read
        });
        // Kubernetes: ready unless said otherwise
        let (ready, terminating) = conditions.unwrap_or_default();
        let ready = ready.unwrap_or(true);
        let pod = fields.get("targetRef").and_then(|at| {
            let fields = at.fields();
            fields.ignore(&["apiVersion", "uid", "resourceVersion", "fieldPath"]);
            let is_pod = fields.string("kind") == "Pod";
            let own = fields.string("namespace");
            let pod = (
                if own.is_empty() {
                    namespace.to_owned()
                } else {
                    own
                },
                fields.string("name"),
            );
            fields.finish();
            is_pod.then_some(pod)
        });
        let endpoint = SliceEndpoint {
            addresses: fields.strings("addresses"),
            ready,
            terminating: terminating.unwrap_or(true),
            zone: fields.string("zone"),
            pod,
        };
        fields.ignore(&["hostname", "nodeName", "deprecatedTopology", "hints"]);
        fields.finish();
        endpoint
    }
}
