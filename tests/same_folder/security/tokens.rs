//! Tokens, and RequestAuthentications that believe some of them. The keys are of these tests alone.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use mesh_testkit::random::Random;
use serde_json::json;

const ISSUERS: [&str; 3] = ["issuer-0", "https://issuer.example/1", "issuer-2"];
/// Of each issuer; what they are in base64 comes after.
const SECRETS: [&str; 3] = [
    "a-secret-of-these-tests-that-is-long-enough-for-0",
    "a-secret-of-these-tests-that-is-long-enough-for-1",
    "a-secret-of-these-tests-that-is-long-enough-for-2",
];
const ENCODED: [&str; 3] = [
    "YS1zZWNyZXQtb2YtdGhlc2UtdGVzdHMtdGhhdC1pcy1sb25nLWVub3VnaC1mb3ItMA",
    "YS1zZWNyZXQtb2YtdGhlc2UtdGVzdHMtdGhhdC1pcy1sb25nLWVub3VnaC1mb3ItMQ",
    "YS1zZWNyZXQtb2YtdGhlc2UtdGVzdHMtdGhhdC1pcy1sb25nLWVub3VnaC1mb3ItMg",
];

/// A token, mostly a good one.
pub(super) fn token(random: &mut Random) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let issuer = random.below(3);
    let mut claims = json!({
        "iss": ISSUERS[issuer],
        "sub": random.one(&["anna", "bert"]),
        "exp": now + 3600,
        "scope": random.one(&["read", "read write"]),
        "deep": {"n": random.one(&["x", "yes"])},
    });
    if random.chance(60) {
        claims["aud"] = random
            .one(&[json!("shop"), json!(["other", "shop"]), json!("nobody")])
            .clone();
    }
    if random.chance(60) {
        claims["groups"] = random
            .one(&[
                json!("admin"),
                json!(["user", "admin"]),
                json!([]),
                json!(7),
            ])
            .clone();
    }
    if random.chance(30) {
        claims["azp"] = json!("app");
    }
    if random.chance(6) {
        claims["exp"] = json!(now - 3600);
    }
    if random.chance(4) {
        claims["iss"] = json!("unknown");
    }
    let secret = match random.chance(6) {
        true => SECRETS[(issuer + 1) % 3],
        false => SECRETS[issuer],
    };
    let mut header = Header::new(Algorithm::HS256);
    if random.chance(50) {
        header.kid = Some(format!("k{issuer}"));
    }
    let token = encode(
        &header,
        &claims,
        &EncodingKey::from_secret(secret.as_bytes()),
    )
    .expect("a key of its kind");
    match random.below(40) {
        0 => token.replace('.', ""),
        1 => token[..token.len() - 2].to_owned(),
        _ => token,
    }
}

/// A folder's RequestAuthentications.
pub(super) fn authentications(random: &mut Random) -> String {
    let mut text = String::new();
    for n in 0..2 {
        let namespace = random.one(&["default", "istio-system"]);
        let _ = write!(
            text,
            "---\napiVersion: security.istio.io/v1\nkind: RequestAuthentication\n\
             metadata: {{name: jwt-{n}, namespace: {namespace}}}\n\
             spec:\n  selector: {{matchLabels: {{app: shop}}}}\n  jwtRules:\n"
        );
        // of two rules of one issuer Envoy takes any
        let issuers: &[usize] = if n == 0 { &[0, 1] } else { &[2] };
        for &issuer in issuers {
            let keys = format!(
                "{{\"keys\": [{{\"kty\": \"oct\", \"kid\": \"k{issuer}\", \"alg\": \"HS256\", \"k\": \"{}\"}}]}}",
                ENCODED[issuer]
            );
            let _ = write!(
                text,
                "  - issuer: {}\n    jwks: '{keys}'\n",
                ISSUERS[issuer]
            );
            for (likely, field) in [
                (30, "audiences: [shop, third]"),
                (
                    25,
                    "fromHeaders: [{name: authorization, prefix: \"Bearer \"}, {name: x-jwt, prefix: \"Token \"}]",
                ),
                (25, "fromParams: [token]"),
                (25, "fromCookies: [session]"),
                (50, "forwardOriginalToken: true"),
                (40, "outputPayloadToHeader: x-payload"),
                (
                    50,
                    "outputClaimToHeaders: [{header: x-sub, claim: sub}, {header: x-deep, claim: deep.n}]",
                ),
                (30, "spaceDelimitedClaims: [sub]"),
            ] {
                if random.chance(likely) {
                    let _ = writeln!(text, "    {field}");
                }
            }
        }
    }
    text
}
