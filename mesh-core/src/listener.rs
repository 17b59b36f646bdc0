//! Listeners at run time: which filter chain a connection takes (Envoy `filter_chain_manager_impl.cc`).

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ipnet::IpNet;

use crate::{
    filter::FilterChain,
    head::ConnectionInfo,
    model::{
        ConnectionFilter, ConnectionManagerConfig, FilterChainConfig, FilterChainMatch,
        IstioService, ListenerConfig, TcpProxyConfig, TrafficDirection,
    },
    regex::Scratch,
    route::RouteTable,
    snapshot::{ChainIndex, ClusterIndex},
    stats::{ListenerStats, ManagerStats, RequestMetrics, TcpProxyStats},
    tls::DownstreamSocket,
};

/// A listener of one snapshot.
#[derive(Debug)]
pub struct Listener {
    pub(crate) config: Arc<ListenerConfig>,
    /// By place in `filter_chains`, then the default chain.
    pub(crate) terminals: Vec<Terminal>,
    /// By the same places.
    pub(crate) sockets: Vec<DownstreamSocket>,
    pub(crate) api: Option<ChainIndex>,
    pub(crate) stats: Arc<ListenerStats>,
}

/// What a chain ends in, resolved.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Terminal {
    /// HTTP: the chain's place in the snapshot.
    Http(ChainIndex),
    /// TCP to one cluster, or one of several.
    Tcp {
        /// The configuration.
        config: Arc<TcpProxyConfig>,
        /// The slots of [`TcpProxyConfig::clusters`].
        clusters: Arc<[ClusterIndex]>,
        /// Envoy's counters of the proxy.
        stats: Arc<TcpProxyStats>,
    },
}

/// What the listener filters found out about a connection.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Detected<'a> {
    /// The destination (after `original_dst`).
    pub destination: SocketAddr,
    /// The peer.
    pub source: SocketAddr,
    /// `tls` or `raw_buffer`.
    pub transport_protocol: &'a str,
    /// From ALPN, or `http/1.1`, `h2c` from the HTTP inspector.
    pub application_protocols: &'a [&'a str],
    /// SNI; empty: none.
    pub server_name: &'a str,
}

impl<'a> Detected<'a> {
    /// A plaintext connection of which nothing else is known.
    pub fn plaintext(source: SocketAddr, destination: SocketAddr) -> Self {
        Self {
            destination,
            source,
            transport_protocol: "raw_buffer",
            application_protocols: &[],
            server_name: "",
        }
    }
}

impl Listener {
    /// The configuration.
    pub fn config(&self) -> &Arc<ListenerConfig> {
        &self.config
    }

    /// The chain of the API listener, if it is one.
    pub fn api(&self) -> Option<ChainIndex> {
        self.api
    }

    /// What each chain ends in: `filter_chains` in order, then `default_filter_chain`.
    pub fn terminals(&self) -> &[Terminal] {
        &self.terminals
    }

    /// Envoy's counters of the listener.
    pub fn stats(&self) -> &Arc<ListenerStats> {
        &self.stats
    }

    fn found<'l>(&'l self, config: &'l FilterChainConfig, at: usize) -> Option<FoundChain<'l>> {
        Some(FoundChain {
            config,
            terminal: self.terminals.get(at)?,
            socket: self.sockets.get(at)?,
        })
    }

    /// The chain for a connection, and what it ends in; None: no chain matches, the connection is closed (NR).
    /// Criteria in Envoy's order, the most specific value of each first: a chain that fits a criterion less well than
    /// another is out, whatever its other criteria say. Linear in the number of chains, once per connection.
    pub fn find_chain(&self, detected: &Detected<'_>) -> Option<FoundChain<'_>> {
        let chains = &self.config.filter_chains;
        let mut left: Vec<usize> = (0..chains.len()).collect();
        for criterion in CRITERIA {
            let fit = |at: usize| chains.get(at).and_then(|c| criterion(&c.matcher, detected));
            let Some(best) = left.iter().filter_map(|at| fit(*at)).max() else {
                left.clear();
                break;
            };
            left.retain(|at| fit(*at) == Some(best));
        }
        match left.first() {
            Some(at) => self.found(chains.get(*at)?, *at),
            None => self.found(self.config.default_filter_chain.as_ref()?, chains.len()),
        }
    }
}

/// A chain of a listener.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct FoundChain<'l> {
    /// Its configuration.
    pub config: &'l FilterChainConfig,
    /// What it ends in.
    pub terminal: &'l Terminal,
    /// How its connections begin.
    pub socket: &'l DownstreamSocket,
}

/// How well a chain fits a connection by one criterion: None: not at all, 0: the chain does not say.
type Criterion = fn(&FilterChainMatch, &Detected<'_>) -> Option<usize>;

/// In Envoy's order.
const CRITERIA: [Criterion; 9] = [
    |chain, detected| match chain.destination_port {
        None => Some(0),
        Some(port) => (port == detected.destination.port()).then_some(1),
    },
    |chain, detected| longest(&chain.prefix_ranges, detected.destination.ip()),
    |chain, detected| server_name(&chain.server_names, detected.server_name),
    |chain, detected| match &*chain.transport_protocol {
        "" => Some(0),
        protocol => (protocol == detected.transport_protocol).then_some(1),
    },
    |chain, detected| {
        if chain.application_protocols.is_empty() {
            return Some(0);
        }
        // The connection's order of preference decides.
        let offered = detected.application_protocols;
        offered
            .iter()
            .position(|offer| chain.application_protocols.iter().any(|p| **p == **offer))
            .map(|at| offered.len() - at)
    },
    |chain, detected| longest(&chain.direct_source_prefix_ranges, detected.source.ip()),
    |chain, detected| match chain.source_local {
        None => Some(0),
        Some(local) => (local == is_local(detected)).then_some(1),
    },
    |chain, detected| longest(&chain.source_prefix_ranges, detected.source.ip()),
    |chain, detected| match chain.source_ports.as_slice() {
        [] => Some(0),
        ports => ports.contains(&detected.source.port()).then_some(1),
    },
];

/// The length of the longest prefix that holds the address; no range at all is a prefix of length 0.
fn longest(ranges: &[IpNet], address: IpAddr) -> Option<usize> {
    if ranges.is_empty() {
        return Some(0);
    }
    ranges
        .iter()
        .filter(|range| range.contains(&address))
        .map(|range| usize::from(range.prefix_len()))
        .max()
}

/// An exact name beats wildcards, of which the longest wins; `*.a.b` holds `x.a.b` and `x.y.a.b` but not `a.b`.
fn server_name(names: &[Box<str>], sni: &str) -> Option<usize> {
    if names.is_empty() {
        return Some(0);
    }
    names
        .iter()
        .filter_map(|name| match name.strip_prefix('*') {
            Some(suffix) => {
                (sni.len() > suffix.len() && sni.ends_with(suffix)).then_some(suffix.len())
            }
            None => (**name == *sni).then_some(usize::MAX),
        })
        .max()
}

/// `SAME_IP_OR_LOOPBACK`.
fn is_local(detected: &Detected<'_>) -> bool {
    let source = detected.source.ip();
    source.is_loopback() || source == detected.destination.ip()
}

/// A connection manager, compiled for one chain.
#[derive(Debug)]
pub struct HttpChain {
    pub(crate) listener: Arc<str>,
    pub(crate) direction: TrafficDirection,
    pub(crate) manager: Arc<ConnectionManagerConfig>,
    pub(crate) connection_filters: Arc<[ConnectionFilter]>,
    pub(crate) filters: FilterChain,
    pub(crate) routes: Option<Arc<RouteTable>>,
    pub(crate) stats: Arc<ManagerStats>,
    pub(crate) unrouted: [Arc<RequestMetrics>; 2],
    /// The service of an inbound chain.
    pub(crate) service: Option<IstioService>,
    /// Names of the clusters whose slots are in the table.
    pub(crate) clusters: Arc<[Arc<str>]>,
}

impl HttpChain {
    /// The listener's name.
    pub fn listener(&self) -> &Arc<str> {
        &self.listener
    }

    /// Inbound or outbound.
    pub fn direction(&self) -> TrafficDirection {
        self.direction
    }

    /// The connection manager's configuration.
    pub fn manager(&self) -> &Arc<ConnectionManagerConfig> {
        &self.manager
    }

    /// Whether the network filters before the connection manager let a connection pass.
    pub fn admits(&self, connection: &ConnectionInfo, scratch: &mut Scratch) -> bool {
        self.connection_filters.iter().all(|filter| match filter {
            ConnectionFilter::Rbac(rbac) => rbac.allows(connection, scratch),
            ConnectionFilter::SniCluster => true,
        })
    }

    /// Whether there are network filters before the connection manager.
    pub fn has_connection_filters(&self) -> bool {
        !self.connection_filters.is_empty()
    }

    /// The HTTP filters.
    pub fn filters(&self) -> &FilterChain {
        &self.filters
    }

    /// The route table; None: the route configuration has not come (404 `route_configuration_not_found`).
    pub fn routes(&self) -> Option<&Arc<RouteTable>> {
        self.routes.as_ref()
    }

    /// Envoy's counters of the connection manager.
    pub fn stats(&self) -> &Arc<ManagerStats> {
        &self.stats
    }

    /// Istio's request metrics for requests that reached no cluster (outbound), or for all requests (inbound: this
    /// workload is the destination); by protocol (`grpc`).
    pub fn request_metrics(&self, grpc: bool) -> &Arc<RequestMetrics> {
        &self.unrouted[usize::from(grpc)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NetworkFilter;

    /// A listener whose chains are named and end in a TCP proxy.
    fn listener(chains: &[(&str, FilterChainMatch)], default: bool) -> Listener {
        let chain = |name: &str, matcher: &FilterChainMatch| {
            let proxy = Arc::new(TcpProxyConfig::new("", name));
            let mut chain = FilterChainConfig::new(NetworkFilter::Tcp(proxy));
            chain.name = name.into();
            chain.matcher = matcher.clone();
            chain
        };
        let mut config = ListenerConfig::new("l");
        config.filter_chains = chains.iter().map(|(name, m)| chain(name, m)).collect();
        config.default_filter_chain =
            default.then(|| chain("default", &FilterChainMatch::default()));
        let terminals: Vec<_> = config
            .filter_chains
            .iter()
            .chain(&config.default_filter_chain)
            .map(|chain| Terminal::Tcp {
                config: Arc::new(TcpProxyConfig::new("", Arc::clone(&chain.name))),
                clusters: [ClusterIndex(0)].into(),
                stats: Arc::default(),
            })
            .collect();
        Listener {
            config: Arc::new(config),
            sockets: terminals
                .iter()
                .map(|_| DownstreamSocket::Plaintext)
                .collect(),
            terminals,
            api: None,
            stats: Arc::default(),
        }
    }

    fn find<'l>(listener: &'l Listener, detected: &Detected<'_>) -> Option<&'l str> {
        let found = listener.find_chain(detected)?;
        let (chain, terminal) = (found.config, found.terminal);
        let Terminal::Tcp { config, .. } = terminal else {
            panic!("{terminal:?}")
        };
        assert_eq!(config.cluster, chain.name);
        Some(&chain.name)
    }

    fn detected<'a>(source: &str, destination: &str) -> Detected<'a> {
        Detected::plaintext(source.parse().unwrap(), destination.parse().unwrap())
    }

    fn matcher(set: impl FnOnce(&mut FilterChainMatch)) -> FilterChainMatch {
        let mut matcher = FilterChainMatch::default();
        set(&mut matcher);
        matcher
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn a_specific_port_shuts_out_chains_without_one() {
        let chains = [
            ("any", FilterChainMatch::default()),
            (
                "80 for 10.0.0.0/8",
                matcher(|m| {
                    m.destination_port = Some(80);
                    m.prefix_ranges = vec![net("10.0.0.0/8")];
                }),
            ),
        ];
        let l = listener(&chains, true);
        let source = "1.1.1.1:1";
        assert_eq!(find(&l, &detected(source, "2.2.2.2:81")), Some("any"));
        let ten = detected(source, "10.0.0.1:80");
        assert_eq!(find(&l, &ten), Some("80 for 10.0.0.0/8"));
        // Envoy does not go back to a chain that fits the port less well.
        assert_eq!(find(&l, &detected(source, "2.2.2.2:80")), Some("default"));
        let none = listener(&chains, false);
        assert_eq!(find(&none, &detected(source, "2.2.2.2:80")), None);
    }

    #[test]
    fn the_longest_destination_prefix_wins() {
        let prefix = |range: &str| matcher(|m| m.prefix_ranges = vec![net(range)]);
        let chains = [
            ("8", prefix("10.0.0.0/8")),
            ("24", prefix("10.1.1.0/24")),
            ("v6", prefix("fd00::/8")),
            ("all", prefix("0.0.0.0/0")),
        ];
        let l = listener(&chains, false);
        for (destination, chain) in [
            ("10.1.1.7:1", Some("24")),
            ("10.1.2.7:1", Some("8")),
            ("9.9.9.9:1", Some("all")),
            ("[fd00::1]:1", Some("v6")),
            ("[::1]:1", None),
        ] {
            let connection = detected("1.1.1.1:1", destination);
            assert_eq!(find(&l, &connection), chain, "{destination}");
        }
    }

    #[test]
    fn an_exact_server_name_beats_the_longest_wildcard() {
        let names = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).into()).collect();
            matcher(|m| m.server_names = names)
        };
        let chains = [
            ("exact", names(&["www.a.com", "a.com"])),
            ("short", names(&["*.com"])),
            ("long", names(&["*.a.com"])),
        ];
        let l = listener(&chains, false);
        for (sni, chain) in [
            ("www.a.com", Some("exact")),
            ("a.com", Some("exact")),
            ("x.a.com", Some("long")),
            ("x.y.a.com", Some("long")),
            ("b.com", Some("short")),
            (".com", None),
            ("", None),
        ] {
            let mut connection = detected("1.1.1.1:1", "2.2.2.2:443");
            connection.server_name = sni;
            assert_eq!(find(&l, &connection), chain, "{sni}");
        }
    }

    #[test]
    fn transport_then_application_protocols_in_the_peers_order() {
        let protocols = |transport: &str, application: &[&str]| {
            let application = application.iter().map(|p| (*p).into()).collect();
            matcher(|m| {
                m.transport_protocol = transport.into();
                m.application_protocols = application;
            })
        };
        let chains = [
            ("tls istio", protocols("tls", &["istio", "istio-h2"])),
            ("tls h2", protocols("tls", &["h2"])),
            ("tls", protocols("tls", &[])),
            ("http", protocols("", &["http/1.1", "h2c"])),
            ("raw", protocols("raw_buffer", &[])),
            ("rest", protocols("", &[])),
        ];
        let l = listener(&chains, false);
        for (transport, application, chain) in [
            ("tls", &["h2", "istio"][..], "tls h2"),
            ("tls", &["istio", "h2"], "tls istio"),
            ("tls", &["http/1.1"], "tls"),
            // The transport protocol decides before the application protocol does.
            ("raw_buffer", &["http/1.1"], "raw"),
            ("quic", &["h2c"], "http"),
            ("quic", &[], "rest"),
        ] {
            let mut connection = detected("1.1.1.1:1", "2.2.2.2:443");
            connection.transport_protocol = transport;
            connection.application_protocols = application;
            let found = find(&l, &connection);
            assert_eq!(found, Some(chain), "{transport} {application:?}");
        }
    }

    #[test]
    fn sources_by_direct_range_type_range_and_port() {
        let chains = [
            (
                "direct",
                matcher(|m| m.direct_source_prefix_ranges = vec![net("7.0.0.0/8")]),
            ),
            ("local", matcher(|m| m.source_local = Some(true))),
            (
                "external 9.9.9.9:99",
                matcher(|m| {
                    m.source_local = Some(false);
                    m.source_prefix_ranges = vec![net("9.9.9.9/32")];
                    m.source_ports = vec![99];
                }),
            ),
            (
                "external 9/8",
                matcher(|m| {
                    m.source_local = Some(false);
                    m.source_prefix_ranges = vec![net("9.0.0.0/8")];
                }),
            ),
        ];
        let l = listener(&chains, true);
        for (source, chain) in [
            ("7.1.1.1:1", "direct"),
            ("127.0.0.1:1", "local"),
            ("2.2.2.2:1", "local"),
            ("9.9.9.9:99", "external 9.9.9.9:99"),
            ("9.9.9.9:98", "default"),
            ("9.1.1.1:99", "external 9/8"),
            ("8.8.8.8:1", "default"),
        ] {
            let connection = detected(source, "2.2.2.2:80");
            assert_eq!(find(&l, &connection), Some(chain), "{source}");
        }
    }
}
