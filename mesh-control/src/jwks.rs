//! Keys of issuers that the control plane fetches, so that proxies get them inline, as istiod does
//! (`pilot/pkg/model/jwks_resolver.go`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
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
}

/// The keys that a configuration wants fetched.
pub(crate) fn wanted(config: &Config) -> BTreeSet<RemoteJwks> {
    let rules = config.request_authentications.iter().flat_map(|p| &p.rules);
    let remote = rules.filter_map(|rule| match &rule.keys {
        JwksSource::Remote(remote) => Some(remote.clone()),
        JwksSource::Inline(_) => None,
    });
    remote.collect()
}

/// When what is fetched next.
#[derive(Debug, Default)]
pub(crate) struct Fetcher {
    due: BTreeMap<RemoteJwks, Due>,
}

#[derive(Debug)]
struct Due {
    at: Instant,
    retry: Duration,
}

impl Fetcher {
    /// Resolves with the next keys that could be fetched; never, if nothing is wanted. Failures are logged and tried
    /// again. May be dropped and called again at any time.
    pub(crate) async fn next(&mut self, wanted: &BTreeSet<RemoteJwks>) -> (RemoteJwks, String) {
        self.next_by(wanted, fetch).await
    }

    async fn next_by(
        &mut self,
        wanted: &BTreeSet<RemoteJwks>,
        fetch: impl AsyncFn(&RemoteJwks) -> Result<String, FetchError>,
    ) -> (RemoteJwks, String) {
        self.due.retain(|remote, _| wanted.contains(remote));
        let now = Instant::now();
        for remote in wanted {
            self.due.entry(remote.clone()).or_insert(Due {
                at: now,
                retry: RETRY,
            });
        }
        loop {
            let Some((remote, due)) = self.due.iter_mut().min_by_key(|(_, due)| due.at) else {
                return std::future::pending().await;
            };
            tokio::time::sleep_until(due.at).await;
            match fetch(remote).await {
                Ok(keys) => {
                    due.at = Instant::now() + REFRESH;
                    due.retry = RETRY;
                    return (remote.clone(), keys);
                }
                Err(error) => {
                    tracing::warn!(
                        issuer = remote.issuer,
                        uri = remote.uri,
                        "keys cannot be fetched, no token of the issuer is accepted without them: {error}"
                    );
                    due.at = Instant::now() + due.retry;
                    due.retry = (due.retry * 2).min(LONGEST_RETRY);
                }
            }
        }
    }
}

/// Why keys are not there.
#[derive(Debug, thiserror::Error)]
enum FetchError {
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

async fn fetch(remote: &RemoteJwks) -> Result<String, FetchError> {
    let fetched = tokio::time::timeout(remote.timeout, async {
        let uri = match remote.uri.as_str() {
            "" => discover(&remote.issuer).await?,
            uri => uri.to_owned(),
        };
        get(&uri).await
    });
    let keys = match fetched.await {
        Ok(keys) => keys?,
        Err(_) => return Err(FetchError::Timeout(remote.timeout)),
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
            timeout: Duration::from_secs(5),
        }
    }

    #[tokio::test]
    async fn keys_come_with_any_sort_of_length() {
        let chunked = format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{KEYS}\r\n0\r\n\r\n",
            KEYS.len()
        );
        let until_end = format!("HTTP/1.1 200 OK\r\n\r\n{KEYS}");
        let (address, mut asked) = serve(vec![ok(KEYS), chunked, until_end]).await;
        for _ in 0..3 {
            let fetched = fetch(&remote(format!("http://{address}/keys?a=b"))).await;
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
            "HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n".to_owned(),
        ];
        let (address, _asked) = serve(answers).await;
        for said in ["404", "no keys", ""] {
            let fetched = fetch(&remote(format!("http://{address}/"))).await;
            let error = fetched.unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let fetched = fetch(&remote("https://issuer.example/keys".to_owned())).await;
        assert!(matches!(fetched, Err(FetchError::Address(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_tried_again_and_keys_are_fetched_again() {
        let calls = std::cell::Cell::new(0);
        let fetch = async |_: &RemoteJwks| {
            calls.set(calls.get() + 1);
            match calls.get() {
                1 | 2 => Err(FetchError::Discovery),
                _ => Ok(KEYS.to_owned()),
            }
        };
        let remote = remote("http://a/".to_owned());
        let wanted = BTreeSet::from([remote.clone()]);
        let mut fetcher = Fetcher::default();
        let start = Instant::now();
        let fetched = fetcher.next_by(&wanted, fetch).await;
        assert_eq!(fetched, (remote.clone(), KEYS.to_owned()));
        assert_eq!(start.elapsed(), RETRY * 3);
        let fetched = fetcher.next_by(&wanted, fetch).await;
        assert_eq!(fetched.0, remote);
        assert_eq!(start.elapsed(), RETRY * 3 + REFRESH);
        assert_eq!(calls.get(), 4);
    }
}
