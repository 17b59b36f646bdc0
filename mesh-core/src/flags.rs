//! Response flags: why a response is what it is, in Envoy's letters (`envoy.data.accesslog.v3.ResponseFlags`).

use std::fmt;

macro_rules! flags {
    ($($name:ident $short:literal $doc:literal),* $(,)?) => {
        /// One response flag.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum ResponseFlag { $(#[doc = $doc] $name),* }

        impl ResponseFlag {
            /// The flag of these letters.
            pub fn by_short(letters: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|flag| flag.short() == letters)
            }

            const ALL: &'static [ResponseFlag] = &[$(ResponseFlag::$name),*];

            /// Envoy's letters, as in access logs and metrics.
            pub const fn short(self) -> &'static str {
                match self { $(ResponseFlag::$name => $short),* }
            }

            /// Envoy's long name (`%RESPONSE_FLAGS_LONG%`).
            pub const fn long(self) -> &'static str {
                match self { $(ResponseFlag::$name => stringify!($name)),* }
            }
        }
    };
}

flags! {
    FailedLocalHealthCheck "LH" "Local service failed its health check.",
    NoHealthyUpstream "UH" "No healthy endpoint in the cluster.",
    UpstreamRequestTimeout "UT" "Route or per-try timeout.",
    LocalReset "LR" "We reset the stream.",
    UpstreamRemoteReset "UR" "The upstream reset the stream.",
    UpstreamConnectionFailure "UF" "The upstream connection could not be made.",
    UpstreamConnectionTermination "UC" "The upstream closed the connection.",
    UpstreamOverflow "UO" "A circuit breaker was full.",
    NoRouteFound "NR" "No route or no filter chain.",
    UpstreamRetryLimitExceeded "URX" "Retries used up.",
    DelayInjected "DI" "The fault filter delayed the request.",
    FaultInjected "FI" "The fault filter aborted the request.",
    RateLimited "RL" "Rate limited.",
    UnauthorizedExternalService "UAEX" "Denied by external authorization.",
    DownstreamConnectionTermination "DC" "The caller went away.",
    DownstreamProtocolError "DPE" "The caller broke the protocol.",
    UpstreamProtocolError "UPE" "The upstream broke the protocol.",
    StreamIdleTimeout "SI" "No activity on the stream.",
    InvalidEnvoyRequestHeaders "IH" "A strictly checked request header was invalid.",
    UpstreamMaxStreamDurationReached "UMSDR" "The upstream request ran into its maximum duration.",
    DurationTimeout "DT" "The stream ran into its maximum duration.",
    NoClusterFound "NC" "The route's cluster does not exist.",
    OverloadManagerTerminated "OM" "Ended by overload protection.",
    DnsResolutionFailed "DF" "DNS did not resolve.",
    DropOverload "DO" "Dropped by the endpoint policy.",
    DownstreamRemoteReset "DR" "The caller reset the stream.",
    RateLimitServiceError "RLSE" "The rate limit service failed; nothing here asks one.",
    ResponseFromCacheFilter "RFCF" "Answered from a cache; nothing here has one.",
    NoFilterConfigFound "NFCF" "A filter's configuration has not come; filters here come with their listener.",
    UnconditionalDropOverload "UDO" "Dropped by the endpoint policy, which drops everything.",
}

/// The flags of one request, in the order in which they were set, without repeats. `Copy`, one word.
///
/// Displays as Envoy writes them: `-` when empty, else `URX,UF`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ResponseFlags(u64);

impl ResponseFlags {
    /// No flag.
    pub const NONE: Self = Self(0);

    /// Adds a flag at the end unless it is there already. At most eight fit; a request never has more.
    pub fn set(&mut self, flag: ResponseFlag) {
        if self.contains(flag) || self.0 >> 56 != 0 {
            return;
        }
        let used = (64 - self.0.leading_zeros()).div_ceil(8);
        self.0 |= (flag as u64 + 1) << (8 * used);
    }

    /// This set with one more flag.
    #[must_use]
    pub fn with(mut self, flag: ResponseFlag) -> Self {
        self.set(flag);
        self
    }

    /// Whether the flag is set.
    pub fn contains(self, flag: ResponseFlag) -> bool {
        self.iter().any(|f| f == flag)
    }

    /// Whether no flag is set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The flags in the order in which they were set.
    pub fn iter(self) -> impl Iterator<Item = ResponseFlag> {
        self.0
            .to_le_bytes()
            .into_iter()
            .take_while(|b| *b != 0)
            .filter_map(|b| ResponseFlag::ALL.get(usize::from(b) - 1).copied())
    }
}

impl fmt::Display for ResponseFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        for (i, flag) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            f.write_str(flag.short())?;
        }
        Ok(())
    }
}

impl fmt::Debug for ResponseFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_order_of_setting_without_repeats() {
        let mut flags = ResponseFlags::NONE;
        assert_eq!(flags.to_string(), "-");
        flags.set(ResponseFlag::UpstreamRetryLimitExceeded);
        flags.set(ResponseFlag::UpstreamConnectionFailure);
        flags.set(ResponseFlag::UpstreamRetryLimitExceeded);
        assert_eq!(flags.to_string(), "URX,UF");
        assert!(flags.contains(ResponseFlag::UpstreamConnectionFailure));
        assert!(!flags.contains(ResponseFlag::NoRouteFound));
    }

    #[test]
    fn a_ninth_flag_is_dropped_and_nothing_is_overwritten() {
        let mut flags = ResponseFlags::NONE;
        for flag in &ResponseFlag::ALL[..9] {
            flags.set(*flag);
        }
        assert_eq!(flags.iter().collect::<Vec<_>>(), ResponseFlag::ALL[..8]);
    }
}
