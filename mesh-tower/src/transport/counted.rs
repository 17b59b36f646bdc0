//! A connection as its cluster's statistics see it.

use std::time::Instant;

use mesh_core::{outcome::ResetReason, stats::ClusterStats};

/// Counts a connection from the attempt to make it until dropped.
#[derive(Debug)]
pub(super) struct Counted<'a> {
    stats: &'a ClusterStats,
    /// Of the attempt, then of the connection.
    began: Instant,
    is_open: bool,
}

impl<'a> Counted<'a> {
    /// An attempt begins.
    pub(super) fn attempt(stats: &'a ClusterStats) -> Self {
        stats.upstream_cx_total.inc();
        Self {
            stats,
            began: Instant::now(),
            is_open: false,
        }
    }

    /// The attempt failed.
    pub(super) fn failed(&self, reason: ResetReason) {
        self.stats.upstream_cx_connect_fail.inc();
        if reason == ResetReason::ConnectionTimeout {
            self.stats.upstream_cx_connect_timeout.inc();
        }
    }

    /// The connection is made.
    pub(super) fn opened(&mut self) {
        self.stats.upstream_cx_active.inc();
        self.stats
            .upstream_cx_connect_ms
            .record(self.began.elapsed());
        self.began = Instant::now();
        self.is_open = true;
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if self.is_open {
            self.stats.upstream_cx_active.dec();
            self.stats.upstream_cx_destroy.inc();
            self.stats
                .upstream_cx_length_ms
                .record(self.began.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_connection_is_active_and_then_destroyed() {
        let stats = ClusterStats::default();
        let mut connection = Counted::attempt(&stats);
        assert_eq!(stats.upstream_cx_active.value(), 0);
        connection.opened();
        assert_eq!(stats.upstream_cx_active.value(), 1);
        assert_eq!(stats.upstream_cx_connect_ms.read().count(), 1);
        drop(connection);
        assert_eq!(stats.upstream_cx_active.value(), 0);
        assert_eq!(stats.upstream_cx_destroy.value(), 1);
        assert_eq!(stats.upstream_cx_length_ms.read().count(), 1);
    }

    #[test]
    fn a_failed_attempt_was_never_active() {
        let stats = ClusterStats::default();
        for reason in [
            ResetReason::RemoteConnectionFailure,
            ResetReason::ConnectionTimeout,
        ] {
            Counted::attempt(&stats).failed(reason);
        }
        assert_eq!(stats.upstream_cx_total.value(), 2);
        assert_eq!(stats.upstream_cx_connect_fail.value(), 2);
        assert_eq!(stats.upstream_cx_connect_timeout.value(), 1);
        assert_eq!(stats.upstream_cx_destroy.value(), 0);
    }
}
