//! How a route rewrites path and host.

use mesh_core::{
    model::{HostRewrite, PathRewrite},
    route::{HeaderFormat, PathTemplate},
};
use mesh_proto::envoy::{
    config::{
        core::v3::TypedExtensionConfig,
        route::v3::{RouteAction, route_action::HostRewriteSpecifier as Host},
    },
    extensions::path::rewrite::uri_template::v3::UriTemplateRewriteConfig,
    r#type::matcher::v3::RegexMatchAndSubstitute,
};

use super::{any::unpack_checked, matcher, scalar::header_value};
use crate::problems::Problems;

/// `prefix_rewrite`, `regex_rewrite`, `path_rewrite_policy` or `path_rewrite`. `template`: what matched the path, if it is
/// one.
pub(super) fn path(
    p: &mut Problems,
    value: &RouteAction,
    template: Option<&PathTemplate>,
) -> Option<PathRewrite> {
    let set = [
        !value.prefix_rewrite.is_empty(),
        value.regex_rewrite.is_some(),
        value.path_rewrite_policy.is_some(),
        !value.path_rewrite.is_empty(),
    ];
    if set.iter().filter(|set| **set).count() > 1 {
        p.error("prefix_rewrite, regex_rewrite, path_rewrite_policy and path_rewrite exclude each other");
        return None;
    }
    if let Some(rewrite) = &value.regex_rewrite {
        return p.field("regex_rewrite", |p| regex(p, rewrite));
    }
    if let Some(policy) = &value.path_rewrite_policy {
        return p.field("path_rewrite_policy", |p| by_template(p, policy, template));
    }
    if !value.path_rewrite.is_empty() {
        return p.field("path_rewrite", |p| {
            let format = p.check(HeaderFormat::parse(value.path_rewrite.as_bytes()));
            format.map(PathRewrite::Format)
        });
    }
    if value.prefix_rewrite.is_empty() {
        return None;
    }
    if template.is_some() {
        p.error_at("prefix_rewrite", "cannot be used with path_match_policy");
    }
    Some(PathRewrite::Prefix(value.prefix_rewrite.as_str().into()))
}

fn by_template(
    p: &mut Problems,
    policy: &TypedExtensionConfig,
    template: Option<&PathTemplate>,
) -> Option<PathRewrite> {
    let any = p.require("typed_config", policy.typed_config.as_ref())?;
    let config: UriTemplateRewriteConfig = p.field("typed_config", |p| unpack_checked(p, any))?;
    let Some(template) = template else {
        p.error("needs a path_match_policy with a uri_template");
        return None;
    };
    let rewrite = p.check(template.rewrite(&config.path_template_rewrite));
    rewrite.map(|(pattern, substitution)| PathRewrite::Regex {
        pattern,
        substitution,
    })
}

/// `RegexMatchAndSubstitute` of a path.
pub(super) fn regex(p: &mut Problems, value: &RegexMatchAndSubstitute) -> Option<PathRewrite> {
    let pattern = p.require("pattern", value.pattern.as_ref())?;
    let pattern = p.field("pattern", |p| matcher::regex(p, pattern))?;
    Some(PathRewrite::Regex {
        pattern,
        substitution: value.substitution.as_str().into(),
    })
}

/// The host's specifier.
pub(super) fn host(p: &mut Problems, value: Option<&Host>) -> Option<HostRewrite> {
    match value? {
        Host::HostRewriteLiteral(host) => {
            header_value(p, "host_rewrite_literal", host).map(HostRewrite::Literal)
        }
        Host::AutoHostRewrite(auto) => auto.then_some(HostRewrite::Auto),
        Host::HostRewriteHeader(name) if name.is_empty() => None,
        Host::HostRewriteHeader(name) => p
            .field("host_rewrite_header", |p| matcher::matched_header(p, name))
            .map(HostRewrite::Header),
        Host::HostRewritePathRegex(rewrite) => {
            p.field("host_rewrite_path_regex", |p| match regex(p, rewrite)? {
                PathRewrite::Regex {
                    pattern,
                    substitution,
                } => Some(HostRewrite::PathRegex {
                    pattern,
                    substitution,
                }),
                _ => None,
            })
        }
        Host::HostRewrite(format) if format.is_empty() => None,
        Host::HostRewrite(format) => p
            .field("host_rewrite", |p| {
                p.check(HeaderFormat::parse_marking_missing(format.as_bytes()))
            })
            .map(HostRewrite::Format),
    }
}
