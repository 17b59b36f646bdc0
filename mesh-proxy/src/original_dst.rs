//! Where a redirected connection wanted to go (`envoy.filters.listener.original_dst`).

use std::net::SocketAddr;

use tokio::net::TcpStream;

/// The original destination of a connection that iptables REDIRECT brought here; None if it was not redirected, or
/// where the system has no such thing.
pub(crate) fn original_destination(stream: &TcpStream) -> Option<SocketAddr> {
    #[cfg(target_os = "linux")]
    {
        let socket = socket2::SockRef::from(stream);
        let local = stream.local_addr().ok()?;
        let original = if local.is_ipv4() {
            socket.original_dst_v4()
        } else {
            socket.original_dst_v6()
        };
        // Without a NAT entry the kernel answers ENOENT, or the local address.
        original.ok()?.as_socket()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = stream;
        None
    }
}
