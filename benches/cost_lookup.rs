//! Instructions of finding the last of many routes against finding the only one, counted by callgrind: what must not grow
//! with a route table.
//!
//! Run by cargo it starts itself under valgrind for each kind and size, with two numbers of look-ups each: the difference
//! leaves out the compiling of the table.

use std::{process::ExitCode, sync::Arc};

use http::{HeaderValue, Request, request};
use mesh_core::{
    filter::FilterChain,
    head::{ConnectionInfo, RequestHead, StreamView},
    matcher::{HeaderCondition, HeaderMatcher, MatchedHeader, StringMatcher},
    model::{
        ClusterSpecifier, Forward, PathMatcher, Route, RouteAction, RouteConfiguration, RouteMatch,
        VirtualHost,
    },
    regex::{Regex, Scratch},
    route::{ClusterSlots, Found, RouteTable},
    snapshot::ClusterIndex,
};
use mesh_testkit::callgrind;

struct Arm {
    name: &'static str,
    /// The match of the route at a place.
    matcher: fn(usize) -> RouteMatch,
    routes: usize,
    /// How many times the instructions of one route many may take.
    limit: f64,
}

const ARMS: [Arm; 6] = [
    Arm {
        name: "exact",
        matcher: |n| on(PathMatcher::Path(path(n).into())),
        routes: 16_384,
        limit: 3.0,
    },
    Arm {
        name: "prefix",
        matcher: |n| on(PathMatcher::Prefix(path(n).into())),
        routes: 16_384,
        limit: 3.0,
    },
    Arm {
        name: "separated",
        matcher: |n| on(PathMatcher::PathSeparatedPrefix(path(n).into())),
        routes: 16_384,
        limit: 3.0,
    },
    Arm {
        name: "regex",
        matcher: |n| on(PathMatcher::Regex(regex(n))),
        routes: 1_024,
        limit: 3.0,
    },
    Arm {
        name: "mixed",
        matcher: |n| {
            on(match n % 8 {
                0 if n < 8_192 => PathMatcher::Regex(regex(n)),
                1..4 => PathMatcher::Path(path(n).into()),
                _ => PathMatcher::Prefix(path(n).into()),
            })
        },
        routes: 16_384,
        limit: 4.0,
    },
    Arm {
        name: "header",
        matcher: |n| {
            let mut matcher = on(PathMatcher::Prefix("/items".into()));
            let name = MatchedHeader::Name("x-tenant".parse().expect("a name"));
            let value = StringMatcher::Exact {
                value: tenant(n).into(),
                ignore_case: false,
            };
            matcher.headers = vec![HeaderMatcher::new(name, HeaderCondition::String(value))];
            matcher
        },
        routes: 16_384,
        limit: 3.0,
    },
];

const LOOK_UPS: [u64; 2] = [1_000, 21_000];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["run", arm, routes, look_ups] => {
            let arm = ARMS.iter().find(|a| a.name == arm).expect("an arm");
            let routes = routes.parse().expect("a number");
            look_up(arm, routes, look_ups.parse().expect("a number"));
            ExitCode::SUCCESS
        }
        _ => callgrind::gates(&ARMS, gate),
    }
}

fn path(n: usize) -> String {
    format!("/items/{:05}/{:03x}", n * 7_919 % 99_991, n % 4_096)
}

fn regex(n: usize) -> Regex {
    let expression = format!("/items/{:05}/[a-z0-9]+", n * 7_919 % 99_991);
    Regex::new(&expression).expect("an expression")
}

fn tenant(n: usize) -> String {
    format!("tenant-{n:05}")
}

fn on(path: PathMatcher) -> RouteMatch {
    let mut matcher = RouteMatch::default();
    matcher.path = path;
    matcher
}

struct OneSlot;

impl ClusterSlots for OneSlot {
    fn slot(&self, _: &Arc<str>) -> ClusterIndex {
        ClusterIndex::at(0)
    }
}

/// The table, and a request for its last route.
fn table(arm: &Arm, routes: usize) -> (RouteTable, request::Parts) {
    let mut host = VirtualHost::default();
    host.domains = vec!["*".to_owned()];
    // The last route is the same one in tables of each size.
    let places = arm.routes - routes..arm.routes;
    host.routes = places
        .map(|n| {
            let mut route = Route::default();
            route.matcher = (arm.matcher)(n);
            let cluster = ClusterSpecifier::Cluster("c".into());
            route.action = RouteAction::Forward(Box::new(Forward::to(cluster)));
            Arc::new(route)
        })
        .collect();
    let mut config = RouteConfiguration::default();
    config.virtual_hosts = vec![host];
    let table = RouteTable::compile(Arc::new(config), &FilterChain::default(), &OneSlot);
    let last = arm.routes - 1;
    let request = Request::get(format!("http://host.test{}", path(last)))
        .header("accept", "*/*")
        .header("user-agent", "curl/8.5.0")
        .header("x-request-id", "0ee9da03-93b0-4486-8a27-af0b5e7d0675")
        .header(
            "x-tenant",
            HeaderValue::try_from(tenant(last)).expect("a value"),
        );
    (table, request.body(()).expect("a request").into_parts().0)
}

#[inline(never)]
fn look_up(arm: &Arm, routes: usize, look_ups: u64) {
    let (table, request) = table(arm, routes);
    let connection = ConnectionInfo::default();
    let mut scratch = Scratch::default();
    for random in 0..look_ups {
        let view = StreamView {
            head: RequestHead::of(&request),
            random,
            connection: &connection,
            metadata: None,
        };
        match std::hint::black_box(table.find(&view, &mut scratch)) {
            Found::Route(at) => assert_eq!(at.route as usize, routes - 1),
            other => panic!("{other:?}"),
        }
    }
}

/// Whether an arm keeps its limit; prints what a look-up costs.
fn gate(arm: &Arm) -> Result<bool, String> {
    let (one, many) = (per_look_up(arm, 1)?, per_look_up(arm, arm.routes)?);
    let times = many / one;
    let passed = times <= arm.limit;
    let verdict = if passed { "" } else { "FAILED: " };
    println!(
        "{:<10} {one:>5.0} instructions with 1 route, {many:>5.0} with {}: {times:.2} times, {verdict}limit {}",
        arm.name, arm.routes, arm.limit
    );
    Ok(passed)
}

fn per_look_up(arm: &Arm, routes: usize) -> Result<f64, String> {
    let args = |look_ups: u64| {
        vec![
            "run".into(),
            arm.name.into(),
            routes.to_string(),
            look_ups.to_string(),
        ]
    };
    callgrind::per_step(args, LOOK_UPS)
}
