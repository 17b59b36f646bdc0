use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::yaml::{At, Fields};

/// How an endpoint is chosen.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LoadBalancer {
    pub(crate) simple: SimpleLb,
    pub(crate) consistent_hash: Option<ConsistentHash>,
    pub(crate) locality: Option<LocalityLb>,
    pub(crate) zone_aware: Option<ZoneAwareLb>,
    pub(crate) warmup: Option<Warmup>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SimpleLb {
    #[default]
    Unspecified,
    LeastRequest,
    RoundRobin,
    Random,
    Passthrough,
}

/// The same endpoint for the same key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConsistentHash {
    pub(crate) key: Option<HashKey>,
    pub(crate) algorithm: HashAlgorithm,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HashKey {
    Header(String),
    Cookie {
        name: String,
        path: String,
        ttl: Option<Duration>,
        attributes: Vec<(String, String)>,
    },
    SourceIp(bool),
    QueryParameter(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HashAlgorithm {
    /// `ringHash`; 0: Envoy's default.
    Ring(u64),
    Maglev(u64),
    /// Neither is given: a ring of `minimumRingSize`, or 1024.
    Default(u64),
}

/// `localityLbSetting`; none of the lists given: failover in the order of region, zone, subzone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LocalityLb {
    /// `enabled: false`.
    pub(crate) is_off: bool,
    pub(crate) distribute: Vec<Distribute>,
    /// (from region, to region).
    pub(crate) failover: Vec<(String, String)>,
    /// Labels, or `label=value`.
    pub(crate) failover_priority: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Distribute {
    pub(crate) from: String,
    /// Percent by locality.
    pub(crate) to: Vec<(String, u32)>,
}

/// `zoneAwareLbSetting`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ZoneAwareLb {
    pub(crate) is_off: bool,
    pub(crate) failover: Vec<(String, String)>,
    pub(crate) failover_priority: Vec<String>,
    pub(crate) min_cluster_size: Option<u32>,
}

/// New endpoints get their share slowly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Warmup {
    /// `warmupDurationSecs`.
    Old(Duration),
    New {
        duration: Duration,
        /// 10.
        minimum_percent: f64,
        /// 1.
        aggression: f64,
    },
}

const TOPOLOGY: [&str; 3] = [
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.istio.io/subzone",
];

impl LoadBalancer {
    pub(super) fn read(at: &At<'_>, has_outlier_detection: bool) -> Self {
        let fields = at.fields();
        let simple = fields.get("simple").and_then(|at| {
            at.word(&[
                ("UNSPECIFIED", SimpleLb::Unspecified),
                ("LEAST_REQUEST", SimpleLb::LeastRequest),
                ("LEAST_CONN", SimpleLb::LeastRequest),
                ("RANDOM", SimpleLb::Random),
                ("ROUND_ROBIN", SimpleLb::RoundRobin),
                ("PASSTHROUGH", SimpleLb::Passthrough),
            ])
        });
        let consistent_hash = fields.get("consistentHash").map(ConsistentHash::read);
        if simple.is_some() && consistent_hash.is_some() {
            at.without_effect(
                "has both simple and consistentHash, only the latter counts",
                "keep one of them",
            );
        }
        let locality = fields.get("localityLbSetting").map(|at| {
            let locality = LocalityLb::read(&at);
            locality.warn_of_outlier_detection(&at, has_outlier_detection);
            locality
        });
        let zone_aware = fields.get("zoneAwareLbSetting").map(|at| {
            let zone_aware = ZoneAwareLb::read(&at);
            warn_of_outlier_detection(
                &at,
                &zone_aware.failover,
                &zone_aware.failover_priority,
                has_outlier_detection,
            );
            zone_aware
        });
        if locality.is_some() && zone_aware.is_some() {
            at.refuse(
                "only one of localityLbSetting and zoneAwareLbSetting can be set",
                "keep one of them",
            );
        }
        let balancer = LoadBalancer {
            simple: simple
                .filter(|_| consistent_hash.is_none())
                .unwrap_or_default(),
            consistent_hash,
            locality,
            zone_aware,
            warmup: read_warmup(&fields),
        };
        fields.finish();
        balancer
    }
}

fn read_warmup(fields: &Fields<'_>) -> Option<Warmup> {
    let old = fields
        .get("warmupDurationSecs")
        .map(|at| Warmup::Old(at.duration()));
    let new = fields.get("warmup").and_then(|at| {
        let fields = at.fields();
        let duration = fields.require("duration").map(|at| at.duration_from_1ms());
        let minimum = fields.get("minimumPercent").map(|at| {
            let percent = at.float();
            if !(0.0..=100.0).contains(&percent) {
                at.refuse(
                    "minimumPercent value should be less than or equal to 100",
                    "write a percentage",
                );
            }
            percent
        });
        let aggression = fields.get("aggression").map(|at| {
            let aggression = at.float();
            if aggression <= 0.0 {
                at.refuse("aggression should be greater than 0", "write 1 or more");
            }
            aggression
        });
        fields.finish();
        Some(Warmup::New {
            duration: duration?,
            minimum_percent: minimum.unwrap_or(10.0),
            aggression: aggression.unwrap_or(1.0),
        })
    });
    new.or(old)
}

impl ConsistentHash {
    fn read(at: At<'_>) -> Self {
        let fields = at.fields();
        let mut keys = Vec::new();
        if let Some(at) = fields.get("httpHeaderName") {
            keys.push(HashKey::Header(at.string()));
        }
        if let Some(at) = fields.get("httpCookie") {
            keys.push(read_cookie(&at));
        }
        if let Some(at) = fields.get("useSourceIp") {
            keys.push(HashKey::SourceIp(at.bool()));
        }
        if let Some(at) = fields.get("httpQueryParameterName") {
            keys.push(HashKey::QueryParameter(at.string()));
        }
        if keys.len() > 1 {
            at.without_effect("has several keys, only the last counts", "keep one of them");
        }
        let size = |at: &At<'_>, name| {
            let fields = at.fields();
            let size = fields
                .get(name)
                .map_or(0, |at| u64::from(at.number(u32::MAX)));
            fields.finish();
            size
        };
        let ring = fields
            .get("ringHash")
            .map(|at| HashAlgorithm::Ring(size(&at, "minimumRingSize")));
        let maglev = fields.get("maglev").map(|at| {
            let size = size(&at, "tableSize");
            if size == 0 {
                at.refuse("tableSize must be set for maglev", "write tableSize: 65537");
            } else if size >= 5_000_011 || !is_prime(size) {
                at.refuse(
                    "tableSize must be a prime number below 5000011 for maglev",
                    "write tableSize: 65537",
                );
            }
            HashAlgorithm::Maglev(size)
        });
        if ring.is_some() && maglev.is_some() {
            at.refuse("has both ringHash and maglev", "keep one of them");
        }
        let mut old = 1024;
        if let Some(at) = fields.get("minimumRingSize") {
            at.warn("is deprecated", "write ringHash: {minimumRingSize: …}");
            let size = u64::from(at.number(u32::MAX));
            if size > 0 {
                old = size;
                if ring.is_some() || maglev.is_some() {
                    at.refuse(
                        "only one of MinimumRingSize or Maglev/Ringhash can be specified",
                        "remove it",
                    );
                }
            }
        }
        let hash = ConsistentHash {
            key: keys.pop(),
            algorithm: maglev.or(ring).unwrap_or(HashAlgorithm::Default(old)),
        };
        fields.finish();
        hash
    }
}

fn read_cookie(at: &At<'_>) -> HashKey {
    let fields = at.fields();
    let name = fields.string("name");
    if name.is_empty() {
        at.refuse("name required for HttpCookie", "add name");
    }
    let mut seen = BTreeSet::new();
    let attributes = fields.list("attributes", |at| {
        let fields = at.fields();
        let attribute = (fields.string("name"), fields.string("value"));
        fields.finish();
        if attribute.0.is_empty() {
            at.refuse("cookie attribute name cannot be empty", "add name");
        } else if !seen.insert(attribute.0.clone()) {
            at.refuse(
                format_args!("duplicate cookie attribute name: {}", attribute.0),
                "remove one",
            );
        }
        attribute
    });
    let cookie = HashKey::Cookie {
        name,
        path: fields.string("path"),
        ttl: fields.get("ttl").map(|at| at.duration()),
        attributes,
    };
    fields.finish();
    cookie
}

fn is_prime(n: u64) -> bool {
    n >= 2
        && (2..)
            .take_while(|f| f * f <= n)
            .all(|f| !n.is_multiple_of(f))
}

fn warn_of_outlier_detection(
    at: &At<'_>,
    failover: &[(String, String)],
    priority: &[String],
    has_outlier_detection: bool,
) {
    if (!failover.is_empty() || !priority.is_empty()) && !has_outlier_detection {
        at.warn(
            "outlier detection policy must be provided for failover",
            "add outlierDetection",
        );
    }
}

fn read_failover(fields: &Fields<'_>) -> Vec<(String, String)> {
    fields.list("failover", |at| {
        let fields = at.fields();
        let (from, to) = (fields.string("from"), fields.string("to"));
        fields.finish();
        if from == to {
            at.refuse(
                "locality lb failover settings must specify different regions",
                "write another region",
            );
        }
        if format!("{from}{to}").contains(['/', '*']) {
            at.refuse(
                "locality lb failover only specify region",
                "write regions without zones and wildcards",
            );
        }
        (from, to)
    })
}

impl LocalityLb {
    pub(super) fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let locality = LocalityLb {
            is_off: fields.get("enabled").is_some_and(|at| !at.bool()),
            distribute: fields.list("distribute", |at| Distribute::read(&at)),
            failover: read_failover(&fields),
            failover_priority: fields.strings("failoverPriority"),
        };
        fields.finish();
        if !locality.distribute.is_empty() && !locality.failover.is_empty() {
            at.refuse(
                "can not simultaneously specify 'distribute' and 'failover'",
                "keep one of them",
            );
        }
        let topology = |label: &&String| TOPOLOGY.contains(&label.as_str());
        if !locality.failover.is_empty()
            && let Some(label) = locality.failover_priority.iter().find(topology)
        {
            at.refuse(
                format_args!(
                    "can not simultaneously set 'failover' and topology label '{label}' in 'failover_priority'"
                ),
                "keep one of them",
            );
        }
        let from: Vec<_> = locality
            .distribute
            .iter()
            .map(|d| d.from.as_str())
            .collect();
        check_localities(at, &from);
        locality
    }

    fn warn_of_outlier_detection(&self, at: &At<'_>, has_outlier_detection: bool) {
        warn_of_outlier_detection(
            at,
            &self.failover,
            &self.failover_priority,
            has_outlier_detection,
        );
    }
}

impl Distribute {
    fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let to: BTreeMap<String, u32> = fields
            .get("to")
            .map(|at| at.entries())
            .unwrap_or_default()
            .into_iter()
            .map(|(locality, at)| (locality.to_owned(), at.number(u32::MAX)))
            .collect();
        let distribute = Distribute {
            from: fields.string("from"),
            to: to.into_iter().collect(),
        };
        fields.finish();
        if distribute.to.iter().any(|(_, w)| !(1..=100).contains(w)) {
            at.refuse(
                "locality weight must be in range [1, 100]",
                "write a percentage",
            );
        } else {
            let total: u32 = distribute.to.iter().map(|(_, w)| w).sum();
            if total != 100 {
                at.refuse(
                    format_args!("total locality weight {total} != 100"),
                    "make them add up to 100",
                );
            }
        }
        let to: Vec<_> = distribute.to.iter().map(|(to, _)| to.as_str()).collect();
        check_localities(at, &to);
        distribute
    }
}

/// Refuses localities of which one covers another.
fn check_localities(at: &At<'_>, localities: &[&str]) {
    let mut seen: Vec<Vec<&str>> = Vec::new();
    for locality in localities {
        let stars = locality.matches('*').count();
        if stars > 1 || (stars == 1 && !locality.ends_with('*')) {
            at.refuse(
                format_args!(
                    "locality {locality} wildcard '*' number can not exceed 1 and must be in the end"
                ),
                "write region/zone/subzone",
            );
            return;
        }
        let mut parts: Vec<&str> = locality.split('/').collect();
        if parts.last() == Some(&"*") {
            parts.pop();
        }
        if parts.iter().any(|part| part.is_empty()) {
            at.refuse(
                format_args!("locality {locality} must not contain empty region/zone/subzone info"),
                "write region/zone/subzone",
            );
            return;
        }
        if seen
            .iter()
            .any(|other| other.starts_with(&parts) || parts.starts_with(other))
        {
            at.refuse(
                format_args!("locality {locality} overlap with previous specified ones"),
                "remove one",
            );
            return;
        }
        seen.push(parts);
    }
}

impl ZoneAwareLb {
    pub(super) fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let zone_aware = ZoneAwareLb {
            is_off: fields.get("enabled").is_some_and(|at| !at.bool()),
            failover: read_failover(&fields),
            failover_priority: fields.strings("failoverPriority"),
            min_cluster_size: fields.get("minClusterSize").map(|at| at.number(u32::MAX)),
        };
        fields.finish();
        for label in &zone_aware.failover_priority {
            if TOPOLOGY.contains(&label.as_str()) {
                at.refuse(
                    format_args!(
                        "'failover_priority' for zone aware lb must not use topology label '{label}'; region- and \
                         zone-level routing are handled automatically"
                    ),
                    "remove it",
                );
            }
        }
        zone_aware
    }
}
