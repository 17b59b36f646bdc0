//! Which pages there are.

/// A page of the admin port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    Help,
    Ready,
    Stats,
    Prometheus,
    Clusters,
    ConfigDump,
    Quit,
}

const PAGES: &[(Page, &str, &str)] = &[
    (
        Page::Clusters,
        "/clusters",
        "upstream cluster status; format=json",
    ),
    (
        Page::ConfigDump,
        "/config_dump",
        "the configuration in force; include_eds",
    ),
    (Page::Help, "/help", "this list"),
    (Page::Quit, "/quitquitquit", "drain and exit (POST)"),
    (
        Page::Ready,
        "/ready",
        "LIVE once all configuration has come",
    ),
    (Page::Stats, "/stats", "statistics; usedonly"),
    (
        Page::Prometheus,
        "/stats/prometheus",
        "statistics in Prometheus' format; usedonly",
    ),
];

impl Page {
    pub(super) fn of(path: &str) -> Option<Self> {
        PAGES
            .iter()
            .find(|(_, at, _)| *at == path)
            .map(|(page, ..)| *page)
    }

    /// Whether asking changes something: POST only, as in Envoy.
    pub(super) fn changes_state(self) -> bool {
        self == Self::Quit
    }
}

pub(super) fn help() -> String {
    PAGES
        .iter()
        .map(|(_, path, what)| format!("  {path}: {what}\n"))
        .collect()
}

pub(super) fn unknown(path: &str) -> String {
    format!("no such page: {path}\nthere are:\n{}", help())
}
