//! Any order of calls: no panic, and the rules that hold whatever happens.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use mesh_core::Entropy;
use mesh_proto::envoy::config::core::v3::Node;
use proptest::prelude::*;

use super::{Ads, AdsOptions, Judged};
use crate::ResourceKind;

#[derive(Clone, Debug)]
enum Operation {
    Open,
    Close,
    SubscribeAll(usize),
    Subscribe(usize, BTreeSet<u8>),
    Respond {
        kind: usize,
        seen: Vec<u8>,
        unnamed: bool,
        rejected: bool,
    },
    Wait(u16),
    Transmit,
}

fn operation() -> impl Strategy<Value = Operation> {
    let names = || prop::collection::btree_set(0..6_u8, 0..5);
    prop_oneof![
        Just(Operation::Open),
        Just(Operation::Close),
        (0..4_usize).prop_map(Operation::SubscribeAll),
        (0..4_usize, names()).prop_map(|(kind, names)| Operation::Subscribe(kind, names)),
        (
            0..4_usize,
            prop::collection::vec(0..8_u8, 0..5),
            any::<bool>(),
            any::<bool>()
        )
            .prop_map(|(kind, seen, unnamed, rejected)| Operation::Respond {
                kind,
                seen,
                unnamed,
                rejected
            }),
        (0..20_000_u16).prop_map(Operation::Wait),
        Just(Operation::Transmit),
    ]
}

struct Steps(u64);

impl Entropy for Steps {
    fn next_u64(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        self.0
    }
}

fn name(at: u8) -> Arc<str> {
    format!("name-{at}").into()
}

proptest! {
    #[test]
    fn rules_hold_in_any_order(operations in prop::collection::vec(operation(), 1..80)) {
        let mut ads = Ads::new(Node::default(), AdsOptions::default());
        let mut entropy = Steps(1);
        let mut now = Instant::now();
        let mut response = 0_u32;
        let mut node_sent = false;
        let mut last_version = [0_u32; 4];
        let mut last_nonce: [Option<u32>; 4] = [None; 4];
        for operation in operations {
            match operation {
                Operation::Open => {
                    ads.handle_open(now);
                    node_sent = false;
                    last_nonce = [None; 4];
                }
                Operation::Close => ads.handle_close(now, &mut entropy),
                Operation::SubscribeAll(kind) => ads.subscribe_all(now, ResourceKind::ALL[kind]),
                Operation::Subscribe(kind, names) => {
                    let names = names.into_iter().map(name).collect();
                    ads.subscribe(now, ResourceKind::ALL[kind], &names);
                }
                Operation::Respond { kind, seen, unnamed, rejected } => {
                    response += 1;
                    let seen: Vec<_> = seen.into_iter().map(name).collect();
                    let text = response.to_string();
                    let rejection = rejected.then_some("bad");
                    let judged = Judged { version: &text, nonce: &text, seen: &seen, unnamed, rejection };
                    ads.handle_response(ResourceKind::ALL[kind], &judged);
                }
                Operation::Wait(ms) => {
                    now += Duration::from_millis(ms.into());
                    ads.handle_timeout(now);
                    prop_assert!(ads.poll_timeout().is_none_or(|at| at > now));
                }
                Operation::Transmit => {
                    while let Some(request) = ads.poll_transmit() {
                        prop_assert!(ads.is_open(), "nothing is sent without a stream");
                        prop_assert_eq!(request.node.is_some(), !node_sent, "the node comes first, once");
                        node_sent = true;
                        let kind = ResourceKind::from_type_url(&request.type_url).unwrap() as usize;
                        let version = request.version_info.parse().unwrap_or(0);
                        prop_assert!(version >= last_version[kind], "versions are monotone");
                        last_version[kind] = version;
                        let nonce = request.response_nonce.parse().ok();
                        prop_assert!(nonce >= last_nonce[kind], "nonces are monotone within a stream");
                        last_nonce[kind] = nonce;
                        if request.error_detail.is_some() {
                            prop_assert!(nonce.is_some_and(|nonce: u32| nonce > version), "a NACK keeps the old version");
                        }
                        let sorted = request.resource_names.is_sorted();
                        prop_assert!(sorted, "names are in a stable order");
                    }
                }
            }
            while ads.poll_event().is_some() {}
        }
    }
}
