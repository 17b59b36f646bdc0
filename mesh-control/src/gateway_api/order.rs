//! Which of an API's routes comes first: exact paths, then longer prefixes, then those with more conditions.

use std::cmp::Ordering;

use crate::model::{HttpMatch, HttpRoute, StringMatch};

pub(super) fn sort(routes: &mut [HttpRoute]) {
    routes.sort_by(|a, b| match (a.matches.first(), b.matches.first()) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(a), Some(b)) => key(b).cmp(&key(a)),
    });
}

/// Greater comes first.
fn key(matched: &HttpMatch) -> (i8, usize, bool, usize, usize) {
    let (rank, length) = match &matched.uri {
        None | Some(StringMatch::Present) => (-1, 0),
        Some(StringMatch::Regex(regex)) => (1, regex.len()),
        Some(StringMatch::Prefix(prefix)) => (2, prefix.len()),
        Some(StringMatch::PathPrefix(_, length)) => (2, *length),
        Some(StringMatch::Exact(path)) => (3, path.len()),
    };
    (
        rank,
        length,
        matched.method.is_some(),
        matched.headers.len(),
        matched.query_params.len(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_exact_comes_first() {
        let route = |uri: Option<StringMatch>, method: Option<&str>| HttpRoute {
            matches: vec![HttpMatch {
                uri,
                method: method.map(|m| StringMatch::Exact(m.to_owned())),
                ..HttpMatch::default()
            }],
            ..HttpRoute::default()
        };
        let prefix = |text: &str| Some(StringMatch::PathPrefix(text.to_owned(), text.len()));
        let expected = vec![
            route(Some(StringMatch::Exact("/a".to_owned())), None),
            route(prefix("/abc"), None),
            route(prefix("/a"), Some("GET")),
            route(prefix("/a"), None),
            route(Some(StringMatch::Regex("/long.*".to_owned())), None),
            route(None, None),
            HttpRoute::default(),
        ];
        let mut routes = expected.clone();
        routes.reverse();
        sort(&mut routes);
        assert_eq!(routes, expected);
    }
}
