//! A second, or the whole run, as JSON.

use serde_json::{Value, json};

use super::edges::{Counts, Edge, Edges, Scrapes};
use super::load::Seen;

/// One line: `total` is the run's last one.
pub(super) fn record(
    second: u64,
    total: bool,
    edges: &Edges,
    seen: &Seen,
    scrapes: &Scrapes,
) -> Value {
    let edges: Vec<_> = edges
        .0
        .iter()
        .map(|(edge, counts)| of_edge(edge, counts, scrapes))
        .collect();
    let mut record = json!({
        "second": second,
        "edges": edges,
        // what the load generator saw at the gateway
        "load": {
            "requests": seen.requests,
            "errors": seen.errors,
            "response_codes": seen.response_codes,
            "latency_ms": latency(|share| seen.percentile(share)),
        },
    });
    if total {
        record["total"] = json!(true);
    }
    record
}

fn of_edge(edge: &Edge, counts: &Counts, scrapes: &Scrapes) -> Value {
    json!({
        "source_workload": edge.source_workload,
        "destination_service": edge.destination_service,
        "request_protocol": edge.request_protocol,
        "requests": counts.requests,
        "errors": counts.errors,
        "response_codes": counts.response_codes,
        "response_flags": counts.response_flags,
        "destination_versions": counts.destination_versions,
        "latency_ms": latency(|share| counts.quantile(share)),
        "ejections": scrapes.ejections(edge),
        "ejected_hosts": scrapes.ejected(edge),
    })
}

fn latency(of: impl Fn(f64) -> Option<f64>) -> Value {
    json!({"p50": rounded(of(0.5)), "p90": rounded(of(0.9)), "p99": rounded(of(0.99))})
}

/// To a microsecond.
fn rounded(milliseconds: Option<f64>) -> Option<f64> {
    milliseconds.map(|value| (value * 1e3).round() / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_line_is_total() {
        let (edges, seen, scrapes) = Default::default();
        assert_eq!(record(3, false, &edges, &seen, &scrapes).get("total"), None);
        let total = record(3, true, &edges, &seen, &scrapes);
        assert_eq!(
            (&total["total"], &total["second"]),
            (&json!(true), &json!(3))
        );
        assert_eq!(total["load"]["latency_ms"]["p50"], Value::Null);
    }
}
