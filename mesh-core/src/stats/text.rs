//! Envoy's `/stats` lines: `cluster.NAME.upstream_rq_total: 3`.

use super::{HistogramValues, Metric, Stats};

/// One line of `/stats`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Line {
    /// The full name.
    pub name: String,
    /// The value.
    pub value: Value,
    /// Whether it was ever written to: what `/stats?usedonly` shows.
    pub used: bool,
}

/// The value of a [`Line`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// A counter.
    Counter(u64),
    /// A gauge.
    Gauge(u64),
    /// A histogram of milliseconds.
    Histogram(HistogramValues),
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: ", self.name)?;
        let values = match &self.value {
            Value::Counter(value) | Value::Gauge(value) => return write!(f, "{value}"),
            Value::Histogram(values) => values,
        };
        let quantiles = [
            ("P0", 0.0),
            ("P25", 0.25),
            ("P50", 0.5),
            ("P75", 0.75),
            ("P90", 0.9),
            ("P95", 0.95),
            ("P99", 0.99),
            ("P99.5", 0.995),
            ("P99.9", 0.999),
            ("P100", 1.0),
        ];
        for (i, (name, quantile)) in quantiles.into_iter().enumerate() {
            let Some(value) = values.quantile(quantile) else {
                return f.write_str("No recorded values");
            };
            if i > 0 {
                f.write_str(" ")?;
            }
            // Envoy shows the last interval, then all time; there are no intervals here.
            let value = (value * 1000.0).round() / 1000.0;
            write!(f, "{name}(nan,{value})")?;
        }
        Ok(())
    }
}

/// All of Envoy's statistics, counters and gauges first, each kind by name, as Envoy lists them.
pub fn lines(stats: &Stats) -> Vec<Line> {
    let mut lines = Vec::new();
    stats.visit(&mut |series| {
        let mut name = String::from(series.scope.as_str());
        for part in [series.tag, series.name] {
            if !part.is_empty() {
                if !name.is_empty() {
                    name.push('.');
                }
                name.push_str(part);
            }
        }
        let value = match series.metric {
            Metric::Counter(value) => Value::Counter(value),
            Metric::Code(value, code) => {
                name.push_str(&format!("_{code}"));
                Value::Counter(value)
            }
            Metric::Class(value, class) => {
                name.push_str(&format!("_{class}xx"));
                Value::Counter(value)
            }
            Metric::Gauge(value) => Value::Gauge(value),
            Metric::Histogram(histogram) => Value::Histogram(histogram.read()),
        };
        let used = series.metric.is_used();
        lines.push(Line { name, value, used });
    });
    lines.sort_by(|a, b| {
        let histogram = |line: &Line| matches!(line.value, Value::Histogram(_));
        (histogram(a), &a.name).cmp(&(histogram(b), &b.name))
    });
    lines
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::stats::ResponseOrigin;

    #[test]
    fn lines_are_envoys() {
        let stats = Stats::default();
        let cluster = stats.cluster("backend");
        cluster.upstream_rq_total.add(3);
        cluster
            .responses
            .record(http::StatusCode::OK, ResponseOrigin::default());
        cluster.outlier_detection.ejections_active.inc();
        cluster
            .upstream_cx_connect_ms
            .record(Duration::from_millis(3));
        let text: Vec<_> = lines(&stats).iter().map(ToString::to_string).collect();
        for line in [
            "cluster.backend.upstream_rq_total: 3",
            "cluster.backend.upstream_rq_200: 1",
            "cluster.backend.upstream_rq_2xx: 1",
            "cluster.backend.upstream_rq_completed: 1",
            "cluster.backend.outlier_detection.ejections_active: 1",
            "cluster.backend.circuit_breakers.default.rq_open: 0",
            "cluster.backend.upstream_rq_time: No recorded values",
            "cluster.backend.upstream_cx_connect_ms: P0(nan,1) P25(nan,2) P50(nan,3) P75(nan,4) \
                P90(nan,4.6) P95(nan,4.8) P99(nan,4.96) P99.5(nan,4.98) P99.9(nan,4.996) P100(nan,5)",
            "server.live: 0",
        ] {
            assert!(text.iter().any(|l| l == line), "{line} in\n{text:#?}");
        }
        assert_eq!(lines(&stats).iter().filter(|line| line.used).count(), 9);
    }
}
