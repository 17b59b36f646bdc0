//! The header mutation filter (Envoy `source/extensions/filters/http/header_mutation`, `source/common/http/
//! header_mutation.cc`). Mutations run one after the other, each on what the one before left.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Uri, request, uri::PathAndQuery};

use super::{
    FilterContext, ResponseContext,
    query::{Query, encoded},
};
use crate::{
    head::RequestHead,
    matcher::StringMatcher,
    model::AppendAction,
    one_line::{self, HeadKind},
    regex::Scratch,
    route::{FormatContext, HeaderFormat},
};

/// `envoy.extensions.filters.http.header_mutation.v3.HeaderMutation`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct HeaderMutationConfig {
    /// `mutations`: run before those of the route's levels.
    pub mutations: Arc<Mutations>,
    /// `most_specific_header_mutations_wins`: the levels run from the least to the most specific; default false: the
    /// other way around.
    pub most_specific_wins: bool,
}

impl HeaderMutationConfig {
    /// By its fields.
    pub fn new(mutations: Mutations, most_specific_wins: bool) -> Self {
        Self {
            mutations: Arc::new(mutations),
            most_specific_wins,
        }
    }
}

/// `HeaderMutationPerRoute`, of one level or of all, in the order in which they run.
#[derive(Clone, Debug, Default)]
pub struct HeaderMutationOverride(Box<[Arc<Mutations>]>);

impl HeaderMutationOverride {
    /// Of one level.
    pub fn new(mutations: Mutations) -> Self {
        Self(Box::new([Arc::new(mutations)]))
    }

    pub(super) fn merge(specific_first: Vec<Self>, most_specific_wins: bool) -> Self {
        let mut levels: Vec<_> = specific_first
            .into_iter()
            .flat_map(|level| level.0)
            .collect();
        if most_specific_wins {
            levels.reverse();
        }
        Self(levels.into())
    }
}

/// `Mutations`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Mutations {
    /// `request_mutations`.
    pub request: Vec<HeaderMutation>,
    /// `query_parameter_mutations`; any of them leaves the query sorted by name, and what was in it percent-decoded, as
    /// Envoy's do. (What no request line can hold stays encoded here; Envoy sends it.)
    pub query: Vec<QueryMutation>,
    /// `response_mutations`.
    pub response: Vec<HeaderMutation>,
    /// `request_trailers_mutations`.
    pub request_trailers: Vec<HeaderMutation>,
    /// `response_trailers_mutations`.
    pub response_trailers: Vec<HeaderMutation>,
}

/// `envoy.config.common.mutation_rules.v3.HeaderMutation`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum HeaderMutation {
    /// `remove`.
    Remove(HeaderName),
    /// `remove_on_match`: by lower-case name; pseudo headers stay.
    RemoveOnMatch(StringMatcher),
    /// `append`.
    Append {
        /// `header.key`.
        name: HeaderName,
        /// `header.value` or `raw_value`.
        value: HeaderFormat,
        /// `append_action`.
        action: AppendAction,
        /// `keep_empty_value`; otherwise an empty value changes nothing.
        keep_empty_value: bool,
    },
}

/// `envoy.config.core.v3.KeyValueMutation`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum QueryMutation {
    /// `remove`.
    Remove(Box<str>),
    /// `append`.
    Append {
        /// `record.key`.
        key: Box<str>,
        /// `record.value.string_value`.
        value: HeaderFormat,
        /// `action`.
        action: AppendAction,
    },
}

/// A mutation whose value is known: of trailers, which come when the heads are gone.
#[derive(Clone, Debug)]
pub(super) enum ReadyMutation {
    Remove(HeaderName),
    RemoveOnMatch(StringMatcher),
    Append(HeaderName, HeaderValue, AppendAction),
}

/// The levels that apply, in order.
fn levels<'a>(
    config: &'a HeaderMutationConfig,
    route: Option<&'a HeaderMutationOverride>,
) -> impl Iterator<Item = &'a Mutations> {
    let route = route.map_or(&[][..], |route| &route.0);
    std::iter::once(&config.mutations)
        .chain(route)
        .map(|level| &**level)
}

/// What may be asked of a chain when configuration arrives.
impl HeaderMutationConfig {
    /// Whether a format of the response reads the request.
    pub(super) fn response_reads_request(&self, route: Option<&HeaderMutationOverride>) -> bool {
        levels(self, route)
            .flat_map(|level| level.response.iter().chain(&level.response_trailers))
            .any(|mutation| match mutation {
                HeaderMutation::Append { value, .. } => value.reads_request(),
                _ => false,
            })
    }

    /// Whether trailers of requests are changed.
    pub(super) fn changes_request_trailers(&self, route: Option<&HeaderMutationOverride>) -> bool {
        levels(self, route).any(|level| !level.request_trailers.is_empty())
    }
}

impl HeaderMutation {
    /// Changes a request by itself.
    pub(crate) fn apply_to_request(
        &self,
        parts: &mut request::Parts,
        cx: &FormatContext<'_>,
        scratch: &mut Scratch,
    ) {
        match self {
            Self::Remove(name) => {
                parts.headers.remove(name);
            }
            Self::RemoveOnMatch(matcher) => remove_matching(&mut parts.headers, matcher, scratch),
            Self::Append {
                name,
                value,
                action,
                keep_empty_value,
            } => {
                let value = computed(value, *keep_empty_value, &cx.of_request(parts));
                if let Some(value) = value {
                    append(HeadKind::Request, &mut parts.headers, name, value, *action);
                }
            }
        }
    }
}

pub(super) fn on_request_head(
    config: &HeaderMutationConfig,
    route: Option<&HeaderMutationOverride>,
    cx: &mut FilterContext<'_>,
) {
    for level in levels(config, route) {
        for mutation in &level.request {
            match mutation {
                HeaderMutation::Remove(name) => {
                    cx.parts.headers.remove(name);
                }
                HeaderMutation::RemoveOnMatch(matcher) => {
                    remove_matching(&mut cx.parts.headers, matcher, cx.scratch);
                }
                HeaderMutation::Append {
                    name,
                    value,
                    action,
                    keep_empty_value,
                } => {
                    let value = computed(value, *keep_empty_value, &cx.format());
                    if let Some(value) = value {
                        append(
                            HeadKind::Request,
                            &mut cx.parts.headers,
                            name,
                            value,
                            *action,
                        );
                    }
                }
            }
        }
        if !level.query.is_empty() {
            mutate_query(&level.query, cx);
        }
    }
}

pub(super) fn on_response_head(
    config: &HeaderMutationConfig,
    route: Option<&HeaderMutationOverride>,
    cx: &mut ResponseContext<'_>,
) {
    for level in levels(config, route) {
        for mutation in &level.response {
            match mutation {
                HeaderMutation::Remove(name) => {
                    cx.headers.remove(name);
                }
                HeaderMutation::RemoveOnMatch(matcher) => {
                    remove_matching(cx.headers, matcher, &mut Scratch::default());
                }
                HeaderMutation::Append {
                    name,
                    value,
                    action,
                    keep_empty_value,
                } => {
                    if let Some(value) = of_response(value, *keep_empty_value, cx) {
                        append(HeadKind::Response, cx.headers, name, value, *action);
                    }
                }
            }
        }
    }
}

/// What will become of the response's trailers.
pub(super) fn response_trailers(
    config: &HeaderMutationConfig,
    route: Option<&HeaderMutationOverride>,
    cx: &ResponseContext<'_>,
) -> Vec<ReadyMutation> {
    let mutations = levels(config, route).flat_map(|level| &level.response_trailers);
    mutations
        .filter_map(|mutation| ready(mutation, |value, keep| of_response(value, keep, cx)))
        .collect()
}

/// What will become of the request's trailers.
pub(super) fn request_trailers(
    config: &HeaderMutationConfig,
    route: Option<&HeaderMutationOverride>,
    format: &FormatContext<'_>,
) -> Vec<ReadyMutation> {
    let mutations = levels(config, route).flat_map(|level| &level.request_trailers);
    mutations
        .filter_map(|mutation| ready(mutation, |value, keep| computed(value, keep, format)))
        .collect()
}

fn ready(
    mutation: &HeaderMutation,
    computed: impl Fn(&HeaderFormat, bool) -> Option<HeaderValue>,
) -> Option<ReadyMutation> {
    Some(match mutation {
        HeaderMutation::Remove(name) => ReadyMutation::Remove(name.clone()),
        HeaderMutation::RemoveOnMatch(matcher) => ReadyMutation::RemoveOnMatch(matcher.clone()),
        HeaderMutation::Append {
            name,
            value,
            action,
            keep_empty_value,
        } => ReadyMutation::Append(name.clone(), computed(value, *keep_empty_value)?, *action),
    })
}

/// Changes trailers.
pub(super) fn apply(mutations: &[ReadyMutation], trailers: &mut HeaderMap) {
    for mutation in mutations {
        match mutation {
            ReadyMutation::Remove(name) => {
                trailers.remove(name);
            }
            ReadyMutation::RemoveOnMatch(matcher) => {
                remove_matching(trailers, matcher, &mut Scratch::default());
            }
            ReadyMutation::Append(name, value, action) => {
                append(HeadKind::Response, trailers, name, value.clone(), *action);
            }
        }
    }
}

fn computed(value: &HeaderFormat, keep_empty: bool, cx: &FormatContext<'_>) -> Option<HeaderValue> {
    let empty = keep_empty.then_some(HeaderValue::from_static(""));
    value.evaluate(cx).or(empty)
}

fn of_response(
    value: &HeaderFormat,
    keep_empty: bool,
    cx: &ResponseContext<'_>,
) -> Option<HeaderValue> {
    let mut format = cx.format?;
    format.response = Some(cx.headers);
    computed(value, keep_empty, &format)
}

fn append(
    kind: HeadKind,
    headers: &mut HeaderMap,
    name: &HeaderName,
    value: HeaderValue,
    action: AppendAction,
) {
    let there = headers.contains_key(name);
    match action {
        AppendAction::AppendIfExistsOrAdd => {
            one_line::append(kind, headers, name, value);
        }
        AppendAction::AddIfAbsent if there => {}
        AppendAction::OverwriteIfExists if !there => {}
        AppendAction::AddIfAbsent
        | AppendAction::OverwriteIfExists
        | AppendAction::OverwriteIfExistsOrAdd => {
            headers.insert(name, value);
        }
    }
}

fn remove_matching(headers: &mut HeaderMap, matcher: &StringMatcher, scratch: &mut Scratch) {
    let matching: Vec<HeaderName> = headers
        .keys()
        .filter(|name| matcher.matches(name.as_str().as_bytes(), scratch))
        .cloned()
        .collect();
    for name in matching {
        headers.remove(name);
    }
}

pub(super) fn set_path(parts: &mut request::Parts, path: &str) {
    let Ok(path) = PathAndQuery::try_from(path) else {
        return;
    };
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    uri.path_and_query = Some(path);
    parts.uri = Uri::from_parts(uri).unwrap_or_default();
}

fn mutate_query(mutations: &[QueryMutation], cx: &mut FilterContext<'_>) {
    let head = RequestHead::of(cx.parts);
    if head.path.is_empty() {
        return;
    }
    let mut query = Query::parse(head.path);
    for mutation in mutations {
        match mutation {
            QueryMutation::Remove(key) => query.remove(key),
            QueryMutation::Append { key, value, action } => {
                let there = query.0.contains_key(key.as_bytes());
                let wanted = match action {
                    AppendAction::AppendIfExistsOrAdd | AppendAction::OverwriteIfExistsOrAdd => {
                        true
                    }
                    AppendAction::AddIfAbsent => !there,
                    AppendAction::OverwriteIfExists => there,
                };
                if !wanted {
                    continue;
                }
                let value = value.evaluate(&cx.format());
                let value = value.map_or_else(Vec::new, |value| encoded(value.as_bytes()));
                let values = query.0.entry(key.as_bytes().to_vec()).or_default();
                if *action != AppendAction::AppendIfExistsOrAdd {
                    values.clear();
                }
                values.push(value);
            }
        }
    }
    let path = query.replaced_in(head.path);
    if let Ok(path) = String::from_utf8(path) {
        set_path(cx.parts, &path);
    }
}
