//! Resolves the names of `STRICT_DNS` and `LOGICAL_DNS` clusters, again and again (Envoy `strict_dns_cluster.cc`).

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use mesh_core::{
    Entropy,
    model::{DnsDiscovery, DnsLookupFamily},
};
use mesh_tower::ThreadEntropy;
use tokio::task::JoinSet;

use super::publisher::{NamedClusters, Publisher};

/// What a name resolved to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// None that exists: no addresses.
    pub(crate) addresses: Vec<IpAddr>,
    /// How long it holds, if the resolver knows.
    pub(crate) ttl: Option<Duration>,
}

/// Asks for names.
pub(crate) trait Resolve: Clone + Send + 'static {
    /// The addresses of a name.
    fn resolve(
        &self,
        name: &str,
        family: DnsLookupFamily,
    ) -> impl Future<Output = io::Result<Answer>> + Send;
}

/// The system's resolver (`getaddrinfo`): it knows no times to live, so that names are asked for again at the refresh
/// rate.
#[derive(Clone, Debug)]
pub(crate) struct SystemResolver;

impl Resolve for SystemResolver {
    async fn resolve(&self, name: &str, family: DnsLookupFamily) -> io::Result<Answer> {
        let found = tokio::net::lookup_host((name, 0)).await?;
        Ok(Answer {
            addresses: family.select(found.map(|address| address.ip()).collect()),
            ttl: None,
        })
    }
}

/// Resolves the names of the clusters in force until dropped.
pub(crate) async fn run(publisher: Publisher, resolver: impl Resolve) {
    let mut named = publisher.named();
    let mut running = HashMap::new();
    loop {
        let wanted: NamedClusters = named.borrow_and_update().clone();
        running.retain(
            |name, (discovery, _): &mut (Arc<DnsDiscovery>, JoinSet<()>)| {
                wanted.get(name) == Some(discovery)
            },
        );
        for (name, discovery) in wanted {
            running.entry(Arc::clone(&name)).or_insert_with(|| {
                let mut tasks = JoinSet::new();
                let cluster = Arc::new(Cluster::new(name, &discovery, publisher.clone()));
                for at in 0..discovery.names.len() {
                    tasks.spawn(keep_resolved(Arc::clone(&cluster), at, resolver.clone()));
                }
                (discovery, tasks)
            });
        }
        if named.changed().await.is_err() {
            return;
        }
    }
}

/// What the names of one cluster share.
struct Cluster {
    name: Arc<str>,
    discovery: Arc<DnsDiscovery>,
    /// By place of the name; kept where a name cannot be resolved for now.
    answers: Mutex<Vec<Vec<IpAddr>>>,
    publisher: Publisher,
}

impl Cluster {
    fn new(name: Arc<str>, discovery: &Arc<DnsDiscovery>, publisher: Publisher) -> Self {
        Self {
            name,
            answers: Mutex::new(vec![Vec::new(); discovery.names.len()]),
            discovery: Arc::clone(discovery),
            publisher,
        }
    }

    /// None: the name could not be resolved, and keeps the addresses that it had.
    fn answered(&self, at: usize, addresses: Option<Vec<IpAddr>>) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(place), Some(addresses)) = (answers.get_mut(at), addresses) {
            *place = addresses;
        }
        let assignment = self.discovery.resolve(&answers);
        self.publisher
            .resolved(&self.name, &self.discovery, assignment);
    }
}

async fn keep_resolved(cluster: Arc<Cluster>, at: usize, resolver: impl Resolve) {
    let discovery = Arc::clone(&cluster.discovery);
    let Some(name) = discovery.names.get(at) else {
        return;
    };
    let mut failures = 0;
    loop {
        let stats = cluster.publisher.stats(&cluster.name);
        if let Some(stats) = &stats {
            stats.update_attempt.inc();
        }
        let answer = match name.parse() {
            Ok(ip) => Ok(Answer {
                addresses: vec![ip],
                ttl: None,
            }),
            Err(_) => resolver.resolve(name, discovery.lookup_family).await,
        };
        let pause = match &answer {
            Ok(answer) => {
                failures = 0;
                after_answer(&discovery, answer, &mut ThreadEntropy)
            }
            Err(error) => {
                tracing::debug!(cluster = %cluster.name, %name, %error, "not resolved");
                failures += 1;
                after_failure(&discovery, failures, &mut ThreadEntropy)
            }
        };
        if let Some(stats) = &stats {
            match &answer {
                Ok(answer) if answer.addresses.is_empty() => {
                    stats.update_success.inc();
                    stats.update_empty.inc();
                }
                Ok(_) => stats.update_success.inc(),
                Err(_) => stats.update_failure.inc(),
            }
        }
        cluster.answered(at, answer.ok().map(|answer| answer.addresses));
        tokio::time::sleep(pause).await;
    }
}

fn after_answer(discovery: &DnsDiscovery, answer: &Answer, entropy: &mut dyn Entropy) -> Duration {
    let ttl = answer
        .ttl
        .filter(|ttl| discovery.respect_ttl && !ttl.is_zero() && !answer.addresses.is_empty());
    let pause = ttl.unwrap_or(discovery.refresh_rate);
    match discovery.jitter.is_zero() {
        true => pause,
        false => pause + below(discovery.jitter, entropy),
    }
}

/// Doubled at every failure, uniform below.
fn after_failure(discovery: &DnsDiscovery, failures: u32, entropy: &mut dyn Entropy) -> Duration {
    let Some((base, longest)) = discovery.failure_refresh_rate else {
        return discovery.refresh_rate;
    };
    let doubled = 2_u32.checked_pow(failures.saturating_sub(1));
    let interval = doubled.and_then(|times| base.checked_mul(times));
    below(interval.unwrap_or(longest).min(longest), entropy)
}

fn below(limit: Duration, entropy: &mut dyn Entropy) -> Duration {
    let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1);
    Duration::from_millis(entropy.next_u64() % limit)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use mesh_core::{
        model::{
            ClusterConfig, ClusterDiscovery, ClusterLoadAssignment, EndpointConfig,
            LocalityEndpoints,
        },
        snapshot::ConfigSet,
        stats::Stats,
    };
    use mesh_tower::DataPlane;

    use super::*;

    /// Answers as a script says, one word for each question: addresses, or a failure; the last repeats.
    #[derive(Clone)]
    struct Script {
        answers: Arc<Vec<Option<Vec<IpAddr>>>>,
        asked: Arc<AtomicUsize>,
        ttl: Option<Duration>,
    }

    impl Resolve for Script {
        async fn resolve(&self, name: &str, _: DnsLookupFamily) -> io::Result<Answer> {
            assert_eq!(name, "host.test");
            let at = self.asked.fetch_add(1, SeqCst).min(self.answers.len() - 1);
            let addresses = self.answers[at].clone();
            let addresses = addresses.ok_or(io::ErrorKind::TimedOut)?;
            Ok(Answer {
                addresses,
                ttl: self.ttl,
            })
        }
    }

    fn script(answers: &[Option<&[&str]>], ttl: Option<Duration>) -> Script {
        let parse = |ips: &[&str]| ips.iter().map(|ip| ip.parse().unwrap()).collect();
        Script {
            answers: Arc::new(answers.iter().map(|answer| answer.map(parse)).collect()),
            asked: Arc::default(),
            ttl,
        }
    }

    fn config(change: impl FnOnce(&mut DnsDiscovery)) -> ConfigSet {
        let mut locality = LocalityEndpoints::default();
        locality.endpoints = vec![EndpointConfig::new(([0, 0, 0, 0], 80).into())];
        let mut assignment = ClusterLoadAssignment::default();
        assignment.localities = vec![locality];
        let mut discovery = DnsDiscovery::new(assignment, vec!["host.test".into()], false);
        change(&mut discovery);
        let cluster = ClusterConfig::new("c", ClusterDiscovery::Dns(Arc::new(discovery)));
        let mut config = ConfigSet::default();
        config.clusters.insert("c".into(), Arc::new(cluster));
        config
    }

    struct Scene {
        plane: DataPlane,
        publisher: Publisher,
        script: Script,
    }

    impl Scene {
        fn new(config: ConfigSet, script: Script) -> Self {
            let plane = DataPlane::new(Arc::new(Stats::default()));
            let publisher = Publisher::new(plane.downgrade());
            publisher.publish(config);
            tokio::spawn(run(publisher.clone(), script.clone()));
            Self {
                plane,
                publisher,
                script,
            }
        }

        fn addresses(&self) -> Vec<String> {
            let snapshot = self.plane.snapshot();
            let clusters = snapshot.clusters();
            clusters
                .flat_map(|cluster| {
                    cluster
                        .endpoints()
                        .iter()
                        .map(|e| e.address().to_string())
                        .collect::<Vec<_>>()
                })
                .collect()
        }

        fn asked(&self) -> usize {
            self.script.asked.load(SeqCst)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn names_become_endpoints_and_follow_the_answers() {
        let answers = [
            Some(&["10.0.0.1", "10.0.0.2"][..]),
            Some(&["10.0.0.2"]),
            None,
            Some(&[]),
        ];
        let scene = Scene::new(config(|_| {}), script(&answers, None));
        assert!(scene.addresses().is_empty());
        scene.publisher.all_answered().await;
        assert_eq!(scene.addresses(), ["10.0.0.1:80", "10.0.0.2:80"]);
        tokio::time::sleep(Duration::from_millis(4_999)).await;
        assert_eq!(scene.asked(), 1);
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert_eq!(scene.addresses(), ["10.0.0.2:80"]);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(
            (scene.asked(), scene.addresses()),
            (3, vec!["10.0.0.2:80".into()]),
            "a failure changes nothing"
        );
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(
            scene.addresses().is_empty(),
            "a name without addresses has no endpoint"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_to_live_is_respected_where_it_is_asked_for() {
        let ttl = Some(Duration::from_secs(30));
        let answers = [Some(&["10.0.0.1"][..])];
        let with = Scene::new(config(|d| d.respect_ttl = true), script(&answers, ttl));
        let without = Scene::new(config(|_| {}), script(&answers, ttl));
        tokio::time::sleep(Duration::from_secs(29)).await;
        assert_eq!((with.asked(), without.asked()), (1, 6));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(with.asked(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_cannot_be_resolved_is_an_answer_too() {
        let scene = Scene::new(config(|_| {}), script(&[None], None));
        scene.publisher.all_answered().await;
        assert!(scene.addresses().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_unchanged_cluster_is_not_asked_for_again() {
        let answers = [Some(&["10.0.0.1"][..])];
        let scene = Scene::new(config(|_| {}), script(&answers, None));
        scene.publisher.all_answered().await;
        scene.publisher.publish(config(|_| {}));
        assert_eq!(scene.addresses(), ["10.0.0.1:80"]);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(scene.asked(), 1);
        scene.publisher.publish(ConfigSet::default());
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(
            (scene.asked(), scene.addresses().len()),
            (1, 0),
            "a cluster that is gone is forgotten"
        );
    }

    #[test]
    fn failures_back_off() {
        struct Most;
        impl Entropy for Most {
            fn next_u64(&mut self) -> u64 {
                u64::MAX
            }
        }
        let mut discovery = DnsDiscovery::new(ClusterLoadAssignment::default(), Vec::new(), false);
        assert_eq!(
            after_failure(&discovery, 3, &mut Most),
            Duration::from_secs(5)
        );
        let (base, longest) = (Duration::from_millis(100), Duration::from_millis(1_000));
        discovery.failure_refresh_rate = Some((base, longest));
        for failures in 1..40 {
            let most = (100 << (failures - 1).min(4)).min(1_000);
            let pause = after_failure(&discovery, failures, &mut ThreadEntropy);
            assert!(pause < Duration::from_millis(most), "{failures}: {pause:?}");
        }
    }
}
