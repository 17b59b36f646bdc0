//! EnvoyFilter: patches of what was made for a node, in istiod's order (`pilot/pkg/networking/core/envoyfilter`).

mod cluster;
mod listener;
mod merge;
mod route;

use std::sync::Arc;

use super::scope::Scope;
use super::{NodeKind, policies};
use crate::model::{ApplyTo, EnvoyFilter, Patch, PatchContext, PatchOperation};

pub(super) use cluster::Clusters;
pub(super) use listener::{Group, listeners};
pub(super) use route::route_configuration;

/// The patches for a node, first to last.
#[derive(Debug, Default)]
pub(super) struct Patches(Vec<Arc<Patch>>);

impl Patches {
    pub(super) fn of(scope: &Scope) -> Self {
        let node = &scope.node;
        let root = scope.config.mesh.root_namespace.as_str();
        let namespaces: Vec<&str> = policies::namespaces(scope).collect();
        let selects = |filter: &&Arc<EnvoyFilter>| {
            namespaces.contains(&filter.metadata.namespace.as_str())
                && policies::is_for(scope, &filter.metadata, &filter.target)
        };
        let mut filters: Vec<_> = scope.config.envoy_filters.iter().filter(selects).collect();
        filters.sort_by_cached_key(|filter| {
            let metadata = &filter.metadata;
            (
                filter.priority,
                metadata.namespace != root,
                metadata.created.clone(),
                format!("{}.{}", metadata.name, metadata.namespace),
            )
        });
        let version = node.istio_version();
        let patches = filters.iter().flat_map(|filter| &filter.patches);
        let meant = patches.filter(|patch| patch.proxy.is_met(version, &node.metadata));
        Patches(meant.cloned().collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those of an object, in a context.
    fn of_object(&self, apply_to: ApplyTo, context: PatchContext) -> impl Iterator<Item = &Patch> {
        let fits = move |patch: &&Patch| {
            patch.apply_to == apply_to
                && (patch.context == context || patch.context == PatchContext::Any)
        };
        self.0.iter().map(|patch| &**patch).filter(fits)
    }

    /// Values of ADD in a context; what is for any context is added once, to what a client or a gateway uses.
    fn added<M: prost::Message + prost::Name + Default>(
        &self,
        apply_to: ApplyTo,
        context: PatchContext,
    ) -> Vec<M> {
        let is_first = context != PatchContext::SidecarInbound;
        self.of_object(apply_to, context)
            .filter(|patch| patch.operation == PatchOperation::Add)
            .filter(|patch| is_first || patch.context != PatchContext::Any)
            .filter_map(value)
            .collect()
    }
}

/// The context of what a gateway or a client uses.
fn outbound(scope: &Scope) -> PatchContext {
    match scope.node.kind {
        NodeKind::Router => PatchContext::Gateway,
        NodeKind::Sidecar => PatchContext::SidecarOutbound,
    }
}

/// A patch's message; it was checked when it was read.
fn value<M: prost::Message + prost::Name + Default>(patch: &Patch) -> Option<M> {
    patch.value.as_ref()?.to_msg().ok()
}

/// Changes a list as a patch asks; `fits` says which element is meant, `None` that the patch names none.
fn change_list<T>(
    list: &mut Vec<T>,
    operation: PatchOperation,
    value: Option<T>,
    fits: Option<impl Fn(&T) -> bool>,
) {
    match (operation, value, fits) {
        (PatchOperation::Remove, _, Some(fits)) => list.retain(|element| !fits(element)),
        (PatchOperation::Add, Some(value), _)
        | (PatchOperation::InsertAfter, Some(value), None) => {
            list.push(value);
        }
        (PatchOperation::InsertFirst, Some(value), _)
        | (PatchOperation::InsertBefore, Some(value), None) => {
            list.insert(0, value);
        }
        (PatchOperation::InsertAfter, Some(value), Some(fits)) => {
            if let Some(at) = list.iter().position(fits) {
                list.insert(at + 1, value);
            }
        }
        (PatchOperation::InsertBefore, Some(value), Some(fits)) => {
            if let Some(at) = list.iter().position(fits) {
                list.insert(at, value);
            }
        }
        (PatchOperation::Replace, Some(value), Some(fits)) => {
            if let Some(element) = list.iter_mut().find(|element| fits(element)) {
                *element = value;
            }
        }
        _ => {}
    }
}
