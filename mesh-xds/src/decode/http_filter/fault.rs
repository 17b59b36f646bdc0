//! The fault filter.

use http::StatusCode;
use mesh_core::filter::{FaultAbort, FaultConfig};
use mesh_proto::envoy::extensions::filters::{
    common::fault::v3::fault_delay::FaultDelaySecifier,
    http::fault::v3::{self as fault, fault_abort::ErrorType},
};

use crate::{
    decode::{
        matcher,
        scalar::{fraction, positive_duration},
    },
    problems::Problems,
};

/// `HTTPFault`.
pub(super) fn fault_config(p: &mut Problems, value: &fault::HttpFault) -> Option<FaultConfig> {
    let mut config = FaultConfig::default();
    if let Some(delay) = &value.delay {
        p.field("delay", |p| {
            match &delay.fault_delay_secifier {
                Some(FaultDelaySecifier::FixedDelay(delay)) => {
                    config.delay = positive_duration(p, "fixed_delay", Some(delay));
                }
                Some(FaultDelaySecifier::HeaderDelay(_)) => config.header_delay = true,
                None => p.error("must hold fixed_delay or header_delay"),
            }
            config.delay_fraction = delay
                .percentage
                .as_ref()
                .and_then(|f| p.field("percentage", |p| fraction(p, f)));
        });
    }
    if let Some(abort) = &value.abort {
        p.field("abort", |p| {
            config.abort = fault_abort(p, abort.error_type.as_ref());
            config.abort_fraction = abort
                .percentage
                .as_ref()
                .and_then(|f| p.field("percentage", |p| fraction(p, f)));
        });
    }
    config.upstream_cluster = value.upstream_cluster.as_str().into();
    config.headers = matcher::headers(p, "headers", &value.headers);
    config.downstream_nodes = value
        .downstream_nodes
        .iter()
        .map(|node| node.as_str().into())
        .collect();
    config.max_active_faults = value.max_active_faults;
    Some(config)
}

fn fault_abort(p: &mut Problems, value: Option<&ErrorType>) -> Option<FaultAbort> {
    match value {
        Some(ErrorType::HttpStatus(status)) => {
            let known = u16::try_from(*status)
                .ok()
                .filter(|status| (200..600).contains(status));
            let Some(status) = known.and_then(|status| StatusCode::from_u16(status).ok()) else {
                p.error_at(
                    "http_status",
                    format!("{status} is not a status from 200 to 599"),
                );
                return None;
            };
            Some(FaultAbort::Http(status))
        }
        Some(ErrorType::GrpcStatus(status)) => Some(FaultAbort::Grpc(*status)),
        Some(ErrorType::HeaderAbort(_)) => Some(FaultAbort::Header),
        None => {
            p.error("must hold http_status, grpc_status or header_abort");
            None
        }
    }
}
