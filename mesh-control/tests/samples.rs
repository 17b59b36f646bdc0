//! Istio's own bookinfo files, unmodified, as its documentation has them applied.
//!
//! `MESH_SAMPLES` is the folder `samples` of the Istio module.

mod support;

use std::path::PathBuf;

use mesh_control::{Action, Severity, Store};
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
        if name == "certmanager-gateway.yaml" {
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

#[test]
#[ignore = "needs Istio's samples: cargo verify"]
fn the_folder_of_all_of_them_keeps_what_is_right() {
    const WRONG: &str = "egress-rule-google-apis.yaml";
    let folder = bookinfo();
    let wrong = networking(WRONG).replace("mode: SIMPLE", "mode: SIMPEL");
    std::fs::write(folder.path().join(WRONG), wrong).unwrap();
    let control = open(folder.path());
    let refused: Vec<_> = control
        .problems()
        .into_iter()
        .filter(|p| p.severity == Severity::Refused)
        .collect();
    assert!(!refused.is_empty());
    assert!(
        refused.iter().all(|p| p.file == WRONG && p.line > 0),
        "{refused:?}"
    );
    assert!(
        control
            .config()
            .objects()
            .any(|(id, _)| id.to_string() == "DestinationRule default/reviews")
    );
}
