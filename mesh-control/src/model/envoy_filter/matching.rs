//! `match` of a patch.

use std::collections::BTreeMap;

use mesh_core::regex::{Regex, Scratch};

use crate::yaml::{At, Fields};

/// `match.proxy`.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProxyMatch {
    version: Option<Version>,
    metadata: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
enum Version {
    Is(String, Regex),
    /// Istio takes no expression of this length.
    TooLong,
}

impl PartialEq for ProxyMatch {
    fn eq(&self, other: &Self) -> bool {
        let version = |this: &Self| match &this.version {
            Some(Version::Is(text, _)) => Some(text.clone()),
            Some(Version::TooLong) => Some(String::new()),
            None => None,
        };
        version(self) == version(other) && self.metadata == other.metadata
    }
}

impl ProxyMatch {
    /// Whether a proxy of this version and with these metadata is meant.
    pub(crate) fn is_met(&self, version: &str, metadata: &BTreeMap<String, String>) -> bool {
        let fits = match &self.version {
            None => true,
            Some(Version::TooLong) => false,
            Some(Version::Is(_, regex)) => {
                !version.is_empty()
                    && regex.is_full_match(version.as_bytes(), &mut Scratch::default())
            }
        };
        fits && self
            .metadata
            .iter()
            .all(|(k, v)| metadata.get(k) == Some(v))
    }

    pub(super) fn read(fields: &Fields<'_>) -> Self {
        let metadata = fields.string_map("metadata");
        let version = fields.get("proxyVersion").and_then(|at| {
            let text = at.string();
            if text.is_empty() {
                return None;
            }
            if text.len() > 1024 {
                return Some(Version::TooLong);
            }
            // anywhere in the version
            match Regex::new(&format!("(?s:.*)(?:{text})(?s:.*)")) {
                Ok(regex) => Some(Version::Is(text, regex)),
                Err(error) => {
                    at.refuse(
                        format_args!("invalid regex for proxy version: {error}"),
                        "correct it, see RE2's syntax",
                    );
                    None
                }
            }
        });
        ProxyMatch { version, metadata }
    }
}

/// `match.listener`. Empty and 0: any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListenerMatch {
    pub(crate) name: String,
    pub(crate) port: u32,
    pub(crate) listener_filter: String,
    pub(crate) chain: Option<ChainMatch>,
}

/// `filterChain`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChainMatch {
    pub(crate) name: String,
    pub(crate) sni: String,
    pub(crate) transport_protocol: String,
    pub(crate) application_protocols: String,
    pub(crate) destination_port: u32,
    /// The network filter's name.
    pub(crate) filter: Option<String>,
    /// The HTTP filter's name.
    pub(crate) sub_filter: Option<String>,
}

/// `match.routeConfiguration`. Empty and 0: any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RouteConfigurationMatch {
    pub(crate) name: String,
    pub(crate) port: u32,
    pub(crate) port_name: String,
    pub(crate) gateway: String,
    pub(crate) host: Option<HostMatch>,
}

/// `vhost`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HostMatch {
    pub(crate) name: String,
    pub(crate) domain: String,
    pub(crate) route: Option<RouteMatch>,
}

/// `route`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RouteMatch {
    pub(crate) name: String,
    pub(crate) action: RouteKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouteKind {
    Any,
    Route,
    Redirect,
    DirectResponse,
}

/// `match.cluster`. Empty and 0: any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClusterMatch {
    pub(crate) name: String,
    pub(crate) service: String,
    pub(crate) subset: String,
    pub(crate) port: u32,
}

impl ListenerMatch {
    pub(super) fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let matched = ListenerMatch {
            name: fields.string("name"),
            port: number(&fields, "portNumber"),
            listener_filter: fields.string("listenerFilter"),
            chain: fields.get("filterChain").map(|at| ChainMatch::read(&at)),
        };
        // istiod does nothing with it
        fields.ignore(&["portName"]);
        fields.finish();
        matched
    }
}

impl ChainMatch {
    pub(super) fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let filter = fields.get("filter").map(|at| at.fields());
        let sub_filter = filter.as_ref().and_then(|f| f.get("subFilter")).map(|at| {
            let fields = at.fields();
            let name = fields.string("name");
            fields.finish();
            name
        });
        let matched = ChainMatch {
            name: fields.string("name"),
            sni: fields.string("sni"),
            transport_protocol: fields.string("transportProtocol"),
            application_protocols: fields.string("applicationProtocols"),
            destination_port: number(&fields, "destinationPort"),
            filter: filter.as_ref().map(|filter| filter.string("name")),
            sub_filter,
        };
        if let Some(filter) = filter {
            filter.finish();
        }
        fields.finish();
        matched
    }
}

impl RouteConfigurationMatch {
    pub(super) fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let matched = RouteConfigurationMatch {
            name: fields.string("name"),
            port: number(&fields, "portNumber"),
            port_name: fields.string("portName"),
            gateway: fields.string("gateway"),
            host: fields.get("vhost").map(|at| HostMatch::read(&at)),
        };
        fields.finish();
        matched
    }
}

impl HostMatch {
    pub(super) fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let route = fields.get("route").map(|at| {
            let fields = at.fields();
            let words = [
                ("ANY", RouteKind::Any),
                ("ROUTE", RouteKind::Route),
                ("REDIRECT", RouteKind::Redirect),
                ("DIRECT_RESPONSE", RouteKind::DirectResponse),
            ];
            let action = fields.get("action").and_then(|at| at.word(&words));
            let matched = RouteMatch {
                name: fields.string("name"),
                action: action.unwrap_or(RouteKind::Any),
            };
            fields.finish();
            matched
        });
        let matched = HostMatch {
            name: fields.string("name"),
            domain: fields.string("domainName"),
            route,
        };
        fields.finish();
        matched
    }
}

impl ClusterMatch {
    pub(super) fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let matched = ClusterMatch {
            name: fields.string("name"),
            service: fields.string("service"),
            subset: fields.string("subset"),
            port: number(&fields, "portNumber"),
        };
        fields.finish();
        matched
    }
}

fn number(fields: &Fields<'_>, name: &'static str) -> u32 {
    fields.get(name).map_or(0, |at| at.number(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Node, Report};

    #[test]
    fn versions_are_matched_anywhere() {
        let matcher = |text: &str| {
            let text = format!("proxyVersion: '{text}'\nmetadata: {{A: b}}");
            let node = Node::parse(&text, 0).unwrap();
            let report = Report::new("f.yaml", "");
            ProxyMatch::read(&report.at(&node, "").fields())
        };
        let metadata = BTreeMap::from([("A".to_owned(), "b".to_owned())]);
        for (expression, version, met) in [
            (r"^1\.2.*", "1.20.3", true),
            (r"1\.2", "11.20", true),
            (r"^1\.2$", "1.20", false),
            (r".*", "", false),
        ] {
            let is_met = matcher(expression).is_met(version, &metadata);
            assert_eq!(is_met, met, "{expression} {version}");
        }
        assert!(!matcher(".*").is_met("1.2", &BTreeMap::new()));
    }
}
