//! What a client holds after many edits is what it would get from a fresh start on the same folder.

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use mesh_proto::envoy::config::cluster::v3::Cluster;
use mesh_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mesh_proto::envoy::config::listener::v3::Listener;
use mesh_proto::envoy::config::route::v3::RouteConfiguration;
use mesh_proto::envoy::service::discovery::v3::DiscoveryResponse;
use mesh_testkit::random::Random;
use prost::{Message, Name};
use prost_reflect::DynamicMessage;
use serde_json::Value;
use support::{Client, decode, node, open};

const EDITS: usize = 1000;
const SERVICES: usize = 6;
const ROUTES: [&str; 2] = ["80", "9080"];

/// Resources by type and name, as JSON: the encoding of maps has no order.
type Held = BTreeMap<(String, String), Value>;

fn json<M: Message + Name>(message: &M) -> Value {
    let descriptor = mesh_proto::descriptor_pool()
        .get_message_by_name(&M::full_name())
        .unwrap();
    let bytes = message.encode_to_vec();
    let dynamic = DynamicMessage::decode(descriptor, bytes.as_slice()).unwrap();
    serde_json::to_value(dynamic).unwrap()
}

fn hold(held: &mut Held, response: &DiscoveryResponse) {
    fn add<M: Message + Name + Default>(
        held: &mut Held,
        response: &DiscoveryResponse,
        name: impl Fn(&M) -> String,
        is_whole: bool,
    ) {
        if is_whole {
            held.retain(|(url, _), _| *url != response.type_url);
        }
        for message in decode::<M>(response) {
            let key = (response.type_url.clone(), name(&message));
            held.insert(key, json(&message));
        }
    }
    let url = response.type_url.as_str();
    if url == Cluster::type_url() {
        add::<Cluster>(held, response, |r| r.name.clone(), true);
    } else if url == Listener::type_url() {
        add::<Listener>(held, response, |r| r.name.clone(), true);
    } else if url == RouteConfiguration::type_url() {
        add::<RouteConfiguration>(held, response, |r| r.name.clone(), false);
    } else {
        add::<ClusterLoadAssignment>(held, response, |r| r.cluster_name.clone(), false);
    }
}

/// Takes what is due and acknowledges it, asking for the endpoints of all clusters, until nothing is due.
async fn settle(client: &mut Client, held: &mut Held) {
    let mut asked: Vec<String> = Vec::new();
    loop {
        // a task that never waits finds its channels empty after a while
        tokio::task::yield_now().await;
        let Some(response) = client.ready() else {
            return;
        };
        hold(held, &response);
        if response.type_url == Cluster::type_url() {
            client.ack(&response, &[]);
            asked = decode::<Cluster>(&response)
                .into_iter()
                .filter(|c| c.eds_cluster_config.is_some())
                .map(|c| c.name)
                .collect();
            let names: Vec<&str> = asked.iter().map(String::as_str).collect();
            held.retain(|(url, name), _| {
                *url != ClusterLoadAssignment::type_url() || names.contains(&name.as_str())
            });
            client.subscribe_again::<ClusterLoadAssignment>(&names);
        } else if response.type_url == ClusterLoadAssignment::type_url() {
            let names: Vec<&str> = match asked.is_empty() {
                true => names_of::<ClusterLoadAssignment>(held),
                false => asked.iter().map(String::as_str).collect(),
            };
            client.ack(&response, &names);
        } else if response.type_url == RouteConfiguration::type_url() {
            client.ack(&response, &ROUTES);
        } else {
            client.ack(&response, &[]);
        }
    }
}

fn names_of<M: Name>(held: &Held) -> Vec<&str> {
    let of = held.keys().filter(|(url, _)| *url == M::type_url());
    of.map(|(_, name)| name.as_str()).collect()
}

async fn fresh(folder: &Path) -> Held {
    let control = open(folder);
    let mut client = Client::new(&control, caller());
    let mut held = Held::new();
    start(&mut client);
    settle(&mut client, &mut held).await;
    held
}

fn start(client: &mut Client) {
    client.subscribe::<Cluster>(&[]);
    client.subscribe::<Listener>(&[]);
    client.subscribe::<RouteConfiguration>(&ROUTES);
}

fn caller() -> mesh_proto::envoy::config::core::v3::Node {
    node("sidecar", "127.9.0.200", "caller", &[("app", "caller")])
}

fn slice(random: &mut Random, i: usize) -> String {
    let mut text = format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: s{i}, labels: {{kubernetes.io/service-name: s{i}}}}}\naddressType: IPv4\nports: [{{name: http, port: 9080}}]\nendpoints:\n"
    );
    for pod in 0..1 + random.below(3) {
        let ready = random.chance(70);
        text.push_str(&format!(
            "- {{addresses: [127.9.{i}.{pod}], conditions: {{ready: {ready}}}}}\n"
        ));
    }
    text
}

fn service(random: &mut Random, i: usize) -> String {
    let port = *random.one(&[80, 9080]);
    let kind = *random.one(&[
        "clusterIP: 10.96.0.1, ",
        "clusterIP: 10.96.0.2, ",
        "clusterIP: None, ",
    ]);
    let selector = match random.chance(70) {
        true => format!("selector: {{app: s{i}}}, "),
        false => String::new(),
    };
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: s{i}}}\nspec: {{{kind}{selector}ports: [{{name: http, port: {port}, targetPort: 9080}}]}}\n"
    )
}

fn rules(random: &mut Random, i: usize) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: s{i}}}\nspec: {{hosts: [s{i}], http: [{{timeout: {}s, route: [{{destination: {{host: s{}}}}}]}}]}}\n",
        1 + random.below(9),
        random.below(SERVICES)
    )
}

fn edit(random: &mut Random, folder: &Path) {
    let i = random.below(SERVICES);
    let (name, text) = match random.below(10) {
        0..6 => (format!("slice-{i}.yaml"), slice(random, i)),
        6 => (format!("service-{i}.yaml"), service(random, i)),
        7 => (format!("rules-{i}.yaml"), rules(random, i)),
        8 => {
            let policy = *random.one(&["retryOn: '503'", "retryOn: reset"]);
            let text = format!("defaultHttpRetryPolicy: {{attempts: 2, {policy}}}\n");
            ("mesh.yaml".to_owned(), text)
        }
        _ => {
            let name = *random.one(&["slice", "service", "rules"]);
            // not being there is fine
            let _ = std::fs::remove_file(folder.join(format!("{name}-{i}.yaml")));
            return;
        }
    };
    std::fs::write(folder.join(name), text).unwrap();
}

/// `MESH_SEED` repeats a run.
#[tokio::test]
async fn a_thousand_edits_lead_where_a_fresh_start_does() {
    let seed = Random::seed();
    println!("MESH_SEED={seed}");
    let mut random = Random::new(seed);
    let folder = tempfile::tempdir().unwrap();
    for i in 0..SERVICES {
        std::fs::write(
            folder.path().join(format!("service-{i}.yaml")),
            service(&mut random, i),
        )
        .unwrap();
        std::fs::write(
            folder.path().join(format!("slice-{i}.yaml")),
            slice(&mut random, i),
        )
        .unwrap();
    }
    let control = open(folder.path());
    let mut client = Client::new(&control, caller());
    let mut held = Held::new();
    start(&mut client);
    settle(&mut client, &mut held).await;
    for n in 0..EDITS {
        edit(&mut random, folder.path());
        control.reload();
        settle(&mut client, &mut held).await;
        if n % 25 == 0 || n + 1 == EDITS {
            let fresh = fresh(folder.path()).await;
            let differs = |key: &&(String, String)| held.get(*key) != fresh.get(*key);
            let different: Vec<_> = held.keys().chain(fresh.keys()).filter(differs).collect();
            let first = different
                .first()
                .map(|key| (held.get(*key), fresh.get(*key)));
            assert!(
                different.is_empty(),
                "after edit {n}: {different:?}\nthe first held and fresh: {first:?}"
            );
        }
    }
}

/// Endpoints that change are sent alone, and not to who does not ask for them.
#[tokio::test]
async fn only_what_changed_is_sent() {
    let mut random = Random::new(1);
    let folder = tempfile::tempdir().unwrap();
    for i in 0..SERVICES {
        let text = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s{i}}}\nspec: {{clusterIP: 10.96.0.{i}, selector: {{app: s{i}}}, ports: [{{name: http, port: 9080}}]}}\n"
        );
        std::fs::write(folder.path().join(format!("service-{i}.yaml")), text).unwrap();
        std::fs::write(
            folder.path().join(format!("slice-{i}.yaml")),
            slice(&mut random, i),
        )
        .unwrap();
    }
    let control = open(folder.path());
    let cluster = |i: usize| format!("outbound|9080||s{i}.default.svc.cluster.local");
    let mut all = Client::new(&control, caller());
    let names: Vec<String> = (0..SERVICES).map(cluster).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(
        all.fetch::<ClusterLoadAssignment>(&names).await.len(),
        SERVICES
    );
    let mut other = Client::new(&control, caller());
    assert_eq!(
        other
            .fetch::<ClusterLoadAssignment>(&names[..3])
            .await
            .len(),
        3
    );
    let text = slice(&mut Random::new(7), 4).replace("127.9.4.0", "127.9.4.99");
    std::fs::write(folder.path().join("slice-4.yaml"), text).unwrap();
    control.reload();
    let response = all.response().await;
    let sent: Vec<ClusterLoadAssignment> = decode(&response);
    assert_eq!(
        sent.iter()
            .map(|r| r.cluster_name.as_str())
            .collect::<Vec<_>>(),
        [names[4]]
    );
    assert!(format!("{:?}", sent[0]).contains("127.9.4.99"));
    assert!(other.is_quiet());
}
