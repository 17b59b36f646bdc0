use super::part::Part;
use super::{attribute, selector};

/// The lists of a source.
const SOURCE: [&str; 14] = [
    "principals",
    "requestPrincipals",
    "namespaces",
    "ipBlocks",
    "remoteIpBlocks",
    "notPrincipals",
    "notRequestPrincipals",
    "notNamespaces",
    "notIpBlocks",
    "notRemoteIpBlocks",
    "serviceAccounts",
    "notServiceAccounts",
    "trustDomains",
    "notTrustDomains",
];

/// Those that TCP connections have, too.
const OF_TCP: [&str; 10] = [
    "principals",
    "namespaces",
    "ipBlocks",
    "remoteIpBlocks",
    "notPrincipals",
    "notNamespaces",
    "notIpBlocks",
    "notRemoteIpBlocks",
    "serviceAccounts",
    "notServiceAccounts",
];

const OPERATION: [&str; 8] = [
    "ports",
    "methods",
    "paths",
    "hosts",
    "notPorts",
    "notMethods",
    "notPaths",
    "notHosts",
];

pub(super) const ACTIONS: [&str; 4] = ["ALLOW", "DENY", "AUDIT", "CUSTOM"];

pub(super) fn check(spec: &Part<'_>) {
    selector::check_policy(spec);
    let action = spec.word("action", &ACTIONS);
    let rules = spec.list("rules");
    let provider = spec.get("provider");
    if matches!(action, "CUSTOM" | "DENY") && rules.is_empty() {
        spec.refuse_at(
            "rules",
            format_args!(
                "{action} action without `rules` is meaningless as it will never be triggered, add an empty rule `{{}}` if \
                 you want it be triggered for every request"
            ),
            "add rules",
        );
    }
    if action == "CUSTOM" {
        if !rules.is_empty() && provider.as_ref().is_none_or(|p| p.text("name").is_empty()) {
            spec.refuse_at(
                "provider",
                "`provider.name` must not be empty",
                "add provider: {name: …}",
            );
        }
        for rule in &rules {
            check_custom(rule);
        }
    } else if let Some(provider) = provider {
        provider.refuse(
            format_args!("`provider` must not be with non CUSTOM action, found {action}"),
            "remove it, or write action: CUSTOM",
        );
    }
    for rule in &rules {
        check_rule(rule, action);
    }
}

fn check_custom(rule: &Part<'_>) {
    for source in rule
        .list("from")
        .iter()
        .filter_map(|from| from.get("source"))
    {
        for list in SOURCE {
            if !list.to_lowercase().contains("ipblocks") && !source.list(list).is_empty() {
                source.refuse_at(
                    list,
                    format_args!("{list} is currently not supported with CUSTOM action"),
                    "remove it",
                );
            }
        }
    }
    for condition in rule.list("when") {
        let key = condition.text("key");
        let of_identity = matches!(
            key,
            "source.namespace"
                | "source.serviceAccount"
                | "source.trustDomain"
                | "source.principal"
        );
        if of_identity || key.starts_with("request.auth.") {
            condition.refuse_at(
                "key",
                format_args!("{key} is currently not supported with CUSTOM action"),
                "remove it",
            );
        }
    }
}

fn check_rule(rule: &Part<'_>, action: &str) {
    let (mut has_from, mut has_to) = (false, false);
    let (mut tcp_from, mut tcp_to) = (false, false);
    for from in rule.list("from") {
        match from.get("source") {
            None => from.refuse("`from.source` must not be nil", "add source"),
            Some(source) => {
                has_from = true;
                tcp_from |= OF_TCP.iter().any(|list| !source.list(list).is_empty());
                check_source(&source);
            }
        }
    }
    for to in rule.list("to") {
        match to.get("operation") {
            None => to.refuse("`to.operation` must not be nil", "add operation"),
            Some(operation) => {
                has_to = true;
                tcp_to |= ["ports", "notPorts"]
                    .iter()
                    .any(|list| !operation.list(list).is_empty());
                check_operation(&operation);
            }
        }
    }
    for condition in rule.list("when") {
        check_condition(&condition);
    }
    if action == "DENY" && (has_from && !has_to && !tcp_from || has_to && !tcp_to) {
        rule.warn_at(
            "",
            "will deny all traffic to TCP ports under its scope due to the use of only HTTP attributes in a DENY rule",
            "name the ports",
        );
    }
}

fn check_source(source: &Part<'_>) {
    let any = |lists: &[&str]| lists.iter().any(|list| !source.list(list).is_empty());
    if any(&["serviceAccounts", "notServiceAccounts"])
        && any(&["principals", "notPrincipals", "namespaces", "notNamespaces"])
    {
        source.refuse(
            "cannot set serviceAccounts with namespaces or principals",
            "keep one of them",
        );
    }
    if !any(&SOURCE) {
        source.refuse(
            "`from.source` must not be empty",
            "add principals or namespaces",
        );
    }
    for list in SOURCE {
        let values = source.list(list);
        match list {
            "ipBlocks" | "notIpBlocks" | "remoteIpBlocks" | "notRemoteIpBlocks" => {
                attribute::check_not_empty(&values);
                attribute::check_ips(&values);
            }
            "serviceAccounts" | "notServiceAccounts" => attribute::check_service_accounts(&values),
            "trustDomains" | "notTrustDomains" => {
                attribute::check_wildcards(&values);
                for value in values.iter().filter(|v| v.as_text().contains('/')) {
                    value.refuse(
                        format_args!("trust domain must not contain '/': {:?}", value.as_text()),
                        "write the domain only",
                    );
                }
            }
            _ => {
                attribute::check_not_empty(&values);
            }
        }
    }
}

fn check_operation(operation: &Part<'_>) {
    if OPERATION.iter().all(|list| operation.list(list).is_empty()) {
        operation.refuse(
            "`to.operation` must not be empty",
            "add methods, paths or ports",
        );
    }
    for list in OPERATION {
        let values = operation.list(list);
        attribute::check_not_empty(&values);
        match list {
            "ports" | "notPorts" => attribute::check_ports(&values),
            "paths" | "notPaths" => attribute::check_path_templates(&values),
            _ => {}
        }
    }
}

fn check_condition(condition: &Part<'_>) {
    let key = condition.text("key");
    let (values, not_values) = (condition.list("values"), condition.list("notValues"));
    if key.is_empty() {
        condition.refuse_at("key", "`key` must not be empty", "add key");
    } else if values.is_empty() && not_values.is_empty() {
        condition.refuse(
            format_args!("at least one of `values` or `notValues` must be set for key {key}"),
            "add values",
        );
    } else {
        attribute::check(condition, key, &values);
        attribute::check(condition, key, &not_values);
    }
}
