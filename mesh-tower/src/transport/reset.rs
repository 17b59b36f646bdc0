//! Which reset reason an error of hyper is.

use std::error::Error;

use mesh_core::outcome::ResetReason;

/// Maps an error to the reason that Envoy's codecs would give.
pub(crate) fn reason(error: &hyper::Error) -> ResetReason {
    if error.is_parse() {
        return ResetReason::ProtocolError;
    }
    if error.is_user() {
        return ResetReason::LocalReset;
    }
    match error.source().and_then(|e| e.downcast_ref::<h2::Error>()) {
        Some(e) => h2_reason(e),
        None => ResetReason::ConnectionTermination,
    }
}

/// Whether it was our side that ended the stream, for whatever reason.
pub(crate) fn is_ours(error: &hyper::Error) -> bool {
    matches!(
        reason(error),
        ResetReason::LocalReset | ResetReason::ProtocolError
    )
}

fn h2_reason(error: &h2::Error) -> ResetReason {
    if error.is_go_away() && error.is_library() {
        return ResetReason::ProtocolError;
    }
    // h2 says so only of streams above the last one that GOAWAY names, and of those not yet begun: none was processed.
    if error.is_go_away() && error.is_remote() {
        return ResetReason::RemoteRefusedStreamReset;
    }
    if error.is_go_away() || error.is_io() {
        return ResetReason::ConnectionTermination;
    }
    match (error.reason(), error.is_remote()) {
        (Some(h2::Reason::REFUSED_STREAM), true) => ResetReason::RemoteRefusedStreamReset,
        (Some(h2::Reason::REFUSED_STREAM), false) => ResetReason::LocalRefusedStreamReset,
        (_, true) => ResetReason::RemoteReset,
        (Some(h2::Reason::CANCEL), false) => ResetReason::LocalReset,
        (_, false) => ResetReason::ProtocolError,
    }
}
