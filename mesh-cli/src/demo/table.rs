//! The live table.

use std::fmt::Write as _;

use super::edges::{Counts, Edges, Scrapes};
use super::load::Seen;

const HEAD: [&str; 7] = [
    "EDGE", "REQ/S", "SUCCESS", "P50 ms", "P99 ms", "VERSIONS", "EJECTED",
];

/// A row per edge of the last second, aligned. `total` is the run so far: it keeps the rows of edges that are silent
/// now.
pub(super) fn table(edges: &Edges, total: &Edges, seen: &Seen, scrapes: &Scrapes) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.push([
        "users → gateway".to_owned(),
        seen.requests.to_string(),
        success(seen.requests, seen.errors),
        milliseconds(seen.percentile(0.5)),
        milliseconds(seen.percentile(0.99)),
        String::new(),
        String::new(),
    ]);
    let none = Counts::default();
    for edge in total.0.keys() {
        let counts = edges.0.get(edge).unwrap_or(&none);
        rows.push([
            format!(
                "{} → {}",
                edge.source_workload,
                short(&edge.destination_service)
            ),
            counts.requests.to_string(),
            success(counts.requests, counts.errors),
            milliseconds(counts.quantile(0.5)),
            milliseconds(counts.quantile(0.99)),
            versions(counts),
            ejected(scrapes.ejected(edge), scrapes.ejections(edge)),
        ]);
    }
    aligned(&rows)
}

/// The service's name alone, as far as that is clear.
fn short(service: &str) -> &str {
    service
        .strip_suffix(".default.svc.cluster.local")
        .unwrap_or(service)
}

fn success(requests: u64, errors: u64) -> String {
    if requests == 0 {
        return "-".to_owned();
    }
    if errors == 0 {
        return "100 %".to_owned();
    }
    // rounded down: 99.99 % is not 100 %
    let tenths = (requests - errors.min(requests)) * 1000 / requests;
    format!("{}.{} %", tenths / 10, tenths % 10)
}

fn milliseconds(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value < 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.0}"),
    }
}

fn versions(counts: &Counts) -> String {
    let all: u64 = counts.destination_versions.values().sum();
    let share = |(version, count): (&String, &u64)| {
        format!("{version} {} %", (100 * count + all / 2) / all.max(1))
    };
    counts
        .destination_versions
        .iter()
        .map(share)
        .collect::<Vec<_>>()
        .join("  ")
}

fn ejected(now: u64, so_far: u64) -> String {
    match (now, so_far) {
        (0, 0) => String::new(),
        (now, so_far) => format!("{now} now, {so_far} in all"),
    }
}

fn aligned(rows: &[[String; 7]]) -> String {
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: [usize; 7] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            // numbers to the right, words to the left
            let _ = match column {
                1..=4 => write!(line, "{cell:>width$}   "),
                _ => write!(line, "{cell:<width$}   "),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_is_never_rounded_up() {
        assert_eq!(success(0, 0), "-");
        assert_eq!(success(10_000, 0), "100 %");
        assert_eq!(success(10_000, 1), "99.9 %");
        assert_eq!(success(3, 3), "0.0 %");
    }

    #[test]
    fn a_row_per_edge() {
        let text = |version: &str, count| {
            format!(
                "istio_requests_total{{reporter=\"source\",source_workload=\"productpage-v1\",request_protocol=\"http\",\
                 destination_service=\"reviews.default.svc.cluster.local\",destination_version=\"{version}\",\
                 response_code=\"200\",response_flags=\"-\"}} {count}\n"
            )
        };
        let (mut scrapes, mut edges) = (Scrapes::default(), Edges::default());
        scrapes.add(
            "p",
            "productpage-v1",
            &(text("v1", 9) + &text("v3", 1)),
            &mut edges,
        );
        let table = table(&edges, &edges, &Seen::default(), &scrapes);
        let lines: Vec<_> = table.lines().collect();
        assert!(
            lines[0].starts_with("EDGE") && lines[0].ends_with("EJECTED"),
            "{table}"
        );
        assert!(
            lines[2].starts_with("productpage-v1 → reviews ")
                && lines[2].ends_with("v1 90 %  v3 10 %"),
            "{table}"
        );
    }
}
