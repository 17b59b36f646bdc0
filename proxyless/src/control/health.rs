//! Active health checks: one task for each endpoint that its cluster wants checked.

use std::{collections::HashMap, sync::Arc};

use mesh_core::{
    Entropy,
    cluster::{CheckResult, Cluster, Endpoint},
    snapshot::Snapshot,
};
use mesh_tower::{ThreadEntropy, WeakDataPlane, transport::Probe};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::Instant,
};

/// Waits until every cluster in force has had its first checks. `rounds` changes with every result.
pub(crate) async fn warmed(plane: WeakDataPlane, mut rounds: watch::Receiver<()>) {
    loop {
        rounds.borrow_and_update();
        let Some(snapshot) = plane.upgrade().map(|plane| plane.snapshot()) else {
            return;
        };
        if snapshot.clusters().all(|cluster| cluster.is_warm()) {
            return;
        }
        drop(snapshot);
        if rounds.changed().await.is_err() {
            return;
        }
    }
}

/// Checks until the data plane is gone.
pub(crate) async fn run(plane: WeakDataPlane, rounds: watch::Sender<()>) {
    let Some(mut changes) = plane.upgrade().map(|plane| plane.changes()) else {
        return;
    };
    let mut running: Vec<Check> = Vec::new();
    let checked = Arc::new(Notify::new());
    loop {
        changes.borrow_and_update();
        {
            let Some(data_plane) = plane.upgrade() else {
                return;
            };
            let snapshot = data_plane.snapshot();
            reconcile(&mut running, &snapshot, &plane, &checked);
        }
        rounds.send_replace(());
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = checked.notified() => {}
        }
    }
}

/// The checks of one endpoint; they end when it is dropped.
struct Check {
    cluster: Arc<str>,
    endpoint: Arc<Endpoint>,
    task: JoinHandle<()>,
}

impl Drop for Check {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts checks of endpoints that are new, ends those of endpoints that are gone.
fn reconcile(
    running: &mut Vec<Check>,
    snapshot: &Snapshot,
    plane: &WeakDataPlane,
    checked: &Arc<Notify>,
) {
    let mut before: HashMap<_, Vec<Check>> = HashMap::new();
    for check in running.drain(..) {
        let key = (Arc::clone(&check.cluster), check.endpoint.address());
        before.entry(key).or_default().push(check);
    }
    for cluster in snapshot.clusters() {
        for endpoint in cluster.endpoints().iter().filter(|e| cluster.checks(e)) {
            let name = &cluster.config().name;
            let key = (Arc::clone(name), endpoint.address());
            let same = before.get_mut(&key).and_then(|checks| {
                let at = checks.iter().position(|c| c.endpoint.is_same(endpoint))?;
                Some(checks.swap_remove(at))
            });
            running.push(same.unwrap_or_else(|| Check {
                cluster: Arc::clone(name),
                endpoint: Arc::clone(endpoint),
                task: tokio::spawn(keep_checking(
                    plane.clone(),
                    Arc::clone(name),
                    Arc::clone(endpoint),
                    Arc::clone(checked),
                )),
            }));
        }
    }
    for ended in before.into_values().flatten() {
        let cluster = snapshot.cluster_by_name(&ended.cluster);
        if let Some(cluster) = cluster.and_then(|at| snapshot.cluster(at)) {
            cluster.checks_no_more(&ended.endpoint);
        }
    }
}

/// Asks one endpoint again and again.
async fn keep_checking(
    plane: WeakDataPlane,
    name: Arc<str>,
    endpoint: Arc<Endpoint>,
    checked: Arc<Notify>,
) {
    let entropy: &mut (dyn Entropy + Send) = &mut ThreadEntropy;
    let Some(first) = find(&plane, &name).and_then(|cluster| cluster.first_check(entropy)) else {
        return;
    };
    tokio::time::sleep(first).await;
    let mut probe = Probe::default();
    loop {
        // Held while it is asked, so that its configuration stays; the cluster of now hears the result.
        let Some(cluster) = find(&plane, &name) else {
            return;
        };
        let asked = probe.check(&cluster, &endpoint);
        cluster.stats().health_check.attempt.inc();
        let mut result = asked.await;
        drop(cluster);
        loop {
            let Some(cluster) = find(&plane, &name) else {
                return;
            };
            let now = Instant::now().into_std();
            let seen = seen(&cluster, &endpoint);
            let Some(pause) = cluster.checked(seen, result, now, entropy) else {
                return;
            };
            drop(cluster);
            checked.notify_one();
            tokio::select! {
                () = tokio::time::sleep(pause) => break,
                () = probe.broken() => result = CheckResult::Network,
            }
        }
    }
}

fn find(plane: &WeakDataPlane, name: &str) -> Option<Arc<Cluster>> {
    let snapshot = plane.upgrade()?.snapshot();
    let at = snapshot.cluster_by_name(name)?;
    snapshot.cluster(at).cloned()
}

/// The endpoint as the snapshot in force has it: its priority may be another one.
fn seen<'a>(cluster: &'a Cluster, endpoint: &'a Endpoint) -> &'a Endpoint {
    let mut endpoints = cluster.endpoints().iter();
    let same = endpoints.find(|other| other.is_same(endpoint));
    same.map_or(endpoint, |same| same)
}
