//! The environment of a pod's process.

use std::collections::BTreeMap;
use std::path::Path;

use super::status::PodStatus;
use super::template::{EnvValue, Template};

/// What a pod's process finds in its environment: the image's, the container's, and who and where the pod is.
pub(super) fn of(
    template: &Template,
    pod: &PodStatus,
    bootstrap: &Path,
) -> BTreeMap<String, String> {
    let address = pod.address.to_string();
    let mut env = template.program.env.clone();
    for (name, value) in [
        ("ENVOY_BOOTSTRAP", &*bootstrap.to_string_lossy()),
        ("HOSTNAME", &pod.name),
        ("INSTANCE_IP", &address),
        ("POD_NAME", &pod.name),
        ("POD_NAMESPACE", &pod.namespace),
        ("SERVICE_ACCOUNT", &pod.service_account),
    ] {
        env.insert(name.to_owned(), value.to_owned());
    }
    for (name, value) in &template.env {
        let value = match value {
            EnvValue::Text(text) => expand(text, &env),
            EnvValue::PodName => pod.name.clone(),
            EnvValue::PodNamespace => pod.namespace.clone(),
            EnvValue::PodIp => address.clone(),
            EnvValue::ServiceAccount => pod.service_account.clone(),
        };
        env.insert(name.clone(), value);
    }
    env
}

/// Kubernetes' `$(NAME)`: replaced if the variable is known, else left; `$$` is a dollar sign.
pub(super) fn expand(text: &str, env: &BTreeMap<String, String>) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        result.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        let name = rest.strip_prefix('(').and_then(|r| r.split_once(')'));
        if let Some(after) = rest.strip_prefix('$') {
            result.push('$');
            rest = after;
        } else if let Some((value, after)) =
            name.and_then(|(name, after)| Some((env.get(name)?, after)))
        {
            result.push_str(value);
            rest = after;
        } else {
            result.push('$');
        }
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_expanded_as_in_kubernetes() {
        let env = [("A".to_owned(), "1".to_owned())].into();
        for (text, expanded) in [
            ("x$(A)y", "x1y"),
            ("$(B)$(A)", "$(B)1"),
            ("$$(A)", "$(A)"),
            ("$(A", "$(A"),
            ("5$", "5$"),
        ] {
            assert_eq!(expand(text, &env), expanded);
        }
    }
}
