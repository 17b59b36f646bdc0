//! Why a route was chosen: for every route before it the condition that ruled it out.

use std::{borrow::Cow, fmt};

use http::Method;

use super::{
    Found, RouteIndex, RouteTable,
    path_index::{path_matches, without_parameters},
};
use crate::{
    head::{RequestHead, StreamView},
    matcher::{
        HeaderCondition, HeaderMatcher, QueryCondition, QueryParameterMatcher, StringMatcher,
    },
    model::{PathMatcher, RouteMatch},
    regex::Scratch,
};

/// A look-up, written down.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RouteSearch {
    /// What the look-up found: [`RouteTable::find`] itself says so.
    pub found: Found,
    /// The virtual host's place; None: no domain fits.
    pub virtual_host: Option<u32>,
    /// Routes of the virtual host before the one found (all, if none was), by place.
    pub passed_over: Vec<PassedOver>,
}

/// A route that does not match.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PassedOver {
    /// Where it is.
    pub route: RouteIndex,
    /// The conditions that do not hold, for people.
    pub unmet: Vec<String>,
}

impl RouteTable {
    /// The route for a stream as [`Self::find`] finds it, and why not an earlier one. Allocates; in the number of
    /// routes.
    pub fn explain(&self, view: &StreamView<'_>, scratch: &mut Scratch) -> RouteSearch {
        let found = self.find(view, scratch);
        let virtual_host = match found {
            Found::Route(at) => Some(at.virtual_host),
            _ => self.virtual_host_of(view, scratch),
        };
        let routes = virtual_host
            .and_then(|at| self.config().virtual_hosts.get(at as usize))
            .map_or(&[][..], |host| &host.routes);
        let before = match found {
            Found::Route(at) => at.route as usize,
            Found::RedirectToHttps => 0,
            Found::NoRoute => routes.len(),
        };
        let passed_over = (0u32..)
            .zip(&routes[..before])
            .map(|(at, route)| PassedOver {
                route: RouteIndex {
                    virtual_host: virtual_host.unwrap_or_default(),
                    route: at,
                },
                unmet: unmet(
                    &route.matcher,
                    self.config().ignore_path_parameters_in_path_matching,
                    view,
                    scratch,
                ),
            })
            .collect();
        RouteSearch {
            found,
            virtual_host,
            passed_over,
        }
    }
}

/// The conditions of a match that do not hold.
fn unmet(
    matcher: &RouteMatch,
    ignores_parameters: bool,
    view: &StreamView<'_>,
    scratch: &mut Scratch,
) -> Vec<String> {
    // Without `..`: who adds a condition says here why it does not hold.
    let RouteMatch {
        path: _,
        case_insensitive: _,
        headers,
        query_parameters,
        grpc,
        runtime_fraction,
        cookies,
        tls_context,
        filter_state,
        dynamic_metadata,
    } = matcher;
    let head = &view.head;
    let mut unmet = Vec::new();
    let is_connect = head.method == Method::CONNECT;
    let ignores_parameters =
        ignores_parameters && !matches!(matcher.path, PathMatcher::Template(_));
    let path = match ignores_parameters {
        true => without_parameters(head.path),
        false => Cow::Borrowed(head.path),
    };
    if !path_matches(matcher, &path, is_connect, scratch) {
        unmet.push(format!(
            "{}, not {}",
            Path(matcher),
            head.path_without_query()
        ));
    }
    if *grpc && !head.is_grpc() {
        unmet.push("only gRPC".to_owned());
    }
    for header in headers {
        if !header.matches(head, scratch) {
            unmet.push(format!("{}, {}", Header(header), Actual(header, head)));
        }
    }
    let query = head.path.split_once('?').map_or("", |(_, query)| query);
    for parameter in query_parameters {
        if !parameter.matches(query, scratch) {
            let actual = match query.is_empty() {
                true => "without a query".to_owned(),
                false => format!("in {query}"),
            };
            unmet.push(format!("{}, {actual}", Query(parameter)));
        }
    }
    if let Some(fraction) = runtime_fraction
        && !fraction.holds(view.random)
    {
        let (numerator, denominator) = (fraction.numerator, fraction.denominator);
        unmet.push(format!("by chance, {numerator} of {denominator}"));
    }
    for cookie in cookies {
        if !cookie.matches(head.headers, scratch) {
            unmet.push(format!("cookie {}", cookie.name));
        }
    }
    if tls_context.is_some_and(|tls| !tls.holds(view.connection)) {
        unmet.push("a peer's certificate".to_owned());
    }
    if *filter_state {
        unmet.push("filter state".to_owned());
    }
    for metadata in dynamic_metadata {
        if !metadata.matches(view.metadata, scratch) {
            unmet.push(format!("dynamic metadata of {}", metadata.filter));
        }
    }
    unmet
}

/// What a route's match asks of a request, for people: `prefix /a, header x-b: exact "c"`.
pub(crate) fn describe(matcher: &RouteMatch) -> String {
    let RouteMatch {
        path: _,
        case_insensitive: _,
        headers,
        query_parameters,
        grpc,
        runtime_fraction,
        cookies,
        tls_context,
        filter_state,
        dynamic_metadata,
    } = matcher;
    let mut parts = vec![Path(matcher).to_string()];
    parts.extend(grpc.then(|| "only gRPC".to_owned()));
    parts.extend(headers.iter().map(|m| Header(m).to_string()));
    parts.extend(query_parameters.iter().map(|m| Query(m).to_string()));
    parts.extend(
        runtime_fraction.map(|f| format!("by chance, {} of {}", f.numerator, f.denominator)),
    );
    parts.extend(cookies.iter().map(|m| format!("cookie {}", m.name)));
    parts.extend(tls_context.map(|_| "the peer's certificate".to_owned()));
    parts.extend(filter_state.then(|| "filter state".to_owned()));
    parts.extend(
        dynamic_metadata
            .iter()
            .map(|m| format!("dynamic metadata of {}", m.filter)),
    );
    parts.join(", ")
}

struct Path<'a>(&'a RouteMatch);

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.path {
            PathMatcher::Prefix(path) => write!(f, "prefix {path}"),
            PathMatcher::Path(path) => write!(f, "path {path}"),
            PathMatcher::PathSeparatedPrefix(path) => write!(f, "path_separated_prefix {path}"),
            PathMatcher::Regex(regex) => write!(f, "safe_regex {}", regex.as_str()),
            PathMatcher::Template(template) => write!(f, "path template {}", template.as_str()),
            PathMatcher::Connect => f.write_str("only CONNECT"),
        }?;
        match self.0.case_insensitive {
            true => f.write_str(" in any case"),
            false => Ok(()),
        }
    }
}

struct Header<'a>(&'a HeaderMatcher);

impl fmt::Display for Header<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = if self.0.invert { "not " } else { "" };
        write!(f, "header {}: {not}", self.0.name.as_str())?;
        match &self.0.condition {
            HeaderCondition::Any | HeaderCondition::Present(true) => f.write_str("present"),
            HeaderCondition::Present(false) => f.write_str("absent"),
            HeaderCondition::String(matcher) => write!(f, "{}", Text(matcher)),
            HeaderCondition::Range { start, end } => write!(f, "in {start}..{end}"),
        }
    }
}

/// What the request has for a header.
struct Actual<'a>(&'a HeaderMatcher, &'a RequestHead<'a>);

impl fmt::Display for Actual<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1.header(self.0.name.as_str()) {
            None => f.write_str("which is absent"),
            Some(value) => write!(f, "not {:?}", String::from_utf8_lossy(value)),
        }
    }
}

struct Query<'a>(&'a QueryParameterMatcher);

impl fmt::Display for Query<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "query parameter {}: ", self.0.name)?;
        match &self.0.condition {
            None | Some(QueryCondition::Present(true)) => f.write_str("present"),
            Some(QueryCondition::Present(false)) => f.write_str("absent"),
            Some(QueryCondition::String(matcher)) => write!(f, "{}", Text(matcher)),
        }
    }
}

struct Text<'a>(&'a StringMatcher);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (how, value, ignore_case) = match self.0 {
            StringMatcher::Exact { value, ignore_case } => ("exact", &**value, *ignore_case),
            StringMatcher::Prefix { value, ignore_case } => ("prefix", &**value, *ignore_case),
            StringMatcher::Suffix { value, ignore_case } => ("suffix", &**value, *ignore_case),
            StringMatcher::Contains { value, ignore_case } => ("contains", &**value, *ignore_case),
            StringMatcher::Regex(regex) => ("safe_regex", regex.as_str(), false),
        };
        write!(f, "{how} {value:?}")?;
        match ignore_case {
            true => f.write_str(" in any case"),
            false => Ok(()),
        }
    }
}
