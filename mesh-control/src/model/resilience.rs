use std::time::Duration;

use mesh_core::grpc::STATUS_NAMES;

use super::StringMatch;
use crate::yaml::At;

/// `retries` of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Retries {
    /// 0 turns retries off.
    pub(crate) attempts: u32,
    pub(crate) per_try_timeout: Option<Duration>,
    pub(crate) retry_on: String,
    pub(crate) retry_remote_localities: bool,
    pub(crate) ignore_previous_hosts: Option<bool>,
    pub(crate) backoff: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fault {
    pub(crate) delay: Option<Delay>,
    pub(crate) abort: Option<Abort>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Delay {
    pub(crate) fixed: Duration,
    /// `None`: neither percentage nor percent was given.
    pub(crate) percent: Option<Percent>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Abort {
    pub(crate) status: AbortStatus,
    pub(crate) percent: Option<Percent>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AbortStatus {
    Http(u32),
    Grpc(u32),
}

/// `percentage: {value}` or, deprecated, `percent`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Percent {
    Fraction(f64),
    Whole(u32),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cors {
    pub(crate) allow_origins: Vec<StringMatch>,
    pub(crate) allow_methods: Vec<String>,
    pub(crate) allow_headers: Vec<String>,
    pub(crate) expose_headers: Vec<String>,
    pub(crate) max_age: Option<Duration>,
    pub(crate) allow_credentials: Option<bool>,
    pub(crate) forward_unmatched_preflights: bool,
}

/// The policies of `x-envoy-retry-on` and `x-envoy-retry-grpc-on`.
pub(crate) const RETRY_POLICIES: [&str; 16] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*",
];

impl Retries {
    pub(crate) fn read(at: At<'_>) -> Self {
        let fields = at.fields();
        let retries = Retries {
            attempts: fields
                .get("attempts")
                .map_or(0, |at| at.number(i32::MAX as u32)),
            per_try_timeout: fields.get("perTryTimeout").map(|at| at.duration_from_1ms()),
            retry_on: fields.get("retryOn").map(retry_on).unwrap_or_default(),
            retry_remote_localities: fields
                .get("retryRemoteLocalities")
                .is_some_and(|at| at.bool()),
            ignore_previous_hosts: fields.get("retryIgnorePreviousHosts").map(|at| at.bool()),
            backoff: fields.get("backoff").map(|at| at.duration_from_1ms()),
        };
        let has_more = retries.per_try_timeout.is_some() || !retries.retry_on.is_empty();
        if retries.attempts == 0 && has_more {
            at.refuse(
                "http retry policy configured when attempts are set to 0 (disabled)",
                "write attempts: 1 or more",
            );
        }
        fields.finish_with(&[("numRetries", "attempts"), ("timeout", "perTryTimeout")]);
        retries
    }
}

fn retry_on(at: At<'_>) -> String {
    let text = at.string();
    for word in text.split(',').map(str::trim).filter(|w| !w.is_empty()) {
        let status = word.parse::<u32>().is_ok_and(|n| (100..=599).contains(&n));
        if !status && !RETRY_POLICIES.contains(&word) {
            at.refuse(
                format_args!("{word:?} is not a valid retryOn policy"),
                format_args!(
                    "use HTTP status codes or some of {}",
                    RETRY_POLICIES.join(", ")
                ),
            );
        }
    }
    text
}

impl Fault {
    pub(crate) fn read(at: At<'_>) -> Self {
        let fields = at.fields();
        let fault = Fault {
            delay: fields.get("delay").and_then(delay),
            abort: fields.get("abort").and_then(abort),
        };
        if fields.is_empty() {
            at.refuse(
                "HTTP fault injection must have an abort and/or a delay",
                "add one",
            );
        }
        fields.finish();
        fault
    }
}

fn delay(at: At<'_>) -> Option<Delay> {
    let fields = at.fields();
    fields.unsupported(
        &["exponentialDelay"],
        "exponentialDelay not supported yet, use fixedDelay",
    );
    let percent = fault_percent(&fields);
    let fixed = fields.get("fixedDelay").map(|at| at.duration_from_1ms());
    if fixed.is_none() {
        at.without_effect("has no fixedDelay, so nothing is delayed", "add fixedDelay");
    }
    fields.finish_with(&[("duration", "fixedDelay"), ("delay", "fixedDelay")]);
    Some(Delay {
        fixed: fixed?,
        percent,
    })
}

fn abort(at: At<'_>) -> Option<Abort> {
    let fields = at.fields();
    fields.unsupported(
        &["http2Error"],
        "HTTP/2 abort fault injection not supported yet, use httpStatus",
    );
    let percent = fault_percent(&fields);
    let http = fields.get("httpStatus").map(|at| {
        let status = at.number(u32::MAX);
        if !(200..=599).contains(&status) {
            at.refuse(
                format_args!("HTTP status {status} is not in range 200-599"),
                "write a status such as 503",
            );
        }
        AbortStatus::Http(status)
    });
    let grpc = fields
        .get("grpcStatus")
        .map(|at| AbortStatus::Grpc(grpc_status(&at)));
    if http.is_some() && grpc.is_some() {
        at.refuse("has both httpStatus and grpcStatus", "keep one of them");
    } else if http.is_none() && grpc.is_none() {
        at.without_effect(
            "has no status, so nothing is aborted",
            "add httpStatus or grpcStatus",
        );
    }
    fields.finish_with(&[("status", "httpStatus"), ("code", "httpStatus")]);
    Some(Abort {
        status: http.or(grpc)?,
        percent,
    })
}

fn fault_percent(fields: &crate::yaml::Fields<'_>) -> Option<Percent> {
    let old = fields.get("percent").map(|at| {
        at.warn("is deprecated", "write percentage: {value: …}");
        Percent::Whole(at.number(100))
    });
    let new = fields
        .get("percentage")
        .map(|at| Percent::Fraction(percent(at)));
    if old.is_none() && new.is_none() {
        fields.at().warn(
            "has no percentage, so it never happens",
            "write percentage: {value: 100}",
        );
    }
    new.or(old)
}

/// `{value: 12.5}`.
pub(crate) fn percent(at: At<'_>) -> f64 {
    if !matches!(at.node().value, crate::yaml::Value::Map(_)) {
        at.refuse("is not a mapping", "write {value: …}, in percent");
        return 0.0;
    }
    let fields = at.fields();
    let percent = fields.get("value").map_or(0.0, |at| {
        let percent = at.float();
        if !(percent == 0.0 || (0.0001..=100.0).contains(&percent)) {
            at.refuse(
                format_args!("percentage {percent} is neither 0.0, nor in range [0.0001, 100.0]"),
                "write a number from 0 to 100",
            );
        }
        percent
    });
    fields.finish();
    percent
}

fn grpc_status(at: &At<'_>) -> u32 {
    let text = at.string();
    let by_name = STATUS_NAMES
        .iter()
        .position(|name| *name == text)
        .and_then(|n| u32::try_from(n).ok());
    if by_name.is_none() {
        at.refuse(
            format_args!("gRPC status {text:?} is not supported"),
            "write a name such as UNAVAILABLE",
        );
    }
    by_name.unwrap_or_default()
}

impl Cors {
    pub(crate) fn read(at: At<'_>) -> Self {
        let fields = at.fields();
        let mut allow_origins = fields.list("allowOrigins", |at| {
            let origin = StringMatch::read(at.clone());
            if origin == StringMatch::Present {
                at.refuse("the origin is empty", "write one of exact, prefix or regex");
            }
            origin
        });
        if let Some(at) = fields.get("allowOrigin") {
            at.warn("is deprecated", "write allowOrigins: [{exact: …}]");
            if allow_origins.is_empty() {
                allow_origins = at.strings().into_iter().map(StringMatch::Exact).collect();
            }
        }
        let cors = Cors {
            allow_origins,
            allow_methods: fields.list("allowMethods", |at| {
                let method = at.string();
                if !METHODS.contains(&method.as_str()) {
                    at.refuse(
                        format_args!("{method:?} is not a supported HTTP method"),
                        METHODS.join(", "),
                    );
                }
                method
            }),
            allow_headers: fields.strings("allowHeaders"),
            expose_headers: fields.strings("exposeHeaders"),
            max_age: fields.get("maxAge").map(|at| {
                let age = at.duration_from_1ms();
                if age.subsec_nanos() > 0 {
                    at.refuse(
                        "max_age duration is accurate only to seconds precision",
                        "write whole seconds",
                    );
                }
                age
            }),
            allow_credentials: fields.get("allowCredentials").map(|at| at.bool()),
            forward_unmatched_preflights: fields
                .get("unmatchedPreflights")
                .and_then(|at| {
                    at.word(&[("UNSPECIFIED", true), ("FORWARD", true), ("IGNORE", false)])
                })
                .unwrap_or(true),
        };
        fields.finish();
        cors
    }
}
