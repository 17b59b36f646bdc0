//! Who a folder's workloads are, to ask for their configuration by name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_proto::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use mesh_proto::envoy::config::listener::v3::Listener;
use mesh_proto::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use prost_types::Any;

use crate::config::Config;
use crate::model::DOMAIN;
use crate::translate::{Node as XdsNode, NodeKind, Translator};
use crate::yaml::{Node, Value};

/// A workload of the folder, as its proxy would introduce itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Workload {
    /// The pod's name, or the Deployment's if no pod of it is known.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The pod's address; 127.0.0.1 if no pod is known.
    pub address: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// A Gateway selects it.
    pub is_gateway: bool,
}

/// The label and value by which Istio's own gateway is selected, and its name.
const INGRESS: [(&str, &str); 2] = [("app", "istio-ingressgateway"), ("istio", "ingressgateway")];

impl Workload {
    /// Everything that this workload's proxy would be sent: clusters, their endpoints, listeners, and the routes that
    /// these ask for.
    pub fn resources(&self, config: &Arc<Config>) -> Vec<Any> {
        let translator = Translator::new(Arc::clone(config), Arc::new(self.node(config)));
        let (clusters, listeners) = (translator.clusters(), translator.listeners());
        let eds = Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into()));
        let endpoints = clusters
            .iter()
            .filter(|cluster| cluster.cluster_discovery_type == eds)
            .filter_map(|cluster| translator.endpoints(&cluster.name));
        let endpoints: Vec<Any> = endpoints.map(|e| any(&e)).collect();
        let names: BTreeSet<String> = listeners.iter().flat_map(route_names).collect();
        let routes = names.iter().map(|name| any(&translator.route(name)));
        clusters
            .iter()
            .map(any)
            .chain(listeners.iter().map(any))
            .chain(endpoints)
            .chain(routes)
            .collect()
    }

    /// In words: what selects this workload, and each service that it belongs to with the rules that apply to calls of
    /// it, with their places.
    pub fn describe(&self, config: &Arc<Config>) -> String {
        let translator = Translator::new(Arc::clone(config), Arc::new(self.node(config)));
        translator.describe_workload(&self.name)
    }

    /// In words: a service as this workload sees it, by its full name; `None` if it sees none of this name.
    pub fn describe_service(&self, config: &Arc<Config>, host: &str) -> Option<String> {
        let translator = Translator::new(Arc::clone(config), Arc::new(self.node(config)));
        translator.describe_service(host)
    }

    fn node(&self, config: &Config) -> XdsNode {
        let Self {
            name,
            namespace,
            address,
            labels,
            is_gateway,
        } = self;
        let (kind, word) = match is_gateway {
            true => (NodeKind::Router, "router"),
            false => (NodeKind::Sidecar, "sidecar"),
        };
        let pod = config.registry.pod(address, namespace);
        let node = pod.map_or("", |pod| pod.node.as_str());
        let dns_domain = format!("{namespace}.svc.{DOMAIN}");
        XdsNode {
            id: format!("{word}~{address}~{name}.{namespace}~{dns_domain}"),
            kind,
            ip: address.clone(),
            namespace: namespace.clone(),
            dns_domain,
            labels: labels.clone(),
            cluster_id: "Kubernetes".to_owned(),
            mesh_id: DOMAIN.to_owned(),
            // the registry knows where its pod is
            locality: String::new(),
            node_name: node.to_owned(),
            bind_instance_ip: false,
            metadata: BTreeMap::new(),
        }
    }
}

fn any<M: prost::Message + prost::Name>(message: &M) -> Any {
    Any {
        type_url: M::type_url(),
        value: message.encode_to_vec(),
    }
}

/// Names of the route configurations that a listener asks for.
fn route_names(listener: &Listener) -> Vec<String> {
    let chains = listener.filter_chains.iter();
    let filters = chains
        .chain(&listener.default_filter_chain)
        .flat_map(|chain| &chain.filters);
    let name = |filter: &mesh_proto::envoy::config::listener::v3::Filter| {
        use http::http_connection_manager::RouteSpecifier;
        use mesh_proto::envoy::config::listener::v3::filter::ConfigType;
        let Some(ConfigType::TypedConfig(any)) = &filter.config_type else {
            return None;
        };
        let manager: http::HttpConnectionManager = any.to_msg().ok()?;
        match manager.route_specifier {
            Some(RouteSpecifier::Rds(rds)) => Some(rds.route_config_name),
            _ => None,
        }
    };
    filters.filter_map(name).collect()
}

impl Config {
    /// The workload of this name: a pod, a pod of the Deployment, the Deployment itself, or `istio-ingressgateway`, which
    /// the local runner starts where a Gateway asks for it.
    pub fn workload(&self, namespace: &str, name: &str) -> Option<Workload> {
        let pods = self
            .pods
            .iter()
            .filter(|p| p.metadata.namespace == namespace);
        let pod = pods
            .clone()
            .find(|p| p.metadata.name == name)
            .or_else(|| pods.clone().find(|p| p.workload == name));
        if let Some(pod) = pod {
            let labels = pod.metadata.labels.clone();
            return Some(self.introduce(&pod.metadata.name, namespace, &pod.ip, labels));
        }
        let deployment = self.others().find(|o| {
            o.kind == "Deployment" && o.metadata.namespace == namespace && o.metadata.name == name
        });
        if let Some(deployment) = deployment {
            let labels = template_labels(&deployment.document);
            return Some(self.introduce(name, namespace, "", labels));
        }
        let is_ingress = name == INGRESS[0].1;
        is_ingress.then(|| {
            let labels = INGRESS.map(|(k, v)| (k.to_owned(), v.to_owned()));
            self.introduce(name, namespace, "", labels.into())
        })
    }

    /// A workload of no labels in the default namespace.
    pub fn anybody(&self) -> Workload {
        self.anybody_of("default")
    }

    /// A workload of no labels in a namespace.
    pub fn anybody_of(&self, namespace: &str) -> Workload {
        self.introduce("anybody", namespace, "", BTreeMap::new())
    }

    /// Names of all workloads as [`workload`](Self::workload) takes them, `NAME.NAMESPACE`, sorted.
    pub fn workloads(&self) -> Vec<String> {
        let pods = self.pods.iter().map(|p| (&p.workload, &p.metadata));
        let deployments = self
            .others()
            .filter(|o| o.kind == "Deployment")
            .map(|o| (&o.metadata.name, &o.metadata));
        let mut names: Vec<String> = pods
            .chain(deployments)
            .map(|(name, metadata)| format!("{name}.{}", metadata.namespace))
            .collect();
        names.sort();
        names.dedup();
        names
    }

    fn introduce(
        &self,
        name: &str,
        namespace: &str,
        address: &str,
        labels: BTreeMap<String, String>,
    ) -> Workload {
        let is_gateway = self.gateways.iter().any(|gateway| match &gateway.services {
            None => !gateway.selector.is_empty() && gateway.selects(&labels),
            Some(hosts) => self.registry.services.iter().any(|service| {
                let selector = service.selector.as_ref();
                service.namespace == namespace
                    && hosts.contains(&service.host)
                    && selector.is_some_and(|selector| {
                        selector.iter().all(|(k, v)| labels.get(k) == Some(v))
                    })
            }),
        });
        Workload {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            address: match address {
                "" => "127.0.0.1".to_owned(),
                address => address.to_owned(),
            },
            labels,
            is_gateway,
        }
    }
}

/// `spec.template.metadata.labels`.
fn template_labels(deployment: &Node) -> BTreeMap<String, String> {
    let labels = ["spec", "template", "metadata", "labels"]
        .into_iter()
        .try_fold(deployment, |node, name| node.get(name));
    match labels.map(|node| &node.value) {
        Some(Value::Map(entries)) => entries
            .iter()
            .filter_map(|entry| Some((entry.key.clone(), entry.value.as_str()?.to_owned())))
            .collect(),
        _ => BTreeMap::new(),
    }
}
