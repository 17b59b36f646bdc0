//! Who a workload is.

use std::fmt;

/// A service account of Kubernetes: what a certificate is made for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceAccount {
    namespace: String,
    name: String,
}

/// Text that names no service account.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no service account: write NAMESPACE/NAME, in lower case letters, digits, - and (NAME only) ."
)]
pub struct InvalidAccount(String);

impl ServiceAccount {
    /// An account by namespace (a DNS label) and name (a DNS subdomain), as the API server requires them: neither can
    /// smuggle a segment into an identity.
    ///
    /// # Errors
    /// If one of them is something else.
    pub fn new(namespace: &str, name: &str) -> Result<Self, InvalidAccount> {
        let is_name = name.len() <= 253 && name.split('.').all(is_label);
        if !is_label(namespace) || !is_name {
            return Err(InvalidAccount(format!("{namespace}/{name}")));
        }
        Ok(ServiceAccount {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }

    /// Of `NAMESPACE/NAME`.
    ///
    /// # Errors
    /// If it is something else.
    pub fn parse(text: &str) -> Result<Self, InvalidAccount> {
        match text.split_once('/') {
            Some((namespace, name)) => ServiceAccount::new(namespace, name),
            None => Err(InvalidAccount(text.to_owned())),
        }
    }

    /// Of a token's subject: `system:serviceaccount:NAMESPACE:NAME`.
    pub(super) fn of_subject(subject: &str) -> Option<Self> {
        let account = subject.strip_prefix("system:serviceaccount:")?;
        let (namespace, name) = account.split_once(':')?;
        ServiceAccount::new(namespace, name).ok()
    }

    pub(super) fn subject(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The identity in a trust domain (`spiffe.Identity` of Istio).
    pub fn spiffe_id(&self, trust_domain: &str) -> String {
        format!(
            "spiffe://{trust_domain}/ns/{}/sa/{}",
            self.namespace, self.name
        )
    }
}

impl fmt::Display for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// RFC 1123.
fn is_label(text: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(is_inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_two_dns_names() {
        let account = ServiceAccount::parse("shop/bookinfo-reviews.v1").unwrap();
        assert_eq!(
            account.spiffe_id("td"),
            "spiffe://td/ns/shop/sa/bookinfo-reviews.v1"
        );
        assert_eq!(
            ServiceAccount::of_subject(&account.subject()),
            Some(account)
        );
        for wrong in [
            "shop", "/a", "a/", "a/b/c", "A/b", "a/b:c", "a/../b", "a.b/c", "-a/b", "a/b\0", "a/é",
            "a/b,c", "a/..",
        ] {
            assert!(ServiceAccount::parse(wrong).is_err(), "{wrong}");
        }
        for wrong in [
            "system:serviceaccount:a",
            "system:serviceaccount:a:b:c",
            "system:node:a:b",
            "a:b",
        ] {
            assert_eq!(ServiceAccount::of_subject(wrong), None, "{wrong}");
        }
    }
}
