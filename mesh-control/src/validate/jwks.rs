//! JSON Web Key Sets, as the library that Istio uses reads them.

use serde_json::{Map, Value};

/// Whether there are private keys in it.
pub(super) fn check(text: &str) -> Result<bool, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let Value::Object(set) = value else {
        return Err("it is no JSON object".to_owned());
    };
    match set.get("keys") {
        Some(Value::Array(keys)) => {
            let mut private = false;
            for key in keys {
                let Value::Object(key) = key else {
                    return Err("a key is no JSON object".to_owned());
                };
                private |= check_key(key)?;
            }
            Ok(private)
        }
        Some(_) => Err("keys is no list".to_owned()),
        None => check_key(&set),
    }
}

fn check_key(key: &Map<String, Value>) -> Result<bool, String> {
    let Some(Value::String(kind)) = key.get("kty") else {
        return Err("a key has no kty".to_owned());
    };
    let (required, private): (&[&str], &str) = match &**kind {
        "RSA" => (&["n", "e"], "d"),
        "EC" => (&["crv", "x", "y"], "d"),
        "OKP" => (&["crv", "x"], "d"),
        "oct" => (&["k"], "k"),
        _ => return Err(format!("unknown kty {kind:?}")),
    };
    for name in required {
        match key.get(*name) {
            Some(Value::String(text)) if *name == "crv" || is_base64_url(text) => {}
            Some(_) => return Err(format!("{name} of a key is no base64url")),
            None => return Err(format!("a key of kty {kind} has no {name}")),
        }
    }
    Ok(key.contains_key(private))
}

fn is_base64_url(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    body.len() % 4 != 1
        && body
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_+/".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_and_keys() {
        assert_eq!(
            check(r#"{"keys":[{"kty":"RSA","e":"AQAB","n":"aGk"}]}"#),
            Ok(false)
        );
        assert_eq!(check(r#"{"keys":[]}"#), Ok(false));
        assert_eq!(check(r#"{"kty":"oct","k":"aGk"}"#), Ok(true));
        for wrong in [
            "",
            "x",
            "{}",
            r#"{"keys":1}"#,
            r#"{"keys":[{"kty":"RSA","e":"AQAB"}]}"#,
        ] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }
}
