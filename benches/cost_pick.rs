//! Instructions of a pick among 100,000 endpoints against one among 10, counted by callgrind: what must not grow with a
//! cluster.
//!
//! Run by cargo it starts itself under valgrind for each policy and size, with two numbers of picks each: the difference
//! leaves out the building of the cluster.

use std::{net::Ipv4Addr, process::ExitCode, sync::Arc};

use mesh_core::{
    Entropy,
    cluster::{Cluster, PickContext},
    model::{
        ClusterConfig, ClusterDiscovery, ClusterLoadAssignment, EndpointConfig, LbPolicy,
        LocalityEndpoints, Maglev, RingHash,
    },
    stats::Stats,
};
use mesh_testkit::callgrind;

struct Arm {
    name: &'static str,
    policy: fn() -> LbPolicy,
    weighted: bool,
    /// How many times the instructions of a small cluster a large one may take.
    limit: f64,
}

const ARMS: [Arm; 5] = [
    Arm {
        name: "p2c",
        policy: || LbPolicy::LeastRequest {
            choice_count: 2,
            active_request_bias_milli: 1_000,
        },
        weighted: false,
        limit: 2.0,
    },
    Arm {
        name: "ring",
        policy: || LbPolicy::RingHash(RingHash::default()),
        weighted: true,
        limit: 2.0,
    },
    Arm {
        name: "maglev",
        policy: || LbPolicy::Maglev(Maglev::default()),
        weighted: true,
        limit: 2.0,
    },
    Arm {
        name: "round-robin",
        policy: || LbPolicy::RoundRobin,
        weighted: false,
        limit: 2.0,
    },
    Arm {
        name: "edf",
        policy: || LbPolicy::RoundRobin,
        weighted: true,
        limit: 5.0,
    },
];

const SMALL: u32 = 10;
const LARGE: u32 = 100_000;
const PICKS: [u64; 2] = [1_000, 21_000];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["run", arm, endpoints, picks] => {
            let arm = ARMS.iter().find(|a| a.name == arm).expect("an arm");
            let cluster = cluster(arm, endpoints.parse().expect("a number"));
            pick(&cluster, picks.parse().expect("a number"));
            ExitCode::SUCCESS
        }
        _ => callgrind::gates(&ARMS, gate),
    }
}

/// Repeats.
struct SplitMix(u64);

impl Entropy for SplitMix {
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn cluster(arm: &Arm, endpoints: u32) -> Cluster {
    let mut locality = LocalityEndpoints::default();
    let addresses = (0..endpoints).map(|n| Ipv4Addr::from(0x0a00_0000 + n));
    locality.endpoints = addresses
        .enumerate()
        .map(|(n, ip)| {
            let mut endpoint = EndpointConfig::new((ip, 80).into());
            if arm.weighted {
                endpoint.weight = 1 + n as u32 % 5;
            }
            endpoint
        })
        .collect();
    let mut assignment = ClusterLoadAssignment::default();
    assignment.localities = vec![locality];
    let mut config = ClusterConfig::new("c", ClusterDiscovery::Static(Arc::new(assignment)));
    config.lb_policy = (arm.policy)();
    let stats = Stats::default();
    Cluster::build(Arc::new(config), None, None, &stats, &mut SplitMix(1))
}

#[inline(never)]
fn pick(cluster: &Cluster, picks: u64) {
    let mut entropy = SplitMix(2);
    let mut cx = PickContext::first(None);
    for _ in 0..picks {
        cx.hash = Some(entropy.next_u64());
        std::hint::black_box(cluster.pick(&cx, &mut entropy)).expect("an endpoint");
    }
}

/// Whether an arm keeps its limit; prints what a pick costs.
fn gate(arm: &Arm) -> Result<bool, String> {
    let (small, large) = (per_pick(arm, SMALL)?, per_pick(arm, LARGE)?);
    let times = large / small;
    let passed = times <= arm.limit;
    let verdict = if passed { "" } else { "FAILED: " };
    println!(
        "{:<12} {small:>5.0} instructions among {SMALL}, {large:>5.0} among {LARGE}: {times:.2} times, {verdict}limit {}",
        arm.name, arm.limit
    );
    Ok(passed)
}

fn per_pick(arm: &Arm, endpoints: u32) -> Result<f64, String> {
    let args = |picks: u64| {
        vec![
            "run".into(),
            arm.name.into(),
            endpoints.to_string(),
            picks.to_string(),
        ]
    };
    callgrind::per_step(args, PICKS)
}
