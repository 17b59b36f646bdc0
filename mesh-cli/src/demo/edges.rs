//! Who called whom: the callers' own metrics, summed up by edge.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::prometheus::{Sample, histogram_quantile, sample};

const REQUESTS: &str = "istio_requests_total";
const DURATION: &str = "istio_request_duration_milliseconds_bucket";
const EJECTED: &str = "envoy_cluster_outlier_detection_ejections_active";
const EJECTIONS: &str = "envoy_cluster_outlier_detection_ejections_enforced_total";

/// A caller and what it calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge {
    pub(super) source_workload: String,
    pub(super) destination_service: String,
    pub(super) request_protocol: String,
}

/// What happened on an edge in some time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Counts {
    pub(super) requests: u64,
    /// No response, 5xx, or a grpc-status that is not 0.
    pub(super) errors: u64,
    pub(super) response_codes: BTreeMap<String, u64>,
    pub(super) response_flags: BTreeMap<String, u64>,
    pub(super) destination_versions: BTreeMap<String, u64>,
    /// Cumulative counts by upper bound (in microseconds; `u64::MAX` is infinite).
    buckets: BTreeMap<u64, u64>,
}

impl Counts {
    fn merge(&mut self, other: &Counts) {
        self.requests += other.requests;
        self.errors += other.errors;
        for (mine, theirs) in [
            (&mut self.response_codes, &other.response_codes),
            (&mut self.response_flags, &other.response_flags),
            (&mut self.destination_versions, &other.destination_versions),
        ] {
            for (key, count) in theirs {
                *mine.entry(key.clone()).or_default() += count;
            }
        }
        for (bound, count) in &other.buckets {
            *self.buckets.entry(*bound).or_default() += count;
        }
    }

    /// The latency in milliseconds that a share of the requests did not exceed.
    pub(super) fn quantile(&self, share: f64) -> Option<f64> {
        let bound = |micros: u64| {
            if micros == u64::MAX {
                f64::INFINITY
            } else {
                micros as f64 / 1e3
            }
        };
        let buckets: Vec<_> = self
            .buckets
            .iter()
            .map(|(upper, count)| (bound(*upper), *count as f64))
            .collect();
        histogram_quantile(share, &buckets)
    }
}

/// The edges in some time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Edges(pub(super) BTreeMap<Edge, Counts>);

impl Edges {
    pub(super) fn merge(&mut self, other: &Edges) {
        for (edge, counts) in &other.0 {
            self.0.entry(edge.clone()).or_default().merge(counts);
        }
    }
}

/// The last scrape of every pod, to tell what is new. A pod that is gone keeps what it had counted.
#[derive(Debug, Default)]
pub(super) struct Scrapes {
    pods: HashMap<String, Pod>,
    /// Every upper bound that was seen: a bucket where nothing happened counts 0.
    bounds: BTreeSet<u64>,
    /// Ejections so far, by the caller's workload and the service.
    ejections: BTreeMap<(String, String), u64>,
}

#[derive(Debug, Default)]
struct Pod {
    workload: String,
    /// Counters by series, as written.
    counters: HashMap<String, u64>,
    /// Hosts that are ejected now, by service.
    ejected: BTreeMap<String, u64>,
}

impl Scrapes {
    /// Takes a pod's scrape and adds what happened since its last one.
    pub(super) fn add(&mut self, name: &str, workload: &str, text: &str, edges: &mut Edges) {
        let pod = self.pods.entry(name.to_owned()).or_default();
        workload.clone_into(&mut pod.workload);
        pod.ejected.clear();
        for line in text.lines().filter(|line| is_of_interest(line)) {
            let Some(sample) = sample(line) else { continue };
            let value = sample.value.max(0.0) as u64;
            if sample.name == EJECTED {
                *pod.ejected
                    .entry(service_of(sample.label("envoy_cluster_name")))
                    .or_default() += value;
                continue;
            }
            // the caller's view only: the called ones report the same requests again
            if sample.name != EJECTIONS && sample.label("reporter") != "source" {
                continue;
            }
            let series = line.rsplit_once(' ').map_or(line, |(series, _)| series);
            let before = pod.counters.insert(series.to_owned(), value).unwrap_or(0);
            self.bounds.extend(bound(&sample));
            // a counter that went back belongs to a process that started anew
            let new = value.checked_sub(before).unwrap_or(value);
            if sample.name == EJECTIONS {
                let service = service_of(sample.label("envoy_cluster_name"));
                *self
                    .ejections
                    .entry((workload.to_owned(), service))
                    .or_default() += new;
            } else if new > 0 {
                count(&sample, new, edges);
            }
        }
        for counts in edges
            .0
            .values_mut()
            .filter(|counts| !counts.buckets.is_empty())
        {
            for bound in &self.bounds {
                counts.buckets.entry(*bound).or_default();
            }
        }
    }

    /// Hosts that are ejected now on an edge, as the most worried caller sees it.
    pub(super) fn ejected(&self, edge: &Edge) -> u64 {
        let of_edge = self
            .pods
            .values()
            .filter(|pod| pod.workload == edge.source_workload);
        of_edge
            .filter_map(|pod| pod.ejected.get(&edge.destination_service))
            .max()
            .copied()
            .unwrap_or(0)
    }

    /// Ejections on an edge so far.
    pub(super) fn ejections(&self, edge: &Edge) -> u64 {
        let key = (
            edge.source_workload.clone(),
            edge.destination_service.clone(),
        );
        self.ejections.get(&key).copied().unwrap_or(0)
    }

    /// Forgets who is ejected for a pod that is gone.
    pub(super) fn retain(&mut self, lives: impl Fn(&str) -> bool) {
        for (name, pod) in &mut self.pods {
            if !lives(name) {
                pod.ejected.clear();
            }
        }
    }
}

fn is_of_interest(line: &str) -> bool {
    [REQUESTS, DURATION, EJECTED, EJECTIONS]
        .iter()
        .any(|name| line.starts_with(name))
}

/// The host in `outbound|PORT|SUBSET|HOST`.
fn service_of(cluster: &str) -> String {
    cluster.rsplit('|').next().unwrap_or_default().to_owned()
}

fn count(sample: &Sample<'_>, new: u64, edges: &mut Edges) {
    let label = |name| sample.label(name).to_owned();
    let edge = Edge {
        source_workload: label("source_workload"),
        destination_service: label("destination_service"),
        request_protocol: label("request_protocol"),
    };
    let counts = edges.0.entry(edge).or_default();
    if let Some(bound) = bound(sample) {
        *counts.buckets.entry(bound).or_default() += new;
        return;
    }
    counts.requests += new;
    if is_error(sample) {
        counts.errors += new;
    }
    *counts
        .response_codes
        .entry(label("response_code"))
        .or_default() += new;
    *counts
        .response_flags
        .entry(label("response_flags"))
        .or_default() += new;
    *counts
        .destination_versions
        .entry(label("destination_version"))
        .or_default() += new;
}

/// A bucket's upper bound in microseconds, if the sample is a bucket.
fn bound(sample: &Sample<'_>) -> Option<u64> {
    if sample.name != DURATION {
        return None;
    }
    match sample.label("le").parse::<f64>() {
        Ok(milliseconds) if milliseconds.is_finite() => Some((milliseconds * 1e3) as u64),
        _ => Some(u64::MAX),
    }
}

fn is_error(sample: &Sample<'_>) -> bool {
    let no_response_or_5xx = match sample.label("response_code").parse::<u16>() {
        Ok(code) => code == 0 || code >= 500,
        Err(_) => true,
    };
    no_response_or_5xx || !matches!(sample.label("grpc_response_status"), "" | "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(code: u16, version: &str, count: u64) -> String {
        format!(
            "istio_requests_total{{reporter=\"source\",source_workload=\"a-v1\",destination_service=\"b.svc\",\
             request_protocol=\"http\",destination_version=\"{version}\",response_code=\"{code}\",\
             grpc_response_status=\"\",response_flags=\"-\"}} {count}\n"
        )
    }

    fn edge() -> Edge {
        Edge {
            source_workload: "a-v1".to_owned(),
            destination_service: "b.svc".to_owned(),
            request_protocol: "http".to_owned(),
        }
    }

    fn add(scrapes: &mut Scrapes, pod: &str, text: &str) -> Counts {
        let mut edges = Edges::default();
        scrapes.add(pod, "a-v1", text, &mut edges);
        edges.0.remove(&edge()).unwrap_or_default()
    }

    #[test]
    fn only_what_is_new_counts() {
        let mut scrapes = Scrapes::default();
        let first = add(
            &mut scrapes,
            "p",
            &(requests(200, "v1", 10) + &requests(503, "v2", 2)),
        );
        assert_eq!((first.requests, first.errors), (12, 2));
        let second = add(
            &mut scrapes,
            "p",
            &(requests(200, "v1", 15) + &requests(503, "v2", 2)),
        );
        assert_eq!((second.requests, second.errors), (5, 0));
        assert_eq!(second.destination_versions, [("v1".to_owned(), 5)].into());
        // another pod counts by itself, and a restarted one from nothing
        assert_eq!(add(&mut scrapes, "q", &requests(200, "v1", 3)).requests, 3);
        assert_eq!(add(&mut scrapes, "p", &requests(200, "v1", 4)).requests, 4);
    }

    #[test]
    fn errors_are_no_answer_5xx_or_grpc() {
        let line = |code: &str, status: &str| {
            format!(
                "istio_requests_total{{reporter=\"source\",response_code=\"{code}\",grpc_response_status=\"{status}\"}} 1"
            )
        };
        let is_error = |line: String| is_error(&sample(&line).unwrap());
        for (code, status) in [("0", ""), ("500", ""), ("504", ""), ("200", "14"), ("", "")] {
            assert!(is_error(line(code, status)), "{code} {status}");
        }
        for (code, status) in [("200", ""), ("200", "0"), ("404", ""), ("101", "")] {
            assert!(!is_error(line(code, status)), "{code} {status}");
        }
    }

    #[test]
    fn latencies_are_those_of_the_window() {
        let text = |counts: [u64; 3]| -> String {
            let line = |(le, count)| {
                format!(
                    "istio_request_duration_milliseconds_bucket{{reporter=\"source\",source_workload=\"a-v1\",\
                     destination_service=\"b.svc\",request_protocol=\"http\",le=\"{le}\"}} {count}\n"
                )
            };
            ["0.5", "1", "+Inf"]
                .into_iter()
                .zip(counts)
                .map(line)
                .collect()
        };
        let mut scrapes = Scrapes::default();
        add(&mut scrapes, "p", &text([100, 100, 100]));
        let counts = add(&mut scrapes, "p", &text([100, 110, 110]));
        assert_eq!(counts.quantile(0.5), Some(0.75));
    }

    #[test]
    fn the_servers_view_is_left_out_and_ejections_are_seen() {
        let cluster = "envoy_cluster_name=\"outbound|80||b.svc\"";
        let text = format!("{EJECTED}{{{cluster}}} 1\n{EJECTIONS}{{{cluster}}} 3\n")
            + &requests(200, "v1", 1)
            + &requests(200, "v1", 5).replace("source\"", "destination\"");
        let mut scrapes = Scrapes::default();
        let counts = add(&mut scrapes, "p", &text);
        assert_eq!((counts.requests, scrapes.ejections(&edge())), (1, 3));
        assert_eq!(scrapes.ejected(&edge()), 1);
        scrapes.retain(|name| name != "p");
        assert_eq!(scrapes.ejected(&edge()), 0);
    }
}
