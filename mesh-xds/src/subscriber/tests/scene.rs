//! A subscriber with a hand on its clock and its control plane, for tests.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant, SystemTime},
};

use mesh_core::{Entropy, model::SecretName, snapshot::ConfigSet};
use mesh_proto::{
    descriptor_pool,
    envoy::{
        config::core::v3::Node,
        service::discovery::v3::{DiscoveryRequest, DiscoveryResponse},
    },
};
use prost::Message;
use prost_reflect::DynamicMessage;
use prost_types::Any;

use super::super::{Action, Finding, Subscriber, UpdateInfo};
use crate::{
    ResourceKind::{self, Cluster, Endpoints, Listener, Route},
    bootstrap::Bootstrap,
};

pub(in crate::subscriber) struct Zero;

impl Entropy for Zero {
    fn next_u64(&mut self) -> u64 {
        0
    }
}

pub(in crate::subscriber) struct Test {
    pub(in crate::subscriber) subscriber: Subscriber,
    pub(in crate::subscriber) now: Instant,
    pub(in crate::subscriber) nonce: u32,
    pub(in crate::subscriber) findings: Vec<Finding>,
    /// Of the last [`Action::Fetch`].
    pub(in crate::subscriber) wanted: BTreeSet<SecretName>,
}

impl Test {
    pub(in crate::subscriber) fn open() -> Self {
        Self::with(Node {
            id: "n".into(),
            ..Default::default()
        })
    }

    pub(in crate::subscriber) fn with(node: Node) -> Self {
        let now = Instant::now();
        let mut subscriber = Subscriber::new(&Bootstrap::in_process(node), now);
        assert!(matches!(subscriber.poll_action(), Some(Action::Connect)));
        subscriber.handle_open(now);
        let mut test = Self {
            subscriber,
            now,
            nonce: 0,
            findings: Vec::new(),
            wanted: BTreeSet::new(),
        };
        assert!(test.published().is_none());
        test
    }

    pub(in crate::subscriber) fn after(&mut self, time: Duration) {
        self.now += time;
        self.subscriber.handle_timeout(self.now);
    }

    pub(in crate::subscriber) fn respond(
        &mut self,
        kind: ResourceKind,
        version: &str,
        resources: &[Any],
    ) {
        self.nonce += 1;
        let response = DiscoveryResponse {
            version_info: version.to_owned(),
            resources: resources.to_vec(),
            type_url: kind.type_url().to_owned(),
            nonce: self.nonce.to_string(),
            ..Default::default()
        };
        self.subscriber
            .handle_response(self.now, SystemTime::UNIX_EPOCH, &response);
    }

    /// All configurations since the last call; the last one.
    pub(in crate::subscriber) fn published(&mut self) -> Option<(ConfigSet, UpdateInfo)> {
        let mut last = None;
        while let Some(action) = self.subscriber.poll_action() {
            match action {
                Action::Publish(config, info) => last = Some((*config, info)),
                Action::Report(finding) => self.findings.push(finding),
                Action::Fetch(names) => self.wanted = names,
                Action::Connect | Action::Failed { .. } => {}
            }
        }
        last
    }

    pub(in crate::subscriber) fn sent(&mut self) -> Vec<DiscoveryRequest> {
        std::iter::from_fn(|| self.subscriber.poll_transmit()).collect()
    }

    /// The names of the last request for a type.
    pub(in crate::subscriber) fn names(&mut self, kind: ResourceKind) -> Vec<String> {
        let sent = self.sent();
        let last = sent
            .into_iter()
            .rev()
            .find(|request| request.type_url == kind.type_url());
        last.unwrap_or_else(|| panic!("no request for {kind}"))
            .resource_names
    }

    /// Serves listener, routes, cluster and endpoints `a`.
    pub(in crate::subscriber) fn complete(&mut self) -> ConfigSet {
        self.sent();
        self.respond(Cluster, "1", &[cluster("a")]);
        self.respond(Listener, "1", &[listener("l", "r")]);
        self.sent();
        self.respond(Endpoints, "1", &[endpoints("a", 1)]);
        self.respond(Route, "1", &[routes("r", "a")]);
        let (config, info) = self.published().unwrap();
        assert!(info.first);
        self.sent();
        config
    }
}

pub(in crate::subscriber) fn any(type_name: &str, yaml: &str) -> Any {
    let descriptor = descriptor_pool().get_message_by_name(type_name).unwrap();
    let message = serde_saphyr::with_deserializer_from_str(yaml, |yaml| {
        DynamicMessage::deserialize(descriptor, yaml)
    });
    let value = message
        .unwrap_or_else(|e| panic!("{e}\n{yaml}"))
        .encode_to_vec();
    Any {
        type_url: format!("type.googleapis.com/{type_name}"),
        value,
    }
}

pub(in crate::subscriber) fn cluster(name: &str) -> Any {
    any(
        "envoy.config.cluster.v3.Cluster",
        &format!("{{name: {name}, type: EDS, eds_cluster_config: {{eds_config: {{ads: {{}}}}}}}}"),
    )
}

pub(in crate::subscriber) fn bad_cluster(name: &str) -> Any {
    any(
        "envoy.config.cluster.v3.Cluster",
        &format!("{{name: {name}, type: EDS, lb_policy: LOAD_BALANCING_POLICY_CONFIG}}"),
    )
}

pub(in crate::subscriber) fn endpoints(name: &str, host: u8) -> Any {
    any(
        "envoy.config.endpoint.v3.ClusterLoadAssignment",
        &format!(
            "{{cluster_name: {name}, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: \
             {{address: 127.0.0.{host}, port_value: 80}}}}}}}}]}}]}}"
        ),
    )
}

pub(in crate::subscriber) fn routes(name: &str, cluster: &str) -> Any {
    any(
        "envoy.config.route.v3.RouteConfiguration",
        &format!(
            "{{name: {name}, virtual_hosts: [{{name: v, domains: ['*'], routes: [{{match: {{prefix: /}}, \
             route: {{cluster: {cluster}}}}}]}}]}}"
        ),
    )
}

pub(in crate::subscriber) fn listener(name: &str, routes: &str) -> Any {
    any(
        "envoy.config.listener.v3.Listener",
        &format!(
            r#"
name: {name}
address: {{socket_address: {{address: 127.0.0.1, port_value: 80}}}}
filter_chains:
- filters:
  - name: http
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: s
      rds: {{route_config_name: {routes}, config_source: {{ads: {{}}}}}}
      http_filters:
      - name: router
        typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
"#
        ),
    )
}
