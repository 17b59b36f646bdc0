//! `AccessLogFilter`.

use mesh_core::{
    access_log::{AccessLogFilter, Comparison, ComparisonOp},
    flags::ResponseFlag,
    model::Fraction,
};
use mesh_proto::envoy::{
    config::accesslog::v3::{
        self as proto, access_log_filter::FilterSpecifier as Filter, comparison_filter::Op,
    },
    data::accesslog::v3::AccessLogType,
};

use super::{matcher, metadata_matcher, scalar};
use crate::problems::Problems;

/// The types of access logs, as formats and filters say them.
const TYPES: &[(AccessLogType, &str)] = &[
    (AccessLogType::NotSet, "NotSet"),
    (AccessLogType::TcpUpstreamConnected, "TcpUpstreamConnected"),
    (AccessLogType::TcpPeriodic, "TcpPeriodic"),
    (AccessLogType::TcpConnectionEnd, "TcpConnectionEnd"),
    (AccessLogType::DownstreamStart, "DownstreamStart"),
    (AccessLogType::DownstreamPeriodic, "DownstreamPeriodic"),
    (AccessLogType::DownstreamEnd, "DownstreamEnd"),
    (AccessLogType::UpstreamPoolReady, "UpstreamPoolReady"),
    (AccessLogType::UpstreamPeriodic, "UpstreamPeriodic"),
    (AccessLogType::UpstreamEnd, "UpstreamEnd"),
];

/// A filter.
pub(super) fn access_log_filter(
    p: &mut Problems,
    value: &proto::AccessLogFilter,
) -> Option<AccessLogFilter> {
    Some(match &value.filter_specifier {
        Some(Filter::StatusCodeFilter(filter)) => {
            AccessLogFilter::StatusCode(p.field("status_code_filter", |p| {
                comparison(p, filter.comparison.as_ref())
            })?)
        }
        Some(Filter::DurationFilter(filter)) => {
            AccessLogFilter::Duration(p.field("duration_filter", |p| {
                comparison(p, filter.comparison.as_ref())
            })?)
        }
        Some(Filter::NotHealthCheckFilter(_)) => AccessLogFilter::NotHealthCheck,
        Some(Filter::TraceableFilter(_)) => AccessLogFilter::Traceable,
        Some(Filter::RuntimeFilter(filter)) => p.field("runtime_filter", |p| {
            p.require_text("runtime_key", &filter.runtime_key)?;
            let fraction = match &filter.percent_sampled {
                Some(fraction) => p.field("percent_sampled", |p| scalar::fraction(p, fraction))?,
                None => Fraction::NEVER,
            };
            Some(AccessLogFilter::Runtime(fraction))
        })?,
        Some(Filter::AndFilter(filter)) => {
            AccessLogFilter::And(p.field("and_filter", |p| filters(p, &filter.filters)))
        }
        Some(Filter::OrFilter(filter)) => {
            AccessLogFilter::Or(p.field("or_filter", |p| filters(p, &filter.filters)))
        }
        Some(Filter::HeaderFilter(filter)) => p.field("header_filter", |p| {
            let header = p.require("header", filter.header.as_ref())?;
            p.field("header", |p| matcher::header(p, header))
                .map(AccessLogFilter::Header)
        })?,
        Some(Filter::ResponseFlagFilter(filter)) => {
            AccessLogFilter::ResponseFlags(p.field("response_flag_filter", |p| {
                p.each("flags", &filter.flags, |p, flag| {
                    let known = ResponseFlag::by_short(flag);
                    if known.is_none() {
                        p.error(format!("{flag:?} is not a response flag"));
                    }
                    known
                })
            }))
        }
        Some(Filter::GrpcStatusFilter(filter)) => p.field("grpc_status_filter", |p| {
            let statuses = p.each("statuses", &filter.statuses, |p, status| {
                let status = u32::try_from(*status).ok().filter(|status| *status <= 16);
                if status.is_none() {
                    p.error("is not a gRPC status");
                }
                status
            });
            Some(AccessLogFilter::GrpcStatus {
                statuses,
                exclude: filter.exclude,
            })
        })?,
        Some(Filter::MetadataFilter(filter)) => p.field("metadata_filter", |p| {
            let matcher = filter.matcher.as_ref();
            let matcher = matcher
                .map(|m| {
                    p.field("matcher", |p| metadata_matcher::metadata(p, m))
                        .ok_or(())
                })
                .transpose()
                .ok()?;
            Some(AccessLogFilter::Metadata {
                matcher,
                if_missing: filter.match_if_key_not_found.unwrap_or(true),
            })
        })?,
        Some(Filter::LogTypeFilter(filter)) => p.field("log_type_filter", |p| {
            let types = p.each("types", &filter.types, |p, number| {
                let known = TYPES.iter().find(|(kind, _)| *kind as i32 == *number);
                if known.is_none() {
                    p.error(format!("{number} is not an access log type"));
                }
                known.map(|(_, name)| *name)
            });
            Some(AccessLogFilter::LogType {
                types,
                exclude: filter.exclude,
            })
        })?,
        // Said by the field table: a log without it has more lines.
        Some(Filter::ExtensionFilter(_)) => return None,
        None => {
            p.error("must hold a filter");
            return None;
        }
    })
}

/// Whether some part of it is an extension's, which nothing here knows.
pub(super) fn holds_extension(value: &proto::AccessLogFilter) -> bool {
    match &value.filter_specifier {
        Some(Filter::ExtensionFilter(_)) => true,
        Some(Filter::AndFilter(filter)) => filter.filters.iter().any(holds_extension),
        Some(Filter::OrFilter(filter)) => filter.filters.iter().any(holds_extension),
        _ => false,
    }
}

fn filters(p: &mut Problems, list: &[proto::AccessLogFilter]) -> Vec<AccessLogFilter> {
    if list.len() < 2 {
        p.error_at("filters", "must hold at least 2 filters");
    }
    p.each("filters", list, access_log_filter)
}

fn comparison(p: &mut Problems, value: Option<&proto::ComparisonFilter>) -> Option<Comparison> {
    let value = p.require("comparison", value)?;
    p.field("comparison", |p| {
        let op = scalar::enumeration(p, "op", value.op);
        let own = p.require("value", value.value.as_ref())?;
        p.field("value", |p| {
            p.require_text("runtime_key", &own.runtime_key).map(|_| ())
        });
        Some(Comparison {
            op: match op? {
                Op::Eq => ComparisonOp::Equal,
                Op::Ge => ComparisonOp::GreaterOrEqual,
                Op::Le => ComparisonOp::LessOrEqual,
                Op::Ne => ComparisonOp::NotEqual,
            },
            value: own.default_value,
        })
    })
}
