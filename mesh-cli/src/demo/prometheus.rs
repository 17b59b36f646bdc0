//! Prometheus' text format, as far as counters, gauges and histograms need it.

/// A sample of a scrape.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample<'a> {
    /// The metric's name.
    pub(super) name: &'a str,
    labels: Vec<(&'a str, String)>,
    pub(super) value: f64,
}

impl Sample<'_> {
    /// A label's value; empty if it has none.
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels
            .iter()
            .find(|(n, _)| *n == name)
            .map_or("", |(_, value)| value)
    }
}

/// Reads a line; `None` for comments and for what is no sample.
pub(super) fn sample(line: &str) -> Option<Sample<'_>> {
    let end = line.find(|c: char| c == '{' || c.is_ascii_whitespace())?;
    let (name, rest) = line.split_at(end);
    if name.is_empty() || name.starts_with('#') {
        return None;
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => read_labels(rest)?,
        None => (Vec::new(), rest),
    };
    // a time stamp may follow
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Sample {
        name,
        labels,
        value,
    })
}

type Labels<'a> = Vec<(&'a str, String)>;

fn read_labels(mut rest: &str) -> Option<(Labels<'_>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = after.char_indices();
        loop {
            match chars.next()? {
                (at, '"') => {
                    rest = &after[at + 1..];
                    break;
                }
                (_, '\\') => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    c => c,
                }),
                (_, c) => value.push(c),
            }
        }
        labels.push((name, value));
    }
}

/// Prometheus' `histogram_quantile`: cumulative buckets by upper bound, the last one `+Inf`. `None` without samples.
pub(super) fn histogram_quantile(share: f64, buckets: &[(f64, f64)]) -> Option<f64> {
    let total = buckets.last()?.1;
    if total <= 0.0 {
        return None;
    }
    let rank = share * total;
    let at = buckets.iter().position(|(_, count)| *count >= rank)?;
    let (upper, count) = buckets[at];
    let (lower, before) = match at.checked_sub(1) {
        Some(previous) => buckets[previous],
        None => (0.0, 0.0),
    };
    if upper.is_infinite() {
        // more cannot be said than that it is above the last bound
        return Some(lower);
    }
    if count <= before {
        return Some(upper);
    }
    Some(lower + (upper - lower) * (rank - before) / (count - before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read() {
        let one = sample(r#"a_total{x="1",y="a\"b\\c\nd,}"} 42"#).unwrap();
        assert_eq!((one.name, one.value), ("a_total", 42.0));
        assert_eq!(
            (one.label("x"), one.label("y"), one.label("z")),
            ("1", "a\"b\\c\nd,}", "")
        );
        assert_eq!(sample("up 1 1700000000").unwrap().value, 1.0);
        assert_eq!(sample("a{} 2.5").unwrap().value, 2.5);
        for none in [
            "",
            "# TYPE a counter",
            "a{x=\"1\"",
            "a{x=\"1} 2",
            "a{x=\"1\"} b",
            "{} 1",
            "a",
        ] {
            assert_eq!(sample(none), None, "{none:?}");
        }
    }

    #[test]
    fn quantiles_are_those_of_prometheus() {
        // 100 samples: 50 up to 10, 40 up to 20, 10 above
        let buckets = [(10.0, 50.0), (20.0, 90.0), (f64::INFINITY, 100.0)];
        assert_eq!(histogram_quantile(0.25, &buckets), Some(5.0));
        assert_eq!(histogram_quantile(0.5, &buckets), Some(10.0));
        assert_eq!(histogram_quantile(0.7, &buckets), Some(15.0));
        assert_eq!(histogram_quantile(0.99, &buckets), Some(20.0));
        assert_eq!(
            histogram_quantile(0.5, &[(10.0, 0.0), (f64::INFINITY, 0.0)]),
            None
        );
        assert_eq!(histogram_quantile(0.5, &[]), None);
        // empty buckets in between
        let buckets = [(1.0, 0.0), (2.0, 0.0), (4.0, 10.0), (f64::INFINITY, 10.0)];
        assert_eq!(histogram_quantile(0.5, &buckets), Some(3.0));
    }
}
