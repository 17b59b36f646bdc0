//! The agent over a scripted control plane in the same process, in paused time.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use futures_core::Stream;
use mesh_proto::envoy::{
    config::core::v3::Node,
    service::discovery::v3::{DiscoveryRequest, DiscoveryResponse},
};
use mesh_xds::{
    Agent, Bootstrap, ResourceKind,
    transport::{InProcess, Requests, Transport, TransportError},
};
use tokio::{sync::mpsc, time::Instant};

/// Answers every first request of a type with nothing, and records all requests.
struct EmptyServer {
    requests: Requests,
    seen: Arc<Mutex<Vec<DiscoveryRequest>>>,
}

impl Stream for EmptyServer {
    type Item = Result<DiscoveryResponse, String>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while let Poll::Ready(request) = Pin::new(&mut self.requests).poll_next(cx) {
            let Some(request) = request else {
                return Poll::Ready(None);
            };
            let response = DiscoveryResponse {
                version_info: "1".into(),
                nonce: "1".into(),
                type_url: request.type_url.clone(),
                ..Default::default()
            };
            let first = request.response_nonce.is_empty();
            self.seen.lock().unwrap().push(request);
            if first {
                return Poll::Ready(Some(Ok(response)));
            }
        }
        Poll::Pending
    }
}

fn node() -> Node {
    Node {
        id: "n".into(),
        ..Default::default()
    }
}

#[tokio::test(start_paused = true)]
async fn requests_and_acknowledgements_reach_the_control_plane() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let transport = InProcess::new(move |requests| EmptyServer {
        requests,
        seen: Arc::clone(&record),
    });
    let (sender, mut published) = mpsc::unbounded_channel();
    let agent = Agent::new(
        Bootstrap::in_process(node()),
        transport,
        move |config, info| {
            let _ = sender.send((config, info));
        },
    );
    let task = tokio::spawn(agent.run());
    let (config, info) = published.recv().await.unwrap();
    assert!(info.first && config.listeners.is_empty());
    // all acknowledgements are out once nothing but the (unarmed) timers is left
    tokio::time::sleep(Duration::from_millis(1)).await;
    task.abort();
    let requests = seen.lock().unwrap();
    let sent: Vec<_> = requests
        .iter()
        .map(|request| {
            let kind = ResourceKind::from_type_url(&request.type_url).unwrap();
            (kind, request.version_info.as_str(), request.node.is_some())
        })
        .collect();
    let mut sorted = sent.clone();
    sorted.sort();
    assert!(sent[0].2, "the node comes first");
    assert_eq!(
        sorted,
        [
            (ResourceKind::Cluster, "", true),
            (ResourceKind::Cluster, "1", false),
            (ResourceKind::Listener, "", false),
            (ResourceKind::Listener, "1", false),
        ]
    );
}

/// Never connects.
struct Unreachable(mpsc::UnboundedSender<Instant>);

impl Transport for Unreachable {
    type Responses = EmptyResponses;

    async fn open(&mut self, _: Requests) -> Result<EmptyResponses, TransportError> {
        let _ = self.0.send(Instant::now());
        Err(TransportError::new("connection refused"))
    }
}

struct EmptyResponses;

impl Stream for EmptyResponses {
    type Item = Result<DiscoveryResponse, TransportError>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(None)
    }
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_control_plane_is_tried_ever_more_slowly_and_nothing_is_published() {
    let (sender, mut attempts) = mpsc::unbounded_channel();
    let agent = Agent::new(
        Bootstrap::in_process(node()),
        Unreachable(sender),
        |_, _| {
            panic!("nothing is known, nothing may be published");
        },
    );
    let handle = agent.handle();
    let task = tokio::spawn(agent.run());
    let mut last = attempts.recv().await.unwrap();
    let mut longest = Duration::ZERO;
    for attempt in 0..40_u32 {
        let at = attempts.recv().await.unwrap();
        let cap = Duration::from_millis(500)
            .saturating_mul(1 << attempt.min(6))
            .min(Duration::from_secs(30));
        assert!(
            at - last <= cap + Duration::from_millis(2),
            "attempt {attempt}: {:?}",
            at - last
        );
        longest = longest.max(at - last);
        last = at;
    }
    assert!(longest > Duration::from_secs(5), "the waits grow");
    assert_eq!(handle.waiting_for().as_deref(), Some("CDS"));
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn dropping_the_agent_closes_the_stream() {
    let (closed, mut on_close) = mpsc::channel::<()>(1);
    struct Held(
        #[expect(dead_code, reason = "held until the stream is dropped")] mpsc::Sender<()>,
        Requests,
    );
    impl Stream for Held {
        type Item = Result<DiscoveryResponse, String>;
        fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            while let Poll::Ready(Some(_)) = Pin::new(&mut self.1).poll_next(cx) {}
            Poll::Pending
        }
    }
    let (opened, mut on_open) = mpsc::unbounded_channel();
    let transport = InProcess::new(move |requests| {
        let _ = opened.send(());
        Held(closed.clone(), requests)
    });
    let task = tokio::spawn(Agent::new(Bootstrap::in_process(node()), transport, |_, _| {}).run());
    on_open.recv().await.unwrap();
    task.abort();
    assert_eq!(on_close.recv().await, None);
}
