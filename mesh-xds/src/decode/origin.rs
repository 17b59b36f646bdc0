//! Which object of its author a problem of a resource belongs to.

use mesh_core::model::Provenance;
use mesh_proto::envoy::config::{
    cluster::v3::Cluster, listener::v3::Listener, route::v3::RouteConfiguration,
};
use prost::{Message, Name};
use prost_types::Any;

use super::metadata;
use crate::{
    ResourceKind,
    problems::{Problem, Step},
};

/// The object that the refused part of a resource was made from, as its metadata say: of a route configuration the
/// route's, of a cluster or listener its own. Empty where they say nothing.
pub fn origin(resource: &Any, problem: &Problem) -> Provenance {
    let metadata = match ResourceKind::from_type_url(&resource.type_url) {
        Some(ResourceKind::Route) => route_metadata(resource, problem),
        Some(ResourceKind::Cluster) => read::<Cluster>(resource).and_then(|c| c.metadata),
        Some(ResourceKind::Listener) => read::<Listener>(resource).and_then(|l| l.metadata),
        _ => None,
    };
    metadata::provenance(metadata.as_ref())
}

fn read<M: Message + Name + Default>(resource: &Any) -> Option<M> {
    resource.to_msg().ok()
}

fn route_metadata(
    resource: &Any,
    problem: &Problem,
) -> Option<mesh_proto::envoy::config::core::v3::Metadata> {
    let [
        Step::Field(hosts),
        Step::Index(host),
        Step::Field(routes),
        Step::Index(route),
        ..,
    ] = problem.at.as_slice()
    else {
        return None;
    };
    if hosts != "virtual_hosts" || routes != "routes" {
        return None;
    }
    let config: RouteConfiguration = read(resource)?;
    let host = config.virtual_hosts.into_iter().nth(*host)?;
    host.routes.into_iter().nth(*route)?.metadata
}

#[cfg(test)]
mod tests {
    use mesh_proto::envoy::config::{
        core::v3::Metadata,
        route::v3::{Route, VirtualHost},
    };
    use prost_types::{Struct, Value, value::Kind};

    use super::*;
    use crate::decode_resource;

    #[test]
    fn a_route_says_where_it_was_written() {
        let fields = [
            ("file", Kind::StringValue("rules.yaml".to_owned())),
            ("line", Kind::NumberValue(7.0)),
            ("object", Kind::StringValue("VirtualService a/b".to_owned())),
        ];
        let fields = fields.map(|(name, kind)| (name.to_owned(), Value { kind: Some(kind) }));
        let metadata = Struct {
            fields: fields.into(),
        };
        let fine = Route {
            name: "fine".to_owned(),
            ..Route::default()
        };
        let wrong = Route {
            metadata: Some(Metadata {
                filter_metadata: [("mesh.provenance".to_owned(), metadata)].into(),
                ..Metadata::default()
            }),
            ..Route::default()
        };
        let config = RouteConfiguration {
            name: "r".to_owned(),
            virtual_hosts: vec![VirtualHost {
                name: "v".to_owned(),
                domains: vec!["*".to_owned()],
                routes: vec![fine, wrong],
                ..VirtualHost::default()
            }],
            ..RouteConfiguration::default()
        };
        let any = Any::from_msg(&config).unwrap();
        let problems = decode_resource(&any).resource.unwrap_err();
        let origins: Vec<_> = problems
            .errors()
            .iter()
            .map(|problem| (problem.path(), origin(&any, problem).place))
            .collect();
        let of = |path: &str| {
            let found = origins.iter().find(|(p, _)| p.starts_with(path));
            found
                .unwrap_or_else(|| panic!("{path}: {origins:?}"))
                .1
                .as_deref()
        };
        assert_eq!(of("virtual_hosts[0].routes[0]"), None);
        assert_eq!(of("virtual_hosts[0].routes[1]"), Some("rules.yaml:7"));
    }
}
