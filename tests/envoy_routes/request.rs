//! Random requests that come near the routes.

use bytes::Bytes;
use http::{Method, Request, Version};
use http_body_util::Full;
use mesh_testkit::{
    random::Random,
    upstream::{CASE, SCRIPT},
};

#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// Which route table.
    pub(crate) table: u16,
    pub(crate) method: &'static str,
    host: &'static str,
    target: String,
    headers: Vec<(&'static str, String)>,
    /// A value that is not UTF-8.
    obs_text: Option<(&'static str, &'static [u8])>,
    body: &'static str,
    http2: bool,
}

const HOSTS: &[&str] = &[
    "a.test",
    "b.test",
    "a2.test",
    "A.Test",
    "x.wild.test",
    "y-x.wild.test",
    ".wild.test",
    "pre.fix",
    "a.test:8080",
    "b.test:80",
    "other.test",
];
const PATHS: &[&str] = &[
    "/",
    "/a",
    "/a/",
    "/a/b",
    "/a/bc",
    "/a/b/c",
    "/A",
    "/a/B",
    "/long/path",
    "/long/path/x",
    "/files",
    "/files/12",
    "/files/x",
    "/nowhere",
    "//a",
    "/a/../files",
    "/a/./b",
    "/%61",
    "/a%2Fb",
    "/a;v=1/b",
    "/files;x",
    "/a/y.html",
    "/long/z/y",
    "/a/b;c",
    "/a/%2e%2e/files",
    "/a/b%",
    "/a/b%2",
    "/%zz/b",
    "/a//b",
    "/long/%E4%BD%A0",
    "/files/12/",
    "/a/b%3Fc",
    "/a/b%23c",
    "/a/b/../../long/path",
    "/a/\"b\"",
    "/a/b|^~",
    "/.",
    "/..",
    "/a/..",
    "/files/1;v=2/../x",
];
const QUERIES: &[&str] = &[
    "",
    "",
    "?q=1",
    "?q=x",
    "?q",
    "?p=2&q=17",
    "?q=x&q=1",
    "?",
    "?q=%31",
    "?Q=1",
    "?q=1&",
    "?&q=1",
    "?=1",
    "?q==1",
    "?q=1?q=2",
    "?q=Abc&p",
    "?p&q=abc",
    "?a/b=/c",
    "?q=a+b%2Bc",
    "?%71=1",
    "?q=%zz%",
    "?q=%20%7c%7E",
    "?q=%5e%21%2f",
    "?q=%41%c3%a9",
];
const SCRIPTS: &[&str] = &[
    "200",
    "200",
    "500",
    "503,200",
    "503",
    "reset,200",
    "reset",
    "409,200",
    "418,503,200",
    "504",
];

impl Case {
    pub(crate) fn random(random: &mut Random, tables: usize) -> Self {
        let mut headers = Vec::new();
        for name in ["x-a", "x-b", "x-c"] {
            for _ in 0..*random.one(&[0, 0, 1, 1, 2]) {
                headers.push((
                    name,
                    random
                        .one(&[
                            "1",
                            "2",
                            "1,2",
                            "abc",
                            "XaT",
                            "b.test",
                            "",
                            "01",
                            "+1",
                            "-1",
                            "1.0",
                            "1 ",
                            "a b",
                            "tab\tbed",
                            "\u{e9}\u{4f60}",
                            "\"quoted\"",
                            "%REQ(X-B)%",
                            "99999999999999999999",
                            "2147483648",
                            ", ",
                            "a,,b",
                        ])
                        .to_string(),
                ));
            }
        }
        if random.chance(40) {
            headers.push(("x-cluster", format!("c{}", random.below(4))));
        }
        // Always a number: without one the cluster is drawn by chance.
        headers.push((
            "x-weight",
            random.one(&["0", "17", "33", "99", "1000"]).to_string(),
        ));
        if random.chance(50) {
            headers.push((
                "x-host",
                random.one(&["new.test", "new.test:99"]).to_string(),
            ));
        }
        if random.chance(10) {
            headers.push((
                "x-forwarded-for",
                random.one(&["10.0.0.1", "1.2.3.4, 10.0.0.1"]).to_string(),
            ));
        }
        if random.chance(10) {
            headers.push((
                "x-forwarded-proto",
                random.one(&["http", "https"]).to_string(),
            ));
        }
        if random.chance(20) {
            let cookies = [
                "c=1",
                "c=a; d=2",
                "d=\"1\"; c=Abc",
                "c",
                "x=1;c=1",
                "c=1; c=2",
                "c=",
            ];
            headers.push(("cookie", random.one(&cookies).to_string()));
        }
        if random.chance(8) {
            headers.push(("content-type", "application/grpc".into()));
        }
        if random.chance(10) {
            headers.push(("x-envoy-max-retries", "1".into()));
        }
        if random.chance(10) {
            headers.push(("x-envoy-retry-on", "5xx".into()));
        }
        if random.chance(30) {
            headers.push(("x-mirror", random.one(&["m0", "m1", "none"]).to_string()));
        }
        let script = match random.chance(30) {
            true => redirects(random),
            false => random.one(SCRIPTS).to_string(),
        };
        headers.push((SCRIPT, script));
        if random.chance(8) {
            headers.push(("x-long", "v".repeat(random.below(3_000))));
        }
        if random.chance(8) {
            let (name, value) = *random.one(&[
                ("x-envoy-original-path", "/from/client"),
                ("x-envoy-internal", "true"),
                ("x-envoy-upstream-rq-timeout-ms", "9000"),
                ("x-envoy-expected-rq-timeout-ms", "9000"),
                ("x-envoy-decorator-operation", "op"),
                ("x-forwarded-host", "client.test"),
                ("te", "trailers"),
                ("te", "gzip"),
                ("accept-encoding", "gzip"),
                ("authorization", "Bearer x"),
                ("cookie", "a=b; c"),
                ("referer", "http://x/"),
                ("user-agent", ""),
                ("x-request-id", "of-the-client"),
            ]);
            headers.push((name, value.to_owned()));
        }
        let obs_text = random.chance(20).then(|| {
            let values: [&[u8]; 6] = [b"\xff", b"a\xe9", b"\xc9", b"1\x80", b"\xc3(", b"\xa0x\xa0"];
            (*random.one(&["x-a", "x-b", "x-c"]), *random.one(&values))
        });
        let method = *random.one(&[
            "GET", "GET", "GET", "POST", "HEAD", "PUT", "OPTIONS", "DELETE", "PATCH", "QUERY",
        ]);
        if method == "QUERY" && random.chance(70) {
            headers.retain(|(name, _)| *name != "content-type");
            headers.push(("content-type", "text/plain".into()));
        }
        // A body behind a long head comes later, and may be too late for who is refused.
        if ["POST", "PUT", "PATCH", "QUERY"].contains(&method) {
            headers.retain(|(name, _)| *name != "x-long");
        }
        Self {
            table: u16::try_from(random.below(tables)).unwrap_or(0),
            method,
            host: *random.one(HOSTS),
            target: target(random),
            headers,
            obs_text,
            body: if ["POST", "PUT", "PATCH", "QUERY"].contains(&method) {
                *random.one(&["", "hello body"])
            } else {
                ""
            },
            http2: random.chance(30),
        }
    }

    pub(crate) fn has_body(&self) -> bool {
        !self.body.is_empty()
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
        if let Some((name, value)) = self.obs_text {
            request = request.header(name, value);
        }
        request
            .header(CASE, id)
            .body(Full::from(self.body))
            .expect("a valid request")
    }
}

fn target(random: &mut Random) -> String {
    let path = *random.one(PATHS);
    let query = *random.one(QUERIES);
    match random.chance(5) {
        true => format!("{path}/{}{query}", "long/".repeat(random.below(400))),
        false => format!("{path}{query}"),
    }
}

/// A script of redirects, and what follows them.
fn redirects(random: &mut Random) -> String {
    let mut script = String::new();
    for _ in 0..1 + random.below(3) {
        let status = random.one(&["302", "302", "301", "303", "307", "308"]);
        let location = match random.below(10) {
            0 => "/relative".to_owned(),
            1 => String::new(),
            2 => "http:///none".to_owned(),
            n => {
                let scheme = if n == 3 { "https" } else { "http" };
                let fragment = if n == 4 { "#f" } else { "" };
                let path = match n {
                    5 => "",
                    _ => random.one(PATHS),
                };
                // A semicolon ends a script's attribute.
                let path = path.split(';').next().unwrap_or_default();
                let (host, query) = (random.one(HOSTS), random.one(QUERIES));
                format!("{scheme}://{host}{path}{query}{fragment}")
            }
        };
        script += &format!("{status};h=location:{location};h=x-a:from-redirect,");
    }
    let last: &str = random.one::<&str>(&["200", "503", "404"]);
    script + last
}
