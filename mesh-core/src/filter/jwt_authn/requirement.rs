//! What a request must bring, and whether it does (Envoy `jwt_authn/verifier.cc`, `authenticator.cc`).

use std::time::UNIX_EPOCH;

use http::{HeaderMap, HeaderName, HeaderValue, request};

use super::{
    Provider,
    extractor::{Extractor, Found, Place},
};
use crate::{
    filter::{FilterContext, Query, header_mutation::set_path},
    head::RequestHead,
    jwt::{Audiences, Status, Token, base64},
    metadata::{MetadataStruct, MetadataValue},
    one_line::{self, HeadKind},
};

/// `JwtRequirement`, as configured.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Requirement {
    /// Nothing set: no token.
    AllowAll,
    /// `provider_name`, `provider_and_audiences`: a token of this provider (by name).
    Provider(Box<str>, Option<Audiences>),
    /// `requires_any`.
    Any(Vec<Requirement>),
    /// `requires_all`.
    All(Vec<Requirement>),
    /// `allow_missing`: a token must be good.
    AllowMissing,
    /// `allow_missing_or_failed`.
    AllowMissingOrFailed,
}

/// A requirement whose providers are found and whose places are collected.
#[derive(Debug)]
pub(super) enum Verifier {
    AllowAll,
    Provider {
        provider: usize,
        extractor: Extractor,
        audiences: Option<Audiences>,
    },
    Any {
        children: Vec<Verifier>,
        allow_missing: bool,
        allow_failed: bool,
    },
    All(Vec<Verifier>),
    /// Tokens of any provider.
    Lenient {
        extractor: Extractor,
        allow_failed: bool,
    },
}

impl Verifier {
    /// None: it names a provider that is not there.
    pub(super) fn new(requirement: &Requirement, providers: &[Provider]) -> Option<Self> {
        let all = || {
            let mut extractor = Extractor::default();
            for provider in providers {
                extractor.add(provider);
            }
            extractor
        };
        Some(match requirement {
            Requirement::AllowAll => Self::AllowAll,
            Requirement::Provider(name, audiences) => {
                let provider = providers.iter().position(|p| p.name == *name)?;
                let mut extractor = Extractor::default();
                extractor.add(&providers[provider]);
                Self::Provider {
                    provider,
                    extractor,
                    audiences: audiences.clone(),
                }
            }
            Requirement::All(list) => Self::All(
                list.iter()
                    .map(|one| Self::new(one, providers))
                    .collect::<Option<_>>()?,
            ),
            Requirement::Any(list) => {
                let (mut allow_missing, mut allow_failed) = (false, false);
                let mut children = Vec::new();
                for one in list {
                    match one {
                        Requirement::AllowMissing => allow_missing = true,
                        Requirement::AllowMissingOrFailed => allow_failed = true,
                        other => children.push(Self::new(other, providers)?),
                    }
                }
                if children.is_empty() && (allow_missing || allow_failed) {
                    children.push(Self::Lenient {
                        extractor: all(),
                        allow_failed,
                    });
                }
                Self::Any {
                    children,
                    allow_missing,
                    allow_failed,
                }
            }
            Requirement::AllowMissing => Self::Lenient {
                extractor: all(),
                allow_failed: false,
            },
            Requirement::AllowMissingOrFailed => Self::Lenient {
                extractor: all(),
                allow_failed: true,
            },
        })
    }

    /// Checks the tokens of a request; changes its head and collects metadata for those that are good.
    pub(super) fn verify(&self, run: &mut Run<'_, '_>) -> Result<(), Status> {
        match self {
            Self::AllowAll => Ok(()),
            Self::Provider {
                provider,
                extractor,
                audiences,
            } => run.tokens(
                extractor,
                Some((*provider, audiences.as_ref())),
                false,
                false,
            ),
            Self::Lenient {
                extractor,
                allow_failed,
            } => run.tokens(extractor, None, true, *allow_failed),
            Self::All(children) => children.iter().try_for_each(|child| child.verify(run)),
            Self::Any {
                children,
                allow_missing,
                allow_failed,
            } => {
                let mut last = Status::Missing;
                for child in children {
                    let Err(status) = child.verify(run) else {
                        return Ok(());
                    };
                    // No token, or one of somebody else, says less than a bad one.
                    let says = ![Status::Missing, Status::UnknownIssuer].contains(&status);
                    if says || last == Status::Missing {
                        last = status;
                    }
                }
                match last {
                    _ if *allow_failed => Ok(()),
                    Status::Missing if *allow_missing => Ok(()),
                    status => Err(status),
                }
            }
        }
    }
}

/// One request on its way through requirements.
pub(super) struct Run<'r, 'c> {
    pub(super) providers: &'r [Provider],
    pub(super) cx: &'r mut FilterContext<'c>,
    /// What goes into the dynamic metadata.
    pub(super) extracted: MetadataStruct,
}

type ProviderOf<'v> = Option<(usize, Option<&'v Audiences>)>;

impl Run<'_, '_> {
    /// Envoy takes the token found last first, and all of them must be good, unless failures are allowed.
    fn tokens(
        &mut self,
        extractor: &Extractor,
        provider: ProviderOf<'_>,
        allow_missing: bool,
        allow_failed: bool,
    ) -> Result<(), Status> {
        extractor.sanitize(self.cx.parts);
        let mut found = extractor.extract(self.cx.parts);
        let mut status = Err(Status::Missing);
        while let Some(token) = found.pop() {
            status = self.token(&token, provider);
            if status.is_err() && !allow_missing && !allow_failed {
                break;
            }
        }
        match status {
            _ if allow_failed => Ok(()),
            Err(Status::Missing) if allow_missing => Ok(()),
            status => status,
        }
    }

    fn token(&mut self, found: &Found<'_>, provider: ProviderOf<'_>) -> Result<(), Status> {
        let token = Token::parse(&found.text)?;
        if !found.issuers.allow(&token.iss) {
            return Err(Status::UnknownIssuer);
        }
        let providers = self.providers;
        let (provider, audiences) = match provider {
            Some((at, audiences)) => (&providers[at], audiences),
            None => {
                let of_issuer = |issuer: &str| providers.iter().find(|p| *p.issuer == *issuer);
                let found = of_issuer(&token.iss).or_else(|| of_issuer(""));
                (found.ok_or(Status::UnknownIssuer)?, None)
            }
        };
        let now = (self.cx.wall_clock)()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        token.check_time(now, provider.clock_skew)?;
        if !audiences.unwrap_or(&provider.audiences).allow(&token.aud) {
            return Err(Status::AudienceNotAllowed);
        }
        let subject = provider
            .subjects
            .as_ref()
            .is_none_or(|matcher| matcher.matches(token.sub.as_bytes(), self.cx.scratch));
        if !subject || !provider.allows_lifetime(token.exp, now) {
            return Err(Status::VerificationFail);
        }
        let keys = provider.keys.as_ref().ok_or(Status::NoValidKeys)?;
        keys.verify(&token)?;
        self.accept(found, &token, provider);
        Ok(())
    }

    /// The token is good: it is handed on as its provider says.
    fn accept(&mut self, found: &Found<'_>, token: &Token<'_>, provider: &Provider) {
        let headers = &mut self.cx.parts.headers;
        if let Some(name) = &provider.forward_payload_header {
            let mut payload = token.payload_text.to_owned();
            if provider.pad_forward_payload_header {
                payload.push_str(match payload.len() % 4 {
                    2 => "==",
                    3 => "=",
                    _ => "",
                });
            }
            append(headers, name, &payload);
        }
        let mut copied = false;
        for (name, claim) in &provider.claim_to_headers {
            let value = claim_of(&token.payload, claim).and_then(claim_text);
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                copied |= append(headers, name, &value);
            }
        }
        if provider.clear_route_cache && (copied || !provider.payload_in_metadata.is_empty()) {
            self.cx.clear_route();
        }
        if !provider.forward {
            remove(self.cx.parts, &found.place);
        }
        if !provider.header_in_metadata.is_empty() {
            let header = MetadataValue::Struct(token.header.clone());
            self.extracted
                .insert(provider.header_in_metadata.clone(), header);
        }
        if !provider.payload_in_metadata.is_empty() {
            let mut payload = token.payload.clone();
            for claim in &provider.space_delimited_claims {
                if let Some(MetadataValue::String(text)) = payload.get(claim) {
                    let words = text.split(' ').filter(|word| !word.is_empty());
                    let words = words.map(|word| MetadataValue::String(word.into()));
                    let list = MetadataValue::List(words.collect());
                    payload.insert(claim.clone(), list);
                }
            }
            let payload = MetadataValue::Struct(payload);
            self.extracted
                .insert(provider.payload_in_metadata.clone(), payload);
        }
    }
}

fn append(headers: &mut HeaderMap, name: &HeaderName, value: &str) -> bool {
    let value = HeaderValue::from_str(value);
    value.is_ok_and(|value| {
        one_line::append(HeadKind::Request, headers, name, value);
        true
    })
}

fn remove(parts: &mut request::Parts, place: &Place<'_>) {
    match place {
        Place::Header(name) => {
            parts.headers.remove(*name);
        }
        Place::Param(name) => {
            let path = RequestHead::of(parts).path;
            let mut query = Query::parse(path);
            query.remove(name);
            if let Ok(path) = String::from_utf8(query.replaced_in(path)) {
                set_path(parts, &path);
            }
        }
        Place::Cookie => {}
    }
}

/// A claim by name; dots lead into structs, unless a claim has the whole name.
fn claim_of<'t>(payload: &'t MetadataStruct, name: &str) -> Option<&'t MetadataValue> {
    if let Some(value) = payload.get(name) {
        return Some(value);
    }
    let (first, rest) = name.split_once('.')?;
    match payload.get(first)? {
        MetadataValue::Struct(inner) => claim_of(inner, rest),
        _ => None,
    }
}

/// A claim as a header's value.
fn claim_text(value: &MetadataValue) -> Option<String> {
    Some(match value {
        MetadataValue::String(text) => text.to_string(),
        MetadataValue::Bool(value) => value.to_string(),
        MetadataValue::Number(number) => {
            let whole = *number >= 0.0 && *number < u64::MAX as f64 && number.fract() == 0.0;
            match whole {
                true => (*number as u64).to_string(),
                false => format!("{number:.6}"),
            }
        }
        MetadataValue::List(_) | MetadataValue::Struct(_) => {
            base64(json(value).to_string().as_bytes())
        }
        MetadataValue::Null => return None,
    })
}

fn json(value: &MetadataValue) -> serde_json::Value {
    use serde_json::Value;
    match value {
        MetadataValue::Null => Value::Null,
        MetadataValue::Bool(value) => Value::Bool(*value),
        MetadataValue::Number(number) => match number.fract() == 0.0 && number.abs() < 1e15 {
            true => Value::from(*number as i64),
            false => Value::from(*number),
        },
        MetadataValue::String(text) => Value::from(&**text),
        MetadataValue::List(list) => list.iter().map(json).collect(),
        MetadataValue::Struct(fields) => fields
            .iter()
            .map(|(name, value)| (name.to_string(), json(value)))
            .collect(),
    }
}
