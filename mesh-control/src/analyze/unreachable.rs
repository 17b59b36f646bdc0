//! Routes of VirtualServices that no request reaches.

use std::collections::BTreeMap;

use super::finding::Findings;
use super::objects::{Object, World};
use crate::validate::part::Part;
use crate::yaml::{Mark, Node, Value};

pub(super) fn analyze(world: &World<'_>, findings: &mut Findings) {
    for service in world.all("VirtualService") {
        for protocol in ["http", "tcp", "tls"] {
            let routes = service.spec.list(protocol);
            check(service, &routes, protocol == "http", findings);
            if protocol == "http" {
                check_prefixes(service, &routes, findings);
            }
        }
    }
}

/// A name in quotes, or the number.
fn name(part: &Part<'_>, number: usize, has_name: bool) -> String {
    match part.text("name") {
        name if has_name && !name.is_empty() => format!("{name:?}"),
        _ => format!("#{number}"),
    }
}

fn unreachable(service: &Object<'_>, mark: Mark, rule: &str, why: &str, findings: &mut Findings) {
    let message = format!("VirtualService rule {rule} not used ({why}).");
    findings.add("IST0130", service, mark, message);
}

fn ineffective(
    service: &Object<'_>,
    mark: Mark,
    rule: &str,
    matched: &str,
    other: &str,
    findings: &mut Findings,
) {
    let message = format!(
        "VirtualService rule {rule} match {matched} is not used (duplicate/overlapping match in rule {other})."
    );
    findings.add("IST0131", service, mark, message);
}

fn check(service: &Object<'_>, routes: &[Part<'_>], has_names: bool, findings: &mut Findings) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut matches_all = false;
    for (number, route) in routes.iter().enumerate() {
        let rule = name(route, number, has_names);
        let matches = route.list("match");
        if matches.is_empty() {
            if matches_all {
                let why = "only the last rule can have no matches";
                unreachable(service, route.mark(), &rule, why, findings);
            }
            matches_all = true;
            continue;
        }
        let mut duplicates = 0;
        for (at, matched) in matches.iter().enumerate() {
            if matches_all {
                let why = "route without matches defined before";
                unreachable(service, matched.mark(), &rule, why, findings);
                continue;
            }
            let key = canonical(matched.node(), has_names);
            if let Some(other) = seen.get(&key) {
                let other = name(&routes[*other], *other, has_names);
                let of = name(matched, at, has_names);
                ineffective(service, matched.mark(), &rule, &of, &other, findings);
                duplicates += 1;
            } else {
                seen.insert(key, number);
            }
        }
        if duplicates == matches.len() {
            let why = "all matches used by prior rules";
            unreachable(service, route.mark(), &rule, why, findings);
        }
    }
}

/// What a match says, whatever its order and name.
fn canonical(node: &Node, without_name: bool) -> String {
    match &node.value {
        Value::Map(entries) => {
            let mut pairs: Vec<String> = entries
                .iter()
                .filter(|e| e.value.value != Value::Null && !(without_name && e.key == "name"))
                .map(|e| format!("{}:{}", e.key, canonical(&e.value, false)))
                .collect();
            pairs.sort();
            format!("{{{}}}", pairs.join(","))
        }
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(|item| canonical(item, false)).collect();
            format!("[{}]", items.join(","))
        }
        other => format!("{other:?}"),
    }
}

/// A match of a prefix, as far as overlaps are looked for.
struct Prefix {
    rule: String,
    matched: String,
    mark: Mark,
    prefix: String,
    port: i128,
    method: String,
    authority: String,
    maps: [BTreeMap<String, String>; 3],
}

/// `exact:VALUE`, `prefix:VALUE` or nothing.
fn text_match(part: Option<&Part<'_>>) -> String {
    match part.and_then(|part| part.one_of(&["exact", "prefix", "regex"])) {
        Some((kind @ ("exact" | "prefix"), text)) if !text.as_text().is_empty() => {
            format!("{kind}:{}", text.as_text())
        }
        _ => String::new(),
    }
}

fn check_prefixes(service: &Object<'_>, routes: &[Part<'_>], findings: &mut Findings) {
    let mut prefixes: Vec<Prefix> = Vec::new();
    // as in Istio: a match that was there before, or that comes after a rule for all, is not looked at
    let mut seen: Vec<String> = Vec::new();
    for (number, route) in routes.iter().enumerate() {
        let matches = route.list("match");
        if matches.is_empty() {
            break;
        }
        for (at, matched) in matches.iter().enumerate() {
            let key = canonical(matched.node(), true);
            if seen.contains(&key) {
                continue;
            }
            seen.push(key);
            let Some(("prefix", prefix)) = matched
                .get("uri")
                .and_then(|uri| uri.one_of(&["exact", "prefix", "regex"]))
            else {
                continue;
            };
            if prefix.as_text().is_empty() {
                continue;
            }
            let map = |name: &str| {
                let entries = matched.map(name).into_iter();
                entries
                    .map(|(key, value)| (key.to_owned(), text_match(Some(&value))))
                    .collect()
            };
            let method = text_match(matched.get("method").as_ref());
            prefixes.push(Prefix {
                rule: name(route, number, true),
                matched: name(matched, at, true),
                mark: matched.mark(),
                prefix: prefix.as_text().to_owned(),
                port: matched.number("port"),
                method: if method.is_empty() {
                    "exact:GET".to_owned()
                } else {
                    method
                },
                authority: text_match(matched.get("authority").as_ref()),
                maps: [map("headers"), map("queryParams"), map("withoutHeaders")],
            });
        }
    }
    for (i, first) in prefixes.iter().enumerate() {
        for later in &prefixes[i + 1..] {
            if later.prefix != first.prefix && covers(first, later) {
                let matched = format!("{} of prefix {}", later.matched, later.prefix);
                let other = format!(
                    "{} of prefix {} on {}",
                    first.matched, first.prefix, first.rule
                );
                ineffective(service, later.mark, &later.rule, &matched, &other, findings);
            }
        }
    }
}

fn covers(first: &Prefix, later: &Prefix) -> bool {
    later.prefix.starts_with(&first.prefix)
        && later.port == first.port
        && first.method.starts_with(&later.method)
        && first.authority.starts_with(&later.authority)
        && first.maps.iter().zip(&later.maps).all(|(first, later)| {
            first.len() == later.len()
                && first.iter().all(|(key, value)| {
                    later
                        .get(key)
                        .is_some_and(|other| value.starts_with(other.as_str()))
                })
        })
}
