//! Random JWT requirements, and tokens that come near them. The keys are of these tests alone.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, crypto::sign};
use mesh_testkit::random::Random;
use serde_json::{Map, Value, json};

use crate::config::type_url;

const SECRET: &str = "a-secret-of-these-tests-that-is-long-enough-for-every-hash-there-is";
const EC_X: &str = "b_cQHxNb_AbFZfA7Rir0LsnYULU0rzDJNJoJNMIuDRI";
const EC_Y: &str = "HqD93PB4I9tYALAWi5KNd-8sKRMP4Pnv_HtE_lXvk_c";
const EC_PRIVATE: &str = "\
    MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg1uk4OeLDxxCUr2Us3bRzO3gO3zAIzlXndy-9JjcSAe-hRANCAARv\
    9xAfE1v8BsVl8DtGKvQuydhQtTSvMMk0mgk0wi4NEh6g_dzweCPbWACwFouSjXfvLCkTD-D57_x7RP5V75P3\
    ";
const RSA_N: &str = "\
    pUtL3WMu_CHf7-ZLQAdGuBShICG8WdEvbWuz1by8k78f7uD3iiSpvRty-O5aqnqjDfjHtfASmHNWX9sHeP1YhiIeqnqdFcYvjcdu\
    FoQJVmqNPJunPa9k5SdEGnDalTmqEHYap8WGJmOxbkGvmrdsm2kZC53F_7uRvvMAavUFXIGIFLSxiSNy18w1JXwicadkYeiAgV7J\
    tClpVZo-tPu3PI6tFx62GKNivnkCIztLpwcVmELjJMndiHvYrIuOYr2NOfpqgRia97Eip4RQigAwkJp8WhZhd8tAqlKfLq4aRMDT\
    j69qxbT-tL7n13NpHF_tXOUGCBrnqgoe6Pcg3kkEGQ\
    ";
const RSA_PRIVATE: &str = "\
    MIIEowIBAAKCAQEApUtL3WMu_CHf7-ZLQAdGuBShICG8WdEvbWuz1by8k78f7uD3iiSpvRty-O5aqnqjDfjHtfASmHNWX9sHeP1Y\
    hiIeqnqdFcYvjcduFoQJVmqNPJunPa9k5SdEGnDalTmqEHYap8WGJmOxbkGvmrdsm2kZC53F_7uRvvMAavUFXIGIFLSxiSNy18w1\
    JXwicadkYeiAgV7JtClpVZo-tPu3PI6tFx62GKNivnkCIztLpwcVmELjJMndiHvYrIuOYr2NOfpqgRia97Eip4RQigAwkJp8WhZh\
    d8tAqlKfLq4aRMDTj69qxbT-tL7n13NpHF_tXOUGCBrnqgoe6Pcg3kkEGQIDAQABAoIBAAGyKeObWX2j7VY9S8c0v5kyw3MSmnZl\
    6t3ZqLNb1Apr4meR2s1E3C-Zkk6dAomFyl8JIrFIAKb-yEOENThhsWCi8a04V9fhT7k2GpVnthnkYl3nQKLWz_nH7j3qIdIpweDA\
    DXfihF2AjCBPIiXtC8n1MJkEzIM8tVOxRNG2lN8nl8LaLVGQMiq1HjB7xNUKm4xbOqM1ESyLp93rwS_DYuTzZe2ntFAgLZ38nEmi\
    w95r99gboDhvw5E03PvTZ8gYQrCOVuemT5_F5MuiMvmwsDMpUDDztm-hHB_kQUsR1SVjHDJp58pS2xhoEowDrddkPY_Ayc42eNer\
    cH6uV8m1DhcCgYEA4vpdLIHPdSb-rwj-Rk4HcEQI6eg3g5T6qywkWaSJM-HSY9zHMFU37uRZmcQvOOX2C9F25YXCvYeQaRZLF3Ow\
    C0HkW1HSx0Kp2s6z3FIO8Z4OD9j_2fNYQXdn7421syT0UB103w5mbvmGLu-KdOyr32N8sKmeMoOhmPn4vGJ8YYcCgYEAum3YD_Dy\
    xxhZzBR0OM_6kq6_Aqgzlvr6KiNWZrCrmpxTjFhHofE2C7GQNr2tmJ7kzbZOSgDn_jRi5ILKMqAGMfUeAraQLm5igixlvV9E6aqe\
    Pd5TdOwwybkL8VMU0MpzdAhswF9G_iBAZe-g6Ft7wZmRrVP0ry4txa-186gJVV8CgYEAhp4ApsXymcPf50YJMP9UUBQ5ySjNy_-O\
    z_ilMnlwWlIDqvClPpg8TTYnohgF_dP9orK_to8nmasOThVHwgf-EB8rZbHYtg9ml_xiFjig3lJkeqezzrsRy_oaraw5aJ9xOxbN\
    WwG6ZPUezTWKw6Aeq6XgrRJcXg9Nx2HyUSCELn8CgYAc_hgr4nzfGZpdcpDghPei-Cocb6wWPtHI29YEAlWtpcIYgWIifTC6gNK8\
    sKLeqVdL5p4mRB3QGrWGdBCd7uUHv-b65QlnLyOCuwTXfolpDW-uj3TLKjAsLur8jL8f-VwbH3RKNocD3mAlei678_47DXbqTbQv\
    yi60H69cRTWuYQKBgCVONG6rh1T6My3jiMQNQAQqN9Nky55CgzfZ7Ymv5EXUdmZ6mXfylYOJcx6HWMKcbVekJZ2-ACky_XGBDLmk\
    AXgh2S64PPzkMn3VpUeK-sZbbRhrt4tMDGkBKCsgudmvzeZuLTysnzSptoB9ibBzdFYjSCd_4bIk2TyF6tOFXogF\
    ";

pub(crate) fn filter(random: &mut Random) -> Value {
    let mut providers = Map::new();
    for n in 0..=random.below(2) {
        providers.insert(format!("p{n}"), provider(random, n));
    }
    let count = providers.len();
    let rules: Vec<Value> = (0..=random.below(2))
        .map(|_| {
            let mut rule = json!({"match": {"prefix": random.one(&["/a", "/", "/b/"])}});
            // The last ones are not looked at.
            match random.below(12) {
                0 => rule["match"]["headers"] = json!([{"name": "x-a", "present_match": true}]),
                1 => rule["match"]["query_parameters"] = json!([{"name": "q"}]),
                2 => {
                    rule["match"]["cookies"] =
                        json!([{"name": "c", "string_match": {"exact": "none"}}]);
                }
                3 => rule["match"]["tls_context"] = json!({"presented": true}),
                4 => {
                    rule["match"]["dynamic_metadata"] = json!([{
                        "filter": "f", "path": [{"key": "k"}], "value": {"present_match": true},
                    }]);
                }
                5 => rule["match"]["grpc"] = json!({}),
                _ => {}
            }
            match random.below(6) {
                0 => {}
                1 => rule["requirement_name"] = json!(random.one(&["r0", "r1"])),
                _ => rule["requires"] = requirement(random, count, 2),
            }
            rule
        })
        .collect();
    let mut filter = json!({
        "@type": type_url("filters.http.jwt_authn.v3.JwtAuthentication"),
        "providers": providers,
        "rules": rules,
        "requirement_map": {
            "r0": requirement(random, count, 1),
            "r1": requirement(random, count, 1),
        },
    });
    for name in ["bypass_cors_preflight", "strip_failure_response"] {
        if random.chance(20) {
            filter[name] = json!(true);
        }
    }
    filter
}

pub(crate) fn per_route(random: &mut Random) -> Value {
    let mut config = json!({"@type": type_url("filters.http.jwt_authn.v3.PerRouteConfig")});
    match random.below(5) {
        0 => config["disabled"] = json!(true),
        1 => config["requirement_name"] = json!("nowhere"),
        _ => config["requirement_name"] = json!(random.one(&["r0", "r1"])),
    }
    config
}

/// Of two providers of one issuer Envoy takes any where a requirement names none: each has its own here.
fn provider(random: &mut Random, n: usize) -> Value {
    let keys: Vec<Value> = [
        json!({"kty": "oct", "kid": "h", "alg": "HS256", "k": encoded(SECRET.as_bytes())}),
        json!({"kty": "oct", "k": encoded(SECRET.as_bytes())}),
        json!({"kty": "EC", "kid": "e", "alg": "ES256", "crv": "P-256", "x": EC_X, "y": EC_Y}),
        json!({"kty": "RSA", "kid": "r", "n": RSA_N, "e": "AQAB"}),
        json!({"kty": "RSA", "kid": "h", "alg": "RS256", "n": RSA_N, "e": "AQAB"}),
        json!({"kty": "EC", "kid": "x", "alg": "RS256", "crv": "P-256", "x": EC_X, "y": EC_Y}),
    ]
    .into_iter()
    .enumerate()
    .filter(|(n, _)| *n == 3 || random.chance(60))
    .map(|(_, key)| key)
    .collect();
    let mut provider = json!({"local_jwks": {"inline_string": json!({"keys": keys}).to_string()}});
    if n < 2 {
        provider["issuer"] = json!(format!("i{n}"));
    }
    if random.chance(40) {
        provider["audiences"] = json!([random.one(&["a0", "https://a1/"])]);
    }
    if random.chance(20) {
        provider["subjects"] = json!({"prefix": "s"});
    }
    if random.chance(20) {
        provider["require_expiration"] = json!(true);
    }
    if random.chance(20) {
        provider["max_lifetime"] = json!("7200s");
    }
    if random.chance(50) {
        provider["forward"] = json!(true);
    }
    if random.chance(30) {
        provider["from_headers"] =
            json!([{"name": "x-jwt", "value_prefix": random.one(&["", "T="])}]);
    }
    if random.chance(30) {
        provider["from_params"] = json!(["tok"]);
    }
    if random.chance(20) {
        provider["from_cookies"] = json!(["jc"]);
    }
    if random.chance(40) {
        provider["forward_payload_header"] = json!("x-payload");
        provider["pad_forward_payload_header"] = json!(random.chance(50));
    }
    if random.chance(40) {
        let claims = ["sub", "n", "deep.n", "list", "yes", "none", "aud"];
        let claims: Vec<Value> = claims
            .iter()
            .filter(|_| random.chance(50))
            .map(|claim| json!({"header_name": format!("x-claim-{}", claim.replace('.', "-")), "claim_name": claim}))
            .collect();
        provider["claim_to_headers"] = json!(claims);
    }
    if random.chance(40) {
        provider["payload_in_metadata"] = json!("payload");
        if random.chance(50) {
            provider["normalize_payload_in_metadata"] =
                json!({"space_delimited_claims": ["scope"]});
        }
    }
    if random.chance(15) {
        provider["clock_skew_seconds"] = json!(5);
    }
    provider
}

fn requirement(random: &mut Random, providers: usize, depth: usize) -> Value {
    let provider = format!("p{}", random.below(providers));
    match random.below(if depth > 0 { 9 } else { 6 }) {
        0 => json!({"allow_missing": {}}),
        1 => json!({"allow_missing_or_failed": {}}),
        2 => json!({"provider_and_audiences": {"provider_name": provider, "audiences": ["a1"]}}),
        3..=5 => json!({"provider_name": provider}),
        kind => {
            let list: Vec<Value> = (0..2 + random.below(2))
                .map(|_| requirement(random, providers, depth - 1))
                .collect();
            match kind {
                6 => json!({"requires_all": {"requirements": list}}),
                _ => json!({"requires_any": {"requirements": list}}),
            }
        }
    }
}

/// A token, good or not quite.
pub(crate) fn token(random: &mut Random) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (alg, kid) = *random.one(&[
        ("HS256", "h"),
        ("HS256", ""),
        ("HS384", ""),
        ("ES256", "e"),
        ("ES256", ""),
        ("RS256", "r"),
        ("RS512", "r"),
        ("PS256", "r"),
        ("RS256", "h"),
        ("HS256", "unknown"),
        ("none", ""),
        ("HS512", "e"),
    ]);
    let mut header = json!({"alg": alg, "typ": "JWT"});
    if !kid.is_empty() {
        header["kid"] = json!(kid);
    }
    let mut payload = json!({
        "iss": random.one(&["i0", "i0", "i1", "i2"]),
        "sub": random.one(&["s1", "t1"]),
        "n": random.one(&[json!(7), json!(1.5), json!(-2)]),
        "deep": {"n": 3},
        "list": ["x", 1, true],
        "yes": true,
        "scope": "read write",
    });
    if random.chance(70) {
        payload["aud"] = random
            .one(&[
                json!("a0"),
                json!(["a1", "zz"]),
                json!("http://a1"),
                json!("zz"),
            ])
            .clone();
    }
    if random.chance(80) {
        payload["exp"] = json!(*random.one(&[
            now + 3600,
            now + 3600,
            now + 3600,
            now + 90_000,
            now - 30,
            now - 3600
        ]));
    }
    if random.chance(20) {
        payload["nbf"] = json!(*random.one(&[now - 10, now + 30, now + 3600]));
    }
    if random.chance(8) {
        let name = *random.one(&["iss", "sub", "iat", "nbf", "exp", "jti", "aud"]);
        payload[name] = random
            .one(&[json!(true), json!(-1), json!([1]), json!("x")])
            .clone();
    }
    if random.chance(5) {
        header["kid"] = json!(7);
    }
    if random.chance(5) {
        header["alg"] = random.one(&[json!(7), Value::Null]).clone();
    }
    let part = |value: &Value| encoded(value.to_string().as_bytes());
    let message = format!("{}.{}", part(&header), part(&payload));
    let signature = match alg {
        "HS384" => sign(message.as_bytes(), &hmac(), Algorithm::HS384),
        "HS512" => sign(message.as_bytes(), &hmac(), Algorithm::HS512),
        "ES256" => sign(
            message.as_bytes(),
            &EncodingKey::from_ec_der(&der(EC_PRIVATE)),
            Algorithm::ES256,
        ),
        "RS256" => sign(message.as_bytes(), &rsa(), Algorithm::RS256),
        "RS512" => sign(message.as_bytes(), &rsa(), Algorithm::RS512),
        "PS256" => sign(message.as_bytes(), &rsa(), Algorithm::PS256),
        _ => sign(message.as_bytes(), &hmac(), Algorithm::HS256),
    };
    let token = format!("{message}.{}", signature.expect("a key of its kind"));
    match random.below(30) {
        0 => token.replace('.', ""),
        1 => token[..token.len() - 3].to_owned(),
        2 => format!("!{token}"),
        3 => format!("{}.!.x", part(&header)),
        4 => format!("{}.{}.x", part(&header), encoded(b"no json")),
        5 => format!("{}.{}.", part(&header), part(&payload)),
        6 => format!("{}.{}.AAAA", part(&header), part(&payload)),
        _ => token,
    }
}

fn hmac() -> EncodingKey {
    EncodingKey::from_secret(SECRET.as_bytes())
}

fn rsa() -> EncodingKey {
    EncodingKey::from_rsa_der(&der(RSA_PRIVATE))
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn encoded(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..=chunk.len() {
            out.push(char::from(DIGITS[(bits >> (18 - 6 * at) & 63) as usize]));
        }
    }
    out
}

fn der(text: &str) -> Vec<u8> {
    let (mut bits, mut held, mut out) = (0u32, 0, Vec::new());
    for byte in text.trim_end().bytes() {
        let digit = DIGITS
            .iter()
            .position(|digit| *digit == byte)
            .expect("base64url");
        bits = bits << 6 | u32::try_from(digit).expect("below 64");
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held & 0xff) as u8);
        }
    }
    out
}
