//! What becomes of a request, and why: the data path's own decisions, written down.
//!
//! Nothing is sent, counted or drawn: where chance decides, all outcomes are listed with their shares. Filters are not
//! run; those that may answer for the route are named.

mod policies;
mod text;

use std::{net::SocketAddr, sync::Arc};

use http::{StatusCode, header::HOST, request, uri::Authority};

use crate::{
    Entropy,
    cluster::Cluster,
    downstream,
    head::{ConnectionInfo, RequestHead, StreamView},
    listener::HttpChain,
    local_reply::LocalReply,
    model::{
        ClusterConfig, ClusterDiscovery, ClusterSpecifier, EndpointHealth, Forward, Provenance,
        Route,
    },
    regex::Scratch,
    route::{
        FormatContext, Found, PassedOver, RouteTable, cluster_not_found, describe, https_redirect,
    },
    snapshot::{ClusterIndex, Outbound, Snapshot},
};

/// What becomes of a call of the application in this process. Displays as the text that `meshctl explain` prints.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// Method and URL as routing sees them: normalised, the host that counts in the URL.
    pub request: String,
    /// The listener whose connection manager decides; None: no HTTP listener takes the call.
    pub listener: Option<Arc<str>>,
    /// The route configuration.
    pub route_configuration: Option<Arc<str>>,
    /// The virtual host.
    pub virtual_host: Option<Place>,
    /// Earlier routes of the virtual host (all of them, if none matches), in order.
    pub passed_over: Vec<Passed>,
    /// The route that matches, with its conditions.
    pub route: Option<Matched>,
    /// What happens.
    pub outcome: Outcome,
    /// What the route asks for: Envoy's field and its value.
    pub policies: Vec<Policy>,
    /// Where the call may go; with weights if there is more than one.
    pub clusters: Vec<Candidate>,
}

/// Something with a name, and where it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// Its name; may be empty.
    pub name: Arc<str>,
    /// The object, the file and the line.
    pub provenance: Provenance,
}

/// A route that was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Passed {
    /// Which.
    pub route: Place,
    /// The conditions that do not hold.
    pub unmet: Vec<String>,
}

/// The route that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Matched {
    /// Which.
    pub route: Place,
    /// Its conditions.
    pub conditions: String,
}

/// What happens to the request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It is sent to an endpoint of one of the clusters.
    Forward,
    /// It is answered here.
    Reply {
        /// The status.
        status: StatusCode,
        /// `location` of a redirect.
        location: Option<String>,
        /// Envoy's response-code details.
        details: String,
        /// Whether this is a failure (NR, NC, …) and not what the route is for.
        is_failure: bool,
    },
}

/// A field of the configuration in force.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// Envoy's field.
    pub name: &'static str,
    /// Its value.
    pub value: String,
}

/// A cluster that the call may go to.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Candidate {
    /// Its name.
    pub name: Arc<str>,
    /// Weight, and the sum of all weights.
    pub weight: (u64, u64),
    /// The object that shaped it.
    pub provenance: Provenance,
    /// Its policies; empty if it does not exist.
    pub policies: Vec<Policy>,
    /// What load balancing chooses from.
    pub endpoints: Endpoints,
}

/// What a cluster offers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Endpoints {
    /// There is no such cluster.
    NoCluster,
    /// The address that the call is made to.
    OriginalDestination,
    /// These.
    Known(Vec<EndpointState>),
}

/// An endpoint as load balancing sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointState {
    /// Its address.
    pub address: SocketAddr,
    /// `priority`; 0 is the highest.
    pub priority: u32,
    /// `load_balancing_weight`.
    pub weight: u32,
    /// `healthy`, `degraded`, `unhealthy`, `draining`, or `ejected` by outlier detection.
    pub health: &'static str,
}

impl Snapshot {
    /// What becomes of a call of the application in this process. `parts` as the application would send them; the
    /// port of the URI, else its scheme's.
    pub fn explain(&self, mut parts: request::Parts, entropy: &mut dyn Entropy) -> Explanation {
        let (host, port) = host_of(&parts);
        let connection = ConnectionInfo {
            in_process: true,
            ..ConnectionInfo::default()
        };
        let mut explanation = Explanation {
            request: format!("{} {}", parts.method, parts.uri),
            listener: None,
            route_configuration: None,
            virtual_host: None,
            passed_over: Vec::new(),
            route: None,
            outcome: Outcome::Forward,
            policies: Vec::new(),
            clusters: Vec::new(),
        };
        let chain = match self.outbound(&host, port) {
            Outbound::Http(at) => self.chain(at),
            Outbound::Tcp(at) => {
                explanation.clusters = vec![self.candidate(at, None, (1, 1))];
                return explanation;
            }
            Outbound::None => None,
        };
        let Some(chain) = chain else {
            explanation.outcome = no_route("route_not_found");
            return explanation;
        };
        explanation.listener = Some(Arc::clone(chain.listener()));
        let accepted = downstream::on_request(chain.manager(), &mut parts, &connection, entropy);
        if let Err(reply) = accepted {
            explanation.outcome = Outcome::of(&reply);
            return explanation;
        }
        explanation.request = format!("{} {}", parts.method, parts.uri);
        let view = StreamView {
            head: RequestHead::of(&parts),
            random: 0,
            connection: &connection,
            metadata: None,
        };
        self.explain_route(chain, &view, &mut explanation);
        explanation
    }

    fn explain_route(&self, chain: &HttpChain, view: &StreamView<'_>, into: &mut Explanation) {
        let Some(table) = chain.routes() else {
            into.outcome = no_route("route_configuration_not_found");
            return;
        };
        into.route_configuration = Some(Arc::clone(&table.config().name));
        let search = table.explain(view, &mut Scratch::default());
        into.virtual_host = search
            .virtual_host
            .and_then(|at| table.config().virtual_hosts.get(at as usize))
            .map(|host| Place {
                name: Arc::clone(&host.name),
                provenance: host.provenance.clone(),
            });
        into.passed_over = search
            .passed_over
            .into_iter()
            .map(|passed| Passed::new(table, passed))
            .collect();
        let at = match search.found {
            Found::Route(at) => at,
            Found::RedirectToHttps => {
                into.outcome = Outcome::of(&https_redirect(view));
                return;
            }
            Found::NoRoute => {
                into.outcome = no_route("route_not_found");
                return;
            }
        };
        let Some(route) = table.route(at) else { return };
        into.route = Some(Matched {
            route: Place::of(route.config()),
            conditions: describe(&route.config().matcher),
        });
        if let Some(reply) = route.reply(view, &FormatContext::new(view.head, view.connection)) {
            into.outcome = Outcome::of(&reply);
        }
        into.policies = policies::of_route(table, at, route);
        if let Some(forward) = route.forward() {
            into.clusters = self.candidates(forward, view);
            if into
                .clusters
                .iter()
                .all(|c| c.endpoints == Endpoints::NoCluster)
            {
                let status = forward.cluster_not_found_response_code;
                into.outcome = Outcome::of(&cluster_not_found(status));
            }
        }
    }

    fn candidates(&self, forward: &Forward, view: &StreamView<'_>) -> Vec<Candidate> {
        match &forward.cluster {
            ClusterSpecifier::Cluster(name) => vec![self.candidate_named(name, (1, 1))],
            ClusterSpecifier::Weighted(clusters) => {
                let total = clusters.iter().map(|c| u64::from(c.weight)).sum();
                clusters
                    .iter()
                    .map(|c| self.candidate_named(&c.name, (u64::from(c.weight), total)))
                    .collect()
            }
            ClusterSpecifier::ClusterHeader(header) => {
                let name = view.head.value(header);
                let name = name.and_then(|name| std::str::from_utf8(name).ok());
                let name = name.map(|name| self.candidate_named(&name.into(), (1, 1)));
                name.into_iter().collect()
            }
        }
    }

    fn candidate_named(&self, name: &Arc<str>, weight: (u64, u64)) -> Candidate {
        match self.cluster_by_name(name) {
            Some(at) => self.candidate(at, Some(name), weight),
            None => Candidate::new(name, weight),
        }
    }

    fn candidate(
        &self,
        at: ClusterIndex,
        name: Option<&Arc<str>>,
        weight: (u64, u64),
    ) -> Candidate {
        let Some(cluster) = self.cluster(at) else {
            return Candidate::new(name.unwrap_or(&Arc::default()), weight);
        };
        let config = cluster.config();
        Candidate {
            provenance: provenance(config),
            policies: policies::of_cluster(config),
            endpoints: endpoints(cluster),
            ..Candidate::new(&config.name, weight)
        }
    }
}

impl Outcome {
    fn of(reply: &LocalReply) -> Self {
        let location = reply.headers.iter().find(|(name, _)| name == "location");
        Self::Reply {
            status: reply.status,
            location: location.map(|(_, value)| String::from_utf8_lossy(value.as_bytes()).into()),
            details: reply.details.clone().into_owned(),
            is_failure: reply.is_failure,
        }
    }
}

impl Place {
    fn of(route: &Route) -> Self {
        Self {
            name: Arc::clone(&route.name),
            provenance: route.provenance.clone(),
        }
    }
}

impl Passed {
    fn new(table: &RouteTable, passed: PassedOver) -> Self {
        let route = table.route(passed.route);
        Self {
            route: route.map_or_else(Place::default, |route| Place::of(route.config())),
            unmet: passed.unmet,
        }
    }
}

impl Candidate {
    /// One that does not exist, as far as is known.
    fn new(name: &Arc<str>, weight: (u64, u64)) -> Self {
        Self {
            name: Arc::clone(name),
            weight,
            provenance: Provenance::default(),
            policies: Vec::new(),
            endpoints: Endpoints::NoCluster,
        }
    }
}

/// The rule that shaped a cluster, else the service that it is for.
fn provenance(config: &ClusterConfig) -> Provenance {
    let mut provenance = config.provenance.clone();
    if provenance.object.is_none()
        && let Some(service) = &config.service
    {
        let object = format!("Service {}/{}", service.namespace, service.name);
        provenance.object = Some(object.into());
    }
    provenance
}

fn endpoints(cluster: &Cluster) -> Endpoints {
    if matches!(cluster.config().discovery, ClusterDiscovery::OriginalDst) {
        return Endpoints::OriginalDestination;
    }
    let state = |endpoint: &Arc<crate::cluster::Endpoint>| EndpointState {
        address: endpoint.address(),
        priority: endpoint.priority(),
        weight: endpoint.weight(),
        health: match endpoint.health() {
            _ if endpoint.is_ejected() => "ejected",
            EndpointHealth::Healthy => "healthy",
            EndpointHealth::Degraded => "degraded",
            EndpointHealth::Unhealthy => "unhealthy",
            EndpointHealth::Draining => "draining",
        },
    };
    Endpoints::Known(cluster.endpoints().iter().map(state).collect())
}

/// 404 NR.
fn no_route(details: &'static str) -> Outcome {
    Outcome::Reply {
        status: StatusCode::NOT_FOUND,
        location: None,
        details: details.to_owned(),
        is_failure: true,
    }
}

/// Host and port that choose the listener: of the URI, else of `host`.
fn host_of(parts: &request::Parts) -> (String, u16) {
    let of_host = || parts.headers.get(HOST)?.to_str().ok()?.parse().ok();
    let authority: Option<Authority> = parts.uri.authority().cloned().or_else(of_host);
    let port = match parts.uri.scheme_str() {
        Some("https") => 443,
        _ => 80,
    };
    authority.map_or_else(
        || (String::new(), port),
        |authority| {
            (
                authority.host().to_owned(),
                authority.port_u16().unwrap_or(port),
            )
        },
    )
}
