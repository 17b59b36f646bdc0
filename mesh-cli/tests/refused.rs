//! What our own data plane refuses of a folder is said where it was written.

use std::process::Command;

const RULES: &str = "apiVersion: v1
kind: Service
metadata: {name: shop}
spec:
  selector: {app: shop}
  ports: [{name: http, port: 80}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop]
  http:
  - route: [{destination: {host: shop}}]
    headers: {request: {set: {x-path: VALUE}}}
";

/// What `meshctl apply` says of the rules with this header value.
fn apply(value: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("given");
    std::fs::write(&file, RULES.replace("VALUE", value)).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_meshctl"))
        .args(["apply", "--dir"])
        .arg(folder.path())
        .arg("-f")
        .arg(&file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_rule_that_the_data_plane_does_not_know_is_named_with_its_line() {
    let said = apply("'%CEL(request.path)%'");
    let expected = "warning: this mesh's data plane refuses \
                    virtualservice-default-shop.yaml:7: VirtualService default/shop: 80: virtual_hosts[";
    assert!(said.contains(expected), "{said}");
    assert!(said.contains("CEL"), "{said}");
}

#[test]
fn what_it_knows_is_not_worth_a_word() {
    assert_eq!(apply("'%REQ(:path)%'"), "");
}
