/// What happens to the objects of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// It is read and shapes the mesh.
    Read,
    /// It is fine and shapes nothing here (the local runner may use it).
    Nothing,
    /// It is refused; the text says what would be right.
    Refused(&'static str),
}

/// A kind of object that this control plane knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Kind {
    /// Its name, such as `VirtualService`.
    pub name: &'static str,
    /// Its API group; empty for Kubernetes' core.
    pub group: &'static str,
    /// The name in commands, such as `virtualservices`.
    pub plural: &'static str,
    /// The short name in commands, such as `vs`; may be empty.
    pub short: &'static str,
    /// What happens to it.
    pub effect: Effect,
}

const NETWORKING: &str = "networking.istio.io";
const SECURITY: &str = "security.istio.io";
const LATER: &str = "it is not supported yet";
const MIXER: &str = "Mixer was removed in Istio 1.8; use Telemetry or EnvoyFilter";
const OLD_AUTH: &str =
    "removed in Istio 1.6; use PeerAuthentication, RequestAuthentication and AuthorizationPolicy";

const fn kind(
    group: &'static str,
    name: &'static str,
    plural: &'static str,
    short: &'static str,
    effect: Effect,
) -> Kind {
    Kind {
        name,
        group,
        plural,
        short,
        effect,
    }
}

static KINDS: &[Kind] = &[
    kind(
        NETWORKING,
        "VirtualService",
        "virtualservices",
        "vs",
        Effect::Read,
    ),
    kind(
        NETWORKING,
        "DestinationRule",
        "destinationrules",
        "dr",
        Effect::Read,
    ),
    kind(NETWORKING, "Gateway", "gateways", "gw", Effect::Read),
    kind(NETWORKING, "Sidecar", "sidecars", "", Effect::Read),
    kind(
        SECURITY,
        "PeerAuthentication",
        "peerauthentications",
        "pa",
        Effect::Read,
    ),
    kind("", "Service", "services", "svc", Effect::Read),
    kind(
        "discovery.k8s.io",
        "EndpointSlice",
        "endpointslices",
        "",
        Effect::Read,
    ),
    kind("", "Pod", "pods", "po", Effect::Read),
    kind(
        "apps",
        "Deployment",
        "deployments",
        "deploy",
        Effect::Nothing,
    ),
    kind(
        "apps",
        "StatefulSet",
        "statefulsets",
        "sts",
        Effect::Nothing,
    ),
    kind("apps", "DaemonSet", "daemonsets", "ds", Effect::Nothing),
    kind("apps", "ReplicaSet", "replicasets", "rs", Effect::Nothing),
    kind("batch", "Job", "jobs", "", Effect::Nothing),
    kind("batch", "CronJob", "cronjobs", "cj", Effect::Nothing),
    kind(
        "autoscaling",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        "hpa",
        Effect::Nothing,
    ),
    kind(
        "policy",
        "PodDisruptionBudget",
        "poddisruptionbudgets",
        "pdb",
        Effect::Nothing,
    ),
    kind(
        "",
        "ServiceAccount",
        "serviceaccounts",
        "sa",
        Effect::Nothing,
    ),
    kind("", "Namespace", "namespaces", "ns", Effect::Nothing),
    kind("", "ConfigMap", "configmaps", "cm", Effect::Nothing),
    kind("", "Secret", "secrets", "", Effect::Nothing),
    kind(
        "",
        "PersistentVolume",
        "persistentvolumes",
        "pv",
        Effect::Nothing,
    ),
    kind(
        "",
        "PersistentVolumeClaim",
        "persistentvolumeclaims",
        "pvc",
        Effect::Nothing,
    ),
    kind("", "LimitRange", "limitranges", "limits", Effect::Nothing),
    kind(
        "",
        "ResourceQuota",
        "resourcequotas",
        "quota",
        Effect::Nothing,
    ),
    kind("", "Node", "nodes", "no", Effect::Read),
    kind(
        "rbac.authorization.k8s.io",
        "Role",
        "roles",
        "",
        Effect::Nothing,
    ),
    kind(
        "rbac.authorization.k8s.io",
        "RoleBinding",
        "rolebindings",
        "",
        Effect::Nothing,
    ),
    kind(
        "rbac.authorization.k8s.io",
        "ClusterRole",
        "clusterroles",
        "",
        Effect::Nothing,
    ),
    kind(
        "rbac.authorization.k8s.io",
        "ClusterRoleBinding",
        "clusterrolebindings",
        "",
        Effect::Nothing,
    ),
    kind(
        "networking.k8s.io",
        "NetworkPolicy",
        "networkpolicies",
        "netpol",
        Effect::Nothing,
    ),
    kind(
        "networking.k8s.io",
        "Ingress",
        "ingresses",
        "ing",
        Effect::Read,
    ),
    kind(
        "networking.k8s.io",
        "IngressClass",
        "ingressclasses",
        "",
        Effect::Nothing,
    ),
    kind(
        "",
        "Endpoints",
        "endpoints",
        "ep",
        Effect::Refused("use EndpointSlice"),
    ),
    kind(
        NETWORKING,
        "ServiceEntry",
        "serviceentries",
        "se",
        Effect::Read,
    ),
    kind(
        NETWORKING,
        "WorkloadEntry",
        "workloadentries",
        "we",
        Effect::Read,
    ),
    kind(
        NETWORKING,
        "WorkloadGroup",
        "workloadgroups",
        "wg",
        Effect::Read,
    ),
    kind(NETWORKING, "EnvoyFilter", "envoyfilters", "", Effect::Read),
    kind(
        NETWORKING,
        "ProxyConfig",
        "proxyconfigs",
        "",
        Effect::Nothing,
    ),
    kind(
        SECURITY,
        "AuthorizationPolicy",
        "authorizationpolicies",
        "ap",
        Effect::Read,
    ),
    kind(
        SECURITY,
        "RequestAuthentication",
        "requestauthentications",
        "ra",
        Effect::Read,
    ),
    kind(
        "telemetry.istio.io",
        "Telemetry",
        "telemetries",
        "telemetry",
        Effect::Read,
    ),
    kind(
        "extensions.istio.io",
        "WasmPlugin",
        "wasmplugins",
        "",
        Effect::Refused(LATER),
    ),
    kind(
        "gateway.networking.k8s.io",
        "Gateway",
        "gateways.gateway",
        "gtw",
        Effect::Read,
    ),
    kind(
        "gateway.networking.k8s.io",
        "GatewayClass",
        "gatewayclasses",
        "gc",
        Effect::Read,
    ),
    kind(
        "gateway.networking.k8s.io",
        "HTTPRoute",
        "httproutes",
        "",
        Effect::Read,
    ),
    kind(
        "gateway.networking.k8s.io",
        "GRPCRoute",
        "grpcroutes",
        "",
        Effect::Read,
    ),
    kind(
        "gateway.networking.k8s.io",
        "TLSRoute",
        "tlsroutes",
        "",
        Effect::Read,
    ),
    kind(
        "gateway.networking.k8s.io",
        "TCPRoute",
        "tcproutes",
        "",
        Effect::Read,
    ),
    kind(
        "gateway.networking.k8s.io",
        "ReferenceGrant",
        "referencegrants",
        "refgrant",
        Effect::Read,
    ),
    kind(
        "authentication.istio.io",
        "Policy",
        "policies",
        "",
        Effect::Refused(OLD_AUTH),
    ),
    kind(
        "authentication.istio.io",
        "MeshPolicy",
        "meshpolicies",
        "",
        Effect::Refused(OLD_AUTH),
    ),
    kind(
        "rbac.istio.io",
        "ServiceRole",
        "serviceroles",
        "",
        Effect::Refused(OLD_AUTH),
    ),
    kind(
        "rbac.istio.io",
        "ServiceRoleBinding",
        "servicerolebindings",
        "",
        Effect::Refused(OLD_AUTH),
    ),
    kind(
        "rbac.istio.io",
        "RbacConfig",
        "rbacconfigs",
        "",
        Effect::Refused(OLD_AUTH),
    ),
    kind(
        "rbac.istio.io",
        "ClusterRbacConfig",
        "clusterrbacconfigs",
        "",
        Effect::Refused(OLD_AUTH),
    ),
    kind(
        "config.istio.io",
        "handler",
        "handlers",
        "",
        Effect::Refused(MIXER),
    ),
    kind(
        "config.istio.io",
        "instance",
        "instances",
        "",
        Effect::Refused(MIXER),
    ),
    kind(
        "config.istio.io",
        "rule",
        "rules",
        "",
        Effect::Refused(MIXER),
    ),
];

/// All kinds that are known, also those that are refused.
pub fn kinds() -> &'static [Kind] {
    KINDS
}

impl Kind {
    /// The kind that a command calls `name`: its name, plural, short or singular form, in any case.
    pub fn by_command_name(name: &str) -> Option<&'static Kind> {
        let name = name.to_lowercase();
        let is_whole = |k: &&Kind| k.plural == name;
        if let Some(kind) = KINDS.iter().find(is_whole) {
            return Some(kind);
        }
        let name = name.split_once('.').map_or(name.as_str(), |(kind, _)| kind);
        KINDS.iter().find(|k| {
            k.plural == name
                || k.name.to_lowercase() == name
                || (!k.short.is_empty() && k.short == name)
        })
    }

    /// What its objects are called among those of all groups: two have a Gateway.
    pub fn identity(&self) -> &'static str {
        match (self.group, self.name) {
            (super::GATEWAY_API, "Gateway") => "KubernetesGateway",
            (_, name) => name,
        }
    }

    /// The kind of a document, by its API group and name.
    pub(crate) fn of(group: &str, name: &str) -> Option<&'static Kind> {
        // where Ingress was before
        let group = match (group, name) {
            ("extensions", "Ingress") => "networking.k8s.io",
            (group, _) => group,
        };
        KINDS.iter().find(|k| k.group == group && k.name == name)
    }

    /// Versions of the API that are read alike.
    pub(crate) fn has_version(&self, version: &str) -> bool {
        match self.group {
            NETWORKING | SECURITY => matches!(version, "v1" | "v1beta1" | "v1alpha3"),
            "discovery.k8s.io" => matches!(version, "v1" | "v1beta1"),
            "" => version == "v1",
            _ => true,
        }
    }
}
