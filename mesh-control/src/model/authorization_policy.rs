use super::{Metadata, PolicyTarget};
use crate::yaml::{At, Fields, parse_bool};

/// Who may do what.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AuthorizationPolicy {
    pub(crate) metadata: Metadata,
    pub(crate) target: PolicyTarget,
    pub(crate) action: AuthorizationAction,
    /// Annotation `istio.io/dry-run`: what it would do is only noted.
    pub(crate) is_dry_run: bool,
    pub(crate) rules: Vec<AuthorizationRule>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AuthorizationAction {
    Allow,
    Deny,
    Audit,
}

/// It matches if one of `from`, one of `to` and all of `when` do; what is empty always does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AuthorizationRule {
    pub(crate) from: Vec<Source>,
    pub(crate) to: Vec<Operation>,
    pub(crate) when: Vec<Condition>,
}

/// What a list admits and what it does not.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Values {
    pub(crate) values: Vec<String>,
    pub(crate) not_values: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Source {
    pub(crate) principals: Values,
    pub(crate) request_principals: Values,
    pub(crate) namespaces: Values,
    pub(crate) ip_blocks: Values,
    pub(crate) remote_ip_blocks: Values,
    pub(crate) service_accounts: Values,
    pub(crate) trust_domains: Values,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Operation {
    pub(crate) hosts: Values,
    pub(crate) ports: Values,
    pub(crate) methods: Values,
    pub(crate) paths: Values,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Condition {
    pub(crate) key: String,
    pub(crate) values: Values,
}

impl AuthorizationPolicy {
    /// What Istio's webhook refuses is refused elsewhere.
    pub(crate) fn read(spec: Option<Fields<'_>>, metadata: Metadata) -> Self {
        let mut policy = AuthorizationPolicy {
            target: PolicyTarget::default(),
            action: AuthorizationAction::Allow,
            is_dry_run: metadata
                .annotations
                .get("istio.io/dry-run")
                .and_then(|text| parse_bool(text))
                .unwrap_or_default(),
            rules: Vec::new(),
            metadata,
        };
        let Some(spec) = spec else {
            return policy;
        };
        policy.target = PolicyTarget::read(&spec);
        if let Some(at) = spec.get("action") {
            // another word is refused with what was meant by it
            match at.node().as_str() {
                Some("DENY") => policy.action = AuthorizationAction::Deny,
                Some("AUDIT") => policy.action = AuthorizationAction::Audit,
                Some("CUSTOM") => at.refuse(
                    "external authorization is not supported yet, so action CUSTOM cannot be used",
                    "use ALLOW or DENY",
                ),
                _ => {}
            }
        }
        policy.rules = spec.list("rules", |at| AuthorizationRule::read(&at));
        spec.ignore(&["provider"]);
        spec.finish_with(&[
            ("from", "rules[].from"),
            ("to", "rules[].to"),
            ("when", "rules[].when"),
            ("matchLabels", "selector.matchLabels"),
        ]);
        policy
    }
}

impl AuthorizationRule {
    fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let rule = AuthorizationRule {
            from: fields.list("from", |at| {
                let (from, source) = inner(&at, "source");
                let source = source.map(Source::read).unwrap_or_default();
                from.finish_with(&[
                    ("principals", "source.principals"),
                    ("namespaces", "source.namespaces"),
                ]);
                source
            }),
            to: fields.list("to", |at| {
                let (to, operation) = inner(&at, "operation");
                let operation = operation.map(Operation::read).unwrap_or_default();
                to.finish_with(&[
                    ("methods", "operation.methods"),
                    ("paths", "operation.paths"),
                ]);
                operation
            }),
            when: fields.list("when", |at| {
                let fields = at.fields();
                let condition = Condition {
                    key: fields.string("key"),
                    values: values(&fields, "values", "notValues"),
                };
                fields.finish();
                condition
            }),
        };
        fields.finish_with(&[("source", "from[].source"), ("operation", "to[].operation")]);
        rule
    }
}

fn inner<'a>(at: &At<'a>, name: &'static str) -> (Fields<'a>, Option<Fields<'a>>) {
    let fields = at.fields();
    let found = fields.get(name).map(|at| at.fields());
    (fields, found)
}

fn values(fields: &Fields<'_>, name: &'static str, not: &'static str) -> Values {
    Values {
        values: fields.strings(name),
        not_values: fields.strings(not),
    }
}

impl Source {
    fn read(fields: Fields<'_>) -> Self {
        let source = Source {
            principals: values(&fields, "principals", "notPrincipals"),
            request_principals: values(&fields, "requestPrincipals", "notRequestPrincipals"),
            namespaces: values(&fields, "namespaces", "notNamespaces"),
            ip_blocks: values(&fields, "ipBlocks", "notIpBlocks"),
            remote_ip_blocks: values(&fields, "remoteIpBlocks", "notRemoteIpBlocks"),
            service_accounts: values(&fields, "serviceAccounts", "notServiceAccounts"),
            trust_domains: values(&fields, "trustDomains", "notTrustDomains"),
        };
        fields.finish();
        source
    }
}

impl Operation {
    fn read(fields: Fields<'_>) -> Self {
        let operation = Operation {
            hosts: values(&fields, "hosts", "notHosts"),
            ports: values(&fields, "ports", "notPorts"),
            methods: values(&fields, "methods", "notMethods"),
            paths: values(&fields, "paths", "notPaths"),
        };
        fields.finish();
        operation
    }
}
