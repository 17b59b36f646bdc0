//! ServiceEntries: TCP without addresses, and two protocols for one host and port.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::Findings;
use super::hosts::scopes;
use super::objects::World;

pub(super) fn analyze(world: &World<'_>, findings: &mut Findings) {
    check_addresses(world, findings);
    check_protocols(world, findings);
}

fn check_addresses(world: &World<'_>, findings: &mut Findings) {
    let metadata = world
        .mesh
        .get("defaultConfig")
        .and_then(|config| config.get("proxyMetadata"));
    let is_true = |name: &str| metadata.as_ref().is_some_and(|m| m.text(name) == "true");
    let allocates = is_true("ISTIO_META_DNS_CAPTURE")
        && (is_true("ISTIO_META_DNS_AUTO_ALLOCATE") || is_true("PILOT_ENABLE_IP_AUTOALLOCATE"));
    if allocates {
        return;
    }
    for entry in world.all("ServiceEntry") {
        let is_allocated = entry
            .root
            .get("status")
            .is_some_and(|status| !status.list("addresses").is_empty());
        if is_allocated || !entry.spec.list("addresses").is_empty() {
            continue;
        }
        for port in entry.spec.list("ports") {
            let protocol = port.text("protocol");
            if protocol.is_empty() || protocol.eq_ignore_ascii_case("TCP") {
                findings.add(
                    "IST0134",
                    entry,
                    port.mark(),
                    "ServiceEntry addresses are required for this protocol.",
                );
            }
        }
    }
}

fn check_protocols(world: &World<'_>, findings: &mut Findings) {
    let entries: Vec<_> = world.all("ServiceEntry").collect();
    // scope, host, port -> protocols and entries
    type Definitions = Vec<(String, usize)>;
    let mut index: BTreeMap<(String, &str, i128), Definitions> = BTreeMap::new();
    for (at, entry) in entries.iter().enumerate() {
        for scope in scopes(entry) {
            for host in entry.spec.list("hosts") {
                for port in entry.spec.list("ports") {
                    let key = (scope.clone(), host.as_text(), port.number("number"));
                    let protocol = port.text("protocol").to_uppercase();
                    index.entry(key).or_default().push((protocol, at));
                }
            }
        }
    }
    let mut reported = BTreeSet::new();
    for ((scope, host, port), of_scope) in &index {
        let mut found = of_scope.clone();
        if scope != "*"
            && let Some(of_all) = index.get(&("*".to_owned(), *host, *port))
        {
            found.extend(of_all.iter().cloned());
        }
        let protocols: BTreeSet<&str> = found.iter().map(|(protocol, _)| &**protocol).collect();
        if protocols.len() < 2 {
            continue;
        }
        let names: BTreeSet<String> = found
            .iter()
            .map(|(_, at)| entries[*at].full_name())
            .collect();
        let list = |set: Vec<&str>| set.join(", ");
        let message = format!(
            "Multiple ServiceEntries ({}) define the same host {host:?} and port {port} with conflicting protocols ({}).",
            list(names.iter().map(String::as_str).collect()),
            list(protocols.into_iter().collect())
        );
        for (_, at) in &found {
            if reported.insert(*at) {
                findings.add("IST0177", entries[*at], entries[*at].name_mark(), &message);
            }
        }
    }
}
