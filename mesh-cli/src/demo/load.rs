//! The load generator: an open loop, so a slow answer delays no other request.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::Error;
use crate::request::{self, Connection};

/// After this long a user gives up.
const PATIENCE: Duration = Duration::from_secs(15);

/// What users saw: requests, counted when their answer is complete.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) requests: u64,
    /// No answer, or a 5xx.
    pub(super) errors: u64,
    /// By status; 0 is no answer.
    pub(super) response_codes: BTreeMap<u16, u64>,
    /// Milliseconds from the time at which the request was due.
    pub(super) latencies: Vec<f64>,
}

impl Seen {
    pub(super) fn merge(&mut self, other: &Seen) {
        self.requests += other.requests;
        self.errors += other.errors;
        for (code, count) in &other.response_codes {
            *self.response_codes.entry(*code).or_default() += count;
        }
        self.latencies.extend_from_slice(&other.latencies);
    }

    /// The latency that a share of the requests did not exceed.
    pub(super) fn percentile(&self, share: f64) -> Option<f64> {
        let mut sorted = self.latencies.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied()
    }

    fn count(&mut self, status: Option<StatusCode>, latency: Duration) {
        self.requests += 1;
        self.errors += u64::from(status.is_none_or(|status| status.is_server_error()));
        *self
            .response_codes
            .entry(status.map_or(0, |status| status.as_u16()))
            .or_default() += 1;
        self.latencies.push(latency.as_secs_f64() * 1e3);
    }
}

/// A running load generator. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Load {
    shared: Arc<Shared>,
    schedule: JoinHandle<()>,
    /// Closed when the schedule and all its requests have ended.
    in_flight: mpsc::Receiver<()>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    path: String,
    idle: Mutex<Vec<Connection>>,
    seen: Mutex<Seen>,
}

impl Load {
    /// Sends `rps` requests a second for `path` to `target`, at even distances, until it is stopped.
    pub(super) fn start(target: SocketAddr, path: &str, rps: u32) -> Load {
        let shared = Arc::new(Shared {
            target,
            path: path.to_owned(),
            idle: Mutex::default(),
            seen: Mutex::default(),
        });
        let (sender, in_flight) = mpsc::channel(1);
        let schedule = tokio::spawn(schedule(shared.clone(), rps, sender));
        Load {
            shared,
            schedule,
            in_flight,
        }
    }

    /// What was seen since the last time.
    pub(super) fn take(&self) -> Seen {
        std::mem::take(&mut *lock(&self.shared.seen))
    }

    /// Sends nothing more and waits for the answers that are due.
    pub(super) async fn finish(&mut self) {
        self.schedule.abort();
        while self.in_flight.recv().await.is_some() {}
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.schedule.abort();
    }
}

async fn schedule(shared: Arc<Shared>, rps: u32, in_flight: mpsc::Sender<()>) {
    if rps == 0 {
        return;
    }
    let start = Instant::now();
    for number in 0_u64.. {
        let due = start + Duration::from_secs_f64(number as f64 / f64::from(rps));
        sleep_until(due).await;
        let (shared, in_flight) = (shared.clone(), in_flight.clone());
        tokio::spawn(async move {
            let status = timeout(PATIENCE, shared.request())
                .await
                .ok()
                .and_then(Result::ok);
            lock(&shared.seen).count(status, due.elapsed());
            drop(in_flight);
        });
    }
}

impl Shared {
    async fn request(&self) -> Result<StatusCode, Error> {
        loop {
            let idle = lock(&self.idle).pop();
            let was_idle = idle.is_some();
            let mut connection = match idle {
                Some(connection) if connection.is_closed() => continue,
                Some(connection) => connection,
                None => request::connect(self.target).await?,
            };
            match request::get(&mut connection, self.target, &self.path).await {
                Ok((status, _)) => {
                    lock(&self.idle).push(connection);
                    return Ok(status);
                }
                // the gateway closed an idle connection before the request was sent: a browser opens another one
                Err(error)
                    if was_idle
                        && error
                            .downcast_ref::<hyper::Error>()
                            .is_some_and(hyper::Error::is_canceled) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn percentiles_are_those_of_the_requests() {
        let mut seen = Seen::default();
        assert_eq!(seen.percentile(0.5), None);
        seen.latencies = (1..=100).rev().map(f64::from).collect();
        assert_eq!(seen.percentile(0.5), Some(50.0));
        assert_eq!(seen.percentile(0.99), Some(99.0));
        assert_eq!(seen.percentile(1.0), Some(100.0));
    }

    #[tokio::test]
    async fn answers_and_failures_are_counted_and_connections_used_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut load = Load::start(address, "/x", 500);
        // the first connection answers three times, then closes without an answer
        let (mut stream, _) = listener.accept().await.unwrap();
        for _ in 0..3 {
            let mut request = vec![0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            assert!(request[..length].starts_with(b"GET /x HTTP/1.1\r\n"));
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .await
                .unwrap();
        }
        load.schedule.abort();
        drop((stream, listener));
        load.finish().await;
        let seen = load.take();
        assert_eq!(seen.response_codes.get(&200), Some(&3), "{seen:?}");
        assert_eq!(seen.requests, 3 + seen.errors);
        assert_eq!(load.take().requests, 0);
    }
}
