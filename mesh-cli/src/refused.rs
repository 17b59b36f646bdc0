//! What of a folder our own data plane would refuse: one rule that it does not know freezes a whole resource, so its
//! author hears of it where the rule is written.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_control::Config;
use mesh_xds::{decode_resource, origin};

/// A line for each problem: `file:line: object: resource: field: what is wrong`, sorted.
pub(crate) fn refused(config: &Arc<Config>) -> BTreeSet<String> {
    let workloads = config.workloads();
    let workloads = workloads.iter().filter_map(|name| {
        let (name, namespace) = name.rsplit_once('.')?;
        config.workload(namespace, name)
    });
    // Who has no workloads yet wants to know, too.
    let others = [
        config.workload("default", "istio-ingressgateway"),
        Some(config.anybody()),
    ];
    let mut lines = BTreeSet::new();
    for workload in workloads.chain(others.into_iter().flatten()) {
        for resource in workload.resources(config) {
            let decoded = decode_resource(&resource);
            let Err(problems) = decoded.resource else {
                continue;
            };
            let name = decoded
                .name
                .as_deref()
                .unwrap_or("a resource without a name");
            for problem in problems.errors() {
                let origin = origin(&resource, problem);
                let object = origin.object.as_deref().unwrap_or_default();
                let place = origin.place.map(|p| p.to_string());
                let place = place.or_else(|| place_of(config, object));
                let parts = [place.as_deref().unwrap_or_default(), object, name];
                let mut line: String = parts
                    .iter()
                    .filter(|part| !part.is_empty())
                    .map(|part| format!("{part}: "))
                    .collect();
                line.push_str(&problem.to_string());
                lines.insert(line);
            }
        }
    }
    lines
}

fn place_of(config: &Config, object: &str) -> Option<String> {
    let (_, metadata) = config.objects().find(|(id, _)| id.to_string() == object)?;
    let at = &metadata.provenance;
    Some(format!("{}:{}", at.file, at.line))
}
