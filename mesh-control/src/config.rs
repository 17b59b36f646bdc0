//! All objects that are in force at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use crate::gateway_api::GatewayApi;
use crate::jwks::Jwks;
use crate::model::{
    AuthorizationPolicy, DestinationRule, EndpointSlice, EnvoyFilter, Gateway, Ingress,
    KubernetesNode, MeshConfig, Metadata, Object, ObjectId, Other, PeerAuthentication, Pod,
    RequestAuthentication, Service, ServiceEntry, Sidecar, Telemetry, VirtualService,
    WorkloadEntry, merged,
};
use crate::registry::Registry;

/// The objects in force, in the order in which Istio reads them: creation time, then name, then namespace.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub(crate) mesh: MeshConfig,
    pub(crate) virtual_services: Vec<Arc<VirtualService>>,
    pub(crate) destination_rules: Vec<Arc<DestinationRule>>,
    pub(crate) gateways: Vec<Arc<Gateway>>,
    pub(crate) sidecars: Vec<Arc<Sidecar>>,
    pub(crate) peer_authentications: Vec<Arc<PeerAuthentication>>,
    pub(crate) authorization_policies: Vec<Arc<AuthorizationPolicy>>,
    pub(crate) request_authentications: Vec<Arc<RequestAuthentication>>,
    /// Keys that were fetched.
    pub(crate) jwks: Jwks,
    pub(crate) services: Vec<Arc<Service>>,
    pub(crate) slices: Vec<Arc<EndpointSlice>>,
    pub(crate) pods: Vec<Arc<Pod>>,
    pub(crate) nodes: Vec<Arc<KubernetesNode>>,
    pub(crate) service_entries: Vec<Arc<ServiceEntry>>,
    pub(crate) telemetries: Vec<Arc<Telemetry>>,
    pub(crate) ingresses: Vec<Arc<Ingress>>,
    pub(crate) envoy_filters: Vec<Arc<EnvoyFilter>>,
    pub(crate) gateway_api: GatewayApi,
    pub(crate) workload_entries: Vec<Arc<WorkloadEntry>>,
    pub(crate) others: Vec<Arc<Other>>,
    pub(crate) objects: Arc<BTreeMap<ObjectId, Metadata>>,
    /// What the objects above make of services and endpoints.
    pub(crate) registry: Registry,
    /// What else it is than an earlier one, if that is little.
    endpoints_changed: Option<EndpointsChanged>,
}

/// Nothing but the endpoints of some hosts is other than in an earlier configuration.
#[derive(Clone, Debug)]
struct EndpointsChanged {
    earlier: Weak<Config>,
    hosts: BTreeSet<String>,
}

impl Config {
    pub(crate) fn new<'a>(
        mesh: MeshConfig,
        jwks: Jwks,
        objects: impl Iterator<Item = (&'a ObjectId, &'a Object)>,
    ) -> Self {
        let mut config = Config {
            mesh,
            jwks,
            ..Config::default()
        };
        let mut metadata = BTreeMap::new();
        for (id, object) in objects {
            metadata.insert(id.clone(), object.metadata().clone());
            match object {
                Object::VirtualService(o) => config.virtual_services.push(o.clone()),
                Object::DestinationRule(o) => config.destination_rules.push(o.clone()),
                Object::Gateway(o) => config.gateways.push(o.clone()),
                Object::Sidecar(o) => config.sidecars.push(o.clone()),
                Object::PeerAuthentication(o) => config.peer_authentications.push(o.clone()),
                Object::AuthorizationPolicy(o) => config.authorization_policies.push(o.clone()),
                Object::RequestAuthentication(o) => {
                    config.request_authentications.push(o.clone());
                }
                Object::Service(o) => config.services.push(o.clone()),
                Object::EndpointSlice(o) => config.slices.push(o.clone()),
                Object::Pod(o) => config.pods.push(o.clone()),
                Object::Node(o) => config.nodes.push(o.clone()),
                Object::ServiceEntry(o) => config.service_entries.push(o.clone()),
                Object::WorkloadEntry(o) => config.workload_entries.push(o.clone()),
                Object::Telemetry(o) => config.telemetries.push(o.clone()),
                Object::Ingress(o) => config.ingresses.push(o.clone()),
                Object::EnvoyFilter(o) => config.envoy_filters.push(o.clone()),
                Object::GatewayClass(o) => config.gateway_api.classes.push(o.clone()),
                Object::ApiGateway(o) => config.gateway_api.gateways.push(o.clone()),
                Object::ApiRoute(o) => config.gateway_api.routes.push(o.clone()),
                Object::ReferenceGrant(o) => config.gateway_api.grants.push(o.clone()),
                Object::WorkloadGroup(_) => {}
                Object::Other(o) => config.others.push(o.clone()),
            }
        }
        config.objects = Arc::new(metadata);
        macro_rules! sort {
            ($($field:ident)*) => {
                $(config.$field.sort_by(|a, b| order(&a.metadata).cmp(&order(&b.metadata)));)*
            };
        }
        sort!(virtual_services destination_rules gateways sidecars peer_authentications);
        sort!(authorization_policies request_authentications);
        sort!(services slices service_entries workload_entries telemetries ingresses);
        config.virtual_services = merged(&config.virtual_services);
        crate::ingress::derive(&mut config);
        crate::gateway_api::derive(&mut config);
        config.registry = Registry::new(&config);
        config
    }

    /// The same with other EndpointSlices of the same names; `None` if everything must be made anew.
    pub(crate) fn with_slices(self: &Arc<Self>, slices: &[Arc<EndpointSlice>]) -> Option<Config> {
        let mut config = Config::clone(self);
        for slice in slices {
            let (name, namespace) = (&slice.metadata.name, &slice.metadata.namespace);
            let old = config
                .slices
                .iter_mut()
                .find(|old| old.metadata.name == *name && old.metadata.namespace == *namespace)?;
            if old.service != slice.service || old.metadata != slice.metadata {
                return None;
            }
            *old = slice.clone();
        }
        let of = slices
            .iter()
            .map(|s| (s.metadata.namespace.as_str(), s.service.as_str()));
        let (registry, hosts) = self.registry.with_endpoints(&config, of)?;
        config.registry = registry;
        config.endpoints_changed = Some(EndpointsChanged {
            earlier: Arc::downgrade(self),
            hosts,
        });
        Some(config)
    }

    /// The same with other keys.
    pub(crate) fn with_jwks(&self, jwks: Jwks) -> Config {
        Config {
            jwks,
            endpoints_changed: None,
            ..self.clone()
        }
    }

    /// The hosts whose endpoints are all that is other than in `earlier`, if that is known.
    pub(crate) fn endpoints_changed_since(
        &self,
        earlier: &Arc<Config>,
    ) -> Option<&BTreeSet<String>> {
        let changed = self.endpoints_changed.as_ref()?;
        (Weak::as_ptr(&changed.earlier) == Arc::as_ptr(earlier)).then_some(&changed.hosts)
    }

    /// Identities and metadata of all objects, sorted by kind, namespace and name.
    pub fn objects(&self) -> impl Iterator<Item = (&ObjectId, &Metadata)> {
        self.objects.iter()
    }

    /// Objects that shape nothing in the mesh, such as Deployments.
    pub fn others(&self) -> impl Iterator<Item = &Arc<Other>> {
        self.others.iter()
    }
}

fn order(metadata: &Metadata) -> (&Option<String>, &str, &str) {
    (&metadata.created, &metadata.name, &metadata.namespace)
}
