//! Asking a pod whether it is ready.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::template::{Check, Probe};

/// How often a pod is asked until it is ready the first time: everything is on one machine, so that is cheap.
const STARTING: Duration = Duration::from_millis(25);

/// Asks for ever and tells every change of the answer; ends after the first good one where that is enough.
pub(super) async fn watch(probe: Probe, address: Ipv4Addr, mut tell: impl FnMut(bool)) {
    sleep(probe.initial_delay).await;
    let mut ready = false;
    let mut failures = 0;
    loop {
        let answer = matches!(
            timeout(probe.timeout, ask(&probe.check, address)).await,
            Ok(true)
        );
        failures = if answer { 0 } else { failures + 1 };
        if answer != ready && (answer || failures >= probe.failures) {
            ready = answer;
            tell(ready);
        }
        if ready && matches!(probe.check, Check::None | Check::Tcp { once: true, .. }) {
            return;
        }
        sleep(if ready {
            probe.period
        } else {
            STARTING.min(probe.period)
        })
        .await;
    }
}

async fn ask(check: &Check, address: Ipv4Addr) -> bool {
    match check {
        Check::None => true,
        Check::Tcp { port, .. } => TcpStream::connect((address, *port)).await.is_ok(),
        Check::Http { port, path } => {
            matches!(status(address, *port, path).await, Ok(Some(200..=399)))
        }
    }
}

/// The status of `GET path`, `None` if that is no HTTP.
async fn status(address: Ipv4Addr, port: u16, path: &str) -> std::io::Result<Option<u16>> {
    let mut stream = TcpStream::connect((address, port)).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {address}:{port}\r\nuser-agent: kube-probe/local\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    Ok(head.strip_prefix(b"HTTP/1.").and_then(|rest| {
        let digits = rest.get(2..5)?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;

    fn probe(check: Check) -> Probe {
        Probe {
            check,
            initial_delay: Duration::ZERO,
            period: Duration::from_millis(1),
            timeout: Duration::from_secs(1),
            failures: 3,
        }
    }

    #[tokio::test]
    async fn ready_then_not() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, mut seen) = mpsc::unbounded_channel();
        let path = "/ready".to_owned();
        let watching = watch(
            probe(Check::Http { port, path }),
            Ipv4Addr::LOCALHOST,
            move |ready| {
                let _ = sender.send(ready);
            },
        );
        let serving = async {
            for (asked, status) in [503, 200, 200, 503, 503, 503, 503].into_iter().enumerate() {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 16];
                stream.read_exact(&mut request).await.unwrap();
                assert!(request.starts_with(b"GET /ready HTTP"), "{asked}");
                let text = format!("HTTP/1.1 {status} X\r\n\r\n");
                stream.write_all(text.as_bytes()).await.unwrap();
            }
        };
        tokio::select! { () = watching => panic!("ended"), () = serving => {} }
        assert_eq!(
            (seen.recv().await, seen.recv().await),
            (Some(true), Some(false))
        );
    }

    #[tokio::test]
    async fn a_port_is_asked_until_it_answers_once() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut seen = Vec::new();
        watch(
            probe(Check::Tcp { port, once: true }),
            Ipv4Addr::LOCALHOST,
            |ready| seen.push(ready),
        )
        .await;
        assert_eq!(seen, [true]);
    }
}
