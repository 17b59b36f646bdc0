use listener::listener_filter_chain_match_predicate::{MatchSet, Rule};
use mesh_proto::envoy::config::listener::v3 as listener;
use mesh_proto::envoy::extensions::filters::listener as extension;
use mesh_proto::envoy::r#type::v3::Int32Range;

use super::address::any;

/// What an HTTP inspector calls plaintext HTTP.
pub(super) const PLAINTEXT_HTTP: [&str; 2] = ["http/1.1", "h2c"];
pub(super) const RAW_BUFFER: &str = "raw_buffer";
pub(super) const TLS: &str = "tls";

pub(super) fn original_dst() -> listener::ListenerFilter {
    filter(
        "envoy.filters.listener.original_dst",
        any(&extension::original_dst::v3::OriginalDst::default()),
    )
}

pub(super) fn http_inspector() -> listener::ListenerFilter {
    filter(
        "envoy.filters.listener.http_inspector",
        any(&extension::http_inspector::v3::HttpInspector::default()),
    )
}

/// Looks for the server name that a client asks for.
pub(super) fn tls_inspector() -> listener::ListenerFilter {
    filter(
        "envoy.filters.listener.tls_inspector",
        any(&extension::tls_inspector::v3::TlsInspector {
            // Envoy takes 64 KiB otherwise
            initial_read_buffer_size: Some(512),
            ..Default::default()
        }),
    )
}

/// A TLS inspector that leaves some original destination ports alone.
pub(super) fn tls_inspector_except(ports: &[u32]) -> listener::ListenerFilter {
    listener::ListenerFilter {
        filter_disabled: predicate(ports),
        ..tls_inspector()
    }
}

/// A TLS inspector for some original destination ports.
pub(super) fn tls_inspector_only(ports: &[u32]) -> listener::ListenerFilter {
    let other = predicate(ports).map(|of| listener::ListenerFilterChainMatchPredicate {
        rule: Some(Rule::NotMatch(Box::new(of))),
    });
    listener::ListenerFilter {
        filter_disabled: other,
        ..tls_inspector()
    }
}

/// An HTTP inspector that leaves some original destination ports alone.
pub(super) fn http_inspector_except(ports: &[u32]) -> listener::ListenerFilter {
    listener::ListenerFilter {
        filter_disabled: predicate(ports),
        ..http_inspector()
    }
}

fn predicate(ports: &[u32]) -> Option<listener::ListenerFilterChainMatchPredicate> {
    let rule = |port: &u32| {
        let start = i32::try_from(*port).unwrap_or(i32::MAX);
        Rule::DestinationPortRange(Int32Range {
            start,
            end: start.saturating_add(1),
        })
    };
    let one = |rule| listener::ListenerFilterChainMatchPredicate { rule: Some(rule) };
    match ports {
        [] => None,
        [port] => Some(one(rule(port))),
        ports => Some(one(Rule::OrMatch(MatchSet {
            rules: ports.iter().map(rule).map(one).collect(),
        }))),
    }
}

fn filter(name: &str, config: prost_types::Any) -> listener::ListenerFilter {
    listener::ListenerFilter {
        name: name.to_owned(),
        config_type: Some(listener::listener_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}
