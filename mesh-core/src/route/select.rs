//! Which cluster a stream goes to (Envoy `WeightedClusterSpecifierPlugin`, `cluster_header`).

use http::HeaderName;

use super::{ClusterSlots, HashContext, request_hash};
use crate::{
    head::StreamView,
    matcher::MatchedHeader,
    model::{ClusterSpecifier, Forward, HashPolicy, HashSource},
    snapshot::ClusterIndex,
};

/// The cluster drawn for a stream; retries stay in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelectedCluster {
    /// The slot; may be empty (NC).
    pub cluster: ClusterIndex,
    /// Which entry of `weighted_clusters`.
    pub weighted: Option<u32>,
}

/// A cluster specifier with its names resolved.
#[derive(Debug)]
pub(super) enum Selection {
    Cluster(ClusterIndex),
    Weighted {
        /// Each entry's end in the running sum of weights.
        entries: Box<[(u64, Entry)]>,
        total: u64,
        /// A header whose value replaces the random number.
        header: Option<HeaderName>,
        /// By whose hash the random number is replaced; empty: by none.
        hash: Box<[HashPolicy]>,
    },
    Header(MatchedHeader),
}

/// Where an entry of weighted clusters leads.
#[derive(Debug)]
pub(super) enum Entry {
    Cluster(ClusterIndex),
    Header(MatchedHeader),
}

/// The slot of no cluster: an entry was drawn, but the header that names its cluster names none.
const NONE: ClusterIndex = ClusterIndex::at(u32::MAX);

/// The cluster that a header names.
fn named(
    view: &StreamView<'_>,
    name: &MatchedHeader,
    by_name: &dyn Fn(&str) -> Option<ClusterIndex>,
) -> Option<ClusterIndex> {
    by_name(std::str::from_utf8(view.head.value(name)?).ok()?)
}

impl Selection {
    pub(super) fn new(forward: &Forward, slots: &dyn ClusterSlots) -> Self {
        match &forward.cluster {
            ClusterSpecifier::Cluster(name) => Self::Cluster(slots.slot(name)),
            ClusterSpecifier::ClusterHeader(name) => Self::Header(name.clone()),
            ClusterSpecifier::Weighted(clusters) => {
                let mut total = 0;
                let entries = clusters
                    .iter()
                    .map(|cluster| {
                        total += u64::from(cluster.weight);
                        let entry = match &cluster.cluster_header {
                            Some(name) => Entry::Header(name.clone()),
                            None => Entry::Cluster(slots.slot(&cluster.name)),
                        };
                        (total, entry)
                    })
                    .collect();
                Self::Weighted {
                    entries,
                    total,
                    header: forward.weighted_header.clone(),
                    hash: match forward.weighted_by_hash {
                        true => forward
                            .hash_policies
                            .iter()
                            .map(without_new_cookie)
                            .collect(),
                        false => Box::default(),
                    },
                }
            }
        }
    }

    pub(super) fn select(
        &self,
        view: &StreamView<'_>,
        by_name: &dyn Fn(&str) -> Option<ClusterIndex>,
    ) -> Option<SelectedCluster> {
        match self {
            Self::Cluster(cluster) => Some(SelectedCluster {
                cluster: *cluster,
                weighted: None,
            }),
            Self::Weighted {
                entries,
                total,
                header,
                hash,
            } => {
                let given = header.as_ref().and_then(|name| number_in(view, name));
                let hash = match hash.is_empty() {
                    true => None,
                    false => hashed(view, hash),
                };
                let value = given.or(hash).unwrap_or(view.random).checked_rem(*total)?;
                let entry = entries.iter().position(|(end, _)| value < *end)?;
                let cluster = match &entries.get(entry)?.1 {
                    Entry::Cluster(cluster) => *cluster,
                    Entry::Header(name) => named(view, name, by_name).unwrap_or(NONE),
                };
                Some(SelectedCluster {
                    cluster,
                    weighted: u32::try_from(entry).ok(),
                })
            }
            Self::Header(name) => Some(SelectedCluster {
                cluster: named(view, name, by_name)?,
                weighted: None,
            }),
        }
    }
}

/// A cookie that is missing is not made up here.
fn without_new_cookie(policy: &HashPolicy) -> HashPolicy {
    let mut policy = policy.clone();
    if let HashSource::Cookie(cookie) = &mut policy.source {
        cookie.made_up = None;
    }
    policy
}

fn hashed(view: &StreamView<'_>, policies: &[HashPolicy]) -> Option<u64> {
    let cx = HashContext {
        head: view.head,
        connection: view.connection,
        client: view.connection.peer.map(|peer| peer.ip()),
        random: view.random,
    };
    request_hash(policies, &cx, &mut |_| {})
}

/// The number in a header that occurs exactly once.
fn number_in(view: &StreamView<'_>, name: &HeaderName) -> Option<u64> {
    let mut lines = view.head.headers.get_all(name).iter();
    let line = lines.next()?;
    if lines.next().is_some() {
        return None;
    }
    line.to_str().ok()?.trim_ascii().parse().ok()
}
