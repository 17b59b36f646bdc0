//! What routes do to headers (`envoy.config.core.v3.HeaderValueOption`).

use http::HeaderName;

use crate::route::HeaderFormat;

/// Header operations of one level (`request_headers_to_add` and so on).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct HeaderOperations {
    /// On requests.
    pub request: HeaderMutations,
    /// On responses.
    pub response: HeaderMutations,
}

/// Removals first, then values computed, then overwrites, then appends (Envoy `HeaderParser`).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct HeaderMutations {
    /// `*_headers_to_remove`.
    pub remove: Vec<HeaderName>,
    /// `*_headers_to_add`, in order.
    pub add: Vec<HeaderAddition>,
}

impl HeaderMutations {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty()
    }
}

/// `HeaderValueOption`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HeaderAddition {
    /// `header.key`. Never a pseudo header; `host` is refused by the decoder.
    pub name: HeaderName,
    /// `header.value` or `raw_value`, parsed for Envoy's substitution operators.
    pub value: HeaderFormat,
    /// `append_action`.
    pub action: AppendAction,
    /// `keep_empty_value`.
    pub keep_empty_value: bool,
}

impl HeaderAddition {
    /// An addition that drops empty values.
    pub fn new(name: HeaderName, value: HeaderFormat, action: AppendAction) -> Self {
        Self {
            name,
            value,
            action,
            keep_empty_value: false,
        }
    }
}

/// `HeaderValueOption.HeaderAppendAction`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AppendAction {
    /// Adds another line.
    #[default]
    AppendIfExistsOrAdd,
    /// Adds only if the header is absent.
    AddIfAbsent,
    /// Replaces all lines, or adds.
    OverwriteIfExistsOrAdd,
    /// Replaces only if the header is there.
    OverwriteIfExists,
}
