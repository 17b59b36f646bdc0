//! Secrets that rotate under load, and secrets that do not come.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use mesh_testkit::{
    address::OwnAddress,
    certificates::{Authority, Leaf},
    exchange::send,
    paired::Side,
    process::Program,
    secrets::SecretServer,
    upstream::Upstream,
};
use serde_json::{Value, json};

use crate::{
    config::{self, ADMIN, LISTENER, address, bootstrap, inline_manager, secret_server},
    context::{WORKLOAD, sds},
};

const CLIENT: &str = "spiffe://td.test/ns/a/sa/client";

fn socket(side: &str, context: Value) -> Value {
    let mut context = context;
    context["@type"] =
        format!("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{side}TlsContext")
            .into();
    json!({"name": "envoy.transport_sockets.tls", "typed_config": context})
}

/// Certificate, and the roots with a name that the other side must have.
fn mutual(certificate: &str, other: &str) -> Value {
    json!({
        "tls_certificate_sds_secret_configs": [sds(certificate)],
        "combined_validation_context": {
            "default_validation_context": {
                "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": other}}],
            },
            "validation_context_sds_secret_config": sds("roots"),
        },
    })
}

fn server(own: std::net::Ipv4Addr, upstream: std::net::Ipv4Addr) -> String {
    let context = json!({
        "common_tls_context": mutual("server", CLIENT), "require_client_certificate": true,
    });
    let listener = json!({
        "name": "l", "address": address(own, LISTENER),
        "filter_chains": [{
            "transport_socket": socket("Downstream", context),
            "filters": [inline_manager("u", &[("x-client", "%DOWNSTREAM_PEER_URI_SAN%")])],
        }],
    });
    let cluster = json!({"name": "u", "load_assignment": {"cluster_name": "u", "endpoints": [
        {"lb_endpoints": [{"endpoint": {"address": address(upstream, config::UPSTREAM)}}]},
    ]}});
    bootstrap(
        own,
        json!([listener]),
        json!([cluster, secret_server(upstream)]),
    )
}

/// A listener for each version of HTTP, and connections that serve few requests, so that there are handshakes.
fn client(
    own: std::net::Ipv4Addr,
    server: std::net::Ipv4Addr,
    secrets: std::net::Ipv4Addr,
) -> String {
    let context = json!({"common_tls_context": mutual("client", WORKLOAD)});
    let versions = ["http_protocol_options", "http2_protocol_options"];
    let clusters = versions.map(|version| {
        json!({
            "name": version,
            "connect_timeout": "5s",
            "load_assignment": {"cluster_name": version, "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": address(server, LISTENER)}}]},
            ]},
            "transport_socket": socket("Upstream", context.clone()),
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "common_http_protocol_options": {"max_requests_per_connection": 3},
                    "explicit_http_config": {version: {}},
                },
            },
        })
    });
    let listeners: Vec<Value> = (LISTENER..)
        .zip(versions)
        .map(|(port, version)| {
            json!({
                "name": version, "address": address(own, port),
                "filter_chains": [{"filters": [inline_manager(version, &[])]}],
            })
        })
        .collect();
    let mut clusters = clusters.to_vec();
    clusters.push(secret_server(secrets));
    bootstrap(own, json!(listeners), json!(clusters))
}

fn leaf(uri: &str) -> Leaf {
    Leaf {
        uris: vec![uri.to_owned()],
        ..Leaf::default()
    }
}

fn request(id: &str) -> Request<Full<Bytes>> {
    Request::builder()
        .uri("/")
        .header("host", "h.test")
        .header(mesh_testkit::upstream::CASE, id)
        .body(Full::default())
        .expect("a valid request")
}

/// Every second for `MESH_SECONDS`; without it, every fifth of a second for four. The roots change twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs mesh-proxy: cargo verify"]
async fn no_request_fails_while_certificates_and_roots_rotate() {
    let seconds = std::env::var("MESH_SECONDS")
        .ok()
        .and_then(|s| s.parse().ok());
    let (rounds, period) = match seconds {
        Some(seconds) => (seconds, Duration::from_secs(1)),
        None => (20, Duration::from_millis(200)),
    };
    let own = OwnAddress::claim();
    let upstream = Upstream::start("u", own.with_port(config::UPSTREAM)).await;
    let secrets = SecretServer::start(own.with_port(config::SECRETS)).await;
    let authorities = ["a", "b", "c"].map(Authority::new);
    let rotate = |authority: &Authority| {
        secrets.set_certificate("server", &authority.issue(&leaf(WORKLOAD)));
        secrets.set_certificate("client", &authority.issue(&leaf(CLIENT)));
    };
    rotate(&authorities[0]);
    secrets.set_roots("roots", &authorities[0].pem());
    let side = |port: u16| (ADMIN, port);
    let server_side = Side::start(Program::MeshProxy, side(LISTENER), |ip| {
        server(ip, own.ip())
    })
    .await;
    let client_side = Side::start(Program::MeshProxy, side(LISTENER + 1), |ip| {
        client(ip, server_side.address.ip(), own.ip())
    })
    .await;

    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let load: Vec<_> = (0..4u16)
        .map(|n| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            let to = client_side.address.with_port(LISTENER + n % 2);
            tokio::spawn(async move {
                let mut failed = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match send(to, request("load")).await {
                        Ok(answer) if answer.status == 200 => {}
                        other => failed.push(format!("{other:?}")),
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                failed
            })
        })
        .collect();
    // What came is in force once the thread that it came to answers.
    let in_force = async || {
        secrets.settled().await;
        for side in [&server_side, &client_side] {
            side.proxy.admin("/ready").await.expect("it runs");
        }
    };
    for round in 0..rounds {
        let began = Instant::now();
        let step = round * 6 / rounds;
        let is_first = round == 0 || (round - 1) * 6 / rounds != step;
        let (signs, roots): (usize, &[usize]) = match step {
            0 => (0, &[0]),
            1 => (1, &[0, 1]),
            2 => (1, &[1]),
            3 => (2, &[1, 2]),
            _ => (2, &[2]),
        };
        if is_first {
            let pem: String = roots.iter().map(|at| authorities[*at].pem()).collect();
            secrets.set_roots("roots", &pem);
            in_force().await;
        }
        rotate(&authorities[signs]);
        tokio::time::sleep_until((began + period).into()).await;
    }
    in_force().await;
    stop.store(true, Ordering::Relaxed);
    let mut failed = Vec::new();
    for task in load {
        failed.extend(task.await.expect("the load ends"));
    }
    let answered = answered.load(Ordering::Relaxed);
    println!(
        "{answered} requests, {rounds} rotations, {} failed",
        failed.len()
    );
    failed.truncate(5);
    assert_eq!(failed, [""; 0]);
    assert!(answered > 50, "{answered} requests are no load");
    let wrong = upstream.take("load");
    let wrong = wrong.iter().find(|seen| {
        let client = seen.headers.iter().find(|(name, _)| name == "x-client");
        client.is_none_or(|(_, value)| value != CLIENT)
    });
    assert!(wrong.is_none(), "{wrong:?}");
    assert_eq!(secrets.refused(), [""; 0]);
}

/// A connection that needs a secret which has not come: what client and server say of it, word for word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: cargo verify"]
async fn what_waits_for_a_secret_fails_as_in_envoy() {
    let own = OwnAddress::claim();
    let _upstream = Upstream::start("u", own.with_port(config::UPSTREAM)).await;
    let secrets = SecretServer::start(own.with_port(config::SECRETS)).await;
    let mut said = Vec::new();
    for program in [Program::Envoy, Program::MeshProxy] {
        let server_side = Side::start(program, (ADMIN, LISTENER), |ip| server(ip, own.ip())).await;
        let client_side = Side::start(program, (ADMIN, LISTENER + 1), |ip| {
            client(ip, server_side.address.ip(), own.ip())
        })
        .await;
        let mut answers = Vec::new();
        for port in [LISTENER, LISTENER + 1] {
            let answer = send(client_side.address.with_port(port), request("none")).await;
            let answer = answer.map(|answer| (answer.status, answer.body));
            answers.push(answer.map_err(|e| e.kind()));
        }
        let direct = send(server_side.address.with_port(LISTENER), request("none")).await;
        answers.push(
            direct
                .map(|answer| (answer.status, answer.body))
                .map_err(|e| e.kind()),
        );
        said.push(answers);
    }
    println!("{:?}", said[0]);
    assert_eq!(said[0], said[1]);
    drop(secrets);
}
