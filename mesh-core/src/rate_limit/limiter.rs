//! Which buckets a request takes from (Envoy `source/extensions/filters/common/local_ratelimit`).

use std::{
    hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use arc_swap::ArcSwap;

use super::{
    TokenBucket, TokenBucketConfig,
    descriptor::{Descriptor, Entry},
};

/// What a limiter is made from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LimiterConfig {
    /// `token_bucket`; None: without matching descriptors everything passes.
    pub bucket: Option<TokenBucketConfig>,
    /// `descriptors`; an empty value stands for any.
    pub descriptors: Vec<DescriptorConfig>,
    /// `always_consume_default_token_bucket`; default true: also where descriptors match.
    pub always_consumes_default: bool,
    /// `max_dynamic_descriptors`; default 20: how many values are told apart for a descriptor that leaves some open.
    pub max_dynamic: u32,
}

impl Default for LimiterConfig {
    fn default() -> Self {
        Self {
            bucket: None,
            descriptors: Vec::new(),
            always_consumes_default: true,
            max_dynamic: 20,
        }
    }
}

/// `envoy.extensions.common.ratelimit.v3.LocalRateLimitDescriptor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescriptorConfig {
    /// `entries`: key and value.
    pub entries: Vec<(Box<str>, Box<str>)>,
    /// `token_bucket`.
    pub bucket: TokenBucketConfig,
    /// `shadow_mode`: what it refuses passes, and is counted.
    pub shadow: bool,
}

impl DescriptorConfig {
    fn is_open(&self) -> bool {
        self.entries.iter().any(|(_, value)| value.is_empty())
    }

    fn fits(&self, entries: &[Entry<'_>]) -> bool {
        self.entries.len() == entries.len()
            && self.entries.iter().zip(entries).all(|(own, (key, value))| {
                *own.0 == **key && (own.1.is_empty() || own.1.as_bytes() == &**value)
            })
    }
}

/// Token buckets by descriptor, and one for all: live state, shared by all threads without a lock.
#[derive(Debug)]
pub struct Limiter {
    config: LimiterConfig,
    default: Option<Arc<TokenBucket>>,
    /// The descriptors whose values are all given, sorted by hash.
    exact: Box<[(u64, Exact)]>,
    /// Those that leave values open, in order.
    open: Box<[(DescriptorConfig, Dynamic)]>,
}

#[derive(Debug)]
struct Exact {
    descriptor: DescriptorConfig,
    bucket: Arc<TokenBucket>,
}

/// What a limiter says of a request.
#[derive(Clone, Debug)]
pub struct Limited {
    /// Whether it passes.
    pub allowed: bool,
    /// What refused it only counts.
    pub shadow: bool,
    /// The bucket that decided, or that the client is told of.
    pub bucket: Option<Arc<TokenBucket>>,
    /// Whether the client is told; None: as the filter says.
    pub answers_headers: Option<bool>,
}

impl Limiter {
    /// Full buckets.
    pub fn new(config: LimiterConfig) -> Self {
        let bucket = |config: TokenBucketConfig| Arc::new(TokenBucket::new(config));
        let (open, given): (Vec<_>, Vec<_>) = config
            .descriptors
            .iter()
            .cloned()
            .partition(DescriptorConfig::is_open);
        let mut exact: Vec<_> = given
            .into_iter()
            .map(|descriptor| {
                let entries = descriptor.entries.iter();
                let hash = hash(entries.map(|(key, value)| (&**key, value.as_bytes())));
                let bucket = bucket(descriptor.bucket);
                (hash, Exact { descriptor, bucket })
            })
            .collect();
        exact.sort_by_key(|(hash, _)| *hash);
        let places = usize::try_from(config.max_dynamic).unwrap_or(usize::MAX);
        Self {
            default: config.bucket.map(bucket),
            exact: exact.into(),
            open: open
                .into_iter()
                .map(|descriptor| {
                    let dynamic = Dynamic::new(descriptor.bucket, places);
                    (descriptor, dynamic)
                })
                .collect(),
            config,
        }
    }

    /// The configuration.
    pub fn config(&self) -> &LimiterConfig {
        &self.config
    }

    /// Takes tokens where there is no descriptor: of the bucket for all.
    pub fn request_allowed(&self, now: Instant) -> Limited {
        self.check(&[], now)
    }

    /// Takes tokens: of the slowest bucket first, since what one refuses is not taken from the rest.
    pub(crate) fn check(&self, descriptors: &[Descriptor<'_>], now: Instant) -> Limited {
        let mut matched: Vec<_> = descriptors
            .iter()
            .filter_map(|descriptor| {
                let (bucket, shadow) = self.bucket(&descriptor.entries)?;
                Some((bucket, descriptor, shadow))
            })
            .collect();
        matched.sort_by(|(a, ..), (b, ..)| a.fill_rate().total_cmp(&b.fill_rate()));
        let mut shadowed = None;
        for (bucket, descriptor, shadow) in &matched {
            let hits = descriptor.hits.unwrap_or(1);
            if descriptor.refills {
                bucket.refill(hits, now);
            } else if !bucket.consume(hits, now) {
                let limited = Limited {
                    allowed: false,
                    shadow: *shadow,
                    bucket: Some(Arc::clone(bucket)),
                    answers_headers: descriptor.answers_headers,
                };
                if !shadow {
                    return limited;
                }
                shadowed.get_or_insert(limited);
            }
        }
        let first = matched.first();
        let answers_headers = first.and_then(|(_, descriptor, _)| descriptor.answers_headers);
        let first = first.map(|(bucket, ..)| Arc::clone(bucket));
        if let Some(default) = &self.default
            && (first.is_none() || self.config.always_consumes_default)
        {
            let allowed = default.consume(1, now);
            if let Some(shadowed) = shadowed.filter(|_| allowed) {
                return shadowed;
            }
            // Of a bucket that is always empty nobody is told.
            let own = || (default.max_tokens() > 0).then(|| Arc::clone(default));
            return Limited {
                allowed,
                shadow: false,
                bucket: first.filter(|_| allowed).or_else(own),
                answers_headers: answers_headers.filter(|_| allowed),
            };
        }
        shadowed.unwrap_or(Limited {
            allowed: true,
            shadow: false,
            bucket: first,
            answers_headers,
        })
    }

    /// The bucket, and whether what it refuses passes.
    fn bucket(&self, entries: &[Entry<'_>]) -> Option<(Arc<TokenBucket>, bool)> {
        let hash = hash(entries.iter().map(|(key, value)| (*key, &**value)));
        let start = self.exact.partition_point(|(of, _)| *of < hash);
        let exact = self
            .exact
            .iter()
            .skip(start)
            .take_while(|(of, _)| *of == hash)
            .find(|(_, exact)| exact.descriptor.fits(entries));
        if let Some((_, exact)) = exact {
            return Some((Arc::clone(&exact.bucket), exact.descriptor.shadow));
        }
        let (open, dynamic) = self.open.iter().find(|(open, _)| open.fits(entries))?;
        Some((dynamic.bucket(hash, entries), open.shadow))
    }
}

fn hash<'a>(entries: impl Iterator<Item = (&'a str, &'a [u8])>) -> u64 {
    let mut hasher =
        std::hash::BuildHasher::build_hasher(&BuildHasherDefault::<DefaultHasher>::default());
    for entry in entries {
        entry.hash(&mut hasher);
    }
    hasher.finish()
}

/// How many descriptors share a list that is copied when one is new.
const SHARE: usize = 16;

/// The buckets of a descriptor that leaves values open: those used last, up to a limit. A known descriptor costs a
/// look-up without a lock; a new one copies a short list, and beyond the limit looks for the one unused longest.
#[derive(Debug)]
struct Dynamic {
    config: TokenBucketConfig,
    places: usize,
    used: AtomicUsize,
    clock: AtomicU64,
    shards: Box<[ArcSwap<Vec<Arc<Known>>>]>,
}

/// Key and value.
type OwnEntry = (Box<str>, Box<[u8]>);

#[derive(Debug)]
struct Known {
    hash: u64,
    entries: Box<[OwnEntry]>,
    bucket: Arc<TokenBucket>,
    last_used: AtomicU64,
}

impl Known {
    fn is(&self, hash: u64, entries: &[Entry<'_>]) -> bool {
        self.hash == hash
            && self.entries.len() == entries.len()
            && self
                .entries
                .iter()
                .zip(entries)
                .all(|(own, (key, value))| *own.0 == **key && *own.1 == **value)
    }
}

impl Dynamic {
    fn new(config: TokenBucketConfig, places: usize) -> Self {
        let shards = places.div_ceil(SHARE).clamp(1, 4096);
        Self {
            config,
            places,
            used: AtomicUsize::new(0),
            clock: AtomicU64::new(0),
            shards: (0..shards).map(|_| ArcSwap::default()).collect(),
        }
    }

    fn bucket(&self, hash: u64, entries: &[Entry<'_>]) -> Arc<TokenBucket> {
        let now = self.clock.fetch_add(1, Relaxed) + 1;
        let shard = &self.shards[usize::try_from(hash).unwrap_or(0) % self.shards.len()];
        let find = |list: &[Arc<Known>]| {
            let known = list.iter().find(|known| known.is(hash, entries))?;
            known.last_used.store(now, Relaxed);
            Some(Arc::clone(&known.bucket))
        };
        if let Some(bucket) = find(&shard.load()) {
            return bucket;
        }
        let own = |(key, value): &Entry<'_>| (Box::from(*key), Box::from(&**value));
        let new = Arc::new(Known {
            hash,
            entries: entries.iter().map(own).collect(),
            bucket: Arc::new(TokenBucket::new(self.config)),
            last_used: AtomicU64::new(now),
        });
        let before = shard.rcu(|list| {
            let mut list = Vec::clone(list);
            if !list.iter().any(|known| known.is(hash, entries)) {
                list.push(Arc::clone(&new));
            }
            list
        });
        // Another thread may have been first. (What is there now does not tell: a third one may have forgotten ours.)
        if let Some(bucket) = find(&before) {
            return bucket;
        }
        self.used.fetch_add(1, Relaxed);
        // Two threads may find the same one: who comes second must look again.
        while self.used.load(Relaxed) > self.places && self.forget_one() {}
        Arc::clone(&new.bucket)
    }

    /// False: nothing is left to forget.
    fn forget_one(&self) -> bool {
        let oldest = self
            .shards
            .iter()
            .flat_map(|shard| {
                let list = shard.load();
                let oldest = list.iter().min_by_key(|k| k.last_used.load(Relaxed));
                oldest.map(|oldest| (shard, Arc::clone(oldest)))
            })
            .min_by_key(|(_, known)| known.last_used.load(Relaxed));
        let Some((shard, oldest)) = oldest else {
            return false;
        };
        let before = shard.rcu(|list| {
            let others = list.iter().filter(|known| !Arc::ptr_eq(known, &oldest));
            others.cloned().collect::<Vec<_>>()
        });
        if before.iter().any(|known| Arc::ptr_eq(known, &oldest)) {
            self.used.fetch_sub(1, Relaxed);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::{borrow::Cow, time::Duration};

    use super::*;

    fn bucket(max_tokens: u32, seconds: u64) -> TokenBucketConfig {
        TokenBucketConfig {
            max_tokens,
            tokens_per_fill: 1,
            fill_interval: Duration::from_secs(seconds),
        }
    }

    fn descriptor<'a>(entries: &[(&'a str, &'a str)]) -> Descriptor<'a> {
        Descriptor {
            entries: entries
                .iter()
                .map(|(key, value)| (*key, Cow::Borrowed(value.as_bytes())))
                .collect(),
            hits: None,
            refills: false,
            answers_headers: None,
        }
    }

    fn configured(entries: &[(&str, &str)], bucket: TokenBucketConfig) -> DescriptorConfig {
        let own = |(key, value): &(&str, &str)| (Box::from(*key), Box::from(*value));
        DescriptorConfig {
            entries: entries.iter().map(own).collect(),
            bucket,
            shadow: false,
        }
    }

    fn limiter(set: impl FnOnce(&mut LimiterConfig)) -> Limiter {
        let mut config = LimiterConfig::default();
        set(&mut config);
        Limiter::new(config)
    }

    #[test]
    fn descriptors_match_whole_and_in_order_and_the_bucket_for_all_counts_too() {
        let limiter = limiter(|c| {
            c.bucket = Some(bucket(3, 3600));
            c.descriptors = vec![configured(&[("a", "1"), ("b", "2")], bucket(1, 3600))];
        });
        let now = Instant::now();
        let allowed = |entries: &[(&str, &str)]| limiter.check(&[descriptor(entries)], now).allowed;
        assert!(allowed(&[("a", "1"), ("b", "2")]));
        assert!(!allowed(&[("a", "1"), ("b", "2")]));
        assert!(allowed(&[("b", "2"), ("a", "1")]));
        assert!(allowed(&[("a", "1")]));
        assert!(!allowed(&[("a", "1")]));
    }

    #[test]
    fn what_the_slowest_refuses_is_not_taken_from_the_rest() {
        let limiter = limiter(|c| {
            c.descriptors = vec![
                configured(&[("fast", "1")], bucket(1, 1)),
                configured(&[("slow", "1")], bucket(0, 3600)),
            ];
        });
        let now = Instant::now();
        let both = [descriptor(&[("fast", "1")]), descriptor(&[("slow", "1")])];
        assert!(!limiter.check(&both, now).allowed);
        assert!(limiter.check(&both[..1], now).allowed);
        assert!(!limiter.check(&both[..1], now).allowed);
    }

    #[test]
    fn open_values_have_a_bucket_each_and_the_one_unused_longest_goes() {
        let limiter = limiter(|c| {
            c.max_dynamic = 2;
            c.descriptors = vec![configured(&[("user", "")], bucket(1, 3600))];
        });
        let now = Instant::now();
        let allowed = |user: &str| limiter.check(&[descriptor(&[("user", user)])], now).allowed;
        assert!(allowed("a") && allowed("b"));
        assert!(!allowed("a") && !allowed("b") && !allowed("a"));
        // `b` makes room.
        assert!(allowed("c"));
        assert!(!allowed("a"));
        assert!(allowed("b"));
        assert!(allowed("c"));
    }

    #[test]
    fn many_threads_keep_to_the_limit_of_open_values() {
        let dynamic = Dynamic::new(bucket(1, 3600), 40);
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let dynamic = &dynamic;
                scope.spawn(move || {
                    for n in 0..500 {
                        let value = format!("{}", (n * 7 + thread) % 100);
                        let entries = [("k", Cow::Borrowed(value.as_bytes()))];
                        let hash = hash([("k", value.as_bytes())].into_iter());
                        dynamic.bucket(hash, &entries);
                    }
                });
            }
        });
        let known: usize = dynamic.shards.iter().map(|shard| shard.load().len()).sum();
        assert!((1..=40).contains(&known), "{known}");
    }
}
