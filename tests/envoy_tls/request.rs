//! Requests to any context's cluster.

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::Full;
use mesh_testkit::{paired::Transcript, random::Random, upstream::CASE};

use crate::config::CONTEXTS;

#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) client: u16,
    pub(crate) server: u16,
    forwarded: Option<&'static str>,
    http2: bool,
    body: &'static str,
}

impl Case {
    pub(crate) fn random(random: &mut Random) -> Self {
        let mut context = || u16::try_from(random.below(usize::from(CONTEXTS))).unwrap_or(0);
        Self {
            client: context(),
            server: context(),
            forwarded: *random.one(&[None, None, Some("By=x;Hash=y"), Some("")]),
            http2: random.chance(30),
            body: *random.one(&["", "", "a body"]),
        }
    }

    /// `server`: which of the two programs.
    pub(crate) fn request(&self, id: &str, server: usize) -> Request<Full<Bytes>> {
        let mut request = Request::builder().method("POST");
        request = match self.http2 {
            true => request.version(Version::HTTP_2).uri("http://h.test/p"),
            false => request.uri("/p").header("host", "h.test"),
        };
        if let Some(forwarded) = self.forwarded {
            request = request.header("x-forwarded-client-cert", forwarded);
        }
        let cluster = format!("c{}-s{server}-{}", self.client, self.server);
        request
            .header("x-cluster", cluster)
            .header(CASE, id)
            .body(Full::from(self.body))
            .expect("a valid request")
    }
}

/// Why a handshake failed is said in the library's own words; that it did is Envoy's.
pub(crate) fn normal(mut seen: Transcript) -> Transcript {
    if std::env::var_os("MESH_WORDS").is_some() {
        return seen;
    }
    if let Ok(answer) = &mut seen.answer {
        // An answer that comes before the request's end has none.
        let is_time = |name: &str| name == "x-envoy-upstream-service-time";
        answer.headers.retain(|(name, _)| !is_time(name));
    }
    if let Ok(answer) = &mut seen.answer
        && answer.body.starts_with(b"upstream connect error")
    {
        answer.body = Bytes::from_static(b"upstream connect error");
        // Envoy has read the request's body meanwhile, so it keeps the connection.
        let told = |name: &str| !matches!(name, "content-length" | "connection");
        answer.headers.retain(|(name, _)| told(name));
        // Who speaks HTTP/2 to a server that took it for HTTP/1 is answered in HTTP/1 and hung up on: which of the two is
        // seen first is chance.
        if answer.status == 502 {
            answer.status = 503;
        }
    }
    seen
}
