//! Role-based access control (Envoy `source/extensions/filters/common/rbac`): policies are compiled when configuration
//! arrives; a decision allocates nothing,
//! but for a path whose parameters are ignored.

mod connection;
mod rule;

pub use connection::ConnectionRbac;
pub use rule::{MetadataSource, Rule};

use std::net::IpAddr;

use crate::{
    head::{ConnectionInfo, RequestHead},
    metadata::DynamicMetadata,
    regex::Scratch,
};

/// `RBAC.Action`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// `ALLOW`: only what a policy matches.
    #[default]
    Allow,
    /// `DENY`: all but what a policy matches.
    Deny,
    /// `LOG`: everything, and it is noted whether a policy matches.
    Log,
}

/// `envoy.config.rbac.v3.Policy`: any permission and any principal.
#[derive(Clone, Debug)]
pub struct Policy {
    /// `permissions`.
    pub permissions: Vec<Rule>,
    /// `principals`.
    pub principals: Vec<Rule>,
}

impl Policy {
    fn matches(&self, request: &Request<'_>, scratch: &mut Scratch) -> bool {
        let mut any = |rules: &[Rule]| rules.iter().any(|rule| rule.matches(request, scratch));
        any(&self.permissions) && any(&self.principals)
    }
}

/// `envoy.config.rbac.v3.RBAC`.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    action: Action,
    /// By name.
    policies: Box<[(Box<str>, Policy)]>,
}

/// What rules say of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// Whether it may pass.
    pub allowed: bool,
    /// The policy that matched, if one did.
    pub policy: Option<&'a str>,
}

impl Rules {
    /// Policies by name; they are asked in the order of their names.
    pub fn new(action: Action, mut policies: Vec<(Box<str>, Policy)>) -> Self {
        policies.sort_by(|(a, _), (b, _)| a.as_bytes().cmp(b.as_bytes()));
        Self {
            action,
            policies: policies.into(),
        }
    }

    /// The action.
    pub fn action(&self) -> Action {
        self.action
    }

    /// Decides.
    pub fn check(&self, request: &Request<'_>, scratch: &mut Scratch) -> Verdict<'_> {
        let policy = self
            .policies
            .iter()
            .find(|(_, policy)| policy.matches(request, scratch))
            .map(|(name, _)| &**name);
        let allowed = match self.action {
            Action::Allow => policy.is_some(),
            Action::Deny => policy.is_none(),
            Action::Log => true,
        };
        Verdict { allowed, policy }
    }

    /// Whether any rule reads this namespace of the dynamic metadata.
    pub fn reads_metadata(&self, namespace: &str) -> bool {
        self.policies.iter().any(|(_, policy)| {
            let mut rules = policy.permissions.iter().chain(&policy.principals);
            rules.any(|rule| rule.reads_metadata(namespace))
        })
    }
}

/// A prefix before a statistic's name: with a dot between them (Envoy `statPrefixJoin`).
pub(crate) fn stat_prefix(prefix: &str) -> String {
    match prefix.is_empty() || prefix.ends_with('.') {
        true => prefix.to_owned(),
        false => format!("{prefix}."),
    }
}

/// What rules look at.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The request's head.
    pub head: RequestHead<'a>,
    /// The downstream connection.
    pub connection: &'a ConnectionInfo,
    /// The client's address, as `x-forwarded-for` and the connection say.
    pub remote: Option<IpAddr>,
    /// The stream's dynamic metadata.
    pub metadata: Option<&'a DynamicMetadata>,
    /// The route's metadata; None: there is no route.
    pub route: Option<&'a DynamicMetadata>,
    /// `ignore_path_parameters_in_path_matching` of the table that the route was found in; false without a route. What
    /// follows a `;` in the path is then cut off, which allocates.
    pub ignore_path_parameters: bool,
}

#[cfg(test)]
mod tests;
