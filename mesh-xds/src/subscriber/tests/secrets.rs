//! Secrets: who is asked for which, and what waits for them.

use std::time::{Duration, Instant, SystemTime};

use mesh_core::model::{Secret, SecretName, SecretSource};
use mesh_testkit::certificates::Authority;
use prost_types::Any;
use serde_json::{Value, json};

use super::{
    super::{Action, Severity, Subscriber},
    scene::{Test, any},
};
use crate::{
    Bootstrap,
    ResourceKind::{Cluster, Listener, Secret as SecretKind},
    decode_resource,
};

const SECRET: &str = "envoy.extensions.transport_sockets.tls.v3.Secret";

fn roots(name: &str, pem: &str) -> Any {
    let secret =
        json!({"name": name, "validation_context": {"trusted_ca": {"inline_string": pem}}});
    any(SECRET, &secret.to_string())
}

fn over_grpc(timeout: &str) -> Value {
    json!({
        "api_config_source": {
            "api_type": "GRPC", "transport_api_version": "V3",
            "grpc_services": [{"envoy_grpc": {"cluster_name": "sds-grpc"}}],
        },
        "initial_fetch_timeout": timeout,
    })
}

fn cluster(name: &str, secret: &str, source: &Value) -> Any {
    let validation = json!({"name": secret, "sds_config": source});
    let cluster = json!({"name": name, "type": "STATIC", "transport_socket": {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "common_tls_context": {"validation_context_sds_secret_config": validation},
        },
    }});
    any("envoy.config.cluster.v3.Cluster", &cluster.to_string())
}

fn validation(config: &mesh_core::snapshot::ConfigSet, name: &SecretName) -> usize {
    match config.secrets.get(name) {
        Some(Secret::Validation(rules)) => rules.trusted_ca.len(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_secret_of_the_control_plane_is_subscribed_to_and_waited_for() {
    let mut test = Test::open();
    test.sent();
    test.respond(Listener, "1", &[]);
    test.respond(Cluster, "1", &[cluster("a", "roots", &json!({"ads": {}}))]);
    assert_eq!(test.names(SecretKind), ["roots"]);
    assert!(test.published().is_none());
    let pem = Authority::new("r").pem();
    test.respond(SecretKind, "1", &[roots("roots", &pem)]);
    let (config, _) = test.published().expect("complete");
    let name = SecretName {
        source: SecretSource::Ads,
        name: "roots".into(),
    };
    assert_eq!(validation(&config, &name), 1);
    // Another version.
    let both = pem + &Authority::new("s").pem();
    test.respond(SecretKind, "2", &[roots("roots", &both)]);
    assert_eq!(validation(&test.published().unwrap().0, &name), 2);
    test.sent();
    // One that is wrong is refused, and the one before stays.
    test.respond(SecretKind, "3", &[roots("roots", "-----BEGIN")]);
    let nack = test.sent().pop().unwrap();
    assert_eq!(
        nack.error_detail.unwrap().message,
        "roots: validation_context.trusted_ca: holds no certificate"
    );
    assert!(test.published().is_none());
    // It is unsubscribed with its last user.
    test.respond(Cluster, "2", &[]);
    assert!(test.published().unwrap().0.secrets.is_empty());
}

#[test]
fn a_secret_of_the_control_plane_that_does_not_come_holds_nothing_up_for_ever() {
    let mut test = Test::open();
    test.sent();
    test.respond(Listener, "1", &[]);
    test.respond(Cluster, "1", &[cluster("a", "roots", &json!({"ads": {}}))]);
    test.sent();
    test.after(Duration::from_secs(14));
    assert!(test.published().is_none());
    test.after(Duration::from_secs(1));
    let (config, _) = test.published().unwrap();
    assert!(config.secrets.is_empty() && config.clusters.contains_key("a"));
}

fn wanted(test: &Test) -> SecretName {
    let mut names = test.wanted.iter();
    let name = names.next().expect("one is wanted").clone();
    assert_eq!(names.next(), None);
    name
}

#[test]
fn a_secret_of_another_server_is_fetched_and_waited_for() {
    let mut test = Test::open();
    test.sent();
    test.respond(Listener, "1", &[]);
    test.respond(Cluster, "1", &[cluster("a", "ROOTCA", &over_grpc("0s"))]);
    assert!(test.published().is_none());
    let name = wanted(&test);
    assert_eq!(&*name.name, "ROOTCA");
    // However long that takes: there is nothing in force yet.
    test.after(Duration::from_secs(3600));
    assert!(test.published().is_none());
    assert_eq!(
        test.subscriber.waiting_for(),
        Some((SecretKind, Some("ROOTCA".into())))
    );
    let pem = Authority::new("r").pem();
    let bring = |test: &mut Test, version: &str, text: &str| {
        let decoded = decode_resource(&roots("ROOTCA", text));
        let (now, wall) = (test.now, SystemTime::UNIX_EPOCH);
        test.subscriber
            .handle_secret(now, wall, &name, version, decoded);
    };
    bring(&mut test, "1", &pem);
    assert_eq!(validation(&test.published().unwrap().0, &name), 1);
    bring(&mut test, "2", &(pem.clone() + &pem));
    assert_eq!(validation(&test.published().unwrap().0, &name), 2);
    // A wrong one changes nothing, and is told.
    bring(&mut test, "3", "nonsense");
    assert!(test.published().is_none());
    let found = test.findings.last().unwrap();
    assert_eq!(
        (found.severity, &*found.name),
        (Severity::Refused, "ROOTCA")
    );
    // With something in force, nothing waits for ever.
    let clusters = [
        cluster("a", "ROOTCA", &over_grpc("0s")),
        cluster("b", "file-root:/none", &over_grpc("0s")),
    ];
    test.respond(Cluster, "2", &clusters);
    assert!(test.published().is_none());
    assert_eq!(test.wanted.len(), 2);
    test.after(Duration::from_secs(15));
    let (config, _) = test.published().unwrap();
    assert!(config.clusters.contains_key("b"));
    assert_eq!(config.secrets.len(), 1);
}

#[test]
fn the_wait_is_as_long_as_the_source_says_and_a_refused_secret_ends_it() {
    for refused in [false, true] {
        let mut test = Test::open();
        test.sent();
        test.respond(Listener, "1", &[]);
        test.respond(Cluster, "1", &[cluster("a", "ROOTCA", &over_grpc("3s"))]);
        assert!(test.published().is_none());
        match refused {
            true => {
                let decoded = decode_resource(&roots("ROOTCA", "nonsense"));
                let (now, name) = (test.now, wanted(&test));
                let wall = SystemTime::UNIX_EPOCH;
                test.subscriber
                    .handle_secret(now, wall, &name, "1", decoded);
            }
            false => test.after(Duration::from_secs(3)),
        }
        assert!(test.published().unwrap().0.secrets.is_empty());
    }
}

#[test]
fn static_secrets_need_nobody_and_static_resources_wait_for_others() {
    let pem = Authority::new("r").pem();
    let text = |source: Value, secrets: Value| {
        let context = json!({
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "common_tls_context": {"validation_context_sds_secret_config": source},
        });
        json!({"static_resources": {
            "clusters": [{"name": "a", "type": "STATIC", "transport_socket": {
                "name": "envoy.transport_sockets.tls", "typed_config": context,
            }}],
            "secrets": secrets,
        }})
        .to_string()
    };
    let secrets =
        json!([{"name": "roots", "validation_context": {"trusted_ca": {"inline_string": pem}}}]);
    let read = |text: &str| Bootstrap::from_envoy(text, &Default::default());
    let bootstrap = read(&text(json!({"name": "roots"}), secrets.clone())).unwrap();
    let mut subscriber = Subscriber::new(&bootstrap, Instant::now());
    let Some(Action::Publish(config, _)) = subscriber.poll_action() else {
        panic!("not published")
    };
    assert_eq!(config.secrets.len(), 1);
    assert_eq!(bootstrap.static_config().secrets.len(), 1);
    let unknown = read(&text(json!({"name": "other"}), secrets)).unwrap_err();
    let words = "static_resources.secrets: there is no secret \"other\"";
    assert!(unknown.to_string().contains(words), "{unknown}");
    let source = json!({"name": "roots", "sds_config": {"ads": {}}});
    let nobody = read(&text(source, json!([]))).unwrap_err();
    assert!(
        nobody.to_string().contains("would come over ads"),
        "{nobody}"
    );

    let source = json!({"name": "ROOTCA", "sds_config": over_grpc("5s")});
    let bootstrap = read(&text(source, json!([]))).unwrap();
    let now = Instant::now();
    let mut subscriber = Subscriber::new(&bootstrap, now);
    let Some(Action::Fetch(names)) = subscriber.poll_action() else {
        panic!("not fetched")
    };
    assert_eq!(names.len(), 1);
    assert!(subscriber.poll_action().is_none());
    let name = names.first().unwrap();
    subscriber.handle_no_secret(now, name, "no such file");
    let actions: Vec<_> = std::iter::from_fn(|| subscriber.poll_action()).collect();
    assert!(matches!(
        &actions[..],
        [Action::Report(_), Action::Publish(..)]
    ));
}
