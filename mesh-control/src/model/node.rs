use super::Metadata;

/// A machine of the cluster; its labels say where it is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KubernetesNode {
    pub(crate) metadata: Metadata,
}

impl KubernetesNode {
    /// `region/zone/subzone`, or nothing.
    pub(crate) fn locality(&self) -> String {
        let labels = &self.metadata.labels;
        let first = |names: &[&str]| {
            let found = names.iter().find_map(|name| labels.get(*name));
            found.cloned().unwrap_or_default()
        };
        let region = first(&[
            "topology.kubernetes.io/region",
            "failure-domain.beta.kubernetes.io/region",
        ]);
        let zone = first(&[
            "topology.kubernetes.io/zone",
            "failure-domain.beta.kubernetes.io/zone",
        ]);
        let subzone = first(&["topology.istio.io/subzone"]);
        if region.is_empty() && zone.is_empty() && subzone.is_empty() {
            return String::new();
        }
        format!("{region}/{zone}/{subzone}")
    }
}
