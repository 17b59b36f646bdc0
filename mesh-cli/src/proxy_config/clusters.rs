//! `proxy-config clusters`.

use serde_json::Value;

use super::args::ClusterFilter;
use super::dump::{Dump, cluster_key, origin, text};
use crate::Error;
use crate::columns::row;

/// The clusters that a filter lets through: by host, subset, port and direction.
pub(super) fn find(
    dump: &Dump,
    filter: &ClusterFilter,
    port: Option<u32>,
) -> Result<Vec<Value>, Error> {
    let mut clusters = dump.resources(
        "ClustersConfigDump",
        &[
            ("dynamic_active_clusters", &["cluster"]),
            ("static_clusters", &["cluster"]),
        ],
    )?;
    if clusters.is_empty() {
        return Err("no clusters found".into());
    }
    clusters.sort_by_cached_key(|cluster| cluster_key(text(cluster, "name")));
    let wanted = |cluster: &Value| {
        let name = text(cluster, "name");
        let has = |part: &Option<String>| part.as_ref().is_none_or(|part| name.contains(part));
        has(&filter.fqdn)
            && has(&filter.direction)
            && has(&filter.subset)
            && port.is_none_or(|port| name.contains(&format!("|{port}|")))
    };
    clusters.retain(wanted);
    Ok(clusters)
}

/// One line each; `named`: with what it is called in the dump.
pub(super) fn table(clusters: &[Value], named: bool) -> Vec<Vec<String>> {
    let mut head = row![
        "SERVICE FQDN",
        "PORT",
        "SUBSET",
        "DIRECTION",
        "TYPE",
        "DESTINATION RULE"
    ];
    if named {
        head.insert(0, "NAME".to_owned());
    }
    let mut rows = vec![head];
    for cluster in clusters {
        let name = text(cluster, "name");
        let long = format!("cluster/{name}");
        let kind = match text(cluster, "type") {
            "" => "STATIC",
            kind => kind,
        };
        let mut row = if name.split('|').count() > 3 {
            let (host, subset, port, direction) = cluster_key(name);
            let subset = if subset.is_empty() { "-" } else { &subset };
            row![host, port, subset, direction, kind, origin(cluster)]
        } else {
            let host = if named { &long } else { name };
            row![host, "-", "-", "-", kind, origin(cluster)]
        };
        if named {
            row.insert(0, long);
        }
        rows.push(row);
    }
    rows
}
