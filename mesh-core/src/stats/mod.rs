//! Statistics: sharded counters and histograms, handles resolved when configuration arrives, bounded by it.
//!
//! Envoy's statistics live while a snapshot (or a request of it) uses them, as in Envoy. Istio's request metrics outlive
//! their endpoints for a while, so that the last requests of a removed workload can still be scraped.

mod envoy;
mod metric;
pub mod prometheus;
mod request;
mod responses;
mod selection;
mod sparse;
pub mod text;

pub use envoy::{
    BreakerStats, ClusterStats, CorsStats, CsrfStats, FaultStats, HealthCheckStats, JwtAuthnStats,
    ListenerStats, ManagerStats, NamedCounters, OutlierStats, ServerStats, TcpProxyStats,
};
pub use metric::{Counter, Gauge, GaugeGuard, Histogram, HistogramValues, Sample};
pub use request::{RequestLabels, RequestMetrics};
pub use responses::{
    ResponseClasses, ResponseCodes, ResponseOrigin, ResponseOrigins, UpstreamResponses,
};
pub use selection::{Filter, Kind, Selection};

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use envoy::{Group, Metric};

/// How many request metrics without a user are kept before they are dropped.
const KEPT_REQUEST_METRICS: usize = 1000;

/// All statistics of a process: survives snapshots; a name keeps its counters while any snapshot uses it.
///
/// Its locks are taken when configuration arrives and when metrics are read, never by a request.
#[derive(Debug, Default)]
pub struct Stats {
    clusters: Named<ClusterStats>,
    managers: Named<ManagerStats>,
    listeners: Named<ListenerStats>,
    tcp_proxies: Named<TcpProxyStats>,
    requests: Mutex<HashMap<RequestLabels, Arc<RequestMetrics>>>,
    server: ServerStats,
    unscoped: Arc<UnscopedStats>,
}

/// Statistics whose whole names configuration chooses: those of filters that belong to no group
/// (`PREFIX.http_local_rate_limit.ok`, `tcp.PREFIX.downstream_cx_total`).
#[derive(Debug, Default)]
pub struct UnscopedStats {
    counters: Named<Counter>,
    gauges: Named<Gauge>,
}

impl UnscopedStats {
    /// The counter of a name, the same handle while anybody holds one; takes a lock, so only for when configuration
    /// arrives.
    pub fn counter(&self, name: &str) -> Arc<Counter> {
        self.counters.handle(name)
    }

    /// The gauge of a name, in the same way.
    pub fn gauge(&self, name: &str) -> Arc<Gauge> {
        self.gauges.handle(name)
    }
}

impl Stats {
    /// The metrics for these labels, the same handle for the same labels.
    pub fn request_metrics(&self, labels: &RequestLabels) -> Arc<RequestMetrics> {
        let mut requests = self.requests();
        if let Some(metrics) = requests.get(labels) {
            return Arc::clone(metrics);
        }
        let unused = |metrics: &Arc<RequestMetrics>| Arc::strong_count(metrics) == 1;
        // Counting is as long as the map; only a map that doubled can hold so many more.
        if requests.len() >= KEPT_REQUEST_METRICS
            && requests.len().is_power_of_two()
            && requests.values().filter(|m| unused(m)).count() > KEPT_REQUEST_METRICS / 2
        {
            requests.retain(|_, metrics| !unused(metrics));
        }
        let metrics = Arc::new(RequestMetrics::new(labels.clone()));
        requests.insert(labels.clone(), Arc::clone(&metrics));
        metrics
    }

    /// The counters of a cluster by its stat name.
    pub fn cluster(&self, stat_name: &str) -> Arc<ClusterStats> {
        self.clusters.handle(stat_name)
    }

    /// The counters of a connection manager by its stat prefix.
    pub fn manager(&self, stat_prefix: &str) -> Arc<ManagerStats> {
        self.managers.handle(stat_prefix)
    }

    /// The counters of a listener by its address (`127.0.0.1_9080`, as Envoy writes it).
    pub fn listener(&self, address: &str) -> Arc<ListenerStats> {
        self.listeners.handle(address)
    }

    /// The counters of a TCP proxy by its stat prefix.
    pub fn tcp_proxy(&self, stat_prefix: &str) -> Arc<TcpProxyStats> {
        self.tcp_proxies.handle(stat_prefix)
    }

    /// Statistics whose whole names configuration chooses.
    pub fn unscoped(&self) -> &Arc<UnscopedStats> {
        &self.unscoped
    }

    /// The server's own statistics.
    pub fn server(&self) -> &ServerStats {
        &self.server
    }

    fn requests(&self) -> MutexGuard<'_, HashMap<RequestLabels, Arc<RequestMetrics>>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All request metrics, in no order.
    fn all_requests(&self) -> Vec<Arc<RequestMetrics>> {
        self.requests().values().cloned().collect()
    }

    /// All of Envoy's statistics, by group and name.
    fn visit(&self, visit: &mut dyn FnMut(Series<'_>)) {
        fn each<T: Default + Group>(
            named: &Named<T>,
            scope: Scope,
            visit: &mut dyn FnMut(Series<'_>),
        ) {
            for (tag, group) in named.all() {
                group.visit(&mut |name, metric| {
                    visit(Series {
                        scope,
                        tag: &tag,
                        name,
                        metric,
                    })
                });
            }
        }
        each(&self.clusters, Scope::Cluster, visit);
        each(&self.managers, Scope::Http, visit);
        each(&self.listeners, Scope::Listener, visit);
        each(&self.tcp_proxies, Scope::Tcp, visit);
        let mut unscoped = |name: &str, metric: Metric<'_>| {
            visit(Series {
                scope: Scope::None,
                tag: "",
                name,
                metric,
            });
        };
        for (name, counter) in self.unscoped.counters.all() {
            unscoped(&name, Metric::Counter(counter.value()));
        }
        for (name, gauge) in self.unscoped.gauges.all() {
            unscoped(&name, Metric::Gauge(gauge.value()));
        }
        self.server.visit(&mut |name, metric| {
            visit(Series {
                scope: Scope::Server,
                tag: "",
                name,
                metric,
            })
        });
    }
}

/// One of Envoy's statistics.
struct Series<'a> {
    scope: Scope,
    /// The cluster's, connection manager's or listener's name.
    tag: &'a str,
    name: &'a str,
    metric: Metric<'a>,
}

impl Series<'_> {
    /// The name as `/stats` shows it: `cluster.backend.upstream_rq_200`.
    fn full_name(&self) -> String {
        let mut name = String::from(self.scope.as_str());
        for part in [self.tag, self.name] {
            if !part.is_empty() {
                if !name.is_empty() {
                    name.push('.');
                }
                name.push_str(part);
            }
        }
        match self.metric {
            Metric::Code(_, code) => name.push_str(&format!("_{code}")),
            Metric::Class(_, class) => name.push_str(&format!("_{class}xx")),
            Metric::Counter(_) | Metric::Gauge(_) | Metric::Histogram(_) => {}
        }
        name
    }
}

/// The first word of a statistic's name.
#[derive(Clone, Copy)]
enum Scope {
    Cluster,
    Http,
    Listener,
    Tcp,
    Server,
    /// The name is the whole name.
    None,
}

impl Scope {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Http => "http",
            Self::Listener => "listener",
            Self::Tcp => "tcp",
            Self::Server => "server",
            Self::None => "",
        }
    }
}

/// Handles by name, forgotten when nobody holds them.
#[derive(Debug)]
struct Named<T>(Mutex<Handles<T>>);

#[derive(Debug)]
struct Handles<T> {
    by_name: BTreeMap<Arc<str>, Weak<T>>,
    /// How many there may be before those that nobody holds are looked for, although nobody reads them all.
    prune_at: usize,
}

impl<T> Handles<T> {
    fn prune(&mut self) {
        self.by_name.retain(|_, handle| handle.strong_count() > 0);
        self.prune_at = PRUNE_AT.max(self.by_name.len() * 2);
    }
}

/// The first time.
const PRUNE_AT: usize = 1_024;

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Mutex::new(Handles {
            by_name: BTreeMap::new(),
            prune_at: PRUNE_AT,
        }))
    }
}

impl<T: Default> Named<T> {
    fn lock(&self) -> MutexGuard<'_, Handles<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, name: &str) -> Arc<T> {
        let mut handles = self.lock();
        if let Some(handle) = handles.by_name.get(name).and_then(Weak::upgrade) {
            return handle;
        }
        let handle = Arc::new(T::default());
        handles.by_name.insert(name.into(), Arc::downgrade(&handle));
        if handles.by_name.len() > handles.prune_at {
            handles.prune();
        }
        handle
    }

    fn all(&self) -> Vec<(Arc<str>, Arc<T>)> {
        let mut handles = self.lock();
        handles.prune();
        let handles = handles.by_name.iter();
        handles
            .filter_map(|(name, handle)| Some((Arc::clone(name), handle.upgrade()?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_counters_while_somebody_holds_them() {
        let stats = Stats::default();
        let first = stats.cluster("a");
        first.upstream_rq_total.inc();
        let second = stats.cluster("a");
        assert!(Arc::ptr_eq(&first, &second));
        drop(first);
        assert_eq!(stats.cluster("a").upstream_rq_total.value(), 1);
        drop(second);
        assert_eq!(stats.cluster("a").upstream_rq_total.value(), 0);
        assert!(stats.clusters.all().is_empty());
    }

    #[test]
    fn names_that_nobody_holds_are_forgotten() {
        let stats = Stats::default();
        let kept = stats.cluster("kept");
        for n in 0..10_000 {
            let _ = stats.cluster(&n.to_string());
        }
        assert!(stats.clusters.lock().by_name.len() <= PRUNE_AT);
        assert!(Arc::ptr_eq(&kept, &stats.cluster("kept")));
    }

    #[test]
    fn request_metrics_outlive_their_users_up_to_a_bound() {
        let stats = Stats::default();
        let labels = |i: usize| RequestLabels {
            destination_workload: i.to_string().into(),
            ..RequestLabels::default()
        };
        let held = stats.request_metrics(&labels(0));
        let second = std::time::Duration::from_secs(1);
        stats.request_metrics(&labels(1)).record(
            200,
            None,
            crate::flags::ResponseFlags::NONE,
            second,
        );
        assert_eq!(stats.request_metrics(&labels(1)).count(200), 1);
        for i in 2..10_000 {
            stats.request_metrics(&labels(i));
        }
        assert!(stats.all_requests().len() < 2000);
        assert!(Arc::ptr_eq(&held, &stats.request_metrics(&labels(0))));
        assert_eq!(stats.request_metrics(&labels(1)).count(200), 0);
    }
}
