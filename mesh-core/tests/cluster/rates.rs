//! Outlier detection by rates over an interval, and hosts that say they are degraded.

use std::time::{Duration, Instant};

use mesh_core::{
    cluster::Cluster,
    model::OutlierDetection,
    outcome::{Outcome, ResetReason},
};

use crate::support::*;

struct Scene {
    cluster: Cluster,
    start: Instant,
    rng: Rng,
}

impl Scene {
    /// Five hosts, an interval of a second, ten requests suffice, no consecutive errors.
    fn new(change: impl FnOnce(&mut OutlierDetection)) -> Self {
        let config = ejecting(u32::MAX, |_, d| {
            d.interval = Duration::from_secs(1);
            d.base_ejection_time = Duration::from_secs(2);
            d.success_rate_request_volume = 10;
            d.failure_percentage_request_volume = 10;
            d.consecutive_local_origin_failure = u32::MAX;
            change(d);
        });
        let mut scene = Self {
            cluster: build(&config, flat((0..5).map(endpoint))),
            start: Instant::now(),
            rng: Rng(3),
        };
        scene.sweep(0);
        scene
    }

    fn sweep(&mut self, seconds: u64) {
        let now = self.start + Duration::from_secs(seconds);
        assert!(self.cluster.sweep(now, &mut self.rng).is_some());
    }

    fn report(&mut self, host: u16, outcome: Outcome, times: usize) {
        let endpoint = find(&self.cluster, host);
        for _ in 0..times {
            let now = self.start;
            self.cluster.observe(&endpoint, outcome, now, &mut self.rng);
        }
    }

    /// Ten requests to each host, so many of them errors at the first.
    fn traffic(&mut self, errors: usize) {
        self.report(0, response(500), errors);
        self.report(0, response(200), 10 - errors);
        for host in 1..5 {
            self.report(host, response(200), 10);
        }
    }

    fn ejected(&self) -> Vec<u16> {
        (0..5)
            .filter(|host| find(&self.cluster, *host).is_ejected())
            .collect()
    }

    fn stat(&self, name: &str) -> u64 {
        let stats = &self.cluster.stats().outlier_detection;
        match name {
            "active" => stats.ejections_active.value(),
            "success_rate" => stats.ejections_enforced_success_rate.value(),
            "failure_percentage" => stats.ejections_enforced_failure_percentage.value(),
            "local" => stats.ejections_enforced_local_origin_success_rate.value(),
            "degradation" => stats.ejections_detected_degradation.value(),
            _ => unreachable!(),
        }
    }
}

#[test]
fn a_low_success_rate_ejects_at_the_end_of_the_interval() {
    let mut scene = Scene::new(|_| {});
    scene.traffic(5);
    assert!(scene.ejected().is_empty());
    let rates = |scene: &Scene, host| find(&scene.cluster, host).success_rates();
    scene.sweep(1);
    assert_eq!(scene.ejected(), [0]);
    assert_eq!(picked(&scene.cluster), [1, 2, 3, 4]);
    assert_eq!(scene.stat("success_rate"), 1);
    assert_eq!(rates(&scene, 0), [Some(50.0), None]);
    // What was counted counts once; two seconds later the host is back.
    scene.sweep(2);
    assert_eq!(rates(&scene, 0), [None, None]);
    assert_eq!(scene.ejected(), [0]);
    scene.sweep(3);
    assert!(scene.ejected().is_empty());
    assert_eq!((scene.stat("success_rate"), scene.stat("active")), (1, 0));
}

#[test]
fn too_few_requests_or_hosts_eject_nobody() {
    let mut scene = Scene::new(|_| {});
    scene.traffic(5);
    scene.sweep(1);
    let mut scene = Scene::new(|d| d.success_rate_request_volume = 11);
    scene.traffic(5);
    scene.sweep(1);
    assert!(scene.ejected().is_empty());
    let mut scene = Scene::new(|d| d.success_rate_minimum_hosts = 6);
    scene.traffic(5);
    scene.sweep(1);
    assert!(scene.ejected().is_empty());
}

#[test]
fn a_failure_percentage_ejects_if_it_is_enforced() {
    let alone = |d: &mut OutlierDetection| {
        d.enforcing_success_rate = 0;
        d.failure_percentage_threshold = 60;
    };
    let mut scene = Scene::new(alone);
    scene.traffic(6);
    scene.sweep(1);
    assert!(scene.ejected().is_empty(), "not enforced by default");
    for (errors, ejected) in [(5, &[][..]), (6, &[0])] {
        let mut scene = Scene::new(|d| {
            alone(d);
            d.enforcing_failure_percentage = 100;
        });
        scene.traffic(errors);
        scene.sweep(1);
        assert_eq!(scene.ejected(), ejected, "{errors}");
    }
}

/// Both detectors look before either ejects: as in Envoy 1.40 the host is ejected twice, for twice as long, and one of
/// the two ejections stays active for ever.
#[test]
fn a_host_that_both_detectors_find_is_ejected_twice() {
    let mut scene = Scene::new(|d| {
        d.failure_percentage_threshold = 50;
        d.enforcing_failure_percentage = 100;
    });
    scene.traffic(5);
    scene.sweep(1);
    assert_eq!(scene.stat("success_rate"), 1);
    assert_eq!(scene.stat("failure_percentage"), 1);
    assert_eq!(scene.stat("active"), 2);
    scene.sweep(4);
    assert_eq!(scene.ejected(), [0]);
    scene.sweep(5);
    assert!(scene.ejected().is_empty());
    assert_eq!(scene.stat("active"), 1);
}

#[test]
fn errors_of_local_origin_have_their_own_rate() {
    let mut scene = Scene::new(|d| d.split_external_local_origin_errors = true);
    let refused = Outcome::Reset(ResetReason::RemoteConnectionFailure);
    scene.report(0, refused, 10);
    scene.traffic(5);
    scene.sweep(1);
    let rates = find(&scene.cluster, 0).success_rates();
    assert_eq!(rates, [Some(50.0), None], "ejected by the first already");
    let mut scene = Scene::new(|d| d.split_external_local_origin_errors = true);
    scene.report(0, refused, 10);
    scene.traffic(0);
    scene.sweep(1);
    let rates = find(&scene.cluster, 0).success_rates();
    assert_eq!(rates, [Some(100.0), Some(50.0)]);
    assert_eq!((scene.ejected(), scene.stat("local")), (vec![0], 1));
}

#[test]
fn a_failure_after_the_headers_tells_nothing_new_of_the_connection() {
    let mut scene = Scene::new(|d| d.split_external_local_origin_errors = true);
    let broken = Outcome::Reset(ResetReason::ConnectionTermination);
    let (host, now) = (find(&scene.cluster, 0), scene.start);
    for _ in 0..10 {
        scene
            .cluster
            .observe(&host, response(200), now, &mut Rng(1));
        scene.cluster.observe_late(&host, broken, now, &mut Rng(1));
    }
    scene.sweep(1);
    let rates = host.success_rates();
    assert_eq!(rates, [Some(100.0), Some(50.0)]);
}

#[test]
fn a_host_that_says_so_is_degraded_for_a_while() {
    let degraded = Outcome::Response {
        status: http::StatusCode::NOT_FOUND,
        grpc_status: None,
        grpc: false,
        degraded: true,
    };
    let error = Outcome::Response {
        status: http::StatusCode::BAD_GATEWAY,
        grpc_status: None,
        grpc: false,
        degraded: true,
    };
    let mut scene = Scene::new(|_| {});
    scene.report(0, degraded, 1);
    assert_eq!(picked(&scene.cluster).len(), 5, "not asked for");
    let mut scene = Scene::new(|d| {
        d.detect_degraded_hosts = true;
        d.max_ejection_percent = 0;
    });
    scene.report(0, error, 1);
    assert_eq!(
        picked(&scene.cluster).len(),
        5,
        "an error says nothing else"
    );
    scene.report(0, degraded, 3);
    assert_eq!(picked(&scene.cluster), [1, 2, 3, 4]);
    let membership = |scene: &Scene| {
        let stats = scene.cluster.stats();
        let (healthy, degraded) = (&stats.membership_healthy, &stats.membership_degraded);
        (healthy.value(), degraded.value())
    };
    assert_eq!(membership(&scene), (4, 1));
    assert_eq!((scene.stat("degradation"), scene.stat("active")), (1, 0));
    assert!(!find(&scene.cluster, 0).is_ejected());
    scene.sweep(1);
    assert_eq!(membership(&scene), (4, 1));
    scene.sweep(2);
    assert_eq!(membership(&scene), (5, 0));
    // The second time lasts twice as long.
    let host = find(&scene.cluster, 0);
    let now = scene.start + Duration::from_secs(2);
    scene.cluster.observe(&host, degraded, now, &mut Rng(1));
    scene.sweep(5);
    assert_eq!(membership(&scene), (4, 1));
    scene.sweep(6);
    assert_eq!(membership(&scene), (5, 0));
}
