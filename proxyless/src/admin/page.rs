//! Which pages there are.

/// A page of the admin port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    Home,
    Help,
    Ready,
    Stats,
    Prometheus,
    Clusters,
    ConfigDump,
    Listeners,
    Logging,
    Quit,
    ServerInfo,
}

const PAGES: &[(Page, &str, &str)] = &[
    (Page::Home, "/", "Admin home page"),
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
    (
        Page::Listeners,
        "/listeners",
        "listeners and their addresses; format=json",
    ),
    (
        Page::Logging,
        "/logging",
        "log levels; level=, paths=, or one logger= to change them (POST)",
    ),
    (Page::Quit, "/quitquitquit", "drain and exit (POST)"),
    (
        Page::Ready,
        "/ready",
        "LIVE once all configuration has come",
    ),
    (
        Page::ServerInfo,
        "/server_info",
        "version, state, uptime and node",
    ),
    (
        Page::Stats,
        "/stats",
        "statistics; usedonly, filter=, invert_filter, type=, format=(json|prometheus|text)",
    ),
    (
        Page::Prometheus,
        "/stats/prometheus",
        "statistics in Prometheus' format; usedonly, filter=, invert_filter",
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
        matches!(self, Self::Quit | Self::Logging)
    }
}

/// The list with links, for browsers.
pub(super) fn home() -> String {
    let mut page = "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>Admin</title></head>\n<body>\n\
                    <table>\n<tr><th>Command</th><th>Description</th></tr>\n"
        .to_owned();
    for (kind, path, what) in PAGES {
        let command = match kind.changes_state() {
            true => {
                format!("<form action=\"{path}\" method=\"post\"><button>{path}</button></form>")
            }
            false => format!("<a href=\"{path}\">{path}</a>"),
        };
        page.push_str(&format!("<tr><td>{command}</td><td>{what}</td></tr>\n"));
    }
    page + "</table>\n</body>\n</html>\n"
}

pub(super) fn help() -> String {
    let pages: String = PAGES
        .iter()
        .map(|(_, path, what)| format!("  {path}: {what}\n"))
        .collect();
    format!("admin commands are:\n{pages}")
}

pub(super) fn unknown() -> String {
    format!("invalid path. {}", help())
}
