//! Random requests that come near what the filters look at.

use bytes::Bytes;
use http::{Method, Request, Version};
use http_body_util::Full;
use mesh_testkit::{
    random::Random,
    upstream::{CASE, SCRIPT},
};

use crate::{config::Kinds, jwt};

#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// Which connection manager.
    pub(crate) table: u16,
    method: &'static str,
    host: &'static str,
    target: String,
    headers: Vec<(&'static str, String)>,
    body: &'static str,
    http2: bool,
}

const HOSTS: &[&str] = &["a.test", "a.test", "b.test", "o.test:80"];
const PATHS: &[&str] = &[
    "/a", "/a/x", "/b", "/b/12", "/c", "/d", "/", "/A", "/a;x", "/a;v=1/x", "/b/;y", "/b;/12;z",
    "/A;",
];
const QUERIES: &[&str] = &["", "", "?q=1", "?q=x&p=2&q=3", "?p=%41&", "?z&q=", "?"];
const METHODS: &[&str] = &[
    "GET", "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS",
];
/// Name, chance in percent, values.
const HEADERS: &[(&str, usize, &[&str])] = &[
    ("x-a", 50, &["1", "2", "1,2", "abc", ""]),
    ("x-b", 30, &["1", "2", "b.test"]),
    ("x-c", 20, &["17", "x"]),
    (
        "origin",
        50,
        &[
            "http://o.test",
            "https://p.test",
            "http://a.test",
            "a.test",
            "null",
            "",
            "http://o.test:80",
            "http://b.test/x",
        ],
    ),
    (
        "referer",
        20,
        &["http://a.test/x", "http://o.test/", "a.test"],
    ),
    ("access-control-request-method", 40, &["PUT", ""]),
    ("access-control-request-headers", 20, &["x-1,x-2"]),
    ("x-envoy-fault-abort-request", 20, &["418", "199", "x"]),
    ("x-envoy-fault-abort-grpc-request", 15, &["7", "99"]),
    ("x-envoy-downstream-service-node", 10, &["n1"]),
    (
        "x-forwarded-for",
        30,
        &[
            "10.0.0.1",
            "1.2.3.4, 10.0.0.1",
            "1.2.3.4,10.0.0.1,172.16.0.9",
            "nonsense",
        ],
    ),
    (
        "content-type",
        15,
        &["application/grpc", "application/grpc+proto", "text/plain"],
    ),
];

impl Case {
    pub(crate) fn random(random: &mut Random, kinds: Kinds, tables: usize) -> Self {
        let mut headers = Vec::new();
        for (name, percent, values) in HEADERS {
            if random.chance(*percent) {
                headers.push((*name, (*random.one(values)).to_owned()));
            }
        }
        if random.chance(10) {
            headers.push(("x-a", "2".to_owned()));
        }
        headers.push(("x-weight", random.one(&["0", "49", "50", "99"]).to_string()));
        headers.push((
            SCRIPT,
            random
                .one(&["200", "200", "200", "503,200", "404"])
                .to_string(),
        ));
        let mut query = (*random.one(QUERIES)).to_owned();
        let tokens = match kinds {
            Kinds::Jwt => *random.one(&[0, 1, 1, 1, 2]),
            Kinds::All | Kinds::Rbac | Kinds::RateLimit => usize::from(random.chance(20)),
        };
        for _ in 0..tokens {
            for name in ["x-claim-sub", "x-claim-deep-n", "x-payload"] {
                if random.chance(15) {
                    headers.push((name, "forged".to_owned()));
                }
            }
            let token = jwt::token(random);
            match random.below(8) {
                0 => query = format!("?tok={token}&q=1"),
                1 => query = format!("?q=1&access_token={token}"),
                2 => headers.push(("x-jwt", token)),
                3 => headers.push(("x-jwt", format!("T={token}"))),
                4 if !headers.iter().any(|(name, _)| *name == "cookie") => {
                    headers.push(("cookie", format!("a=b; jc={token}; c=d")))
                }
                _ => {
                    headers.retain(|(name, _)| *name != "authorization");
                    headers.push(("authorization", format!("Bearer {token}")));
                }
            }
        }
        let method = *random.one(METHODS);
        let body = match method {
            "POST" | "PUT" | "PATCH" => {
                *random.one(&["", "x", "hello body", "a body of many more bytes"])
            }
            _ => "",
        };
        Self {
            table: u16::try_from(random.below(tables)).unwrap_or(0),
            method,
            host: *random.one(HOSTS),
            target: format!("{}{query}", random.one(PATHS)),
            headers,
            body,
            http2: random.chance(40),
        }
    }

    pub(crate) fn request(&self, id: &str) -> Request<Full<Bytes>> {
        let mut request =
            Request::builder().method(self.method.parse::<Method>().expect("a method"));
        request = if self.http2 {
            request
                .version(Version::HTTP_2)
                .uri(format!("http://{}{}", self.host, self.target))
        } else {
            request.uri(&self.target).header("host", self.host)
        };
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        request
            .header(CASE, id)
            .body(Full::from(self.body))
            .expect("a valid request")
    }
}
