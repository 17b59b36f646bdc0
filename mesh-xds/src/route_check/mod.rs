//! Tests of a route configuration, as Envoy's `router_check_tool` runs them: a `RouteConfiguration`, cases
//! (`validation.Validation`, envoyproxy/envoy `test/tools/router_check`), and for each what differs.
//!
//! No request leaves: the same look-up, rewrites and header operations as on the data path, at the first moment of a
//! request (no filter has run). As with Envoy's tool a route with `runtime_fraction` is only there for cases that name
//! its runtime key, and its numerator is at least 1.

mod case;
mod compare;
mod coverage;
mod read;
mod schema;

#[cfg(test)]
mod tests;

pub use coverage::Coverage;
pub use read::InvalidFile;

use std::{collections::BTreeMap, sync::Arc};

use mesh_core::{filter::FilterChain, route::RouteTable};
use mesh_proto::envoy::config::route::v3 as proto;
use prost::{Message, Name};

use crate::{
    decode::{self, supported},
    problems::Problems,
};
use case::{Clusters, Expectation};
use schema::ValidationItem;

/// A route configuration and its cases, read and checked.
#[derive(Debug)]
pub struct RouteCheck {
    routes: proto::RouteConfiguration,
    cases: Vec<(ValidationItem, Expectation)>,
    deprecated: Vec<String>,
    warnings: Vec<String>,
}

/// What came of all cases.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// Each case, in the order of the file.
    pub results: Vec<CaseResult>,
    /// What the cases that hold cover.
    pub coverage: Coverage,
}

/// What came of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaseResult {
    /// `test_name`.
    pub name: String,
    /// What differs, in the words of Envoy's tool; empty: the case holds.
    pub failures: Vec<String>,
}

impl RouteCheck {
    /// Reads both files, each a name and its text. The name's ending tells the form: `.pb_text`, `.textproto`,
    /// `.txtpb` (protobuf text), anything else YAML, of which JSON is a part.
    ///
    /// # Errors
    /// What cannot be read, or what Envoy refuses in it, with the file's name and the place.
    pub fn new(config: (&str, &str), tests: (&str, &str)) -> Result<Self, InvalidFile> {
        let full_name = proto::RouteConfiguration::full_name();
        let routes: proto::RouteConfiguration = read::message(config, &full_name)?;
        let validation = read::message(tests, schema::VALIDATION)?;
        let mut p = Problems::default();
        supported::check(&mut p, &full_name, &routes.encode_to_vec());
        decode::route_configuration(&mut p, &routes);
        if !p.is_ok() {
            return Err(InvalidFile::from_problems(config, &p));
        }
        let warnings = p.warnings().iter().map(ToString::to_string).collect();
        let mut p = Problems::default();
        let cases = case::checked(&mut p, validation);
        if !p.is_ok() {
            return Err(InvalidFile::from_problems(tests, &p));
        }
        Ok(Self {
            deprecated: read::deprecated_fields(&routes),
            routes,
            cases,
            warnings,
        })
    }

    /// The fields of the configuration that Envoy calls deprecated.
    pub fn deprecated(&self) -> &[String] {
        &self.deprecated
    }

    /// What in the configuration has no effect here.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Runs all cases.
    pub fn run(&self) -> Report {
        let clusters = Clusters::default();
        let mut tables: BTreeMap<&str, Option<RouteTable>> = BTreeMap::new();
        let mut coverage = Coverage::of(&self.routes);
        let mut results = Vec::new();
        for (item, expected) in &self.cases {
            let input = item.input.clone().unwrap_or_default();
            let runtime = item.input.as_ref().map_or("", |input| &input.runtime);
            let table = tables
                .entry(runtime)
                .or_insert_with(|| table(&self.routes, runtime, &clusters));
            let failures = match table {
                Some(table) => case::run(table, &clusters, &input, expected, &mut coverage),
                None => vec!["the configuration is not valid with this runtime".to_owned()],
            };
            results.push(CaseResult {
                name: item.test_name.clone(),
                failures,
            });
        }
        Report { results, coverage }
    }
}

impl CaseResult {
    /// Whether the case holds.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

impl Report {
    /// Whether all cases hold.
    pub fn passed(&self) -> bool {
        self.results.iter().all(CaseResult::passed)
    }
}

/// The table while one runtime key (empty: none) is switched on.
fn table(
    routes: &proto::RouteConfiguration,
    runtime: &str,
    clusters: &Clusters,
) -> Option<RouteTable> {
    let mut routes = routes.clone();
    let matches = routes
        .virtual_hosts
        .iter_mut()
        .flat_map(|host| &mut host.routes)
        .filter_map(|route| route.r#match.as_mut());
    for fraction in matches.filter_map(|matched| matched.runtime_fraction.as_mut()) {
        let active = !runtime.is_empty() && fraction.runtime_key == runtime;
        let value = fraction.default_value.get_or_insert_default();
        value.numerator = match active {
            true => value.numerator.max(1),
            false => 0,
        };
    }
    let config = decode::route_configuration(&mut Problems::default(), &routes)?;
    let table = RouteTable::compile(Arc::new(config), &FilterChain::default(), clusters);
    Some(table)
}
