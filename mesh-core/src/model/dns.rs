//! Clusters whose endpoints are names (`STRICT_DNS`, `LOGICAL_DNS`, `envoy.clusters.dns`).

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use super::{ClusterLoadAssignment, EndpointConfig};

/// Names to resolve, and what becomes of their addresses. Resolving is the control thread's; here is what it follows.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DnsDiscovery {
    /// `load_assignment`, with one endpoint for each name; of its address only the port counts.
    pub assignment: ClusterLoadAssignment,
    /// The names, in the order of the endpoints.
    pub names: Vec<Arc<str>>,
    /// `LOGICAL_DNS`: one endpoint, at the first address. Otherwise every address is an endpoint.
    pub logical: bool,
    /// `dns_refresh_rate`; default 5 s.
    pub refresh_rate: Duration,
    /// `dns_failure_refresh_rate`: base and longest interval, doubled at every failure, with full jitter. None: the
    /// refresh rate.
    pub failure_refresh_rate: Option<(Duration, Duration)>,
    /// `respect_dns_ttl`: the shortest time to live of an answer is when it is asked for again.
    pub respect_ttl: bool,
    /// `dns_jitter`: added to the refresh rate by chance, at most.
    pub jitter: Duration,
    /// `dns_lookup_family`.
    pub lookup_family: DnsLookupFamily,
}

impl DnsDiscovery {
    /// With Envoy's defaults.
    pub fn new(assignment: ClusterLoadAssignment, names: Vec<Arc<str>>, logical: bool) -> Self {
        Self {
            assignment,
            names,
            logical,
            refresh_rate: Duration::from_secs(5),
            failure_refresh_rate: None,
            respect_ttl: false,
            jitter: Duration::ZERO,
            lookup_family: DnsLookupFamily::default(),
        }
    }

    /// The endpoints that the answers make, in the order of [`Self::names`]: each address one endpoint with what the
    /// name's endpoint says, and its name as hostname unless it has one.
    pub fn resolve(&self, answers: &[Vec<IpAddr>]) -> ClusterLoadAssignment {
        let mut resolved = self.assignment.clone();
        let mut names = self.names.iter().zip(answers);
        for locality in &mut resolved.localities {
            let of_names = std::mem::take(&mut locality.endpoints);
            for (endpoint, (name, addresses)) in of_names.into_iter().zip(names.by_ref()) {
                let most = if self.logical { 1 } else { usize::MAX };
                let mut seen = HashSet::new();
                let new = addresses.iter().filter(|ip| seen.insert(**ip)).take(most);
                locality.endpoints.extend(new.map(|ip| {
                    let mut endpoint: EndpointConfig = endpoint.clone();
                    endpoint.address = SocketAddr::new(*ip, endpoint.address.port());
                    // A port of its own for health checks is one at the name's address.
                    if let Some(check) = &mut endpoint.health_check
                        && let Some(address) = &mut check.address
                        && address.ip().is_unspecified()
                    {
                        address.set_ip(*ip);
                    }
                    if endpoint.hostname.is_empty() {
                        endpoint.hostname = Arc::clone(name);
                    }
                    endpoint
                }));
            }
        }
        resolved
    }
}

/// `DnsLookupFamily`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DnsLookupFamily {
    /// `AUTO`: IPv6, and IPv4 only if there is none.
    #[default]
    Auto,
    /// `V4_ONLY`.
    V4Only,
    /// `V6_ONLY`.
    V6Only,
    /// `V4_PREFERRED`: IPv4, and IPv6 only if there is none.
    V4Preferred,
    /// `ALL`.
    All,
}

impl DnsLookupFamily {
    /// The addresses of an answer that count.
    pub fn select(self, addresses: Vec<IpAddr>) -> Vec<IpAddr> {
        let of = |v4: bool| -> Vec<IpAddr> {
            let fits = |ip: &&IpAddr| ip.is_ipv4() == v4;
            addresses.iter().filter(fits).copied().collect()
        };
        let or = |first: Vec<IpAddr>, second| if first.is_empty() { of(second) } else { first };
        match self {
            Self::Auto => or(of(false), true),
            Self::V4Only => of(true),
            Self::V6Only => of(false),
            Self::V4Preferred => or(of(true), false),
            Self::All => addresses,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LocalityEndpoints;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_address_is_an_endpoint_of_its_name() {
        let mut locality = LocalityEndpoints::default();
        for (port, hostname) in [(80, ""), (81, "own")] {
            let mut endpoint = EndpointConfig::new(SocketAddr::new(ip("0.0.0.0"), port));
            endpoint.hostname = hostname.into();
            locality.endpoints.push(endpoint);
        }
        let assignment = ClusterLoadAssignment {
            localities: vec![locality],
            ..ClusterLoadAssignment::default()
        };
        let mut discovery = DnsDiscovery::new(assignment, vec!["a".into(), "b".into()], false);
        let answers = [
            vec![ip("1.1.1.1"), ip("2.2.2.2"), ip("1.1.1.1")],
            vec![ip("::1")],
        ];
        let told = |discovery: &DnsDiscovery| -> Vec<String> {
            let resolved = discovery.resolve(&answers);
            let endpoints = resolved.localities.iter().flat_map(|l| &l.endpoints);
            endpoints
                .map(|e| format!("{} {}", e.address, e.hostname))
                .collect()
        };
        assert_eq!(
            told(&discovery),
            ["1.1.1.1:80 a", "2.2.2.2:80 a", "[::1]:81 own"]
        );
        discovery.logical = true;
        assert_eq!(told(&discovery), ["1.1.1.1:80 a", "[::1]:81 own"]);
        assert!(
            discovery.resolve(&[vec![], vec![]]).localities[0]
                .endpoints
                .is_empty()
        );
    }

    #[test]
    fn families() {
        let (four, six) = (ip("1.1.1.1"), ip("::1"));
        let both = vec![four, six];
        let cases = [
            (DnsLookupFamily::Auto, vec![six]),
            (DnsLookupFamily::V4Only, vec![four]),
            (DnsLookupFamily::V6Only, vec![six]),
            (DnsLookupFamily::V4Preferred, vec![four]),
            (DnsLookupFamily::All, both.clone()),
        ];
        for (family, expected) in cases {
            assert_eq!(family.select(both.clone()), expected, "{family:?}");
        }
        assert_eq!(DnsLookupFamily::Auto.select(vec![four]), [four]);
        assert_eq!(DnsLookupFamily::V4Preferred.select(vec![six]), [six]);
    }
}
