//! Where tokens are looked for (Envoy `jwt_authn/extractor.cc`).

use std::{borrow::Cow, collections::BTreeMap};

use http::{HeaderName, HeaderValue, header::AUTHORIZATION, request};

use super::Provider;
use crate::{filter::Query, head::RequestHead};

/// The places of one provider, or of all.
#[derive(Clone, Debug, Default)]
pub(super) struct Extractor {
    /// By name and prefix, as Envoy sorts them.
    headers: BTreeMap<String, (HeaderName, Box<str>, Issuers)>,
    params: BTreeMap<Box<str>, Issuers>,
    cookies: BTreeMap<Box<str>, Issuers>,
    sanitized: Vec<HeaderName>,
}

/// Whose tokens may stand at a place.
#[derive(Clone, Debug, Default)]
pub(super) struct Issuers {
    any: bool,
    named: Vec<Box<str>>,
}

impl Issuers {
    fn add(&mut self, issuer: &str) {
        match issuer.is_empty() {
            true => self.any = true,
            false => self.named.push(issuer.into()),
        }
    }

    pub(super) fn allow(&self, issuer: &str) -> bool {
        self.any || self.named.iter().any(|named| **named == *issuer)
    }
}

/// A token that was found.
pub(super) struct Found<'e> {
    pub(super) text: String,
    pub(super) issuers: &'e Issuers,
    pub(super) place: Place<'e>,
}

/// Where it was.
pub(super) enum Place<'e> {
    Header(&'e HeaderName),
    Param(&'e str),
    Cookie,
}

impl Extractor {
    pub(super) fn add(&mut self, provider: &Provider) {
        let issuer = &provider.issuer;
        let mut header = |name: &HeaderName, prefix: &str| {
            let place = self
                .headers
                .entry(format!("{name}{prefix}"))
                .or_insert_with(|| (name.clone(), prefix.into(), Issuers::default()));
            place.2.add(issuer);
        };
        for (name, prefix) in &provider.from_headers {
            header(name, prefix);
        }
        let says_nothing = provider.from_headers.is_empty()
            && provider.from_params.is_empty()
            && provider.from_cookies.is_empty();
        if says_nothing {
            header(&AUTHORIZATION, "Bearer ");
            self.params
                .entry("access_token".into())
                .or_default()
                .add(issuer);
        }
        for name in &provider.from_params {
            self.params.entry(name.clone()).or_default().add(issuer);
        }
        for name in &provider.from_cookies {
            self.cookies.entry(name.clone()).or_default().add(issuer);
        }
        self.sanitized
            .extend(provider.forward_payload_header.clone());
        let claims = provider.claim_to_headers.iter();
        self.sanitized.extend(claims.map(|(name, _)| name.clone()));
    }

    /// Takes off what only we may write.
    pub(super) fn sanitize(&self, parts: &mut request::Parts) {
        for name in &self.sanitized {
            parts.headers.remove(name);
        }
    }

    pub(super) fn extract(&self, parts: &request::Parts) -> Vec<Found<'_>> {
        let mut found = Vec::new();
        for (name, prefix, issuers) in self.headers.values() {
            // Envoy knows one `authorization`: lines are joined when they come in.
            let joined = (*name == AUTHORIZATION).then(|| joined(parts, name));
            let apart = || parts.headers.get_all(name).iter().map(text_of);
            let lines: Vec<Cow<'_, str>> = match joined {
                Some(joined) => joined.into_iter().collect(),
                None => apart().collect(),
            };
            for line in &lines {
                let text = match (&**prefix, line.find(&**prefix)) {
                    ("", _) => &**line,
                    (_, None) => continue,
                    (prefix, Some(at)) => after(line, at + prefix.len()),
                };
                found.push(Found {
                    text: text.to_owned(),
                    issuers,
                    place: Place::Header(name),
                });
            }
        }
        let head = RequestHead::of(parts);
        if !self.params.is_empty() && !head.path.is_empty() {
            let query = Query::parse(head.path);
            for (name, issuers) in &self.params {
                let values = query.0.get(name.as_bytes());
                if let Some(value) = values.and_then(|values| values.first()) {
                    found.push(Found {
                        text: String::from_utf8_lossy(value).into_owned(),
                        issuers,
                        place: Place::Param(name),
                    });
                }
            }
        }
        for (name, issuers) in &self.cookies {
            if let Some(text) = cookie(parts, name) {
                found.push(Found {
                    text,
                    issuers,
                    place: Place::Cookie,
                });
            }
        }
        found
    }
}

fn text_of(line: &HeaderValue) -> Cow<'_, str> {
    String::from_utf8_lossy(line.as_bytes())
}

fn joined<'p>(parts: &'p request::Parts, name: &HeaderName) -> Option<Cow<'p, str>> {
    let mut lines = parts.headers.get_all(name).iter().map(text_of);
    let first = lines.next()?;
    Some(lines.fold(first, |all, line| Cow::Owned(format!("{all},{line}"))))
}

/// What follows the prefix, from the first letter that a token may have; none there: all of it.
fn after(line: &str, at: usize) -> &str {
    let may_begin = |c: char| c.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&c);
    match line[at..].find(may_begin) {
        Some(start) => &line[at + start..],
        None => line,
    }
}

/// The first cookie of a name; quotes around its value are dropped.
fn cookie(parts: &request::Parts, name: &str) -> Option<String> {
    let lines = parts.headers.get_all(http::header::COOKIE).iter();
    let mut pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, _)| key.trim_start() == name)?;
    let inner = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    Some(inner.unwrap_or(value).to_owned())
}
