//! Prometheus' text exposition (format 0.0.4): Istio's request metrics, and Envoy's statistics as Envoy's
//! `/stats/prometheus` names and tags them.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write};

use super::{
    HistogramValues, Metric, RequestLabels, Scope, Selection, Series, Stats, request::Combination,
};
use crate::{regex::Scratch, snapshot::NodeIdentity};

/// The content type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The statistics of a selection as text; `node` labels our own side of Istio's metrics, which a filter knows by the
/// names of their families.
pub fn render(stats: &Stats, node: &NodeIdentity, selection: &Selection) -> String {
    let mut families = Families::default();
    let mut scratch = Scratch::default();
    let requests = "istio_requests_total";
    let durations = "istio_request_duration_milliseconds";
    let shows_requests = selection.shows_name(requests, &mut scratch);
    let shows_durations = selection.shows_name(durations, &mut scratch);
    for metrics in stats.all_requests() {
        for (combination, histogram) in metrics.durations() {
            let values = histogram.read();
            if values.count() == 0 {
                continue;
            }
            let labels = istio_labels(metrics.labels(), node, combination);
            if shows_requests {
                families.counter(requests, &labels, values.count());
            }
            if shows_durations {
                families.histogram(durations, &labels, &values);
            }
        }
    }
    stats.visit(&mut |series| {
        if selection.shows(&series, &mut scratch) {
            families.envoy(&series);
        }
    });
    families.into_text()
}

/// What Envoy makes of a name that holds a prefix of the configuration's (`source/common/config/well_known_names.cc`):
/// the name without it, and its label.
fn untagged(name: &str) -> (Cow<'_, str>, Option<(&'static str, &str)>) {
    if let Some((prefix, rest)) = name.split_once(".http_local_rate_limit.") {
        let name = format!("http_local_rate_limit.{rest}").into();
        return (name, Some(("envoy_local_http_ratelimit_prefix", prefix)));
    }
    (name.into(), None)
}

/// Lines by family, since all series of a family must stand together.
#[derive(Default)]
struct Families(BTreeMap<Cow<'static, str>, Family>);

struct Family {
    kind: &'static str,
    /// One text per series; a histogram's has several lines.
    series: Vec<String>,
}

impl Families {
    fn push(&mut self, name: impl Into<Cow<'static, str>>, kind: &'static str, series: String) {
        self.0
            .entry(name.into())
            .or_insert_with(|| Family {
                kind,
                series: Vec::new(),
            })
            .series
            .push(series);
    }

    fn counter(&mut self, name: &'static str, labels: &str, value: u64) {
        self.push(name, "counter", format!("{name}{{{labels}}} {value}\n"));
    }

    fn histogram(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        labels: &str,
        values: &HistogramValues,
    ) {
        let name = name.into();
        let mut text = String::new();
        let separator = if labels.is_empty() { "" } else { "," };
        for (bound, count) in values.cumulative() {
            let bound = if bound.is_infinite() {
                "+Inf".to_owned()
            } else {
                bound.to_string()
            };
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{name}_bucket{{{labels}{separator}le=\"{bound}\"}} {count}"
            );
        }
        let _ = writeln!(text, "{name}_sum{{{labels}}} {}", values.sum_millis());
        let _ = writeln!(text, "{name}_count{{{labels}}} {}", values.count());
        self.push(name, "histogram", text);
    }

    fn envoy(&mut self, series: &Series<'_>) {
        let scope = series.scope.as_str();
        let mut labels = String::new();
        let mut name = match series.scope {
            Scope::None => {
                let (name, tag) = untagged(series.name);
                if let Some((tag, value)) = tag {
                    label(&mut labels, tag, value);
                }
                format!("envoy_{}", sanitised(&name))
            }
            _ => format!("envoy_{scope}_{}", sanitised(series.name)),
        };
        if let Metric::Code(_, code) = series.metric {
            label(&mut labels, "envoy_response_code", &code.to_string());
        }
        if let Metric::Class(_, class) = series.metric {
            name.push_str("_xx");
            label(&mut labels, "envoy_response_code_class", &class.to_string());
        }
        let tag = match series.scope {
            Scope::Cluster => Some("envoy_cluster_name"),
            Scope::Http => Some("envoy_http_conn_manager_prefix"),
            Scope::Listener => Some("envoy_listener_address"),
            Scope::Tcp => Some("envoy_tcp_prefix"),
            Scope::Server | Scope::None => None,
        };
        if let Some(tag) = tag {
            // Istio ends a cluster's stat name with `;`, which its tag rule cuts off again.
            label(&mut labels, tag, series.tag.trim_end_matches(';'));
        }
        match series.metric {
            Metric::Counter(value) | Metric::Code(value, _) | Metric::Class(value, _) => {
                let text = format!("{name}{{{labels}}} {value}\n");
                self.push(name, "counter", text);
            }
            Metric::Gauge(value) => {
                let text = format!("{name}{{{labels}}} {value}\n");
                self.push(name, "gauge", text);
            }
            Metric::Histogram(histogram) => self.histogram(name, &labels, &histogram.read()),
        }
    }

    fn into_text(self) -> String {
        let mut text = String::new();
        for (name, mut family) in self.0 {
            let _ = writeln!(text, "# TYPE {name} {}", family.kind);
            family.series.sort_unstable();
            text.extend(family.series);
        }
        text
    }
}

/// A part of a name: what Prometheus does not allow in one is an underscore, as Envoy writes it.
fn sanitised(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    name.chars()
        .map(|c| if allowed(c) { c } else { '_' })
        .collect()
}

/// Adds `name="value"`, escaped.
fn label(labels: &mut String, name: &str, value: &str) {
    if !labels.is_empty() {
        labels.push(',');
    }
    labels.push_str(name);
    labels.push_str("=\"");
    for c in value.chars() {
        match c {
            '\\' => labels.push_str("\\\\"),
            '"' => labels.push_str("\\\""),
            '\n' => labels.push_str("\\n"),
            c => labels.push(c),
        }
    }
    labels.push('"');
}

/// Istio's labels, in the order in which its data planes write them. A label without a value is `unknown`: Kiali drops
/// a series that lacks one.
fn istio_labels(
    labels: &RequestLabels,
    node: &NodeIdentity,
    combination: Option<Combination>,
) -> String {
    let mut text = String::with_capacity(1024);
    let mut known = |name: &str, value: &str| {
        let value = if value.is_empty() { "unknown" } else { value };
        label(&mut text, name, value);
    };
    let source = labels.reporter_source;
    known("reporter", if source { "source" } else { "destination" });
    // A server is not told who calls until there is mutual TLS.
    let ours = |value: &'_ std::sync::Arc<str>| if source { value.clone() } else { "".into() };
    known("source_workload", &ours(&node.workload));
    known("source_canonical_service", &ours(&node.canonical_service));
    known("source_canonical_revision", &ours(&node.canonical_revision));
    known("source_workload_namespace", &ours(&node.namespace));
    known("source_principal", "");
    known("source_app", &ours(&node.app));
    known("source_version", &ours(&node.version));
    known("source_cluster", &ours(&node.cluster));
    known("destination_service", &labels.destination_service);
    known(
        "destination_service_namespace",
        &labels.destination_service_namespace,
    );
    known("destination_service_name", &labels.destination_service_name);
    known("destination_workload", &labels.destination_workload);
    known(
        "destination_canonical_service",
        &labels.destination_canonical_service,
    );
    known(
        "destination_canonical_revision",
        &labels.destination_canonical_revision,
    );
    known(
        "destination_workload_namespace",
        &labels.destination_workload_namespace,
    );
    known("destination_principal", "");
    known("destination_app", &labels.destination_canonical_service);
    known(
        "destination_version",
        &labels.destination_canonical_revision,
    );
    known("destination_cluster", &labels.destination_cluster);
    known(
        "request_protocol",
        if labels.grpc { "grpc" } else { "http" },
    );
    match combination {
        Some(combination) => {
            known("response_code", &combination.code.to_string());
            let status = combination.grpc_status.map(|status| status.to_string());
            label(
                &mut text,
                "grpc_response_status",
                status.as_deref().unwrap_or_default(),
            );
            label(&mut text, "response_flags", &combination.flags.to_string());
        }
        None => {
            known("response_code", "");
            label(&mut text, "grpc_response_status", "");
            label(&mut text, "response_flags", "-");
        }
    }
    let policy = if source { "unknown" } else { "none" };
    label(&mut text, "connection_security_policy", policy);
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::flags::{ResponseFlag, ResponseFlags};

    #[test]
    fn istio_metrics_have_every_label_that_kiali_wants() {
        let stats = Stats::default();
        let node = NodeIdentity {
            workload: "productpage-v1".into(),
            namespace: "default".into(),
            canonical_service: "productpage".into(),
            canonical_revision: "v1".into(),
            app: "productpage".into(),
            version: "v1".into(),
            cluster: "Kubernetes".into(),
            ..NodeIdentity::default()
        };
        let labels = RequestLabels {
            reporter_source: true,
            destination_service: "reviews.default.svc.cluster.local".into(),
            destination_service_name: "reviews".into(),
            destination_service_namespace: "default".into(),
            destination_workload: "reviews-v2".into(),
            destination_workload_namespace: "default".into(),
            destination_canonical_service: "reviews".into(),
            destination_canonical_revision: "v2".into(),
            ..RequestLabels::default()
        };
        let flags = ResponseFlags::NONE
            .with(ResponseFlag::UpstreamRetryLimitExceeded)
            .with(ResponseFlag::UpstreamConnectionFailure);
        stats
            .request_metrics(&labels)
            .record(503, None, flags, Duration::from_micros(1500));
        let text = render(&stats, &node, &Selection::default());
        let all = "reporter=\"source\",source_workload=\"productpage-v1\",\
            source_canonical_service=\"productpage\",source_canonical_revision=\"v1\",\
            source_workload_namespace=\"default\",source_principal=\"unknown\",source_app=\"productpage\",\
            source_version=\"v1\",source_cluster=\"Kubernetes\",\
            destination_service=\"reviews.default.svc.cluster.local\",\
            destination_service_namespace=\"default\",destination_service_name=\"reviews\",\
            destination_workload=\"reviews-v2\",destination_canonical_service=\"reviews\",\
            destination_canonical_revision=\"v2\",destination_workload_namespace=\"default\",\
            destination_principal=\"unknown\",destination_app=\"reviews\",destination_version=\"v2\",\
            destination_cluster=\"unknown\",request_protocol=\"http\",response_code=\"503\",\
            grpc_response_status=\"\",response_flags=\"URX,UF\",connection_security_policy=\"unknown\"";
        let expected = [
            "# TYPE istio_request_duration_milliseconds histogram".to_owned(),
            format!("istio_request_duration_milliseconds_bucket{{{all},le=\"0.5\"}} 0"),
            format!("istio_request_duration_milliseconds_bucket{{{all},le=\"1\"}} 0"),
            format!("istio_request_duration_milliseconds_bucket{{{all},le=\"5\"}} 1"),
        ];
        let istio: Vec<_> = text
            .lines()
            .skip_while(|line| !line.contains("istio_request_duration"))
            .collect();
        assert_eq!(istio[..4], expected);
        let rest = [
            format!("istio_request_duration_milliseconds_bucket{{{all},le=\"+Inf\"}} 1"),
            format!("istio_request_duration_milliseconds_sum{{{all}}} 1.5"),
            format!("istio_request_duration_milliseconds_count{{{all}}} 1"),
            "# TYPE istio_requests_total counter".to_owned(),
            format!("istio_requests_total{{{all}}} 1"),
        ];
        assert_eq!(istio[20..], rest);
    }

    #[test]
    fn a_destination_reports_itself_and_an_unknown_source() {
        let stats = Stats::default();
        let node = NodeIdentity {
            workload: "reviews-v1".into(),
            ..NodeIdentity::default()
        };
        let labels = RequestLabels {
            grpc: true,
            destination_workload: "reviews-v1".into(),
            ..RequestLabels::default()
        };
        stats.request_metrics(&labels).record(
            200,
            Some(14),
            ResponseFlags::NONE,
            Duration::from_secs(1),
        );
        let text = render(&stats, &node, &Selection::default());
        let line = text
            .lines()
            .find(|line| line.starts_with("istio_requests_total{"))
            .unwrap();
        for part in [
            "reporter=\"destination\"",
            "source_workload=\"unknown\"",
            "destination_workload=\"reviews-v1\"",
            "request_protocol=\"grpc\"",
            "grpc_response_status=\"14\"",
            "response_flags=\"-\"",
            "connection_security_policy=\"none\"",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }

    #[test]
    fn envoys_statistics_have_envoys_names_and_tags() {
        let stats = Stats::default();
        let cluster = stats.cluster("outbound|9080||reviews.default.svc.cluster.local;");
        cluster.upstream_rq_total.add(3);
        cluster.upstream_cx_active.inc();
        cluster
            .responses
            .record(http::StatusCode::SERVICE_UNAVAILABLE, Default::default());
        cluster.upstream_rq_time.record(Duration::from_millis(7));
        let manager = stats.manager("a\"b\\c\nd");
        manager.responses.record(http::StatusCode::OK);
        let listener = stats.listener("0.0.0.0_9080");
        listener.downstream_cx_total.inc();
        stats.server().live.set(1);
        let text = render(&stats, &NodeIdentity::default(), &Selection::default());
        let name = "envoy_cluster_name=\"outbound|9080||reviews.default.svc.cluster.local\"";
        for line in [
            "# TYPE envoy_cluster_upstream_rq_total counter".to_owned(),
            format!("envoy_cluster_upstream_rq_total{{{name}}} 3"),
            "# TYPE envoy_cluster_upstream_cx_active gauge".to_owned(),
            format!("envoy_cluster_upstream_cx_active{{{name}}} 1"),
            format!("envoy_cluster_upstream_rq{{envoy_response_code=\"503\",{name}}} 1"),
            format!("envoy_cluster_upstream_rq_xx{{envoy_response_code_class=\"5\",{name}}} 1"),
            format!("envoy_cluster_upstream_rq_completed{{{name}}} 1"),
            format!("envoy_cluster_upstream_rq_time_bucket{{{name},le=\"10\"}} 1"),
            format!("envoy_cluster_circuit_breakers_default_cx_open{{{name}}} 0"),
            format!("envoy_cluster_outlier_detection_ejections_active{{{name}}} 0"),
            "envoy_http_downstream_rq_xx{envoy_response_code_class=\"2\",\
                envoy_http_conn_manager_prefix=\"a\\\"b\\\\c\\nd\"} 1"
                .to_owned(),
            "envoy_listener_downstream_cx_total{envoy_listener_address=\"0.0.0.0_9080\"} 1"
                .to_owned(),
            "envoy_server_live{} 1".to_owned(),
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
        let used = Selection {
            used_only: true,
            ..Selection::default()
        };
        let used = render(&stats, &NodeIdentity::default(), &used);
        assert!(used.contains("envoy_cluster_upstream_rq_total{"));
        assert!(!used.contains("envoy_cluster_upstream_cx_total"));
        let mut families: Vec<_> = text.lines().filter(|l| l.starts_with("# TYPE")).collect();
        let count = families.len();
        families.dedup();
        assert_eq!(families.len(), count, "each family once");
    }
}
