//! Responses by class and code, and who they were for (Envoy `source/common/http/codes.cc`).

use http::StatusCode;

use super::{
    Counter,
    envoy::{Group, Metric},
    sparse::Sparse,
};

/// Responses by class: `…rq_2xx`, and all: `…rq_completed`.
#[derive(Debug, Default)]
pub struct ResponseClasses {
    completed: Counter,
    classes: [Counter; 5],
}

impl ResponseClasses {
    /// Counts one response: two relaxed adds.
    pub fn record(&self, status: StatusCode) {
        self.completed.inc();
        if let Some(class) = self.class(status.as_u16() / 100) {
            class.inc();
        }
    }

    /// All responses.
    pub fn completed(&self) -> u64 {
        self.completed.value()
    }

    /// Responses of a class: 2 for `2xx`.
    pub fn of_class(&self, class: u16) -> u64 {
        self.class(class).map_or(0, Counter::value)
    }

    fn class(&self, class: u16) -> Option<&Counter> {
        self.classes.get(usize::from(class).checked_sub(1)?)
    }
}

impl Group for ResponseClasses {
    fn visit(&self, visit: &mut dyn FnMut(&str, Metric<'_>)) {
        visit("_completed", Metric::Counter(self.completed()));
        for (class, counter) in (1..).zip(&self.classes) {
            visit("", Metric::Class(counter.value(), class));
        }
    }
}

/// How many response codes are told apart; others count by class only.
const CODES: usize = 64;

/// Responses by class and by code (`…rq_200`); those never seen are not shown.
#[derive(Debug, Default)]
pub struct ResponseCodes {
    classes: ResponseClasses,
    codes: Sparse<u16, Counter>,
}

impl ResponseCodes {
    /// Counts one response: three relaxed adds; the first with a new code allocates.
    pub fn record(&self, status: StatusCode) {
        self.classes.record(status);
        if let Some(counter) = self.codes.entry(&status.as_u16(), CODES) {
            counter.inc();
        }
    }

    /// All responses.
    pub fn completed(&self) -> u64 {
        self.classes.completed()
    }

    /// Responses with this code.
    pub fn of(&self, code: u16) -> u64 {
        self.codes
            .iter()
            .find(|(seen, _)| **seen == code)
            .map_or(0, |(_, counter)| counter.value())
    }

    /// Responses of a class: 2 for `2xx`.
    pub fn of_class(&self, class: u16) -> u64 {
        self.classes.of_class(class)
    }
}

/// How many names of `x-envoy-upstream-alt-stat-name` a cluster counts apart; more count under none.
const ALTERNATIVES: usize = 64;

/// Responses for internal and for other callers, and those of canaries besides. `upstream_rq_…` is the sum of the
/// first two, made when it is read: a request pays for one of them only.
#[derive(Debug, Default)]
pub struct ResponseOrigins {
    internal: ResponseCodes,
    external: ResponseCodes,
    canary: ResponseCodes,
}

/// Who a response was for and from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseOrigin {
    /// The request was internal (`x-envoy-internal`).
    pub internal: bool,
    /// The endpoint is a canary, or the response says so (`x-envoy-upstream-canary`).
    pub canary: bool,
}

impl ResponseOrigins {
    /// Counts one response: three relaxed adds, twice as many for a canary's.
    pub fn record(&self, status: StatusCode, origin: ResponseOrigin) {
        match origin.internal {
            true => self.internal.record(status),
            false => self.external.record(status),
        }
        if origin.canary {
            self.canary.record(status);
        }
    }

    /// All responses.
    pub fn completed(&self) -> u64 {
        self.internal.completed() + self.external.completed()
    }

    /// Responses with this code.
    pub fn of(&self, code: u16) -> u64 {
        self.internal.of(code) + self.external.of(code)
    }

    /// Responses of a class: 2 for `2xx`.
    pub fn of_class(&self, class: u16) -> u64 {
        self.internal.of_class(class) + self.external.of_class(class)
    }

    fn visit_sum(&self, prefix: &str, visit: &mut dyn FnMut(&str, Metric<'_>)) {
        visit(
            &format!("{prefix}upstream_rq_completed"),
            Metric::Counter(self.completed()),
        );
        let name = format!("{prefix}upstream_rq");
        for class in 1..=5 {
            let count = self.of_class(class);
            if count > 0 {
                visit(&name, Metric::Class(count, class));
            }
        }
        let codes = |of: &ResponseCodes| of.codes.iter().map(|(code, _)| *code).collect::<Vec<_>>();
        let mut all = codes(&self.internal);
        all.extend(codes(&self.external));
        all.sort_unstable();
        all.dedup();
        for code in all {
            visit(&name, Metric::Code(self.of(code), code));
        }
    }

    fn visit_parts(&self, prefix: &str, visit: &mut dyn FnMut(&str, Metric<'_>)) {
        let parts = [
            ("internal.", &self.internal),
            ("external.", &self.external),
            ("canary.", &self.canary),
        ];
        for (name, part) in parts {
            part.visit_if_used(&format!("{prefix}{name}"), visit);
        }
    }
}

impl ResponseCodes {
    /// Nothing before the first response, as in Envoy, whose statistics of these are made by the first.
    fn visit_if_used(&self, prefix: &str, visit: &mut dyn FnMut(&str, Metric<'_>)) {
        if self.completed() == 0 {
            return;
        }
        let name = format!("{prefix}upstream_rq");
        self.classes.visit(&mut |rest, metric| {
            if !matches!(metric, Metric::Class(0, _)) {
                visit(&format!("{name}{rest}"), metric);
            }
        });
        for (code, counter) in self.codes.iter() {
            visit(&name, Metric::Code(counter.value(), *code));
        }
    }
}

/// The responses of a cluster: those that were delivered, those that were retried, and those of requests that named
/// statistics of their own.
#[derive(Debug, Default)]
pub struct UpstreamResponses {
    delivered: ResponseOrigins,
    retried: ResponseCodes,
    alternatives: Sparse<String, ResponseOrigins>,
}

impl UpstreamResponses {
    /// Counts a response, or what stands for one, that ends its request.
    pub fn record(&self, status: StatusCode, origin: ResponseOrigin) {
        self.delivered.record(status, origin);
    }

    /// Counts a response that is retried (`retry.upstream_rq_…`).
    pub fn record_retried(&self, status: StatusCode) {
        self.retried.record(status);
    }

    /// The statistics that `x-envoy-upstream-alt-stat-name` names; the first use of a name allocates. None: the
    /// cluster has 64 other names already.
    pub fn alternative(&self, name: &str) -> Option<&ResponseOrigins> {
        self.alternatives.entry(name, ALTERNATIVES)
    }

    /// Responses that ended their requests.
    pub fn delivered(&self) -> &ResponseOrigins {
        &self.delivered
    }
}

impl Group for UpstreamResponses {
    fn visit(&self, visit: &mut dyn FnMut(&str, Metric<'_>)) {
        self.delivered.visit_sum("", visit);
        self.delivered.visit_parts("", visit);
        self.retried.visit_if_used("retry.", visit);
        for (name, origins) in self.alternatives.iter() {
            let prefix = format!("{name}.");
            origins.visit_sum(&prefix, visit);
            origins.visit_parts(&prefix, visit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(responses: &UpstreamResponses) -> Vec<String> {
        let mut names = Vec::new();
        responses.visit(&mut |name, metric| {
            names.push(match metric {
                Metric::Counter(value) => format!("{name} {value}"),
                Metric::Class(value, class) => format!("{name}_{class}xx {value}"),
                Metric::Code(value, code) => format!("{name}_{code} {value}"),
                _ => unreachable!("no gauges here"),
            });
        });
        names
    }

    #[test]
    fn the_whole_is_the_sum_of_internal_and_external() {
        let responses = UpstreamResponses::default();
        assert_eq!(names(&responses), ["upstream_rq_completed 0"]);
        let internal = ResponseOrigin {
            internal: true,
            canary: false,
        };
        responses.record(StatusCode::OK, internal);
        responses.record(StatusCode::OK, ResponseOrigin::default());
        assert_eq!(
            names(&responses),
            [
                "upstream_rq_completed 2",
                "upstream_rq_2xx 2",
                "upstream_rq_200 2",
                "internal.upstream_rq_completed 1",
                "internal.upstream_rq_2xx 1",
                "internal.upstream_rq_200 1",
                "external.upstream_rq_completed 1",
                "external.upstream_rq_2xx 1",
                "external.upstream_rq_200 1",
            ]
        );
    }

    #[test]
    fn canaries_retries_and_names_of_their_own_count_apart() {
        let responses = UpstreamResponses::default();
        let canary = ResponseOrigin {
            internal: false,
            canary: true,
        };
        responses.record_retried(StatusCode::BAD_GATEWAY);
        let other = responses.alternative("other").expect("the first");
        other.record(StatusCode::NOT_FOUND, canary);
        assert_eq!(
            names(&responses),
            [
                "upstream_rq_completed 0",
                "retry.upstream_rq_completed 1",
                "retry.upstream_rq_5xx 1",
                "retry.upstream_rq_502 1",
                "other.upstream_rq_completed 1",
                "other.upstream_rq_4xx 1",
                "other.upstream_rq_404 1",
                "other.external.upstream_rq_completed 1",
                "other.external.upstream_rq_4xx 1",
                "other.external.upstream_rq_404 1",
                "other.canary.upstream_rq_completed 1",
                "other.canary.upstream_rq_4xx 1",
                "other.canary.upstream_rq_404 1",
            ]
        );
        for n in 0..100 {
            responses.alternative(&n.to_string());
        }
        assert!(responses.alternative("one more").is_none());
    }
}
