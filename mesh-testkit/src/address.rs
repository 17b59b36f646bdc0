//! Loopback addresses of a test's own, so that tests run in parallel with any port numbers.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU32, Ordering},
};

/// A 127.x.y.z that no other test on this machine uses now: held by a listening socket until dropped.
#[derive(Debug)]
pub struct OwnAddress {
    ip: Ipv4Addr,
    _held: TcpListener,
}

/// The port that marks an address as taken: one that needs no privileges, and outside of those that the kernel chooses.
const MARK: u16 = 65_000;

impl OwnAddress {
    /// Claims an address.
    ///
    /// # Panics
    /// If thousands in a row are taken.
    pub fn claim() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        for _ in 0..4096 {
            let n = NEXT
                .fetch_add(1, Ordering::Relaxed)
                .wrapping_add(std::process::id().wrapping_mul(127));
            // 127.64.0.1 to 127.127.255.254: away from what people use by hand.
            let [_, a, b, c] = n.to_be_bytes();
            let ip = Ipv4Addr::new(127, 64 + a % 64, b, 1 + c % 254);
            if let Ok(held) = TcpListener::bind((ip, MARK)) {
                return Self { ip, _held: held };
            }
        }
        panic!("no free loopback address found in 4096 tries");
    }

    /// The address.
    pub fn ip(&self) -> Ipv4Addr {
        self.ip
    }

    /// The address with a port.
    pub fn with_port(&self, port: u16) -> SocketAddr {
        (self.ip, port).into()
    }
}
