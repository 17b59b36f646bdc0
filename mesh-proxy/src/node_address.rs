//! Our own address, which `x-forwarded-for` gets instead of a loopback peer's.

use std::{
    net::{IpAddr, Ipv4Addr, UdpSocket},
    sync::OnceLock,
};

/// The address of the interface that leads out of this machine, found once; None: there is none. Envoy takes that of
/// its first interface that is not loopback.
pub(crate) fn node_address() -> Option<IpAddr> {
    static ADDRESS: OnceLock<Option<IpAddr>> = OnceLock::new();
    *ADDRESS.get_or_init(|| {
        // Connecting a datagram socket chooses a route and sends nothing; the address is one for documentation.
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        socket.connect((Ipv4Addr::new(198, 51, 100, 1), 9)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    })
}
