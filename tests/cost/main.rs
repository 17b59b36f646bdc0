//! What the mesh costs a request: allocations and memory, exactly, against their bars.
//!
//! Instructions are a bench of the same configuration: `cargo bench --bench cost`.

mod configuration;
mod null;

use configuration::Configuration;
use mesh_testkit::alloc::{Counting, allocations};
use null::{Null, request};
use tower_service::Service;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Enough for everything that is made once per thread, per endpoint or per counter to be there.
const WARM_UP: usize = 20_000;
/// Blocks of requests: the one with the fewest counts, since a header's number that is new to the thread is made once.
const BLOCKS: usize = 10;
const REQUESTS: usize = 100;

/// Allocations of a request over a service, the making of the request included.
fn per_request<S>(mut service: S) -> f64
where
    S: Service<http::Request<http_body_util::Empty<bytes::Bytes>>>,
    S::Error: std::fmt::Debug,
{
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made")
        .block_on(async {
            for _ in 0..WARM_UP {
                drop(service.call(request()).await.expect("answered"));
            }
            let mut fewest = u64::MAX;
            for _ in 0..BLOCKS {
                let before = allocations();
                for _ in 0..REQUESTS {
                    drop(service.call(request()).await.expect("answered"));
                }
                fewest = fewest.min(allocations() - before);
            }
            fewest as f64 / REQUESTS as f64
        })
}

/// Allocations that the mesh adds.
fn added(configuration: Configuration, waits: bool) -> f64 {
    let null = Null { waits };
    let mesh = configuration.mesh();
    let direct = per_request(null);
    assert!(direct > 0.0, "allocations are counted");
    per_request(tower_layer::Layer::layer(&mesh.layer(), null)) - direct
}

#[test]
fn without_a_retry_policy_nothing_is_allocated() {
    for waits in [false, true] {
        assert_eq!(added(Configuration::PLAIN, waits), 0.0, "waits: {waits}");
    }
}

#[test]
fn the_copy_of_the_head_for_retries_reuses_memory() {
    for waits in [false, true] {
        assert_eq!(added(Configuration::RETRIES, waits), 0.0, "waits: {waits}");
    }
}

#[test]
fn a_generated_header_costs_its_value() {
    let configuration = Configuration {
        generated_header: true,
        ..Configuration::PLAIN
    };
    for waits in [false, true] {
        assert_eq!(added(configuration, waits), 1.0, "waits: {waits}");
    }
}

/// The future is moved by its caller, often into a task: beside the inner future and the body it holds one stream.
#[test]
fn the_future_is_small() {
    // What has been reached, with a small margin; the design's aim is 608.
    const LIMIT: usize = 688;
    let mesh = Configuration::RETRIES.mesh();
    let null = Null { waits: false };
    let future = tower_layer::Layer::layer(&mesh.layer(), null).call(request());
    let inner = size_of::<null::Answer<proxyless::TransportError>>();
    let added = size_of_val(&future) - inner;
    println!("{added} bytes over the inner future");
    assert!(added <= LIMIT, "{added} bytes over the inner future");
}
