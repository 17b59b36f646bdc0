//! Active health checks: who is eligible after which results, and what becomes of endpoints that come and go.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mesh_core::{
    cluster::{CheckResult, Cluster, HealthFlags},
    model::*,
};

use crate::support::*;

const GOOD: CheckResult = CheckResult::Success { degraded: false };
const DEGRADED: CheckResult = CheckResult::Success { degraded: true };

fn checked(change: impl FnOnce(&mut ClusterConfig, &mut HealthCheck)) -> Arc<ClusterConfig> {
    config(|config| {
        let second = Duration::from_secs(1);
        let tcp = HealthChecker::Tcp(TcpHealthCheck::default());
        let mut check = HealthCheck::new(second, second, tcp);
        config.healthy_panic_threshold = 0.0;
        config.update_merge_window = Duration::ZERO;
        change(config, &mut check);
        config.health_check = Some(Arc::new(check));
    })
}

fn result(cluster: &Cluster, number: u16, result: CheckResult, now: Instant) {
    cluster.checked(&find(cluster, number), result, now, &mut Rng(3));
}

#[test]
fn endpoints_are_unhealthy_until_their_first_check() {
    let now = Instant::now();
    let cluster = build(&checked(|_, _| {}), flat([1, 2, 3].map(endpoint)));
    assert!(pick(&cluster, &mut Rng(1)).is_err());
    assert!(!cluster.is_warm());
    result(&cluster, 1, GOOD, now);
    result(&cluster, 2, CheckResult::Network, now);
    assert_eq!(picked(&cluster), [1]);
    assert!(!cluster.is_warm());
    result(&cluster, 3, DEGRADED, now);
    assert!(cluster.is_warm());
    assert_eq!(
        picked(&cluster),
        [1, 3],
        "a third is 46 %: the rest is for the degraded"
    );
    let stats = cluster.stats();
    let membership = (
        stats.membership_healthy.value(),
        stats.membership_degraded.value(),
        stats.membership_total.value(),
    );
    assert_eq!(membership, (1, 1, 3));
    cluster.refresh_gauges();
    let check = &stats.health_check;
    assert_eq!((check.healthy.value(), check.degraded.value()), (2, 1));
}

#[test]
fn one_that_is_never_checked_is_healthy() {
    let mut never = endpoint(2);
    let mut check = EndpointHealthCheck::default();
    check.disabled = true;
    never.health_check = Some(Box::new(check));
    let cluster = build(&checked(|_, _| {}), flat([endpoint(1), never]));
    assert_eq!(picked(&cluster), [2]);
    assert!(cluster.checks(&find(&cluster, 1)) && !cluster.checks(&find(&cluster, 2)));
}

#[test]
fn what_the_assignment_says_counts_too() {
    let now = Instant::now();
    let hosts = [
        endpoint(1),
        with_health(2, EndpointHealth::Unhealthy),
        with_health(3, EndpointHealth::Draining),
    ];
    let cluster = build(&checked(|_, _| {}), flat(hosts));
    for number in [1, 2, 3] {
        result(&cluster, number, GOOD, now);
    }
    assert_eq!(picked(&cluster), [1]);
}

#[test]
fn changes_wait_for_the_merge_window_only_once_all_are_checked() {
    let now = Instant::now();
    let window = Duration::from_secs(1);
    let config = checked(|config, _| config.update_merge_window = window);
    let cluster = build(&config, flat([1, 2].map(endpoint)));
    result(&cluster, 1, GOOD, now);
    result(&cluster, 2, GOOD, now);
    assert_eq!(picked(&cluster), [1, 2], "at once while it warms");
    let bad = CheckResult::Unexpected {
        retriable: false,
        excluded: false,
    };
    result(&cluster, 1, bad, now);
    assert_eq!(
        picked(&cluster),
        [2],
        "the first change is in force at once"
    );
    result(&cluster, 1, GOOD, now + window / 2);
    assert_eq!(picked(&cluster), [2], "the next one waits");
    cluster.sweep(now + window * 2, &mut Rng(1));
    assert_eq!(picked(&cluster), [1, 2]);
}

#[test]
fn a_forgotten_endpoint_stays_while_it_passes() {
    let now = Instant::now();
    for (ignores, left) in [(false, vec![1, 2]), (true, vec![1])] {
        let config = checked(|config, _| config.ignore_health_on_host_removal = ignores);
        let first = build(&config, flat([1, 2, 3].map(endpoint)));
        for number in [1, 2] {
            result(&first, number, GOOD, now);
        }
        result(&first, 3, CheckResult::Network, now);
        let cluster = build_after(Some(&first), &config, flat([endpoint(1)]));
        assert_eq!(picked(&cluster), left);
        assert_eq!(cluster.endpoints().len(), left.len());
        if ignores {
            continue;
        }
        let two = find(&cluster, 2);
        assert!(two.active_health().any(HealthFlags::PENDING_REMOVAL));
        result(&cluster, 2, CheckResult::Network, now);
        let total = first.stats().membership_total.value();
        assert_eq!(total, 1, "it goes with its first failure");
        assert!(!cluster.checks(&two));
        let again = build_after(Some(&cluster), &config, flat([1, 2].map(endpoint)));
        assert!(
            !find(&again, 2)
                .active_health()
                .any(HealthFlags::PENDING_REMOVAL)
        );
    }
}

#[test]
fn new_endpoints_may_be_left_out_of_the_count_until_their_first_check() {
    let now = Instant::now();
    let config = checked(|config, _| config.ignore_new_hosts_until_first_hc = true);
    let first = build(&config, flat([endpoint(1)]));
    result(&first, 1, GOOD, now);
    let cluster = build_after(Some(&first), &config, flat((1..=9).map(endpoint)));
    assert_eq!(first.stats().membership_excluded.value(), 8);
    assert_eq!(picked(&cluster), [1]);
    result(&cluster, 2, CheckResult::Network, now);
    assert_eq!(first.stats().membership_excluded.value(), 7);
}

#[test]
fn an_answer_that_says_so_excludes_its_endpoint() {
    let now = Instant::now();
    let cluster = build(&checked(|_, _| {}), flat([1, 2].map(endpoint)));
    for number in [1, 2] {
        result(&cluster, number, GOOD, now);
    }
    cluster.fail_immediately(&find(&cluster, 1), now);
    assert_eq!(picked(&cluster), [2]);
    let stats = cluster.stats();
    assert_eq!(stats.membership_excluded.value(), 1);
    assert_eq!(stats.health_check.passive_failure.value(), 1);
    result(&cluster, 1, GOOD, now);
    assert_eq!(picked(&cluster), [1, 2]);
}

#[test]
fn a_check_that_passes_ends_an_ejection() {
    let now = Instant::now();
    for (uneject, expected) in [(true, vec![1, 2]), (false, vec![2])] {
        let config = checked(|config, _| {
            let mut detection = OutlierDetection::default();
            detection.consecutive_5xx = 1;
            detection.max_ejection_percent = 100;
            detection.successful_active_health_check_uneject_host = uneject;
            config.outlier_detection = Some(detection);
        });
        let cluster = build(&config, flat([1, 2].map(endpoint)));
        for number in [1, 2] {
            result(&cluster, number, GOOD, now);
        }
        cluster.observe(&find(&cluster, 1), response(500), now, &mut Rng(1));
        assert_eq!(picked(&cluster), [2]);
        result(&cluster, 1, GOOD, now);
        assert_eq!(picked(&cluster), expected);
    }
}
