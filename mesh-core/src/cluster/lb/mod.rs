//! Load-balancing policies: how one endpoint is picked among those that are eligible.
//!
//! State (an index, a schedule) is kept per shard, as Envoy keeps it per worker. A shard that is busy is passed over,
//! never waited for.

mod bounded;
mod consistent;
mod edf;
mod least_request;
mod maglev;
mod random;
mod ring;
mod round_robin;

pub(super) use consistent::{ConsistentHosts, WeightedHosts};
pub(super) use edf::Edf;
pub(super) use round_robin::Cursors;

use std::{
    sync::{Arc, Mutex, MutexGuard, TryLockError},
    time::Instant,
};

use super::{PickContext, endpoint::Endpoint, load::Balancing, priority::is_healthy};
use crate::{
    Entropy,
    model::{LbPolicy, SlowStart},
};

/// How many shards pickers with state have: about the cores of a usual machine. Callers beyond share.
pub(super) const SHARDS: usize = 8;

/// Where each shard starts, so that shards do not move in step.
pub(super) type Seeds = [u32; SHARDS];

/// Endpoints among which a policy picks, with the policy's state.
#[derive(Debug)]
pub(super) struct Hosts {
    endpoints: Box<[Arc<Endpoint>]>,
    policy: Policy,
}

#[derive(Debug)]
enum Policy {
    RoundRobin(Arc<Cursors>),
    LeastRequest {
        choices: u32,
    },
    Random,
    /// Round robin or least request over endpoints whose weights differ.
    Weighted {
        schedule: Sharded<Edf>,
        weighing: Weighing,
    },
}

/// What an endpoint's weight in a schedule depends on besides its configuration.
#[derive(Clone, Copy, Debug)]
struct Weighing {
    /// Least request: the exponent of the active requests.
    bias: Option<f64>,
    slow_start: Option<SlowStart>,
}

impl Hosts {
    /// `cursors`: the round-robin indices, which outlive a change of the endpoints.
    pub(super) fn new(
        endpoints: Vec<Arc<Endpoint>>,
        rules: &Balancing,
        now: Option<Instant>,
        cursors: impl FnOnce() -> Arc<Cursors>,
    ) -> Self {
        let slow_start = rules.slow_start;
        let weighted = |bias| {
            let weighing = Weighing { bias, slow_start };
            Policy::Weighted {
                schedule: Sharded::new(&rules.seeds, |seed| {
                    let weight = |at| weighing.weight(&endpoints, at, now);
                    Edf::with_picks(count(&endpoints), weight, seed)
                }),
                weighing,
            }
        };
        let weights_differ = endpoints
            .windows(2)
            .any(|pair| pair[0].weight() != pair[1].weight())
            || slow_start.is_some_and(|slow_start| any_new(&endpoints, slow_start, now));
        let policy = rules.policy;
        let policy = match policy {
            // Those that hash have no use for this.
            LbPolicy::RingHash(_)
            | LbPolicy::Maglev(_)
            | LbPolicy::Random
            | LbPolicy::ClusterProvided => Policy::Random,
            LbPolicy::RoundRobin if weights_differ => weighted(None),
            LbPolicy::RoundRobin => Policy::RoundRobin(cursors()),
            LbPolicy::LeastRequest {
                active_request_bias_milli,
                ..
            } if weights_differ => weighted(Some(f64::from(active_request_bias_milli) / 1000.0)),
            LbPolicy::LeastRequest { choice_count, .. } => Policy::LeastRequest {
                choices: choice_count,
            },
        };
        Self {
            endpoints: endpoints.into(),
            policy,
        }
    }

    /// An endpoint; None: there is none. Inlined into the one pick there is. `random`: the number that chose the priority, if one was drawn.
    #[inline(always)]
    pub(super) fn pick(
        &self,
        cx: &PickContext<'_>,
        random: Option<u64>,
        entropy: &mut dyn Entropy,
    ) -> Option<&Arc<Endpoint>> {
        match &self.policy {
            _ if self.endpoints.len() < 2 => self.endpoints.first(),
            Policy::LeastRequest { choices: 0 } => least_request::scan(&self.endpoints, entropy),
            Policy::LeastRequest { choices } => {
                least_request::pick(&self.endpoints, *choices, entropy)
            }
            Policy::RoundRobin(cursors) => {
                let turn = cursors.next(cx.shard);
                self.endpoints.get(turn % self.endpoints.len())
            }
            Policy::Random => random::pick(&self.endpoints, random, entropy),
            Policy::Weighted { schedule, weighing } => {
                self.pick_weighted(schedule, *weighing, cx, entropy)
            }
        }
    }

    #[inline(never)]
    fn pick_weighted(
        &self,
        schedule: &Sharded<Edf>,
        weighing: Weighing,
        cx: &PickContext<'_>,
        entropy: &mut dyn Entropy,
    ) -> Option<&Arc<Endpoint>> {
        let weight = |at| weighing.weight(&self.endpoints, at, cx.now);
        match schedule.with(cx.shard, |edf| edf.pick(weight)) {
            Some(picked) => self.endpoints.get(picked? as usize),
            None => random::pick(&self.endpoints, None, entropy),
        }
    }
}

impl Weighing {
    /// The weight that the schedule sees: least request divides by the requests in flight, slow start lowers that of a
    /// new endpoint.
    fn weight(&self, endpoints: &[Arc<Endpoint>], at: u32, now: Option<Instant>) -> f64 {
        let Some(endpoint) = endpoints.get(at as usize) else {
            return 0.0;
        };
        let weight = f64::from(endpoint.weight().max(1));
        let weight = match self.bias {
            None => weight,
            Some(bias) => least_request::weight(weight, endpoint.active_requests(), bias),
        };
        let (Some(slow_start), Some(now)) = (self.slow_start, now) else {
            return weight;
        };
        match endpoint.live().healthy_since() {
            Some(since) if is_healthy(endpoint) => {
                weight * slow_start.factor(now.saturating_duration_since(since))
            }
            _ => weight,
        }
    }
}

/// Whether the weight of any endpoint still grows.
fn any_new(endpoints: &[Arc<Endpoint>], slow_start: SlowStart, now: Option<Instant>) -> bool {
    let Some(now) = now else { return false };
    let since = |endpoint: &Arc<Endpoint>| endpoint.live().healthy_since();
    let mut healthy = endpoints.iter().filter_map(since);
    healthy.any(|since| now.saturating_duration_since(since) <= slow_start.window)
}

/// The length as the schedule counts; what is beyond four billion endpoints is not picked.
fn count<T>(entries: &[T]) -> u32 {
    u32::try_from(entries.len()).unwrap_or(u32::MAX)
}

/// State of which every shard has its own.
#[derive(Debug)]
pub(super) struct Sharded<T>(Box<[Shard<T>]>);

#[derive(Debug)]
#[repr(align(64))]
struct Shard<T>(Mutex<T>);

impl<T> Sharded<T> {
    pub(super) fn new(seeds: &Seeds, state: impl Fn(u32) -> T) -> Self {
        Self(
            seeds
                .iter()
                .map(|seed| Shard(Mutex::new(state(*seed))))
                .collect(),
        )
    }

    /// Runs on this shard's state, or if it is busy on the next free one; None: all are busy.
    pub(super) fn with<R>(&self, shard: usize, run: impl FnOnce(&mut T) -> R) -> Option<R> {
        let at = shard % self.0.len();
        let mut state = match self.0[at].try_lock() {
            Some(state) => state,
            None => self.next_free(at)?,
        };
        Some(run(&mut state))
    }

    #[cold]
    fn next_free(&self, busy: usize) -> Option<MutexGuard<'_, T>> {
        let (before, after) = self.0.split_at(busy);
        after.iter().chain(before).find_map(Shard::try_lock)
    }
}

impl<T> Shard<T> {
    fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(state) => Some(state),
            // What a panic left is a schedule still: at worst one turn is off.
            Err(TryLockError::Poisoned(state)) => Some(state.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_shard_is_passed_over_and_never_waited_for() {
        let seeds = std::array::from_fn(|i| i as u32);
        let sharded = Sharded::new(&seeds, |seed| seed);
        assert_eq!(sharded.with(3, |state| *state), Some(3));
        assert_eq!(sharded.with(SHARDS + 3, |state| *state), Some(3));
        let held = sharded.0[3].0.lock().unwrap();
        assert_eq!(sharded.with(3, |state| *state), Some(4));
        let rest: Vec<_> = [0, 1, 2, 4, 5, 6, 7]
            .map(|i| sharded.0[i].0.lock().unwrap())
            .into();
        assert_eq!(sharded.with(3, |state| *state), None);
        drop((held, rest));
        assert_eq!(sharded.with(3, |state| *state), Some(3));
    }
}
