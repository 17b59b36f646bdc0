//! What a kubelet and the endpoint controller would report: Pods and EndpointSlices, as YAML.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::template::ContainerPort;
use crate::config::Config;
use crate::model::{Service, TargetPort};

/// A pod as its documents show it.
#[derive(Clone, Debug)]
pub(super) struct PodStatus {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) workload: String,
    pub(super) template_hash: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) service_account: String,
    pub(super) container: String,
    pub(super) image: String,
    pub(super) ports: Vec<ContainerPort>,
    pub(super) address: Ipv4Addr,
    pub(super) ready: bool,
    pub(super) terminating: bool,
    /// Its process ended; such a pod has no endpoints.
    pub(super) failed: bool,
}

/// All documents: the pods in their order, then a slice per service with a selector.
pub(super) fn documents(pods: &[PodStatus], config: &Config) -> String {
    let mut text = String::from("# Written by the local runner. Edits are lost.\n");
    for pod in pods {
        push_pod(&mut text, pod);
    }
    for service in config.services.iter().filter(|s| !s.selector.is_empty()) {
        push_slice(&mut text, service, pods);
    }
    text
}

/// The labels that a pod has in the end.
pub(super) fn pod_labels(
    labels: &BTreeMap<String, String>,
    template_hash: &str,
) -> BTreeMap<String, String> {
    let mut labels = labels.clone();
    labels.insert("pod-template-hash".to_owned(), template_hash.to_owned());
    labels
}

// Writing to a String cannot fail; `let _` says so without a panic.

fn push_pod(text: &mut String, pod: &PodStatus) {
    let replica_set = format!("{}-{}", pod.workload, pod.template_hash);
    let phase = if pod.failed { "Failed" } else { "Running" };
    let _ = write!(
        text,
        "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: {}\n  namespace: {}\n  labels:\n",
        quoted(&pod.name),
        quoted(&pod.namespace),
    );
    for (key, value) in pod_labels(&pod.labels, &pod.template_hash) {
        let _ = writeln!(text, "    {}: {}", quoted(&key), quoted(&value));
    }
    let _ = write!(
        text,
        "  ownerReferences:\n  - apiVersion: apps/v1\n    kind: ReplicaSet\n    name: {}\nspec:\n  \
         serviceAccountName: {}\n  containers:\n  - name: {}\n    image: {}\n",
        quoted(&replica_set),
        quoted(&pod.service_account),
        quoted(&pod.container),
        quoted(&pod.image),
    );
    if !pod.ports.is_empty() {
        text.push_str("    ports:\n");
    }
    for port in &pod.ports {
        let _ = writeln!(text, "    - containerPort: {}", port.port);
        if !port.name.is_empty() {
            let _ = writeln!(text, "      name: {}", quoted(&port.name));
        }
    }
    let _ = write!(
        text,
        "status:\n  phase: {phase}\n  podIP: {}\n  conditions:\n  - type: Ready\n    status: {:?}\n",
        pod.address,
        if pod.ready { "True" } else { "False" },
    );
}

fn push_slice(text: &mut String, service: &Service, pods: &[PodStatus]) {
    let metadata = &service.metadata;
    let selected = |pod: &&PodStatus| {
        pod.namespace == metadata.namespace
            && !pod.failed
            && service
                .selector
                .iter()
                .all(|(key, value)| pod.labels.get(key) == Some(value))
    };
    let pods: Vec<_> = pods.iter().filter(selected).collect();
    let _ = write!(
        text,
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {}\n  namespace: {}\n  labels:\n    \
         kubernetes.io/service-name: {}\naddressType: IPv4\n",
        quoted(&format!("{}-local", metadata.name)),
        quoted(&metadata.namespace),
        quoted(&metadata.name),
    );
    text.push_str(if service.ports.is_empty() {
        "ports: []\n"
    } else {
        "ports:\n"
    });
    for port in &service.ports {
        let target = match &port.target {
            TargetPort::Number(number) => Some(*number),
            // a named port is what the first pod that has it says; pods of one service agree here
            TargetPort::Name(name) => {
                let ports = pods.iter().flat_map(|pod| &pod.ports);
                ports
                    .filter(|p| p.name == *name)
                    .map(|p| u32::from(p.port))
                    .next()
            }
        };
        if let Some(target) = target {
            let _ = write!(text, "- name: {}\n  port: {target}\n", quoted(&port.name));
        }
    }
    text.push_str(if pods.is_empty() {
        "endpoints: []\n"
    } else {
        "endpoints:\n"
    });
    for pod in pods {
        let _ = write!(
            text,
            "- addresses: [{}]\n  conditions: {{ready: {}, serving: {}, terminating: {}}}\n  targetRef: {{kind: Pod, \
             namespace: {}, name: {}}}\n",
            quoted(&pod.address.to_string()),
            pod.ready && !pod.terminating,
            pod.ready,
            pod.terminating,
            quoted(&pod.namespace),
            quoted(&pod.name),
        );
    }
}

/// A text as a YAML scalar that stays a text.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphabetic() || matches!(c, '-' | '/');
    let is_word = matches!(
        text,
        "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
    );
    let starts_well = text.starts_with(|c: char| c.is_ascii_lowercase());
    if starts_well
        && !is_word
        && text
            .chars()
            .all(|c| plain(c) || c.is_ascii_digit() || c == '.')
    {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Folder;

    fn pod(name: &str, last: u8) -> PodStatus {
        PodStatus {
            name: name.to_owned(),
            namespace: "default".to_owned(),
            workload: "details-v1".to_owned(),
            template_hash: "7f".to_owned(),
            labels: [("app", "details"), ("version", "1")]
                .map(|(k, v)| (k.into(), v.into()))
                .into(),
            service_account: "default".to_owned(),
            container: "c".to_owned(),
            image: "docker.io/x:1".to_owned(),
            ports: vec![ContainerPort {
                name: "web".to_owned(),
                port: 9080,
            }],
            address: Ipv4Addr::new(127, 200, 0, last),
            ready: true,
            terminating: false,
            failed: false,
        }
    }

    const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: details}\nspec:\n  selector: {app: details}\n  \
        ports: [{name: http, port: 80, targetPort: web}]\n";

    #[test]
    fn the_folder_reads_what_is_written() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("s.yaml"), SERVICE).unwrap();
        let mut folder = Folder::open(dir.path(), "default").unwrap();
        let mut pods = vec![
            pod("details-v1-7f-1", 10),
            pod("details-v1-7f-2", 11),
            pod("details-v1-7f-3", 12),
        ];
        pods[1].terminating = true;
        pods[2].failed = true;
        let text = documents(&pods, &folder.config());
        std::fs::create_dir(dir.path().join(".status")).unwrap();
        std::fs::write(dir.path().join(".status/pods.yaml"), &text).unwrap();
        folder.reload().unwrap();
        assert_eq!(folder.problems(), [], "{text}");
        let config = folder.config();
        assert_eq!(config.pods.len(), 3);
        assert_eq!(config.pods[0].workload, "details-v1");
        assert_eq!(config.pods[0].metadata.labels["version"], "1");
        assert!(config.pods[0].ready && !config.pods[2].ready);
        let slice = &config.slices[0];
        assert_eq!(
            (&*slice.service, &slice.ports[..]),
            ("details", &[("http".to_owned(), 9080)][..])
        );
        let ready: Vec<_> = slice
            .endpoints
            .iter()
            .map(|e| (&*e.addresses[0], e.ready, e.terminating))
            .collect();
        assert_eq!(
            ready,
            [("127.200.0.10", true, false), ("127.200.0.11", false, true)]
        );
        assert_eq!(
            slice.endpoints[0].pod,
            Some(("default".into(), "details-v1-7f-1".into()))
        );
    }

    #[test]
    fn texts_stay_texts() {
        for (text, yaml) in [
            ("v1", "v1"),
            ("true", "\"true\""),
            ("1", "\"1\""),
            ("a: b", "\"a: b\""),
            ("", "\"\""),
        ] {
            assert_eq!(quoted(text), yaml);
        }
    }
}
