//! `/stats` and `/stats/prometheus`: parameters and errors as in Envoy's.

use mesh_core::{
    snapshot::Snapshot,
    stats::{
        Filter, Kind, Selection, prometheus,
        text::{self, Line, QUANTILES, Value},
    },
};
use serde_json::{Number, json};

use super::query::Query;

/// A page's content type and text.
///
/// # Errors
/// What is wrong with the query.
pub(super) fn page(
    snapshot: &Snapshot,
    query: Query<'_>,
) -> Result<(&'static str, String), String> {
    let mut selection = selection(query)?;
    selection.kind = match query.get("type").as_deref() {
        None | Some("All") => None,
        Some("Counters") => Some(Kind::Counter),
        Some("Gauges") => Some(Kind::Gauge),
        Some("Histograms") => Some(Kind::Histogram),
        Some(_) => {
            return Err("invalid &type= param; one of All, Counters, Gauges, Histograms".into());
        }
    };
    let lines = || text::lines(snapshot.stats(), &selection);
    match query.get("format").as_deref() {
        None | Some("text") => {
            let text = lines().iter().map(|line| format!("{line}\n")).collect();
            Ok(("text/plain; charset=UTF-8", text))
        }
        Some("json") => Ok(("application/json", json(&lines()).to_string())),
        Some("prometheus") => prometheus_page(snapshot, query),
        Some(_) => Err("usage: /stats?format=(json|prometheus|text)\n".to_owned()),
    }
}

/// The same of `/stats/prometheus`.
///
/// # Errors
/// As [`page`].
pub(super) fn prometheus_page(
    snapshot: &Snapshot,
    query: Query<'_>,
) -> Result<(&'static str, String), String> {
    let text = prometheus::render(
        snapshot.stats(),
        &snapshot.config().node,
        &selection(query)?,
    );
    Ok(("text/plain; version=0.0.4", text))
}

fn selection(query: Query<'_>) -> Result<Selection, String> {
    let filter = query
        .get("filter")
        .filter(|pattern| !pattern.is_empty())
        .map(|pattern| Filter::new(&pattern, query.has("invert_filter")))
        .transpose()
        .map_err(|e| format!("Invalid re2 regex: {e}"))?;
    Ok(Selection {
        used_only: query.has("usedonly"),
        filter,
        ..Selection::default()
    })
}

/// Values, then all histograms' quantiles in one object; there are no intervals here.
fn json(lines: &[Line]) -> serde_json::Value {
    let mut stats = Vec::new();
    let mut histograms = Vec::new();
    for Line { name, value, .. } in lines {
        match value {
            Value::Counter(value) | Value::Gauge(value) => {
                stats.push(json!({"name": name, "value": value}));
            }
            Value::Histogram(values) => {
                let computed = QUANTILES.map(|quantile| {
                    json!({"cumulative": values.quantile(quantile / 100.0).map(number), "interval": null})
                });
                histograms.push(json!({"name": name, "values": computed}));
            }
            _ => {}
        }
    }
    if !histograms.is_empty() {
        stats.push(json!({"histograms": {
            "supported_quantiles": QUANTILES.map(number),
            "computed_quantiles": histograms,
        }}));
    }
    json!({ "stats": stats })
}

/// Without a fraction that is zero.
fn number(value: f64) -> Option<Number> {
    match value.fract() == 0.0 && value.abs() < 1e15 {
        true => Some(Number::from(value as i64)),
        false => Number::from_f64(value),
    }
}

#[cfg(test)]
mod tests {
    use mesh_core::stats::Stats;

    use super::*;

    #[test]
    fn json_is_envoys() {
        let stats = Stats::default();
        let cluster = stats.cluster("a");
        cluster.upstream_rq_total.add(3);
        cluster
            .upstream_cx_connect_ms
            .record(std::time::Duration::from_millis(3));
        let query = Query::new(Some("filter=upstream_rq_tot%7Ccx_connect_ms"));
        let lines = text::lines(&stats, &selection(query).unwrap());
        let text = json(&lines).to_string();
        assert!(
            text.starts_with(
                r#"{"stats":[{"name":"cluster.a.upstream_rq_total","value":3},{"histograms":{"#
            ),
            "{text}"
        );
        assert!(
            text.contains(r#""supported_quantiles":[0,25,50,75,90,95,99,99.5,99.9,100]"#),
            "{text}"
        );
        assert!(
            text.contains(r#""values":[{"cumulative":1,"interval":null}"#),
            "{text}"
        );
        let wrong = selection(Query::new(Some("filter=x("))).unwrap_err();
        assert!(wrong.starts_with("Invalid re2 regex: "), "{wrong}");
    }
}
