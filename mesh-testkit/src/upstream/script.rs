//! One word of a script: what an attempt is answered.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::{Body, Frame};
use tokio::time::Sleep;

/// What one attempt is answered.
#[derive(Debug)]
pub(super) struct Action {
    /// None: the stream is broken off without an answer.
    pub(super) status: Option<StatusCode>,
    /// The HTTP/2 reason of a stream that is broken off.
    pub(super) reason: h2::Reason,
    /// Before anything is answered.
    pub(super) wait: Duration,
    pub(super) headers: HeaderMap,
    trailers: HeaderMap,
    /// Between head and body.
    pause: Option<Duration>,
    /// How many bytes the body has instead of the upstream's name.
    length: Option<usize>,
    /// What the body is instead.
    bytes: Option<Vec<u8>>,
    /// The stream is broken off after a part of the body.
    is_cut: bool,
}

impl Action {
    /// Reads a word; what it does not know it leaves out.
    pub(super) fn parse(word: &str) -> Self {
        let mut parts = word.split(';');
        let first = parts.next().unwrap_or_default();
        let (wait, status) = match first.strip_prefix('d') {
            Some(status) => (200, status),
            None => (0, first),
        };
        let mut action = Self {
            status: (first != "reset").then(|| {
                let code = status.parse().ok();
                code.and_then(|code| StatusCode::from_u16(code).ok())
                    .unwrap_or(StatusCode::OK)
            }),
            reason: h2::Reason::INTERNAL_ERROR,
            wait: Duration::from_millis(wait),
            headers: HeaderMap::new(),
            trailers: HeaderMap::new(),
            pause: None,
            length: None,
            bytes: None,
            is_cut: false,
        };
        for part in parts {
            action.attribute(part);
        }
        action
    }

    fn attribute(&mut self, part: &str) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let milliseconds = || Duration::from_millis(value.parse().unwrap_or_default());
        match name {
            "wait" => self.wait = milliseconds(),
            "pause" => self.pause = Some(milliseconds()),
            "body" => self.length = value.parse().ok(),
            "hex" => self.bytes = Some(bytes(value)),
            "cut" => self.is_cut = true,
            "h" => self.headers.extend(pair(value)),
            "t" => self.trailers.extend(pair(value)),
            "rst" => {
                self.reason = match value {
                    "refused" => h2::Reason::REFUSED_STREAM,
                    "cancel" => h2::Reason::CANCEL,
                    "protocol" => h2::Reason::PROTOCOL_ERROR,
                    _ => h2::Reason::INTERNAL_ERROR,
                }
            }
            _ => {}
        }
    }

    /// The body: `text` unless the script says how long it is.
    pub(super) fn body(self, text: Bytes) -> ScriptedBody {
        let data = match (self.length, self.bytes) {
            (_, Some(bytes)) => bytes.into(),
            (Some(length), None) => Bytes::from(vec![b'x'; length]),
            (None, None) => text,
        };
        let mut steps = VecDeque::new();
        if let Some(pause) = self.pause {
            steps.push_back(Step::Wait(Box::pin(tokio::time::sleep(pause))));
        }
        if !data.is_empty() {
            steps.push_back(Step::Data(data));
        }
        if self.is_cut {
            steps.push_back(Step::Break(self.reason));
        } else if !self.trailers.is_empty() {
            steps.push_back(Step::Trailers(self.trailers));
        }
        ScriptedBody(steps)
    }
}

/// The bytes that pairs of hexadecimal digits mean.
pub(super) fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
    let pairs = digits.chunks_exact(2);
    pairs.map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

fn pair(text: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = text.split_once(':')?;
    Some((name.parse().ok()?, value.parse().ok()?))
}

/// The script breaks the stream off.
#[derive(Debug)]
pub(super) struct BrokenOff(h2::Error);

impl BrokenOff {
    pub(super) fn new(reason: h2::Reason) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the script breaks off")
    }
}

impl std::error::Error for BrokenOff {
    /// hyper takes the stream's reset reason from here.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// A body with pauses, trailers or an abrupt end.
#[derive(Default)]
pub(super) struct ScriptedBody(VecDeque<Step>);

enum Step {
    Wait(Pin<Box<Sleep>>),
    Data(Bytes),
    Trailers(HeaderMap),
    Break(h2::Reason),
}

impl Body for ScriptedBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if let Some(Step::Wait(sleep)) = self.0.front_mut() {
            ready!(sleep.as_mut().poll(cx));
            self.0.pop_front();
        }
        Poll::Ready(match self.0.pop_front() {
            Some(Step::Data(data)) => Some(Ok(Frame::data(data))),
            Some(Step::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Some(Step::Break(reason)) => Some(Err(BrokenOff::new(reason))),
            Some(Step::Wait(_)) | None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self.0.iter().collect::<Vec<_>>()[..] {
            [Step::Data(data)] => http_body::SizeHint::with_exact(data.len() as u64),
            [] => http_body::SizeHint::with_exact(0),
            _ => http_body::SizeHint::default(),
        }
    }
}
