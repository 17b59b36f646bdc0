//! One token.

use serde_json::Value;

use super::{Status, base64url};
use crate::metadata::{MetadataStruct, MetadataValue};

const ALGORITHMS: &[&str] = &[
    "ES256", "ES384", "ES512", "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256",
    "PS384", "PS512", "EdDSA",
];

/// A token that was read; nothing of it is verified.
#[derive(Clone, Debug)]
pub struct Token<'t> {
    /// `alg` of the header; one that Envoy knows.
    pub alg: String,
    /// `kid` of the header; may be empty.
    pub kid: String,
    /// The header.
    pub header: MetadataStruct,
    /// The payload: the claims.
    pub payload: MetadataStruct,
    /// `iss`; may be empty.
    pub iss: String,
    /// `sub`; may be empty.
    pub sub: String,
    /// `aud`.
    pub aud: Vec<String>,
    /// `nbf`, in seconds; 0: unset.
    pub nbf: u64,
    /// `exp`, in seconds; 0: unset.
    pub exp: u64,
    /// The payload as it came, base64url.
    pub payload_text: &'t str,
    /// Header and payload as they came: what is signed.
    pub signed: &'t str,
    /// The signature.
    pub signature: Vec<u8>,
}

impl<'t> Token<'t> {
    /// Reads a token, in Envoy's order.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &'t str) -> Result<Self, Status> {
        let mut sections = text.split('.');
        let (Some(header_text), Some(payload_text), Some(signature_text), None) = (
            sections.next(),
            sections.next(),
            sections.next(),
            sections.next(),
        ) else {
            return Err(Status::BadFormat);
        };
        if [header_text, payload_text, signature_text].contains(&"") {
            return Err(Status::BadFormat);
        }
        let header = base64url(header_text).ok_or(Status::HeaderBadBase64)?;
        let header = object(&header).ok_or(Status::HeaderBadJson)?;
        let alg = match header.get("alg") {
            Some(MetadataValue::String(alg)) => alg.to_string(),
            _ => return Err(Status::HeaderBadAlg),
        };
        if !ALGORITHMS.contains(&&*alg) {
            return Err(Status::HeaderNotImplementedAlg);
        }
        let kid = text_of(&header, "kid", Status::HeaderBadKid)?;

        let payload = base64url(payload_text).ok_or(Status::PayloadBadBase64)?;
        let payload = object(&payload).ok_or(Status::PayloadBadJson)?;
        let iss = text_of(&payload, "iss", Status::IssNotString)?;
        let sub = text_of(&payload, "sub", Status::SubNotString)?;
        let number = |name, wrong, range| number_of(&payload, name, wrong, range);
        number("iat", Status::IatNotInteger, Status::IatOutOfRange)?;
        let nbf = number("nbf", Status::NbfNotInteger, Status::NbfOutOfRange)?;
        let exp = number("exp", Status::ExpNotInteger, Status::ExpOutOfRange)?;
        text_of(&payload, "jti", Status::JtiNotString)?;
        let aud = audiences_of(&payload)?;
        let signature = base64url(signature_text).ok_or(Status::SignatureBadBase64)?;
        Ok(Self {
            alg,
            kid,
            iss,
            sub,
            aud,
            nbf,
            exp,
            payload_text,
            signed: &text[..header_text.len() + 1 + payload_text.len()],
            signature,
            header,
            payload,
        })
    }

    /// Whether the token is valid now, both in seconds since 1970.
    ///
    /// # Errors
    /// Not yet, or no more.
    pub fn check_time(&self, now: u64, clock_skew: u64) -> Result<(), Status> {
        if now.saturating_add(clock_skew) < self.nbf {
            return Err(Status::NotYetValid);
        }
        if self.exp > 0 && now > self.exp.saturating_add(clock_skew) {
            return Err(Status::Expired);
        }
        Ok(())
    }
}

/// Audiences of which a token must have one.
#[derive(Clone, Debug, Default)]
pub struct Audiences(Vec<Box<str>>);

impl Audiences {
    /// None allows all.
    pub fn new<'a>(audiences: impl IntoIterator<Item = &'a str>) -> Self {
        Self(audiences.into_iter().map(|a| plain(a).into()).collect())
    }

    /// Whether a token for these may pass.
    pub fn allow(&self, of_token: &[String]) -> bool {
        self.0.is_empty()
            || of_token
                .iter()
                .any(|audience| self.0.iter().any(|allowed| **allowed == *plain(audience)))
    }
}

/// Without scheme and final slash (`CheckAudience`).
fn plain(audience: &str) -> &str {
    let audience = audience
        .strip_prefix("http://")
        .or_else(|| audience.strip_prefix("https://"))
        .unwrap_or(audience);
    audience.strip_suffix('/').unwrap_or(audience)
}

fn object(json: &[u8]) -> Option<MetadataStruct> {
    match serde_json::from_slice(json).ok()? {
        Value::Object(fields) => Some(struct_of(fields)),
        _ => None,
    }
}

fn struct_of(fields: serde_json::Map<String, Value>) -> MetadataStruct {
    fields
        .into_iter()
        .map(|(name, value)| (name.into(), value_of(value)))
        .collect()
}

fn value_of(value: Value) -> MetadataValue {
    match value {
        Value::Null => MetadataValue::Null,
        Value::Bool(value) => MetadataValue::Bool(value),
        Value::Number(number) => MetadataValue::Number(number.as_f64().unwrap_or_default()),
        Value::String(text) => MetadataValue::String(text.into()),
        Value::Array(list) => MetadataValue::List(list.into_iter().map(value_of).collect()),
        Value::Object(fields) => MetadataValue::Struct(struct_of(fields)),
    }
}

fn text_of(fields: &MetadataStruct, name: &str, wrong: Status) -> Result<String, Status> {
    match fields.get(name) {
        None => Ok(String::new()),
        Some(MetadataValue::String(text)) => Ok(text.to_string()),
        Some(_) => Err(wrong),
    }
}

fn number_of(
    fields: &MetadataStruct,
    name: &str,
    wrong: Status,
    out_of_range: Status,
) -> Result<u64, Status> {
    match fields.get(name) {
        None => Ok(0),
        Some(MetadataValue::Number(number)) if *number < 0.0 || *number >= u64::MAX as f64 => {
            Err(out_of_range)
        }
        // What is not whole is cut, as in Envoy.
        Some(MetadataValue::Number(number)) => Ok(*number as u64),
        Some(_) => Err(wrong),
    }
}

fn audiences_of(fields: &MetadataStruct) -> Result<Vec<String>, Status> {
    match fields.get("aud") {
        None => Ok(Vec::new()),
        Some(MetadataValue::String(one)) => Ok(vec![one.to_string()]),
        Some(MetadataValue::List(list)) => list
            .iter()
            .map(|value| match value {
                MetadataValue::String(text) => Ok(text.to_string()),
                _ => Err(Status::AudNotString),
            })
            .collect(),
        Some(_) => Err(Status::AudNotString),
    }
}
