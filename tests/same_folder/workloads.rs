//! Pods of the test: scripted upstreams at addresses of their own, and the YAML that says so.

use std::net::{Ipv4Addr, SocketAddr};

use mesh_testkit::{
    address::OwnAddress,
    upstream::{Seen, Upstream},
};

/// One pod.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pod {
    pub(crate) service: &'static str,
    pub(crate) version: &'static str,
    /// The name of the port that it serves.
    pub(crate) port: &'static str,
    /// What its answers call it. Pods between which chance decides share a name.
    pub(crate) name: &'static str,
}

impl Pod {
    pub(crate) const fn http(
        service: &'static str,
        version: &'static str,
        name: &'static str,
    ) -> Self {
        Self {
            service,
            version,
            port: "http",
            name,
        }
    }
}

/// Running pods.
pub(crate) struct Workloads {
    running: Vec<(Pod, OwnAddress, Upstream)>,
    /// What the proxy stands before, on its own machine.
    application: Option<Upstream>,
}

impl Workloads {
    pub(crate) async fn start(pods: &[Pod]) -> Self {
        let mut running = Vec::new();
        for pod in pods {
            let own = OwnAddress::claim();
            let upstream = Upstream::start(pod.name, own.with_port(9080)).await;
            running.push((*pod, own, upstream));
        }
        Self {
            running,
            application: None,
        }
    }

    /// No pods but an application beside the proxy, with the port where it listens on 127.0.0.1.
    pub(crate) async fn application() -> (Self, u16) {
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let application = Upstream::start("application", local).await;
        let port = application.address().port();
        let workloads = Self {
            running: Vec::new(),
            application: Some(application),
        };
        (workloads, port)
    }

    /// Takes what all of them saw of a case.
    pub(crate) fn take(&self, case: &str) -> Vec<Seen> {
        let seen = |(_, _, upstream): &(Pod, OwnAddress, Upstream)| upstream.take(case);
        let of_application = self.application.iter().flat_map(|a| a.take(case));
        self.running
            .iter()
            .flat_map(seen)
            .chain(of_application)
            .collect()
    }

    /// Pods and EndpointSlices as a kubelet and the EndpointSlice controller report them.
    pub(crate) fn yaml(&self) -> String {
        let object = |(pod, own, upstream): &(Pod, OwnAddress, Upstream)| {
            let Pod {
                service,
                version,
                port,
                ..
            } = pod;
            let (name, ip, number) = (
                format!("{service}-{version}"),
                own.ip(),
                upstream.address().port(),
            );
            format!(
                "---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {service}, version: {version}}}}}
spec: {{containers: [{{name: app}}]}}
status: {{phase: Running, podIP: {ip}, conditions: [{{type: Ready, status: \"True\"}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}, labels: {{kubernetes.io/service-name: {service}}}}}
addressType: IPv4
endpoints:
- addresses: [{ip}]
  conditions: {{ready: true}}
  targetRef: {{kind: Pod, name: {name}, namespace: default}}
ports: [{{name: {port}, port: {number}, protocol: TCP}}]
"
            )
        };
        self.running.iter().map(object).collect()
    }
}
