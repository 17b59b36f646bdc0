//! What a request is to rate limits: descriptors, made by the actions of routes or of the filter
//! (Envoy `source/common/router/router_ratelimit.cc`).

use std::{borrow::Cow, net::IpAddr};

use ipnet::IpNet;

use crate::{
    filter::Query,
    head::RequestHead,
    matcher::{HeaderMatcher, MatchedHeader, QueryParameterMatcher},
    metadata::{DynamicMetadata, MetadataValue},
    rbac::MetadataSource,
    regex::Scratch,
};

/// `envoy.config.route.v3.RateLimit`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RateLimit {
    /// `stage`: only filters of the same stage read it.
    pub stage: u32,
    /// `disable_key` is set: local rate limits do not read it.
    pub disabled: bool,
    /// `actions`: one entry of the descriptor each.
    pub actions: Vec<Action>,
    /// `hits_addend.number`: how many tokens a request takes; None: one.
    pub hits: Option<u64>,
    /// `hits_addend.is_negative_hits`: tokens are put back instead.
    pub refills: bool,
    /// `x_ratelimit_option`: whether `x-ratelimit-*` are answered; None: as the filter says.
    pub answers_headers: Option<bool>,
}

/// `RateLimit.Action`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Action {
    /// `source_cluster`: our own service cluster.
    SourceCluster,
    /// `destination_cluster`: the route's.
    DestinationCluster,
    /// `remote_address`: the client behind trusted proxies.
    RemoteAddress,
    /// `masked_remote_address`: its network, by prefix lengths for IPv4 and IPv6.
    MaskedRemoteAddress(u8, u8),
    /// `request_headers`.
    Header {
        /// `descriptor_key`.
        key: Box<str>,
        /// `header_name`.
        name: MatchedHeader,
        /// `skip_if_absent`: only the entry is left out, not the descriptor.
        skip_if_absent: bool,
    },
    /// `query_parameters`.
    QueryParameter {
        /// `descriptor_key`; default `query_param`.
        key: Box<str>,
        /// `query_parameter_name`.
        name: Box<str>,
        /// `skip_if_absent`: only the entry is left out, not the descriptor.
        skip_if_absent: bool,
    },
    /// `generic_key`.
    GenericKey {
        /// `descriptor_key`; default `generic_key`.
        key: Box<str>,
        /// `descriptor_value`.
        value: Box<str>,
    },
    /// `header_value_match`.
    HeaderMatch {
        /// `descriptor_key`; default `header_match`.
        key: Box<str>,
        /// `descriptor_value`.
        value: Box<str>,
        /// `expect_match`; default true.
        expect: bool,
        /// `headers`: all of them.
        headers: Vec<HeaderMatcher>,
    },
    /// `query_parameter_value_match`.
    QueryMatch {
        /// `descriptor_key`; default `query_match`.
        key: Box<str>,
        /// `descriptor_value`.
        value: Box<str>,
        /// `expect_match`; default true.
        expect: bool,
        /// `query_parameters`: all of them, percent-decoded.
        parameters: Vec<QueryParameterMatcher>,
    },
    /// `metadata`, `dynamic_metadata`.
    Metadata {
        /// `descriptor_key`.
        key: Box<str>,
        /// `source`.
        source: MetadataSource,
        /// `metadata_key.key`.
        filter: Box<str>,
        /// `metadata_key.path`.
        path: Vec<Box<str>>,
        /// `default_value`.
        default: Box<str>,
        /// `skip_if_absent`: only the entry is left out, not the descriptor.
        skip_if_absent: bool,
    },
}

/// What actions read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DescriptorContext<'a> {
    pub(crate) head: RequestHead<'a>,
    pub(crate) remote: Option<IpAddr>,
    /// The route's cluster; None: the route does not forward.
    pub(crate) cluster: Option<&'a str>,
    pub(crate) service_cluster: &'a str,
    pub(crate) metadata: Option<&'a DynamicMetadata>,
    pub(crate) route: Option<&'a DynamicMetadata>,
}

/// Key and value.
pub(crate) type Entry<'a> = (&'a str, Cow<'a, [u8]>);

/// A request as one [`RateLimit`] sees it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Descriptor<'a> {
    pub(crate) entries: Vec<Entry<'a>>,
    pub(crate) hits: Option<u64>,
    pub(crate) refills: bool,
    pub(crate) answers_headers: Option<bool>,
}

impl RateLimit {
    /// None: some action says that there is no descriptor.
    pub(crate) fn descriptor<'a>(
        &'a self,
        cx: &DescriptorContext<'a>,
        scratch: &mut Scratch,
    ) -> Option<Descriptor<'a>> {
        let mut entries = Vec::with_capacity(self.actions.len());
        for action in &self.actions {
            if let Some(entry) = action.entry(cx, scratch)?
                && !entry.0.is_empty()
            {
                entries.push(entry);
            }
        }
        Some(Descriptor {
            entries,
            hits: self.hits,
            refills: self.refills,
            answers_headers: self.answers_headers,
        })
    }
}

impl Action {
    /// None: no descriptor; `Some(None)`: a descriptor without this entry.
    fn entry<'a>(
        &'a self,
        cx: &DescriptorContext<'a>,
        scratch: &mut Scratch,
    ) -> Option<Option<Entry<'a>>> {
        let absent = |skip: bool| skip.then_some(None);
        let text = |key, text: String| Some(Some((key, Cow::Owned(text.into_bytes()))));
        match self {
            Self::SourceCluster => {
                let name = Cow::Borrowed(cx.service_cluster.as_bytes());
                Some(Some(("source_cluster", name)))
            }
            Self::DestinationCluster => {
                let name = Cow::Borrowed(cx.cluster?.as_bytes());
                Some(Some(("destination_cluster", name)))
            }
            Self::RemoteAddress => text("remote_address", cx.remote?.to_string()),
            Self::MaskedRemoteAddress(v4, v6) => {
                let remote = cx.remote?;
                let length = if remote.is_ipv4() { *v4 } else { *v6 };
                let network = IpNet::new(remote, length).ok()?.trunc();
                text("masked_remote_address", network.to_string())
            }
            Self::Header {
                key,
                name,
                skip_if_absent,
            } => match cx.head.value(name) {
                Some(value) => Some(Some((key, Cow::Borrowed(value)))),
                None => absent(*skip_if_absent),
            },
            Self::QueryParameter {
                key,
                name,
                skip_if_absent,
            } => {
                let mut query = Query::parse(cx.head.path);
                match query
                    .0
                    .remove(name.as_bytes())
                    .map(|values| values.into_iter().next())
                {
                    Some(Some(value)) => Some(Some((key, Cow::Owned(value)))),
                    _ => absent(*skip_if_absent),
                }
            }
            Self::GenericKey { key, value } => Some(Some((key, Cow::Borrowed(value.as_bytes())))),
            Self::HeaderMatch {
                key,
                value,
                expect,
                headers,
            } => {
                let matches = headers.iter().all(|m| m.matches(&cx.head, scratch));
                (matches == *expect).then_some(Some((&**key, Cow::Borrowed(value.as_bytes()))))
            }
            Self::QueryMatch {
                key,
                value,
                expect,
                parameters,
            } => {
                let query = Query::parse(cx.head.path);
                let mut holds = |matcher: &QueryParameterMatcher| {
                    let values = query.0.get(matcher.name.as_bytes());
                    let first = values.and_then(|values| values.first());
                    matcher.matches_value(first.map(Vec::as_slice), scratch)
                };
                let matches = parameters.iter().all(&mut holds);
                (matches == *expect).then_some(Some((&**key, Cow::Borrowed(value.as_bytes()))))
            }
            Self::Metadata {
                key,
                source,
                filter,
                path,
                default,
                skip_if_absent,
            } => {
                let metadata = match source {
                    MetadataSource::Dynamic => cx.metadata,
                    MetadataSource::Route => cx.route,
                };
                let found = metadata.and_then(|metadata| metadata.find(filter, path));
                let value = match found {
                    Some(MetadataValue::String(value)) if !value.is_empty() => value,
                    _ => default,
                };
                match value.is_empty() {
                    true => absent(*skip_if_absent),
                    false => Some(Some((key, Cow::Borrowed(value.as_bytes())))),
                }
            }
        }
    }
}
