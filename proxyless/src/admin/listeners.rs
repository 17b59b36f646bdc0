//! `/listeners`: which listeners there are and where, as Envoy lists them.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// `NAME::ADDRESS` lines.
pub(super) fn text(dump: &Value) -> String {
    let mut out = String::new();
    for (name, address) in listeners(dump) {
        let _ = writeln!(out, "{name}::{}", address_text(&address));
    }
    out
}

/// `envoy.admin.v3.Listeners`.
pub(super) fn json(dump: &Value) -> Value {
    let status = |(name, address): (String, Value)| json!({"name": name, "local_address": address});
    json!({"listener_statuses": listeners(dump).map(status).collect::<Vec<_>>()})
}

/// Names and addresses, of the configuration's own listeners first.
fn listeners(dump: &Value) -> impl Iterator<Item = (String, Value)> {
    let section = dump["configs"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|section| {
            section["@type"]
                .as_str()
                .is_some_and(|url| url.ends_with(".ListenersConfigDump"))
        });
    let list = |field: &'static str| {
        let found = section.and_then(|section| section[field].as_array());
        found.into_iter().flatten()
    };
    let fixed = list("static_listeners").map(|held| &held["listener"]);
    let dynamic = list("dynamic_listeners").map(|held| &held["active_state"]["listener"]);
    let listeners: Vec<_> = fixed
        .chain(dynamic)
        .filter(|listener| listener["address"].is_object())
        .map(|listener| {
            let name = listener["name"].as_str().unwrap_or_default().to_owned();
            (name, plain(&listener["address"]))
        })
        .collect();
    listeners.into_iter()
}

/// An address with what Envoy shows of it.
fn plain(address: &Value) -> Value {
    let socket = &address["socket_address"];
    match socket.is_object() {
        true => json!({"socket_address": {
            "address": socket["address"],
            "port_value": socket["port_value"].as_u64().unwrap_or(0),
        }}),
        false => address.clone(),
    }
}

fn address_text(address: &Value) -> String {
    let socket = &address["socket_address"];
    let host = socket["address"].as_str().unwrap_or_default();
    match (socket.is_object(), host.contains(':')) {
        (true, true) => format!("[{host}]:{}", socket["port_value"]),
        (true, false) => format!("{host}:{}", socket["port_value"]),
        (false, _) => address["pipe"]["path"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump() -> Value {
        let at = |host: &str, port: u32| json!({"socket_address": {"address": host, "port_value": port}});
        json!({"configs": [
            {"@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump"},
            {
                "@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump",
                "static_listeners": [{"listener": {"name": "own", "address": at("::1", 80)}}],
                "dynamic_listeners": [
                    {"name": "virtualOutbound", "active_state": {"listener": {
                        "name": "virtualOutbound", "address": at("0.0.0.0", 15001)
                    }}},
                    {"name": "refused", "error_state": {"details": "no"}},
                ],
            },
        ]})
    }

    #[test]
    fn listeners_in_force_are_listed_with_their_addresses() {
        assert_eq!(
            text(&dump()),
            "own::[::1]:80\nvirtualOutbound::0.0.0.0:15001\n"
        );
        assert_eq!(
            json(&dump())["listener_statuses"][1],
            json!({
                "name": "virtualOutbound",
                "local_address": {"socket_address": {"address": "0.0.0.0", "port_value": 15001}},
            })
        );
    }
}
