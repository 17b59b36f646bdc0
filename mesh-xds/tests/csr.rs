//! Certificates from an authority: this mesh's own control plane over gRPC.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use mesh_control::{
    ControlPlane, Options,
    ca::{CaOptions, CertificateAuthority, RotationStep, ServiceAccount},
};
use mesh_core::Entropy;
use mesh_testkit::certificates::{Authority, Leaf};
use mesh_xds::{
    bootstrap::AdsAddress,
    csr::{CsrClient, CsrError, CsrOptions, DialTls},
    transport::{Connect as _, Dial},
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::net::TcpListener;

struct Half;

impl Entropy for Half {
    fn next_u64(&mut self) -> u64 {
        1 << 63
    }
}

/// A control plane with an authority, and the file with a token for `shop/web`.
struct Scene {
    dir: tempfile::TempDir,
    authority: Arc<CertificateAuthority>,
    address: AdsAddress,
}

impl Scene {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let control = ControlPlane::open(dir.path(), Options::default()).unwrap();
        let ca = CertificateAuthority::dir_in(dir.path());
        let ca = CertificateAuthority::open(ca, CaOptions::default(), SystemTime::now());
        let authority = Arc::new(ca.unwrap());
        control.set_authority(authority.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp(&listener);
        tokio::spawn(async move { control.serve(listener, std::future::pending()).await });
        let scene = Scene {
            dir,
            authority,
            address,
        };
        scene.write_token();
        scene
    }

    fn token_file(&self) -> std::path::PathBuf {
        self.dir.path().join("token")
    }

    fn write_token(&self) {
        let account = ServiceAccount::parse("shop/web").unwrap();
        let hour = Duration::from_secs(3_600);
        let token = self.authority.token(&account, hour, SystemTime::now());
        fs::write(self.token_file(), token.unwrap() + "\n").unwrap();
    }

    fn options(&self) -> CsrOptions {
        let mut options = CsrOptions::new(self.address.clone(), self.token_file());
        // somebody else's: what counts is the token
        options.spiffe_id = "spiffe://cluster.local/ns/istio-system/sa/istiod".to_owned();
        options
    }
}

fn tcp(listener: &TcpListener) -> AdsAddress {
    let address = listener.local_addr().unwrap();
    AdsAddress::Tcp {
        host: address.ip().to_string(),
        port: address.port(),
    }
}

#[tokio::test]
async fn a_token_of_a_file_brings_the_secrets_of_istios_agent() {
    let scene = Scene::new().await;
    let client = CsrClient::new(scene.options(), Dial);
    let identity = client.request(SystemTime::now()).await.unwrap();
    assert_eq!(
        identity.spiffe_id(),
        "spiffe://cluster.local/ns/shop/sa/web"
    );
    assert_eq!(identity.roots(), scene.authority.roots());
    let [own, roots] = identity.secrets();
    assert_eq!((&*own.name, &*roots.name), ("default", "ROOTCA"));
    let again = client.request(SystemTime::now()).await.unwrap();
    assert_ne!(
        again.secrets()[0],
        own,
        "every request has a key of its own"
    );
    let shown = format!("{identity:?} {:?} {:?}", client, client.state().borrow());
    assert!(!shown.contains("PRIVATE KEY"), "{shown}");

    scene
        .authority
        .rotate(RotationStep::Introduce, SystemTime::now())
        .unwrap();
    let both = client.request(SystemTime::now()).await.unwrap();
    assert_eq!(both.roots().matches("BEGIN CERTIFICATE").count(), 2);
}

#[tokio::test]
async fn certificates_are_renewed_and_the_last_good_one_stays() {
    let scene = Scene::new().await;
    let mut options = scene.options();
    options.lifetime = Duration::from_secs(2);
    let client = CsrClient::new(options, Dial);
    let mut state = client.state();
    let handed: Arc<Mutex<Vec<SystemTime>>> = Arc::default();
    let to = handed.clone();
    tokio::spawn(async move {
        let hand_on = |identity: &mesh_xds::csr::Identity| {
            to.lock().unwrap().push(identity.received());
        };
        client.run(hand_on, SystemTime::now, &mut Half).await
    });
    let waiting = state.wait_for(|state| state.identity.is_some());
    let first = waiting.await.unwrap().identity.clone().unwrap();
    let renewed = |state: &mesh_xds::csr::CsrState, than: &Arc<mesh_xds::csr::Identity>| {
        state.identity.as_ref().is_some_and(|now| now != than)
    };
    let second = {
        let waiting = state.wait_for(|state| renewed(state, &first));
        waiting.await.unwrap().identity.clone().unwrap()
    };
    // half of its two seconds was left
    let early = first
        .validity()
        .1
        .duration_since(second.received())
        .unwrap();
    assert!(early > Duration::from_millis(100), "{early:?}");

    fs::remove_file(scene.token_file()).unwrap();
    let failed = state.wait_for(|state| state.failures > 0).await.unwrap();
    assert!(failed.identity.is_some(), "the last good one stays");
    let error = failed.error.clone().unwrap();
    assert!(error.contains("token"), "{error}");
    let last = failed.identity.clone().unwrap();
    drop(failed);
    scene.write_token();
    let good = state.wait_for(|state| renewed(state, &last)).await.unwrap();
    assert_eq!((good.failures, &good.error), (0, &None));
    assert!(handed.lock().unwrap().len() >= 3);
}

#[tokio::test]
async fn refusals_say_whose_fault_it_is_and_no_secret() {
    let scene = Scene::new().await;
    fs::write(scene.token_file(), "eyJ.secret.token").unwrap();
    let client = CsrClient::new(scene.options(), Dial);
    let refused = client.request(SystemTime::now()).await.unwrap_err();
    assert!(matches!(&refused, CsrError::Refused(_)), "{refused}");
    assert!(refused.to_string().contains("Unauthenticated"), "{refused}");
    assert!(
        !format!("{refused} {refused:?}").contains("secret"),
        "{refused:?}"
    );

    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut options = scene.options();
    options.address = tcp(&gone);
    drop(gone);
    let refused = CsrClient::new(options, Dial)
        .request(SystemTime::now())
        .await;
    assert!(
        matches!(refused, Err(CsrError::Transport(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn tls_believes_the_roots_of_a_file_as_they_are_now() {
    let root = Authority::new("istiod's root");
    let leaf = root.issue(&Leaf {
        dns: vec!["istiod.istio-system.svc".to_owned()],
        ..Leaf::default()
    });
    let chain = CertificateDer::pem_slice_iter(leaf.chain.as_bytes());
    let chain: Vec<_> = chain.map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp(&listener);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let _ = acceptor.accept(stream).await;
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("root-cert.pem");
    let dial = |roots: &Path, name: &str| DialTls::new(roots, name);
    let right = dial(&file, "istiod.istio-system.svc");
    assert!(right.connect(&address).await.is_err(), "no file");
    fs::write(&file, Authority::new("another").pem()).unwrap();
    let error = right.connect(&address).await.unwrap_err().to_string();
    assert!(error.contains("UnknownIssuer"), "{error}");
    fs::write(&file, root.pem()).unwrap();
    right.connect(&address).await.unwrap();
    let error = dial(&file, "other.svc").connect(&address).await;
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("not valid for name")
    );
}
