//! Mesh configuration of a folder: where it stands, and switches that are ours.

mod support;

use mesh_proto::envoy::config::listener::v3::Listener;
use mesh_proto::envoy::config::route::v3::RouteConfiguration;
use mesh_proto::envoy::config::route::v3::route::Action;
use mesh_proto::envoy::config::route::v3::route_match::PathSpecifier;
use support::{Client, node, open};

const MAP: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |-
    accessLogFile: /dev/stdout
    defaultConfig: {discoveryAddress: istiod.istio-system.svc:15012}
    enablePrometheusMerge: true
    rootNamespace: istio-system
    trustDomain: cluster.local
  meshNetworks: 'networks: {}'
";

async fn logs(files: &[(&str, &str)]) -> usize {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let control = open(folder.path());
    let refused = control
        .problems()
        .into_iter()
        .filter(|p| p.severity != mesh_control::Severity::Warning);
    assert_eq!(refused.collect::<Vec<_>>(), []);
    let mut client = Client::new(&control, node("sidecar", "127.9.0.1", "web", &[]));
    let listeners: Vec<Listener> = client.fetch(&[]).await;
    listeners.iter().map(|l| l.access_log.len()).sum()
}

#[tokio::test]
async fn the_config_map_counts_where_there_is_no_mesh_yaml() {
    assert_eq!(logs(&[]).await, 0);
    assert_eq!(logs(&[("map.yaml", MAP)]).await, 2);
    let own = ("mesh.yaml", "accessLogFile: ''\n");
    assert_eq!(logs(&[("map.yaml", MAP), own]).await, 0);
}

#[test]
fn what_is_wrong_in_the_config_map_has_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let text = MAP.replace("rootNamespace", "rootNameSpace");
    std::fs::write(folder.path().join("map.yaml"), text).unwrap();
    let problems = open(folder.path()).problems();
    let found = problems
        .iter()
        .find(|p| p.field.contains("rootNameSpace") || p.message.contains("rootNameSpace"));
    assert_eq!(found.map(|p| p.line), Some(9), "{problems:?}");
}

const INGRESS: &str = "apiVersion: extensions/v1beta1
kind: Ingress
metadata:
  name: web
  annotations:
    kubernetes.io/ingress.class: nginx
    nginx.ingress.kubernetes.io/rewrite-target: /$2
spec:
  rules:
  - host: web.example.com
    http: {paths: [{path: '/app(/|$)(.*)', backend: {serviceName: web, servicePort: 80}}]}
";

async fn routes(mesh: &str) -> RouteConfiguration {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mesh.yaml"), mesh).unwrap();
    std::fs::write(folder.path().join("web.yaml"), INGRESS).unwrap();
    let control = open(folder.path());
    assert_eq!(control.problems(), []);
    let gateway = node(
        "router",
        "127.9.0.9",
        "gate",
        &[("istio", "ingressgateway")],
    );
    let mut routes = Client::new(&control, gateway).fetch(&["http.80"]).await;
    routes.remove(0)
}

/// The paths that ingress-nginx would rewrite, by the annotation that workshops use.
#[tokio::test]
async fn nginx_is_served_where_mesh_yaml_says_so() {
    assert_eq!(routes("ingressNginx: false\n").await.virtual_hosts, []);
    let served = routes("ingressNginx: true\n").await;
    let route = &served.virtual_hosts[0].routes[0];
    let Some(PathSpecifier::SafeRegex(path)) = route
        .r#match
        .as_ref()
        .and_then(|m| m.path_specifier.as_ref())
    else {
        panic!("{route:?}")
    };
    assert_eq!(path.regex, "(?i)/app(/|$)(.*).*");
    let Some(Action::Route(action)) = &route.action else {
        panic!("{route:?}")
    };
    let rewrite = action.regex_rewrite.as_ref().unwrap();
    let pattern = rewrite.pattern.as_ref().map(|p| p.regex.as_str());
    assert_eq!(pattern, Some("(?i)^/app(/|$)(.*).*"));
    assert_eq!(rewrite.substitution, "/\\2");
}
