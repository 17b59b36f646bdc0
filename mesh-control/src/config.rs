//! All objects that are in force at one moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{
    DestinationRule, EndpointSlice, Gateway, Ingress, KubernetesNode, MeshConfig, Metadata, Object,
    ObjectId, Other, PeerAuthentication, Pod, Service, ServiceEntry, Sidecar, Telemetry,
    VirtualService, WorkloadEntry, merged,
};
use crate::registry::Registry;

/// The objects in force, in the order in which Istio reads them: creation time, then name, then namespace.
#[derive(Debug, Default)]
pub struct Config {
    pub(crate) mesh: MeshConfig,
    pub(crate) virtual_services: Vec<Arc<VirtualService>>,
    pub(crate) destination_rules: Vec<Arc<DestinationRule>>,
    pub(crate) gateways: Vec<Arc<Gateway>>,
    pub(crate) sidecars: Vec<Arc<Sidecar>>,
    pub(crate) peer_authentications: Vec<Arc<PeerAuthentication>>,
    pub(crate) services: Vec<Arc<Service>>,
    pub(crate) slices: Vec<Arc<EndpointSlice>>,
    pub(crate) pods: Vec<Arc<Pod>>,
    pub(crate) nodes: Vec<Arc<KubernetesNode>>,
    pub(crate) service_entries: Vec<Arc<ServiceEntry>>,
    pub(crate) telemetries: Vec<Arc<Telemetry>>,
    pub(crate) ingresses: Vec<Arc<Ingress>>,
    pub(crate) workload_entries: Vec<Arc<WorkloadEntry>>,
    pub(crate) others: Vec<Arc<Other>>,
    pub(crate) objects: BTreeMap<ObjectId, Metadata>,
    /// What the objects above make of services and endpoints.
    pub(crate) registry: Registry,
}

impl Config {
    pub(crate) fn new<'a>(
        mesh: MeshConfig,
        objects: impl Iterator<Item = (&'a ObjectId, &'a Object)>,
    ) -> Self {
        let mut config = Config {
            mesh,
            ..Config::default()
        };
        for (id, object) in objects {
            config.objects.insert(id.clone(), object.metadata().clone());
            match object {
                Object::VirtualService(o) => config.virtual_services.push(o.clone()),
                Object::DestinationRule(o) => config.destination_rules.push(o.clone()),
                Object::Gateway(o) => config.gateways.push(o.clone()),
                Object::Sidecar(o) => config.sidecars.push(o.clone()),
                Object::PeerAuthentication(o) => config.peer_authentications.push(o.clone()),
                Object::Service(o) => config.services.push(o.clone()),
                Object::EndpointSlice(o) => config.slices.push(o.clone()),
                Object::Pod(o) => config.pods.push(o.clone()),
                Object::Node(o) => config.nodes.push(o.clone()),
                Object::ServiceEntry(o) => config.service_entries.push(o.clone()),
                Object::WorkloadEntry(o) => config.workload_entries.push(o.clone()),
                Object::Telemetry(o) => config.telemetries.push(o.clone()),
                Object::Ingress(o) => config.ingresses.push(o.clone()),
                Object::WorkloadGroup(_) => {}
                Object::Other(o) => config.others.push(o.clone()),
            }
        }
        macro_rules! sort {
            ($($field:ident)*) => {
                $(config.$field.sort_by(|a, b| order(&a.metadata).cmp(&order(&b.metadata)));)*
            };
        }
        sort!(virtual_services destination_rules gateways sidecars peer_authentications);
        sort!(services slices service_entries workload_entries telemetries ingresses);
        config.virtual_services = merged(&config.virtual_services);
        crate::ingress::derive(&mut config);
        config.registry = Registry::new(&config);
        config
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
