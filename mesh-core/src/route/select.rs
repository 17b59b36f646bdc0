//! Which cluster a stream goes to (Envoy `WeightedClusterSpecifierPlugin`, `cluster_header`).

use http::HeaderName;

use super::ClusterSlots;
use crate::{
    head::StreamView, matcher::MatchedHeader, model::ClusterSpecifier, snapshot::ClusterIndex,
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
        entries: Box<[(u64, ClusterIndex)]>,
        total: u64,
        /// A header whose value replaces the random number.
        header: Option<HeaderName>,
    },
    Header(MatchedHeader),
}

impl Selection {
    pub(super) fn new(
        specifier: &ClusterSpecifier,
        header: Option<&HeaderName>,
        slots: &dyn ClusterSlots,
    ) -> Self {
        match specifier {
            ClusterSpecifier::Cluster(name) => Self::Cluster(slots.slot(name)),
            ClusterSpecifier::ClusterHeader(name) => Self::Header(name.clone()),
            ClusterSpecifier::Weighted(clusters) => {
                let mut total = 0;
                let entries = clusters
                    .iter()
                    .map(|cluster| {
                        total += u64::from(cluster.weight);
                        (total, slots.slot(&cluster.name))
                    })
                    .collect();
                Self::Weighted {
                    entries,
                    total,
                    header: header.cloned(),
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
            } => {
                let given = header.as_ref().and_then(|name| number_in(view, name));
                let value = given.unwrap_or(view.random).checked_rem(*total)?;
                let entry = entries.iter().position(|(end, _)| value < *end)?;
                Some(SelectedCluster {
                    cluster: entries.get(entry)?.1,
                    weighted: u32::try_from(entry).ok(),
                })
            }
            Self::Header(name) => {
                let name = std::str::from_utf8(view.head.value(name)?).ok()?;
                Some(SelectedCluster {
                    cluster: by_name(name)?,
                    weighted: None,
                })
            }
        }
    }
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
