//! The interval work of outlier detection.

use std::time::{Duration, Instant};

use mesh_tower::{ThreadEntropy, WeakDataPlane};

/// An ejection between two looks may want one sooner (a merged health update), so they are never far apart.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// Without any outlier detection there is only new configuration to look out for.
const IDLE_PAUSE: Duration = Duration::from_secs(1);

/// Sweeps all clusters until the data plane is gone.
pub(crate) async fn sweep(plane: WeakDataPlane) {
    loop {
        let pause = {
            let Some(plane) = plane.upgrade() else { return };
            let snapshot = plane.snapshot();
            let now = Instant::now();
            let next = snapshot
                .clusters()
                .filter_map(|cluster| cluster.sweep(now, &mut ThreadEntropy))
                .min();
            next.map_or(IDLE_PAUSE, |at| {
                at.saturating_duration_since(now)
                    .clamp(Duration::from_millis(1), LONGEST_PAUSE)
            })
        };
        tokio::time::sleep(pause).await;
    }
}
