//! `meshctl explain` on the example: what it prints is what the data path does.

use std::path::Path;
use std::process::{Command, Output};

fn explain(scenario: Option<&str>, args: &[&str]) -> Output {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/bookinfo");
    let folder = tempfile::tempdir().unwrap();
    let rules = std::fs::read_to_string(example.join("rules.yaml")).unwrap();
    for entry in std::fs::read_dir(&example).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    if let Some(scenario) = scenario {
        let (_, rest) = rules.split_once("---\n").unwrap();
        std::fs::write(folder.path().join("rules.yaml"), rest).unwrap();
        let from = example.join("scenarios").join(scenario);
        std::fs::copy(from, folder.path().join(scenario)).unwrap();
    }
    Command::new(env!("CARGO_BIN_EXE_meshctl"))
        .arg("explain")
        .arg(folder.path())
        .args(args)
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_split_is_shown_with_its_weights_and_places() {
    let said = text(&explain(
        None,
        &[
            "--from",
            "productpage-v1.default",
            "GET",
            "http://reviews:9080/reviews/0",
        ],
    ));
    for line in [
        "GET http://reviews:9080/reviews/0",
        "listener             0.0.0.0_9080",
        "route configuration  9080",
        "virtual host         reviews.default.svc.cluster.local:9080",
        "route                (no name) (VirtualService default/reviews, rules.yaml:9): prefix /",
        "cluster              outbound|9080|v1|reviews.default.svc.cluster.local, weight 90 of 100 \
         (DestinationRule default/reviews, rules.yaml:15)",
        "cluster              outbound|9080|v3|reviews.default.svc.cluster.local, weight 10 of 100 \
         (DestinationRule default/reviews, rules.yaml:15)",
        "  no endpoints",
    ] {
        assert!(said.lines().any(|l| l == line), "{line}\n{said}");
    }
}

#[test]
fn an_earlier_route_is_shown_with_what_ruled_it_out() {
    let ask = |user: &str| {
        let user = format!("end-user: {user}");
        let args = ["GET", "http://reviews:9080/", "-H", &user];
        text(&explain(Some("reviews-jason-v2.yaml"), &args))
    };
    let (jason, anna) = (ask("jason"), ask("anna"));
    assert!(jason.contains("outbound|9080|v2|"), "{jason}");
    assert!(!jason.contains("  not "), "{jason}");
    assert!(anna.contains("outbound|9080|v1|"), "{anna}");
    let not = "  not                (no name) (VirtualService default/reviews, reviews-jason-v2.yaml:9): \
               header end-user: exact \"jason\", not \"anna\"";
    assert!(anna.lines().any(|l| l == not), "{anna}");
}

#[test]
fn a_gateway_and_its_redirect() {
    let args = ["--from", "istio-ingressgateway", "GET", "http://shop:8080/"];
    let said = text(&explain(None, &args));
    assert!(
        said.contains(
            "answered             302 direct_response, location http://shop:8080/productpage"
        ),
        "{said}"
    );
    let args = [
        "--from",
        "istio-ingressgateway",
        "GET",
        "http://shop:8080/none",
    ];
    assert!(text(&explain(None, &args)).contains("answered             404 route_not_found"));
}

#[test]
fn json_has_the_same() {
    let args = ["GET", "http://details:9080/details/0", "-o", "json"];
    let said: serde_json::Value = serde_json::from_str(&text(&explain(None, &args))).unwrap();
    assert_eq!(said["route"]["object"], "VirtualService default/details");
    assert_eq!(said["reply"], serde_json::Value::Null);
    assert_eq!(
        said["clusters"][0]["object"],
        "DestinationRule default/details"
    );
    assert_eq!(said["clusters"][0]["endpoints"], serde_json::json!([]));
}

#[test]
fn what_is_wrong_is_said() {
    for (args, expected) in [
        (
            &["--from", "nobody", "GET", "http://a/"][..],
            "there are details-v1.default",
        ),
        (&["GET", "/only/a/path"], "write http://HOST:PORT/PATH"),
        (
            &["GET", "http://a/", "-H", "nothing"],
            "write a header as name: value",
        ),
    ] {
        let output = explain(None, args);
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(expected), "{said}");
    }
}
