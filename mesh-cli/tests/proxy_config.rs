//! `meshctl proxy-config`: what it prints of a dump is what istioctl prints of it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn meshctl(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_meshctl"))
        .args(args)
        .output()
        .unwrap()
}

fn said(args: &[&str]) -> String {
    let output = meshctl(args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/bookinfo")
}

fn of_example(part: &str, more: &[&str]) -> String {
    let example = example();
    let dir = example.to_str().unwrap();
    let args = ["pc", part, "--node", "productpage-v1", "--dir", dir];
    said(&[&args, more].concat())
}

/// `istioctl/pkg` of Istio's module.
fn istioctl() -> PathBuf {
    let output = Command::new("go")
        .args(["list", "-m", "-f", "{{.Dir}}", "istio.io/istio"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/oracles/istiod"))
        .output()
        .expect("go is there (run by cargo verify)");
    Path::new(String::from_utf8(output.stdout).unwrap().trim()).join("istioctl/pkg")
}

#[test]
#[ignore = "needs istiod: cargo verify"]
fn istioctls_own_dumps_are_printed_as_istioctl_prints_them() {
    let istioctl = istioctl();
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();

    let all = istioctl.join("proxyconfig/testdata");
    let dump = all.join("config_dump.json");
    let printed = said(&["pc", "all", "-f", dump.to_str().unwrap()]);
    // secrets are no part of it
    let expected = read(&all.join("config_dump_summary.txt"));
    let parts = expected
        .split("\n\n")
        .filter(|part| !part.starts_with("RESOURCE NAME"));
    assert_eq!(printed, parts.collect::<Vec<_>>().join("\n\n"));

    let data = istioctl.join("writer/envoy/configdump/testdata");
    let mut count = 0;
    for entry in std::fs::read_dir(data.join("routes")).unwrap() {
        let folder = entry.unwrap().path();
        let dump = folder.join("configdump.json");
        let printed = said(&["pc", "routes", "-f", dump.to_str().unwrap()]);
        assert_eq!(printed, read(&folder.join("output.txt")), "{folder:?}");
        count += 1;
    }
    assert!(count >= 3, "{count}");

    let dump = data.join("endpoint/configdump.json");
    let dump = dump.to_str().unwrap();
    for (filter, name) in [
        (&[][..], "emptyfilter"),
        (&["--port", "8080"], "portfilter"),
    ] {
        let of = |more: &[&str]| said(&[&["pc", "ep", "-f", dump], filter, more].concat());
        let file = |kind: &str| read(&data.join(format!("endpoint/{name}_output.{kind}")));
        assert_eq!(of(&[]), file("txt"));
        let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(json(&of(&["-o", "json"])), json(&file("json")));
        let yaml = |text: &str| serde_saphyr::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(yaml(&of(&["-o", "yaml"])), yaml(&file("yaml")));
    }
}

#[test]
fn a_folder_shows_what_it_would_send() {
    let clusters = of_example("clusters", &["--fqdn", "reviews", "--subset", "v1"]);
    assert_eq!(
        clusters,
        "SERVICE FQDN                          PORT     SUBSET     DIRECTION     TYPE     DESTINATION RULE\n\
         reviews.default.svc.cluster.local     9080     v1         outbound      EDS      reviews.default\n"
    );
    let listeners = of_example("l", &["--port", "9090"]);
    assert_eq!(
        listeners,
        "ADDRESSES PORT MATCH                                DESTINATION\n\
         0.0.0.0   9090 Trans: raw_buffer; App: http/1.1,h2c Route: 9090\n\
         0.0.0.0   9090 ALL                                  PassthroughCluster\n"
    );
    let types = of_example("l", &["--port", "9090", "--verbose=false"]);
    assert_eq!(types, "ADDRESSES PORT TYPE\n0.0.0.0   9090 HTTP+TCP\n");
    let routes = of_example("r", &["--name", "9080"]);
    assert!(
        routes
            .lines()
            .any(|l| l.ends_with("/*        reviews.default")),
        "{routes}"
    );

    let json = of_example("r", &["--name", "9080", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["name"], "9080");
    assert!(json[0]["virtualHosts"].is_array(), "{json}");
    let all = of_example("all", &["--with-headers"]);
    for part in ["CLUSTER", "LISTENER", "ROUTE", "ENDPOINTS"] {
        assert!(
            all.contains(&format!("------ {part} INFO ------\n\n")),
            "{all}"
        );
    }
}

#[test]
fn endpoints_are_read_from_the_standard_input() {
    let dump = of_example("all", &["-o", "json"]);
    let mut meshctl = Command::new(env!("CARGO_BIN_EXE_meshctl"))
        .args(["pc", "ep", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = meshctl.stdin.take().unwrap();
    input.write_all(dump.as_bytes()).unwrap();
    drop(input);
    let output = meshctl.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        of_example("ep", &[])
    );
}

/// A folder with a service, its pod and a rule that is wrong.
fn small_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = "apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80}, {name: other, port: 81}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, labels: {app: web}}
spec: {containers: [{name: app, image: example/app:1.0}]}
status: {phase: Running, podIP: 10.1.0.1, conditions: [{type: Ready, status: \"True\"}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 80, protocol: TCP}, {name: other, port: 81, protocol: TCP}]
endpoints: [{addresses: [10.1.0.1], conditions: {ready: true}, targetRef: {kind: Pod, name: web-1, namespace: default}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: closed}
spec: {selector: {matchLabels: {app: web}}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: of-others}
spec: {selector: {matchLabels: {app: other}}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: everybody, namespace: istio-system}
---
apiVersion: v1
kind: Service
metadata: {name: wrong}
spec: {ports: [{port: 70000}]}
";
    std::fs::write(folder.path().join("all.yaml"), text).unwrap();
    folder
}

#[test]
fn filters_hold_in_all_formats_and_problems_of_the_folder_are_said_once() {
    let folder = small_folder();
    let dir = folder.path().to_str().unwrap();
    let source = ["--node", "web-1", "--dir", dir];
    let output = meshctl(&[&["pc", "all", "-o", "json", "--port", "81"], &source[..]].concat());
    let all: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let of_port = |cluster: &serde_json::Value| cluster["name"].as_str().unwrap().contains("|81|");
    assert!(
        all["clusters"].as_array().unwrap().iter().all(of_port),
        "{all}"
    );
    assert_eq!(all["endpoints"].as_array().unwrap().len(), 1, "{all}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.matches("is the number 70000").count(), 1, "{said}");
    for address in ["10.1.0.1", "10.1.0.1:81"] {
        let of = ["pc", "ep", "--address", address, "--port", "81"];
        let table = said_with(&of, &source);
        assert!(table.contains("10.1.0.1:81"), "{address}: {table}");
    }
    assert_eq!(
        said_with(&["pc", "ep", "--address", "10.1.0.2"], &source)
            .lines()
            .count(),
        1
    );
}

fn said_with(args: &[&str], more: &[&str]) -> String {
    said(&[args, more].concat())
}

#[test]
fn policies_of_a_pod_are_described() {
    let folder = small_folder();
    let pod = said(&[
        "describe",
        "pod",
        "web-1",
        "--dir",
        folder.path().to_str().unwrap(),
    ]);
    for line in [
        "PeerAuthentication: everybody.istio-system (all.yaml:29)",
        "AuthorizationPolicy: closed.default (all.yaml:19)",
    ] {
        assert!(pod.lines().any(|l| l == line), "{line}\n{pod}");
    }
    assert!(!pod.contains("of-others"), "{pod}");
}

#[test]
fn a_proxy_is_asked_at_its_admin_port() {
    let dump = of_example("all", &["-o", "json"]);
    let expected = of_example("clusters", &["--direction", "inbound"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let head: Vec<_> = lines
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty())
            .collect();
        let length = dump.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{dump}"
        )
        .unwrap();
        head[0].clone()
    });
    let printed = said(&["pc", "clusters", &address, "--direction", "inbound"]);
    assert_eq!(printed, expected);
    assert_eq!(
        server.join().unwrap(),
        "GET /config_dump?include_eds HTTP/1.1"
    );
}

#[test]
fn what_cannot_be_shown_is_said() {
    let example = example();
    let dir = example.to_str().unwrap();
    for (args, expected) in [
        (
            &["pc", "r", "nobody", "--dir", dir][..],
            "nobody: no such pod or Deployment; there are ",
        ),
        (
            &["pc", "r", "-f", "/nonexistent"],
            "/nonexistent: No such file",
        ),
        (&["pc", "r", "-f", dir], "Is a directory"),
        (
            &["pc", "b", "--node", "reviews-v1", "--dir", dir],
            "config dump has no configuration type envoy.admin.v3.BootstrapConfigDump",
        ),
        (&["ps", "--xds-address", "127.0.0.1:1"], "127.0.0.1:1: "),
        (
            &["pc", "log", "127.0.0.1:1", "--level", "http:debug&x"],
            "\"http:debug&x\": '&' is in no name of a logger or level",
        ),
    ] {
        let output = meshctl(args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && error.contains(expected),
            "{args:?}: {error}"
        );
    }
}

#[test]
fn a_service_and_a_pod_are_described_with_the_places_of_their_rules() {
    let example = example();
    let dir = example.to_str().unwrap();
    let service = said(&["describe", "service", "reviews", "--dir", dir]);
    for line in [
        "Service: reviews.default.svc.cluster.local",
        "   Port: http 9080/HTTP targets pod port 9080",
        "   DestinationRule: reviews.default (rules.yaml:15)",
        "      Subset v1 (version=v1): NO endpoint matches",
        "   VirtualService: reviews.default (rules.yaml:2)",
        "      HTTP route 1. every request: to reviews.default.svc.cluster.local/v1 90 of 100, \
         reviews.default.svc.cluster.local/v3 10 of 100 (line 9)",
    ] {
        assert!(service.lines().any(|l| l == line), "{line}\n{service}");
    }
    let pod = said(&["describe", "pod", "productpage-v1", "--dir", dir]);
    for line in [
        "Pod: productpage-v1.default",
        "Service: productpage.default.svc.cluster.local",
        "   Exposed at Gateway default/bookinfo by:",
        "   VirtualService: bookinfo.default (gateway.yaml:16)",
    ] {
        assert!(pod.lines().any(|l| l == line), "{line}\n{pod}");
    }
}
