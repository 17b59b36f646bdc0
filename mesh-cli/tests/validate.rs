//! `meshctl validate`: text, JSON and exit codes.

use std::process::{Command, Output};

use serde_json::Value;

const FILE: &str = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - timout: 3s
    route:
    - destination: {host: reviews}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny, namespace: shop}
spec:
  action: DENNY
---
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {ports: [{port: 9080, name: http}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: fine}
spec: {}
";

fn validate(arguments: &[&str], text: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.yaml"), text).unwrap();
    Command::new(env!("CARGO_BIN_EXE_meshctl"))
        .current_dir(&folder)
        .args(["validate", "a.yaml"])
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn every_istio_document_is_a_line_of_json() {
    let output = validate(&["-o", "json"], FILE);
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let heads: Vec<_> = lines
        .iter()
        .map(|l| {
            format!(
                "{} {} {} {} {}",
                l["line"], l["kind"], l["namespace"], l["name"], l["accepted"]
            )
        })
        .collect();
    assert_eq!(
        heads,
        [
            "1 \"VirtualService\" \"default\" \"reviews\" true",
            "11 \"AuthorizationPolicy\" \"shop\" \"deny\" false",
            "22 \"AuthorizationPolicy\" \"default\" \"fine\" true",
        ]
    );
    let misspelt = &lines[0]["problems"][0];
    assert_eq!(misspelt["severity"], "error");
    assert_eq!(misspelt["code"], "unknown_field");
    assert_eq!(misspelt["field"], "spec.http[0].timout");
    assert_eq!(
        (&misspelt["line"], &misspelt["column"]),
        (&Value::from(7), &Value::from(5))
    );
    assert_eq!(misspelt["suggestion"], "did you mean timeout?");
    let value = lines[1]["problems"]
        .as_array()
        .unwrap()
        .iter()
        .find(|p| p["code"] == "unknown_value")
        .unwrap();
    assert_eq!(value["suggestion"], "did you mean DENY?");
}

#[test]
fn text_says_where_and_what_would_be_right() {
    let output = validate(&[], FILE);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains(
            "a.yaml:7:5: VirtualService default/reviews: spec.http[0].timout: unknown field, it has no effect; did you \
             mean timeout?"
        ),
        "{text}"
    );
    assert!(text.ends_with("4 objects, 2 with errors\n"), "{text}");
}

#[test]
fn what_is_right_exits_with_0() {
    let output = validate(
        &[],
        &FILE.replace("timout", "timeout").replace("DENNY", "ALLOW"),
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}
