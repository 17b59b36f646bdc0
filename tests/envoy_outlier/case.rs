//! Random sequences of requests to one cluster, each with what its endpoint answers.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use mesh_testkit::{
    random::Random,
    upstream::{CASE, SCRIPT},
};
use serde_json::Value;

use crate::config::{self, Interval};

/// A cluster of its own, and what is asked of it: all at once, or in two bursts some intervals apart.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) cluster: Value,
    pub(crate) bursts: Vec<Vec<Step>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Which endpoint: the hash is of this.
    key: usize,
    answer: &'static str,
    headers: Vec<(&'static str, &'static str)>,
}

const GOOD: &[&str] = &["200", "200", "404", "499"];
const BAD: &[&str] = &["500", "501", "502", "503", "503", "504", "599", "reset"];
const ODD: &[&str] = &[
    "200;h=x-envoy-degraded:1",
    "404;h=x-envoy-degraded:false",
    "503;h=x-envoy-degraded:1",
    "200;pause=20;cut",
    "500;pause=20;cut",
    "200;h=grpc-status:14",
];
const GRPC: &[&str] = &[
    "200;h=content-type:application/grpc;h=grpc-status:0;body=0",
    "200;h=content-type:application/grpc;h=grpc-status:2;body=0",
    "200;h=content-type:application/grpc;h=grpc-status:14;body=0",
    "200;h=content-type:application/grpc;h=grpc-status:5;body=0",
    "200;h=content-type:application/grpc;t=grpc-status:14",
    "503",
];
const KEYS: usize = 8;

impl Case {
    pub(crate) fn random(random: &mut Random, interval: Interval) -> Self {
        let cluster = config::cluster(random, interval);
        // Keys are good or bad, so that endpoints are.
        let badness: Vec<usize> = (0..KEYS).map(|_| *random.one(&[0, 20, 60, 100])).collect();
        let bursts = match interval {
            Interval::Never => vec![6 + random.below(16)],
            Interval::Every(_) => vec![8 + random.below(16), random.below(12)],
        };
        let timed = interval != Interval::Never;
        let burst = |length| {
            (0..length)
                .map(|_| Step::random(random, &badness, timed))
                .collect()
        };
        Self {
            cluster,
            bursts: bursts.into_iter().map(burst).collect(),
        }
    }

    pub(crate) fn text(&self) -> String {
        format!("{:#}\n{:#?}", self.cluster, self.bursts)
    }
}

impl Step {
    fn random(random: &mut Random, badness: &[usize], timed: bool) -> Self {
        let key = random.below(KEYS);
        let mut headers = Vec::new();
        let answer = match random.below(20) {
            0..=2 => *random.one(ODD),
            3 | 4 => {
                headers.push(("content-type", "application/grpc"));
                *random.one(GRPC)
            }
            5 if !timed => {
                headers.push(("x-envoy-upstream-rq-timeout-ms", "80"));
                if random.chance(40) {
                    headers.push(("x-envoy-upstream-rq-timeout-alt-response", "1"));
                }
                "200;wait=700"
            }
            _ if random.chance(badness[key]) => *random.one(BAD),
            _ => *random.one(GOOD),
        };
        Self {
            key,
            answer,
            headers,
        }
    }

    pub(crate) fn error() -> Self {
        Self {
            key: 0,
            answer: "500",
            headers: Vec::new(),
        }
    }

    pub(crate) fn request(&self, cluster: usize, id: &str) -> Request<Full<Bytes>> {
        let mut request = Request::get("/")
            .header("host", "a.test")
            .header("x-cluster", format!("c{cluster}"))
            .header("x-key", format!("k{}", self.key))
            .header(SCRIPT, self.answer)
            .header(CASE, id);
        for (name, value) in &self.headers {
            request = request.header(*name, *value);
        }
        request.body(Full::default()).expect("a valid request")
    }
}
