//! HTTP/1 byte for byte: a client that sends what it is given, and an upstream that answers what a test wrote.
//!
//! Nothing here repairs or refuses: what a real codec would not send or accept is what these are for.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::upstream::CASE;

/// The header by which a request chooses among an upstream's answers: a number, counted from 0.
pub const ANSWER: &str = "x-answer";

/// How long one step of a conversation may take.
const LIMIT: Duration = Duration::from_secs(10);

/// How a message's end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// It has no body, whatever it says.
    None,
    /// `content-length`.
    Length(usize),
    /// Chunks.
    Chunked,
    /// The end of the connection.
    Close,
}

/// A request or a response as it was on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// The first line.
    pub start: String,
    /// Name and value as written, in order.
    pub headers: Vec<(String, String)>,
    /// How the body was told.
    pub framing: Framing,
    /// The body, without the marks of chunks.
    pub body: Bytes,
    /// Trailers.
    pub trailers: Vec<(String, String)>,
}

impl Message {
    /// The first value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    fn says(&self, name: &str, word: &str) -> bool {
        self.headers.iter().any(|(n, value)| {
            n.eq_ignore_ascii_case(name)
                && value
                    .split(',')
                    .any(|part| part.trim().eq_ignore_ascii_case(word))
        })
    }

    /// The status of a response.
    pub fn status(&self) -> u16 {
        let mut words = self.start.split(' ');
        words.nth(1).and_then(|w| w.parse().ok()).unwrap_or(0)
    }
}

/// What a client saw of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conversation {
    /// All responses, informational ones too.
    pub responses: Vec<Message>,
    /// How it went on after them.
    pub end: End,
}

/// What became of a connection after the last response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A further request was answered with this status.
    Kept(u16),
    /// The peer closed it.
    Closed,
    /// It became a tunnel; this came back for `ping`.
    Tunnel(Bytes),
    /// Nothing more came in time.
    Silent,
}

/// Sends bytes, reads the answers to `methods` (one per request in the bytes), then looks whether another request
/// (`probe`) is answered.
///
/// # Errors
/// There is no connection.
pub async fn converse(
    to: SocketAddr,
    sent: &[Vec<u8>],
    methods: &[&str],
    probe: &[u8],
) -> io::Result<Conversation> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut conversation = Conversation {
        responses: Vec::new(),
        end: End::Closed,
    };
    for part in sent {
        // The peer may have closed already: what it said is read below.
        let _ = write.write_all(part).await;
    }
    for method in methods {
        loop {
            let message = match tokio::time::timeout(LIMIT, response(&mut read, method)).await {
                Err(_) => {
                    conversation.end = End::Silent;
                    return Ok(conversation);
                }
                Ok(Ok(Some(message))) => message,
                Ok(_) => return Ok(conversation),
            };
            let status = message.status();
            let is_tunnel = status == 101 || (*method == "CONNECT" && status == 200);
            let is_over = message.framing == Framing::Close;
            conversation.responses.push(message);
            if is_tunnel {
                conversation.end = tunnel(&mut read, &mut write).await;
                return Ok(conversation);
            }
            if is_over {
                return Ok(conversation);
            }
            if status >= 200 {
                break;
            }
        }
    }
    conversation.end = match write.write_all(probe).await {
        Err(_) => End::Closed,
        Ok(()) => match tokio::time::timeout(LIMIT, response(&mut read, "GET")).await {
            Err(_) => End::Silent,
            Ok(Ok(Some(message))) => End::Kept(message.status()),
            Ok(_) => End::Closed,
        },
    };
    Ok(conversation)
}

async fn tunnel(
    read: &mut (impl AsyncRead + Unpin),
    write: &mut (impl AsyncWriteExt + Unpin),
) -> End {
    if write.write_all(b"ping").await.is_err() {
        return End::Closed;
    }
    let mut pong = vec![0; 4];
    match tokio::time::timeout(LIMIT, read.read_exact(&mut pong)).await {
        Err(_) => End::Silent,
        Ok(Ok(_)) => End::Tunnel(pong.into()),
        Ok(Err(_)) => End::Closed,
    }
}

/// Reads one response; None: the connection ended before it.
async fn response<R: AsyncRead + Unpin>(
    read: &mut BufReader<R>,
    method: &str,
) -> io::Result<Option<Message>> {
    let Some(mut message) = head(read).await? else {
        return Ok(None);
    };
    let status = message.status();
    let bodiless = method == "HEAD"
        || status < 200
        || [204, 304].contains(&status)
        || (method == "CONNECT" && status < 300);
    message.framing = match framing(&message) {
        _ if bodiless => Framing::None,
        Some(framing) => framing,
        None => Framing::Close,
    };
    body(read, &mut message).await?;
    Ok(Some(message))
}

fn framing(message: &Message) -> Option<Framing> {
    if message.says("transfer-encoding", "chunked") {
        return Some(Framing::Chunked);
    }
    let length = message.header("content-length")?;
    Some(Framing::Length(length.trim().parse().ok()?))
}

async fn line<R: AsyncRead + Unpin>(read: &mut BufReader<R>) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    if read.read_until(b'\n', &mut bytes).await? == 0 {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&bytes);
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

async fn head<R: AsyncRead + Unpin>(read: &mut BufReader<R>) -> io::Result<Option<Message>> {
    let Some(start) = line(read).await? else {
        return Ok(None);
    };
    Ok(Some(Message {
        start,
        headers: fields(read).await?,
        framing: Framing::None,
        body: Bytes::new(),
        trailers: Vec::new(),
    }))
}

async fn fields<R: AsyncRead + Unpin>(
    read: &mut BufReader<R>,
) -> io::Result<Vec<(String, String)>> {
    let mut fields = Vec::new();
    loop {
        let line = line(read).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            return Ok(fields);
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        fields.push((name.to_owned(), value.trim().to_owned()));
    }
}

async fn body<R: AsyncRead + Unpin>(
    read: &mut BufReader<R>,
    message: &mut Message,
) -> io::Result<()> {
    let mut body = Vec::new();
    match message.framing {
        Framing::None => {}
        Framing::Length(length) => {
            body.resize(length, 0);
            read.read_exact(&mut body).await?;
        }
        Framing::Close => {
            read.read_to_end(&mut body).await?;
        }
        Framing::Chunked => loop {
            let size = line(read).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let digits = size.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(digits, 16).map_err(io::Error::other)?;
            if size == 0 {
                message.trailers = fields(read).await?;
                break;
            }
            let start = body.len();
            body.resize(start + size, 0);
            read.read_exact(&mut body[start..]).await?;
            line(read).await?;
        },
    }
    message.body = body.into();
    Ok(())
}

type Memory = Arc<Mutex<HashMap<String, Vec<Message>>>>;

/// An upstream whose answers are bytes; stops when dropped.
#[derive(Debug)]
pub struct RawUpstream {
    seen: Memory,
    task: JoinHandle<()>,
}

impl Drop for RawUpstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RawUpstream {
    /// Starts one. A request's `x-answer` chooses among `answers` (the first, if it does not say). An answer of 101,
    /// or of 200 to CONNECT, makes the connection an echo. An empty answer closes it, and so does one that says
    /// `connection: close`, or says nothing of its length.
    ///
    /// # Panics
    /// If the address cannot be bound.
    pub async fn start(address: SocketAddr, answers: &'static [&'static [u8]]) -> Self {
        let listener = TcpListener::bind(address)
            .await
            .expect("the upstream's address is free");
        let seen = Memory::default();
        let memory = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // The test's process survives a failing setsockopt.
                let _ = stream.set_nodelay(true);
                tokio::spawn(serve(stream, Arc::clone(&memory), answers));
            }
        });
        Self { seen, task }
    }

    /// Takes what was seen of a case, in order.
    pub fn take(&self, case: &str) -> Vec<Message> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(case)
            .unwrap_or_default()
    }
}

async fn serve(
    stream: TcpStream,
    memory: Memory,
    answers: &'static [&'static [u8]],
) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    loop {
        let Some(mut message) = head(&mut read).await? else {
            return Ok(());
        };
        let is_connect = message.start.starts_with("CONNECT ");
        message.framing = match framing(&message) {
            Some(framing) if !is_connect => framing,
            _ => Framing::None,
        };
        if message.says("expect", "100-continue") {
            write.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        // What came of a broken body is worth telling too.
        let whole = body(&mut read, &mut message).await;
        let answer = message
            .header(ANSWER)
            .and_then(|n| n.parse().ok())
            .and_then(|n: usize| answers.get(n))
            .or(answers.first())
            .copied()
            .unwrap_or_default();
        let case = message.header(CASE).unwrap_or_default().to_owned();
        let is_head = message.start.starts_with("HEAD ");
        memory
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(case)
            .or_default()
            .push(message);
        whole?;
        let end = match is_head {
            true => end_of_heads(answer),
            false => answer.len(),
        };
        write.write_all(&answer[..end]).await?;
        let text = String::from_utf8_lossy(answer).to_ascii_lowercase();
        if text.starts_with("http/1.1 101") || (is_connect && text.starts_with("http/1.1 200")) {
            tokio::io::copy(&mut read, &mut write).await?;
            return Ok(());
        }
        let told = text.contains("content-length")
            || text.contains("chunked")
            || text.contains(" 204 ")
            || text.contains(" 304 ");
        if !told || text.contains("connection: close") {
            return Ok(());
        }
    }
}

/// Where the last head of an answer ends: informational ones come before it.
fn end_of_heads(answer: &[u8]) -> usize {
    let mut end = 0;
    while let Some(at) = answer[end..].windows(4).position(|w| w == b"\r\n\r\n") {
        let is_early = answer[end..].starts_with(b"HTTP/1.1 1");
        end += at + 4;
        if !is_early {
            break;
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_go_both_ways_as_written() {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = upstream.local_addr().unwrap();
        drop(upstream);
        let upstream = RawUpstream::start(
            address,
            &[
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
                b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 Yes\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\na: b\r\n\r\n",
                b"HTTP/1.1 200 OK\r\n\r\nto the end",
            ],
        )
        .await;
        let probe = b"GET / HTTP/1.1\r\n\r\n";
        let one = b"POST /a HTTP/1.1\r\nX-Case: 1\r\nx-answer: 1\r\ncontent-length: 3\r\n\r\nabc"
            .to_vec();
        let seen = converse(address, &[one], &["POST"], probe).await.unwrap();
        assert_eq!(seen.end, End::Kept(200));
        let [early, last] = &seen.responses[..] else {
            panic!("{seen:?}")
        };
        assert_eq!((early.status(), last.status()), (100, 200));
        assert_eq!(
            (&last.body[..], last.trailers[0].1.as_str()),
            (&b"x"[..], "b")
        );
        let got = upstream.take("1");
        assert_eq!(got[0].headers[0], ("X-Case".into(), "1".into()));
        assert_eq!(&got[0].body[..], b"abc");
        let close = b"GET /a HTTP/1.1\r\nx-answer: 2\r\n\r\n".to_vec();
        let seen = converse(address, &[close], &["GET"], probe).await.unwrap();
        assert_eq!(seen.end, End::Closed);
        assert_eq!(&seen.responses[0].body[..], b"to the end");
    }
}
