use std::collections::BTreeMap;
use std::fmt;

use crate::validate::part::Part;
use crate::yaml::{Mark, Node, Report, Value};

/// An object of any kind, as it is written.
#[derive(Debug)]
pub(super) struct Object<'a> {
    pub(super) group: &'a str,
    pub(super) kind: &'a str,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) labels: BTreeMap<&'a str, &'a str>,
    pub(super) annotations: Vec<(&'a str, Part<'a>)>,
    pub(super) root: Part<'a>,
    pub(super) spec: Part<'a>,
    /// Empty for what nobody wrote.
    pub(super) file: &'a str,
    pub(super) line: u32,
}

impl fmt::Display for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.full_name())
    }
}

/// Kinds that have no namespace.
const CLUSTER_WIDE: [&str; 9] = [
    "Namespace",
    "Node",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "GatewayClass",
    "PersistentVolume",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
];

impl<'a> Object<'a> {
    pub(super) fn read(
        node: &'a Node,
        file: &'a str,
        default_namespace: &str,
        report: &'a Report,
    ) -> Option<Self> {
        static EMPTY: Node = Node {
            value: Value::Map(Vec::new()),
            mark: Mark { line: 0, column: 0 },
        };
        let root = Part::new(report.at(node, ""));
        let kind = root.text("kind");
        let api_version = root.text("apiVersion");
        if kind.is_empty() || api_version.is_empty() {
            return None;
        }
        let metadata = root.get("metadata");
        let text = |name: &str| metadata.as_ref().map(|m| m.text(name)).unwrap_or_default();
        let namespace = match text("namespace") {
            _ if CLUSTER_WIDE.contains(&kind) => "",
            "" => default_namespace,
            namespace => namespace,
        };
        let map = |name: &str| metadata.as_ref().map(|m| m.map(name)).unwrap_or_default();
        Some(Object {
            group: api_version.split_once('/').map_or("", |(group, _)| group),
            kind,
            namespace: namespace.to_owned(),
            name: text("name").to_owned(),
            labels: map("labels")
                .into_iter()
                .map(|(key, value)| (key, value.as_text()))
                .collect(),
            annotations: map("annotations"),
            spec: root
                .get("spec")
                .unwrap_or_else(|| Part::new(report.at(&EMPTY, "spec"))),
            root,
            file,
            line: node.mark.line,
        })
    }

    /// `namespace/name`, or `name`.
    pub(super) fn full_name(&self) -> String {
        match self.namespace.is_empty() {
            true => self.name.clone(),
            false => format!("{}/{}", self.namespace, self.name),
        }
    }

    pub(super) fn label(&self, name: &str) -> Option<&'a str> {
        self.labels.get(name).copied()
    }

    pub(super) fn annotation(&self, name: &str) -> Option<&'a str> {
        let (_, value) = self.annotations.iter().find(|(key, _)| *key == name)?;
        Some(value.as_text())
    }

    /// Where its name is.
    pub(super) fn name_mark(&self) -> Mark {
        self.root
            .get("metadata")
            .and_then(|metadata| metadata.get("name"))
            .map(|name| name.mark())
            .unwrap_or_default()
    }
}

/// Labels that something must have; none are had by all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selector<'a>(pub(super) BTreeMap<&'a str, &'a str>);

impl<'a> Selector<'a> {
    /// The labels of a field.
    pub(super) fn of(part: &Part<'a>, field: &str) -> Self {
        let labels = part.map(field).into_iter();
        Selector(labels.map(|(key, value)| (key, value.as_text())).collect())
    }

    pub(super) fn matches(&self, labels: &BTreeMap<&str, &str>) -> bool {
        self.0
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Selector<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> = self.0.iter().map(|(k, v)| format!("{k}={v}")).collect();
        f.write_str(&pairs.join(","))
    }
}

/// All objects, and the mesh configuration.
pub(super) struct World<'a> {
    pub(super) objects: Vec<Object<'a>>,
    pub(super) mesh: Part<'a>,
}

impl<'a> World<'a> {
    /// The objects of a kind; of two groups that have the kind, Istio's or Kubernetes' own.
    pub(super) fn all(&self, kind: &str) -> impl Iterator<Item = &Object<'a>> {
        self.objects
            .iter()
            .filter(move |o| o.kind == kind && o.group != "gateway.networking.k8s.io")
    }

    pub(super) fn find(&self, kind: &str, namespace: &str, name: &str) -> Option<&Object<'a>> {
        self.all(kind)
            .find(|o| o.namespace == namespace && o.name == name)
    }

    pub(super) fn root_namespace(&self) -> &'a str {
        match self.mesh.text("rootNamespace") {
            "" => "istio-system",
            namespace => namespace,
        }
    }

    /// Pods that a selector matches.
    pub(super) fn pods(&self, selector: &Selector<'_>) -> impl Iterator<Item = &Object<'a>> {
        self.all("Pod")
            .filter(move |pod| selector.matches(&pod.labels))
    }

    /// Whether a pod or a Deployment's pods get a sidecar.
    pub(super) fn is_in_mesh(
        &self,
        namespace: &str,
        containers: &[Part<'_>],
        labels: &BTreeMap<&str, &str>,
        annotation: Option<&str>,
    ) -> bool {
        const INJECT: &str = "sidecar.istio.io/inject";
        if proxy_image(containers).is_some() {
            return true;
        }
        if let Some(asked) = labels.get(INJECT).copied().or(annotation) {
            return asked == "true";
        }
        self.find("Namespace", "", namespace)
            .is_some_and(|namespace| namespace.label("istio-injection") == Some("enabled"))
    }
}

/// The image of the sidecar among containers.
pub(super) fn proxy_image<'a>(containers: &[Part<'a>]) -> Option<&'a str> {
    let proxy = containers
        .iter()
        .find(|c| c.text("name") == "istio-proxy")?;
    Some(proxy.text("image")).filter(|image| !image.is_empty())
}

/// Containers of a pod's spec, those that come first included.
pub(super) fn containers<'a>(spec: &Part<'a>) -> Vec<Part<'a>> {
    let mut all = spec.list("containers");
    all.extend(spec.list("initContainers"));
    all
}

pub(super) fn is_ambient(pod: &Object<'_>) -> bool {
    pod.annotation("ambient.istio.io/redirection") == Some("enabled")
}
