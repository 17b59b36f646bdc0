//! `proxy-config endpoints`: from `/clusters?format=json`, which knows who is healthy, or from a config dump, which knows
//! what was sent.

use serde_json::Value;

use super::args::EndpointFilter;
use super::dump::{Dump, cluster_key, field, items, json_name, number, text};
use crate::Error;
use crate::columns::row;

/// What is asked of an endpoint.
#[derive(Debug)]
pub(super) struct Filter<'a> {
    pub(super) more: &'a EndpointFilter,
    pub(super) port: Option<u32>,
    pub(super) address: Option<&'a str>,
}

impl Filter<'_> {
    fn fits(&self, addresses: &[&str], port: u64, cluster: &str, status: &str) -> bool {
        let is = |wanted: &Option<String>, given: &str| {
            wanted
                .as_ref()
                .is_none_or(|w| w.eq_ignore_ascii_case(given))
        };
        self.address.is_none_or(|wanted| {
            addresses
                .iter()
                .any(|address| wanted.eq_ignore_ascii_case(address))
        }) && self.port.is_none_or(|wanted| u64::from(wanted) == port)
            && is(&self.more.cluster, cluster)
            && is(&self.more.status, status)
    }
}

/// An address without its port.
fn host(address: &Value) -> String {
    let pipe = field(address, "pipe");
    let internal = field(address, "envoy_internal_address");
    if !field(address, "socket_address").is_null() {
        text(field(address, "socket_address"), "address").to_owned()
    } else if !pipe.is_null() {
        format!("unix://{}", text(pipe, "path"))
    } else if !text(internal, "server_listener_name").is_empty() {
        format!(
            "envoy://{}/{}",
            text(internal, "server_listener_name"),
            text(internal, "endpoint_id")
        )
    } else {
        "unknown".to_owned()
    }
}

fn port(address: &Value) -> u64 {
    number(field(address, "socket_address"), "port_value")
}

fn health(status: &str) -> &str {
    if status.is_empty() { "UNKNOWN" } else { status }
}

fn statuses(clusters: &Value) -> &[Value] {
    items(field(clusters, "cluster_statuses"))
}

fn is_wanted(filter: &Filter<'_>, cluster: &Value, endpoint: &Value) -> bool {
    let address = field(endpoint, "address");
    let status = health(text(field(endpoint, "health_status"), "eds_health_status"));
    filter.fits(
        &[&host(address)],
        port(address),
        text(cluster, "name"),
        status,
    )
}

/// Clusters of `/clusters?format=json` with an endpoint that fits.
pub(super) fn of_clusters(clusters: &Value, filter: &Filter<'_>) -> Vec<Value> {
    let fits = |cluster: &&Value| {
        let endpoints = items(field(cluster, "host_statuses"));
        endpoints.iter().any(|e| is_wanted(filter, cluster, e))
    };
    statuses(clusters).iter().filter(fits).cloned().collect()
}

/// Endpoints of `/clusters?format=json` by address.
pub(super) fn table_of_clusters(clusters: &Value, filter: &Filter<'_>) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for cluster in statuses(clusters) {
        for endpoint in items(field(cluster, "host_statuses")) {
            if !is_wanted(filter, cluster, endpoint) {
                continue;
            }
            let address = field(endpoint, "address");
            let states = field(endpoint, "health_status");
            let failed = field(states, "failed_outlier_check") == &Value::Bool(true);
            let status = health(text(states, "eds_health_status"));
            let outlier = if failed { "FAILED" } else { "OK" };
            let key = (host(address), port(address), text(cluster, "name"));
            found.push((key, status, outlier));
        }
    }
    found.sort();
    let mut rows = vec![row!["ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER"]];
    for ((host, port, cluster), status, outlier) in found {
        let address = match port {
            0 => host,
            port => format!("{host}:{port}"),
        };
        rows.push(row![address, status, outlier, cluster]);
    }
    rows
}

/// Load assignments of a config dump, with the endpoints that fit, by cluster.
pub(super) fn of_dump(dump: &Dump, filter: &Filter<'_>) -> Result<Vec<Value>, Error> {
    let lists: [(&str, &[&str]); 2] = [
        ("dynamic_endpoint_configs", &["endpoint_config"]),
        ("static_endpoint_configs", &["endpoint_config"]),
    ];
    let mut assignments = dump.resources("EndpointsConfigDump", &lists)?;
    for assignment in &mut assignments {
        let cluster = text(assignment, "cluster_name").to_owned();
        for locality in list_mut(assignment, "endpoints").into_iter().flatten() {
            let Some(endpoints) = list_mut(locality, "lb_endpoints") else {
                continue;
            };
            endpoints.retain(|endpoint| {
                // as it is shown, and without the port
                let shown = addresses(endpoint);
                let hosts = shown
                    .iter()
                    .filter_map(|address| Some(address.rsplit_once(':')?.0));
                let addresses: Vec<_> = shown.iter().map(String::as_str).chain(hosts).collect();
                let status = health(text(endpoint, "health_status"));
                let address = field(field(endpoint, "endpoint"), "address");
                filter.fits(&addresses, port(address), &cluster, status)
            });
        }
    }
    let has_some = |assignment: &Value| {
        let localities = items(field(assignment, "endpoints"));
        localities
            .iter()
            .any(|locality| !items(field(locality, "lb_endpoints")).is_empty())
    };
    assignments.retain(has_some);
    assignments.sort_by_cached_key(|assignment| cluster_key(text(assignment, "cluster_name")));
    Ok(assignments)
}

fn list_mut<'a>(value: &'a mut Value, name: &str) -> Option<&'a mut Vec<Value>> {
    let name = match value.get(name) {
        Some(_) => name.to_owned(),
        None => json_name(name),
    };
    value.get_mut(name)?.as_array_mut()
}

fn addresses(endpoint: &Value) -> Vec<String> {
    let endpoint = field(endpoint, "endpoint");
    let more = items(field(endpoint, "additional_addresses"));
    let shown = |address: &Value| {
        let pipe = field(address, "pipe");
        if !field(address, "socket_address").is_null() {
            format!("{}:{}", host(address), port(address))
        } else if !pipe.is_null() {
            text(pipe, "path").to_owned()
        } else {
            host(address)
        }
    };
    std::iter::once(field(endpoint, "address"))
        .chain(more.iter().map(|one| field(one, "address")))
        .map(shown)
        .collect()
}

pub(super) fn table_of_dump(assignments: &[Value], named: bool) -> Vec<Vec<String>> {
    let mut rows = vec![row!["NAME", "STATUS", "LOCALITY", "CLUSTER"]];
    for assignment in assignments {
        for locality in items(field(assignment, "endpoints")) {
            let place = field(locality, "locality");
            let place: Vec<_> = ["region", "zone", "sub_zone"]
                .iter()
                .map(|name| text(place, name))
                .take_while(|part| !part.is_empty())
                .collect();
            for endpoint in items(field(locality, "lb_endpoints")) {
                let prefix = if named { "endpoint/" } else { "" };
                rows.push(row![
                    format!("{prefix}{}", addresses(endpoint).join(",")),
                    health(text(endpoint, "health_status")),
                    place.join("/"),
                    text(assignment, "cluster_name")
                ]);
            }
        }
    }
    rows
}
