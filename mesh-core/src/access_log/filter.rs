//! `AccessLogFilter` (Envoy `source/common/access_log/access_log_impl.cc`).

use crate::{
    flags::ResponseFlag, grpc, matcher::HeaderMatcher, metadata::MetadataMatcher, model::Fraction,
    regex::Scratch, route::FormatContext,
};

/// `AccessLogFilter`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AccessLogFilter {
    /// `status_code_filter.comparison`.
    StatusCode(Comparison),
    /// `duration_filter.comparison`, in milliseconds.
    Duration(Comparison),
    /// `not_health_check_filter`: nothing here is a health check.
    NotHealthCheck,
    /// `traceable_filter`: nothing is traced.
    Traceable,
    /// `runtime_filter.percent_sampled`.
    Runtime(Fraction),
    /// `and_filter`.
    And(Vec<AccessLogFilter>),
    /// `or_filter`.
    Or(Vec<AccessLogFilter>),
    /// `header_filter`, of the request.
    Header(HeaderMatcher),
    /// `response_flag_filter`: any of these; empty: any at all.
    ResponseFlags(Vec<ResponseFlag>),
    /// `grpc_status_filter`.
    GrpcStatus {
        /// `statuses`.
        statuses: Vec<u32>,
        /// `exclude`: all others.
        exclude: bool,
    },
    /// `metadata_filter`, of dynamic metadata; None: every stream.
    Metadata {
        /// `matcher`.
        matcher: Option<MetadataMatcher>,
        /// `match_if_key_not_found`; default true.
        if_missing: bool,
    },
    /// `log_type_filter`.
    LogType {
        /// `types`, as `%ACCESS_LOG_TYPE%` says them.
        types: Vec<&'static str>,
        /// `exclude`: all others.
        exclude: bool,
    },
}

/// `ComparisonFilter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// `op`.
    pub op: ComparisonOp,
    /// `value.default_value`.
    pub value: u32,
}

/// `ComparisonFilter.Op`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ComparisonOp {
    /// `EQ`.
    #[default]
    Equal,
    /// `GE`.
    GreaterOrEqual,
    /// `LE`.
    LessOrEqual,
    /// `NE`.
    NotEqual,
}

impl Comparison {
    fn holds(self, value: u64) -> bool {
        let own = u64::from(self.value);
        match self.op {
            ComparisonOp::Equal => value == own,
            ComparisonOp::GreaterOrEqual => value >= own,
            ComparisonOp::LessOrEqual => value <= own,
            ComparisonOp::NotEqual => value != own,
        }
    }
}

impl AccessLogFilter {
    /// Whether the stream passes. `random`: the stream's.
    pub fn matches(&self, cx: &FormatContext<'_>, random: u64, scratch: &mut Scratch) -> bool {
        match self {
            Self::StatusCode(comparison) => comparison.holds(cx.response_code.into()),
            Self::Duration(comparison) => {
                let passed = cx.timing.now.zip(cx.started);
                let passed = passed.map(|(now, started)| now.saturating_duration_since(started));
                passed.is_some_and(|passed| {
                    comparison.holds(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX))
                })
            }
            Self::NotHealthCheck => true,
            Self::Traceable => false,
            Self::Runtime(fraction) => fraction.holds(random),
            Self::And(filters) => filters.iter().all(|f| f.matches(cx, random, scratch)),
            Self::Or(filters) => filters.iter().any(|f| f.matches(cx, random, scratch)),
            Self::Header(matcher) => matcher.matches(&cx.head, scratch),
            Self::ResponseFlags(flags) if flags.is_empty() => !cx.response_flags.is_empty(),
            Self::ResponseFlags(flags) => flags.iter().any(|f| cx.response_flags.contains(*f)),
            Self::GrpcStatus { statuses, exclude } => {
                const UNKNOWN: u32 = 2;
                let said = |map: Option<&http::HeaderMap>| map.and_then(grpc::status_in);
                let of_http = || {
                    let status = http::StatusCode::from_u16(cx.response_code).ok()?;
                    Some(grpc::status_of_http(status))
                };
                let status = said(cx.trailers)
                    .or_else(|| said(cx.response))
                    .or_else(of_http);
                statuses.contains(&status.unwrap_or(UNKNOWN)) != *exclude
            }
            Self::Metadata {
                matcher,
                if_missing,
            } => {
                let Some(matcher) = matcher else { return true };
                let value = cx
                    .metadata
                    .and_then(|metadata| metadata.find(&matcher.filter, &matcher.path));
                match value {
                    Some(_) => matcher.matches(cx.metadata, scratch),
                    None => *if_missing,
                }
            }
            Self::LogType { types, exclude } => types.contains(&cx.access_log_type) != *exclude,
        }
    }

    /// Whether it reads the request's head.
    pub fn reads_request(&self) -> bool {
        match self {
            Self::Header(_) => true,
            Self::And(filters) | Self::Or(filters) => filters.iter().any(Self::reads_request),
            _ => false,
        }
    }
}
