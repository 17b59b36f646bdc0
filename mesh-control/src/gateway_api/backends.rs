//! Where a rule leads: `backendRefs` as Istio's destinations.

use crate::config::Config;
use crate::model::{
    ApiRoute, ApiRouteKind, DOMAIN, Destination, DirectResponse, GATEWAY_API, HttpDestination,
    HttpRoute, L4Destination, Mirror, RouteRule, Target,
};

/// A route of a rule; `None`: istiod takes none of the rules then.
pub(super) fn http(
    config: &Config,
    api: &ApiRoute,
    rule: &RouteRule,
    grants_matter: bool,
) -> Option<HttpRoute> {
    let mut route = rule.route.clone();
    for (target, amount) in &rule.mirrors {
        match destination(config, api, target, grants_matter) {
            Ok(destination) => route.mirrors.push(Mirror {
                destination,
                amount: *amount,
            }),
            // of gRPC a wrong mirror is worse than of HTTP
            Err(_) if api.kind == ApiRouteKind::Grpc => return None,
            Err(_) => {}
        }
    }
    if rule.backends.iter().all(|backend| backend.weight == 0) && route.redirect.is_none() {
        route.direct_response = Some(DirectResponse {
            status: 500,
            body: None,
        });
        return Some(route);
    }
    for backend in rule.backends.iter().filter(|backend| backend.weight > 0) {
        let destination = match destination(config, api, &backend.target, grants_matter) {
            Ok(destination) | Err(Invalid::Soft(destination)) => destination,
            Err(Invalid::Hard) => return None,
        };
        route.route.push(HttpDestination {
            destination,
            weight: backend.weight,
            headers: backend.headers.clone(),
        });
    }
    Some(route)
}

/// Destinations of connections; `None`: istiod takes none of the rules then.
pub(super) fn l4(
    config: &Config,
    api: &ApiRoute,
    rule: &RouteRule,
    grants_matter: bool,
) -> Option<Vec<L4Destination>> {
    if rule.backends.iter().all(|backend| backend.weight == 0) {
        // a cluster that is not there ends connections
        return Some(vec![L4Destination {
            destination: Destination {
                host: "internal.cluster.local".to_owned(),
                subset: "zero-weight".to_owned(),
                port: Some(65_535),
            },
            weight: 0,
        }]);
    }
    let mut destinations = Vec::new();
    for backend in rule.backends.iter().filter(|backend| backend.weight > 0) {
        let destination = match destination(config, api, &backend.target, grants_matter) {
            Ok(destination) | Err(Invalid::Soft(destination)) => destination,
            Err(Invalid::Hard) => return None,
        };
        destinations.push(L4Destination {
            destination,
            weight: backend.weight,
        });
    }
    Some(destinations)
}

enum Invalid {
    /// Requests to it fail.
    Soft(Destination),
    /// Nothing of the route is taken.
    Hard,
}

fn destination(
    config: &Config,
    api: &ApiRoute,
    target: &Target,
    grants_matter: bool,
) -> Result<Destination, Invalid> {
    let own = &api.metadata.namespace;
    let namespace = target.namespace.as_ref().unwrap_or(own);
    if grants_matter && namespace != own && !is_granted(config, api, target, namespace) {
        return Err(Invalid::Soft(Destination::default()));
    }
    let (host, is_there) = match (target.group.as_str(), target.kind.as_str()) {
        ("" | "core", "Service") => {
            if target.name.contains('.') {
                return Err(Invalid::Hard);
            }
            let is_there = config.services.iter().any(|service| {
                service.metadata.name == target.name && service.metadata.namespace == *namespace
            });
            (
                format!("{}.{namespace}.svc.{DOMAIN}", target.name),
                is_there,
            )
        }
        ("networking.istio.io", "Hostname") => {
            if target.namespace.is_some() {
                return Err(Invalid::Hard);
            }
            let is_there = config.services.iter().any(|service| {
                let metadata = &service.metadata;
                format!("{}.{}.svc.{DOMAIN}", metadata.name, metadata.namespace) == target.name
            }) || config
                .service_entries
                .iter()
                .any(|entry| entry.hosts.contains(&target.name));
            (target.name.clone(), is_there)
        }
        _ => return Err(Invalid::Soft(Destination::default())),
    };
    let Some(port) = target.port else {
        return Err(Invalid::Hard);
    };
    let destination = Destination {
        host,
        subset: String::new(),
        port: Some(port),
    };
    match is_there {
        true => Ok(destination),
        false => Err(Invalid::Soft(destination)),
    }
}

/// Whether the other namespace lets the route in.
fn is_granted(config: &Config, api: &ApiRoute, target: &Target, namespace: &str) -> bool {
    let grants = config.gateway_api.grants.iter();
    grants
        .filter(|grant| grant.metadata.namespace == namespace)
        .any(|grant| {
            let from = grant.from.iter().any(|from| {
                from.group == GATEWAY_API
                    && from.kind == api.kind.name()
                    && from.namespace == api.metadata.namespace
            });
            from && grant.to.iter().any(|to| {
                let is_service = matches!(to.group.as_str(), "" | "core") && to.kind == "Service";
                is_service
                    && target.kind == to.kind
                    && to.name.as_ref().is_none_or(|name| *name == target.name)
            })
        })
}
