//! The client behind trusted proxies is found once, when the request comes: what filters and header operations make of
//! `x-forwarded-for` later changes neither who is allowed nor what is logged.

use std::sync::{Arc, Mutex};

use mesh_core::{
    filter::{
        FilterContext, FilterKind, FilterOverride, FilterVerdict, HttpFilter, HttpFilterConfig,
    },
    head::ConnectionInfo,
    model::{AppendAction, HeaderAddition, OriginalIpDetection},
    route::HeaderFormat,
    snapshot::{ChainIndex, Outbound, Snapshot},
};
use mesh_tower::ChainSource;

use crate::{
    mock::mock,
    world::{World, get, plane, told},
};

struct OfReviews;

impl ChainSource for OfReviews {
    fn chain(&self, snapshot: &Snapshot) -> Option<ChainIndex> {
        match snapshot.outbound("reviews", 9080) {
            Outbound::Http(chain) => Some(chain),
            _ => None,
        }
    }
}

/// Forgets who sent the request, then asks.
#[derive(Debug, Default)]
struct Forgetful(Arc<Mutex<Option<String>>>);

impl HttpFilter for Forgetful {
    fn on_request_head(
        &self,
        cx: &mut FilterContext<'_>,
        _: Option<&FilterOverride>,
        _: &mut u64,
    ) -> FilterVerdict {
        cx.parts.headers.remove("x-forwarded-for");
        cx.parts.headers.remove("x-client");
        let client = cx.remote_address().map(|address| address.to_string());
        *self.0.lock().expect("no test panicked") = client;
        FilterVerdict::Continue
    }
}

/// What a filter and a response header format take for the client.
async fn seen(set: impl FnOnce(&mut World)) -> (Option<String>, String) {
    let filter = Forgetful::default();
    let found = Arc::clone(&filter.0);
    let mut world = World::new();
    let filter = HttpFilterConfig::new("forgetful", FilterKind::Custom(Arc::new(filter)));
    world.manager.http_filters.insert(0, filter);
    let format = HeaderFormat::parse(b"%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%");
    world.route.headers.response.add = vec![HeaderAddition::new(
        http::HeaderName::from_static("x-saw"),
        format.expect("a format"),
        AppendAction::AppendIfExistsOrAdd,
    )];
    set(&mut world);
    let plane = plane(world.config());
    let mut connection = ConnectionInfo::default();
    connection.peer = Some(([10, 0, 0, 9], 4000).into());
    let (inner, mut upstream) = mock();
    let service = plane.service_for_chain(Arc::new(OfReviews), Arc::new(connection), inner);
    let mut request = get();
    let headers = request.headers_mut();
    headers.insert("host", "reviews:9080".parse().expect("a value"));
    headers.insert("x-forwarded-for", "1.2.3.4".parse().expect("a value"));
    headers.insert("x-client", "5.6.7.8".parse().expect("a value"));
    let call = tokio::spawn(service.request(request));
    upstream.next().await.answer(200);
    let answer = call.await.expect("joined").expect("an answer");
    let saw = answer.headers()["x-saw"].to_str().expect("text").to_owned();
    assert_eq!(told(Ok(answer)).await.0, 200);
    let found = found.lock().expect("no test panicked").clone();
    (found, saw)
}

#[tokio::test(start_paused = true)]
async fn it_stays_what_the_connection_manager_found() {
    let behind_one_hop = seen(|world| {
        world.manager.use_remote_address = true;
        world.manager.xff_num_trusted_hops = 1;
    });
    let expected = (Some("1.2.3.4".to_owned()), "1.2.3.4".to_owned());
    assert_eq!(behind_one_hop.await, expected);
}

#[tokio::test(start_paused = true)]
async fn an_extension_finds_it() {
    let by_header = seen(|world| {
        world.manager.original_ip_detection = vec![OriginalIpDetection::CustomHeader {
            name: http::HeaderName::from_static("x-client"),
            trusted: false,
            reject: None,
        }];
    });
    let expected = (Some("5.6.7.8".to_owned()), "5.6.7.8".to_owned());
    assert_eq!(by_header.await, expected);
}

#[tokio::test(start_paused = true)]
async fn otherwise_it_is_the_peer() {
    let direct = seen(|world| world.manager.use_remote_address = true);
    let expected = (Some("10.0.0.9".to_owned()), "10.0.0.9".to_owned());
    assert_eq!(direct.await, expected);
}
