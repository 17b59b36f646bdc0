//! Envoy's `/config_dump`: what is in force, what was refused and why, as JSON.
//!
//! Resources are shown as they were received. An `Any` of a type that is not known is shown as
//! `{"@type": URL, "value": BASE64}`, so that one extension never hides the rest.

mod json;
mod sections;

use serde_json::{Value, json};

use crate::{bootstrap::Bootstrap, subscriber::Subscriber};

/// `envoy.admin.v3.ConfigDump`, sections in Envoy's order.
pub fn config_dump(bootstrap: &Bootstrap, subscriber: &Subscriber, include_eds: bool) -> Value {
    let store = subscriber.store();
    let mut configs = vec![
        sections::bootstrap(bootstrap),
        sections::clusters(bootstrap, store),
    ];
    if include_eds {
        configs.push(sections::endpoints(bootstrap, store));
    }
    configs.push(sections::listeners(bootstrap, store));
    configs.push(json!({"@type": "type.googleapis.com/envoy.admin.v3.ScopedRoutesConfigDump"}));
    configs.push(sections::routes(store));
    configs.push(sections::secrets(bootstrap, subscriber));
    configs.push(json!({"@type": "type.googleapis.com/envoy.admin.v3.EcdsConfigDump"}));
    json!({ "configs": configs })
}

/// A resource as JSON, with `@type` and the names of the .proto files: as it stands in a dump.
pub fn any(resource: &prost_types::Any) -> Value {
    json::any(resource)
}

#[cfg(test)]
mod tests;
