//! How much of a configuration the cases cover (Envoy `Coverage`).

use std::collections::BTreeMap;

use mesh_core::route::RouteIndex;
use mesh_proto::envoy::config::route::v3::{
    self as proto, RouteMatch, route::Action, route_action::ClusterSpecifier,
};
use prost::{Message, Name};
use prost_reflect::DynamicMessage;

use super::schema;

/// Which routes, and of each which of its outcomes, some case asserts rightly.
#[derive(Clone, Debug)]
pub struct Coverage {
    /// By virtual host and route: what a person knows it by.
    routes: Vec<(RouteIndex, Known)>,
    /// Routes, each entry of weighted clusters being one.
    total: usize,
    covered: BTreeMap<Target, Aspects>,
}

#[derive(Clone, Debug)]
struct Known {
    host: String,
    route: String,
    matched: RouteMatch,
}

/// A route, or an entry of its weighted clusters.
type Target = (u32, u32, Option<u32>);

/// What of a route has been asserted.
#[derive(Clone, Copy, Debug, Default)]
struct Aspects {
    asserted: u32,
    of: u32,
}

/// One thing that a case asserts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Aspect {
    Cluster,
    VirtualCluster,
    VirtualHost,
    PathRewrite,
    HostRewrite,
    RedirectPath,
    RedirectCode,
}

impl Aspect {
    fn bit(self) -> u32 {
        1 << self as u32
    }

    /// How many aspects a route of this kind has.
    fn of(self) -> u32 {
        match self {
            Self::RedirectPath | Self::RedirectCode => 2,
            _ => 5,
        }
    }
}

impl Coverage {
    pub(super) fn of(config: &proto::RouteConfiguration) -> Self {
        let mut routes = Vec::new();
        let mut total = 0;
        for (virtual_host, host) in (0u32..).zip(&config.virtual_hosts) {
            for (route, config) in (0u32..).zip(&host.routes) {
                total += match &config.action {
                    Some(Action::Route(forward)) => match &forward.cluster_specifier {
                        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
                            weighted.clusters.len()
                        }
                        _ => 1,
                    },
                    _ => 1,
                };
                let known = Known {
                    host: host.name.clone(),
                    route: config.name.clone(),
                    matched: config.r#match.clone().unwrap_or_default(),
                };
                routes.push((
                    RouteIndex {
                        virtual_host,
                        route,
                    },
                    known,
                ));
            }
        }
        Self {
            routes,
            total,
            covered: BTreeMap::new(),
        }
    }

    pub(super) fn mark(&mut self, at: RouteIndex, weighted: Option<u32>, aspect: Aspect) {
        let target = (at.virtual_host, at.route, weighted);
        let aspects = self.covered.entry(target).or_default();
        aspects.asserted |= aspect.bit();
        aspects.of = aspect.of();
    }

    /// The routes of which some case asserts something, in percent of all.
    pub fn percent(&self) -> f64 {
        self.share(self.covered.len() as f64)
    }

    /// The same, each route counting as much as its outcomes are asserted (`--covall`): cluster, virtual cluster,
    /// virtual host, path and host of a route that forwards; location and status of one that answers.
    pub fn comprehensive_percent(&self) -> f64 {
        let share = |a: &Aspects| f64::from(a.asserted.count_ones()) / f64::from(a.of.max(1));
        self.share(self.covered.values().map(share).sum())
    }

    fn share(&self, covered: f64) -> f64 {
        match self.total {
            0 => 0.0,
            total => 100.0 * covered / total as f64,
        }
    }

    /// Routes of which no case asserts anything: virtual host and the route's name.
    pub fn missing_names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.missing().map(|known| (&*known.host, &*known.route))
    }

    /// The same: virtual host and `match` as protobuf text.
    pub fn missing_matches(&self) -> impl Iterator<Item = (&str, String)> {
        self.missing()
            .map(|known| (&*known.host, text(&known.matched)))
    }

    fn missing(&self) -> impl Iterator<Item = &Known> {
        let is_covered = |at: &RouteIndex| {
            let first = (at.virtual_host, at.route, None);
            let last = (at.virtual_host, at.route, Some(u32::MAX));
            self.covered.range(first..=last).next().is_some()
        };
        let missing = self.routes.iter().filter(move |(at, _)| !is_covered(at));
        missing.map(|(_, known)| known)
    }
}

fn text(matched: &RouteMatch) -> String {
    let dynamic = schema::pool()
        .and_then(|pool| pool.get_message_by_name(&RouteMatch::full_name()))
        .and_then(|of| DynamicMessage::decode(of, matched.encode_to_vec().as_slice()).ok());
    dynamic.map_or_else(String::new, |message| message.to_text_format())
}
