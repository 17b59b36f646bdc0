//! Retries, timeouts, hedging and circuit breakers: the same policies, the same requests and the same behaviour of the
//! upstreams through the real Envoy and through mesh-proxy. What the client sees, what the upstreams see and what is
//! counted must be equal.
//!
//! The seed is printed (`MESH_SEED` repeats a run, `MESH_CASES` asks for more, `MESH_ONLY=4,17` runs only these of its
//! configurations). Configurations run side by side, so
//! that waiting costs nothing; a case that differs is repeated before it counts, since a machine under load is late.

mod case;
mod config;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use mesh_testkit::{
    address::OwnAddress,
    exchange::send,
    paired::{Side, Transcript as One, difference, normal_answer},
    process::Program,
    random::Random,
    upstream::{Seen, Upstream},
};

use case::Case;
use config::{Configuration, Layout};

const CONFIGURATIONS: usize = 40;
const DEFAULT_CASES: usize = 1_000;
/// What says that requests are under way, and how long it may say so when the answers are there.
const UNDER_WAY: [&str; 2] = ["upstream_rq_active", "upstream_rq_pending_active"];
const SETTLED_WITHIN: Duration = Duration::from_secs(2);
/// How often a case may differ before it counts.
const TRIES: usize = 3;

/// So many cases follow each other before statistics are compared: reading them costs more than a case.
const BLOCK: usize = 10;

/// A program, and where its listeners are.
struct Tested {
    side: Side,
    name: &'static str,
}

impl Tested {
    async fn start(program: Program, all: &[Configuration], upstreams: &OwnAddress) -> Self {
        let last = config::LISTENER + u16::try_from(all.len() - 1).unwrap_or(0);
        let ports = (config::ADMIN, last);
        let bootstrap = |ip| config::bootstrap(all, ip, upstreams.ip());
        let name = match program {
            Program::Envoy => "e",
            Program::MeshProxy => "m",
        };
        Self {
            side: Side::start(program, ports, bootstrap).await,
            name,
        }
    }

    /// A case with what it counts.
    async fn run(
        &self,
        n: usize,
        case: &Case,
        layout: Layout,
        id: &str,
        world: &World,
    ) -> Transcript {
        let before = self.statistics(n).await;
        let Exchanged { each, spread } = self.exchange(n, case, layout, id, world).await;
        let counted = self.counted(n, layout, case.burst > 1, &before).await;
        Transcript {
            each,
            spread,
            counted,
        }
    }

    /// A case: one transcript of each copy sent.
    async fn exchange(
        &self,
        n: usize,
        case: &Case,
        layout: Layout,
        id: &str,
        world: &World,
    ) -> Exchanged {
        let listener = u16::try_from(n).unwrap_or(0) + config::LISTENER;
        let to = self.side.address.with_port(listener);
        let mut sent = Vec::new();
        for copy in 0..case.burst {
            let id = format!("{}{id}.{copy}", self.name);
            sent.push((tokio::spawn(send(to, case.request(&id))), id));
        }
        let mut transcripts = Vec::new();
        let mut asked = BTreeMap::<String, usize>::new();
        for (answer, id) in sent {
            let answer = answer.await.expect("sending does not panic");
            let seen = Upstream::take_from(&world.upstreams, &id);
            let mut one = One {
                answer: answer
                    .map(|answer| normal_answer(answer, case.is_head()))
                    .map_err(|e| e.kind()),
                seen,
            };
            if let Ok(answer) = &mut one.answer
                && matches!(layout, Layout::Dead | Layout::DeadFirst)
            {
                // Whether a body was read before no upstream took it is a matter of time.
                answer.headers.retain(|(name, _)| name != "connection");
            }
            for seen in &one.seen {
                *asked.entry(seen.upstream.clone()).or_default() += 1;
            }
            name_endpoints(&mut one, layout, case.burst > 1);
            normal_seen(&mut one.seen, layout);
            transcripts.push(one);
        }
        transcripts.sort_by_key(One::lines);
        // What is avoided, and what is repeated beside others, moves the round robin on by chance.
        let is_even = case.burst > 1
            && matches!(layout, Layout::Plain(_))
            && asked.values().sum::<usize>() == case.burst;
        let mut spread: Vec<usize> = asked.into_values().filter(|_| is_even).collect();
        spread.sort_unstable();
        Exchanged {
            each: transcripts,
            spread,
        }
    }

    /// How the cluster's counters have grown. What is counted after the answer left is waited for: until no request is
    /// under way, and nothing moves.
    async fn counted(
        &self,
        n: usize,
        layout: Layout,
        bursts: bool,
        before: &BTreeMap<String, i64>,
    ) -> BTreeMap<String, i64> {
        let limit = Instant::now() + SETTLED_WITHIN;
        let mut last = self.statistics(n).await;
        loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let now = self.statistics(n).await;
            let is_idle = UNDER_WAY.iter().all(|name| now.get(*name) == Some(&0));
            if now == last && (is_idle || Instant::now() > limit) {
                break;
            }
            last = now;
        }
        last.into_iter()
            .filter(|(name, _)| is_compared(name))
            .map(|(name, value)| {
                let grown = value - before.get(&name).copied().unwrap_or(0);
                (name, grown)
            })
            .filter(|(name, grown)| {
                // Whether the first of several is asked first is chance; how many connections fail before the others
                // of a burst come is a matter of time.
                let is_chance = (layout == Layout::Canary && name.contains("canary."))
                    || (bursts && name == "upstream_cx_connect_fail");
                *grown != 0 && !is_chance
            })
            .collect()
    }

    async fn statistics(&self, n: usize) -> BTreeMap<String, i64> {
        let path = format!("/stats?filter=cluster%5C.c{n}%5C.");
        let page = self.side.proxy.admin(&path).await.expect("statistics");
        let prefix = format!("cluster.c{n}.");
        String::from_utf8_lossy(&page.body)
            .lines()
            .filter_map(|line| {
                let (name, value) = line.strip_prefix(&prefix)?.split_once(": ")?;
                Some((name.to_owned(), value.parse().ok()?))
            })
            .collect()
    }
}

/// Requests, retries and refusals; not connections, whose reuse is a matter of time.
fn is_compared(name: &str) -> bool {
    let connections = [
        "upstream_rq_pending_total",
        "upstream_rq_pending_active",
        "upstream_rq_active",
        "upstream_rq_per_cx",
    ];
    let others = [
        "upstream_cx_none_healthy",
        "retry_or_shadow_abandoned",
        "upstream_cx_connect_fail",
    ];
    let name_of_request = name.contains("upstream_rq_") && !connections.contains(&name);
    name_of_request || others.contains(&name)
}

struct World {
    upstreams: Vec<Upstream>,
    envoy: Tested,
    ours: Tested,
}

/// What copies of a case came to, in the order of their lines.
#[derive(Debug, PartialEq)]
struct Exchanged {
    each: Vec<One>,
    /// How often each endpoint was asked by a burst of which nothing was repeated, in ascending order.
    spread: Vec<usize>,
}

/// The same with what was counted meanwhile.
#[derive(Debug, PartialEq)]
struct Transcript {
    each: Vec<One>,
    spread: Vec<usize>,
    counted: BTreeMap<String, i64>,
}

impl Transcript {
    fn repeats(&self) -> bool {
        self.counted.contains_key("upstream_rq_retry")
    }

    fn lines(&self) -> Vec<String> {
        let each = self.each.iter().flat_map(One::lines);
        let counted = self
            .counted
            .iter()
            .map(|(name, grown)| format!("counted {name} +{grown}"));
        let spread = format!("attempts per endpoint {:?}", self.spread);
        each.chain([spread]).chain(counted).collect()
    }
}

/// Which endpoint a round robin begins with is chance: endpoints are named by the order in which they were asked, or,
/// where a retry avoids some of them, by which kind they are; not in a burst, whose picks take turns by chance: how often
/// each endpoint is asked by all of it together is compared instead.
fn name_endpoints(one: &mut One, layout: Layout, in_burst: bool) {
    let mut order: Vec<String> = Vec::new();
    for (attempt, seen) in one.seen.iter_mut().enumerate() {
        let name = match layout {
            Layout::Canary | Layout::Marked => match (attempt, &*seen.upstream) {
                (0, _) => "any".to_owned(),
                _ if in_burst => "any".to_owned(),
                (_, "u0") => "to be avoided".to_owned(),
                _ => "good".to_owned(),
            },
            Layout::Plain(_) if in_burst => "any".to_owned(),
            Layout::Plain(_) => {
                let known = order.iter().position(|name| *name == seen.upstream);
                let number = known.unwrap_or_else(|| {
                    order.push(seen.upstream.clone());
                    order.len() - 1
                });
                format!("endpoint {number}")
            }
            _ => return,
        };
        let real = std::mem::replace(&mut seen.upstream, name.clone());
        if let Ok(answer) = &mut one.answer {
            for (header, value) in &mut answer.headers {
                if header == "x-upstream" && *value == real {
                    value.clone_from(&name);
                }
            }
            let body = String::from_utf8_lossy(&answer.body);
            if let Some(rest) = body.strip_prefix(&real) {
                answer.body = format!("{name}{rest}").into();
            }
        }
    }
}

fn normal_seen(seen: &mut [Seen], layout: Layout) {
    for (attempt, one) in seen.iter_mut().enumerate() {
        for (name, value) in &mut one.headers {
            let is_case = name == mesh_testkit::upstream::CASE;
            // What is left of the timeout when an attempt is repeated depends on the clock.
            let is_rest = (attempt > 0 || layout == Layout::DeadFirst)
                && ["x-envoy-expected-rq-timeout-ms", "grpc-timeout"].contains(&name.as_str());
            if is_case || is_rest {
                value.clear();
            }
        }
    }
}

/// Runs a configuration's cases one after the other, on both sides at once. A block that differs is repeated case by
/// case.
async fn run(
    world: Arc<World>,
    configuration: Arc<Vec<Configuration>>,
    n: usize,
    cases: Vec<Case>,
) -> (Vec<String>, usize) {
    let one = &configuration[n];
    let mut different = Vec::new();
    let mut repeated = 0;
    for (b, block) in cases.chunks(BLOCK).enumerate() {
        if block_is_equal(&world, one, n, b, block).await {
            continue;
        }
        for (c, case) in block.iter().enumerate() {
            repeated += 1;
            if let Some(text) = repeat(&world, one, n, b * BLOCK + c, case).await {
                different.push(text);
            }
        }
    }
    (different, repeated)
}

async fn block_is_equal(
    world: &World,
    one: &Configuration,
    n: usize,
    b: usize,
    block: &[Case],
) -> bool {
    let bursts = block.iter().any(|case| case.burst > 1);
    let side = async |tested: &Tested| {
        let before = tested.statistics(n).await;
        let mut each = Vec::new();
        for (c, case) in block.iter().enumerate() {
            let id = format!("{n}.{b}.{c}");
            each.push(tested.exchange(n, case, one.layout, &id, world).await);
        }
        let counted = tested.counted(n, one.layout, bursts, &before).await;
        (each, counted)
    };
    let (theirs, mine) = tokio::join!(side(&world.envoy), side(&world.ours));
    theirs == mine
}

/// A case by itself, until it is equal; what differs if it never is.
async fn repeat(
    world: &World,
    one: &Configuration,
    n: usize,
    c: usize,
    case: &Case,
) -> Option<String> {
    let mut text = None;
    for attempt in 1..=TRIES {
        let id = format!("{n}.{c}.again.{attempt}");
        let (theirs, mine) = tokio::join!(
            world.envoy.run(n, case, one.layout, &id, world),
            world.ours.run(n, case, one.layout, &id, world),
        );
        if theirs == mine || (case.may_lack_body(one) && theirs.repeats()) {
            return None;
        }
        text = Some(format!(
            "configuration {n} case {c}: {case:?}\n{}\n{}\nEnvoy: {:#?}\nmesh-proxy: {:#?}\n",
            difference(&theirs.lines(), &mine.lines()),
            one.text(),
            theirs.lines(),
            mine.lines(),
        ));
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: cargo verify"]
async fn retries_timeouts_hedging_and_breakers_are_envoys() {
    let seed = Random::seed();
    let total = Random::cases(DEFAULT_CASES);
    println!("MESH_SEED={seed} MESH_CASES={total}");
    let mut random = Random::new(seed);
    let all: Vec<Configuration> = (0..CONFIGURATIONS)
        .map(|n| Configuration::random(&mut random, n))
        .collect();
    let own = OwnAddress::claim();
    let mut upstreams = Vec::new();
    for n in 0..config::UPSTREAMS {
        upstreams
            .push(Upstream::start(&format!("u{n}"), own.with_port(config::UPSTREAM + n)).await);
    }
    let world = Arc::new(World {
        envoy: Tested::start(Program::Envoy, &all, &own).await,
        ours: Tested::start(Program::MeshProxy, &all, &own).await,
        upstreams,
    });

    let only: Vec<usize> = std::env::var("MESH_ONLY").map_or(Vec::new(), |list| {
        let numbers = list.split(',').map(|n| n.parse().expect("a number"));
        numbers.collect()
    });
    let all = Arc::new(all);
    let mut running = Vec::new();
    for n in 0..CONFIGURATIONS {
        let count = total / CONFIGURATIONS + usize::from(n < total % CONFIGURATIONS);
        let cases = (0..count)
            .map(|_| Case::random(&mut random, &all[n]))
            .collect();
        if !only.is_empty() && !only.contains(&n) {
            continue;
        }
        running.push(tokio::spawn(run(
            Arc::clone(&world),
            Arc::clone(&all),
            n,
            cases,
        )));
    }
    let mut different = Vec::new();
    let mut repeated = 0;
    for one in running {
        let (texts, times) = one.await.expect("no case panics");
        different.extend(texts);
        repeated += times;
    }
    println!("{repeated} repetitions");
    let shown = std::env::var("MESH_SHOW").ok().and_then(|n| n.parse().ok());
    assert!(
        different.is_empty(),
        "{} of {total} cases differ (MESH_SEED={seed}); the first:\n{}\nlog of mesh-proxy:\n{}",
        different.len(),
        different
            .iter()
            .take(shown.unwrap_or(3))
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("\n"),
        world.ours.side.proxy.log(),
    );
}
