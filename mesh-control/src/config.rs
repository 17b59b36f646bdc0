//! All objects that are in force at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use rustc_hash::FxHashSet;

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
    since: Option<Since>,
}

#[derive(Clone, Debug)]
struct Since {
    earlier: Weak<Config>,
    changed: Changed,
}

/// All that is other than in an earlier configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    /// The endpoints of some hosts.
    Endpoints(BTreeSet<String>),
    /// Some VirtualServices, whose routes are all of HTTP.
    HttpRoutes,
}

impl Config {
    /// Of these objects, after an earlier configuration, of which what stays the same is taken over.
    pub(crate) fn new<'a>(
        mesh: MeshConfig,
        jwks: Jwks,
        objects: impl Iterator<Item = (&'a ObjectId, &'a Object)>,
        earlier: &Arc<Config>,
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
        match config.has_registry_of(earlier) {
            true => config.registry = earlier.registry.clone(),
            false => config.registry = Registry::new(&config),
        }
        if config.is_but_for_http_routes(earlier) {
            config.since = Some(Since {
                earlier: Arc::downgrade(earlier),
                changed: Changed::HttpRoutes,
            });
        }
        config
    }

    /// Whether everything that services, endpoints and DestinationRules come from is the same.
    fn has_registry_of(&self, earlier: &Config) -> bool {
        self.mesh == earlier.mesh
            && are_same(&self.services, &earlier.services)
            && are_same(&self.slices, &earlier.slices)
            && are_same(&self.pods, &earlier.pods)
            && are_same(&self.nodes, &earlier.nodes)
            && are_same(&self.service_entries, &earlier.service_entries)
            && are_same(&self.workload_entries, &earlier.workload_entries)
            && are_same(&self.destination_rules, &earlier.destination_rules)
    }

    /// Whether some VirtualServices are all that is other, and neither they nor those in their place have routes of
    /// connections.
    fn is_but_for_http_routes(&self, earlier: &Config) -> bool {
        let only_http = |some: &Config, others: &Config| {
            let others = others.virtual_services.iter().map(Arc::as_ptr);
            let others: FxHashSet<_> = others.collect();
            let rules = some.virtual_services.iter();
            let mut changed = rules.filter(|rule| !others.contains(&Arc::as_ptr(rule)));
            changed.all(|rule| rule.tls.is_empty() && rule.tcp.is_empty())
        };
        self.has_registry_of(earlier)
            && self.jwks == earlier.jwks
            && self.gateway_api.is_empty()
            && earlier.gateway_api.is_empty()
            && are_same(&self.gateways, &earlier.gateways)
            && are_same(&self.sidecars, &earlier.sidecars)
            && are_same(&self.peer_authentications, &earlier.peer_authentications)
            && are_same(
                &self.authorization_policies,
                &earlier.authorization_policies,
            )
            && are_same(
                &self.request_authentications,
                &earlier.request_authentications,
            )
            && are_same(&self.telemetries, &earlier.telemetries)
            && are_same(&self.ingresses, &earlier.ingresses)
            && are_same(&self.envoy_filters, &earlier.envoy_filters)
            && only_http(self, earlier)
            && only_http(earlier, self)
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
        config.since = Some(Since {
            earlier: Arc::downgrade(self),
            changed: Changed::Endpoints(hosts),
        });
        Some(config)
    }

    /// The same with other keys.
    pub(crate) fn with_jwks(&self, jwks: Jwks) -> Config {
        Config {
            jwks,
            since: None,
            ..self.clone()
        }
    }

    /// All that is other than in `earlier`, if that is known and little.
    pub(crate) fn changed_since(&self, earlier: &Arc<Config>) -> Option<&Changed> {
        let since = self.since.as_ref()?;
        (Weak::as_ptr(&since.earlier) == Arc::as_ptr(earlier)).then_some(&since.changed)
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

/// Whether these are the very same objects in the same order.
fn are_same<T>(a: &[Arc<T>], b: &[Arc<T>]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| Arc::ptr_eq(a, b))
}

fn order(metadata: &Metadata) -> (&Option<String>, &str, &str) {
    (&metadata.created, &metadata.name, &metadata.namespace)
}
