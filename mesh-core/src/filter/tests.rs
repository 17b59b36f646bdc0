//! The chain: order, states, merging.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use http::{HeaderMap, Request, StatusCode};

use super::*;
use crate::{
    Entropy,
    flags::ResponseFlags,
    head::ConnectionInfo,
    local_reply::LocalReply,
    model::{FilterOverrides, Fraction},
};

struct NoChance;

impl Entropy for NoChance {
    fn next_u64(&mut self) -> u64 {
        panic!("nothing to draw")
    }
}

/// Writes down which hook ran when.
#[derive(Debug)]
struct Recorder {
    name: &'static str,
    log: Arc<Mutex<Vec<String>>>,
    reply: bool,
}

impl Recorder {
    fn note(&self, hook: &str) {
        self.log
            .lock()
            .unwrap()
            .push(format!("{} {hook}", self.name));
    }
}

impl HttpFilter for Recorder {
    fn on_request_head(
        &self,
        _: &mut FilterContext<'_>,
        _: Option<&FilterOverride>,
        slot: &mut u64,
    ) -> FilterVerdict {
        self.note("request");
        *slot += 1;
        if self.reply {
            let reply = LocalReply::answer(StatusCode::IM_A_TEAPOT, "", "recorded");
            return FilterVerdict::Reply(Box::new(reply));
        }
        FilterVerdict::Continue
    }

    fn on_response_head(
        &self,
        _: StatusCode,
        _: &mut HeaderMap,
        _: Option<&FilterOverride>,
        _: &mut u64,
    ) {
        self.note("response");
    }

    fn on_complete(&self, slot: &mut u64) {
        self.note(&format!("complete {slot}"));
    }
}

fn run(
    chain: &FilterChain,
    states: &mut FilterStates,
    route: Option<&RouteFilters>,
) -> (ChainVerdict, ResponseFlags) {
    with_context(|cx| chain.on_request_head(states, route, cx))
}

fn with_context(
    f: impl FnOnce(&mut FilterContext<'_>) -> ChainVerdict,
) -> (ChainVerdict, ResponseFlags) {
    let (mut parts, ()) = Request::get("http://a/").body(()).unwrap().into_parts();
    let mut flags = ResponseFlags::NONE;
    let connection = ConnectionInfo::default();
    let mut scratch = Default::default();
    let verdict = f(&mut FilterContext::new(
        &mut parts,
        &connection,
        &mut flags,
        &mut NoChance,
        &mut scratch,
        Instant::now(),
    ));
    (verdict, flags)
}

#[test]
fn requests_run_in_order_responses_in_reverse_also_after_a_reply() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let filter = |name, reply| {
        let recorder = Recorder {
            name,
            log: Arc::clone(&log),
            reply,
        };
        HttpFilterConfig::new(name, FilterKind::Custom(Arc::new(recorder)))
    };
    let mut off = filter("off", false);
    off.disabled = true;
    let filters = [
        filter("a", false),
        off,
        filter("b", true),
        filter("c", false),
    ];
    let chain = FilterChain::compile(&filters);
    let mut states = FilterStates::default();
    let (verdict, _) = run(&chain, &mut states, None);
    assert!(matches!(verdict, ChainVerdict::Reply(_)));
    let mut headers = HeaderMap::new();
    let mut cx = ResponseContext::new(StatusCode::OK, &mut headers, Instant::now());
    chain.on_response_head(&mut states, None, &mut cx);
    chain.on_complete(&mut states);
    let expected = [
        "a request",
        "b request",
        "c response",
        "b response",
        "a response",
        "a complete 1",
        "off complete 0",
        "b complete 1",
        "c complete 0",
    ];
    assert_eq!(*log.lock().unwrap(), expected);
}

#[test]
fn more_filters_than_inline_words_keep_theirs() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let filters: Vec<_> = ["0", "1", "2", "3", "4", "5"]
        .into_iter()
        .map(|name| {
            let recorder = Recorder {
                name,
                log: Arc::clone(&log),
                reply: false,
            };
            HttpFilterConfig::new(name, FilterKind::Custom(Arc::new(recorder)))
        })
        .collect();
    let chain = FilterChain::compile(&filters);
    let mut states = FilterStates::default();
    run(&chain, &mut states, None);
    run(&chain, &mut states, None);
    chain.on_complete(&mut states);
    let log = log.lock().unwrap();
    assert_eq!(
        log[12..],
        [
            "0 complete 2",
            "1 complete 2",
            "2 complete 2",
            "3 complete 2",
            "4 complete 2",
            "5 complete 2",
        ]
    );
}

fn fault(status: u16) -> FilterOverride {
    FilterOverride::Fault(Arc::new(FaultConfig {
        abort: Some(FaultAbort::Http(StatusCode::from_u16(status).unwrap())),
        abort_fraction: Some(Fraction::ALWAYS),
        ..FaultConfig::default()
    }))
}

#[test]
fn the_most_specific_level_that_names_a_filter_wins() {
    let name: Arc<str> = "envoy.filters.http.fault".into();
    let default = FilterKind::Fault(Arc::default());
    let mut config = HttpFilterConfig::new(Arc::clone(&name), default);
    let chain = FilterChain::compile(std::slice::from_ref(&config));
    config.disabled = true;
    let disabled = FilterChain::compile(&[
        config,
        HttpFilterConfig::new("envoy.filters.http.router", FilterKind::Router),
    ]);

    let route = vec![(Arc::clone(&name), fault(500))];
    let host = vec![(Arc::clone(&name), fault(400))];
    let off = vec![(Arc::clone(&name), FilterOverride::Disabled)];
    let other = vec![("other".into(), fault(418))];
    let none = Vec::new();
    let status = |chain: &FilterChain, levels: &[&FilterOverrides]| {
        let route = chain.merge(levels);
        match run(chain, &mut FilterStates::default(), Some(&route)).0 {
            ChainVerdict::Reply(reply) => Some(reply.status.as_u16()),
            _ => None,
        }
    };
    assert_eq!(status(&chain, &[&none, &route, &host]), Some(500));
    assert_eq!(status(&chain, &[&none, &other, &host]), Some(400));
    assert_eq!(status(&chain, &[&off, &route, &host]), None);
    assert_eq!(status(&chain, &[&route, &off]), Some(500));
    assert_eq!(status(&chain, &[&other, &none]), None);
    assert_eq!(status(&disabled, &[&other]), None);
    assert_eq!(status(&disabled, &[&host]), Some(400));
    assert!(chain.merge(&[&other, &none]).is_empty());
}

#[test]
fn after_a_delay_the_chain_goes_on_behind_the_filter() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let config = FaultConfig {
        delay: Some(Duration::from_secs(2)),
        delay_fraction: Some(Fraction::ALWAYS),
        ..FaultConfig::default()
    };
    let recorder = Recorder {
        name: "a",
        log: Arc::clone(&log),
        reply: false,
    };
    let chain = FilterChain::compile(&[
        HttpFilterConfig::new("fault", FilterKind::Fault(Arc::new(config))),
        HttpFilterConfig::new("a", FilterKind::Custom(Arc::new(recorder))),
    ]);
    let mut states = FilterStates::default();
    let (verdict, flags) = run(&chain, &mut states, None);
    let ChainVerdict::Delay { at, duration } = verdict else {
        panic!("{verdict:?}")
    };
    assert_eq!(duration, Duration::from_secs(2));
    assert_eq!(flags.to_string(), "DI");
    assert!(log.lock().unwrap().is_empty());
    let (verdict, _) =
        with_context(|cx| chain.resume(Resume::DelayOver(at), &mut states, None, cx));
    assert!(matches!(verdict, ChainVerdict::Continue));
    assert_eq!(*log.lock().unwrap(), ["a request"]);
}
