//! Random requests with a script of what each attempt is answered.

use bytes::Bytes;
use http::{Method, Request, Version};
use http_body_util::Full;
use mesh_testkit::{
    random::Random,
    upstream::{CASE, SCRIPT},
};

use crate::config::{Configuration, Layout, ROUTES};

#[derive(Clone, Debug)]
pub(crate) struct Case {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: usize,
    http2: bool,
    /// How many of it are sent at once.
    pub(crate) burst: usize,
}

const RETRY_ON: &[&str] = &[
    "5xx",
    "gateway-error",
    "reset,retriable-4xx",
    "connect-failure,refused-stream",
    " retriable-status-codes , nonsense",
    "retriable-headers",
    "envoy-ratelimited",
    "",
];

/// What an attempt may be answered, at once.
const ANSWERS: &[&str] = &[
    "200",
    "500",
    "502",
    "503",
    "504",
    "409",
    "418",
    "429",
    "reset",
    "200;h=x-envoy-ratelimited:true",
    "503;h=x-envoy-ratelimited:true",
    "503;h=x-envoy-overloaded:true",
    "200;h=x-retry-me:yes",
    "418;h=x-retry-me:no",
    "429;h=retry-after:0",
    "503;h=retry-after:101",
    "503;h=x-reset:1000",
    "503;h=grpc-status:14",
    "200;h=grpc-status:8",
    "200;h=x-envoy-degraded:1",
    "200;cut",
    "200;body=70000",
];
const LATE: &[&str] = &[
    "200;wait=1600",
    "503;wait=1600",
    "200;pause=1600",
    "reset;wait=370",
    "200;wait=370",
    "503;wait=370",
    "200;wait=370;body=70000",
];
const HTTP2: &[&str] = &[
    "reset;rst=refused",
    "reset;rst=cancel",
    "200;cut;rst=cancel",
];
const GRPC: &[&str] = &[
    "200;h=content-type:application/grpc;h=grpc-status:14;h=grpc-message:no;body=0",
    "200;h=content-type:application/grpc;h=grpc-status:4;body=0",
    "200;h=content-type:application/grpc;h=grpc-status:13;body=0",
    "200;h=content-type:application/grpc;h=grpc-status:1;body=0",
    "200;h=content-type:application/grpc;h=grpc-status:8;body=0",
    "200;h=content-type:application/grpc;h=grpc-status:0;body=0",
];
const TRAILERS: &[&str] = &[
    "200;h=content-type:application/grpc;t=grpc-status:0",
    "200;h=content-type:application/grpc;t=grpc-status:14;t=grpc-message:late",
];

impl Case {
    pub(crate) fn random(random: &mut Random, configuration: &Configuration) -> Self {
        let grpc = random.chance(30);
        let http2 = grpc || random.chance(30);
        let mut headers = Vec::new();
        let mut header =
            |percent: usize, name: &'static str, values: &[&str], random: &mut Random| {
                if random.chance(percent) {
                    headers.push((name, random.one(values).to_string()));
                }
            };
        header(25, "x-envoy-retry-on", RETRY_ON, random);
        header(
            if grpc { 30 } else { 5 },
            "x-envoy-retry-grpc-on",
            &[
                "unavailable",
                "cancelled,internal",
                "deadline-exceeded, 5xx",
                "resource-exhausted",
            ],
            random,
        );
        header(
            25,
            "x-envoy-max-retries",
            &["0", "1", "2", "3", "-1", "x", " 2"],
            random,
        );
        header(
            12,
            "x-envoy-retriable-status-codes",
            &["409", "418, 200", "429,x", "99999", ""],
            random,
        );
        header(
            12,
            "x-envoy-retriable-header-names",
            &["x-retry-me", "x-none, X-Retry-Me", "x-upstream"],
            random,
        );
        header(
            12,
            "x-envoy-hedge-on-per-try-timeout",
            &["true", "true", "false", "TRUE"],
            random,
        );
        header(
            15,
            "x-envoy-upstream-rq-timeout-ms",
            &["460", "700", "0", "x"],
            random,
        );
        header(
            15,
            "x-envoy-upstream-rq-per-try-timeout-ms",
            &["120", "0", "5000", "x"],
            random,
        );
        header(
            0,
            "x-envoy-hedge-on-per-try-timeout",
            &["true", "false", "1"],
            random,
        );
        header(10, "x-envoy-upstream-alt-stat-name", &["other"], random);
        header(
            8,
            "x-envoy-upstream-rq-timeout-alt-response",
            &["1"],
            random,
        );
        header(8, "x-envoy-expected-rq-timeout-ms", &["480", "0"], random);
        header(8, "x-envoy-upstream-stream-duration-ms", &["240"], random);
        header(8, "x-envoy-is-timeout-retry", &["true"], random);
        header(8, "x-envoy-attempt-count", &["7"], random);
        header(15, "x-may-retry", &["1", "2"], random);
        if grpc {
            headers.push(("content-type", "application/grpc".into()));
            headers.push(("te", "trailers".into()));
            if random.chance(30) {
                let timeout = random.one(&["430m", "1S", "550000u", "x"]);
                headers.push(("grpc-timeout", timeout.to_string()));
            }
        }
        let dies = matches!(configuration.layout, Layout::Dead | Layout::DeadFirst);
        // How many of a burst come before the first connection failed is a matter of time.
        let burst = if random.chance(8) && !dies {
            2 + random.below(3)
        } else {
            1
        };
        if burst > 1 {
            // Which attempt beside which goes where is a matter of time.
            headers.retain(|(name, _)| {
                ![
                    "x-envoy-hedge-on-per-try-timeout",
                    "x-envoy-upstream-stream-duration-ms",
                ]
                .contains(name)
            });
            headers.push(("x-envoy-hedge-on-per-try-timeout", "false".into()));
        }
        headers.push((SCRIPT, script(random, configuration.http2, grpc, burst > 1)));
        let method = if grpc {
            "POST"
        } else {
            *random.one(&["GET", "GET", "GET", "POST", "HEAD"])
        };
        Self {
            method,
            path: format!("/r{}", random.below(ROUTES)),
            headers,
            // How much of a body has come before nobody takes it is a matter of time too.
            body: if method == "POST" && !dies {
                *random.one(&[0, 10, 10, 3000, 100_000])
            } else {
                0
            },
            http2,
            burst,
        }
    }

    pub(crate) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// Whether only hedging may ask for another attempt. Envoy keeps no body for that one (`Filter::decodeData`,
    /// `retry_state_->enabled()`), and sends its head with nothing behind it; we send the body.
    pub(crate) fn may_lack_body(&self, configuration: &Configuration) -> bool {
        let policy = configuration.retry_policy(&self.path);
        let asks = policy["retry_on"].as_str().is_some_and(|on| !on.is_empty())
            || self
                .headers
                .iter()
                .any(|(name, on)| name.starts_with("x-envoy-retry-") && !on.is_empty());
        let may = policy["retriable_request_headers"].is_null()
            || self.headers.contains(&("x-may-retry", "1".to_owned()));
        self.body > 0 && !policy.is_null() && !(asks && may)
    }

    pub(crate) fn request(&self, id: &str) -> Request<Full<Bytes>> {
        let mut request =
            Request::builder().method(self.method.parse::<Method>().expect("a method"));
        request = if self.http2 {
            request
                .version(Version::HTTP_2)
                .uri(format!("http://a.test{}", self.path))
        } else {
            request.uri(&self.path).header("host", "a.test")
        };
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        request
            .header(CASE, id)
            .body(Full::from(vec![b'q'; self.body]))
            .expect("a valid request")
    }
}

fn script(random: &mut Random, http2: bool, grpc: bool, burst: bool) -> String {
    if burst {
        // All of them are under way at once.
        return random.one(&["200;wait=370", "503;wait=370"]).to_string();
    }
    let words: Vec<&str> = (0..1 + random.below(4))
        .map(|_| match random.below(12) {
            0 => *random.one(LATE),
            1 if http2 => *random.one(HTTP2),
            2..=6 if grpc => *random.one(GRPC),
            7 if grpc && http2 => *random.one(TRAILERS),
            _ => *random.one(ANSWERS),
        })
        .collect();
    words.join(",")
}
