//! Istio's own bookinfo files, unmodified, as its documentation has them applied.
//!
//! `MESH_SAMPLES` is the folder `samples` of the Istio module.

mod support;

use std::path::{Path, PathBuf};

use mesh_control::{Action, Severity, Store, validate_documents};
use support::open;

fn samples() -> PathBuf {
    PathBuf::from(
        std::env::var_os("MESH_SAMPLES").expect("MESH_SAMPLES is the folder (run by cargo verify)"),
    )
}

fn networking(name: &str) -> String {
    std::fs::read_to_string(samples().join("bookinfo/networking").join(name)).unwrap()
}

/// A folder with the services, the gateway and the subsets.
fn bookinfo() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let copy = |from: &str| {
        let from = samples().join("bookinfo").join(from);
        std::fs::copy(&from, folder.path().join(from.file_name().unwrap())).unwrap();
    };
    copy("platform/kube/bookinfo.yaml");
    copy("networking/bookinfo-gateway.yaml");
    copy("networking/destination-rule-all.yaml");
    folder
}

#[test]
#[ignore = "needs Istio's samples: cargo verify"]
fn the_services_gateway_and_subsets_are_right() {
    let folder = bookinfo();
    assert_eq!(open(folder.path()).problems(), []);
}

#[test]
#[ignore = "needs Istio's samples: cargo verify"]
fn every_http_file_can_be_applied() {
    let mut applied = 0;
    for entry in std::fs::read_dir(samples().join("bookinfo/networking")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if [
            "destination-rule-all-mtls.yaml",
            "egress-rule-google-apis.yaml",
            "certmanager-gateway.yaml",
        ]
        .contains(&name.as_str())
        {
            continue;
        }
        let folder = bookinfo();
        let store = Store::new(folder.path(), "default");
        for result in store.apply(&networking(&name), &name).unwrap() {
            assert_ne!(
                result.action,
                Action::Refused,
                "{name}: {:?}",
                result.problems
            );
            assert!(
                result
                    .problems
                    .iter()
                    .all(|p| p.severity == Severity::Warning),
                "{:?}",
                result.problems
            );
        }
        assert!(
            open(folder.path())
                .problems()
                .iter()
                .all(|p| !p.severity.is_error()),
            "{name}"
        );
        applied += 1;
    }
    assert!(applied >= 15, "only {applied} files");
}

fn refusals(name: &str) -> Vec<String> {
    let text = networking(name);
    let documents = validate_documents(&text, name, "default");
    let refused = documents.iter().filter(|document| !document.is_accepted());
    refused
        .flat_map(|document| &document.problems)
        .map(ToString::to_string)
        .collect()
}

/// The line of a text's nth line that contains something.
fn line_of(name: &str, part: &str, nth: usize) -> usize {
    let text = networking(name);
    let mut lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| line.contains(part));
    1 + lines.nth(nth).unwrap().0
}

#[test]
#[ignore = "needs Istio's samples: cargo verify"]
fn what_needs_tls_is_refused_with_its_place() {
    let name = "destination-rule-all-mtls.yaml";
    let found = refusals(name);
    assert_eq!(found.len(), 4, "{found:?}");
    assert_eq!(
        found[0],
        format!(
            "{name}:{}:7: DestinationRule default/productpage: spec.trafficPolicy.tls.mode: TLS is not supported yet, so \
             mode ISTIO_MUTUAL cannot be used; write mode: DISABLE, or remove tls",
            line_of(name, "mode: ISTIO_MUTUAL", 0)
        )
    );

    let name = "egress-rule-google-apis.yaml";
    let found = refusals(name);
    assert_eq!(
        found,
        [format!(
            "{name}:{}:9: DestinationRule default/originate-tls-for-googleapis: \
             spec.trafficPolicy.portLevelSettings[0].tls.mode: TLS is not supported yet, so mode SIMPLE cannot be used; \
             write mode: DISABLE, or remove tls",
            line_of(name, "mode: SIMPLE", 0)
        )]
    );
}

#[test]
#[ignore = "needs Istio's samples: cargo verify"]
fn the_folder_of_all_of_them_keeps_what_is_right() {
    let folder = bookinfo();
    let copy =
        |name: &str| std::fs::write(Path::join(folder.path(), name), networking(name)).unwrap();
    copy("egress-rule-google-apis.yaml");
    let control = open(folder.path());
    let refused: Vec<_> = control
        .problems()
        .into_iter()
        .filter(|p| p.severity == Severity::Refused)
        .collect();
    assert!(!refused.is_empty());
    assert!(
        refused
            .iter()
            .all(|p| p.file == "egress-rule-google-apis.yaml" && p.line > 0),
        "{refused:?}"
    );
    assert!(
        control
            .config()
            .objects()
            .any(|(id, _)| id.to_string() == "DestinationRule default/reviews")
    );
}
