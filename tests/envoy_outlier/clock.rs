//! When intervals end, as the programs themselves say it. The detectors of a program wake one after the other, in the
//! order in which they first did; a machine that stands still between two of them parts them for good. So the first
//! and the last cluster are clocks, whose only host is ejected at every end: what happens after both have ended and
//! before either ends again happens in one interval of every cluster between them.
//!
//! What an ejection's length decides is not left to the machine either: lengths are 0.1, 1.3 or 2.3 intervals, a
//! burst ends within [`BURST`] of its interval, and a run may be late by [`LATENESS`] in all. Then whoever is ejected
//! at an end, or by a burst after it, is still away at the same ends and back at the same end in every run that counts.

use std::{fmt, time::Duration};

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{Client, INTERVAL, Tested, World, case::Step, config};

/// The part of an interval that a burst may take.
const BURST: f64 = 0.4;
/// By how much all intervals of a run together may be longer than they are said to be, in intervals.
const LATENESS: f64 = 0.25;
/// A worker hears a moment later what the main thread has decided.
const SETTLED: Duration = Duration::from_millis(200);
const POLL: Duration = Duration::from_millis(20);
const ENDS: &str = "outlier_detection.ejections_enforced_failure_percentage";

/// Why a run says nothing.
#[derive(Debug)]
pub(crate) enum Late {
    /// An interval ended while what belongs into it was not done.
    Action,
    /// A burst took so long.
    Burst(Duration),
    /// The intervals so far took so much longer than they should.
    Machine(Duration),
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Action => f.write_str("an interval ended too early for what belongs into it"),
            Self::Burst(time) => write!(f, "a burst took {time:?}"),
            Self::Machine(time) => write!(f, "the intervals took {time:?} too long"),
        }
    }
}

/// The two clocks of one program.
pub(crate) struct Clock<'a> {
    tested: &'a Tested,
    client: Client<'a>,
    /// The numbers of their clusters.
    clusters: [usize; 2],
    ended: [u64; 2],
    /// Not later than the first interval that counts, and than the one under way, began.
    first: Instant,
    began: Instant,
    /// When it was last asked.
    asked: Instant,
    intervals: u32,
}

impl<'a> Clock<'a> {
    /// When an interval has just ended.
    pub(crate) async fn start(world: &'a World, tested: &'a Tested, clusters: [usize; 2]) -> Self {
        let now = Instant::now();
        let mut clock = Self {
            tested,
            client: Client::of(world, tested),
            clusters,
            ended: [0; 2],
            first: now,
            began: now,
            asked: now,
            intervals: 0,
        };
        clock.wind().await;
        clock.wait_for_end().await;
        clock.first = clock.began;
        clock
    }

    /// Whether the burst was fast enough.
    pub(crate) fn burst_has_ended(&self) -> Result<(), Late> {
        let took = self.began.elapsed();
        if took > INTERVAL.mul_f64(BURST) {
            return Err(Late::Burst(took));
        }
        Ok(())
    }

    /// Whether the interval that was under way still is.
    pub(crate) async fn same_interval(&mut self) -> Result<(), Late> {
        if self.ends().await != self.ended {
            return Err(Late::Action);
        }
        Ok(())
    }

    /// Waits for the end of the interval under way.
    pub(crate) async fn next_interval(&mut self) -> Result<(), Late> {
        self.wait_for_end().await;
        self.intervals += 1;
        let late = (self.began - self.first).saturating_sub(INTERVAL * self.intervals);
        if late > INTERVAL.mul_f64(LATENESS) {
            return Err(Late::Machine(late));
        }
        Ok(())
    }

    /// Until both clocks say so.
    async fn wait_for_end(&mut self) {
        let deadline = Instant::now() + INTERVAL * 5;
        let mut began = None;
        loop {
            let before = self.asked;
            let ends = self.ends().await;
            let ended = [0, 1].map(|n| ends[n] != self.ended[n]);
            if ended.contains(&true) {
                began.get_or_insert(before);
            }
            if let ([true, true], Some(began)) = (ended, began) {
                (self.ended, self.began) = (ends, began);
                break;
            }
            assert!(self.asked < deadline, "no interval ends");
            tokio::time::sleep(POLL).await;
        }
        tokio::time::sleep(SETTLED).await;
        self.wind().await;
    }

    /// Gives the clocks' hosts the error for which the next end ejects them.
    async fn wind(&mut self) {
        for cluster in self.clusters {
            let id = format!("clock {}", self.ended[0]);
            self.client.send(cluster, &Step::error(), &id).await;
        }
    }

    /// How often each clock has said so.
    async fn ends(&mut self) -> [u64; 2] {
        self.asked = Instant::now();
        let path = format!("/stats?filter={ENDS}");
        let page = self
            .tested
            .side
            .proxy
            .admin(&path)
            .await
            .expect("statistics");
        let text = String::from_utf8_lossy(&page.body);
        self.clusters.map(|cluster| {
            let name = format!("cluster.c{cluster}.{ENDS}: ");
            let value = text.lines().find_map(|line| line.strip_prefix(&*name));
            value.and_then(|value| value.parse().ok()).unwrap_or(0)
        })
    }
}

/// A cluster whose only host is ejected at every interval's end after an error, having returned just before.
pub(crate) fn cluster(interval: Duration) -> Value {
    let seconds = |time: Duration| json!(format!("{:.3}s", time.as_secs_f64()));
    let short = seconds(interval.mul_f64(0.1));
    json!({
        "type": "STATIC",
        "lb_policy": "RING_HASH",
        "ring_hash_lb_config": {"minimum_ring_size": 64},
        "localities": [[{"port": config::UPSTREAM, "health": "HEALTHY"}]],
        // It is asked although it is ejected.
        "common_lb_config": {"healthy_panic_threshold": {"value": 100}},
        "outlier_detection": {
            "interval": seconds(interval),
            "base_ejection_time": short,
            "max_ejection_time": short,
            "max_ejection_percent": 100,
            "consecutive_5xx": 0,
            "failure_percentage_request_volume": 1,
            "failure_percentage_minimum_hosts": 1,
            "enforcing_failure_percentage": 100,
        },
    })
}
