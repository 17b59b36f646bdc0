use super::{Metric, Series};
use crate::regex::{InvalidRegex, Regex, Scratch};

/// Which statistics a page shows: the parameters of Envoy's `/stats` and `/stats/prometheus`. The default shows all.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// `usedonly`: only what was ever written to.
    pub used_only: bool,
    /// `type`: only this kind.
    pub kind: Option<Kind>,
    /// `filter`: only what it lets through.
    pub filter: Option<Filter>,
}

/// An expression that names must match, or must not.
#[derive(Clone, Debug)]
pub struct Filter {
    expression: Regex,
    inverted: bool,
}

/// A kind of statistic, as `/stats?type=` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// `Counters`.
    Counter,
    /// `Gauges`.
    Gauge,
    /// `Histograms`.
    Histogram,
}

impl Filter {
    /// Lets through what has a match of this expression anywhere in its full name (`cluster.NAME.upstream_rq_total`);
    /// inverted (`invert_filter`), what has none.
    ///
    /// # Errors
    /// The expression is none of RE2's.
    pub fn new(pattern: &str, inverted: bool) -> Result<Self, InvalidRegex> {
        let expression = Regex::anywhere(pattern)?;
        Ok(Self {
            expression,
            inverted,
        })
    }
}

impl Selection {
    /// Whether a statistic of this name is shown.
    pub(super) fn shows_name(&self, name: &str, scratch: &mut Scratch) -> bool {
        self.filter.as_ref().is_none_or(|filter| {
            filter.expression.is_full_match(name.as_bytes(), scratch) != filter.inverted
        })
    }

    /// Whether this statistic is shown; `scratch` is the filter's memory.
    pub(super) fn shows(&self, series: &Series<'_>, scratch: &mut Scratch) -> bool {
        let kind = match series.metric {
            Metric::Counter(_) | Metric::Code(..) | Metric::Class(..) => Kind::Counter,
            Metric::Gauge(_) => Kind::Gauge,
            Metric::Histogram(_) => Kind::Histogram,
        };
        (!self.used_only || series.metric.is_used())
            && self.kind.is_none_or(|wanted| wanted == kind)
            && (self.filter.is_none() || self.shows_name(&series.full_name(), scratch))
    }
}
