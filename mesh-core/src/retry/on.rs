//! `retry_on`: the conditions under which an attempt is retried.

use std::{fmt, ops::BitOr};

use http::StatusCode;

use crate::outcome::ResetReason;

/// `retry_on`: a set of conditions. HTTP and gRPC tokens share the field, as in a route's policy.
///
/// Displays as the tokens, in Envoy's spelling: `connect-failure,refused-stream`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryOn(u32);

macro_rules! tokens {
    ($($set:ident { $($name:ident $token:literal),* $(,)? })*) => {
        #[expect(clippy::upper_case_acronyms, non_camel_case_types, reason = "names of bits")]
        #[derive(Clone, Copy)]
        enum Bit { $($($name),*),* }

        impl RetryOn {
            $($(pub(super) const $name: Self = Self(1 << Bit::$name as u32);)*)*
            $(pub(super) const $set: Self = Self($(1 << Bit::$name as u32)|*);)*

            const TOKENS: &'static [(&'static str, Self)] = &[$($(($token, Self::$name)),*),*];
        }
    };
}

tokens! {
    HTTP {
        SERVER_ERROR "5xx",
        GATEWAY_ERROR "gateway-error",
        RESET "reset",
        RESET_BEFORE_REQUEST "reset-before-request",
        CONNECT_FAILURE "connect-failure",
        ENVOY_RATELIMITED "envoy-ratelimited",
        RETRIABLE_4XX "retriable-4xx",
        REFUSED_STREAM "refused-stream",
        RETRIABLE_STATUS_CODES "retriable-status-codes",
        RETRIABLE_HEADERS "retriable-headers",
        HTTP3_POST_CONNECT_FAILURE "http3-post-connect-failure",
    }
    GRPC {
        CANCELLED "cancelled",
        DEADLINE_EXCEEDED "deadline-exceeded",
        RESOURCE_EXHAUSTED "resource-exhausted",
        INTERNAL "internal",
        UNAVAILABLE "unavailable",
    }
}

impl RetryOn {
    /// Parses the comma-separated tokens; unknown ones are returned apart (Envoy ignores them).
    pub fn parse(tokens: &str) -> (Self, Vec<&str>) {
        let mut on = Self::default();
        let mut unknown = Vec::new();
        for token in split(tokens) {
            match Self::of_token(token) {
                Some(condition) => on = on | condition,
                None => unknown.push(token),
            }
        }
        (on, unknown)
    }

    /// The conditions of a header's value that are in `allowed`; others are ignored. Allocates nothing.
    pub(super) fn of_header(value: &str, allowed: Self) -> Self {
        split(value)
            .filter_map(Self::of_token)
            .filter(|condition| allowed.contains(*condition))
            .fold(Self::default(), Self::bitor)
    }

    /// Whether no condition is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of these conditions are set.
    pub const fn contains(self, conditions: Self) -> bool {
        self.0 & conditions.0 == conditions.0
    }

    /// Whether any of these conditions is set.
    pub(super) const fn intersects(self, conditions: Self) -> bool {
        self.0 & conditions.0 != 0
    }

    /// Whether a reset before the response is retried. `sent`: some byte of the request has left.
    pub(super) fn holds_for_reset(self, reason: ResetReason, sent: bool) -> bool {
        let any = Self::SERVER_ERROR | Self::GATEWAY_ERROR | Self::RESET;
        // A full breaker is relieved by waiting elsewhere, not by asking again.
        reason != ResetReason::Overflow
            && (self.intersects(any)
                || (self.contains(Self::RESET_BEFORE_REQUEST) && !sent)
                || (self.contains(Self::CONNECT_FAILURE) && reason.is_connect_failure())
                || (self.contains(Self::REFUSED_STREAM)
                    && reason == ResetReason::RemoteRefusedStreamReset))
    }

    /// Whether a response is retried for its status, or for the gRPC status in its headers.
    pub(super) fn holds_for_status(self, status: StatusCode, grpc_status: Option<u32>) -> bool {
        let by_status = match status.as_u16() {
            502..=504 => Self::SERVER_ERROR | Self::GATEWAY_ERROR,
            500..600 => Self::SERVER_ERROR,
            409 => Self::RETRIABLE_4XX,
            _ => Self::default(),
        };
        let by_grpc_status = match grpc_status {
            Some(1) => Self::CANCELLED,
            Some(4) => Self::DEADLINE_EXCEEDED,
            Some(8) => Self::RESOURCE_EXHAUSTED,
            Some(13) => Self::INTERNAL,
            Some(14) => Self::UNAVAILABLE,
            _ => Self::default(),
        };
        self.intersects(by_status | by_grpc_status)
    }

    fn of_token(token: &str) -> Option<Self> {
        let known = Self::TOKENS.iter().find(|(known, _)| *known == token)?;
        Some(known.1)
    }
}

fn split(tokens: &str) -> impl Iterator<Item = &str> {
    tokens
        .split(',')
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

impl BitOr for RetryOn {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for RetryOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = Self::TOKENS.iter().filter(|(_, on)| self.contains(*on));
        for (i, (token, _)) in set.enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            f.write_str(token)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ResetReason::*;

    fn on(tokens: &str) -> RetryOn {
        let (on, unknown) = RetryOn::parse(tokens);
        assert!(unknown.is_empty(), "{unknown:?}");
        on
    }

    #[test]
    fn tokens_are_trimmed_and_unknown_ones_returned() {
        let (on, unknown) = RetryOn::parse(" 5xx , retry-later,,unavailable,5XX");
        assert_eq!(on.to_string(), "5xx,unavailable");
        assert_eq!(unknown, ["retry-later", "5XX"]);
        assert!(RetryOn::parse("").0.is_empty());
    }

    #[test]
    fn every_token_is_its_own_condition() {
        for (token, bit) in RetryOn::TOKENS {
            assert_eq!(
                (on(token), on(token).to_string()),
                (*bit, token.to_string())
            );
        }
        let all = RetryOn::HTTP | RetryOn::GRPC;
        assert_eq!(all.0.count_ones() as usize, RetryOn::TOKENS.len());
    }

    #[test]
    fn a_header_sets_only_its_own_kind() {
        let value = "5xx, unavailable, nonsense";
        assert_eq!(RetryOn::of_header(value, RetryOn::HTTP), on("5xx"));
        assert_eq!(RetryOn::of_header(value, RetryOn::GRPC), on("unavailable"));
    }

    #[test]
    fn resets() {
        let reasons = [
            LocalReset,
            LocalRefusedStreamReset,
            LocalConnectionFailure,
            RemoteConnectionFailure,
            ConnectionTimeout,
            ConnectionTermination,
            RemoteReset,
            RemoteRefusedStreamReset,
            ProtocolError,
        ];
        let connect = [
            LocalConnectionFailure,
            RemoteConnectionFailure,
            ConnectionTimeout,
        ];
        let cases: [(&str, &[ResetReason]); 9] = [
            ("5xx", &reasons),
            ("gateway-error", &reasons),
            ("reset", &reasons),
            ("connect-failure", &connect),
            ("refused-stream", &[RemoteRefusedStreamReset]),
            ("retriable-4xx", &[]),
            ("retriable-status-codes", &[]),
            ("unavailable", &[]),
            ("reset-before-request", &[]),
        ];
        for (token, retried) in cases {
            for reason in reasons {
                assert_eq!(
                    on(token).holds_for_reset(reason, true),
                    retried.contains(&reason),
                    "{token} {reason:?}"
                );
            }
            assert!(!on(token).holds_for_reset(Overflow, false), "{token}");
        }
        assert!(on("reset-before-request").holds_for_reset(RemoteReset, false));
    }

    #[test]
    fn statuses() {
        let cases: [(&str, &[u16]); 5] = [
            ("5xx", &[500, 501, 502, 503, 504, 599]),
            ("gateway-error", &[502, 503, 504]),
            ("retriable-4xx", &[409]),
            ("reset", &[]),
            ("unavailable", &[]),
        ];
        for (token, retried) in cases {
            for status in [200, 404, 409, 425, 429, 499, 500, 501, 502, 503, 504, 599] {
                assert_eq!(
                    on(token).holds_for_status(StatusCode::from_u16(status).unwrap(), None),
                    retried.contains(&status),
                    "{token} {status}"
                );
            }
        }
    }

    #[test]
    fn grpc_statuses_in_headers() {
        let cases = [
            ("cancelled", 1),
            ("deadline-exceeded", 4),
            ("resource-exhausted", 8),
            ("internal", 13),
            ("unavailable", 14),
        ];
        for (token, code) in cases {
            for status in 0..=16 {
                let holds = on(token).holds_for_status(StatusCode::OK, Some(status));
                assert_eq!(holds, status == code, "{token} {status}");
            }
        }
    }
}
