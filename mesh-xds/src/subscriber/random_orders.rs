//! Messages of the four types in any order and interleaving: what is published is never torn.

use std::collections::{BTreeMap, BTreeSet};

use mesh_core::model::{ClusterDiscovery, NetworkFilter, RouteSource};
use proptest::prelude::*;

use super::tests::scene::{Test, cluster, endpoints, listener, routes};
use crate::ResourceKind::{self, Cluster, Endpoints, Listener, Route, Secret};

/// One edit of a control plane's configuration.
#[derive(Clone, Debug)]
enum Edit {
    Clusters(BTreeSet<u8>),
    /// Route configurations by name, each to one cluster.
    Listeners(BTreeMap<u8, u8>),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        prop::collection::btree_set(0..4_u8, 0..4).prop_map(Edit::Clusters),
        prop::collection::btree_map(0..3_u8, 0..4_u8, 0..3).prop_map(Edit::Listeners),
    ]
}

/// A server that answers what it is asked, whenever the schedule says so.
struct Server {
    test: Test,
    clusters: BTreeSet<u8>,
    listeners: BTreeMap<u8, u8>,
    /// Names that the client asks for.
    asked: BTreeMap<ResourceKind, BTreeSet<String>>,
    /// Types that have something to say.
    pending: BTreeSet<ResourceKind>,
    version: u32,
}

impl Server {
    fn take_requests(&mut self) {
        for request in self.test.sent() {
            let kind = ResourceKind::from_type_url(&request.type_url).unwrap();
            assert!(request.error_detail.is_none(), "{request:?}");
            let names: BTreeSet<_> = request.resource_names.into_iter().collect();
            if self.asked.insert(kind, names.clone()) != Some(names) {
                self.pending.insert(kind);
            }
        }
    }

    fn push(&mut self, kind: ResourceKind) {
        if !self.pending.remove(&kind) {
            return;
        }
        self.version += 1;
        let names = self.asked.get(&kind).cloned().unwrap_or_default();
        let number = |name: &String| name.get(1..).and_then(|n| n.parse::<u8>().ok()).unwrap();
        let resources: Vec<_> = match kind {
            Cluster => self
                .clusters
                .iter()
                .map(|at| cluster(&format!("c{at}")))
                .collect(),
            Listener => self
                .listeners
                .keys()
                .map(|at| listener(&format!("l{at}"), &format!("r{at}")))
                .collect(),
            Endpoints => names
                .iter()
                .map(|name| endpoints(name, number(name) + 1))
                .collect(),
            Route => names
                .iter()
                .filter_map(|name| {
                    Some(routes(
                        name,
                        &format!("c{}", self.listeners.get(&number(name))?),
                    ))
                })
                .collect(),
            Secret => Vec::new(),
        };
        self.test
            .respond(kind, &self.version.to_string(), &resources);
        self.check();
        self.take_requests();
    }

    /// Every published configuration holds what it refers to. Route configurations of listeners that the server
    /// dropped meanwhile may be missing only after 15 s, which never pass here.
    fn check(&mut self) {
        let Some((config, _)) = self.test.published() else {
            return;
        };
        for cluster in config.clusters.values() {
            let ClusterDiscovery::Eds(name) = &cluster.discovery else {
                panic!("{cluster:?}")
            };
            assert!(
                config.endpoints.contains_key(name),
                "no endpoints for {name}"
            );
        }
        for listener in &config.listeners {
            let NetworkFilter::Http(manager) = &listener.filter_chains[0].terminal else {
                panic!("{listener:?}")
            };
            let RouteSource::Rds(name) = &manager.routes else {
                panic!("{manager:?}")
            };
            assert!(config.routes.contains_key(name), "no routes {name}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn nothing_torn_is_published(
        edits in prop::collection::vec((edit(), prop::collection::vec(0..4_usize, 0..6)), 1..12),
    ) {
        let mut server = Server {
            test: Test::open(),
            clusters: BTreeSet::new(),
            listeners: BTreeMap::new(),
            asked: BTreeMap::new(),
            pending: BTreeSet::new(),
            version: 0,
        };
        server.take_requests();
        for (edit, schedule) in edits {
            match edit {
                Edit::Clusters(clusters) => server.clusters = clusters,
                Edit::Listeners(listeners) => server.listeners = listeners,
            }
            server.pending.extend(ResourceKind::ALL);
            for kind in schedule {
                server.push(ResourceKind::ALL[kind]);
            }
        }
        // in the end everything arrives
        for _ in 0..4 {
            for kind in ResourceKind::ALL {
                server.push(kind);
            }
        }
        prop_assert_eq!(server.test.subscriber.waiting_for(), None);
    }
}
