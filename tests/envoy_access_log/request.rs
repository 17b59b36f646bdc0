//! Random requests, each with a mark of its own.

use bytes::Bytes;
use http::{Method, Request, Version};
use http_body_util::Full;
use mesh_testkit::{
    random::Random,
    upstream::{CASE, SCRIPT},
};

use crate::config::CONFIGURATIONS;

/// The mark of a listener's last request.
pub(crate) const LAST: &str = "the-last-one";

#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) listener: u16,
    pub(crate) n: usize,
    method: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, String)>,
    script: &'static str,
    body: &'static str,
    http2: bool,
}

impl Case {
    pub(crate) fn random(random: &mut Random, n: usize) -> Self {
        let mut headers = Vec::new();
        for (name, percent, values) in [
            ("x-a", 50, &["1", "2", "a \"quoted\" \\ value", ""][..]),
            ("user-agent", 50, &["curl/8", "Mozilla (x; y)"]),
            ("x-forwarded-for", 30, &["10.0.0.1", "1.2.3.4, 10.0.0.1"]),
            ("content-type", 20, &["application/grpc", "text/plain"]),
            ("x-abort", 15, &["1"]),
        ] {
            if random.chance(percent) {
                headers.push((name, random.one::<&str>(values).to_string()));
            }
        }
        // istiod's own format has no other mark.
        headers.push(("x-request-id", format!("id-{n}")));
        let method = *random.one(&["GET", "GET", "POST", "HEAD", "PUT"]);
        let body = match method {
            "POST" | "PUT" => *random.one(&["", "x", "hello body"]),
            _ => "",
        };
        let mut case = Self {
            listener: u16::try_from(random.below(usize::from(CONFIGURATIONS))).unwrap_or(0),
            n,
            method,
            path: *random.one(&[
                "/",
                "/a?q=1&p=x%20y",
                "/rewritten/x",
                "/direct",
                "/redirect",
                "/missing",
                "/none/x",
                "/retried",
                "/dead",
                "/empty",
            ]),
            headers,
            script: *random.one(&["200", "200", "404", "503", "503,200"]),
            body,
            http2: random.chance(40),
        };
        if case.http2 && case.path == "/dead" {
            // How much of a body has come before nobody takes it is a matter of time.
            case.body = "";
        }
        case
    }

    pub(crate) fn request(&self) -> Request<Full<Bytes>> {
        let method = self.method.parse::<Method>().expect("a method");
        let mut request = Request::builder().method(method);
        request = match self.http2 {
            true => request
                .version(Version::HTTP_2)
                .uri(format!("http://a.test{}", self.path)),
            false => request.uri(self.path).header("host", "a.test"),
        };
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        request
            .header(SCRIPT, self.script)
            .header("x-mark", format!("m{}", self.n))
            .header(CASE, self.n.to_string())
            .body(Full::from(self.body))
            .expect("a valid request")
    }
}

/// What every listener is asked last.
pub(crate) fn last() -> Request<Full<Bytes>> {
    Request::builder()
        .uri("/direct")
        .header("host", "a.test")
        .header("x-mark", LAST)
        .header("x-request-id", LAST)
        .header(CASE, "last")
        .body(Full::default())
        .expect("a valid request")
}
