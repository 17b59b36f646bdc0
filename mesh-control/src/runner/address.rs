//! Addresses: each runner has a block of its own.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Where a block's claim listens, at the block's last address: a lock that needs no file, holds between users, and
/// ends with the process.
const CLAIM_PORT: u16 = 15_099;
/// Second bytes of the addresses that are tried, from the first on.
const SECOND_BYTES: std::ops::Range<u8> = 200..250;
/// Every pod's admin port, and how many of the first pods are looked for before a block is taken.
const ADMIN_PORT: u16 = 15_000;
const LEFT_OVER_PODS: usize = 32;
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
                        let prefix = [127, second, third];
                        let block = AddressBlock {
                            prefix,
                            _claim: claim,
                        };
                        match block.is_quiet() {
                            Ok(()) => return Ok(block),
                            Err(error) => last = error,
                        }
                    }
                    Err(error) => last = error,
                }
            }
        }
        Err(NoFreeBlock(last))
    }

    /// Whether nobody is left here: a runner that was killed frees its claim before its children have died, and a
    /// control plane may have been started again by hand.
    fn is_quiet(&self) -> io::Result<()> {
        let admins = PODS
            .take(LEFT_OVER_PODS)
            .map(|last| SocketAddr::from((self.address(last), ADMIN_PORT)));
        for address in admins.chain([self.control_plane()]) {
            TcpListener::bind(address)?;
        }
        Ok(())
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
    fn a_block_with_somebody_left_in_it_is_passed_over() {
        let first = AddressBlock::claim().unwrap();
        let left = TcpListener::bind(first.control_plane()).unwrap();
        let prefix = first.prefix;
        drop(first);
        assert_ne!(AddressBlock::claim().unwrap().prefix, prefix);
        drop(left);
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
