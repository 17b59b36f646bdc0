use super::destination_rule::check_subset_name;
use super::names;
use super::part::Part;

/// Where a route leads.
pub(super) fn check(destination: &Part<'_>) {
    let host = destination.text("host");
    let checked = match host {
        "*" => Err("invalid destination host *".to_owned()),
        host => names::wildcard_domain(host),
    };
    names::report(
        &destination.about("host"),
        checked,
        "write the name of a service",
    );
    let subset = destination.text("subset");
    if !subset.is_empty() {
        check_subset_name(&destination.about("subset"), subset);
    }
    if let Some(port) = destination.get("port") {
        names::check_port_of(&port, "number");
    }
}

/// Destinations with weights. `converted`: the object was made of a route of the Gateway API.
pub(super) fn check_weighted(of: &Part<'_>, destinations: &[Part<'_>], converted: bool) {
    let mut total = 0i32;
    for weighted in destinations {
        match weighted.get("destination") {
            None => weighted.refuse("destination is required", "add destination: {host: …}"),
            Some(destination) if !converted => check(&destination),
            Some(_) => {}
        }
        super::header::check_operations(weighted);
        let weight = weighted.number("weight");
        if weight < 0 {
            weighted.refuse_at(
                "weight",
                format_args!("weight {weight} < 0"),
                "write 0 or more",
            );
        }
        total = total.wrapping_add(weight as i32);
    }
    if destinations.len() > 1 && total == 0 {
        of.refuse("total destination weight = 0", "give them weights");
    }
}
