//! What formats of headers read of this process.

use std::{
    sync::LazyLock,
    time::{Instant, SystemTime},
};

use mesh_core::route::ProcessValues;

/// Host name, clock and environment, for formats.
pub fn process_values() -> ProcessValues {
    PROCESS
}

/// Host name, clock and environment.
pub(crate) const PROCESS: ProcessValues = {
    let mut values = ProcessValues::NONE;
    values.hostname = hostname;
    values.wall_clock = wall_clock;
    values.variable = variable;
    values
};

/// The kernel's word, else the variable that shells and containers set; read once.
fn hostname() -> &'static str {
    static NAME: LazyLock<String> = LazyLock::new(|| {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        let name = kernel.or_else(|| std::env::var("HOSTNAME").ok());
        name.map_or_else(String::new, |name| name.trim().to_owned())
    });
    &NAME
}

fn wall_clock(moment: Instant) -> SystemTime {
    SystemTime::now()
        .checked_sub(moment.elapsed())
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
