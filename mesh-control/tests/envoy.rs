//! A real Envoy on this control plane: it must take everything that is served, as sidecar and as gateway.

mod support;

use std::path::Path;
use std::time::Duration;

use mesh_control::ControlPlane;
use mesh_testkit::address::OwnAddress;
use mesh_testkit::exchange::get;
use mesh_testkit::process::{Program, Proxy};
use support::{bookinfo, bootstrap, copy_of, open, serve, write_status};

const PODS: [(&str, &str, &str, &str, u16); 4] = [
    ("productpage", "v1", "127.9.1.1", "http", 9080),
    ("details", "v1", "127.9.1.2", "http", 9080),
    ("reviews", "v1", "127.9.1.3", "http", 9080),
    ("inventory", "v1", "127.9.1.4", "grpc", 9090),
];

/// Waits until the client uses everything that was sent to it, and nothing was refused.
async fn synced(control: &ControlPlane, types: usize) {
    let synced = async {
        loop {
            let status = control.status();
            let refused: Vec<_> = status
                .iter()
                .flat_map(|c| &c.types)
                .filter_map(|t| t.nack.as_ref())
                .collect();
            assert!(refused.is_empty(), "Envoy refused: {refused:?}");
            if status
                .iter()
                .any(|c| c.types.len() == types && c.types.iter().all(|t| t.is_synced()))
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(20), synced).await;
    assert!(done.is_ok(), "not synced: {:?}", control.status());
}

async fn check(
    source: &Path,
    kind: &str,
    name: &str,
    labels: &str,
    api_type: &str,
) -> (tempfile::TempDir, ControlPlane, Proxy, OwnAddress) {
    let folder = copy_of(source);
    write_status(folder.path(), &PODS);
    let control = open(folder.path());
    let xds = serve(&control).await;
    let own = OwnAddress::claim();
    let admin = own.with_port(15000);
    let bootstrap = bootstrap(
        kind,
        &own.ip().to_string(),
        name,
        labels,
        xds,
        admin,
        api_type,
    );
    let envoy = Proxy::start(Program::Envoy, &bootstrap, admin).await;
    synced(&control, 4).await;
    let stats = envoy.admin("/stats?filter=update_rejected").await.unwrap();
    let stats = String::from_utf8_lossy(&stats.body).into_owned();
    assert!(stats.lines().all(|line| line.ends_with(": 0")), "{stats}");
    (folder, control, envoy, own)
}

fn rules() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rules")
}

#[tokio::test]
#[ignore = "needs Envoy: cargo verify"]
async fn a_sidecar_takes_bookinfo_and_edits_of_it() {
    takes_edits("GRPC").await;
}

#[tokio::test]
#[ignore = "needs Envoy: cargo verify"]
async fn a_sidecar_takes_bookinfo_and_edits_of_it_incrementally() {
    takes_edits("DELTA_GRPC").await;
}

async fn takes_edits(api_type: &str) {
    let (folder, control, envoy, _own) = check(
        &bookinfo(),
        "sidecar",
        "productpage",
        "{app: productpage, version: v1}",
        api_type,
    )
    .await;
    let rules = folder.path().join("rules.yaml");
    let text = std::fs::read_to_string(&rules).unwrap();
    // a changed cluster is warmed anew: it must get its endpoints again
    std::fs::write(
        &rules,
        text.replace("connectTimeout: 1s", "connectTimeout: 2s"),
    )
    .unwrap();
    control.reload();
    synced(&control, 4).await;
    let dump = envoy
        .admin("/config_dump?resource=dynamic_active_clusters&name_regex=.*details.*")
        .await
        .unwrap();
    let dump = String::from_utf8_lossy(&dump.body).into_owned();
    assert!(dump.contains("\"connect_timeout\": \"2s\""), "{dump}");
}

#[tokio::test]
#[ignore = "needs Envoy: cargo verify"]
async fn a_sidecar_takes_every_rule() {
    check(
        &rules(),
        "sidecar",
        "productpage",
        "{app: productpage, version: v1}",
        "GRPC",
    )
    .await;
}

#[tokio::test]
#[ignore = "needs Envoy: cargo verify"]
async fn a_gateway_takes_bookinfo_and_answers() {
    let (_folder, _control, _envoy, own) = check(
        &bookinfo(),
        "router",
        "istio-ingressgateway",
        "{istio: ingressgateway}",
        "DELTA_GRPC",
    )
    .await;
    let answer = get(own.with_port(8080), "/").await.unwrap();
    assert_eq!(
        (answer.status, answer.header("server")),
        (302, Some("istio-envoy"))
    );
    assert!(
        answer
            .header("location")
            .is_some_and(|to| to.ends_with("/productpage")),
        "{answer:?}"
    );
    assert_eq!(
        get(own.with_port(8080), "/nowhere").await.unwrap().status,
        404
    );
}
