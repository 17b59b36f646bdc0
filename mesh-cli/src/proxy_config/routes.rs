//! `proxy-config routes`.

use serde_json::Value;

use super::dump::{Dump, field, items, origin, text};
use crate::Error;
use crate::columns::row;

/// The route configurations, or the one of a name; those whose names are ports come in their order.
pub(super) fn find(dump: &Dump, name: Option<&str>) -> Result<Vec<Value>, Error> {
    let mut routes = dump.resources(
        "RoutesConfigDump",
        &[
            ("dynamic_route_configs", &["route_config"]),
            ("static_route_configs", &["route_config"]),
        ],
    )?;
    if routes.is_empty() {
        return Err("no routes found".into());
    }
    // Numbers are compared, other names stay where they are: no order that a sort could be asked for.
    for last in 1..routes.len() {
        let mut at = last;
        while at > 0
            && let (Ok(one), Ok(before)) = (port(&routes[at]), port(&routes[at - 1]))
            && one < before
        {
            routes.swap(at, at - 1);
            at -= 1;
        }
    }
    routes.retain(|route| name.is_none_or(|name| text(route, "name") == name));
    Ok(routes)
}

fn port(route: &Value) -> Result<u64, std::num::ParseIntError> {
    text(route, "name").parse()
}

pub(super) fn table(routes: &[Value], verbose: bool, named: bool) -> Vec<Vec<String>> {
    let mut rows = vec![match verbose {
        true => row!["NAME", "VHOST NAME", "DOMAINS", "MATCH", "VIRTUAL SERVICE"],
        false => row!["NAME", "VIRTUAL HOSTS"],
    }];
    for configuration in routes {
        let prefix = if named { "route/" } else { "" };
        let name = format!("{prefix}{}", text(configuration, "name"));
        let hosts = items(field(configuration, "virtual_hosts"));
        if !verbose {
            rows.push(row![name, hosts.len()]);
            continue;
        }
        for host in hosts {
            let domains: Vec<_> = items(field(host, "domains"))
                .iter()
                .filter_map(Value::as_str)
                .collect();
            let routes = items(field(host, "routes"));
            for route in routes.iter().filter(|route| !is_passthrough(route)) {
                rows.push(row![
                    name,
                    text(host, "name"),
                    described_domains(&domains),
                    described_match(field(route, "match")),
                    origin(route)
                ]);
            }
            if routes.is_empty() {
                let host = text(host, "name");
                rows.push(row![name, host, described_domains(&domains), "/*", "404"]);
            }
        }
    }
    rows
}

fn is_passthrough(route: &Value) -> bool {
    text(field(route, "route"), "cluster") == "PassthroughCluster"
}

/// What is matched of a path; headers are left out.
pub(super) fn described_match(conditions: &Value) -> String {
    let mut words = Vec::new();
    for (name, prefix, suffix) in [
        ("prefix", "", "*"),
        ("path_separated_prefix", "PathPrefix:", ""),
        ("path", "", ""),
    ] {
        let value = text(conditions, name);
        if !value.is_empty() {
            words.push(format!("{prefix}{value}{suffix}"));
        }
    }
    let regex = field(conditions, "safe_regex");
    if !regex.is_null() {
        words.push(format!("regex {}", text(regex, "regex")));
    }
    words.join(" ")
}

/// The first two that are no mere expansions of others.
fn described_domains(domains: &[&str]) -> String {
    if let [one] = domains {
        return (*one).to_owned();
    }
    let without_port = |domain: &&&str| {
        let colons = domain.matches(':').count();
        colons == 0 || (colons > 2 && domain.ends_with(']'))
    };
    let shown: Vec<&str> = domains.iter().filter(without_port).copied().collect();
    let is_expansion = |domain: &str| {
        [".svc.cluster.local", ".svc"].iter().any(|suffix| {
            domain
                .strip_suffix(suffix)
                .is_some_and(|short| shown.contains(&short))
        })
    };
    let short: Vec<&str> = shown
        .iter()
        .copied()
        .filter(|domain| !is_expansion(domain))
        .collect();
    match short.len() {
        0..=2 => short.join(", "),
        many => format!("{} + {} more...", short[..2].join(", "), many - 2),
    }
}

#[cfg(test)]
mod tests {
    use super::described_domains;

    #[test]
    fn domains_are_shown_without_their_expansions() {
        for (domains, shown) in [
            ("", ""),
            ("example.com", "example.com"),
            ("example.com example.com:8080", "example.com"),
            (
                "a a:80 a.x a.x:80 a.x.svc a.x.svc.cluster.local 10.0.0.1",
                "a, a.x + 1 more...",
            ),
            (
                "a [fd00:10:96::7fc7] [fd00:10:96::7fc7]:80",
                "a, [fd00:10:96::7fc7]",
            ),
        ] {
            let domains: Vec<_> = domains.split_whitespace().collect();
            assert_eq!(described_domains(&domains), shown);
        }
    }
}
