//! The cases of grpc-go's and gRFC A57's conformance lists that concern the stream, by their names there.

mod watches;

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use mesh_core::Entropy;
use mesh_proto::envoy::{config::core::v3::Node, service::discovery::v3::DiscoveryRequest};

use super::{Ads, AdsEvent, AdsOptions, Judged};
use crate::ResourceKind::{self, Cluster, Endpoints, Listener, Route};

/// Half of every interval.
struct Half;

impl Entropy for Half {
    fn next_u64(&mut self) -> u64 {
        250_000
    }
}

struct Stream {
    ads: Ads,
    now: Instant,
}

impl Stream {
    /// A machine whose first stream is not open yet.
    fn closed() -> Self {
        let node = Node {
            id: "n".into(),
            ..Default::default()
        };
        let mut ads = Ads::new(node, AdsOptions::default());
        assert_eq!(ads.poll_event(), Some(AdsEvent::Connect));
        Self {
            ads,
            now: Instant::now(),
        }
    }

    fn open() -> Self {
        let mut stream = Self::closed();
        stream.ads.handle_open(stream.now);
        stream
    }

    fn subscribe(&mut self, kind: ResourceKind, wanted: &[&str]) {
        self.ads.subscribe(
            self.now,
            kind,
            &names(wanted).into_iter().collect::<BTreeSet<_>>(),
        );
    }

    fn after(&mut self, time: Duration) {
        self.now += time;
        self.ads.handle_timeout(self.now);
    }

    fn close(&mut self) {
        self.ads.handle_close(self.now, &mut Half);
    }

    fn respond(&mut self, kind: ResourceKind, version: &str, nonce: &str, seen: &[&str]) {
        self.judge(kind, version, nonce, seen, None);
    }

    fn judge(
        &mut self,
        kind: ResourceKind,
        version: &str,
        nonce: &str,
        seen: &[&str],
        rejection: Option<&str>,
    ) {
        let seen = names(seen);
        self.ads.handle_response(
            kind,
            &Judged {
                version,
                nonce,
                seen: &seen,
                unnamed: false,
                rejection,
            },
        );
    }

    fn sent(&mut self) -> Vec<DiscoveryRequest> {
        std::iter::from_fn(|| self.ads.poll_transmit()).collect()
    }

    /// The only request that is due.
    fn only(&mut self) -> DiscoveryRequest {
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.remove(0)
    }

    fn events(&mut self) -> Vec<AdsEvent> {
        std::iter::from_fn(|| self.ads.poll_event()).collect()
    }
}

fn names(names: &[&str]) -> Vec<Arc<str>> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

fn absent(kind: ResourceKind, name: &str) -> AdsEvent {
    AdsEvent::Absent {
        kind,
        name: Some(name.into()),
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn ack_nack_simple() {
    let mut stream = Stream::open();
    stream.ads.subscribe_all(stream.now, Listener);
    let first = stream.only();
    assert_eq!((&*first.version_info, &*first.response_nonce), ("", ""));
    assert!(first.resource_names.is_empty());
    assert_eq!(first.type_url, Listener.type_url());

    stream.respond(Listener, "1", "a", &["x"]);
    let ack = stream.only();
    assert_eq!(
        (&*ack.version_info, &*ack.response_nonce, &ack.error_detail),
        ("1", "a", &None)
    );

    stream.judge(Listener, "2", "b", &["x"], Some("x: name: bad"));
    let nack = stream.only();
    assert_eq!(
        (&*nack.version_info, &*nack.response_nonce),
        ("1", "b"),
        "the version stays the last good one"
    );
    let detail = nack.error_detail.unwrap();
    assert_eq!((detail.code, &*detail.message), (3, "x: name: bad"));

    stream.respond(Listener, "3", "c", &["x"]);
    let ack = stream.only();
    assert_eq!(
        (&*ack.version_info, &*ack.response_nonce, &ack.error_detail),
        ("3", "c", &None)
    );
}

#[test]
fn nack_invalid_first_response() {
    let mut stream = Stream::open();
    stream.ads.subscribe_all(stream.now, Cluster);
    stream.sent();
    stream.judge(Cluster, "1", "a", &[], Some("bad"));
    let nack = stream.only();
    assert_eq!((&*nack.version_info, &*nack.response_nonce), ("", "a"));
}

#[test]
fn node_proto_sent_only_in_first_request() {
    let mut stream = Stream::open();
    stream.ads.subscribe_all(stream.now, Cluster);
    stream.ads.subscribe_all(stream.now, Listener);
    let with_node =
        |sent: &[DiscoveryRequest]| sent.iter().map(|r| r.node.is_some()).collect::<Vec<_>>();
    let sent = stream.sent();
    assert_eq!(with_node(&sent), [true, false]);
    stream.respond(Cluster, "1", "a", &[]);
    let sent = stream.sent();
    assert_eq!(with_node(&sent), [false]);

    stream.close();
    stream.after(SECOND);
    stream.ads.handle_open(stream.now);
    let sent = stream.sent();
    assert_eq!(with_node(&sent), [true, false], "once per stream");
}

#[test]
fn what_is_used_is_asked_for_before_its_user() {
    let mut stream = Stream::closed();
    stream.subscribe(Route, &["r"]);
    stream.ads.subscribe_all(stream.now, Listener);
    stream.subscribe(Endpoints, &["e"]);
    stream.ads.subscribe_all(stream.now, Cluster);
    stream.ads.handle_open(stream.now);
    let sent = stream.sent();
    let kinds: Vec<_> = sent
        .iter()
        .map(|r| ResourceKind::from_type_url(&r.type_url).unwrap())
        .collect();
    assert_eq!(kinds, [Cluster, Endpoints, Listener, Route]);
}

#[test]
fn requests_are_coalesced_per_type() {
    let mut stream = Stream::open();
    let all: Vec<String> = (0..1_000).map(|at| format!("cluster-{at:04}")).collect();
    for count in 1..=all.len() {
        stream.subscribe(
            Endpoints,
            &all[..count].iter().map(String::as_str).collect::<Vec<_>>(),
        );
    }
    let request = stream.only();
    assert_eq!(
        request.resource_names, all,
        "one request for a thousand names, in a stable order"
    );
}

#[test]
fn resource_is_not_requested_anymore() {
    let mut stream = Stream::open();
    stream.subscribe(Route, &["a", "b"]);
    assert_eq!(stream.only().resource_names, ["a", "b"]);
    stream.respond(Route, "1", "n1", &["a", "b"]);
    stream.sent();
    stream.subscribe(Route, &["b"]);
    let request = stream.only();
    assert_eq!(request.resource_names, ["b"]);
    assert_eq!(
        (&*request.version_info, &*request.response_nonce),
        ("1", "n1")
    );
    stream.subscribe(Route, &[]);
    assert_eq!(stream.only().resource_names, Vec::<String>::new());
    stream.subscribe(Route, &[]);
    assert_eq!(stream.sent(), []);
}

#[test]
fn resource_requested_before_stream_creation() {
    let mut stream = Stream::closed();
    stream.subscribe(Endpoints, &["a"]);
    assert_eq!(stream.sent(), [], "nothing is sent without a stream");
    assert_eq!(
        stream.ads.poll_timeout(),
        None,
        "no timer runs without a stream"
    );
    stream.ads.handle_open(stream.now);
    assert_eq!(stream.only().resource_names, ["a"]);
}

#[test]
fn backoff_after_stream_failure() {
    let mut stream = Stream::closed();
    for (attempt, cap_ms) in [500_u64, 1_000, 2_000].into_iter().enumerate() {
        stream.close();
        let retry_after = Duration::from_millis(250);
        assert!(retry_after < Duration::from_millis(cap_ms));
        assert_eq!(
            stream.events(),
            [AdsEvent::Failed { retry_after }],
            "attempt {attempt}"
        );
        stream.after(retry_after - Duration::from_millis(1));
        assert_eq!(stream.events(), []);
        stream.after(Duration::from_millis(1));
        assert_eq!(stream.events(), [AdsEvent::Connect]);
    }
}

#[test]
fn a_stream_that_closes_without_a_response_is_a_failure() {
    let mut stream = Stream::open();
    stream.after(60 * SECOND);
    stream.close();
    assert_eq!(
        stream.events(),
        [AdsEvent::Failed {
            retry_after: Duration::from_millis(250)
        }]
    );
}

#[test]
fn retries_after_broken_stream() {
    let mut stream = Stream::open();
    stream.ads.subscribe_all(stream.now, Listener);
    stream.sent();
    stream.respond(Listener, "1", "a", &["x"]);
    stream.after(10 * SECOND);
    stream.close();
    assert_eq!(stream.events(), [], "after a response it is no error");
    assert_eq!(
        stream.ads.poll_timeout(),
        Some(stream.now),
        "and there is no back-off"
    );
    stream.after(Duration::ZERO);
    assert_eq!(stream.events(), [AdsEvent::Connect]);
}

#[test]
fn streams_that_die_young_do_not_spin() {
    let mut stream = Stream::open();
    stream.ads.subscribe_all(stream.now, Listener);
    stream.sent();
    stream.respond(Listener, "1", "a", &["x"]);
    stream.close();
    assert_eq!(stream.events(), []);
    assert_eq!(
        stream.ads.poll_timeout(),
        Some(stream.now + Duration::from_millis(250))
    );
}

#[test]
fn resources_are_requested_after_stream_restart() {
    let mut stream = Stream::open();
    stream.ads.subscribe_all(stream.now, Cluster);
    stream.subscribe(Route, &["a", "b"]);
    stream.sent();
    stream.respond(Cluster, "7", "n1", &["c"]);
    stream.respond(Route, "5", "n2", &["a"]);
    stream.sent();
    stream.close();
    stream.after(SECOND);
    stream.ads.handle_open(stream.now);
    let sent = stream.sent();
    let fields: Vec<_> = sent
        .iter()
        .map(|r| (&*r.version_info, &*r.response_nonce))
        .collect();
    assert_eq!(
        fields,
        [("7", ""), ("5", "")],
        "last versions, no nonce of another stream"
    );
    assert_eq!(sent[1].resource_names, ["a", "b"]);
}

#[test]
fn a_response_of_a_closed_stream_is_ignored() {
    let mut stream = Stream::open();
    stream.ads.subscribe_all(stream.now, Listener);
    stream.sent();
    stream.close();
    stream.respond(Listener, "9", "late", &["x"]);
    assert_eq!(stream.ads.version(Listener), "");
    stream.ads.handle_open(stream.now);
    assert_eq!(stream.only().response_nonce, "");
}

#[test]
fn a_type_that_was_never_asked_for_is_not_acknowledged() {
    let mut stream = Stream::open();
    stream.respond(Endpoints, "1", "a", &["x"]);
    assert_eq!(stream.sent(), []);
}
