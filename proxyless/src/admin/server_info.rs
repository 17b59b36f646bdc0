//! `/server_info`: `envoy.admin.v3.ServerInfo`.

use std::time::Duration;

use serde_json::{Value, json};

/// `dump` knows the node.
pub(super) fn json(state: &str, uptime: Duration, concurrency: u64, dump: &Value) -> Value {
    let node = dump["configs"]
        .as_array()
        .into_iter()
        .flatten()
        .find_map(|section| section["bootstrap"].get("node"));
    let uptime = format!("{}s", uptime.as_secs());
    json!({
        "version": format!("0/{}/Clean/RELEASE/rustls", env!("CARGO_PKG_VERSION")),
        "state": state,
        "hot_restart_version": "disabled",
        "command_line_options": {"concurrency": concurrency},
        "node": node.cloned().unwrap_or_default(),
        "uptime_current_epoch": uptime,
        "uptime_all_epochs": uptime,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_uptime_and_node_are_shown() {
        let dump = json!({"configs": [{"bootstrap": {"node": {"id": "router~1"}}}]});
        let info = json("LIVE", Duration::from_millis(2_900), 2, &dump);
        assert_eq!(info["state"], "LIVE");
        assert_eq!(info["uptime_all_epochs"], "2s");
        assert_eq!(info["node"]["id"], "router~1");
        assert_eq!(info["command_line_options"]["concurrency"], 2);
    }
}
