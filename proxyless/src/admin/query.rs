use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The query of an admin request: `usedonly&filter=cluster%5C.a`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    pub(super) fn new(query: Option<&'a str>) -> Self {
        Self(query.unwrap_or_default())
    }

    /// As written.
    pub(super) fn as_str(self) -> &'a str {
        self.0
    }

    /// Whether a parameter is there, with a value or without.
    pub(super) fn has(self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A parameter's value, decoded; empty without `=`. Of several, the first counts, as in Envoy.
    pub(super) fn get(self, name: &str) -> Option<Cow<'a, str>> {
        let value = self.0.split('&').find_map(|pair| {
            let (of, value) = pair.split_once('=').unwrap_or((pair, ""));
            (of == name).then_some(value)
        })?;
        Some(percent_decode_str(value).decode_utf8_lossy())
    }

    /// Whether `format=json` is asked for.
    pub(super) fn wants_json(self) -> bool {
        self.get("format").is_some_and(|format| format == "json")
    }
}
