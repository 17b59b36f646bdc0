//! Tables of rules and of what real Envoy (1.40) answered.

mod answers;
mod changes;
mod formats;
mod matching;
mod same_as_linear;

use std::{cell::RefCell, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, request};

use super::*;
use crate::{
    filter::FilterChain,
    head::{ConnectionInfo, RequestHead, StreamView},
    model::*,
    regex::Scratch,
    snapshot::ClusterIndex,
};

/// Slots in the order in which names are asked for.
#[derive(Default)]
struct Slots(RefCell<Vec<Arc<str>>>);

impl ClusterSlots for Slots {
    fn slot(&self, name: &Arc<str>) -> ClusterIndex {
        let mut names = self.0.borrow_mut();
        let at = names.iter().position(|n| n == name).unwrap_or_else(|| {
            names.push(name.clone());
            names.len() - 1
        });
        ClusterIndex(u32::try_from(at).unwrap())
    }
}

fn table(config: RouteConfiguration) -> RouteTable {
    RouteTable::compile(Arc::new(config), &FilterChain::default(), &Slots::default())
}

fn virtual_host(domains: &[&str], routes: Vec<Route>) -> VirtualHost {
    VirtualHost {
        domains: domains.iter().map(|d| (*d).to_owned()).collect(),
        routes: routes.into_iter().map(Arc::new).collect(),
        ..VirtualHost::default()
    }
}

fn config(virtual_hosts: Vec<VirtualHost>) -> RouteConfiguration {
    RouteConfiguration {
        virtual_hosts,
        ..RouteConfiguration::default()
    }
}

/// One virtual host for everything.
fn routes(routes: Vec<Route>) -> RouteConfiguration {
    config(vec![virtual_host(&["*"], routes)])
}

fn to(matcher: RouteMatch, cluster: &str) -> Route {
    forward(
        matcher,
        Forward::to(ClusterSpecifier::Cluster(cluster.into())),
    )
}

fn forward(matcher: RouteMatch, forward: Forward) -> Route {
    Route {
        matcher,
        action: RouteAction::Forward(Box::new(forward)),
        ..Route::default()
    }
}

fn on(path: PathMatcher) -> RouteMatch {
    RouteMatch {
        path,
        ..RouteMatch::default()
    }
}

fn prefix(path: &str) -> RouteMatch {
    on(PathMatcher::Prefix(path.into()))
}

/// A GET of an absolute URI; headers as `name: value` lines.
fn get(uri: &str, headers: &[&str]) -> request::Parts {
    let mut request = Request::get(uri);
    for line in headers {
        let (name, value) = line.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    request.body(()).unwrap().into_parts().0
}

fn view<'a>(
    parts: &'a request::Parts,
    connection: &'a ConnectionInfo,
    random: u64,
) -> StreamView<'a> {
    StreamView {
        head: RequestHead::of(parts),
        random,
        connection,
        metadata: None,
    }
}

fn find(table: &RouteTable, parts: &request::Parts) -> Found {
    let connection = ConnectionInfo::default();
    table.find(&view(parts, &connection, 0), &mut Scratch::default())
}

/// The place of the route, in a table of one virtual host.
fn place(table: &RouteTable, parts: &request::Parts) -> Option<u32> {
    match find(table, parts) {
        Found::Route(at) => Some(at.route),
        _ => None,
    }
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<_> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    lines.sort_by(|a, b| a.split(": ").next().cmp(&b.split(": ").next()));
    lines
}
