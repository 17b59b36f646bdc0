//! The end of a connection whose peer may still be writing.

use std::{future::poll_fn, io, pin::Pin, task::Poll, time::Duration};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const READ: usize = 8 * 1024;

/// Writes nothing more; what still comes is thrown away until the peer has closed too, `delayed_close_timeout` at most
/// (zero: not at all). Without that the kernel answers unread bytes with a reset, and throws away what the peer has not
/// read yet.
///
/// # Errors
/// The stream cannot be shut down.
pub async fn delayed_close<T>(io: &mut T, timeout: Duration) -> io::Result<()>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    if timeout.is_zero() {
        // What TLS cannot say at once is not said.
        let at_once = poll_fn(|cx| Poll::Ready(Pin::new(&mut *io).poll_shutdown(cx)));
        return match at_once.await {
            Poll::Ready(closed) => closed,
            Poll::Pending => Ok(()),
        };
    }
    let drained = async {
        io.shutdown().await?;
        let mut bytes = BytesMut::with_capacity(READ);
        while matches!(io.read_buf(&mut bytes).await, Ok(1..)) {
            bytes.clear();
        }
        Ok(())
    };
    // Whoever is still there after that has had its time.
    tokio::time::timeout(timeout, drained)
        .await
        .unwrap_or(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_peer_can_write_and_then_read_to_the_end() {
        let (mut near, mut far) = tokio::io::duplex(4);
        near.write_all(b"bye").await.unwrap();
        let peer = async move {
            far.write_all(b"more than the pipe holds").await.unwrap();
            let mut read = String::new();
            far.read_to_string(&mut read).await.unwrap();
            read
        };
        let (closed, read) = tokio::join!(delayed_close(&mut near, Duration::from_secs(60)), peer);
        closed.unwrap();
        assert_eq!(read, "bye");
    }

    #[tokio::test(start_paused = true)]
    async fn a_goodbye_that_cannot_be_written_is_not_waited_for() {
        for seconds in [0, 1] {
            let (near, _far) = tokio::io::duplex(4);
            // As TLS with a full socket: what is written first must go.
            let mut near = tokio::io::BufWriter::new(near);
            near.write_all(b"more than the pipe holds").await.unwrap();
            let timeout = Duration::from_secs(seconds);
            let started = tokio::time::Instant::now();
            delayed_close(&mut near, timeout).await.unwrap();
            assert_eq!(started.elapsed(), timeout);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_stays_is_left_after_the_timeout() {
        let (mut near, _far) = tokio::io::duplex(4);
        let started = tokio::time::Instant::now();
        delayed_close(&mut near, Duration::from_secs(1))
            .await
            .unwrap();
        assert_eq!(started.elapsed(), Duration::from_secs(1));
    }
}
