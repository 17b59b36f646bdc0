use super::{Backend, GROUP, Target, filter, optional, route_match};
use crate::model::{HttpMatch, HttpRoute, Metadata, MirrorAmount, Retries};
use crate::yaml::{At, Fields};

/// An HTTPRoute, GRPCRoute, TLSRoute or TCPRoute.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ApiRoute {
    pub(crate) metadata: Metadata,
    pub(crate) kind: RouteKind,
    pub(crate) parents: Vec<Parent>,
    pub(crate) hostnames: Vec<String>,
    pub(crate) rules: Vec<RouteRule>,
    /// Whether istiod takes any of the rules.
    pub(crate) is_valid: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouteKind {
    Http,
    Grpc,
    Tls,
    Tcp,
}

impl RouteKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            RouteKind::Http => "HTTPRoute",
            RouteKind::Grpc => "GRPCRoute",
            RouteKind::Tls => "TLSRoute",
            RouteKind::Tcp => "TCPRoute",
        }
    }

    fn has_filters(self) -> bool {
        matches!(self, RouteKind::Http | RouteKind::Grpc)
    }
}

/// One of `parentRefs`: what a route belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parent {
    pub(crate) group: String,
    pub(crate) kind: String,
    /// `None`: that of the route.
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    /// The listener's name; empty: all of them.
    pub(crate) section: String,
    pub(crate) port: Option<u32>,
}

/// One of `rules`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RouteRule {
    pub(crate) name: Option<String>,
    /// Each becomes a route of its own; empty: one route for every request.
    pub(crate) matches: Vec<HttpMatch>,
    /// What the filters, timeouts and retries make of it; without destinations.
    pub(crate) route: HttpRoute,
    pub(crate) mirrors: Vec<(Target, MirrorAmount)>,
    pub(crate) backends: Vec<Backend>,
}

impl ApiRoute {
    pub(crate) fn read(spec: Fields<'_>, metadata: Metadata, kind: RouteKind) -> Self {
        let mut is_valid = true;
        let parents = spec.list("parentRefs", |at| Parent::read(&at));
        let hostnames = match kind {
            RouteKind::Tcp => Vec::new(),
            _ => spec.strings("hostnames"),
        };
        let mut rules = spec.list("rules", |at| RouteRule::read(&at, kind, &mut is_valid));
        if rules.is_empty() && kind == RouteKind::Http && spec.get("rules").is_none() {
            // the API server writes one that takes every request
            rules.push(RouteRule::everything(spec.at().mark()));
        }
        if let Some(at) = spec.get("useDefaultGateways") {
            at.without_effect(
                "istiod knows no default gateways",
                "name the Gateways in parentRefs",
            );
        }
        spec.finish_with(&[
            ("hosts", "hostnames"),
            ("parents", "parentRefs"),
            ("http", "rules"),
        ]);
        ApiRoute {
            metadata,
            kind,
            parents,
            hostnames,
            rules,
            is_valid,
        }
    }
}

impl Parent {
    fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let parent = Parent {
            group: optional(&fields, "group").unwrap_or_else(|| GROUP.to_owned()),
            kind: optional(&fields, "kind").unwrap_or_else(|| "Gateway".to_owned()),
            namespace: optional(&fields, "namespace"),
            name: fields
                .require("name")
                .map(|at| at.string())
                .unwrap_or_default(),
            section: fields.string("sectionName"),
            port: fields.get("port").map(|at| u32::from(at.port())),
        };
        fields.finish();
        if parent.kind == "Service" && parent.group == GROUP {
            at.without_effect(
                "a Service is of the group \"\", so nobody knows this parent",
                "add group: \"\"",
            );
        }
        parent
    }

    /// What decides about its place among others.
    pub(crate) fn order(&self, namespace: &str) -> String {
        let Parent {
            group,
            kind,
            name,
            section,
            ..
        } = self;
        let port = self.port.unwrap_or_default();
        let namespace = self.namespace.as_deref().unwrap_or(namespace);
        format!("{group}/{kind}/{name}/{section}/{port}.{namespace}")
    }
}

impl RouteRule {
    fn read(at: &At<'_>, kind: RouteKind, is_valid: &mut bool) -> Self {
        let fields = at.fields();
        let mut route = HttpRoute {
            mark: at.mark(),
            ..HttpRoute::default()
        };
        let mut mirrors = Vec::new();
        let mut matches = Vec::new();
        if kind.has_filters() {
            let is_http = kind == RouteKind::Http;
            matches = fields.list("matches", |at| match is_http {
                true => route_match::http(&at),
                false => route_match::grpc(&at, is_valid),
            });
            if is_http && matches.is_empty() {
                // the API server writes a match of every path
                matches.push(everything());
            }
            for at in fields
                .get("filters")
                .map(|at| at.items())
                .unwrap_or_default()
            {
                *is_valid &= filter::read(&at, &mut route, &mut mirrors, is_http);
            }
        }
        if kind == RouteKind::Http {
            read_retry(&fields, &mut route);
            read_timeouts(&fields, &mut route);
        }
        let backends = fields.list("backendRefs", |at| Backend::read(&at, is_valid));
        let rule = RouteRule {
            name: optional(&fields, "name"),
            matches,
            route,
            mirrors,
            backends,
        };
        if let Some(at) = fields.get("sessionPersistence") {
            at.without_effect(
                "istiod does nothing with it",
                "use the consistentHash of a DestinationRule",
            );
        }
        fields.finish_with(&[
            ("match", "matches"),
            ("route", "backendRefs"),
            ("backends", "backendRefs"),
        ]);
        rule
    }

    fn everything(mark: crate::yaml::Mark) -> Self {
        RouteRule {
            name: None,
            matches: vec![everything()],
            route: HttpRoute {
                mark,
                ..HttpRoute::default()
            },
            mirrors: Vec::new(),
            backends: Vec::new(),
        }
    }
}

fn everything() -> HttpMatch {
    HttpMatch {
        uri: Some(crate::model::StringMatch::Prefix("/".to_owned())),
        ..HttpMatch::default()
    }
}

fn read_retry(fields: &Fields<'_>, route: &mut HttpRoute) {
    let Some(at) = fields.get("retry") else {
        return;
    };
    let fields = at.fields();
    let attempts = fields.get("attempts").map_or(2, |at| at.number(u32::MAX));
    let mut retry_on = "connect-failure,refused-stream,unavailable,cancelled".to_owned();
    for code in fields.list("codes", |at| at.number(599)) {
        retry_on += &format!(",{code}");
    }
    if attempts == 0 {
        retry_on.clear();
    }
    route.retries = Some(Retries {
        attempts,
        per_try_timeout: None,
        retry_on,
        retry_remote_localities: false,
        ignore_previous_hosts: None,
        backoff: fields.get("backoff").map(|at| at.duration()),
    });
    fields.finish();
}

fn read_timeouts(fields: &Fields<'_>, route: &mut HttpRoute) {
    let Some(at) = fields.get("timeouts") else {
        return;
    };
    let fields = at.fields();
    let timeout = |name| fields.get(name).map(|at: At<'_>| at.duration());
    let request = timeout("request").filter(|timeout| !timeout.is_zero());
    let backend = timeout("backendRequest").filter(|timeout| !timeout.is_zero());
    fields.finish();
    route.timeout = request;
    if let Some(backend) = backend {
        match &mut route.retries {
            Some(retries) => retries.per_try_timeout = Some(backend),
            None => route.timeout = Some(backend),
        }
    }
}
