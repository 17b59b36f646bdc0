use std::collections::{BTreeMap, BTreeSet};

use super::part::Part;

const TOPOLOGY: [&str; 3] = [
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.istio.io/subzone",
];

pub(super) fn check(setting: &Part<'_>, has_outlier: bool) {
    let (distribute, failover) = (setting.list("distribute"), setting.list("failover"));
    let priorities = setting.list("failoverPriority");
    if !distribute.is_empty() && !failover.is_empty() {
        return setting.refuse(
            "can not simultaneously specify 'distribute' and 'failover'",
            "keep one of them",
        );
    }
    if !failover.is_empty()
        && let Some(label) = priorities.iter().find(|p| TOPOLOGY.contains(&p.as_text()))
    {
        return label.refuse(
            format_args!(
                "can not simultaneously set 'failover' and topology label '{}' in 'failover_priority'",
                label.as_text()
            ),
            "keep one of them",
        );
    }
    let mut sources = Vec::new();
    for from in &distribute {
        sources.push(from.text("from"));
        let mut total = 0;
        let mut targets = Vec::new();
        for (locality, weight) in from.map("to") {
            targets.push(locality);
            let number = weight.as_number();
            if !(1..=100).contains(&number) {
                return weight.refuse(
                    "locality weight must be in range [1, 100]",
                    "write a number from 1 to 100",
                );
            }
            total += number;
        }
        if total != 100 {
            return from.refuse_at(
                "to",
                format_args!("total locality weight {total} != 100"),
                "make the weights add up to 100",
            );
        }
        check_localities(from, &targets);
    }
    check_localities(setting, &sources);
    check_failover(setting, &failover, &priorities, has_outlier);
}

pub(super) fn check_zone_aware(setting: &Part<'_>, has_outlier: bool) {
    let priorities = setting.list("failoverPriority");
    for label in priorities
        .iter()
        .filter(|p| TOPOLOGY.contains(&p.as_text()))
    {
        label.refuse(
            format_args!(
                "'failover_priority' for zone aware lb must not use topology label '{}'",
                label.as_text()
            ),
            "remove it: regions and zones are handled without it",
        );
    }
    check_failover(setting, &setting.list("failover"), &priorities, has_outlier);
}

fn check_failover(
    setting: &Part<'_>,
    failover: &[Part<'_>],
    priorities: &[Part<'_>],
    has_outlier: bool,
) {
    let fails_over = !failover.is_empty() || !priorities.is_empty();
    if fails_over && !has_outlier {
        setting.warn_at(
            "failover",
            "outlier detection policy must be provided for failover",
            "add outlierDetection",
        );
    }
    for entry in failover {
        let (from, to) = (entry.text("from"), entry.text("to"));
        if from == to {
            entry.refuse(
                "locality lb failover settings must specify different regions",
                "write two regions",
            );
        }
        if from.contains('/') || to.contains('/') {
            entry.refuse("locality lb failover only specify region", "write regions");
        }
        if from.contains('*') || to.contains('*') {
            entry.refuse(
                "locality lb failover region should not contain '*' wildcard",
                "write regions",
            );
        }
    }
}

/// Reports localities that are no `region/zone/subzone` or overlap; the first only.
fn check_localities(at: &Part<'_>, localities: &[&str]) {
    // region -> zone -> subzones; no zones: all of the region
    let mut seen: BTreeMap<&str, BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    for locality in localities {
        let stars = locality.matches('*').count();
        if stars > 1 || stars == 1 && !locality.ends_with('*') {
            return at.refuse(
                format_args!("locality {locality} wildcard '*' number can not exceed 1 and must be in the end"),
                "write region/zone/subzone, or region/zone/*",
            );
        }
        let parts: Vec<&str> = locality.splitn(3, '/').collect();
        if parts.contains(&"") {
            return at.refuse(
                format_args!("locality {locality} must not contain empty region/zone/subzone info"),
                "write region/zone/subzone",
            );
        }
        if seen.contains_key("*") || !add(&mut seen, &parts) {
            return at.refuse(
                format_args!("locality {locality} overlap with previous specified ones"),
                "keep one of them",
            );
        }
    }
}

fn add<'a>(
    seen: &mut BTreeMap<&'a str, BTreeMap<&'a str, BTreeSet<&'a str>>>,
    parts: &[&'a str],
) -> bool {
    let whole_zone = || BTreeSet::from(["*"]);
    match *parts {
        [region] => {
            let new = !seen.contains_key(region);
            seen.insert(region, BTreeMap::from([("*", whole_zone())]));
            new
        }
        [region, zone] => {
            let zones = seen.entry(region).or_default();
            !zones.contains_key("*") && zones.insert(zone, whole_zone()).is_none()
        }
        [region, zone, subzone] => {
            let zones = seen.entry(region).or_default();
            if zones.contains_key("*") {
                return false;
            }
            let subzones = zones.entry(zone).or_default();
            !subzones.contains("*") && subzones.insert(subzone)
        }
        _ => true,
    }
}
