//! Copies of requests for other clusters (Envoy `Router::Filter`, `ShadowWriterImpl`).

use http::{HeaderName, HeaderValue, Method, header::HOST, request};

use super::{ClusterSlots, FormatContext, rewrite};
use crate::{
    downstream::{append_forwarded_for, port_start},
    head::StreamView,
    model::{MirrorCluster, MirrorPolicy},
    regex::Scratch,
    snapshot::ClusterIndex,
};

const INTERNAL: HeaderName = HeaderName::from_static("x-envoy-internal");

/// A mirror policy, its cluster's name resolved where it is known.
#[derive(Clone, Debug)]
pub struct Mirror {
    policy: MirrorPolicy,
    slot: Option<ClusterIndex>,
}

impl Mirror {
    pub(super) fn all(policies: &[MirrorPolicy], slots: &dyn ClusterSlots) -> Box<[Self]> {
        let slot = |policy: &MirrorPolicy| match &policy.cluster {
            MirrorCluster::Name(name) => Some(slots.slot(name)),
            MirrorCluster::Header(_) => None,
        };
        let mirrors = policies.iter().map(|policy| Self {
            policy: policy.clone(),
            slot: slot(policy),
        });
        mirrors.collect()
    }

    /// Where a copy of this request goes; None: nowhere, by chance, by method, or for want of a header.
    pub fn cluster(
        &self,
        view: &StreamView<'_>,
        by_name: &dyn Fn(&str) -> Option<ClusterIndex>,
    ) -> Option<ClusterIndex> {
        match self.slot {
            Some(slot) => is_mirrored(&self.policy, view).then_some(slot),
            None => mirror_cluster(&self.policy, view, by_name),
        }
    }

    /// The policy.
    pub fn policy(&self) -> &MirrorPolicy {
        &self.policy
    }
}

fn is_mirrored(policy: &MirrorPolicy, view: &StreamView<'_>) -> bool {
    view.head.method != Method::CONNECT
        && policy
            .fraction
            .is_none_or(|fraction| fraction.holds(view.random))
}

/// Where a copy goes by a policy that no route has compiled: a cluster's own.
pub fn mirror_cluster(
    policy: &MirrorPolicy,
    view: &StreamView<'_>,
    by_name: &dyn Fn(&str) -> Option<ClusterIndex>,
) -> Option<ClusterIndex> {
    if !is_mirrored(policy, view) {
        return None;
    }
    match &policy.cluster {
        MirrorCluster::Name(name) => by_name(name),
        MirrorCluster::Header(name) => by_name(std::str::from_utf8(view.head.value(name)?).ok()?),
    }
}

/// The copy's head: the request's as it goes upstream, changed as the policy says, and marked as one that comes from
/// here.
pub fn mirrored_head(
    policy: &MirrorPolicy,
    parts: &request::Parts,
    cx: &FormatContext<'_>,
    scratch: &mut Scratch,
) -> request::Parts {
    let mut copy = parts.clone();
    for mutation in &policy.mutations {
        mutation.apply_to_request(&mut copy, cx, scratch);
    }
    let host = match &policy.host_rewrite_literal {
        Some(host) => Some(host.clone()),
        None if policy.appends_suffix => {
            // A host that no URI can hold is in the header.
            let odd = copy.headers.get(HOST).map(HeaderValue::as_bytes);
            let host = copy.uri.authority().map_or("", |host| host.as_str());
            with_suffix(odd.unwrap_or(host.as_bytes()))
        }
        None => None,
    };
    if let Some(host) = host {
        // A host that no URI can hold goes as a header; nothing else can fail.
        let _ = rewrite::set_host(&mut copy, host);
    }
    copy.headers
        .insert(INTERNAL, HeaderValue::from_static("true"));
    if let Some(address) = cx.connection.node_address {
        append_forwarded_for(&mut copy.headers, address);
    }
    copy
}

/// `-shadow`, before the port.
fn with_suffix(host: &[u8]) -> Option<HeaderValue> {
    let host = std::str::from_utf8(host).ok()?;
    let (name, port) = host.split_at(port_start(host).unwrap_or(host.len()));
    HeaderValue::try_from(format!("{name}-shadow{port}")).ok()
}
