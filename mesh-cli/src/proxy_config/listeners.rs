//! `proxy-config listeners`.

use std::cmp::Reverse;

use serde_json::Value;

use super::args::ListenerFilter;
use super::dump::{Dump, field, items, number, text};
use super::routes::described_match;
use crate::Error;
use crate::columns::row;

const HTTP: &str = "envoy.filters.network.http_connection_manager";
const TCP: &str = "envoy.filters.network.tcp_proxy";

/// Application protocols that Istio's sniffing chains match, and what istioctl calls them.
const PROTOCOLS: [(&str, &str); 4] = [
    (
        "http/1.0,http/1.1,h2c,istio-http/1.0,istio-http/1.1,istio-h2",
        "App: HTTP TLS",
    ),
    (
        "istio,istio-http/1.0,istio-http/1.1,istio-h2",
        "App: Istio HTTP Plain",
    ),
    ("istio-peer-exchange,istio", "App: TCP TLS"),
    ("http/1.0,http/1.1,h2c", "App: HTTP"),
];

/// The listeners that a filter lets through, by port, address and type.
pub(super) fn find(
    dump: &Dump,
    filter: &ListenerFilter,
    wanted_port: Option<u32>,
    address: Option<&str>,
) -> Result<Vec<Value>, Error> {
    let mut listeners = dump.resources(
        "ListenersConfigDump",
        &[
            ("dynamic_listeners", &["active_state", "listener"]),
            ("static_listeners", &["listener"]),
        ],
    )?;
    if listeners.is_empty() {
        return Err("no listeners found".into());
    }
    let wanted = |listener: &Value| {
        let is = |wanted: &str, given: &str| wanted.eq_ignore_ascii_case(given);
        address.is_none_or(|wanted| addresses(listener).iter().any(|given| is(wanted, given)))
            && wanted_port.is_none_or(|wanted| port(listener) == u64::from(wanted))
            && filter
                .kind
                .as_ref()
                .is_none_or(|wanted| is(wanted, kind(listener)))
    };
    listeners.retain(wanted);
    Ok(listeners)
}

pub(super) fn table(listeners: &[Value], verbose: bool, named: bool) -> Vec<Vec<String>> {
    let mut sorted: Vec<&Value> = listeners.iter().collect();
    sorted.sort_by_key(|listener| {
        (
            port(listener),
            addresses(listener).remove(0),
            kind(listener),
        )
    });
    let mut head = match verbose {
        true => row!["ADDRESSES", "PORT", "MATCH", "DESTINATION"],
        false => row!["ADDRESSES", "PORT", "TYPE"],
    };
    if named {
        head.insert(0, "NAME".to_owned());
    }
    let mut rows = vec![head];
    for listener in sorted {
        let mut start = row![addresses(listener).join(","), port(listener)];
        if named {
            start.insert(0, format!("listener/{}", text(listener, "name")));
        }
        if !verbose {
            rows.push([start, row![kind(listener)]].concat());
            continue;
        }
        let mut matches: Vec<_> = chains(listener)
            .map(|chain| {
                (
                    destination(chain),
                    matched(field(chain, "filter_chain_match")),
                )
            })
            .collect();
        matches.sort_by_key(|(destination, _)| Reverse(destination.clone()));
        for (destination, matched) in matches {
            rows.push([start.clone(), row![matched, destination]].concat());
        }
    }
    rows
}

fn chains(listener: &Value) -> impl Iterator<Item = &Value> {
    let default = field(listener, "default_filter_chain");
    items(field(listener, "filter_chains"))
        .iter()
        .chain((!default.is_null()).then_some(default))
}

fn port(listener: &Value) -> u64 {
    let address = field(listener, "address");
    number(field(address, "socket_address"), "port_value")
}

fn addresses(listener: &Value) -> Vec<String> {
    let of = |address: &Value| match text(field(address, "socket_address"), "address") {
        "" => text(field(address, "pipe"), "path").to_owned(),
        address => address.to_owned(),
    };
    let more = items(field(listener, "additional_addresses"));
    std::iter::once(of(field(listener, "address")))
        .chain(more.iter().map(|one| of(field(one, "address"))))
        .collect()
}

/// What its chains end in; what only drops connections counts as nothing.
fn kind(listener: &Value) -> &'static str {
    let filters = || chains(listener).flat_map(|chain| items(field(chain, "filters")));
    let http = filters().any(|filter| text(filter, "name") == HTTP);
    let tcp = filters().any(|filter| text(filter, "name") == TCP && !is_black_hole(filter));
    match (http, tcp) {
        (true, true) => "HTTP+TCP",
        (true, false) => "HTTP",
        (false, true) => "TCP",
        (false, false) => "UNKNOWN",
    }
}

fn is_black_hole(filter: &Value) -> bool {
    field(filter, "typed_config")
        .to_string()
        .contains("BlackHoleCluster")
}

fn list(value: &Value) -> String {
    let words: Vec<_> = items(value).iter().filter_map(Value::as_str).collect();
    words.join(",")
}

fn matched(conditions: &Value) -> String {
    let mut words = Vec::new();
    let names = list(field(conditions, "server_names"));
    if !names.is_empty() {
        words.push(format!("SNI: {names}"));
    }
    let transport = text(conditions, "transport_protocol");
    if !transport.is_empty() {
        words.push(format!("Trans: {transport}"));
    }
    let protocols = list(field(conditions, "application_protocols"));
    if !protocols.is_empty() {
        let known = PROTOCOLS.iter().find(|(list, _)| *list == protocols);
        words.push(match known {
            Some((_, name)) => (*name).to_owned(),
            None => format!("App: {protocols}"),
        });
    }
    let port = match field(conditions, "destination_port") {
        Value::Null => String::new(),
        port => format!(":{port}"),
    };
    let ranges: Vec<_> = items(field(conditions, "prefix_ranges"))
        .iter()
        .map(|range| {
            let length = number(range, "prefix_len");
            format!("{}/{length}", text(range, "address_prefix"))
        })
        .collect();
    if !ranges.is_empty() {
        words.push(format!("Addr: {}{port}", ranges.join(",")));
    } else if !port.is_empty() {
        words.push(format!("Addr: *{port}"));
    }
    match words.is_empty() {
        true => "ALL".to_owned(),
        false => words.join("; "),
    }
}

fn destination(chain: &Value) -> String {
    for filter in items(field(chain, "filters")) {
        let config = field(filter, "typed_config");
        match text(filter, "name") {
            HTTP => {
                let inline = field(config, "route_config");
                let rds = text(field(config, "rds"), "route_config_name");
                return if !inline.is_null() {
                    inline_routes(inline)
                } else if !rds.is_empty() {
                    format!("Route: {rds}")
                } else {
                    "HTTP".to_owned()
                };
            }
            TCP if !is_black_hole(filter) => return cluster(text(config, "cluster")),
            _ => {}
        }
    }
    "Non-HTTP/Non-TCP".to_owned()
}

/// Istio's own clusters, such as PassthroughCluster, speak for themselves.
fn cluster(name: &str) -> String {
    match name.contains("Cluster") {
        true => name.to_owned(),
        false => format!("Cluster: {name}"),
    }
}

fn inline_routes(configuration: &Value) -> String {
    let hosts = items(field(configuration, "virtual_hosts"));
    if let [host] = hosts
        && list(field(host, "domains")) == "*"
        && let [route] = items(field(host, "routes"))
        && text(field(route, "match"), "prefix") == "/"
        && let Some(name) = field(field(route, "route"), "cluster").as_str()
    {
        return cluster(name);
    }
    let described: Vec<_> = hosts.iter().map(described_host).collect();
    format!("Inline Route: {}", described.join("; "))
}

fn described_host(host: &Value) -> String {
    let domains = list(field(host, "domains")).replace(',', "/");
    let routes: Vec<_> = items(field(host, "routes"))
        .iter()
        .map(|route| described_match(field(route, "match")))
        .collect();
    let routes = routes.join(", ");
    match domains.as_str() {
        "*" => routes,
        domains => format!("{domains} {routes}"),
    }
}
