//! One permission or principal.

use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;

use super::Request;
use crate::{
    matcher::{HeaderMatcher, StringMatcher},
    metadata::MetadataMatcher,
    regex::{Regex, Scratch},
    route::without_parameters,
};

/// `Permission` or `Principal`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Rule {
    /// `any`.
    Any,
    /// `and_rules`, `and_ids`.
    And(Vec<Rule>),
    /// `or_rules`, `or_ids`.
    Or(Vec<Rule>),
    /// `not_rule`, `not_id`.
    Not(Box<Rule>),
    /// `header`.
    Header(HeaderMatcher),
    /// `url_path`: the path without query and fragment, and without parameters where routes ignore them.
    UrlPath(StringMatcher),
    /// `uri_template`, as a regular expression on the same path.
    UriTemplate(Regex),
    /// `destination_ip`: where the connection was meant for.
    DestinationIp(IpNet),
    /// `destination_port`.
    DestinationPort(u16),
    /// `destination_port_range`: start included, end not.
    DestinationPortRange(u32, u32),
    /// `requested_server_name`; empty where the peer named none.
    RequestedServerName(StringMatcher),
    /// `metadata`, `sourced_metadata`.
    Metadata(MetadataSource, MetadataMatcher),
    /// `authenticated`: TLS, and with a matcher a name of the peer's certificate.
    Authenticated(Option<StringMatcher>),
    /// `source_ip`, `direct_remote_ip`: the connection's peer.
    DirectRemoteIp(IpNet),
    /// `remote_ip`: the client behind trusted proxies.
    RemoteIp(IpNet),
}

/// `MetadataSource`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataSource {
    /// `DYNAMIC`: what filters before wrote.
    Dynamic,
    /// `ROUTE`: the route's; nothing matches where there is none, inverted or not.
    Route,
}

impl Rule {
    /// Whether the request is what the rule says.
    pub fn matches(&self, request: &Request<'_>, scratch: &mut Scratch) -> bool {
        let connection = request.connection;
        match self {
            Self::Any => true,
            Self::And(rules) => rules.iter().all(|rule| rule.matches(request, scratch)),
            Self::Or(rules) => rules.iter().any(|rule| rule.matches(request, scratch)),
            Self::Not(rule) => !rule.matches(request, scratch),
            Self::Header(matcher) => matcher.matches(&request.head, scratch),
            Self::UrlPath(matcher) => {
                !request.head.path.is_empty() && matcher.matches(path(request).as_bytes(), scratch)
            }
            Self::UriTemplate(template) => {
                template.is_full_match(path(request).as_bytes(), scratch)
            }
            Self::DestinationIp(range) => contains(range, connection.local.map(|a| a.ip())),
            Self::DestinationPort(port) => {
                connection.local.is_some_and(|local| local.port() == *port)
            }
            Self::DestinationPortRange(start, end) => {
                let port = |local: SocketAddr| u32::from(local.port());
                connection
                    .local
                    .is_some_and(|local| (*start..*end).contains(&port(local)))
            }
            Self::RequestedServerName(matcher) => {
                let name = connection.server_name.as_deref().unwrap_or_default();
                matcher.matches(name.as_bytes(), scratch)
            }
            Self::Metadata(MetadataSource::Dynamic, matcher) => {
                matcher.matches(request.metadata, scratch)
            }
            Self::Metadata(MetadataSource::Route, matcher) => request
                .route
                .is_some_and(|metadata| matcher.matches(Some(metadata), scratch)),
            Self::Authenticated(name) => connection.tls.as_ref().is_some_and(|tls| match name {
                None => true,
                Some(name) => tls.has_principal(|p| name.matches(p.as_bytes(), scratch)),
            }),
            Self::DirectRemoteIp(range) => contains(range, connection.peer.map(|a| a.ip())),
            Self::RemoteIp(range) => contains(range, request.remote),
        }
    }

    pub(super) fn reads_metadata(&self, namespace: &str) -> bool {
        match self {
            Self::And(rules) | Self::Or(rules) => {
                rules.iter().any(|rule| rule.reads_metadata(namespace))
            }
            Self::Not(rule) => rule.reads_metadata(namespace),
            Self::Metadata(MetadataSource::Dynamic, matcher) => *matcher.filter == *namespace,
            _ => false,
        }
    }
}

/// What rules call the path (Envoy since 1.40, CVE-2026-73553).
fn path<'a>(request: &Request<'a>) -> Cow<'a, str> {
    let path = request.head.path_without_query();
    match request.ignore_path_parameters {
        true => without_parameters(path),
        false => Cow::Borrowed(path),
    }
}

fn contains(range: &IpNet, address: Option<IpAddr>) -> bool {
    address.is_some_and(|address| range.contains(&address.to_canonical()))
}
