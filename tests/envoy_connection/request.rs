//! Random requests, byte for byte: good, odd and wrong ones.

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::Full;
use mesh_testkit::{random::Random, raw::ANSWER, upstream::CASE};

/// What the upstream can answer, by number.
pub(crate) const ANSWERS: &[&[u8]] = &[
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-up: 1\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-t\r\n\r\n3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n",
    b"HTTP/1.1 404 Not Found\r\nServer: theirs\r\nVia: 1.1 other\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nconnection: close\r\nkeep-alive: timeout=5\r\ncontent-length: 4\r\n\r\nlast",
    b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 102 Processing\r\nx-early: 1\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nx-under_score: 1\r\nX-Case-Kept: Yes\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: abc\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nbad header\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n",
    b"HTTP/1.1 426 Upgrade Required\r\nupgrade: foo\r\nconnection: upgrade\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 500 Internal Server Error\r\nproxy-connection: x\r\nx-request-id: theirs\r\ncontent-length: 3\r\n\r\nbad",
    b"",
    b"HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nold",
];

#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// Which connection manager.
    pub(crate) manager: u16,
    pub(crate) http2: bool,
    pub(crate) method: &'static str,
    pub(crate) target: String,
    version: &'static str,
    pub(crate) hosts: Vec<&'static str>,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// The framing's header lines, and the bytes of the body.
    framing: &'static str,
    pub(crate) body: &'static str,
    /// The head ends lines with LF only, or so.
    newline: &'static str,
}

const HOSTS: &[&str] = &[
    "a.test",
    "a.test",
    "a.test",
    "a.test:8080",
    "only.test",
    "c.test:443",
    "A.Test",
    "x.test",
    "a.test.",
    "a.test.:8080",
    "a.test:80",
];
const ODD_HOSTS: &[&str] = &[
    "",
    "u@a.test",
    "a.test:99999",
    "a.test:",
    "a.test:x",
    "[::1]:80",
    "[::1]",
    "a b",
    "a/b",
    "a.test, b.test",
    "127.0.0.1:10000",
    "a_b.test",
    "a.test..",
    "a%41.test",
    "\"a\"",
    "a\\b",
    "é.test",
    "a.test:10000",
    "a;b",
    "[::1",
];
const PATHS: &[&str] = &[
    "/",
    "/",
    "/a",
    "/a?x=1&y=/../",
    "/direct",
    "/empty",
    "/redirect",
    "/missing",
    "/nothing/x",
    "/only/x",
    "/ws",
];
const ODD_PATHS: &[&str] = &[
    "//a//b",
    "/a/../direct",
    "/a/./b",
    "/a%2Fb",
    "/a%5cb",
    "/%2e%2e/x",
    "/%00",
    "/\\a",
    "/a;b",
    "/a?",
    "/a#b",
    "/a?x#y",
    "http://only.test/only/z",
    "http://a.test",
    "https://a.test/direct",
    "HTTP://A.test/a",
    "ftp://a.test/",
    "*",
    "a",
    "a/b",
    "/a\"b",
    "/{x}",
    "/a|b",
    "/a^b",
    "/é",
    "/%zz",
    "http://u@a.test/a",
    "http:///a",
    "/a%",
    "?x",
];

impl Case {
    pub(crate) fn random(random: &mut Random, managers: usize) -> Self {
        let http2 = random.chance(25);
        let mut case = Self {
            manager: u16::try_from(random.below(managers)).unwrap_or(0),
            http2,
            method: *random.one(&[
                "GET", "GET", "GET", "POST", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH",
            ]),
            target: (*random.one(PATHS)).to_owned(),
            version: "HTTP/1.1",
            hosts: vec![*random.one(HOSTS)],
            headers: Vec::new(),
            framing: "",
            body: "",
            newline: "\r\n",
        };
        if random.chance(30) {
            case.target = (*random.one(ODD_PATHS)).to_owned();
        }
        if random.chance(12) {
            case.hosts = match random.below(6) {
                0 => vec![],
                1 => vec!["a.test", "only.test"],
                _ => vec![*random.one(ODD_HOSTS)],
            };
        }
        for _ in 0..random.below(4) {
            case.headers.push(header(random));
        }
        if !http2 {
            case.odd_bytes(random);
        }
        if random.chance(8) {
            case.method = *random.one(&[
                "TRACE", "PROPFIND", "QUERY", "QUERY", "CONNECT", "CONNECT", "FOO", "get",
                "M-SEARCH",
            ]);
        }
        if case.method == "CONNECT" {
            case.target =
                (*random.one(&["c.test:443", "a.test:443", "c.test", "/", "c.test:99999"]))
                    .to_owned();
            case.hosts = vec![if random.chance(80) {
                "c.test:443"
            } else {
                "a.test"
            }];
        } else {
            case.body(random);
        }
        if random.chance(12) && !http2 {
            case.upgrade(random);
        } else {
            let answer = match random.chance(60) {
                true => 0,
                false => random.below(ANSWERS.len()),
            };
            case.headers.push((ANSWER, answer.to_string()));
        }
        case
    }

    fn upgrade(&mut self, random: &mut Random) {
        self.method = "GET";
        self.target = (*random.one(&["/ws", "/no-ws", "/a", "/direct"])).to_owned();
        self.framing = "";
        self.body = "";
        let connection = *random.one(&["Upgrade", "upgrade", "keep-alive, Upgrade"]);
        self.headers.push(("connection", connection.into()));
        let kind = *random.one(&["websocket", "websocket", "WebSocket", "foo", "h2c"]);
        self.headers.push(("upgrade", kind.into()));
        // Nobody answers 101 to what is not asked for.
        let answer = match kind {
            "h2c" => *random.one(&[0, 5]),
            _ => *random.one(&[13, 13, 13, 0, 1, 5, 15]),
        };
        self.headers.push((ANSWER, answer.to_string()));
    }

    fn body(&mut self, random: &mut Random) {
        if ![
            "POST", "PUT", "PATCH", "PROPFIND", "QUERY", "DELETE", "OPTIONS",
        ]
        .contains(&self.method)
            && !random.chance(4)
        {
            return;
        }
        (self.framing, self.body) = match random.below(if self.http2 { 3 } else { 9 }) {
            0 => ("", ""),
            1 => ("content-length: 0\r\n", ""),
            2 => ("content-length: 5\r\n", "hello"),
            3 | 4 => (
                "transfer-encoding: chunked\r\n",
                "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
            ),
            5 => (
                "transfer-encoding: chunked\r\ntrailer: x-t\r\n",
                "3;a=b\r\nabc\r\n0\r\nx-t: 1\r\n\r\n",
            ),
            6 => ("expect: 100-continue\r\ncontent-length: 5\r\n", "hello"),
            7 => *random.one(&[
                ("content-length: 5\r\ncontent-length: 5\r\n", "hello"),
                ("content-length: 5\r\ncontent-length: 6\r\n", "hello"),
                (
                    "content-length: 5\r\ntransfer-encoding: chunked\r\n",
                    "5\r\nhello\r\n0\r\n\r\n",
                ),
                ("content-length: +5\r\n", "hello"),
                ("content-length: 5, 5\r\n", "hello"),
                ("content-length: \r\n", ""),
                ("content-length: -1\r\n", ""),
                ("transfer-encoding: gzip, chunked\r\n", "0\r\n\r\n"),
                ("transfer-encoding: gzip\r\n", ""),
                ("transfer-encoding: chunked\r\n", "x\r\nabc\r\n0\r\n\r\n"),
                (
                    "transfer-encoding: identity\r\ncontent-length: 5\r\n",
                    "hello",
                ),
                (
                    "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
                    "0\r\n\r\n",
                ),
                ("transfer-encoding: Chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
            ]),
            _ => ("content-length: 5\r\ncontent-type: text/plain\r\n", "hello"),
        };
    }

    fn odd_bytes(&mut self, random: &mut Random) {
        if random.chance(12) {
            self.version = *random.one(&[
                "HTTP/1.0",
                "HTTP/1.0",
                "HTTP/1.2",
                "HTTP/2.0",
                "HTTP/0.9",
                "http/1.1",
                "HTTP/1.1 ",
                "",
                "HTTX/1.1",
            ]);
        }
        if random.chance(8) {
            let value = *random.one(&[
                "close",
                "Close",
                "keep-alive",
                "x-a",
                "x-a, close",
                "host",
                "x-forwarded-for",
                "te",
                "upgrade",
            ]);
            self.headers.push(("connection", value.into()));
        }
        if random.chance(2) {
            self.newline = "\n";
        }
        if random.chance(6) {
            self.headers.push(match random.below(12) {
                0 => ("bad name", "1".into()),
                1 => ("", "1".into()),
                2 => ("x-ctl", "a\u{1}b".into()),
                3 => ("x-nul", "a\0b".into()),
                4 => ("x-big", "b".repeat(1_500)),
                5 => ("x-bigger", "b".repeat(3_000)),
                6 => ("x-huge", "b".repeat(70_000)),
                7 => ("x-tab", "a\tb".into()),
                8 => ("x-high", "é".into()),
                9 => ("x-space ", "1".into()),
                10 => ("x(paren)", "1".into()),
                _ => ("x-cr", "a\rb".into()),
            });
        }
        if random.chance(4) {
            let many = *random.one(&[6, 15, 30, 110]);
            for _ in 0..many {
                self.headers.push(("x-many", "1".into()));
            }
        }
    }

    /// Whether it is older than HTTP/1.1.
    pub(crate) fn is_old(&self) -> bool {
        !self.http2 && self.version.trim_end() != "HTTP/1.1"
    }

    /// How many things are wrong with it, of which an answer names one.
    pub(crate) fn faults(&self) -> usize {
        const FRAMINGS: &[&str] = &["gzip", "identity", "+5", "-1", "length: \r", "5, 5"];
        let target = ["ftp:", "*", "é", "a/b", "http:///", "?x"];
        let lines = |name: &str| self.framing.matches(name).count();
        let faults = [
            FRAMINGS.iter().any(|wrong| self.framing.contains(wrong))
                || lines("content-length") + lines("transfer-encoding") > 1,
            self.is_old(),
            self.target == "a" || target.iter().any(|wrong| self.target.starts_with(wrong)),
            self.target.contains('#'),
            self.headers.len() > 19 || self.headers.iter().any(|(_, v)| v.len() > 1_000),
            self.hosts.len() != 1 || ODD_HOSTS.contains(&self.hosts[0]),
            self.expects(),
            self.nominates("x-forwarded-for") || self.nominates("host"),
            self.body_is_bad(),
        ];
        faults.iter().filter(|fault| **fault).count()
    }

    /// Whether a chunk has no size.
    pub(crate) fn body_is_bad(&self) -> bool {
        self.body.starts_with("x\r\n")
    }

    /// Whether `connection` names a header.
    pub(crate) fn nominates(&self, header: &str) -> bool {
        self.headers.contains(&("connection", header.to_owned()))
    }

    /// Whether it waits for `100 Continue`.
    pub(crate) fn expects(&self) -> bool {
        let header = ("expect", "100-continue".to_owned());
        self.framing.contains("100-continue") || self.headers.contains(&header)
    }

    /// Whether the upstream is asked for this answer.
    pub(crate) fn answers_with(&self, n: usize) -> bool {
        self.headers
            .iter()
            .any(|(name, value)| *name == ANSWER && *value == n.to_string())
    }

    /// The request's bytes.
    pub(crate) fn bytes(&self, id: &str) -> Vec<u8> {
        let mut text = format!("{} {}", self.method, self.target);
        if !self.version.is_empty() {
            text += " ";
            text += self.version;
        }
        text += self.newline;
        for host in &self.hosts {
            text += &format!("host: {host}{}", self.newline);
        }
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}{}", self.newline);
        }
        text += &format!("{CASE}: {id}{}", self.newline);
        text += self.framing;
        text += self.newline;
        text += self.body;
        text.into_bytes()
    }

    /// The same for HTTP/2; None: our client cannot say it.
    pub(crate) fn request(&self, id: &str) -> Option<Request<Full<Bytes>>> {
        let host = self.hosts.first()?;
        let uri = match self.method {
            "CONNECT" => self.target.clone(),
            _ if self.target.starts_with('/') => format!("http://{host}{}", self.target),
            _ => return None,
        };
        let mut request = Request::builder()
            .version(Version::HTTP_2)
            .method(self.method)
            .uri(uri);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let body = Bytes::from(self.body);
        request.header(CASE, id).body(Full::new(body)).ok()
    }
}

fn header(random: &mut Random) -> (&'static str, String) {
    let (name, values): (_, &[&str]) = *random.one(&[
        (
            "x-forwarded-for",
            &[
                "10.0.0.1",
                "1.2.3.4",
                "1.2.3.4, 10.0.0.1",
                "10.0.0.1,10.0.0.2,127.0.0.1",
                "junk",
                "",
                "::1",
                "1.2.3.4:80",
            ] as &[&str],
        ),
        (
            "x-forwarded-for",
            &["10.0.0.1", "1.2.3.4", "10.1.1.1, 2.2.2.2"],
        ),
        ("x-forwarded-proto", &["http", "https", "HTTPS", "ftp", ""]),
        ("x-forwarded-host", &["other.test"]),
        ("x-client", &["10.9.9.9", "9.9.9.9", "bad", ""]),
        (
            "x-request-id",
            &[
                "11111111-2222-4333-9444-555555555555",
                "11111111-2222-9333-9444-555555555555",
                "mine",
                "",
            ],
        ),
        ("x-envoy-internal", &["true"]),
        ("x-envoy-external-address", &["8.8.8.8"]),
        ("x-envoy-original-path", &["/before"]),
        ("x-envoy-expected-rq-timeout-ms", &["5"]),
        ("x-envoy-decorator-operation", &["op"]),
        ("x-envoy-downstream-service-cluster", &["them"]),
        ("x_under", &["1"]),
        ("te", &["trailers", "gzip", "gzip, trailers"]),
        ("via", &["1.0 before"]),
        ("user-agent", &["test"]),
        ("referer", &["http://a/", "junk", "/path", "http://a/#f"]),
        ("keep-alive", &["timeout=5"]),
        ("proxy-connection", &["keep-alive"]),
        ("x-a", &["1", "  padded  ", ""]),
        ("x-a", &["2"]),
        ("cookie", &["a=1", "b=2"]),
        ("expect", &["100-continue", "other"]),
        ("content-type", &["application/grpc", "text/plain"]),
        ("x-forwarded-client-cert", &["By=x"]),
        ("range", &["bytes=0-1"]),
        (
            "traceparent",
            &["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
        ),
    ]);
    (name, (*random.one(values)).to_owned())
}
