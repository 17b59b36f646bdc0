//! The RBAC filter.

use std::sync::Arc;

use mesh_core::{
    filter::RbacConfig,
    rbac::{Action, MetadataSource, Policy, Rule, Rules},
    route::PathTemplate,
};
use mesh_proto::envoy::{
    config::rbac::v3::{
        self as proto, permission::Rule as Permission, principal::Identifier as Principal,
        rbac::Action as ProtoAction,
    },
    extensions::{
        filters::http::rbac::v3::Rbac, path::r#match::uri_template::v3::UriTemplateMatchConfig,
    },
};

use crate::{
    decode::{
        any::unpack_checked,
        matcher, metadata_matcher,
        scalar::{cidr_range, enumeration},
    },
    problems::Problems,
};

/// `RBAC` of the filter.
pub(super) fn rbac_config(p: &mut Problems, value: &Rbac) -> Arc<RbacConfig> {
    let mut config = RbacConfig::default();
    let mut rules_of = |name: &'static str, value: Option<&proto::Rbac>| {
        let value = value?;
        p.field(name, |p| rules(p, value))
    };
    config.rules = rules_of("rules", value.rules.as_ref());
    config.shadow_rules = rules_of("shadow_rules", value.shadow_rules.as_ref());
    config.rules_stat_prefix = value.rules_stat_prefix.as_str().into();
    config.shadow_rules_stat_prefix = value.shadow_rules_stat_prefix.as_str().into();
    Arc::new(config)
}

/// `envoy.config.rbac.v3.RBAC`.
pub(in crate::decode) fn rules(p: &mut Problems, value: &proto::Rbac) -> Option<Rules> {
    let action = match enumeration::<ProtoAction>(p, "action", value.action)? {
        ProtoAction::Allow => Action::Allow,
        ProtoAction::Deny => Action::Deny,
        ProtoAction::Log => Action::Log,
    };
    let policies = p.field("policies", |p| {
        let mut policies: Vec<_> = value.policies.iter().collect();
        policies.sort_by_key(|(name, _)| name.as_str());
        let decoded = policies
            .into_iter()
            .map(|(name, value)| (name.as_str().into(), p.key(name, |p| policy(p, value))));
        decoded.collect()
    });
    Some(Rules::new(action, policies))
}

fn policy(p: &mut Problems, value: &proto::Policy) -> Policy {
    Policy {
        permissions: some(p, "permissions", &value.permissions, permission),
        principals: some(p, "principals", &value.principals, principal),
    }
}

/// A list that must not be empty.
fn some<T>(
    p: &mut Problems,
    name: &'static str,
    list: &[T],
    one: impl FnMut(&mut Problems, &T) -> Option<Rule>,
) -> Vec<Rule> {
    if list.is_empty() {
        p.error_at(name, "must not be empty");
    }
    p.each(name, list, one)
}

fn permission(p: &mut Problems, value: &proto::Permission) -> Option<Rule> {
    match value.rule.as_ref() {
        Some(Permission::AndRules(set)) => p.field("and_rules", |p| {
            Some(Rule::And(some(p, "rules", &set.rules, permission)))
        }),
        Some(Permission::OrRules(set)) => p.field("or_rules", |p| {
            Some(Rule::Or(some(p, "rules", &set.rules, permission)))
        }),
        Some(Permission::Any(any)) => always(p, *any),
        Some(Permission::Header(header)) => p
            .field("header", |p| matcher::header(p, header))
            .map(Rule::Header),
        Some(Permission::UrlPath(path)) => p
            .field("url_path", |p| matcher::path(p, path))
            .map(Rule::UrlPath),
        Some(Permission::DestinationIp(range)) => p
            .field("destination_ip", |p| cidr_range(p, range))
            .map(Rule::DestinationIp),
        Some(Permission::DestinationPort(port)) => p.field("destination_port", |p| {
            let port = u16::try_from(*port).map_err(|_| format!("{port} is not a port"));
            p.check(port).map(Rule::DestinationPort)
        }),
        Some(Permission::DestinationPortRange(range)) => p.field("destination_port_range", |p| {
            let bound = |value: i32| u32::try_from(value).ok().filter(|value| *value <= 65_536);
            match (bound(range.start), bound(range.end)) {
                (Some(start), Some(end)) if start < end => {
                    Some(Rule::DestinationPortRange(start, end))
                }
                _ => {
                    p.error("must be a range of ports, start included, end not");
                    None
                }
            }
        }),
        Some(Permission::Metadata(value)) => p
            .field("metadata", |p| metadata_matcher::metadata(p, value))
            .map(|matcher| Rule::Metadata(MetadataSource::Dynamic, matcher)),
        Some(Permission::SourcedMetadata(value)) => {
            p.field("sourced_metadata", |p| sourced_metadata(p, value))
        }
        Some(Permission::NotRule(rule)) => p
            .field("not_rule", |p| permission(p, rule))
            .map(|rule| Rule::Not(Box::new(rule))),
        Some(Permission::RequestedServerName(name)) => p
            .field("requested_server_name", |p| matcher::string(p, name))
            .map(Rule::RequestedServerName),
        Some(Permission::UriTemplate(template)) => p.field("uri_template", |p| {
            let any = p.require("typed_config", template.typed_config.as_ref())?;
            let config: UriTemplateMatchConfig =
                p.field("typed_config", |p| unpack_checked(p, any))?;
            let template = p.check(PathTemplate::new(&config.path_template))?;
            Some(Rule::UriTemplate(template.regex().clone()))
        }),
        // found by the field table
        Some(Permission::Matcher(_)) => None,
        None => {
            p.error("must hold a rule");
            None
        }
    }
}

fn principal(p: &mut Problems, value: &proto::Principal) -> Option<Rule> {
    match value.identifier.as_ref() {
        Some(Principal::AndIds(set)) => p.field("and_ids", |p| {
            Some(Rule::And(some(p, "ids", &set.ids, principal)))
        }),
        Some(Principal::OrIds(set)) => p.field("or_ids", |p| {
            Some(Rule::Or(some(p, "ids", &set.ids, principal)))
        }),
        Some(Principal::Any(any)) => always(p, *any),
        Some(Principal::Authenticated(value)) => {
            let name = value.principal_name.as_ref();
            p.field("authenticated", |p| match name {
                None => Some(Rule::Authenticated(None)),
                Some(name) => p
                    .field("principal_name", |p| matcher::string(p, name))
                    .map(|name| Rule::Authenticated(Some(name))),
            })
        }
        Some(Principal::SourceIp(range)) => p
            .field("source_ip", |p| cidr_range(p, range))
            .map(Rule::DirectRemoteIp),
        Some(Principal::DirectRemoteIp(range)) => p
            .field("direct_remote_ip", |p| cidr_range(p, range))
            .map(Rule::DirectRemoteIp),
        Some(Principal::RemoteIp(range)) => p
            .field("remote_ip", |p| cidr_range(p, range))
            .map(Rule::RemoteIp),
        Some(Principal::Header(header)) => p
            .field("header", |p| matcher::header(p, header))
            .map(Rule::Header),
        Some(Principal::UrlPath(path)) => p
            .field("url_path", |p| matcher::path(p, path))
            .map(Rule::UrlPath),
        Some(Principal::Metadata(value)) => p
            .field("metadata", |p| metadata_matcher::metadata(p, value))
            .map(|matcher| Rule::Metadata(MetadataSource::Dynamic, matcher)),
        Some(Principal::SourcedMetadata(value)) => {
            p.field("sourced_metadata", |p| sourced_metadata(p, value))
        }
        Some(Principal::NotId(id)) => p
            .field("not_id", |p| principal(p, id))
            .map(|id| Rule::Not(Box::new(id))),
        // found by the field table
        Some(Principal::FilterState(_) | Principal::Custom(_)) => None,
        None => {
            p.error("must hold an identifier");
            None
        }
    }
}

fn always(p: &mut Problems, any: bool) -> Option<Rule> {
    if !any {
        p.error_at("any", "must be true");
        return None;
    }
    Some(Rule::Any)
}

fn sourced_metadata(p: &mut Problems, value: &proto::SourcedMetadata) -> Option<Rule> {
    let source = enumeration(p, "metadata_source", value.metadata_source);
    let matcher = p.require("metadata_matcher", value.metadata_matcher.as_ref())?;
    let matcher = p.field("metadata_matcher", |p| {
        metadata_matcher::metadata(p, matcher)
    })?;
    let source = match source? {
        proto::MetadataSource::Dynamic => MetadataSource::Dynamic,
        proto::MetadataSource::Route => MetadataSource::Route,
    };
    Some(Rule::Metadata(source, matcher))
}
