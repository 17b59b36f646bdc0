//! Istio's own samples, unchanged.

use std::path::PathBuf;

use crate::compare::compare_node;
use crate::oracle::Istiod;
use crate::support::{node, write_status};

/// (service, version, address, port name, port).
type Pod = (&'static str, &'static str, &'static str, &'static str, u16);

const BOOKINFO: &[Pod] = &[
    ("productpage", "v1", "127.9.0.1", "http", 9080),
    ("details", "v1", "127.9.0.2", "http", 9080),
    ("reviews", "v1", "127.9.0.4", "http", 9080),
    ("reviews", "v2", "127.9.0.5", "http", 9080),
    ("reviews", "v3", "127.9.0.6", "http", 9080),
    ("ratings", "v1", "127.9.0.7", "http", 9080),
];

/// The files together, for the gateway and for each pod's sidecar.
async fn compare(files: &[&str], pods: &[Pod]) {
    let samples =
        PathBuf::from(std::env::var_os("MESH_SAMPLES").expect("MESH_SAMPLES is the folder"));
    let folder = tempfile::tempdir().unwrap();
    for (at, file) in files.iter().enumerate() {
        let text = std::fs::read_to_string(samples.join(file)).expect(file);
        std::fs::write(folder.path().join(format!("{at}.yaml")), text).unwrap();
    }
    write_status(folder.path(), pods);
    let istiod = Istiod::start(folder.path()).await;
    let gateway = &[("app", "istio-ingressgateway"), ("istio", "ingressgateway")];
    let mut nodes = vec![node("router", "127.9.0.9", "istio-ingressgateway", gateway)];
    for (service, version, address, ..) in pods {
        let labels = [("app", *service), ("version", *version)];
        nodes.push(node("sidecar", address, service, &labels));
    }
    let mut found = Vec::new();
    for node in nodes {
        found.extend(compare_node(folder.path(), &istiod, node).await);
    }
    assert!(
        found.is_empty(),
        "{files:?}: {} differences:\n{}",
        found.len(),
        found.join("\n")
    );
}

#[tokio::test]
#[ignore = "needs istiod and Istio's samples: cargo verify"]
async fn bookinfo() {
    for rules in [
        "virtual-service-all-v1.yaml",
        "virtual-service-details-v2.yaml",
        "virtual-service-ratings-db.yaml",
        "virtual-service-ratings-mysql.yaml",
        "virtual-service-ratings-mysql-vm.yaml",
        "virtual-service-ratings-test-abort.yaml",
        "virtual-service-ratings-test-delay.yaml",
        "virtual-service-reviews-50-v3.yaml",
        "virtual-service-reviews-80-20.yaml",
        "virtual-service-reviews-90-10.yaml",
        "virtual-service-reviews-jason-v2-v3.yaml",
        "virtual-service-reviews-test-v2.yaml",
        "virtual-service-reviews-v2-v3.yaml",
        "virtual-service-reviews-v3.yaml",
        "fault-injection-details-v1.yaml",
        "../platform/kube/bookinfo-ingress.yaml",
    ] {
        let rules = format!("bookinfo/networking/{rules}");
        // this one brings the only rule for details
        let subsets = match rules.contains("fault-injection") {
            true => "bookinfo/networking/destination-rule-reviews.yaml",
            false => "bookinfo/networking/destination-rule-all.yaml",
        };
        let files = [
            "bookinfo/platform/kube/bookinfo.yaml",
            "bookinfo/networking/bookinfo-gateway.yaml",
            subsets,
            &rules,
        ];
        compare(&files, BOOKINFO).await;
    }
}

#[tokio::test]
#[ignore = "needs istiod and Istio's samples: cargo verify"]
async fn httpbin() {
    let pods = [("httpbin", "v1", "127.9.0.1", "http", 8080)];
    let files = ["httpbin/httpbin.yaml", "httpbin/httpbin-gateway.yaml"];
    compare(&files, &pods).await;
}

#[tokio::test]
#[ignore = "needs istiod and Istio's samples: cargo verify"]
async fn helloworld() {
    let pods = [
        ("helloworld", "v1", "127.9.0.1", "http", 5000),
        ("helloworld", "v2", "127.9.0.2", "http", 5000),
    ];
    let files = [
        "helloworld/helloworld.yaml",
        "helloworld/helloworld-gateway.yaml",
    ];
    compare(&files, &pods).await;
}

#[tokio::test]
#[ignore = "needs istiod and Istio's samples: cargo verify"]
async fn websockets() {
    let pods = [("tornado", "v1", "127.9.0.1", "http", 8888)];
    compare(&["websockets/app.yaml", "websockets/route.yaml"], &pods).await;
}

#[tokio::test]
#[ignore = "needs istiod and Istio's samples: cargo verify"]
async fn tcp_echo() {
    let pods = [
        ("tcp-echo", "v1", "127.9.0.1", "tcp", 9000),
        ("tcp-echo", "v2", "127.9.0.2", "tcp", 9000),
    ];
    let services = "tcp-echo/tcp-echo-services.yaml";
    compare(&[services, "tcp-echo/tcp-echo-all-v1.yaml"], &pods).await;
    compare(
        &["tcp-echo/tcp-echo.yaml", "tcp-echo/tcp-echo-all-v1.yaml"],
        &pods,
    )
    .await;
}
