use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::kind::Effect;
use super::{
    ApiGateway, ApiRoute, ApiRouteKind, AuthorizationPolicy, DestinationRule, EndpointSlice,
    EnvoyFilter, GATEWAY_API, Gateway, GatewayClass, Ingress, Kind, KubernetesNode,
    PeerAuthentication, Pod, ReferenceGrant, RequestAuthentication, Service, ServiceEntry, Sidecar,
    Telemetry, VirtualService, WorkloadEntry, WorkloadGroup,
};
use crate::problem::{Problem, Severity};
use crate::validate::{self, Judgement, UNSUPPORTED};
use crate::yaml::{At, Fields, Node, Report};

/// Identity of an object in a folder.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId {
    /// Its kind, such as `VirtualService`.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // as it is called in files
        let kind = super::kinds()
            .iter()
            .find(|kind| kind.identity() == self.kind);
        let kind = kind.map_or(self.kind, |kind| kind.name);
        write!(f, "{kind} {}/{}", self.namespace, self.name)
    }
}

/// Where an object stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The file, relative to the folder.
    pub file: Arc<str>,
    /// The first line of the object, from 1.
    pub line: u32,
}

/// The metadata of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// Its name.
    pub name: String,
    /// Its namespace; the folder's default if the file gives none.
    pub namespace: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// `creationTimestamp` as written, if given.
    pub created: Option<String>,
    /// API version and group, such as `networking.istio.io/v1`.
    pub api_version: String,
    /// Where it stands.
    pub provenance: Provenance,
}

/// An object that shapes nothing in the mesh, such as a Deployment; the local runner reads its document.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Other {
    /// Its kind, such as `Deployment`.
    pub kind: &'static str,
    /// Its metadata.
    pub metadata: Metadata,
    /// The whole document.
    pub document: Node,
}

/// An object that was read and is right.
#[derive(Clone, Debug)]
pub(crate) enum Object {
    VirtualService(Arc<VirtualService>),
    DestinationRule(Arc<DestinationRule>),
    Gateway(Arc<Gateway>),
    Sidecar(Arc<Sidecar>),
    PeerAuthentication(Arc<PeerAuthentication>),
    AuthorizationPolicy(Arc<AuthorizationPolicy>),
    RequestAuthentication(Arc<RequestAuthentication>),
    Service(Arc<Service>),
    EndpointSlice(Arc<EndpointSlice>),
    Pod(Arc<Pod>),
    Node(Arc<KubernetesNode>),
    ServiceEntry(Arc<ServiceEntry>),
    WorkloadEntry(Arc<WorkloadEntry>),
    WorkloadGroup(Arc<WorkloadGroup>),
    /// Telemetry.
    Telemetry(Arc<Telemetry>),
    Ingress(Arc<Ingress>),
    EnvoyFilter(Arc<EnvoyFilter>),
    GatewayClass(Arc<GatewayClass>),
    ApiGateway(Arc<ApiGateway>),
    ApiRoute(Arc<ApiRoute>),
    ReferenceGrant(Arc<ReferenceGrant>),
    Other(Arc<Other>),
}

impl Object {
    pub(crate) fn metadata(&self) -> &Metadata {
        match self {
            Object::VirtualService(o) => &o.metadata,
            Object::DestinationRule(o) => &o.metadata,
            Object::Gateway(o) => &o.metadata,
            Object::Sidecar(o) => &o.metadata,
            Object::PeerAuthentication(o) => &o.metadata,
            Object::AuthorizationPolicy(o) => &o.metadata,
            Object::RequestAuthentication(o) => &o.metadata,
            Object::Service(o) => &o.metadata,
            Object::EndpointSlice(o) => &o.metadata,
            Object::Pod(o) => &o.metadata,
            Object::Node(o) => &o.metadata,
            Object::ServiceEntry(o) => &o.metadata,
            Object::WorkloadEntry(o) => &o.metadata,
            Object::WorkloadGroup(o) => &o.metadata,
            Object::Telemetry(o) => &o.metadata,
            Object::Ingress(o) => &o.metadata,
            Object::EnvoyFilter(o) => &o.metadata,
            Object::GatewayClass(o) => &o.metadata,
            Object::ApiGateway(o) => &o.metadata,
            Object::ApiRoute(o) => &o.metadata,
            Object::ReferenceGrant(o) => &o.metadata,
            Object::Other(o) => &o.metadata,
        }
    }

    /// Whether it is the very same object, not read anew.
    pub(crate) fn is_same(&self, other: &Object) -> bool {
        match (self, other) {
            (Object::VirtualService(a), Object::VirtualService(b)) => Arc::ptr_eq(a, b),
            (Object::DestinationRule(a), Object::DestinationRule(b)) => Arc::ptr_eq(a, b),
            (Object::Gateway(a), Object::Gateway(b)) => Arc::ptr_eq(a, b),
            (Object::Sidecar(a), Object::Sidecar(b)) => Arc::ptr_eq(a, b),
            (Object::PeerAuthentication(a), Object::PeerAuthentication(b)) => Arc::ptr_eq(a, b),
            (Object::AuthorizationPolicy(a), Object::AuthorizationPolicy(b)) => Arc::ptr_eq(a, b),
            (Object::RequestAuthentication(a), Object::RequestAuthentication(b)) => {
                Arc::ptr_eq(a, b)
            }
            (Object::Service(a), Object::Service(b)) => Arc::ptr_eq(a, b),
            (Object::EndpointSlice(a), Object::EndpointSlice(b)) => Arc::ptr_eq(a, b),
            (Object::Pod(a), Object::Pod(b)) => Arc::ptr_eq(a, b),
            (Object::Node(a), Object::Node(b)) => Arc::ptr_eq(a, b),
            (Object::ServiceEntry(a), Object::ServiceEntry(b)) => Arc::ptr_eq(a, b),
            (Object::WorkloadEntry(a), Object::WorkloadEntry(b)) => Arc::ptr_eq(a, b),
            (Object::WorkloadGroup(a), Object::WorkloadGroup(b)) => Arc::ptr_eq(a, b),
            (Object::Telemetry(a), Object::Telemetry(b)) => Arc::ptr_eq(a, b),
            (Object::Ingress(a), Object::Ingress(b)) => Arc::ptr_eq(a, b),
            (Object::EnvoyFilter(a), Object::EnvoyFilter(b)) => Arc::ptr_eq(a, b),
            (Object::GatewayClass(a), Object::GatewayClass(b)) => Arc::ptr_eq(a, b),
            (Object::ApiGateway(a), Object::ApiGateway(b)) => Arc::ptr_eq(a, b),
            (Object::ApiRoute(a), Object::ApiRoute(b)) => Arc::ptr_eq(a, b),
            (Object::ReferenceGrant(a), Object::ReferenceGrant(b)) => Arc::ptr_eq(a, b),
            (Object::Other(a), Object::Other(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// The head of a document: what it is, and the object if it is right.
#[derive(Debug)]
pub(crate) struct ReadObject {
    pub(crate) id: Option<ObjectId>,
    pub(crate) object: Option<Object>,
    pub(crate) problems: Vec<crate::Problem>,
    /// What Istio says of it, if it is one of Istio's.
    pub(crate) istio: Option<Judgement>,
}

/// Reads one document.
pub(crate) fn read(document: Node, file: &Arc<str>, default_namespace: &str) -> ReadObject {
    let mut istio = validate::judge(&document, file, default_namespace);
    let mut read = read_as_model(&document, file, default_namespace);
    if let Some(judgement) = &mut istio {
        let found = std::mem::take(&mut judgement.problems);
        if !judgement.accepted {
            read.object = None;
        }
        read.problems = joined(read.problems, found, judgement.accepted);
    }
    ReadObject { istio, ..read }
}

/// What the model says and what Istio says, where the model does not say it already; by lines.
fn joined(mut problems: Vec<Problem>, found: Vec<Problem>, accepted: bool) -> Vec<Problem> {
    if accepted {
        for problem in &mut problems {
            if problem.severity == Severity::Refused {
                problem.code = UNSUPPORTED;
            }
        }
    }
    let of_model = problems.len();
    for problem in found {
        let is_of_name = problem.code.starts_with("unknown_");
        let is_said = problems[..of_model].iter().any(|said| {
            let same_place = said.line == problem.line
                && (said.field.starts_with(&problem.field)
                    || problem.field.starts_with(&said.field));
            let whole_object = said.field.is_empty() && problem.code == "unknown_kind";
            let same_words =
                said.message == problem.message && problem.field.starts_with(&said.field);
            (same_place || whole_object || same_words)
                && (is_of_name || said.severity >= problem.severity)
        });
        if !is_said {
            problems.push(problem);
        }
    }
    problems.sort_by_key(|problem| problem.line);
    problems
}

fn read_as_model(document: &Node, file: &Arc<str>, default_namespace: &str) -> ReadObject {
    let head = Report::new(file, "");
    let id_and_kind = read_head(&head.at(document, ""), default_namespace);
    let Some((id, kind)) = id_and_kind else {
        return ReadObject {
            id: None,
            object: None,
            problems: head.into_problems(),
            istio: None,
        };
    };
    let report = Report::new(file, &id.to_string());
    let at = report.at(document, "");
    let object = read_object(&at, kind, &id, file);
    let refused = report.is_refused() || head.is_refused();
    let mut problems = head.into_problems();
    problems.extend(report.into_problems());
    ReadObject {
        id: Some(id),
        object: object.filter(|_| !refused),
        problems,
        istio: None,
    }
}

fn read_head(at: &At<'_>, default_namespace: &str) -> Option<(ObjectId, &'static Kind)> {
    let fields = at.fields();
    let api_version = fields.require("apiVersion")?.string();
    let kind_at = fields.require("kind")?;
    let kind_name = kind_at.string();
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let metadata = fields.require("metadata")?.fields();
    let name = metadata.require("name")?.string();
    let namespace = metadata.string("namespace");
    let namespace = if namespace.is_empty() {
        default_namespace.to_owned()
    } else {
        namespace
    };
    let Some(kind) = Kind::of(group, &kind_name) else {
        let suggestion = match super::kinds().iter().find(|k| k.name == kind_name) {
            Some(other) if other.group.is_empty() => format!("{kind_name} has apiVersion v1"),
            Some(other) => format!("{kind_name} has apiVersion {}/v1", other.group),
            None => {
                "see the kinds of Istio and Kubernetes that this control plane reads".to_owned()
            }
        };
        kind_at.refuse(
            format_args!("unknown kind {kind_name} of {api_version}"),
            suggestion,
        );
        return None;
    };
    if !kind.has_version(version) {
        let right = if kind.group.is_empty() {
            "v1".to_owned()
        } else {
            format!("{}/v1", kind.group)
        };
        kind_at.refuse(
            format_args!("unknown version {version} of {kind_name}"),
            format_args!("write {right}"),
        );
    }
    Some((
        ObjectId {
            kind: kind.identity(),
            namespace,
            name,
        },
        kind,
    ))
}

fn read_object(at: &At<'_>, kind: &'static Kind, id: &ObjectId, file: &Arc<str>) -> Option<Object> {
    let fields = at.fields();
    fields.ignore(&["apiVersion", "kind", "metadata", "status"]);
    let metadata = read_metadata(&fields, id, file);
    fn spec<'a>(fields: &Fields<'a>) -> Option<Fields<'a>> {
        fields.require("spec").map(|spec| spec.fields())
    }
    let object = match kind.name {
        _ if matches!(kind.effect, Effect::Refused(_)) => {
            if let Effect::Refused(text) = kind.effect {
                at.refuse(format_args!("{} cannot be used", kind.name), text);
            }
            return None;
        }
        "VirtualService" => {
            Object::VirtualService(Arc::new(VirtualService::read(spec(&fields)?, metadata)))
        }
        "DestinationRule" => {
            Object::DestinationRule(Arc::new(DestinationRule::read(spec(&fields)?, metadata)))
        }
        "Gateway" if kind.group == GATEWAY_API => {
            Object::ApiGateway(Arc::new(ApiGateway::read(spec(&fields)?, metadata)))
        }
        "GatewayClass" => {
            Object::GatewayClass(Arc::new(GatewayClass::read(spec(&fields)?, metadata)))
        }
        "ReferenceGrant" => {
            Object::ReferenceGrant(Arc::new(ReferenceGrant::read(spec(&fields)?, metadata)))
        }
        "HTTPRoute" | "GRPCRoute" | "TLSRoute" | "TCPRoute" => {
            let route = match kind.name {
                "HTTPRoute" => ApiRouteKind::Http,
                "GRPCRoute" => ApiRouteKind::Grpc,
                "TLSRoute" => ApiRouteKind::Tls,
                _ => ApiRouteKind::Tcp,
            };
            Object::ApiRoute(Arc::new(ApiRoute::read(spec(&fields)?, metadata, route)))
        }
        "Gateway" => Object::Gateway(Arc::new(Gateway::read(spec(&fields)?, metadata))),
        "Sidecar" => Object::Sidecar(Arc::new(Sidecar::read(spec(&fields)?, metadata))),
        "PeerAuthentication" => {
            let spec = fields.get("spec");
            Object::PeerAuthentication(Arc::new(PeerAuthentication::read(
                spec.map(|s| s.fields()),
                metadata,
            )))
        }
        "AuthorizationPolicy" => {
            let spec = fields.get("spec");
            Object::AuthorizationPolicy(Arc::new(AuthorizationPolicy::read(
                spec.map(|s| s.fields()),
                metadata,
            )))
        }
        "RequestAuthentication" => {
            let spec = fields.get("spec");
            Object::RequestAuthentication(Arc::new(RequestAuthentication::read(
                spec.map(|s| s.fields()),
                metadata,
            )))
        }
        "Service" => Object::Service(Arc::new(Service::read(spec(&fields)?, metadata))),
        "EndpointSlice" => {
            return Some(Object::EndpointSlice(Arc::new(EndpointSlice::read(
                fields, metadata,
            ))));
        }
        "Pod" => Object::Pod(Arc::new(Pod::read(&fields, metadata))),
        "Node" => {
            fields.ignore(&["spec"]);
            Object::Node(Arc::new(KubernetesNode { metadata }))
        }
        "ServiceEntry" => {
            Object::ServiceEntry(Arc::new(ServiceEntry::read(spec(&fields)?, metadata)))
        }
        "WorkloadEntry" => Object::WorkloadEntry(Arc::new(WorkloadEntry::read(
            &fields.require("spec")?,
            metadata,
        ))),
        "Ingress" => Object::Ingress(Arc::new(Ingress::read(spec(&fields)?, metadata))),
        "EnvoyFilter" => Object::EnvoyFilter(Arc::new(EnvoyFilter::read(spec(&fields)?, metadata))),
        "Telemetry" => Object::Telemetry(Arc::new(Telemetry::read(spec(&fields)?, metadata))),
        "WorkloadGroup" => {
            Object::WorkloadGroup(Arc::new(WorkloadGroup::read(spec(&fields)?, metadata)))
        }
        _ => {
            let document = at.node().clone();
            return Some(Object::Other(Arc::new(Other {
                kind: kind.name,
                metadata,
                document,
            })));
        }
    };
    fields.finish();
    Some(object)
}

fn read_metadata(fields: &Fields<'_>, id: &ObjectId, file: &Arc<str>) -> Metadata {
    let metadata = fields.get("metadata").map(|m| m.fields());
    let map = |name: &'static str| {
        metadata
            .as_ref()
            .map(|m| m.string_map(name))
            .unwrap_or_default()
    };
    let created = metadata
        .as_ref()
        .map(|m| m.string("creationTimestamp"))
        .filter(|s| !s.is_empty());
    let result = Metadata {
        name: id.name.clone(),
        namespace: id.namespace.clone(),
        labels: map("labels"),
        annotations: map("annotations"),
        created,
        api_version: fields.string("apiVersion"),
        provenance: Provenance {
            file: file.clone(),
            line: fields.at().mark().line,
        },
    };
    if let Some(metadata) = metadata {
        metadata.ignore(&[
            "name",
            "namespace",
            "uid",
            "resourceVersion",
            "generation",
            "generateName",
            "ownerReferences",
            "finalizers",
            "managedFields",
            "selfLink",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ]);
        metadata.finish();
    }
    result
}
