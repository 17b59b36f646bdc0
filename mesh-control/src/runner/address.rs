//! Addresses: each runner has a block of its own.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Where a block's claim listens, at the block's last address: a lock that needs no file, holds between users, and
/// ends with the process.
const CLAIM_PORT: u16 = 15_099;
/// Second bytes of the addresses that are tried, from the first on.
const SECOND_BYTES: std::ops::Range<u8> = 200..250;
/// Last bytes that pods get; below are the control plane's, above the claim's.
const PODS: std::ops::RangeInclusive<u8> = 10..=250;

/// A claimed `127.x.y.0/24`. Nobody else on this machine who asks the same way gets it while this value lives.
#[derive(Debug)]
pub struct AddressBlock {
    prefix: [u8; 3],
    _claim: TcpListener,
}

/// No block could be claimed.
#[derive(Debug, thiserror::Error)]
#[error(
    "no free 127.x.y.0/24: every one of 127.200.0.0 to 127.249.255.0 is in use (the last: {0}); end other meshes"
)]
pub struct NoFreeBlock(io::Error);

impl AddressBlock {
    /// Claims the first free block.
    ///
    /// # Errors
    /// If all 12,800 are taken, or something listens on port 15099 of all addresses.
    pub fn claim() -> Result<AddressBlock, NoFreeBlock> {
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for second in SECOND_BYTES {
            for third in 0..=255 {
                match TcpListener::bind((Ipv4Addr::new(127, second, third, 254), CLAIM_PORT)) {
                    Ok(claim) => {
                        return Ok(AddressBlock {
                            prefix: [127, second, third],
                            _claim: claim,
                        });
                    }
                    Err(error) => last = error,
                }
            }
        }
        Err(NoFreeBlock(last))
    }

    /// The control plane's address in this block: `127.x.y.1:15010`, istiod's plaintext port.
    pub fn control_plane(&self) -> SocketAddr {
        SocketAddr::from((self.address(1), 15_010))
    }

    fn address(&self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.prefix;
        Ipv4Addr::new(a, b, c, last)
    }

    /// An address for a new pod. Goes around, so that a dead pod's address is not given to the next one.
    pub(super) fn next_pod(&self, used: &BTreeSet<Ipv4Addr>, last: &mut u8) -> Option<Ipv4Addr> {
        let after = *last;
        let later = PODS.filter(|byte| *byte > after);
        let earlier = PODS.filter(|byte| *byte <= after);
        let byte = later
            .chain(earlier)
            .find(|byte| !used.contains(&self.address(*byte)))?;
        *last = byte;
        Some(self.address(byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_exclusive() {
        let first = AddressBlock::claim().unwrap();
        let second = AddressBlock::claim().unwrap();
        assert_ne!(first.prefix, second.prefix);
        assert_eq!(first.control_plane().ip(), first.address(1));
        // others cannot have it either while the first lives
        assert!(TcpListener::bind((first.address(254), CLAIM_PORT)).is_err());
    }

    #[test]
    fn pods_get_the_next_address_and_gaps_only_after_all_others() {
        let block = AddressBlock::claim().unwrap();
        let (mut used, mut last) = (BTreeSet::new(), 0);
        let first = block.next_pod(&used, &mut last).unwrap();
        assert_eq!(first, block.address(10));
        assert_eq!(block.next_pod(&used, &mut last), Some(block.address(11)));
        used.extend((12..=250).map(|byte| block.address(byte)));
        assert_eq!(block.next_pod(&used, &mut last), Some(first));
        used.extend([10, 11].map(|byte| block.address(byte)));
        assert_eq!(block.next_pod(&used, &mut last), None);
    }
}
