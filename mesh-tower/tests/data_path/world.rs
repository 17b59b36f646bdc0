//! Configuration from model values, and a client over it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use mesh_core::{
    Entropy,
    cluster::Cluster,
    filter::{FilterKind, HttpFilterConfig},
    flags::ResponseFlags,
    model::{
        ClusterConfig, ClusterDiscovery, ClusterLoadAssignment, ClusterSpecifier,
        ConnectionManagerConfig, EndpointConfig, Forward, ListenerConfig, LocalityEndpoints,
        RetryPolicy, Route, RouteAction, RouteConfiguration, RouteSource, VirtualHost,
    },
    retry::RetryOn,
    snapshot::{ConfigSet, Snapshot},
    stats::{Selection, Stats, prometheus},
};
use mesh_tower::{DataPlane, MeshBody, MeshError, MeshService};
use tokio::task::JoinHandle;
use tower::Layer;

use crate::mock::{Mock, TestBody, Upstream, empty, mock};

pub(crate) type Answer = Result<Response<MeshBody<TestBody>>, MeshError>;

/// `reviews:9080` → one virtual host → one route → cluster `reviews` with two endpoints.
pub(crate) struct World {
    pub(crate) forward: Forward,
    pub(crate) host: VirtualHost,
    pub(crate) route: Route,
    pub(crate) manager: ConnectionManagerConfig,
    pub(crate) cluster: ClusterConfig,
    pub(crate) endpoints: u16,
}

/// A client over a scripted upstream.
pub(crate) struct Client {
    pub(crate) plane: DataPlane,
    pub(crate) service: MeshService<Mock>,
    pub(crate) upstream: Upstream,
}

pub(crate) struct Fixed(pub u64);

impl Entropy for Fixed {
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        self.0
    }
}

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) fn address(n: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 20_000 + n))
}

pub(crate) fn policy(tokens: &str, num_retries: u32) -> RetryPolicy {
    let (retry_on, unknown) = RetryOn::parse(tokens);
    assert!(unknown.is_empty(), "{unknown:?}");
    let mut policy = RetryPolicy::default();
    policy.retry_on = retry_on;
    policy.num_retries = num_retries;
    policy
}

impl World {
    pub(crate) fn new() -> Self {
        let mut forward = Forward::to(ClusterSpecifier::Cluster("reviews".into()));
        forward.timeout = Duration::ZERO;
        let mut host = VirtualHost::default();
        host.name = "reviews".into();
        host.domains = vec!["*".into()];
        let routes = RouteSource::Inline(Arc::default());
        let mut manager = ConnectionManagerConfig::new("outbound_9080", routes);
        manager.generate_request_id = false;
        manager.stream_idle_timeout = Duration::ZERO;
        manager.http_filters = vec![HttpFilterConfig::new("router", FilterKind::Router)];
        let discovery = ClusterDiscovery::Static(Arc::default());
        let mut cluster = ClusterConfig::new("reviews", discovery);
        cluster.update_merge_window = Duration::ZERO;
        Self {
            forward,
            host,
            route: Route::default(),
            manager,
            cluster,
            endpoints: 2,
        }
    }

    /// With a retry policy.
    pub(crate) fn retrying(tokens: &str, num_retries: u32) -> Self {
        let mut world = Self::new();
        world.forward.retry_policy = Some(Arc::new(policy(tokens, num_retries)));
        world
    }

    pub(crate) fn assignment(n: u16) -> ClusterLoadAssignment {
        let mut locality = LocalityEndpoints::default();
        locality.endpoints = (0..n).map(|i| EndpointConfig::new(address(i))).collect();
        let mut assignment = ClusterLoadAssignment::default();
        assignment.cluster_name = "reviews".into();
        assignment.localities = vec![locality];
        assignment
    }

    /// The configuration, with the route's action put in.
    pub(crate) fn config(mut self) -> ConfigSet {
        if matches!(self.route.action, RouteAction::NonForwarding) {
            self.route.action = RouteAction::Forward(Box::new(self.forward));
        }
        self.host.routes.push(Arc::new(self.route));
        let mut routes = RouteConfiguration::default();
        routes.name = "9080".into();
        routes.virtual_hosts = vec![self.host];
        self.manager.routes = RouteSource::Inline(Arc::new(routes));
        let mut listener = ListenerConfig::new("reviews:9080");
        listener.api_listener = Some(Arc::new(self.manager));
        self.cluster.discovery =
            ClusterDiscovery::Static(Arc::new(Self::assignment(self.endpoints)));
        let mut config = ConfigSet::default();
        config.listeners = vec![Arc::new(listener)];
        let name = Arc::clone(&self.cluster.name);
        config.clusters.insert(name, Arc::new(self.cluster));
        config
    }

    pub(crate) fn client(self) -> Client {
        let plane = plane(self.config());
        let (inner, upstream) = mock();
        Client {
            service: plane.layer().layer(inner),
            plane,
            upstream,
        }
    }
}

pub(crate) fn plane(config: ConfigSet) -> DataPlane {
    let plane = DataPlane::new(Arc::new(Stats::default()));
    publish(&plane, config);
    plane
}

pub(crate) fn publish(plane: &DataPlane, config: ConfigSet) {
    let next = Snapshot::build(config, &plane.snapshot(), &mut Fixed(1));
    plane.publish(Arc::new(next));
}

pub(crate) fn get() -> Request<TestBody> {
    Request::get("http://reviews:9080/reviews/0")
        .body(empty())
        .expect("a request")
}

pub(crate) fn post(body: TestBody) -> Request<TestBody> {
    Request::post("http://reviews:9080/reviews/0")
        .body(body)
        .expect("a request")
}

impl Client {
    /// Sends in a task.
    pub(crate) fn send(&self, request: Request<TestBody>) -> JoinHandle<Answer> {
        tokio::spawn(self.service.request(request))
    }

    pub(crate) fn cluster(&self) -> Arc<Cluster> {
        let snapshot = self.plane.snapshot();
        let at = snapshot.cluster_by_name("reviews").expect("named");
        Arc::clone(snapshot.cluster(at).expect("a cluster"))
    }

    /// Requests in flight over all endpoints.
    pub(crate) fn in_flight(&self) -> u32 {
        let cluster = self.cluster();
        cluster
            .endpoints()
            .iter()
            .map(|e| e.active_requests())
            .sum()
    }

    /// How often a request ended in this code and these flags, over all of Istio's metrics.
    pub(crate) fn counted(&self, code: u16, flags: &str) -> u64 {
        let text = self.metrics();
        let code = format!("response_code=\"{code}\"");
        let flags = format!("response_flags=\"{flags}\"");
        text.lines()
            .filter(|l| l.starts_with("istio_requests_total{"))
            .filter(|l| l.contains(&code) && l.contains(&flags))
            .filter_map(|l| l.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    }

    pub(crate) fn metrics(&self) -> String {
        let snapshot = self.plane.snapshot();
        prometheus::render(
            snapshot.stats(),
            &snapshot.config().node,
            &Selection::default(),
        )
    }
}

/// Status, flags and body of an answer, Err or Ok.
pub(crate) async fn told(answer: Answer) -> (u16, String, String) {
    let (flags, response) = match answer {
        Ok(response) => (ResponseFlags::NONE, response),
        Err(error) => (error.flags(), error.into_response()),
    };
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a body");
    let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    (status, flags.to_string(), text)
}

/// Lets other tasks run until nothing is left to do but wait for time.
pub(crate) async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// An empty body of another type.
pub(crate) fn nothing() -> Empty<bytes::Bytes> {
    Empty::new()
}
