//! What should run: Deployments, and a gateway where one is asked for and nobody provides it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::container;
use super::image::{ImageTable, Program};
use super::template::{Check, Probe, Template};
use crate::config::Config;
use crate::model::Other;
use crate::problem::Problem;
use crate::yaml::Report;

/// The label by which Istio's gateways select their pods, and its usual value.
const GATEWAY_LABEL: &str = "istio";
const GATEWAY_VALUE: &str = "ingressgateway";
/// The name and namespace of Istio's own gateway.
const GATEWAY_NAME: &str = "istio-ingressgateway";
const GATEWAY_NAMESPACE: &str = "istio-system";
/// The admin port of every pod.
pub(super) const ADMIN_PORT: u16 = 15_000;

/// A Deployment: so many pods of one template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Workload {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) replicas: u32,
    pub(super) template: Template,
}

/// Everything that should run, in the folder's order, and what is wrong with the rest. `proxy` is mesh-proxy.
pub(super) fn desired(
    config: &Config,
    images: &ImageTable,
    proxy: &Path,
) -> (Vec<Workload>, Vec<Problem>) {
    let mut workloads = Vec::new();
    let mut problems = Vec::new();
    for other in config.others() {
        match other.kind {
            "Deployment" => {
                let file = &*other.metadata.provenance.file;
                let object = format!(
                    "Deployment {}/{}",
                    other.metadata.namespace, other.metadata.name
                );
                let report = Report::new(file, &object);
                let workload = read(&report, other, images);
                if !report.is_refused() {
                    workloads.push(workload);
                }
                problems.extend(report.into_problems());
            }
            "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" | "CronJob" => {
                problems.extend(not_run(other))
            }
            _ => {}
        }
    }
    let is_gateway = |w: &Workload| {
        w.template
            .labels
            .get(GATEWAY_LABEL)
            .is_some_and(|v| v == GATEWAY_VALUE)
    };
    let asks = |selector: &BTreeMap<String, String>| {
        selector
            .iter()
            .all(|(k, v)| k == GATEWAY_LABEL && v == GATEWAY_VALUE)
    };
    if !workloads.iter().any(is_gateway)
        && config
            .gateways
            .iter()
            .any(|g| g.services.is_none() && asks(&g.selector))
    {
        workloads.push(gateway(proxy));
    }
    (workloads, problems)
}

/// The port that a browser is sent to: the first HTTP server of a Gateway that the ingress gateway serves.
pub(super) fn gateway_port(config: &Config) -> Option<u16> {
    let server = config
        .gateways
        .iter()
        .flat_map(|g| &g.servers)
        .find(|s| s.protocol.is_http())?;
    u16::try_from(server.port).ok()
}

fn gateway(proxy: &Path) -> Workload {
    let labels = [
        ("app", GATEWAY_NAME),
        (GATEWAY_LABEL, GATEWAY_VALUE),
        ("service.istio.io/canonical-name", GATEWAY_NAME),
        ("service.istio.io/canonical-revision", "latest"),
    ];
    Workload {
        name: GATEWAY_NAME.to_owned(),
        namespace: GATEWAY_NAMESPACE.to_owned(),
        replicas: 1,
        template: Template {
            labels: labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            service_account: format!("{GATEWAY_NAME}-service-account"),
            container: "istio-proxy".to_owned(),
            image: "proxyless/mesh-proxy".to_owned(),
            program: Program::new([
                &*proxy.to_string_lossy(),
                "--concurrency",
                "1",
                "-c",
                "$(ENVOY_BOOTSTRAP)",
            ]),
            env: Vec::new(),
            ports: Vec::new(),
            probe: Probe {
                period: Duration::from_secs(1),
                ..Probe::of(Check::Http {
                    port: ADMIN_PORT,
                    path: "/ready".to_owned(),
                })
            },
            grace: Duration::from_secs(30),
            is_gateway: true,
        },
    }
}

fn not_run(other: &Other) -> Vec<Problem> {
    let report = Report::new(
        &other.metadata.provenance.file,
        &format!(
            "{} {}/{}",
            other.kind, other.metadata.namespace, other.metadata.name
        ),
    );
    report.at(&other.document, "kind").without_effect(
        format_args!("the local runner does not run a {}", other.kind),
        "write a Deployment",
    );
    report.into_problems()
}

fn read(report: &Report, other: &Other, images: &ImageTable) -> Workload {
    let root = report.at(&other.document, "").fields();
    let spec = root.require("spec").map(|at| at.fields());
    let replicas = spec
        .as_ref()
        .and_then(|s| s.get("replicas"))
        .map_or(1, |at| at.number(200));
    let template = spec
        .as_ref()
        .and_then(|s| s.require("template"))
        .map(|at| at.fields());
    let metadata = template
        .as_ref()
        .and_then(|t| t.get("metadata"))
        .map(|at| at.fields());
    let labels = metadata.map(|m| m.string_map("labels")).unwrap_or_default();
    let pod = template
        .as_ref()
        .and_then(|t| t.require("spec"))
        .map(|at| at.fields());
    let mut service_account = pod
        .as_ref()
        .map(|p| p.string("serviceAccountName"))
        .unwrap_or_default();
    if service_account.is_empty() {
        service_account = "default".to_owned();
    }
    let grace = pod
        .as_ref()
        .and_then(|p| p.get("terminationGracePeriodSeconds"))
        .map_or(30, |at| at.number(3600));
    let containers = pod.as_ref().and_then(|p| p.require("containers"));
    let container = containers.as_ref().and_then(|at| {
        let first = at.items().into_iter().next();
        if first.is_none() {
            at.refuse("has no container", "add one");
        }
        first
    });
    let mut result = Workload {
        name: other.metadata.name.clone(),
        namespace: other.metadata.namespace.clone(),
        replicas,
        template: Template {
            is_gateway: labels
                .get(GATEWAY_LABEL)
                .is_some_and(|v| v == GATEWAY_VALUE),
            labels,
            service_account,
            container: String::new(),
            image: String::new(),
            program: Program::default(),
            env: Vec::new(),
            ports: Vec::new(),
            probe: Probe::of(Check::None),
            grace: Duration::from_secs(grace.into()),
        },
    };
    if let Some(at) = container {
        container::read(&at, images, &mut result.template);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::super::template::EnvValue;
    use super::*;
    use crate::Folder;

    fn read_folder(text: &str) -> (Vec<Workload>, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.yaml"), text).unwrap();
        let folder = Folder::open(dir.path(), "default").unwrap();
        let images = ImageTable::new(Path::new("meshctl"));
        let (workloads, problems) = desired(&folder.config(), &images, Path::new("mesh-proxy"));
        (
            workloads,
            problems.iter().map(ToString::to_string).collect(),
        )
    }

    fn deployment(container: &str) -> String {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d}}\nspec:\n  template:\n    \
             metadata: {{labels: {{app: d}}}}\n    spec:\n      containers:\n      - {container}\n"
        )
    }

    #[test]
    fn a_deployment_with_everything() {
        let container = "{name: c, image: examples-bookinfo-reviews-v2, args: [-v], ports: [{name: http, containerPort: 9080}], \
             env: [{name: A, value: b}, {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}], \
             readinessProbe: {httpGet: {path: /health, port: http}, periodSeconds: 2}}";
        let (workloads, problems) = read_folder(&deployment(container));
        assert_eq!(problems, Vec::<String>::new());
        let [workload] = &workloads[..] else {
            panic!("{workloads:?}")
        };
        assert_eq!(
            (workload.replicas, &*workload.name, &*workload.namespace),
            (1, "d", "default")
        );
        let template = &workload.template;
        assert_eq!(
            template.program.command,
            ["meshctl", "demo-service", "reviews", "-v"]
        );
        assert_eq!(template.env[0], ("A".into(), EnvValue::Text("b".into())));
        assert_eq!(template.env[1], ("IP".into(), EnvValue::PodIp));
        assert_eq!(
            template.probe.check,
            Check::Http {
                port: 9080,
                path: "/health".into()
            }
        );
        assert_eq!(template.probe.period, Duration::from_secs(2));
        assert_eq!(template.service_account, "default");
    }

    #[test]
    fn an_unknown_image_is_refused_with_its_place() {
        let (workloads, problems) = read_folder(&deployment("{name: c, image: nginx}"));
        assert_eq!(workloads, []);
        assert!(
            problems[0].starts_with(
                "a.yaml:9:19: Deployment default/d: spec.template.spec.containers[0].image: no program"
            ),
            "{problems:?}"
        );
        let (workloads, problems) =
            read_folder(&deployment("{name: c, image: nginx, command: [/bin/true]}"));
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(workloads[0].template.program.command, ["/bin/true"]);
    }

    #[test]
    fn a_gateway_brings_its_pod_unless_a_deployment_does() {
        let gateway = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec:\n  \
             selector: {istio: ingressgateway}\n  servers:\n  - port: {number: 8080, name: http, protocol: HTTP}\n    hosts: ['*']\n";
        let (workloads, _) = read_folder(gateway);
        assert_eq!(workloads[0].name, GATEWAY_NAME);
        assert!(workloads[0].template.is_gateway);
        let own = deployment("{name: c, image: x, command: [run]}")
            .replace("app: d", "istio: ingressgateway");
        let (workloads, _) = read_folder(&format!("{gateway}---\n{own}"));
        assert_eq!(
            workloads.iter().map(|w| &*w.name).collect::<Vec<_>>(),
            ["d"]
        );
        let (workloads, _) = read_folder(&gateway.replace("ingressgateway", "other"));
        assert_eq!(workloads, []);
    }

    #[test]
    fn what_is_not_run_is_said() {
        let text =
            deployment("{name: c, image: x}").replace("kind: Deployment", "kind: StatefulSet");
        let (workloads, problems) = read_folder(&text);
        assert_eq!(workloads, []);
        assert!(
            problems[0].contains("does not run a StatefulSet; write a Deployment"),
            "{problems:?}"
        );
    }
}
