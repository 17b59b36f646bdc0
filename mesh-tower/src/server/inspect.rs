//! The listener filters: what the first bytes of a connection say (`tls_inspector`, `http_inspector`).

use std::{future::Future, io, time::Duration};

use bytes::{Bytes, BytesMut};
use mesh_core::model::ListenerFilter;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt};

/// How much of a connection's start is looked at, at most (Envoy's inspectors: 64 KiB and 8 KiB).
const MAX_INSPECTED: usize = 16 * 1024;
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the listener filters found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspected {
    /// The connection begins with a TLS ClientHello.
    pub tls: bool,
    /// SNI, lower case.
    pub server_name: Option<Box<str>>,
    /// ALPN of the ClientHello, or `http/1.0`, `http/1.1`, `h2c` of the HTTP inspector.
    pub application_protocols: Vec<Box<str>>,
}

/// Reads as much of a connection's start as its listener's filters need; returns what they found and the bytes, to be
/// put back with [`PrefixedIo`](super::PrefixedIo). Without an inspecting filter nothing is read.
///
/// A peer that says nothing within `timeout` (zero: for ever) is `None`: the connection is closed, unless the listener
/// goes on without (`continue_on_listener_filters_timeout`), for which the caller takes an empty finding.
///
/// # Errors
/// Reading failed.
pub async fn inspect<T: AsyncRead + Unpin>(
    io: &mut T,
    filters: &[ListenerFilter],
    timeout: Duration,
) -> io::Result<(Option<Inspected>, Bytes)> {
    let tls = filters.contains(&ListenerFilter::TlsInspector);
    let http = filters.contains(&ListenerFilter::HttpInspector);
    let mut read = BytesMut::new();
    if !tls && !http {
        return Ok((Some(Inspected::default()), Bytes::new()));
    }
    let found = within(timeout, async {
        loop {
            if let Some(found) = judge(&read, tls, http) {
                return io::Result::Ok(found);
            }
            if io.read_buf(&mut read).await? == 0 || read.len() >= MAX_INSPECTED {
                return Ok(Inspected::default());
            }
        }
    })
    .await
    .transpose()?;
    Ok((found, read.freeze()))
}

async fn within<F: Future>(timeout: Duration, future: F) -> Option<F::Output> {
    if timeout.is_zero() {
        Some(future.await)
    } else {
        tokio::time::timeout(timeout, future).await.ok()
    }
}

/// The finding, or None if more bytes are needed.
fn judge(read: &[u8], tls: bool, http: bool) -> Option<Inspected> {
    if read.is_empty() {
        return None;
    }
    if tls {
        match client_hello(read) {
            Hello::Complete(found) => return Some(found),
            Hello::Partial => return None,
            Hello::Other => {}
        }
    }
    if !http {
        return Some(Inspected::default());
    }
    let protocol = http_protocol(read)?;
    Some(Inspected {
        application_protocols: protocol.map(Into::into).into_iter().collect(),
        ..Inspected::default()
    })
}

enum Hello {
    Complete(Inspected),
    Partial,
    Other,
}

fn client_hello(mut read: &[u8]) -> Hello {
    // Record type handshake, version 3.x: anything else is not TLS.
    let looks_like_tls = read[0] == 22 && read.get(1).is_none_or(|major| *major == 3);
    if !looks_like_tls {
        return Hello::Other;
    }
    let mut acceptor = Acceptor::default();
    while !read.is_empty() {
        if acceptor.read_tls(&mut read).is_err() {
            return Hello::Other;
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                let alpn = hello.alpn().into_iter().flatten();
                return Hello::Complete(Inspected {
                    tls: true,
                    server_name: hello
                        .server_name()
                        .map(|name| name.to_ascii_lowercase().into()),
                    application_protocols: alpn
                        .filter_map(|p| std::str::from_utf8(p).ok().map(Into::into))
                        .collect(),
                });
            }
            Ok(None) => {}
            Err(_) => return Hello::Other,
        }
    }
    Hello::Partial
}

/// `Some(Some(protocol))`, `Some(None)` for bytes that are no HTTP, None if more are needed.
fn http_protocol(read: &[u8]) -> Option<Option<&'static str>> {
    if H2_PREFACE.starts_with(&read[..read.len().min(H2_PREFACE.len())]) {
        return (read.len() >= H2_PREFACE.len()).then_some(Some("h2c"));
    }
    let Some(end) = read.iter().position(|b| *b == b'\n') else {
        let could_be_a_method = read
            .iter()
            .take_while(|b| **b != b' ')
            .all(u8::is_ascii_uppercase);
        return if could_be_a_method { None } else { Some(None) };
    };
    let line = read[..end].strip_suffix(b"\r").unwrap_or(&read[..end]);
    let mut words = line.split(|b| *b == b' ');
    let method = words
        .next()
        .is_some_and(|w| !w.is_empty() && w.iter().all(u8::is_ascii_uppercase));
    let (target, version, more) = (words.next(), words.next(), words.next());
    if !method || target.is_none_or(<[u8]>::is_empty) || more.is_some() {
        return Some(None);
    }
    Some(match version {
        Some(b"HTTP/1.1") => Some("http/1.1"),
        Some(b"HTTP/1.0") => Some("http/1.0"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &[ListenerFilter] = &[ListenerFilter::TlsInspector, ListenerFilter::HttpInspector];

    async fn found(mut bytes: &[u8]) -> Vec<Box<str>> {
        let (found, read) = inspect(&mut bytes, BOTH, Duration::ZERO).await.unwrap();
        assert!(!read.is_empty());
        found.expect("no timeout").application_protocols
    }

    #[tokio::test]
    async fn http_is_told_by_its_first_line() {
        for (bytes, want) in [
            (&b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n"[..], Some("http/1.1")),
            (b"GET /a HTTP/1.0\n\n", Some("http/1.0")),
            (H2_PREFACE, Some("h2c")),
            (b"PRI * HTTP/2.0\r\n\r\nXX", None),
            (b"GET /a\r\n", None),
            (b"get /a HTTP/1.1\r\n", None),
            (b"\x00\x01binary", None),
            (b"HELO mail\r\n", None),
        ] {
            assert_eq!(found(bytes).await.first().map(|p| &**p), want, "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn a_split_first_line_is_waited_for() {
        let mut io = tokio_test_io(&[b"GE", b"T / HT", b"TP/1.1\r\n"]);
        let (found, read) = inspect(&mut io, BOTH, Duration::ZERO).await.unwrap();
        assert_eq!(found.unwrap().application_protocols, ["http/1.1".into()]);
        assert_eq!(read, "GET / HTTP/1.1\r\n");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_with_the_timeout() {
        let (mut near, _far) = tokio::io::duplex(16);
        let (found, read) = inspect(&mut near, BOTH, Duration::from_secs(15))
            .await
            .unwrap();
        assert_eq!((found, read.len()), (None, 0));
    }

    #[tokio::test]
    async fn without_an_inspector_nothing_is_read() {
        let mut bytes: &[u8] = b"GET";
        let (found, read) = inspect(&mut bytes, &[ListenerFilter::OriginalDst], Duration::ZERO)
            .await
            .unwrap();
        assert_eq!(
            (found, read.len(), bytes.len()),
            (Some(Inspected::default()), 0, 3)
        );
    }

    #[tokio::test]
    async fn a_client_hello_gives_sni_and_alpn() {
        let mut bytes = &client_hello_bytes("Reviews.Example.com", &["h2", "http/1.1"])[..];
        let (found, _) = inspect(&mut bytes, BOTH, Duration::ZERO).await.unwrap();
        let found = found.unwrap();
        assert!(found.tls);
        assert_eq!(found.server_name.as_deref(), Some("reviews.example.com"));
        assert_eq!(
            found.application_protocols,
            ["h2".into(), "http/1.1".into()]
        );
    }

    #[tokio::test]
    async fn a_record_that_is_no_client_hello_is_plain() {
        let mut bytes: &[u8] = b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00";
        let (found, _) = inspect(&mut bytes, &[ListenerFilter::TlsInspector], Duration::ZERO)
            .await
            .unwrap();
        assert_eq!(found, Some(Inspected::default()));
    }

    fn tokio_test_io(parts: &[&[u8]]) -> impl AsyncRead + Unpin + use<> {
        use tokio::io::AsyncReadExt as _;
        let mut chain: Box<dyn AsyncRead + Unpin> = Box::new(tokio::io::empty());
        for part in parts.iter().rev() {
            chain = Box::new(std::io::Cursor::new(part.to_vec()).chain(chain));
        }
        chain
    }

    /// A minimal TLS 1.2 ClientHello.
    fn client_hello_bytes(sni: &str, alpn: &[&str]) -> Vec<u8> {
        fn with_len16(bytes: Vec<u8>) -> Vec<u8> {
            let mut out = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
            out.extend(bytes);
            out
        }
        let mut name = vec![0];
        name.extend(with_len16(sni.as_bytes().to_vec()));
        let mut protocols = Vec::new();
        for p in alpn {
            protocols.push(u8::try_from(p.len()).unwrap());
            protocols.extend(p.as_bytes());
        }
        let mut extensions = Vec::new();
        for (kind, body) in [
            (0u16, with_len16(name)),
            (16, with_len16(protocols)),
            (10, with_len16(vec![0, 29])),
            (13, with_len16(vec![4, 3])),
        ] {
            extensions.extend(kind.to_be_bytes());
            extensions.extend(with_len16(body));
        }
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.push(0);
        body.extend(with_len16(vec![0xc0, 0x2b]));
        body.extend([1, 0]);
        body.extend(with_len16(extensions));
        let mut handshake = vec![1, 0];
        handshake.extend(with_len16(body));
        let mut record = vec![22, 3, 1];
        record.extend(with_len16(handshake));
        record
    }
}
