//! `meshctl analyze`: text, JSON and exit codes.

use std::process::{Command, Output};

use serde_json::Value;

const FILE: &str = "\
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {ports: [{port: 9080, name: PORT}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - route:
    - destination: {host: HOST}
";

fn analyze(arguments: &[&str], port: &str, host: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let text = FILE.replace("PORT", port).replace("HOST", host);
    std::fs::write(folder.path().join("a.yaml"), text).unwrap();
    Command::new(env!("CARGO_BIN_EXE_meshctl"))
        .current_dir(&folder)
        .args(["analyze", "a.yaml"])
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn findings_have_istioctls_keys_and_exit_code() {
    let output = analyze(&["-o", "json"], "http", "reveiws");
    assert_eq!(output.status.code(), Some(79));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        found,
        serde_json::json!([{
            "code": "IST0101",
            "level": "Error",
            "origin": "VirtualService default/reviews",
            "reference": "a.yaml:13",
            "message": "Referenced host not found: \"reveiws\"",
            "documentationUrl": "https://istio.io/v1.30/docs/reference/config/analysis/ist0101/?ref=istioctl-analyze",
        }])
    );
}

#[test]
fn only_findings_at_the_threshold_fail() {
    let output = analyze(&[], "web", "reviews");
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.starts_with("Info [IST0118] (Service default/reviews a.yaml:4) Port name web"),
        "{text}"
    );
    let output = analyze(&["--failure-threshold", "info"], "web", "reviews");
    assert_eq!(output.status.code(), Some(79));
}
