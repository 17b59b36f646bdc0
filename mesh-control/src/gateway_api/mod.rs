//! Kubernetes' Gateway API to Istio's Gateways and VirtualServices, as istiod derives them
//! (`pilot/pkg/config/kube/gateway`): a Gateway for each listener, a VirtualService for each parent and host.

mod backends;
mod order;
mod parents;
mod routes;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::Config;
use crate::model::{
    ApiGateway, ApiRoute, Gateway, GatewayClass, Metadata, ReferenceGrant, VirtualService,
};

/// The objects of the API, in the order in which Istio reads them.
#[derive(Clone, Debug, Default)]
pub(crate) struct GatewayApi {
    pub(crate) classes: Vec<Arc<GatewayClass>>,
    pub(crate) gateways: Vec<Arc<ApiGateway>>,
    pub(crate) routes: Vec<Arc<ApiRoute>>,
    pub(crate) grants: Vec<Arc<ReferenceGrant>>,
}

impl GatewayApi {
    pub(crate) fn is_empty(&self) -> bool {
        self.gateways.is_empty() && self.routes.is_empty()
    }
}

/// Adds what the API's objects say. Their age counts among the others; without any they come first.
pub(crate) fn derive(config: &mut Config) {
    if config.gateway_api.is_empty() {
        return;
    }
    let (gateways, parents) = parents::gateways(config);
    let virtual_services = routes::virtual_services(config, &parents);
    let age = |metadata: &Metadata| metadata.created.clone();
    let mut all: Vec<Arc<Gateway>> = sorted(gateways, |g| &g.metadata);
    all.append(&mut config.gateways);
    all.sort_by_key(|gateway| age(&gateway.metadata));
    config.gateways = all;
    let mut all: Vec<Arc<VirtualService>> = sorted(virtual_services, |vs| &vs.metadata);
    all.append(&mut config.virtual_services);
    all.sort_by_key(|vs| age(&vs.metadata));
    config.virtual_services = all;
}

fn sorted<T>(mut derived: Vec<T>, metadata: impl Fn(&T) -> &Metadata) -> Vec<Arc<T>> {
    derived.sort_by_cached_key(|object| {
        let metadata = metadata(object);
        (metadata.name.clone(), metadata.namespace.clone())
    });
    derived.into_iter().map(Arc::new).collect()
}

/// The metadata of what is derived from an object.
fn derived(from: &Metadata, name: String) -> Metadata {
    Metadata {
        name,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        api_version: "networking.istio.io/v1".to_owned(),
        ..from.clone()
    }
}
