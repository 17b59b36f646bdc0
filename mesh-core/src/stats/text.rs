//! Envoy's `/stats` lines: `cluster.NAME.upstream_rq_total: 3`.

use super::{HistogramValues, Metric, Selection, Stats};
use crate::regex::Scratch;

/// One line of `/stats`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Line {
    /// The full name.
    pub name: String,
    /// The value.
    pub value: Value,
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

/// The quantiles of a histogram that are shown, in percent.
pub const QUANTILES: [f64; 10] = [0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 100.0];

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: ", self.name)?;
        let values = match &self.value {
            Value::Counter(value) | Value::Gauge(value) => return write!(f, "{value}"),
            Value::Histogram(values) => values,
        };
        for (i, quantile) in QUANTILES.into_iter().enumerate() {
            let Some(value) = values.quantile(quantile / 100.0) else {
                return f.write_str("No recorded values");
            };
            if i > 0 {
                f.write_str(" ")?;
            }
            // Envoy shows the last interval, then all time; there are no intervals here.
            let value = (value * 1000.0).round() / 1000.0;
            write!(f, "P{quantile}(nan,{value})")?;
        }
        Ok(())
    }
}

/// Envoy's statistics of a selection, counters and gauges first, each kind by name, as Envoy lists them.
pub fn lines(stats: &Stats, selection: &Selection) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut scratch = Scratch::default();
    stats.visit(&mut |series| {
        if !selection.shows(&series, &mut scratch) {
            return;
        }
        let name = series.full_name();
        let value = match series.metric {
            Metric::Counter(value) | Metric::Code(value, _) | Metric::Class(value, _) => {
                Value::Counter(value)
            }
            Metric::Gauge(value) => Value::Gauge(value),
            Metric::Histogram(histogram) => Value::Histogram(histogram.read()),
        };
        lines.push(Line { name, value });
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
    use crate::stats::{Filter, Kind, ResponseOrigin};

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
        let text: Vec<_> = lines(&stats, &Selection::default())
            .iter()
            .map(ToString::to_string)
            .collect();
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
        let used = Selection {
            used_only: true,
            ..Selection::default()
        };
        assert_eq!(lines(&stats, &used).len(), 9);
        let names = |selection: &Selection| -> Vec<String> {
            lines(&stats, selection)
                .into_iter()
                .map(|l| l.name)
                .collect()
        };
        let filtered = |pattern, inverted| Selection {
            filter: Some(Filter::new(pattern, inverted).unwrap()),
            ..used.clone()
        };
        assert_eq!(
            names(&filtered(r"backend\.upstream_rq_(t|2)", false)),
            [
                "cluster.backend.upstream_rq_200",
                "cluster.backend.upstream_rq_2xx",
                "cluster.backend.upstream_rq_total",
            ]
        );
        assert_eq!(
            names(&filtered("rq|ejections_[^a]", true)),
            [
                "cluster.backend.outlier_detection.ejections_active",
                "cluster.backend.upstream_cx_connect_ms",
            ]
        );
        let gauges = Selection {
            kind: Some(Kind::Gauge),
            ..used
        };
        assert_eq!(
            names(&gauges),
            ["cluster.backend.outlier_detection.ejections_active"]
        );
        assert!(Filter::new("x(", false).is_err());
    }
}
