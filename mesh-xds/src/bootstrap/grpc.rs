//! gRPC's bootstrap (gRFC A27, A36): JSON.

use std::sync::Arc;

use mesh_proto::{descriptor_pool, envoy::config::core::v3::Node};
use prost_reflect::{DeserializeOptions, DynamicMessage};
use serde::Deserialize;

use super::{
    Bootstrap, InvalidBootstrap,
    ads_target::{AdsTarget, target_uri},
    node,
};
use crate::{assemble::Fixed, problems::Problems};

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    xds_servers: Vec<Server>,
    node: Option<serde_json::Value>,
    #[serde(default)]
    server_listener_resource_name_template: String,
}

#[derive(Deserialize)]
struct Server {
    server_uri: String,
    #[serde(default)]
    channel_creds: Vec<Credentials>,
    #[serde(default)]
    server_features: Vec<String>,
}

#[derive(Deserialize)]
struct Credentials {
    r#type: String,
}

/// Reads the JSON text.
pub(super) fn read(text: &str) -> Result<Bootstrap, InvalidBootstrap> {
    let document: Document = serde_json::from_str(text).map_err(|error| {
        let place = (error.line() as u64, error.column() as u64);
        InvalidBootstrap::at(Some(place), without_place(&error.to_string()))
    })?;
    let mut p = Problems::default();
    let target = server(&mut p, &document.xds_servers);
    let node = p.field("node", |p| read_node(p, document.node));
    let (Some(mut target), Some(mut node), true) = (target, node, p.is_ok()) else {
        return Err(InvalidBootstrap::from_problems(text, &p));
    };
    target.subscribe_as(&node);
    node::add_user_agent(&mut node);
    Ok(Bootstrap {
        fixed: Fixed {
            node: Arc::new(node::identity(
                &node,
                &document.server_listener_resource_name_template,
            )),
            ..Fixed::default()
        },
        node,
        ads: Some(target),
        admin: None,
        warnings: p.warnings().iter().map(ToString::to_string).collect(),
        proto: Default::default(),
    })
}

fn server(p: &mut Problems, servers: &[Server]) -> Option<AdsTarget> {
    let Some(first) = servers.first() else {
        p.error_at("xds_servers", "must name one server");
        return None;
    };
    p.field("xds_servers", |p| {
        if servers.len() > 1 {
            p.warn("only the first server is used; fallback is not supported yet");
        }
        p.index(0, |p| {
            if !first
                .server_features
                .iter()
                .any(|feature| feature == "xds_v3")
            {
                p.field("server_features", |p| {
                    p.warn("xds_v3 is not listed; v3 is used all the same")
                });
            }
            p.field("channel_creds", |p| {
                if !first
                    .channel_creds
                    .iter()
                    .any(|creds| creds.r#type == "insecure")
                {
                    let given: Vec<_> = first
                        .channel_creds
                        .iter()
                        .map(|c| c.r#type.as_str())
                        .collect();
                    p.error(format!(
                        "only insecure is supported yet, found [{}]",
                        given.join(", ")
                    ));
                }
            });
            let address = p.field("server_uri", |p| target_uri(p, &first.server_uri))?;
            Some(AdsTarget::new(vec![address]))
        })
    })
}

/// Fields that the message does not have are ignored, as gRPC does.
fn read_node(p: &mut Problems, node: Option<serde_json::Value>) -> Option<Node> {
    let Some(node) = node else {
        p.error("must be set");
        return None;
    };
    let descriptor = descriptor_pool().get_message_by_name("envoy.config.core.v3.Node")?;
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let message = p.check(DynamicMessage::deserialize_with_options(
        descriptor, node, &options,
    ))?;
    let node: Node = p.check(message.transcode_to())?;
    p.require_text("id", &node.id)?;
    Some(node)
}

/// serde_json appends ` at line 1 column 2`, which is given apart.
fn without_place(message: &str) -> &str {
    message
        .rsplit_once(" at line ")
        .map_or(message, |(text, _)| text)
}
