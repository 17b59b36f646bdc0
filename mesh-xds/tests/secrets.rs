//! Secrets from everywhere they come from: a server on a Unix socket as Istio's agent, files, and the program itself.

use std::{fs, path::Path, time::Duration};

use mesh_core::{
    model::{Secret, SecretSource},
    snapshot::ConfigSet,
};
use mesh_testkit::{
    certificates::{Authority, Identity, Leaf},
    secrets::{SecretServer, certificate, roots},
};
use mesh_xds::{Agent, Bootstrap, SecretSupply, transport::NoTransport};
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinHandle};

/// An agent that runs until dropped.
struct Running {
    published: mpsc::UnboundedReceiver<ConfigSet>,
    dump: Box<dyn Fn() -> String>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    fn start(bootstrap: &str, supply: Option<&SecretSupply>) -> Self {
        let bootstrap = Bootstrap::from_envoy(bootstrap, &Default::default()).unwrap();
        let (sender, published) = mpsc::unbounded_channel();
        let mut agent = Agent::new(bootstrap, NoTransport, move |config, _| {
            let _ = sender.send(config);
        });
        if let Some(supply) = supply {
            agent = agent.with_supply(supply);
        }
        let handle = agent.handle();
        Self {
            published,
            dump: Box::new(move || handle.config_dump(true).to_string()),
            task: tokio::spawn(agent.run()),
        }
    }

    /// The next configuration whose certificate is this one.
    async fn until(&mut self, identity: &Identity) -> ConfigSet {
        let serves = |config: &ConfigSet| {
            config.secrets.values().any(|secret| match secret {
                Secret::Certificate(certificate) => *certificate.chain[0] == *identity.der,
                _ => false,
            })
        };
        let waiting = async {
            loop {
                let config = self.published.recv().await.expect("the agent runs");
                if serves(&config) {
                    return config;
                }
            }
        };
        match tokio::time::timeout(Duration::from_secs(20), waiting).await {
            Ok(config) => config,
            Err(_) => panic!("the certificate is not published\n{}", (self.dump)()),
        }
    }
}

/// A cluster with a certificate `default` and roots `ROOTCA` of a source, and more clusters.
fn bootstrap(source: &Value, more: &[Value]) -> String {
    let context = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [{"name": "default", "sds_config": source}],
            "validation_context_sds_secret_config": {"name": "ROOTCA", "sds_config": source},
        },
    });
    let mut clusters = vec![json!({"name": "a", "type": "STATIC", "transport_socket": {
        "name": "envoy.transport_sockets.tls", "typed_config": context,
    }})];
    clusters.extend(more.iter().cloned());
    json!({"node": {"id": "n", "cluster": "c"}, "static_resources": {"clusters": clusters}})
        .to_string()
}

fn agents_socket(path: &Path) -> (Value, Value) {
    let source = json!({
        "api_config_source": {
            "api_type": "GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": true,
            "grpc_services": [{"envoy_grpc": {"cluster_name": "sds-grpc"}}],
        },
        "initial_fetch_timeout": "0s", "resource_api_version": "V3",
    });
    let endpoint = json!({"endpoint": {"address": {"pipe": {"path": path}}}});
    let cluster = json!({
        "name": "sds-grpc", "type": "STATIC", "connect_timeout": "1s",
        "load_assignment": {"cluster_name": "sds-grpc", "endpoints": [{"lb_endpoints": [endpoint]}]},
    });
    (source, cluster)
}

#[cfg(unix)]
#[tokio::test]
async fn istios_agent_serves_a_certificate_and_rotates_it() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let (source, cluster) = agents_socket(&socket);
    let mut running = Running::start(&bootstrap(&source, &[cluster]), None);
    // The agent comes late.
    let server = SecretServer::start_unix(&socket).await;
    let root = Authority::new("root");
    let first = root.issue(&Leaf::default());
    server.set_certificate("default", &first);
    let version = server.set_roots("ROOTCA", &root.pem());
    let config = running.until(&first).await;
    assert_eq!(config.secrets.len(), 2, "nothing is published before both");
    let second = root.issue(&Leaf::default());
    let rotated = server.set_certificate("default", &second);
    running.until(&second).await;
    // One that is wrong leaves it in force.
    let wrong = Identity {
        key: first.key.clone(),
        ..second.clone()
    };
    server.set_certificate("default", &wrong);
    let mut refused = Vec::new();
    while refused.is_empty() {
        tokio::task::yield_now().await;
        refused = server.refused();
    }
    assert_eq!(
        refused,
        ["default: tls_certificate.private_key: is not that of the certificate"]
    );
    // The roots have a stream of their own.
    server.settled().await;
    assert!(server.is_acknowledged("ROOTCA", version));
    assert!(server.is_acknowledged("default", rotated));
    // The next good one counts, and the dump hides keys.
    let third = root.issue(&Leaf::default());
    server.set_certificate("default", &third);
    running.until(&third).await;
    let dump = (running.dump)();
    assert!(dump.contains("dynamic_active_secrets") && dump.contains("ROOTCA"));
    assert!(dump.contains("[redacted]") && !dump.contains("PRIVATE KEY"));
}

/// A `DiscoveryResponse` with secrets that name files.
fn response(folder: &Path) -> String {
    let file = |name: &str| json!({"filename": folder.join(name)});
    let secret = |fields: Value| {
        let mut secret = fields;
        secret["@type"] =
            "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret".into();
        secret
    };
    json!({"version_info": "1", "resources": [
        secret(json!({"name": "default", "tls_certificate": {
            "certificate_chain": file("cert.pem"), "private_key": file("key.pem"),
        }})),
        secret(json!({"name": "ROOTCA", "validation_context": {"trusted_ca": file("root.pem")}})),
    ]})
    .to_string()
}

fn write(folder: &Path, root: &Authority, identity: &Identity) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("cert.pem"), &identity.chain).unwrap();
    fs::write(folder.join("key.pem"), &identity.key).unwrap();
    fs::write(folder.join("root.pem"), root.pem()).unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn files_are_read_again_when_a_link_to_them_is_swapped() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let root = Authority::new("root");
    let [first, second, third] = [0, 1, 2].map(|_| root.issue(&Leaf::default()));
    write(&at("1"), &root, &first);
    write(&at("2"), &root, &second);
    symlink("1", at("data")).unwrap();
    fs::write(at("sds.json"), response(&at("data"))).unwrap();
    let source = json!({"path_config_source": {
        "path": at("sds.json"), "watched_directory": {"path": dir.path()},
    }});
    let mut running = Running::start(&bootstrap(&source, &[]), None);
    assert_eq!(running.until(&first).await.secrets.len(), 2);
    // As Kubernetes swaps a volume.
    symlink("2", at("new")).unwrap();
    fs::rename(at("new"), at("data")).unwrap();
    running.until(&second).await;
    // The file that names them, replaced.
    write(&at("3"), &root, &third);
    fs::write(at("sds.new"), response(&at("3"))).unwrap();
    fs::rename(at("sds.new"), at("sds.json")).unwrap();
    running.until(&third).await;
}

#[tokio::test]
async fn the_program_itself_takes_the_place_of_the_agent() {
    let (source, _) = agents_socket(Path::new("/nowhere"));
    let supply = SecretSupply::new("sds-grpc");
    let secret =
        |name: &str, of| mesh_proto::envoy::extensions::transport_sockets::tls::v3::Secret {
            name: name.to_owned(),
            r#type: Some(of),
        };
    let root = Authority::new("root");
    let first = root.issue(&Leaf::default());
    supply.set(&secret("default", certificate(&first)));
    let mut running = Running::start(&bootstrap(&source, &[]), Some(&supply));
    supply.set(&secret("ROOTCA", roots(&root.pem())));
    let config = running.until(&first).await;
    let of_agent = |source: &SecretSource| matches!(source, SecretSource::Grpc { .. });
    assert!(config.secrets.keys().all(|name| of_agent(&name.source)));
    let second = root.issue(&Leaf::default());
    supply.set(&secret("default", certificate(&second)));
    running.until(&second).await;
}

#[tokio::test]
async fn nothing_that_is_shown_holds_a_key() {
    let root = Authority::new("root");
    let identity = root.issue(&Leaf::default());
    let secret = json!({"name": "default", "tls_certificate": {
        "certificate_chain": {"inline_string": identity.chain},
        "private_key": {"inline_string": identity.key},
    }});
    let text = json!({"static_resources": {"secrets": [secret]}}).to_string();
    let bootstrap = Bootstrap::from_envoy(&text, &Default::default()).unwrap();
    let shown = format!("{bootstrap:?} {:?}", bootstrap.static_config());
    let inside = identity.key.lines().nth(1).unwrap();
    let bytes: Vec<String> = identity.key_der[40..52].iter().map(u8::to_string).collect();
    for needle in [inside, "PRIVATE KEY", &bytes.join(", ")] {
        assert!(!shown.contains(needle), "{needle}");
    }
    let mut running = Running::start(&text, None);
    running.until(&identity).await;
    let dump = (running.dump)();
    assert!(dump.contains("static_secrets") && dump.contains("[redacted]"));
    assert!(!dump.contains(inside));
}
