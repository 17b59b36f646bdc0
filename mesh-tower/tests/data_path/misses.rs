//! Hosts that the snapshot does not know yet.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use mesh_tower::{ErrorKind, Miss};
use tokio::time::Instant;
use tower::Layer;

use crate::{
    mock::mock,
    world::{Client, World, get, ms, plane, publish, settle, told},
};

struct Waits(AtomicUsize);

impl Miss for Waits {
    fn on_miss(&self, host: &str, port: u16) -> Option<Duration> {
        assert_eq!((host, port), ("reviews", 9080));
        self.0.fetch_add(1, Ordering::SeqCst);
        Some(ms(100))
    }
}

fn empty_client() -> (Client, Arc<Waits>) {
    let plane = plane(mesh_core::snapshot::ConfigSet::default());
    let waits = Arc::new(Waits(AtomicUsize::new(0)));
    assert!(plane.set_miss(waits.clone()));
    let (inner, upstream) = mock();
    let service = plane.layer().layer(inner);
    let client = Client {
        plane,
        service,
        upstream,
    };
    (client, waits)
}

#[tokio::test(start_paused = true)]
async fn a_miss_waits_for_the_snapshot_that_answers() {
    let (mut client, waits) = empty_client();
    let call = client.send(get());
    settle().await;
    assert!(!call.is_finished());
    publish(&client.plane, World::new().config());
    client.upstream.next().await.answer(200);
    assert_eq!(told(call.await.expect("joined")).await.0, 200);
    assert_eq!(waits.0.load(Ordering::SeqCst), 1);
    let call = client.send(get());
    client.upstream.next().await.answer(200);
    assert_eq!(told(call.await.expect("joined")).await.0, 200);
    assert_eq!(waits.0.load(Ordering::SeqCst), 1, "a hit asks nobody");
}

#[tokio::test(start_paused = true)]
async fn a_miss_that_nobody_answers_ends_with_its_limit() {
    let (client, _) = empty_client();
    let start = Instant::now();
    let error = client.send(get()).await.expect("joined").expect_err("NR");
    assert!(start.elapsed() >= ms(100));
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert_eq!(error.status(), 404);
}
