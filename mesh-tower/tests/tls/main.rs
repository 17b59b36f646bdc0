//! Handshakes over loopback: our client and our server, with certificates of every fault.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use mesh_core::{
    Entropy,
    matcher::StringMatcher,
    model::{
        CertificateSource, ClusterConfig, ClusterDiscovery, ClusterLoadAssignment, DownstreamTls,
        EndpointConfig, FilterChainConfig, KeyEncoding, ListenerConfig, LocalityEndpoints,
        NetworkFilter, PrivateKey, SanKind, SanMatcher, TcpProxyConfig, TlsCertificate, TlsVersion,
        TrustDomain, UpstreamTls, ValidationContext, ValidationSource,
    },
    snapshot::{ConfigSet, Snapshot},
    stats::Stats,
    tls::{DownstreamSocket, TlsConnection},
};
use mesh_testkit::certificates::{Authority, Identity, Leaf, Usage};
use mesh_tower::{
    TransportError,
    tls::{AcceptError, Offer, UpstreamIo, accept_tls},
    transport::connect,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

const WORKLOAD: &str = "spiffe://td.test/ns/a/sa/w";

#[derive(Debug)]
struct NoChance;

impl Entropy for NoChance {
    fn next_u64(&mut self) -> u64 {
        0
    }
}

fn certificate(identity: &Identity) -> CertificateSource {
    CertificateSource::Inline(Arc::new(TlsCertificate {
        chain: vec![identity.der.as_slice().into()],
        key: PrivateKey::new(KeyEncoding::Pkcs8, identity.key_der.as_slice()),
    }))
}

fn rules(set: impl FnOnce(&mut ValidationContext)) -> ValidationSource {
    let mut rules = ValidationContext::default();
    set(&mut rules);
    ValidationSource::Inline(Arc::new(rules))
}

fn uri(value: &str) -> SanMatcher {
    SanMatcher {
        kind: SanKind::Uri,
        matcher: StringMatcher::Exact {
            value: value.into(),
            ignore_case: false,
        },
    }
}

fn leaf(set: impl FnOnce(&mut Leaf)) -> Leaf {
    let mut leaf = Leaf {
        uris: vec![WORKLOAD.to_owned()],
        dns: vec!["a.test".to_owned()],
        common_name: "w".to_owned(),
        ..Leaf::default()
    };
    set(&mut leaf);
    leaf
}

/// A client's and a server's context, and what each made of the other.
struct Pair {
    client: UpstreamTls,
    server: DownstreamTls,
}

type Met = (
    Result<UpstreamIo, TransportError>,
    Result<TlsConnection, AcceptError>,
);

impl Pair {
    /// Both show the usual certificate and trust the root.
    fn new(root: &Authority) -> Self {
        let identity = root.issue(&leaf(|_| {}));
        let trusting = || rules(|r| r.trusted_ca = vec![root.der().into()]);
        let mut client = UpstreamTls::default();
        client.common.certificates = vec![certificate(&identity)];
        client.common.validation = trusting();
        client.common.maximum_version = Some(TlsVersion::V1_3);
        client.max_session_keys = 1;
        client.sni = "a.test".into();
        let mut server = DownstreamTls::default();
        server.common.certificates = vec![certificate(&identity)];
        server.common.validation = trusting();
        server.require_client_certificate = true;
        Self { client, server }
    }

    async fn meet(self) -> Met {
        self.meet_times(1).await.remove(0)
    }

    /// Connects again and again with the same contexts.
    async fn meet_times(self, times: usize) -> Vec<Met> {
        self.meet_each_after(times, async |_| ()).await
    }

    /// The same, each time after what `before` waits for.
    async fn meet_each_after(self, times: usize, before: impl AsyncFn(usize)) -> Vec<Met> {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let mut locality = LocalityEndpoints::default();
        locality.endpoints = vec![EndpointConfig::new(address)];
        let mut assignment = ClusterLoadAssignment::default();
        assignment.localities = vec![locality];
        let mut cluster = ClusterConfig::new("c", ClusterDiscovery::Static(Arc::new(assignment)));
        cluster.transport_socket = Some(Arc::new(self.client));
        let proxy = Arc::new(TcpProxyConfig::new("t", "c"));
        let mut chain = FilterChainConfig::new(NetworkFilter::Tcp(proxy));
        chain.transport_socket = Some(Arc::new(self.server));
        let mut listener = ListenerConfig::new("l");
        listener.filter_chains = vec![chain];
        let mut config = ConfigSet::default();
        config.clusters.insert("c".into(), Arc::new(cluster));
        config.listeners = vec![Arc::new(listener)];
        let empty = Snapshot::empty(Arc::new(Stats::default()));
        let snapshot = Snapshot::build(config, &empty, &mut NoChance);

        let cluster = snapshot.clusters().next().unwrap();
        let listener = snapshot.listener("l").unwrap();
        let detected = mesh_core::listener::Detected::plaintext(address, address);
        let DownstreamSocket::Tls(context) = listener.find_chain(&detected).unwrap().socket else {
            panic!("the chain has TLS")
        };
        let mut met = Vec::new();
        for time in 0..times {
            before(time).await;
            let accepting = async {
                let (stream, _) = socket.accept().await.unwrap();
                let (mut io, tls) =
                    accept_tls(context, Duration::ZERO, Default::default(), stream).await?;
                // Session tickets leave with the first bytes.
                let _ = io.write_all(b"hello").await;
                let mut end = [0];
                let _ = io.read(&mut end).await;
                Ok(tls)
            };
            let connecting = async {
                let endpoint = &cluster.endpoints()[0];
                let mut io = connect(endpoint, cluster, Offer::Http1, None).await?;
                let mut hello = [0; 5];
                let _ = io.read_exact(&mut hello).await;
                let _ = io.shutdown().await;
                Ok(io)
            };
            met.push(tokio::join!(connecting, accepting));
        }
        met
    }
}

fn detail(met: &Met) -> &str {
    match &met.0 {
        Ok(_) => "",
        Err(e) => e.detail(),
    }
}

fn refusal(met: &Met) -> String {
    match &met.1 {
        Ok(_) => String::new(),
        Err(e) => e.to_string(),
    }
}

#[tokio::test]
async fn both_know_each_other() {
    let root = Authority::new("root");
    let (_, server) = Pair::new(&root).meet().await;
    let tls = server.unwrap();
    let peer = tls.peer.as_deref().expect("the client's certificate");
    assert_eq!(peer.uri_sans, [WORKLOAD.into()]);
    assert_eq!(&*peer.subject, "CN=w,O=Mesh\\, Inc.");
    assert!(tls.peer_validated);
    assert_eq!(tls.version, "TLSv1.3");
    assert_eq!(tls.local.unwrap().dns_sans, ["a.test".into()]);
}

#[tokio::test]
async fn a_bad_certificate_of_either_side_is_refused_and_the_reason_says_whose_fault_it_is() {
    let root = Authority::new("root");
    let other = Authority::new("other");
    let at_fault =
        "verify cert failed: X509_verify_cert: certificate verification error at depth 0: ";
    let named = "verify cert failed: SAN matcher, certificate SANs are ";
    for (what, identity, words) in [
        (
            "expired",
            root.issue(&leaf(|l| l.expired = true)),
            format!("{at_fault}certificate has expired"),
        ),
        (
            "not yet valid",
            root.issue(&leaf(|l| l.not_yet_valid = true)),
            format!("{at_fault}certificate is not yet valid"),
        ),
        (
            "wrong root",
            other.issue(&leaf(|_| {})),
            format!("{at_fault}unable to get local issuer certificate"),
        ),
        (
            "cannot sign",
            root.issue(&leaf(|l| l.cannot_sign = true)),
            format!("{at_fault}unsuitable certificate purpose"),
        ),
        (
            "wrong trust domain",
            root.issue(&leaf(|l| l.uris = vec!["spiffe://else/ns/a/sa/w".into()])),
            format!("{named}[a.test, spiffe://else/ns/a/sa/w]"),
        ),
        (
            "no URI",
            root.issue(&leaf(|l| l.uris.clear())),
            format!("{named}[a.test]"),
        ),
        (
            "wrong name",
            root.issue(&leaf(|l| {
                l.uris = vec!["spiffe://td.test/ns/a/sa/v".into()]
            })),
            format!("{named}[a.test, spiffe://td.test/ns/a/sa/v]"),
        ),
        (
            "revoked",
            root.issue(&leaf(|l| l.serial = 7)),
            format!("{at_fault}certificate revoked"),
        ),
    ] {
        let strict = || {
            let crl = root.revoke(&[7]);
            rules(|r| {
                r.trusted_ca = vec![root.der().into()];
                r.san_matchers = vec![uri(WORKLOAD)];
                r.crls = vec![der_of_pem(&crl).into()];
                r.only_verify_leaf_cert_crl = true;
            })
        };
        let mut of_server = Pair::new(&root);
        of_server.server.common.certificates = vec![certificate(&identity)];
        of_server.client.common.validation = strict();
        let met = of_server.meet().await;
        assert!(detail(&met).contains(&words), "{what}: {}", detail(&met));
        assert!(detail(&met).contains("CERTIFICATE_VERIFY_FAILED"), "{what}");
        // The server is told that it is its own.
        assert!(refusal(&met).contains("ALERT"), "{what}: {}", refusal(&met));

        let mut of_client = Pair::new(&root);
        of_client.client.common.certificates = vec![certificate(&identity)];
        of_client.server.common.validation = strict();
        let met = of_client.meet().await;
        assert!(refusal(&met).contains(&words), "{what}: {}", refusal(&met));
    }
    for (usage, of_server) in [(Usage::Client, true), (Usage::Server, false)] {
        let identity = root.issue(&leaf(|l| l.usage = usage));
        let mut pair = Pair::new(&root);
        match of_server {
            true => pair.server.common.certificates = vec![certificate(&identity)],
            false => pair.client.common.certificates = vec![certificate(&identity)],
        }
        let met = pair.meet().await;
        let said = if of_server {
            detail(&met).to_owned()
        } else {
            refusal(&met)
        };
        assert!(
            said.contains("unsuitable certificate purpose"),
            "{usage:?}: {said}"
        );
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused_where_one_is_required() {
    let root = Authority::new("root");
    for required in [true, false] {
        let mut pair = Pair::new(&root);
        pair.client.common.certificates.clear();
        pair.server.require_client_certificate = required;
        let (_, server) = pair.meet().await;
        match server {
            Ok(tls) => assert!(!required && tls.peer.is_none() && !tls.peer_validated),
            Err(e) => assert!(
                required && e.to_string().contains("PEER_DID_NOT_RETURN_A_CERTIFICATE"),
                "{e}"
            ),
        }
    }
}

#[tokio::test]
async fn workloads_of_several_trust_domains_are_verified_by_their_own_roots() {
    let [one, two] = [Authority::new("one"), Authority::new("two")];
    let domain = |name: &str, root: &Authority| TrustDomain {
        name: name.into(),
        trust_bundle: vec![root.der().into()],
    };
    for (signer, name, accepted) in [
        (&one, "spiffe://one.test/w", true),
        (&two, "spiffe://two.test/w", true),
        (&one, "spiffe://two.test/w", false),
        (&one, "spiffe://three.test/w", false),
        (&one, "https://one.test/w", false),
    ] {
        let mut pair = Pair::new(&one);
        let identity = signer.issue(&leaf(|l| l.uris = vec![name.to_owned()]));
        pair.client.common.certificates = vec![certificate(&identity)];
        pair.server.common.validation = rules(|r| {
            r.spiffe = Some(vec![domain("one.test", &one), domain("two.test", &two)]);
        });
        let (_, server) = pair.meet().await;
        assert_eq!(server.is_ok(), accepted, "{name}: {server:?}");
    }
}

#[tokio::test]
async fn sessions_are_resumed_by_the_contexts_that_allow_it() {
    let root = Authority::new("root");
    for (keys, resumes) in [(1, true), (0, false)] {
        let mut pair = Pair::new(&root);
        pair.client.max_session_keys = keys;
        let met = pair.meet_times(5).await;
        let resumed = met.iter().filter(|(client, _)| match client {
            Ok(UpstreamIo::Tls(io)) => {
                let kind = io.get_ref().1.handshake_kind();
                kind == Some(rustls::HandshakeKind::Resumed)
            }
            _ => false,
        });
        assert_eq!(resumed.count(), if resumes { 4 } else { 0 });
        // Who it is, is known all the same.
        for (_, server) in met {
            assert_eq!(server.unwrap().peer.unwrap().uri_sans, [WORKLOAD.into()]);
        }
    }
}

#[tokio::test]
async fn a_resumed_session_does_not_outlive_the_certificate_that_it_was_made_with() {
    let root = Authority::new("root");
    let since_1970 = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    for is_clients in [true, false] {
        let expires = Duration::from_secs(since_1970().as_secs() + 2);
        let mut pair = Pair::new(&root);
        let side = match is_clients {
            true => &mut pair.client.common,
            false => &mut pair.server.common,
        };
        side.certificates = vec![certificate(
            &root.issue(&leaf(|l| l.expires = Some(expires))),
        )];
        let expired = async |time| {
            // The last second is a valid one.
            while time > 0 && since_1970() < expires + Duration::from_secs(1) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let met = pair.meet_each_after(2, expired).await;
        assert!(met[0].0.is_ok() && met[0].1.is_ok(), "{met:?}");
        let reason = match is_clients {
            true => refusal(&met[1]),
            false => detail(&met[1]).to_owned(),
        };
        assert!(reason.contains("certificate has expired"), "{met:?}");
    }
}

/// The only block of a PEM text.
fn der_of_pem(pem: &str) -> Vec<u8> {
    use rustls::pki_types::{CertificateRevocationListDer, pem::PemObject};
    CertificateRevocationListDer::from_pem_slice(pem.as_bytes())
        .unwrap()
        .to_vec()
}
