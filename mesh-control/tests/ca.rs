//! The certificate authority: whatever is asked for, a certificate names whom the token proves, and nobody else.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use mesh_control::ca::{
    CaOptions, CertificateAuthority, RefusedCertificate, RefusedCsr, RefusedToken, RotationStep,
    ServiceAccount,
};
use mesh_testkit::certificates::Authority;
use mesh_testkit::random::Random;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PublicKeyData as _, SanType,
};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::pem::Pem;

const DOMAIN: &str = "cluster.local";
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000)
}

fn open(dir: &Path) -> CertificateAuthority {
    CertificateAuthority::open(dir, CaOptions::default(), now()).unwrap()
}

fn account(text: &str) -> ServiceAccount {
    ServiceAccount::parse(text).unwrap()
}

fn csr(key: &KeyPair) -> String {
    let params = CertificateParams::new(Vec::new()).unwrap();
    params.serialize_request(key).unwrap().pem().unwrap()
}

/// A request that asks for everything that it must not get.
fn greedy_csr(key: &KeyPair, identity: &str) -> String {
    let mut params = CertificateParams::new(vec!["istiod.istio-system.svc".to_owned()]).unwrap();
    let uri = SanType::URI(identity.try_into().unwrap());
    params.subject_alt_names.push(uri);
    params
        .distinguished_name
        .push(DnType::CommonName, "admin.example.com");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    params.serialize_request(key).unwrap().pem().unwrap()
}

fn der(pem: &str) -> Vec<u8> {
    let block = Pem::iter_from_buffer(pem.as_bytes()).next();
    block.unwrap().unwrap().contents
}

/// Fails unless the chain's leaf is what every workload gets, for exactly this identity and key.
fn assert_only(chain: &[String], identity: &str, spki: &[u8]) {
    let leaf = der(&chain[0]);
    let (rest, leaf) = x509_parser::parse_x509_certificate(&leaf).unwrap();
    assert!(rest.is_empty());
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    assert_eq!(names.value.general_names, [GeneralName::URI(identity)]);
    assert!(names.critical, "the subject is empty");
    assert_eq!(leaf.subject().iter().count(), 0);
    let constraints = leaf.basic_constraints().unwrap().unwrap();
    assert!(!constraints.value.ca);
    let usage = leaf.key_usage().unwrap().unwrap().value;
    assert_eq!(usage.flags, 0b101, "signature and key encipherment");
    let extended = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.server_auth && extended.client_auth);
    assert!(!extended.code_signing && !extended.any && extended.other.is_empty());
    assert_eq!(leaf.public_key().raw, spki);
    for extension in leaf.extensions() {
        assert!(
            matches!(
                extension.parsed_extension(),
                ParsedExtension::SubjectAlternativeName(_)
                    | ParsedExtension::BasicConstraints(_)
                    | ParsedExtension::KeyUsage(_)
                    | ParsedExtension::ExtendedKeyUsage(_)
                    | ParsedExtension::AuthorityKeyIdentifier(_)
                    | ParsedExtension::SubjectKeyIdentifier(_)
            ),
            "{extension:?}"
        );
    }
    // some root of the answer signed it, or signed what did
    let above: Vec<Vec<u8>> = chain[1..]
        .iter()
        .flat_map(|text| Pem::iter_from_buffer(text.as_bytes()).map(|b| b.unwrap().contents))
        .collect();
    assert!(above.iter().any(|issuer| {
        let (_, issuer) = x509_parser::parse_x509_certificate(issuer).unwrap();
        leaf.issuer() == issuer.subject()
            && leaf.verify_signature(Some(issuer.public_key())).is_ok()
    }));
}

#[test]
fn a_certificate_says_whom_the_token_proves_and_nothing_of_the_request() {
    let dir = tempfile::tempdir().unwrap();
    let ca = open(dir.path());
    let token = ca.token(&account("shop/web"), HOUR, now()).unwrap();
    let key = KeyPair::generate().unwrap();
    let csr = greedy_csr(&key, "spiffe://cluster.local/ns/istio-system/sa/istiod");
    let chain = ca
        .certify(&token, &csr, Duration::ZERO, DOMAIN, now())
        .unwrap();
    let spki = key.subject_public_key_info();
    assert_only(&chain, "spiffe://cluster.local/ns/shop/sa/web", &spki);
    assert_eq!(chain.last(), Some(&ca.roots()));

    let lifetime = |chain: &[String]| {
        let leaf = der(&chain[0]);
        let (_, leaf) = x509_parser::parse_x509_certificate(&leaf).unwrap();
        let validity = leaf.validity();
        let now = now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let now = i64::try_from(now.as_secs()).unwrap();
        assert_eq!(validity.not_before.timestamp(), now - 120);
        validity.not_after.timestamp() - now
    };
    assert_eq!(lifetime(&chain), 24 * 3_600);
    let short = ca.certify(&token, &csr, HOUR, DOMAIN, now()).unwrap();
    assert_eq!(lifetime(&short), 3_600);
    let long = ca.certify(&token, &csr, 91 * DAY, DOMAIN, now());
    let refused = RefusedCsr::Lifetime(91 * DAY, 90 * DAY);
    assert_eq!(long, Err(RefusedCertificate::Csr(refused)));
}

#[test]
fn tokens_prove_one_account_to_this_authority_for_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let ca = open(dir.path());
    let elsewhere = tempfile::tempdir().unwrap();
    let other = open(elsewhere.path());
    let key = KeyPair::generate().unwrap();
    let ask = |token: &str, at: SystemTime| {
        ca.certify(token, &csr(&key), Duration::ZERO, DOMAIN, at)
            .map(|_| ())
    };
    let token = ca.token(&account("a/b"), HOUR, now()).unwrap();
    assert_eq!(ask(&token, now()), Ok(()));
    // another process that shares the folder
    let again = open(dir.path());
    let shared = again.token(&account("a/b"), HOUR, now()).unwrap();
    assert_eq!(ask(&shared, now()), Ok(()));
    for (token, at) in [
        (token.as_str(), now() + 2 * HOUR),
        (&token, now() - HOUR),
        (&other.token(&account("a/b"), HOUR, now()).unwrap(), now()),
        ("", now()),
        ("a.b.c", now()),
    ] {
        let answer = ask(token, at);
        assert!(
            matches!(
                answer,
                Err(RefusedCertificate::Token(RefusedToken::Invalid(_)))
            ),
            "{answer:?}"
        );
    }
}

#[test]
fn tokens_of_kubernetes_are_believed_by_key_set() {
    use jsonwebtoken::jwk::{Jwk, JwkSet};
    use jsonwebtoken::{Algorithm, EncodingKey, Header};

    let cluster = EncodingKey::from_ec_der(KeyPair::generate().unwrap().serialized_der());
    let key = Jwk::from_encoding_key(&cluster, Algorithm::ES256).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let jwks = dir.path().join("jwks.json");
    let set = JwkSet { keys: vec![key] };
    fs::write(&jwks, serde_json::to_vec(&set).unwrap()).unwrap();
    let mut options = CaOptions::default();
    options.jwks = Some(jwks);
    options.issuer = "https://kubernetes.default.svc".to_owned();
    let ca = CertificateAuthority::open(dir.path().join("ca"), options, now()).unwrap();
    let at = now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let right = serde_json::json!({
        "iss": "https://kubernetes.default.svc", "aud": ["istio-ca"], "exp": at + 600, "iat": at,
        "sub": "system:serviceaccount:shop:web",
    });
    let key = KeyPair::generate().unwrap();
    let ask = |claims: &serde_json::Value, algorithm, signs: &EncodingKey| {
        let token = jsonwebtoken::encode(&Header::new(algorithm), claims, signs).unwrap();
        ca.certify(&token, &csr(&key), Duration::ZERO, DOMAIN, now())
    };
    let chain = ask(&right, Algorithm::ES256, &cluster).unwrap();
    let spki = key.subject_public_key_info();
    assert_only(&chain, "spiffe://cluster.local/ns/shop/sa/web", &spki);

    for (field, value, refused) in [
        (
            "aud",
            serde_json::json!(["api"]),
            Some(RefusedToken::Audience),
        ),
        (
            "aud",
            serde_json::json!(["https://istio-ca/"]),
            Some(RefusedToken::Audience),
        ),
        ("iss", "meshctl".into(), Some(RefusedToken::Issuer)),
        ("exp", serde_json::Value::Null, None),
        ("exp", (at - 60).into(), None),
        ("exp", 0.into(), Some(RefusedToken::NoExpiry)),
        (
            "sub",
            "system:serviceaccount:shop".into(),
            Some(RefusedToken::Subject),
        ),
        (
            "sub",
            "system:serviceaccount:shop:web:x".into(),
            Some(RefusedToken::Subject),
        ),
        (
            "sub",
            "system:serviceaccount:shop:web/../admin".into(),
            Some(RefusedToken::Subject),
        ),
        ("sub", "system:node:web".into(), Some(RefusedToken::Subject)),
    ] {
        let mut wrong = right.clone();
        wrong[field] = value;
        match (ask(&wrong, Algorithm::ES256, &cluster), refused) {
            (Err(RefusedCertificate::Token(got)), Some(expected)) => assert_eq!(got, expected),
            (Err(RefusedCertificate::Token(_)), None) => {}
            (got, _) => panic!("{field}: {got:?}"),
        }
    }
    let secret = EncodingKey::from_secret(&fs::read(dir.path().join("jwks.json")).unwrap());
    assert!(ask(&right, Algorithm::HS256, &secret).is_err());
}

#[test]
fn ten_thousand_requests_certify_nobody_who_was_not_proved() {
    let (seed, cases) = (Random::seed(), Random::cases(10_000));
    let mut random = Random::new(seed);
    let dir = tempfile::tempdir().unwrap();
    let ca = open(dir.path());
    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = open(elsewhere.path());
    let names = [
        "a/b",
        "a/b-c",
        "a-b/c",
        "istio-system/istiod",
        "default/default",
    ];
    let identities: Vec<String> = names
        .iter()
        .map(|name| account(name).spiffe_id(DOMAIN))
        .collect();
    let algorithms = [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
    ];
    let requests: Vec<(Vec<u8>, Vec<u8>)> = (0..30)
        .map(|_| {
            let key = KeyPair::generate_for(algorithms[random.below(3)]).unwrap();
            let wanted = random.one(&identities);
            let text = match random.below(4) {
                0 => csr(&key),
                _ => greedy_csr(&key, wanted),
            };
            (der(&text), key.subject_public_key_info())
        })
        .collect();
    let tokens: Vec<(usize, String)> = (0..names.len())
        .map(|i| (i, ca.token(&account(names[i]), HOUR, now()).unwrap()))
        .collect();

    let (mut certified, mut refused_token, mut refused_csr) = (0, 0, 0);
    for case in 0..cases {
        let (index, good) = random.one(&tokens).clone();
        let (token, is_believed) = token(&mut random, &good, &tokens, &stranger, &names);
        let (request, spki) = random.one(&requests);
        let text = request_text(&mut random, request, &requests);
        let answer = ca.certify(&token, &text, Duration::ZERO, DOMAIN, now());
        match answer {
            Ok(chain) => {
                assert!(is_believed, "case {case} of seed {seed}: {token}");
                // what was signed is a request as it came, not one that somebody changed
                let sent = requests.iter().find(|(_, key)| {
                    let leaf = der(&chain[0]);
                    let (_, leaf) = x509_parser::parse_x509_certificate(&leaf).unwrap();
                    leaf.public_key().raw == key
                });
                let key = sent.map_or(spki, |(_, key)| key);
                assert_only(&chain, &identities[index], key);
                certified += 1;
            }
            Err(RefusedCertificate::Token(_)) => {
                assert!(!is_believed, "case {case} of seed {seed}: {token}");
                refused_token += 1;
            }
            Err(_) => refused_csr += 1,
        }
    }
    eprintln!(
        "{cases} cases: {certified} certified, {refused_token} tokens and {refused_csr} requests refused"
    );
    assert!(certified > cases / 20 && refused_token > cases / 20 && refused_csr > cases / 20);
}

/// A token, and whether it is the one that proves its account.
fn token(
    random: &mut Random,
    good: &str,
    all: &[(usize, String)],
    stranger: &CertificateAuthority,
    names: &[&str],
) -> (String, bool) {
    let parts: Vec<&str> = good.split('.').collect();
    let other = &random.one(all).1;
    let others: Vec<&str> = other.split('.').collect();
    let wrong = match random.below(12) {
        0 => format!("{}.{}.{}", parts[0], others[1], parts[2]),
        1 => format!("{}.{}.", parts[0], parts[1]),
        // {"alg":"none"}
        2 => format!("eyJhbGciOiJub25lIn0.{}.{}", parts[1], parts[2]),
        3 => stranger
            .token(&account(names[random.below(names.len())]), HOUR, now())
            .unwrap(),
        4 => {
            let mut bytes = good.as_bytes().to_vec();
            let at = random.below(bytes.len());
            bytes[at] =
                *random.one(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.");
            String::from_utf8(bytes).unwrap()
        }
        _ => good.to_owned(),
    };
    let is_good = same_token(&wrong, good);
    (wrong, is_good)
}

/// Whether two tokens say and prove the same: the last digit of a part holds bits that mean nothing.
fn same_token(one: &str, other: &str) -> bool {
    let read = |token: &str| {
        let token = mesh_core::jwt::Token::parse(token).ok()?;
        Some((token.signed.to_owned(), token.signature))
    };
    one == other || read(one).is_some_and(|one| Some(one) == read(other))
}

fn request_text(random: &mut Random, der: &[u8], all: &[(Vec<u8>, Vec<u8>)]) -> String {
    let mut der = der.to_vec();
    let changes = match random.below(3) {
        0 => 0,
        _ => 1 + random.below(3),
    };
    for _ in 0..changes {
        let at = random.below(der.len());
        match random.below(7) {
            0 => der[at] ^= 1 << random.below(8),
            1 => der[at] = random.next_u64() as u8,
            2 => der.truncate(at.max(1)),
            3 => der.insert(at, random.next_u64() as u8),
            4 => {
                der.remove(at);
            }
            5 => der.extend_from_slice(&random.one(all).0),
            _ => {
                // a part of another request: its key, its names, its signature
                let other = &random.one(all).0;
                let from = at.min(other.len().saturating_sub(1));
                let to = (from + random.below(80)).min(other.len()).min(der.len());
                if from < to {
                    der[from..to].copy_from_slice(&other[from..to]);
                }
            }
        }
        if der.is_empty() {
            der.push(0);
        }
    }
    let label = match random.below(20) {
        0 => "CERTIFICATE",
        1 => "",
        _ => "CERTIFICATE REQUEST",
    };
    let text = pem::encode(&pem::Pem::new(label, der));
    match random.below(20) {
        0 => text.chars().filter(|c| *c != '-').collect(),
        1 => text[..random.below(text.len())].to_owned(),
        2 => text.replace("-----END", "-----BEGIN"),
        _ => text,
    }
}

#[test]
fn keys_are_for_their_owner_alone_and_survive() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join(".ca");
    let roots = open(&folder).roots();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for file in ["root.pem", "token-key.pem"] {
        assert_eq!(mode(&folder.join(file)), 0o600, "{file}");
    }
    assert_eq!(open(&folder).roots(), roots);
    let leftover: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".new"))
        .collect();
    assert!(leftover.is_empty(), "{leftover:?}");

    fs::set_permissions(folder.join("root.pem"), fs::Permissions::from_mode(0o640)).unwrap();
    let refused = CertificateAuthority::open(&folder, CaOptions::default(), now());
    let text = refused.unwrap_err().to_string();
    assert!(
        text.contains("root.pem: others may read this key"),
        "{text}"
    );
    assert!(!format!("{:?}", open(&dir.path().join("other"))).contains("PRIVATE"));
}

#[test]
fn a_given_intermediate_signs_if_everything_fits() {
    let root = Authority::new("given root");
    let intermediate = root.intermediate("given intermediate");
    let (signs, key) = (intermediate.pem(), intermediate.key());
    let dir = tempfile::tempdir().unwrap();
    let put = |file: &str, text: &str| {
        fs::write(dir.path().join(file), text).unwrap();
        fs::set_permissions(dir.path().join(file), fs::Permissions::from_mode(0o600)).unwrap();
    };
    put("ca-cert.pem", &signs);
    put("ca-key.pem", &key);
    put("cert-chain.pem", &format!("{signs}{}", root.pem()));
    put("root-cert.pem", &root.pem());
    let ca = open(dir.path());
    let leaf_key = KeyPair::generate().unwrap();
    let token = ca.token(&account("a/b"), HOUR, now()).unwrap();
    let chain = ca
        .certify(&token, &csr(&leaf_key), Duration::ZERO, DOMAIN, now())
        .unwrap();
    let spki = leaf_key.subject_public_key_info();
    assert_only(&chain, "spiffe://cluster.local/ns/a/sa/b", &spki);
    assert_eq!(chain.len(), 3, "leaf, intermediate, root");
    assert_eq!(der(&chain[1]), der(&signs));
    assert_eq!(der(&chain[2]), root.der());
    assert!(ca.rotate(RotationStep::Introduce, now()).is_err());

    let wrong = |file: &str, text: &str, expected: &str| {
        let before = fs::read_to_string(dir.path().join(file)).unwrap();
        put(file, text);
        let got = CertificateAuthority::open(dir.path(), CaOptions::default(), now());
        let got = got.unwrap_err().to_string();
        assert!(got.contains(expected), "{got}");
        put(file, &before);
    };
    let other_key = KeyPair::generate().unwrap().serialize_pem();
    wrong(
        "ca-key.pem",
        &other_key,
        "is the certificate of another key",
    );
    wrong(
        "root-cert.pem",
        &Authority::new("x").pem(),
        "does not lead to a root",
    );
    wrong("ca-key.pem", "nothing", "holds no key");
}

#[test]
fn roots_overlap_while_they_are_rotated() {
    let dir = tempfile::tempdir().unwrap();
    let ca = open(dir.path());
    let key = KeyPair::generate().unwrap();
    let issue = |at: SystemTime| {
        let token = ca.token(&account("a/b"), HOUR, at).unwrap();
        ca.certify(&token, &csr(&key), Duration::ZERO, DOMAIN, at)
            .unwrap()
    };
    // whether a workload with one answer believes a workload with another
    let believes = |who: &[String], whom: &[String]| {
        let leaf = der(&whom[0]);
        let (_, leaf) = x509_parser::parse_x509_certificate(&leaf).unwrap();
        Pem::iter_from_buffer(who.last().unwrap().as_bytes()).any(|root| {
            let root = root.unwrap();
            let root = root.parse_x509().unwrap();
            leaf.verify_signature(Some(root.public_key())).is_ok()
        })
    };
    let before = issue(now());
    assert!(ca.rotate(RotationStep::Switch, now()).is_err());
    ca.rotate(RotationStep::Introduce, now()).unwrap();
    assert!(ca.rotate(RotationStep::Introduce, now()).is_err());
    let introduced = issue(now());
    ca.rotate(RotationStep::Switch, now()).unwrap();
    let switched = issue(now());
    ca.rotate(RotationStep::Retire, now()).unwrap();
    let retired = issue(now());
    let stages = [&before, &introduced, &switched, &retired];
    for pair in stages.windows(2) {
        assert!(believes(pair[0], pair[1]) && believes(pair[1], pair[0]));
    }
    assert!(!believes(&before, &retired) && !believes(&retired, &before));

    // by itself, before the root is over
    let year = 365 * DAY;
    let late = now() + 9 * year;
    ca.refresh(late).unwrap();
    assert_eq!(ca.roots().matches("BEGIN CERTIFICATE").count(), 2);
    let first = issue(late);
    ca.refresh(late + HOUR).unwrap();
    assert_eq!(issue(late + HOUR).last(), first.last());
    let later = late + 2 * DAY;
    ca.refresh(later).unwrap();
    let second = issue(later);
    assert!(believes(&first, &second) && believes(&second, &first));
    ca.refresh(now() + 11 * year).unwrap();
    assert_eq!(ca.roots().matches("BEGIN CERTIFICATE").count(), 1);
}
