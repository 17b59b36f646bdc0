//! Keys of issuers that the control plane fetches, so that proxies get them inline, as istiod does
//! (`pilot/pkg/model/jwks_resolver.go`).

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::config::Config;
use crate::model::{JwksSource, RemoteJwks};
use crate::validate::check_jwks;

/// How often keys are fetched again.
const REFRESH: Duration = Duration::from_secs(20 * 60);
/// After a failure: from here, doubled each time, to there.
const RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);
const LARGEST: usize = 1 << 20;
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// What was fetched last, by where it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Jwks(Arc<BTreeMap<RemoteJwks, Arc<str>>>);

impl Jwks {
    /// `None`: it could not be fetched yet.
    pub(crate) fn get(&self, remote: &RemoteJwks) -> Option<&Arc<str>> {
        self.0.get(remote)
    }

    /// Takes what was fetched; returns whether it is other than before.
    pub(crate) fn set(&mut self, remote: RemoteJwks, keys: &str) -> bool {
        if self.0.get(&remote).is_some_and(|before| **before == *keys) {
            return false;
        }
        Arc::make_mut(&mut self.0).insert(remote, keys.into());
        true
    }

    /// Forgets the keys that nobody wants any more.
    pub(crate) fn retain(&mut self, wanted: &Wanted) {
        if self.0.keys().any(|remote| !wanted.contains_key(remote)) {
            Arc::make_mut(&mut self.0).retain(|remote, _| wanted.contains_key(remote));
        }
    }
}

/// What is to be fetched, and how long each is waited for.
pub(crate) type Wanted = BTreeMap<RemoteJwks, Duration>;

/// The keys that a configuration wants fetched; of several times to wait the longest.
pub(crate) fn wanted(config: &Config) -> Wanted {
    let mut wanted = Wanted::new();
    for rule in config.request_authentications.iter().flat_map(|p| &p.rules) {
        if let JwksSource::Remote(remote) = &rule.keys {
            let timeout = wanted.entry(remote.clone()).or_default();
            *timeout = rule.timeout.max(*timeout);
        }
    }
    wanted
}

/// Fetches from all issuers at once, each on times of its own.
pub(crate) struct Fetcher<F = fn(RemoteJwks, Duration) -> Attempt> {
    issuers: BTreeMap<RemoteJwks, Issuer>,
    fetch: F,
}

/// One try to fetch keys.
pub(crate) type Attempt = Pin<Box<dyn Future<Output = Result<String, FetchError>> + Send>>;

struct Issuer {
    /// When it is asked, or was.
    due: Instant,
    timeout: Duration,
    /// After the next failure.
    retry: Duration,
    /// Waits until it is due, then fetches.
    attempt: Attempt,
}

impl Default for Fetcher {
    fn default() -> Self {
        Fetcher::by(|remote, timeout| Box::pin(async move { fetch(&remote, timeout).await }))
    }
}

impl<F: Fn(RemoteJwks, Duration) -> Attempt> Fetcher<F> {
    fn by(fetch: F) -> Self {
        Fetcher {
            issuers: BTreeMap::new(),
            fetch,
        }
    }

    /// Takes what is wanted from now on. What is under way for issuers that stay goes on.
    pub(crate) fn set_wanted(&mut self, wanted: &Wanted) {
        self.issuers.retain(|remote, _| wanted.contains_key(remote));
        for (remote, timeout) in wanted {
            let (due, retry) = match self.issuers.get(remote) {
                Some(issuer) if issuer.timeout == *timeout => continue,
                Some(issuer) => (issuer.due, issuer.retry),
                None => (Instant::now(), RETRY),
            };
            let attempt = attempt(&self.fetch, remote, due, *timeout);
            let issuer = Issuer {
                due,
                timeout: *timeout,
                retry,
                attempt,
            };
            self.issuers.insert(remote.clone(), issuer);
        }
    }

    /// Resolves with the next keys that could be fetched; never, if nothing is wanted. Failures are logged and tried
    /// again. May be dropped and called again at any time: nothing is lost.
    pub(crate) async fn next(&mut self) -> (RemoteJwks, String) {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<(RemoteJwks, String)> {
        for (remote, issuer) in &mut self.issuers {
            while let Poll::Ready(fetched) = issuer.attempt.as_mut().poll(cx) {
                let now = Instant::now();
                issuer.due = match &fetched {
                    Ok(_) => now + REFRESH,
                    Err(_) => now + issuer.retry,
                };
                issuer.retry = match &fetched {
                    Ok(_) => RETRY,
                    Err(_) => (issuer.retry * 2).min(LONGEST_RETRY),
                };
                issuer.attempt = attempt(&self.fetch, remote, issuer.due, issuer.timeout);
                match fetched {
                    Ok(keys) => return Poll::Ready((remote.clone(), keys)),
                    Err(error) => tracing::warn!(
                        issuer = remote.issuer,
                        uri = remote.uri,
                        "keys cannot be fetched, no token of the issuer is accepted without them: {error}"
                    ),
                }
            }
        }
        Poll::Pending
    }
}

fn attempt(
    fetch: &impl Fn(RemoteJwks, Duration) -> Attempt,
    remote: &RemoteJwks,
    due: Instant,
    timeout: Duration,
) -> Attempt {
    let fetched = fetch(remote.clone(), timeout);
    Box::pin(async move {
        tokio::time::sleep_until(due).await;
        fetched.await
    })
}

/// Why keys are not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error(
        "{0:?} is no address that keys are fetched from; use http://, or write the keys in jwks"
    )]
    Address(String),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error("{0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("the answer is {0}")]
    Status(hyper::StatusCode),
    #[error("nothing came within {0:?}")]
    Timeout(Duration),
    #[error("the issuer names no jwks_uri")]
    Discovery,
    #[error("what came are no keys: {0}")]
    Keys(String),
}

async fn fetch(remote: &RemoteJwks, timeout: Duration) -> Result<String, FetchError> {
    let fetched = tokio::time::timeout(timeout, async {
        let uri = match remote.uri.as_str() {
            "" => discover(&remote.issuer).await?,
            uri => uri.to_owned(),
        };
        get(&uri).await
    });
    let keys = match fetched.await {
        Ok(keys) => keys?,
        Err(_) => return Err(FetchError::Timeout(timeout)),
    };
    check_jwks(&keys).map_err(FetchError::Keys)?;
    Ok(keys)
}

/// OpenID Connect Discovery 1.0, section 4.
async fn discover(issuer: &str) -> Result<String, FetchError> {
    let text = get(&format!("{}{DISCOVERY}", issuer.trim_end_matches('/'))).await?;
    let found: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    let uri = found.as_ref().and_then(|found| found["jwks_uri"].as_str());
    uri.map(str::to_owned).ok_or(FetchError::Discovery)
}

async fn get(uri: &str) -> Result<String, FetchError> {
    let invalid = || FetchError::Address(uri.to_owned());
    let parsed: hyper::Uri = uri.parse().map_err(|_| invalid())?;
    let authority = parsed.authority().ok_or_else(invalid)?;
    if parsed.scheme_str() != Some("http") {
        return Err(invalid());
    }
    let host = authority.host().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let path = parsed.path_and_query().map_or("/", |path| path.as_str());
    let request = hyper::Request::get(path)
        .header("host", authority.as_str())
        .body(Empty::<Bytes>::new())
        .map_err(|_| invalid())?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        if !response.status().is_success() {
            return Err(FetchError::Status(response.status()));
        }
        let body = Limited::new(response.into_body(), LARGEST);
        let body = body.collect().await.map_err(FetchError::Body)?;
        String::from_utf8(body.to_bytes().into()).map_err(|e| FetchError::Keys(e.to_string()))
    };
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        biased;
        text = &mut exchange => text,
        ended = &mut connection => {
            ended?;
            // all of the answer has come
            exchange.await
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;

    const KEYS: &str = r#"{"keys": [{"kty": "oct", "k": "AQID"}]}"#;

    /// Answers one request after the other with these; the paths that are asked for.
    async fn serve(answers: Vec<String>) -> (SocketAddr, UnboundedReceiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (paths, asked) = unbounded_channel();
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let _ = paths.send(head.split(' ').nth(1).unwrap().to_owned());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        (address, asked)
    }

    fn ok(body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}")
    }

    fn remote(uri: String) -> RemoteJwks {
        RemoteJwks {
            uri,
            issuer: "issuer".to_owned(),
        }
    }

    const TIMEOUT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn keys_come_with_any_sort_of_length() {
        let chunked = format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{KEYS}\r\n0\r\n\r\n",
            KEYS.len()
        );
        let until_end = format!("HTTP/1.1 200 OK\r\n\r\n{KEYS}");
        let (address, mut asked) = serve(vec![ok(KEYS), chunked, until_end]).await;
        for _ in 0..3 {
            let fetched = fetch(&remote(format!("http://{address}/keys?a=b")), TIMEOUT).await;
            assert_eq!(fetched.unwrap(), KEYS);
            assert_eq!(asked.recv().await.unwrap(), "/keys?a=b");
        }
    }

    #[tokio::test]
    async fn without_an_address_the_issuer_is_asked_for_it() {
        let found = ok("{\"jwks_uri\": \"http://keys.example/x\"}");
        let (address, mut asked) = serve(vec![found]).await;
        let found = discover(&format!("http://{address}/")).await.unwrap();
        assert_eq!(found, "http://keys.example/x");
        assert_eq!(asked.recv().await.unwrap(), DISCOVERY);
    }

    #[tokio::test]
    async fn what_are_no_keys_is_not_taken() {
        let answers = vec![
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
            ok("{\"keys\": 1}"),
            ok(&" ".repeat(LARGEST + 1)),
        ];
        let (address, _asked) = serve(answers).await;
        for said in ["404", "no keys", "length limit exceeded"] {
            let fetched = fetch(&remote(format!("http://{address}/")), TIMEOUT).await;
            let error = fetched.unwrap_err().to_string();
            assert!(error.contains(said), "{said}: {error}");
        }
        let fetched = fetch(&remote("https://issuer.example/keys".to_owned()), TIMEOUT).await;
        assert!(matches!(fetched, Err(FetchError::Address(_))));
    }

    fn wanted_for(timeout: Duration, remotes: &[&RemoteJwks]) -> Wanted {
        let entry = |remote: &&RemoteJwks| ((*remote).clone(), timeout);
        remotes.iter().map(entry).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_tried_again_and_keys_are_fetched_again() {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let mut fetcher = Fetcher::by(move |_, _| {
            let calls = counted.clone();
            Box::pin(async move {
                match calls.fetch_add(1, Ordering::Relaxed) {
                    0 | 1 => Err(FetchError::Discovery),
                    _ => Ok(KEYS.to_owned()),
                }
            })
        });
        let remote = remote("http://a/".to_owned());
        fetcher.set_wanted(&wanted_for(TIMEOUT, &[&remote]));
        let start = Instant::now();
        assert_eq!(fetcher.next().await, (remote.clone(), KEYS.to_owned()));
        assert_eq!(start.elapsed(), RETRY * 3);
        assert_eq!(fetcher.next().await.0, remote);
        assert_eq!(start.elapsed(), RETRY * 3 + REFRESH);
        assert_eq!(calls.load(Ordering::Relaxed), 4);
    }

    /// An issuer that hangs; `b` has its keys after a second.
    #[tokio::test(start_paused = true)]
    async fn an_issuer_that_hangs_holds_up_no_other_and_no_edit_starts_anew() {
        let mut fetcher = Fetcher::by(|remote, _| {
            Box::pin(async move {
                if remote.uri == "http://b/" {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    return Ok(KEYS.to_owned());
                }
                std::future::pending().await
            })
        });
        let [a, b] = ["http://a/", "http://b/"].map(|uri| remote(uri.to_owned()));
        let start = Instant::now();
        for millis in [400, 800, 10_000] {
            // as after an edit of something else
            fetcher.set_wanted(&wanted_for(TIMEOUT, &[&a, &b]));
            let until = start + Duration::from_millis(millis);
            let fetched = tokio::time::timeout_at(until, fetcher.next()).await;
            assert_eq!(fetched.is_ok(), millis > 1_000);
        }
        assert_eq!(start.elapsed(), Duration::from_secs(1));
    }

    #[test]
    fn keys_that_nobody_wants_are_forgotten() {
        let [a, b] = ["http://a/", "http://b/"].map(|uri| remote(uri.to_owned()));
        let mut jwks = Jwks::default();
        assert!(jwks.set(a.clone(), KEYS) && jwks.set(b.clone(), KEYS));
        assert!(!jwks.set(a.clone(), KEYS));
        jwks.retain(&wanted_for(TIMEOUT, &[&b]));
        assert!(jwks.get(&a).is_none() && jwks.get(&b).is_some());
    }
}
