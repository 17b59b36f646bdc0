//! Outlier detection as Envoy's: the same answers of the same endpoints through the real Envoy and through mesh-proxy.
//! Who answers each request (ring hash and maglev pick alike on both sides), what the client gets, and the statistics
//! at the end must be equal; where intervals end, the statistics after each of them.
//!
//! The seed is printed (`MESH_SEED` repeats a run, `MESH_CASES` asks for more). A case that differs is repeated with
//! nothing else going on before it counts: Envoy ejects a moment after the answer, and a machine under load is late.
//! When intervals end, the programs themselves say (`clock`); a run during which the machine stood still says nothing.

mod case;
mod clock;
mod config;

use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt, stream};
use http::Request;
use http_body_util::Full;
use mesh_testkit::{
    address::OwnAddress, exchange::Connection, paired::Side, process::Program, random::Random,
    upstream::Upstream,
};
use serde_json::Value;

use case::{Case, Step};
use clock::{Clock, Late};
use config::Interval;

/// So many cases of one pair of programs.
const CASES_PER_START: usize = 1_000;
/// How many are under way at once.
const AT_ONCE: usize = 48;
const TRIES: usize = 3;
const INTERVAL: Duration = Duration::from_secs(3);
/// So many timed cases of one pair of programs: their requests must fit well into an interval.
const TIMED_PER_START: usize = 30;
/// So many runs may be spoilt by a machine that stands still.
const SPOILT: usize = 5;
/// After which interval's end the second burst comes: when every earlier ejection is forgiven. Envoy forgives a host that
/// has been back for a whole interval, and whether the one end after its return is late enough for it is chance.
const SECOND_BURST: u32 = 6;
/// So many looks.
const LAST: u32 = 10;
/// What of the statistics counts here.
const COMPARED: &[&str] = &["outlier_detection.", "membership_", "lb_healthy_panic"];

/// One test after the other: the machine's time is what the second one needs.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// What a cluster's statistics say; what is zero is left out.
type Statistics = BTreeMap<String, u64>;

/// What came of a case on one side.
#[derive(Clone, Debug, Default, PartialEq)]
struct Transcript {
    /// Status and endpoint of each request.
    answers: Vec<String>,
    /// At the end, or after each interval.
    statistics: Vec<Statistics>,
}

struct World {
    upstreams: Vec<Upstream>,
    own: OwnAddress,
}

/// One of the two programs.
struct Tested {
    side: Side,
    program: Program,
}

impl World {
    async fn start() -> Self {
        let own = OwnAddress::claim();
        let mut upstreams = Vec::new();
        for n in 0..config::UPSTREAMS {
            let address = own.with_port(config::UPSTREAM + n);
            upstreams.push(Upstream::start(&format!("u{n}"), address).await);
        }
        Self { upstreams, own }
    }

    async fn both(&self, clusters: &[&Value]) -> [Tested; 2] {
        let one = async |program| {
            let bootstrap = |ip| config::bootstrap(clusters, ip, self.own.ip());
            let ports = (config::ADMIN, config::LISTENER);
            let side = Side::start(program, ports, bootstrap).await;
            Tested { side, program }
        };
        let (envoy, ours) = tokio::join!(one(Program::Envoy), one(Program::MeshProxy));
        [envoy, ours]
    }
}

/// One case's connections to one side.
struct Client<'a> {
    world: &'a World,
    program: Program,
    requests: Connection,
    admin: Connection,
}

impl<'a> Client<'a> {
    fn of(world: &'a World, tested: &Tested) -> Self {
        let to = |port| Connection::to(tested.side.address.with_port(port));
        Self {
            world,
            program: tested.program,
            requests: to(config::LISTENER),
            admin: to(config::ADMIN),
        }
    }

    /// Status and endpoint.
    async fn send(&mut self, cluster: usize, step: &Step, id: &str) -> String {
        let id = format!("{:?} {cluster} {id}", self.program);
        let answer = self.requests.send(step.request(cluster, &id)).await;
        let seen = Upstream::take_from(&self.world.upstreams, &id);
        let at: Vec<&str> = seen.iter().map(|seen| &*seen.upstream).collect();
        let says_nothing = matches!(&answer, Ok(answer)
            if answer.status < 500 && answer.header("x-envoy-degraded").is_none());
        if self.program == Program::Envoy && !says_nothing {
            // Its main thread ejects; what it does next it does after that.
            let ready = Request::get("/ready").header("host", "admin");
            let ready = ready.body(Full::default()).expect("a valid request");
            let _ = self.admin.send(ready).await;
        }
        match answer {
            Ok(answer) => format!("{} at {at:?}", answer.status),
            Err(_) => format!("no answer at {at:?}"),
        }
    }
}

/// The statistics of all clusters.
async fn statistics(tested: &Tested, clusters: usize) -> Vec<Statistics> {
    let page = tested.side.proxy.admin("/stats?usedonly").await;
    let page = page.expect("statistics");
    let mut all = vec![Statistics::new(); clusters];
    for line in String::from_utf8_lossy(&page.body).lines() {
        let found = line.strip_prefix("cluster.c").and_then(|line| {
            let (name, value) = line.split_once(": ")?;
            let (cluster, name) = name.split_once('.')?;
            Some((cluster.parse::<usize>().ok()?, name, value.parse().ok()?))
        });
        if let Some((cluster, name, value)) = found
            && value > 0
            && COMPARED.iter().any(|part| name.starts_with(part))
            && name != "membership_change"
            && let Some(of) = all.get_mut(cluster)
        {
            of.insert(name.to_owned(), value);
        }
    }
    all
}

/// Sends a burst of each case.
async fn burst(
    world: &World,
    tested: &Tested,
    cases: &[&Case],
    which: usize,
    at_once: usize,
    into: &mut [Transcript],
) {
    let one = async |(n, case): (usize, &&Case)| {
        let mut client = Client::of(world, tested);
        let mut answers = Vec::new();
        for (s, step) in case.bursts[which].iter().enumerate() {
            answers.push(client.send(n, step, &format!("{which} {s}")).await);
        }
        answers
    };
    let all = stream::iter(cases.iter().enumerate()).map(one);
    let answers: Vec<_> = all.buffered(at_once).collect().await;
    for (transcript, answers) in into.iter_mut().zip(answers) {
        transcript.answers.extend(answers);
    }
}

async fn look(tested: &Tested, into: &mut [Transcript]) {
    let statistics = statistics(tested, into.len()).await;
    for (transcript, statistics) in into.iter_mut().zip(statistics) {
        transcript.statistics.push(statistics);
    }
}

/// Runs cases without intervals.
async fn run(cases: &[&Case], at_once: usize) -> [Vec<Transcript>; 2] {
    let world = World::start().await;
    let clusters: Vec<&Value> = cases.iter().map(|case| &case.cluster).collect();
    let [envoy, ours] = world.both(&clusters).await;
    let one = async |tested: &Tested| {
        let mut transcripts = vec![Transcript::default(); cases.len()];
        burst(&world, tested, cases, 0, at_once, &mut transcripts).await;
        look(tested, &mut transcripts).await;
        transcripts
    };
    let (theirs, mine) = tokio::join!(one(&envoy), one(&ours));
    [theirs, mine]
}

/// Runs cases whose intervals end all at once; nothing if the machine was too slow to say anything.
async fn run_timed(cases: &[&Case], at_once: usize) -> Result<[Vec<Transcript>; 2], Late> {
    let world = World::start().await;
    let clock = clock::cluster(INTERVAL);
    let mut clusters: Vec<&Value> = cases.iter().map(|case| &case.cluster).collect();
    clusters.extend([&clock, &clock]);
    let [envoy, ours] = world.both(&clusters).await;
    let one = async |tested: &Tested| {
        let mut transcripts = vec![Transcript::default(); cases.len()];
        let mut clock = Clock::start(&world, tested, [cases.len(), cases.len() + 1]).await;
        for end in 0..LAST {
            if end == 0 || end == SECOND_BURST {
                let which = usize::from(end > 0);
                burst(&world, tested, cases, which, at_once, &mut transcripts).await;
                clock.burst_has_ended()?;
            }
            look(tested, &mut transcripts).await;
            clock.same_interval().await?;
            clock.next_interval().await?;
        }
        Ok(transcripts)
    };
    let (theirs, mine) = tokio::join!(one(&envoy), one(&ours));
    Ok([theirs?, mine?])
}

/// Runs until the machine was fast enough for what the run says to count.
async fn run_in_time(cases: &[&Case], at_once: usize) -> [Vec<Transcript>; 2] {
    for _ in 0..SPOILT {
        match run_timed(cases, at_once).await {
            Ok(transcripts) => return transcripts,
            Err(late) => println!("a run does not count: {late}"),
        }
    }
    panic!("{SPOILT} runs did not count: the machine stands still too often");
}

fn differences(cases: &[&Case], [theirs, mine]: &[Vec<Transcript>; 2]) -> Vec<(usize, String)> {
    let pairs = theirs.iter().zip(mine).zip(cases).enumerate();
    pairs
        .filter(|(_, ((theirs, mine), _))| theirs != mine)
        .map(|(n, ((theirs, mine), case))| {
            let text = format!(
                "{}\nEnvoy: {theirs:#?}\nmesh-proxy: {mine:#?}\n",
                case.text()
            );
            (n, text)
        })
        .collect()
}

/// Compares; what differs is repeated.
async fn compare(random: &mut Random, interval: Interval, total: usize, per_start: usize) {
    let timed = interval != Interval::Never;
    let mut different = Vec::new();
    let mut repeated = 0;
    let mut done = 0;
    while done < total {
        let count = per_start.min(total - done);
        let all: Vec<Case> = (0..count).map(|_| Case::random(random, interval)).collect();
        done += count;
        let mut left: Vec<&Case> = all.iter().collect();
        for attempt in 1..=TRIES {
            let at_once = if attempt == 1 || timed { AT_ONCE } else { 1 };
            let transcripts = match timed {
                true => run_in_time(&left, at_once).await,
                false => run(&left, at_once).await,
            };
            let found = differences(&left, &transcripts);
            left = found.iter().map(|(n, _)| left[*n]).collect();
            if attempt == TRIES {
                different.extend(found.into_iter().map(|(_, text)| text));
            } else {
                repeated += left.len();
            }
            if left.is_empty() {
                break;
            }
        }
    }
    println!("{total} cases, {repeated} repetitions");
    assert!(
        different.is_empty(),
        "{} of {total} cases differ (MESH_SEED={}); the first:\n{}",
        different.len(),
        Random::seed(),
        different
            .iter()
            .take(2)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("\n"),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: cargo verify"]
async fn consecutive_errors_eject_as_in_envoy() {
    let _turn = TURN.lock().await;
    let (seed, total) = (Random::seed(), Random::cases(1_000));
    println!("MESH_SEED={seed} MESH_CASES={total}");
    let mut random = Random::new(seed);
    compare(&mut random, Interval::Never, total, CASES_PER_START).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: cargo verify"]
async fn intervals_eject_and_return_as_in_envoy() {
    let _turn = TURN.lock().await;
    let (seed, total) = (Random::seed(), Random::cases(1_000).div_ceil(34));
    println!("MESH_SEED={seed}, timed: {total}");
    let mut random = Random::new(seed ^ 1);
    let interval = Interval::Every(INTERVAL);
    compare(&mut random, interval, total, TIMED_PER_START).await;
}
