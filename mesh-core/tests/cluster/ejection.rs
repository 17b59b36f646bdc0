//! Outlier detection: who is ejected when, and who returns.

use std::time::{Duration, Instant};

use mesh_core::{
    cluster::Cluster,
    model::{ClusterConfig, OutlierDetection},
    outcome::{Outcome, ResetReason},
};

use crate::support::*;

/// A cluster of two whose first endpoint is reported on.
struct Scene {
    cluster: Cluster,
    start: Instant,
    rng: Rng,
}

impl Scene {
    fn new(errors: u32, change: impl FnOnce(&mut ClusterConfig, &mut OutlierDetection)) -> Self {
        Self::of(2, errors, change)
    }

    fn of(
        hosts: u16,
        errors: u32,
        change: impl FnOnce(&mut ClusterConfig, &mut OutlierDetection),
    ) -> Self {
        Self {
            cluster: build(&ejecting(errors, change), flat((0..hosts).map(endpoint))),
            start: Instant::now(),
            rng: Rng(5),
        }
    }

    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    fn report(&mut self, host: u16, outcome: Outcome, seconds: u64) {
        let endpoint = find(&self.cluster, host);
        let now = self.at(seconds);
        self.cluster.observe(&endpoint, outcome, now, &mut self.rng);
    }

    fn errors(&mut self, host: u16, count: u32, seconds: u64) {
        for _ in 0..count {
            self.report(host, response(500), seconds);
        }
    }

    fn is_ejected(&self, host: u16) -> bool {
        find(&self.cluster, host).is_ejected()
    }

    /// Sweeps at this second.
    fn sweep(&mut self, seconds: u64) {
        let now = self.at(seconds);
        assert!(self.cluster.sweep(now, &mut self.rng).is_some());
    }
}

#[test]
fn the_very_next_pick_does_not_see_an_ejected_endpoint() {
    let mut scene = Scene::new(3, |_, _| {});
    scene.errors(0, 2, 0);
    assert_eq!(picked(&scene.cluster), [0, 1]);
    scene.errors(0, 1, 0);
    assert_eq!(picked(&scene.cluster), [1]);
    assert!(scene.is_ejected(0));
    let stats = scene.cluster.stats();
    let detection = &stats.outlier_detection;
    assert_eq!(detection.ejections_enforced_total.value(), 1);
    assert_eq!(detection.ejections_enforced_consecutive_5xx.value(), 1);
    assert_eq!(detection.ejections_active.value(), 1);
    assert_eq!(stats.membership_healthy.value(), 1);
}

#[test]
fn a_success_ends_the_run_of_errors() {
    let mut scene = Scene::new(3, |_, _| {});
    for _ in 0..5 {
        scene.errors(0, 2, 0);
        scene.report(0, response(404), 0);
    }
    assert!(!scene.is_ejected(0));
}

#[test]
fn what_counts_as_an_error() {
    let with_grpc = |status| Outcome::grpc_response(http::StatusCode::OK, Some(status));
    let cases = [
        (response(500), true),
        (response(599), true),
        (response(499), false),
        (response(429), false),
        (with_grpc(0), false),
        (with_grpc(14), true),
        (with_grpc(2), true),
        (with_grpc(5), false),
        (Outcome::PerTryTimeout, true),
        (Outcome::RouteTimeout, true),
        (Outcome::AlternativeTimeout, false),
        (Outcome::Reset(ResetReason::RemoteReset), true),
        (Outcome::Reset(ResetReason::RemoteConnectionFailure), true),
        (Outcome::Reset(ResetReason::Overflow), false),
    ];
    for (outcome, is_error) in cases {
        let mut scene = Scene::new(1, |_, _| {});
        scene.report(0, outcome, 0);
        assert_eq!(scene.is_ejected(0), is_error, "{outcome:?}");
    }
}

#[test]
fn an_overflow_does_not_end_a_run_either() {
    let mut scene = Scene::new(2, |_, _| {});
    scene.errors(0, 1, 0);
    scene.report(0, Outcome::Reset(ResetReason::Overflow), 0);
    scene.errors(0, 1, 0);
    assert!(scene.is_ejected(0));
}

#[test]
fn an_error_matcher_decides_instead_of_the_status() {
    let matcher = |c: &mut ClusterConfig, _: &mut OutlierDetection| {
        c.http.outlier_error_statuses = Some(vec![429, 502]);
    };
    for (status, is_error) in [(429, true), (502, true), (500, false), (200, false)] {
        let mut scene = Scene::new(1, matcher);
        scene.report(0, response(status), 0);
        assert_eq!(scene.is_ejected(0), is_error, "{status}");
    }
}

#[test]
fn gateway_failures_have_their_own_count_and_enforcement() {
    let gateway = |_: &mut ClusterConfig, d: &mut OutlierDetection| {
        d.consecutive_gateway_failure = 2;
        d.enforcing_consecutive_gateway_failure = 100;
    };
    let mut scene = Scene::new(100, gateway);
    scene.report(0, response(503), 0);
    scene.report(0, response(500), 0);
    scene.report(0, response(504), 0);
    assert!(
        !scene.is_ejected(0),
        "500 is no gateway failure and ends the run"
    );
    scene.report(0, response(502), 0);
    assert!(scene.is_ejected(0));
    let mut scene = Scene::new(100, |_, d| d.consecutive_gateway_failure = 2);
    for _ in 0..4 {
        scene.report(0, response(503), 0);
    }
    assert!(!scene.is_ejected(0), "not enforced by default");
    let detection = &scene.cluster.stats().outlier_detection;
    let detected = &detection.ejections_detected_consecutive_gateway_failure;
    assert_eq!(detected.value(), 2, "the count starts anew after each");
}

#[test]
fn local_errors_apart() {
    let split = |_: &mut ClusterConfig, d: &mut OutlierDetection| {
        d.split_external_local_origin_errors = true;
        d.consecutive_local_origin_failure = 2;
    };
    let refused = Outcome::Reset(ResetReason::RemoteConnectionFailure);
    let mut scene = Scene::new(2, split);
    scene.report(0, refused, 0);
    scene.errors(0, 1, 0);
    scene.report(0, refused, 0);
    assert!(!scene.is_ejected(0), "the response says that it connected");
    scene.report(0, refused, 0);
    assert!(scene.is_ejected(0));
    let enforced = &scene.cluster.stats().outlier_detection;
    assert_eq!(
        enforced
            .ejections_enforced_consecutive_local_origin_failure
            .value(),
        1
    );
    // A timeout or reset comes after a connection, which ends the run of local failures.
    let mut scene = Scene::new(1, split);
    for _ in 0..5 {
        scene.report(0, Outcome::PerTryTimeout, 0);
        scene.report(0, Outcome::Reset(ResetReason::ConnectionTermination), 0);
    }
    assert!(!scene.is_ejected(0));
}

#[test]
fn no_more_than_the_percentage_is_ejected() {
    // 100 * (ejected + 1) / hosts <= percent.
    for (hosts, percent, ejected) in [(2, 10, 0), (10, 10, 1), (10, 29, 2), (3, 66, 1), (3, 67, 2)]
    {
        let mut scene = Scene::of(hosts, 1, |_, d| d.max_ejection_percent = percent);
        for host in 0..hosts {
            scene.errors(host, 1, 0);
        }
        let now: usize = (0..hosts).filter(|host| scene.is_ejected(*host)).count();
        assert_eq!(now, ejected, "{hosts} hosts, {percent} %");
        let overflow = &scene.cluster.stats().outlier_detection.ejections_overflow;
        assert_eq!(overflow.value(), u64::from(hosts) - ejected as u64);
    }
    let mut scene = Scene::new(1, |_, d| {
        d.max_ejection_percent = 10;
        d.always_eject_one_host = true;
    });
    scene.errors(0, 1, 0);
    scene.errors(1, 1, 0);
    assert!(scene.is_ejected(0) && !scene.is_ejected(1));
}

#[test]
fn enforcement_is_a_matter_of_chance() {
    let mut ejected = 0;
    for seed in 0..400 {
        let mut scene = Scene::new(1, |_, d| d.enforcing_consecutive_5xx = 30);
        scene.rng = Rng(seed);
        scene.errors(0, 1, 0);
        ejected += u32::from(scene.is_ejected(0));
    }
    assert!((80..160).contains(&ejected), "{ejected} of 400 at 30 %");
}

#[test]
fn after_the_ejection_time_the_sweep_returns_the_host() {
    let mut scene = Scene::new(2, |_, _| {});
    scene.sweep(0);
    scene.errors(0, 2, 1);
    // Interval 10 s, base ejection time 30 s: the sweep at 30 s is too early.
    for seconds in [10, 20, 30] {
        scene.sweep(seconds);
        assert!(scene.is_ejected(0), "{seconds}");
    }
    scene.sweep(35);
    assert!(scene.is_ejected(0), "only at the end of an interval");
    scene.sweep(40);
    assert!(!scene.is_ejected(0));
    assert_eq!(picked(&scene.cluster), [0, 1]);
    let active = &scene.cluster.stats().outlier_detection.ejections_active;
    assert_eq!(active.value(), 0);
    scene.errors(0, 1, 41);
    assert!(!scene.is_ejected(0), "its counts started anew");
}

/// How long the host stays out, in sweeps of a second.
fn time_out(scene: &mut Scene, from: u64) -> u64 {
    scene.errors(0, 1, from);
    assert!(scene.is_ejected(0));
    let mut seconds = from;
    while scene.is_ejected(0) {
        seconds += 1;
        scene.sweep(seconds);
    }
    seconds - from
}

fn every_second(_: &mut ClusterConfig, d: &mut OutlierDetection) {
    d.interval = Duration::from_secs(1);
    d.base_ejection_time = Duration::from_secs(10);
    d.max_ejection_time = Duration::from_secs(25);
}

#[test]
fn each_ejection_lasts_longer_up_to_the_maximum() {
    let mut scene = Scene::new(1, every_second);
    scene.sweep(0);
    let mut now = 0;
    for expected in [10, 20, 25, 25] {
        let time = time_out(&mut scene, now);
        assert_eq!(time, expected);
        now += time;
    }
}

#[test]
fn a_host_that_stays_well_is_forgiven() {
    let mut scene = Scene::new(1, every_second);
    scene.sweep(0);
    let mut now = time_out(&mut scene, 0);
    now += time_out(&mut scene, now);
    assert_eq!(now, 30);
    // Each interval that it stays in takes one base time off the next ejection.
    scene.sweep(now + 1);
    assert_eq!(time_out(&mut scene, now + 1), 20);
    now += 21;
    for seconds in 1..=5 {
        scene.sweep(now + seconds);
    }
    assert_eq!(time_out(&mut scene, now + 5), 10);
}

#[test]
fn jitter_makes_an_ejection_longer() {
    let mut times = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let mut scene = Scene::new(1, |c, d| {
            every_second(c, d);
            d.max_ejection_time_jitter = Duration::from_secs(5);
        });
        scene.rng = Rng(seed);
        scene.sweep(0);
        times.insert(time_out(&mut scene, 0));
    }
    assert!(times.len() > 2, "{times:?}");
    assert!(times.iter().all(|t| (10..=15).contains(t)), "{times:?}");
}

#[test]
fn without_outlier_detection_there_is_nothing_to_do() {
    let cluster = build(&plain(), flat([endpoint(0)]));
    let now = Instant::now();
    for _ in 0..100 {
        cluster.observe(&find(&cluster, 0), response(500), now, &mut Rng(1));
    }
    assert!(!find(&cluster, 0).is_ejected());
    assert_eq!(cluster.sweep(now, &mut Rng(1)), None);
}

#[test]
fn a_large_cluster_passes_over_an_ejected_endpoint_until_the_sweep() {
    let hosts = 1_200;
    let mut scene = Scene::of(hosts, 1, |_, _| {});
    scene.errors(7, 1, 0);
    let healthy = |scene: &Scene| scene.cluster.stats().membership_healthy.value();
    assert_eq!(healthy(&scene), 1_199);
    assert!(!picks(&scene.cluster, 3_000).contains_key(&7));
    let now = scene.at(0);
    let next = scene.cluster.sweep(now, &mut Rng(1)).unwrap();
    assert!(next - now <= Duration::from_millis(100));
    assert_eq!(healthy(&scene), 1_199);
    assert!(!picks(&scene.cluster, 3_000).contains_key(&7));
}

#[test]
fn threads_eject_once_and_picks_go_on() {
    let scene = Scene::of(4, 5, |_, _| {});
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let scene = &scene;
            scope.spawn(move || {
                let mut rng = Rng(thread);
                let bad = find(&scene.cluster, 0);
                for _ in 0..200 {
                    scene
                        .cluster
                        .observe(&bad, response(500), scene.start, &mut rng);
                    assert!(pick(&scene.cluster, &mut rng).is_ok());
                }
            });
        }
    });
    let detection = &scene.cluster.stats().outlier_detection;
    assert_eq!(detection.ejections_enforced_total.value(), 1);
    assert_eq!(picked(&scene.cluster), [1, 2, 3]);
}

/// Envoy `CodeUtility::is5xx`: there is nothing above 599 that is an error.
#[test]
fn statuses_that_are_no_errors() {
    for (status, ejected) in [
        (500, true),
        (599, true),
        (600, false),
        (999, false),
        (499, false),
    ] {
        let mut scene = Scene::new(1, |_, _| {});
        scene.report(0, response(status), 0);
        assert_eq!(scene.is_ejected(0), ejected, "{status}");
    }
}
