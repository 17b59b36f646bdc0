//! The cases about what is watched: what never comes, what is gone, what is refused.

use super::*;

#[test]
fn watch_expiry_timer_fires_before_response() {
    let mut stream = Stream::open();
    stream.subscribe(Route, &["a"]);
    stream.sent();
    assert_eq!(stream.ads.poll_timeout(), Some(stream.now + 15 * SECOND));
    stream.after(15 * SECOND);
    assert_eq!(stream.events(), [absent(Route, "a")]);
    assert!(stream.ads.is_settled(Route));
    stream.respond(Route, "1", "n", &["a"]);
    stream.after(60 * SECOND);
    assert_eq!(stream.events(), [], "it came after all");
}

#[test]
fn watch_valid_response_cancels_expiry_timer() {
    let mut stream = Stream::open();
    stream.subscribe(Endpoints, &["a"]);
    stream.sent();
    stream.after(14 * SECOND);
    stream.respond(Endpoints, "1", "n", &["a"]);
    assert_eq!(stream.ads.poll_timeout(), None);
    stream.after(60 * SECOND);
    assert_eq!(stream.events(), []);
}

#[test]
fn a_refused_resource_is_not_absent() {
    let mut stream = Stream::open();
    stream.subscribe(Endpoints, &["a"]);
    stream.sent();
    stream.judge(Endpoints, "1", "n", &["a"], Some("a: bad"));
    stream.after(60 * SECOND);
    assert_eq!(stream.events(), []);
}

#[test]
fn watch_state_stream_breaks() {
    let mut stream = Stream::open();
    stream.subscribe(Route, &["a"]);
    stream.after(10 * SECOND);
    stream.close();
    stream.events();
    stream.now += 60 * SECOND;
    stream.ads.handle_timeout(stream.now);
    assert_eq!(
        stream.events(),
        [AdsEvent::Connect],
        "the silence of a dead stream proves nothing"
    );
    stream.ads.handle_open(stream.now);
    assert_eq!(
        stream.ads.poll_timeout(),
        Some(stream.now + 15 * SECOND),
        "the time starts anew"
    );
}

#[test]
fn a_cached_resource_is_not_timed_after_a_restart() {
    let mut stream = Stream::open();
    stream.subscribe(Route, &["a"]);
    stream.sent();
    stream.respond(Route, "1", "n", &["a"]);
    stream.close();
    stream.after(SECOND);
    stream.ads.handle_open(stream.now);
    assert_eq!(stream.ads.poll_timeout(), None);
}

#[test]
fn a_type_that_never_answers_counts_as_absent() {
    let mut stream = Stream::open();
    stream.ads.subscribe_all(stream.now, Listener);
    assert!(!stream.ads.is_settled(Listener));
    stream.after(15 * SECOND);
    assert_eq!(
        stream.events(),
        [AdsEvent::Absent {
            kind: Listener,
            name: None
        }]
    );
    assert!(stream.ads.is_settled(Listener));
}

#[test]
fn cds_watch_resource_removed() {
    let mut stream = Stream::open();
    stream.ads.subscribe_all(stream.now, Cluster);
    stream.sent();
    stream.respond(Cluster, "1", "a", &["x", "y"]);
    stream.respond(Cluster, "2", "b", &["y"]);
    assert_eq!(stream.events(), [absent(Cluster, "x")]);
    stream.respond(Cluster, "3", "c", &["y"]);
    assert_eq!(stream.events(), [], "once");
    stream.respond(Cluster, "4", "d", &["x", "y"]);
    stream.respond(Cluster, "5", "e", &[]);
    assert_eq!(
        stream.events(),
        [absent(Cluster, "x"), absent(Cluster, "y")]
    );
}

#[test]
fn lds_watch_named_resource_removed() {
    let mut stream = Stream::open();
    stream.subscribe(Listener, &["a"]);
    stream.sent();
    stream.respond(Listener, "1", "n1", &["a"]);
    stream.subscribe(Listener, &["a", "b"]);
    stream.respond(Listener, "1", "n2", &["a"]);
    assert_eq!(
        stream.events(),
        [],
        "the response may be older than the request for b"
    );
    stream.respond(Listener, "2", "n3", &[]);
    assert_eq!(stream.events(), [absent(Listener, "a")]);
    stream.after(15 * SECOND);
    assert_eq!(stream.events(), [absent(Listener, "b")]);
}

#[test]
fn eds_watch_partial_response_proves_nothing() {
    let mut stream = Stream::open();
    stream.subscribe(Endpoints, &["a", "b"]);
    stream.sent();
    stream.respond(Endpoints, "1", "n1", &["a", "b"]);
    stream.respond(Endpoints, "2", "n2", &["a"]);
    assert_eq!(stream.events(), []);
}

#[test]
fn an_unnamed_resource_may_be_the_missing_one() {
    let mut stream = Stream::open();
    stream.ads.subscribe_all(stream.now, Cluster);
    stream.sent();
    stream.respond(Cluster, "1", "a", &["x"]);
    let judged = Judged {
        version: "2",
        nonce: "b",
        seen: &[],
        unnamed: true,
        rejection: Some("unreadable"),
    };
    stream.ads.handle_response(Cluster, &judged);
    assert_eq!(stream.events(), []);
}

#[test]
fn new_watcher_for_removed_resource() {
    let mut stream = Stream::open();
    stream.subscribe(Listener, &["a"]);
    stream.sent();
    stream.respond(Listener, "1", "n1", &["a"]);
    stream.respond(Listener, "2", "n2", &[]);
    stream.sent();
    stream.events();
    stream.subscribe(Listener, &[]);
    stream.subscribe(Listener, &["a"]);
    let names: Vec<_> = stream
        .sent()
        .into_iter()
        .map(|request| request.resource_names)
        .collect();
    assert_eq!(names, [vec![], vec!["a"]]);
    assert_eq!(
        stream.ads.poll_timeout(),
        Some(stream.now + 15 * SECOND),
        "asked for anew"
    );
}

#[test]
fn a_name_that_is_dropped_and_wanted_again_is_asked_for_anew() {
    let mut stream = Stream::open();
    stream.subscribe(Endpoints, &["a", "b"]);
    stream.sent();
    stream.respond(Endpoints, "1", "n1", &["a", "b"]);
    stream.sent();
    stream.subscribe(Endpoints, &["b"]);
    stream.subscribe(Endpoints, &["a", "b"]);
    let names: Vec<_> = stream
        .sent()
        .into_iter()
        .map(|request| request.resource_names)
        .collect();
    assert_eq!(
        names,
        [vec!["b"], vec!["a", "b"]],
        "in one request the server would notice nothing"
    );
}
