use super::part::Part;
use super::{destination, header, http_route, names};

/// `converted`: it was made of a route of the Gateway API.
pub(super) fn check(spec: &Part<'_>, namespace: &str, converted: bool) {
    let hosts = spec.list("hosts");
    let gateways = spec.list("gateways");
    let (http, tls, tcp) = (spec.list("http"), spec.list("tls"), spec.list("tcp"));
    let is_delegate = hosts.is_empty();
    if is_delegate {
        for (name, list) in [("gateways", &gateways), ("tls", &tls), ("tcp", &tcp)] {
            if !list.is_empty() {
                spec.refuse_at(
                    name,
                    format_args!("delegate virtual service must have no {name} specified"),
                    "remove it, or add hosts",
                );
            }
        }
    }
    names::check_gateway_names(spec, converted);
    let on_gateways = !gateways.is_empty() && gateways.iter().all(|g| g.as_text() != "mesh");
    let scope = Scope {
        hosts: hosts.iter().map(Part::as_text).collect(),
        on_gateways,
        sni: tls
            .iter()
            .flat_map(|route| route.list("match"))
            .any(|matched| !matched.list("sniHosts").is_empty()),
    };
    if !on_gateways {
        check_claims(&http);
    }
    check_hosts(spec, &hosts, &scope);
    if http.is_empty() && tls.is_empty() && tcp.is_empty() {
        spec.refuse(
            "http, tcp or tls must be provided in virtual service",
            "add http routes",
        );
    }
    for route in &http {
        http_route::check(route, is_delegate, converted);
    }
    for route in &tls {
        check_tls_route(route, &scope, converted);
    }
    for route in &tcp {
        for matched in route.list("match") {
            check_l4_match(&matched);
        }
        check_destinations(route, "TCP", converted);
    }
    names::check_export_to(spec, namespace, false, false);
}

struct Scope<'a> {
    hosts: Vec<&'a str>,
    on_gateways: bool,
    sni: bool,
}

fn check_claims(http: &[Part<'_>]) {
    for matched in http.iter().flat_map(|route| route.list("match")) {
        for list in ["headers", "withoutHeaders"] {
            for (name, at) in matched.map(list) {
                if header::is_claim(name) {
                    at.refuse(
                        format_args!(
                            "JWT claim based routing (key: {name}) is only supported for gateway"
                        ),
                        "name a gateway, and not mesh",
                    );
                }
            }
        }
    }
}

fn check_hosts(spec: &Part<'_>, hosts: &[Part<'_>], scope: &Scope<'_>) {
    let mut all_valid = true;
    for at in hosts {
        let host = at.as_text();
        let checked = match scope.on_gateways {
            true => names::gateway_domain(host, scope.sni),
            false => names::wildcard_domain(host),
        };
        if checked.is_err() && !names::is_ip(host) {
            all_valid = names::report(at, checked, "write the name of a service or a domain");
        } else if checked.is_ok() && !scope.on_gateways && host == "*" {
            all_valid = false;
            at.refuse(
                "wildcard host * is not allowed for virtual services bound to the mesh gateway",
                "name a gateway, or the hosts",
            );
        }
    }
    if !all_valid {
        return;
    }
    for (i, a) in scope.hosts.iter().enumerate() {
        for b in &scope.hosts[i + 1..] {
            if names::overlaps(a, b) {
                spec.refuse_at(
                    "hosts",
                    format_args!("duplicate hosts in virtual service: {a} & {b}"),
                    "keep one of them",
                );
            }
        }
    }
}

fn check_tls_route(route: &Part<'_>, scope: &Scope<'_>, converted: bool) {
    let matches = route.list("match");
    if matches.is_empty() {
        route.refuse_at(
            "match",
            "TLS route must have at least one match condition",
            "add match: [{sniHosts: […]}]",
        );
    }
    for matched in &matches {
        let hosts = matched.list("sniHosts");
        if hosts.is_empty() {
            matched.refuse_at(
                "sniHosts",
                "TLS match must have at least one SNI host",
                "add sniHosts",
            );
        }
        for host in &hosts {
            check_sni(host, scope);
        }
        check_l4_match(matched);
    }
    check_destinations(route, "TLS", converted);
}

fn check_sni(at: &Part<'_>, scope: &Scope<'_>) {
    let host = at.as_text();
    let checked = match scope.on_gateways {
        true => names::gateway_domain(host, true),
        false => names::wildcard_domain(host),
    };
    if checked.is_err() && names::is_ip(host) {
        at.report(
            crate::Severity::Warning,
            "warning",
            format_args!("using an IP address ({host:?}) goes against SNI spec and most clients do not support this"),
            "write a host name",
        );
    } else if names::report(at, checked, "write a domain")
        && !scope.hosts.iter().any(|of| names::is_subset(host, of))
    {
        at.refuse(
            format_args!(
                "SNI host {host:?} is not a compatible subset of any of the virtual service hosts: [{}]",
                scope.hosts.join(", ")
            ),
            "add it to hosts",
        );
    }
}

fn check_l4_match(matched: &Part<'_>) {
    for subnet in matched.list("destinationSubnets") {
        names::report(
            &subnet,
            names::subnet(subnet.as_text()),
            "write an address or a range such as 10.0.0.0/8",
        );
    }
    if matched.number("port") != 0 {
        names::check_port_of(matched, "port");
    }
    names::check_labels(matched, "sourceLabels");
    names::check_gateway_names(matched, false);
}

fn check_destinations(route: &Part<'_>, kind: &str, converted: bool) {
    let destinations = route.list("route");
    if destinations.is_empty() {
        route.refuse_at(
            "route",
            format_args!("{kind} route is required"),
            "add route: [{destination: {host: …}}]",
        );
    }
    destination::check_weighted(&route.about("route"), &destinations, converted);
}
