use mesh_proto::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use mesh_proto::envoy::r#type::metadata::v3 as metadata;
use mesh_proto::envoy::r#type::tracing::v3::{CustomTag, custom_tag};
use mesh_proto::envoy::r#type::v3::Percent;

use super::Node;

/// Tracing without a provider: 1 % of requests are marked as sampled, and tags say who is who.
pub(super) fn tracing(node: &Node) -> hcm::http_connection_manager::Tracing {
    let percent = |value| Some(Percent { value });
    hcm::http_connection_manager::Tracing {
        client_sampling: percent(100.0),
        random_sampling: percent(1.0),
        overall_sampling: percent(100.0),
        custom_tags: custom_tags(node),
        ..Default::default()
    }
}

fn custom_tags(node: &Node) -> Vec<CustomTag> {
    let label = |name: &str, default: &str| match node.labels.get(name) {
        Some(value) if !value.is_empty() => value.clone(),
        _ => default.to_owned(),
    };
    let or_unknown = |text: &str| {
        if text.is_empty() {
            "unknown".to_owned()
        } else {
            text.to_owned()
        }
    };
    let mut tags = vec![
        literal(
            "istio.canonical_revision",
            label("service.istio.io/canonical-revision", "latest"),
        ),
        literal(
            "istio.canonical_service",
            label("service.istio.io/canonical-name", "unknown"),
        ),
        literal("istio.mesh_id", or_unknown(&node.mesh_id)),
        literal("istio.namespace", node.namespace.clone()),
        literal("istio.cluster_id", or_unknown(&node.cluster_id)),
    ];
    for (tag, key) in [
        (
            "istio.authorization.dry_run.allow_policy.name",
            "istio_dry_run_allow_shadow_effective_policy_id",
        ),
        (
            "istio.authorization.dry_run.allow_policy.result",
            "istio_dry_run_allow_shadow_engine_result",
        ),
        (
            "istio.authorization.dry_run.deny_policy.name",
            "istio_dry_run_deny_shadow_effective_policy_id",
        ),
        (
            "istio.authorization.dry_run.deny_policy.result",
            "istio_dry_run_deny_shadow_engine_result",
        ),
    ] {
        tags.push(rbac_metadata(tag, key));
    }
    tags.sort_by(|a, b| a.tag.cmp(&b.tag));
    tags
}

fn literal(tag: &str, value: String) -> CustomTag {
    CustomTag {
        tag: tag.to_owned(),
        r#type: Some(custom_tag::Type::Literal(custom_tag::Literal { value })),
    }
}

fn rbac_metadata(tag: &str, key: &str) -> CustomTag {
    use metadata::metadata_key::{PathSegment, path_segment::Segment};
    use metadata::metadata_kind::{Kind, Request};
    let path = vec![PathSegment {
        segment: Some(Segment::Key(key.to_owned())),
    }];
    CustomTag {
        tag: tag.to_owned(),
        r#type: Some(custom_tag::Type::Metadata(custom_tag::Metadata {
            kind: Some(metadata::MetadataKind {
                kind: Some(Kind::Request(Request {})),
            }),
            metadata_key: Some(metadata::MetadataKey {
                key: "envoy.filters.http.rbac".to_owned(),
                path,
            }),
            ..Default::default()
        })),
    }
}
