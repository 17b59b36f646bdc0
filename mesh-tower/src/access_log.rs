//! The line of a request: what is kept for it while the request is under way, and the threads that write.

use std::{
    borrow::Cow,
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    path::Path,
    sync::{
        Arc, LazyLock, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

use http::{HeaderMap, Method, Uri, Version};
use mesh_core::{
    Entropy,
    access_log::{LogSink, LogTarget},
    cluster::Cluster,
    head::RequestHead,
    listener::HttpChain,
    route::FormatContext,
};

use crate::{
    body::Progress,
    clock::Moment,
    dispatch::UpstreamConnection,
    entropy::ThreadEntropy,
    observe::Observed,
    process::PROCESS,
    stages::with_scratch,
    stream::{Connection, LedTo},
};

/// What a line says that nobody else keeps. Only made where a log is configured.
#[derive(Debug)]
pub(crate) struct LogEntry {
    pub(crate) connection: Connection,
    pub(crate) version: Version,
    /// The request as it went on.
    pub(crate) head: Option<(Method, Uri, HeaderMap)>,
    pub(crate) client: Option<std::net::IpAddr>,
    pub(crate) route_name: Arc<str>,
    /// The route's cluster, which a filter's answer keeps from being asked.
    pub(crate) cluster: Option<Arc<Cluster>>,
    pub(crate) attempts: u32,
    /// Where a redirect led to that was not followed.
    pub(crate) led_to: Option<LedTo>,
    /// The connection that took the last attempt.
    pub(crate) connected: Option<UpstreamConnection>,
    pub(crate) response: HeaderMap,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) details: Cow<'static, str>,
    pub(crate) local_body: bytes::Bytes,
    pub(crate) bytes_sent: u64,
    pub(crate) request: Option<Arc<Progress>>,
    pub(crate) complete: Option<Moment>,
    pub(crate) answered: Option<Moment>,
}

impl LogEntry {
    pub(crate) fn new(connection: Connection, version: Version) -> Box<Self> {
        Box::new(Self {
            connection,
            version,
            head: None,
            client: None,
            route_name: "".into(),
            cluster: None,
            attempts: 0,
            led_to: None,
            connected: None,
            response: HeaderMap::new(),
            trailers: None,
            details: Cow::Borrowed("downstream_remote_disconnect"),
            local_body: bytes::Bytes::new(),
            bytes_sent: 0,
            request: None,
            complete: None,
            answered: None,
        })
    }

    /// Writes the stream's line to each of the chain's logs.
    pub(crate) fn write(&self, chain: &HttpChain, seen: &Observed, now: Moment) {
        let connection = self.connection.info();
        let mut cx = FormatContext::without_request(connection);
        if let Some((method, uri, headers)) = &self.head {
            cx.head = RequestHead {
                method,
                scheme: uri.scheme_str().unwrap_or("http"),
                authority: uri.authority().map_or("", |a| a.as_str()),
                path: uri.path_and_query().map_or("", |p| p.as_str()),
                headers,
            };
        }
        cx.client = self.client;
        cx.protocol = Some(self.version);
        cx.response = Some(&self.response);
        cx.status = seen.status.as_ref();
        cx.response_code = seen.status.map_or(0, |status| status.as_u16());
        cx.response_code_details = Some(&self.details);
        cx.response_flags = seen.flags;
        cx.started = Some(seen.started.instant());
        cx.attempts = self.attempts;
        cx.metadata = seen.states.metadata();
        let endpoint = seen.in_flight.as_ref().map(|load| load.endpoint());
        cx.upstream_host = endpoint.map(|endpoint| endpoint.address());
        if let Some(connected) = self.connected {
            cx.upstream_remote = cx.upstream_host;
            cx.upstream_local = connected.local;
            cx.upstream_protocol = Some(connected.version);
        }
        let cluster = match &self.led_to {
            Some(led_to) => led_to.cluster.as_ref(),
            None => seen.cluster.as_ref().or(self.cluster.as_ref()),
        };
        cx.upstream_cluster = cluster.map(|c| &*c.config().name);
        cx.route_name = &self.route_name;
        cx.trailers = self.trailers.as_ref();
        cx.local_reply_body = &self.local_body;
        cx.bytes_received = self.request.as_ref().map_or(0, |request| request.bytes());
        cx.bytes_sent = self.bytes_sent;
        cx.access_log_type = "DownstreamEnd";
        cx.timing.now = Some(now.instant());
        cx.timing.request_end = self.complete.map(Moment::instant);
        cx.timing.answer_begin = self.answered.map(Moment::instant);
        cx.timing.answer_end = self.answered.map(|_| now.instant());
        if cx.upstream_host.is_some() {
            cx.timing.response_begin = cx.timing.answer_begin;
            cx.timing.response_end = cx.timing.answer_end;
        }
        cx.process = PROCESS;
        with_scratch(|scratch| {
            for log in chain.manager().access_logs.iter() {
                log.log(&cx, open, ThreadEntropy.next_u64(), scratch);
            }
        });
    }
}

/// How many lines wait for a writer; more are dropped.
const WAITING: usize = 8192;

/// Grows when files are to be opened again.
static REOPENED: AtomicU64 = AtomicU64::new(0);

/// Has the writers open their files again before the next line, as after a log was rotated away (SIGUSR1).
pub fn reopen_access_logs() {
    REOPENED.fetch_add(1, Relaxed);
}

/// The writer of a target: one thread each, that ends with the last configuration that names it.
#[derive(Debug)]
struct Writer {
    lines: SyncSender<Vec<u8>>,
    dropped: AtomicU64,
}

impl LogSink for Writer {
    fn write(&self, line: Vec<u8>) {
        if self.lines.try_send(line).is_err() {
            let dropped = self.dropped.fetch_add(1, Relaxed) + 1;
            if dropped.is_power_of_two() {
                tracing::warn!(
                    dropped,
                    "the access log is written too slowly; lines are dropped"
                );
            }
        }
    }
}

/// The sink of a target, the same for all that name it.
pub fn open(target: &LogTarget) -> Arc<dyn LogSink> {
    static WRITERS: LazyLock<Mutex<HashMap<LogTarget, Weak<Writer>>>> =
        LazyLock::new(Mutex::default);
    let mut writers = WRITERS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(writer) = writers.get(target).and_then(Weak::upgrade) {
        return writer;
    }
    let (lines, waiting) = sync_channel(WAITING);
    let writer = Arc::new(Writer {
        lines,
        dropped: AtomicU64::new(0),
    });
    writers.insert(target.clone(), Arc::downgrade(&writer));
    let target = target.clone();
    let thread = std::thread::Builder::new().name("access-log".to_owned());
    if let Err(error) = thread.spawn(move || write_all(&target, &waiting)) {
        tracing::warn!(%error, "no thread for the access log; its lines are dropped");
    }
    writer
}

fn write_all(target: &LogTarget, waiting: &Receiver<Vec<u8>>) {
    let LogTarget::File(path) = target else {
        let to_stdout = *target == LogTarget::Stdout;
        while let Ok(line) = waiting.recv() {
            // Nobody is there to hear that writing failed.
            let _ = match to_stdout {
                true => io::stdout().lock().write_all(&line),
                false => io::stderr().lock().write_all(&line),
            };
        }
        return;
    };
    let mut generation = REOPENED.load(Relaxed);
    let mut file = open_file(path);
    while let Ok(line) = waiting.recv() {
        let now = REOPENED.load(Relaxed);
        if std::mem::replace(&mut generation, now) != now {
            file = open_file(path);
        }
        let Some(file) = &mut file else { continue };
        let mut result = file.write_all(&line);
        while let Ok(line) = waiting.try_recv() {
            result = result.and_then(|()| file.write_all(&line));
        }
        if let Err(error) = result.and_then(|()| file.flush()) {
            tracing::warn!(path = %path.display(), %error, "the access log cannot be written");
        }
    }
}

fn open_file(path: &Path) -> Option<BufWriter<File>> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened
        .map(BufWriter::new)
        .inspect_err(|error| {
            tracing::warn!(path = %path.display(), %error, "the access log cannot be opened");
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_reach_the_file_and_a_new_one_after_reopening() {
        let dir = std::env::temp_dir().join(format!("access-log-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("log");
        let target = LogTarget::File(path.clone().into());
        let sink = open(&target);
        assert!(Arc::ptr_eq(&sink, &open(&target)));
        let has = |expected: &str| loop {
            if std::fs::read_to_string(&path).is_ok_and(|text| text == expected) {
                return;
            }
            std::thread::yield_now();
        };
        sink.write(b"one\n".to_vec());
        sink.write(b"two\n".to_vec());
        has("one\ntwo\n");
        std::fs::rename(&path, dir.join("old")).unwrap();
        reopen_access_logs();
        sink.write(b"three\n".to_vec());
        has("three\n");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
