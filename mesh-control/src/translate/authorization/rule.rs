//! One rule to one policy of RBAC, by istiod's `pilot/pkg/security/authz/model`.

use mesh_proto::envoy::config::core::v3::TypedExtensionConfig;
use mesh_proto::envoy::config::rbac::v3::{
    Permission, Policy, Principal, permission, permission::Rule, principal, principal::Identifier,
};
use mesh_proto::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use mesh_proto::envoy::r#type::matcher::v3 as type_matcher;

use super::matcher;
use super::trust_domain;
use crate::model::{AuthorizationRule, Condition, MeshConfig, Operation, Source, Values, quoted};
use crate::translate::address::any;

/// What the translation of a rule depends on.
pub(super) struct Context<'a> {
    pub(super) mesh: &'a MeshConfig,
    /// Of the policy.
    pub(super) namespace: &'a str,
    /// For connections, of which no rule of HTTP can be said.
    pub(super) tcp: bool,
    /// A rule that cannot be said in full is left out. Otherwise only what cannot be said is, which makes it wider.
    pub(super) strict: bool,
}

/// It cannot be said here.
struct Unspeakable;

/// A permission or a principal.
trait Term: Sized {
    fn any() -> Self;
    fn all(terms: Vec<Self>) -> Self;
    fn or(terms: Vec<Self>) -> Self;
    fn not(self) -> Self;
}

impl Term for Permission {
    fn any() -> Self {
        permits(Rule::Any(true))
    }

    fn all(rules: Vec<Self>) -> Self {
        permits(Rule::AndRules(permission::Set { rules }))
    }

    fn or(rules: Vec<Self>) -> Self {
        permits(Rule::OrRules(permission::Set { rules }))
    }

    fn not(self) -> Self {
        permits(Rule::NotRule(Box::new(self)))
    }
}

impl Term for Principal {
    fn any() -> Self {
        identifies(Identifier::Any(true))
    }

    fn all(ids: Vec<Self>) -> Self {
        identifies(Identifier::AndIds(principal::Set { ids }))
    }

    fn or(ids: Vec<Self>) -> Self {
        identifies(Identifier::OrIds(principal::Set { ids }))
    }

    fn not(self) -> Self {
        identifies(Identifier::NotId(Box::new(self)))
    }
}

fn permits(rule: Rule) -> Permission {
    Permission { rule: Some(rule) }
}

fn identifies(identifier: Identifier) -> Principal {
    Principal {
        identifier: Some(identifier),
    }
}

fn authenticated(name: type_matcher::StringMatcher) -> Principal {
    identifies(Identifier::Authenticated(principal::Authenticated {
        principal_name: Some(name),
    }))
}

/// Matches nothing.
pub(super) fn never() -> Policy {
    Policy {
        permissions: vec![Permission::any().not()],
        principals: vec![Principal::any().not()],
        ..Default::default()
    }
}

/// What several terms must all be.
struct Terms<T>(Vec<T>);

impl<T: Term> Terms<T> {
    /// One of the values, and none of the others.
    fn add(
        &mut self,
        values: &Values,
        say: impl Fn(&[String]) -> Result<Option<T>, Unspeakable>,
    ) -> Result<(), Unspeakable> {
        if !values.values.is_empty() {
            self.0.extend(say(&values.values)?);
        }
        if !values.not_values.is_empty() {
            self.0.extend(say(&values.not_values)?.map(T::not));
        }
        Ok(())
    }

    fn all(self) -> T {
        T::all(match self.0.is_empty() {
            true => vec![T::any()],
            false => self.0,
        })
    }
}

impl Context<'_> {
    /// `None`: nothing of it can be said here.
    pub(super) fn policy(&self, rule: &AuthorizationRule) -> Option<Policy> {
        let nobody = [Source::default()];
        let nothing = [Operation::default()];
        let to: &[Operation] = match rule.to.is_empty() {
            true => &nothing,
            false => &rule.to,
        };
        let from: &[Source] = match rule.from.is_empty() {
            true => &nobody,
            false => &rule.from,
        };
        let permissions: Result<_, Unspeakable> = to
            .iter()
            .map(|to| self.permission(to, &rule.when))
            .collect();
        let principals: Result<_, Unspeakable> = from
            .iter()
            .map(|source| self.principal(source, &rule.when, from.len()))
            .collect();
        Some(Policy {
            permissions: permissions.ok()?,
            principals: principals.ok()?,
            ..Default::default()
        })
    }

    fn permission(&self, to: &Operation, when: &[Condition]) -> Result<Permission, Unspeakable> {
        let mut terms = Terms(Vec::new());
        let host = |v: &str| permits(Rule::Header(matcher::header(":authority", v, true)));
        let method = |v: &str| permits(Rule::Header(matcher::header(":method", v, false)));
        terms.add(&to.hosts, |all| self.or(all, |v| self.of_http(|| host(v))))?;
        terms.add(&to.methods, |all| {
            self.or(all, |v| self.of_http(|| method(v)))
        })?;
        terms.add(&to.paths, |all| self.or(all, |v| self.of_http(|| path(v))))?;
        terms.add(&to.ports, |all| self.or(all, port))?;
        for condition in when {
            let values = &condition.values;
            match condition.key.as_str() {
                "destination.ip" => terms.add(values, |all| {
                    self.or(all, |v| {
                        Some(permits(Rule::DestinationIp(matcher::cidr(v)?)))
                    })
                })?,
                "destination.port" => terms.add(values, |all| self.or(all, port))?,
                "connection.sni" => terms.add(values, |all| {
                    self.or(all, |v| {
                        Some(permits(Rule::RequestedServerName(matcher::string(v))))
                    })
                })?,
                key if key.starts_with("experimental.envoy.filters.") => {
                    terms.add(values, |all| self.whole(envoy_filter(key, all)))?;
                }
                _ => {}
            }
        }
        Ok(terms.all())
    }

    fn principal(
        &self,
        from: &Source,
        when: &[Condition],
        sources: usize,
    ) -> Result<Principal, Unspeakable> {
        let mut terms = Terms(Vec::new());
        self.principals(&mut terms, &from.principals)?;
        self.request_principals(&mut terms, &from.request_principals)?;
        self.service_accounts(&mut terms, &from.service_accounts)?;
        self.trust_domains(&mut terms, &from.trust_domains)?;
        self.namespaces(&mut terms, &from.namespaces)?;
        self.addresses(&mut terms, &from.remote_ip_blocks, Identifier::RemoteIp)?;
        self.addresses(&mut terms, &from.ip_blocks, Identifier::DirectRemoteIp)?;
        for condition in when {
            let values = &condition.values;
            match condition.key.as_str() {
                "source.ip" => self.addresses(&mut terms, values, Identifier::DirectRemoteIp)?,
                "remote.ip" => self.addresses(&mut terms, values, Identifier::RemoteIp)?,
                "source.namespace" => self.namespaces(&mut terms, values)?,
                "source.trustDomain" => self.trust_domains(&mut terms, values)?,
                "source.serviceAccount" => self.service_accounts(&mut terms, values)?,
                "source.principal" => {
                    let values = self.renamed_as_often_as(sources, values);
                    self.principals(&mut terms, &values)?;
                }
                "request.auth.principal" => self.request_principals(&mut terms, values)?,
                "request.auth.audiences" => self.claims(&mut terms, Some(vec!["aud"]), values)?,
                "request.auth.presenter" => self.claims(&mut terms, Some(vec!["azp"]), values)?,
                key => {
                    if let Some(name) = key.strip_prefix("request.headers") {
                        let name = in_brackets(name);
                        terms.add(values, |all| {
                            self.or(all, |v| {
                                let header = matcher::header(name?, v, false);
                                self.of_http(|| identifies(Identifier::Header(header)))
                            })
                        })?;
                    } else if let Some(path) = key.strip_prefix("request.auth.claims") {
                        self.claims(&mut terms, in_nested_brackets(path), values)?;
                    }
                }
            }
        }
        Ok(terms.all())
    }

    fn principals(&self, terms: &mut Terms<Principal>, values: &Values) -> Result<(), Unspeakable> {
        terms.add(values, |all| {
            let all = trust_domain::principals(self.mesh, all);
            self.or(&all, |v| Some(authenticated(matcher::principal(v))))
        })
    }

    /// istiod renames the principals of a condition once more for every further source, which repeats them.
    fn renamed_as_often_as(&self, sources: usize, values: &Values) -> Values {
        let mut values = values.clone();
        for list in [&mut values.values, &mut values.not_values] {
            for _ in 1..sources {
                *list = trust_domain::principals(self.mesh, list);
            }
        }
        values
    }

    fn namespaces(&self, terms: &mut Terms<Principal>, values: &Values) -> Result<(), Unspeakable> {
        terms.add(values, |all| {
            self.or(all, |v| {
                let parts: Vec<_> = v.split('*').map(quoted).collect();
                let regex = format!(".*/ns/{}/.*", parts.join(".*"));
                Some(authenticated(matcher::regex(regex)))
            })
        })
    }

    /// `NAME` of the policy's namespace, or `NAMESPACE/NAME`.
    fn service_accounts(
        &self,
        terms: &mut Terms<Principal>,
        values: &Values,
    ) -> Result<(), Unspeakable> {
        terms.add(values, |all| {
            self.or(all, |v| {
                let (namespace, name) = v.split_once('/').unwrap_or((self.namespace, v));
                let (namespace, name) = (quoted(namespace), quoted(name));
                let regex = format!("spiffe://.+/ns/{namespace}/(.+/|)sa/{name}(/.+)?");
                Some(authenticated(matcher::regex(regex)))
            })
        })
    }

    fn trust_domains(
        &self,
        terms: &mut Terms<Principal>,
        values: &Values,
    ) -> Result<(), Unspeakable> {
        terms.add(values, |all| {
            let all = trust_domain::domains(self.mesh, all);
            self.or(&all, |v| {
                Some(authenticated(match v.split_once('*') {
                    Some(("", "")) => matcher::prefix("spiffe://"),
                    None => matcher::prefix(format!("spiffe://{v}/")),
                    Some((start, end)) => {
                        let (start, end) = (quoted(start), quoted(end));
                        matcher::regex(format!("spiffe://{start}[^/]*{end}/.*"))
                    }
                }))
            })
        })
    }

    fn addresses(
        &self,
        terms: &mut Terms<Principal>,
        values: &Values,
        identifier: fn(mesh_proto::envoy::config::core::v3::CidrRange) -> Identifier,
    ) -> Result<(), Unspeakable> {
        terms.add(values, |all| {
            self.or(all, |v| Some(identifies(identifier(matcher::cidr(v)?))))
        })
    }

    fn request_principals(
        &self,
        terms: &mut Terms<Principal>,
        values: &Values,
    ) -> Result<(), Unspeakable> {
        terms.add(values, |all| {
            let mut ids: Vec<_> = all.iter().map(|v| request_principal(v)).collect();
            self.whole(self.of_http(|| match ids.len() {
                1 => ids.remove(0),
                _ => Principal::or(ids),
            }))
        })
    }

    fn claims(
        &self,
        terms: &mut Terms<Principal>,
        path: Option<Vec<&str>>,
        values: &Values,
    ) -> Result<(), Unspeakable> {
        terms.add(values, |all| {
            let claim =
                |path: &Vec<&str>| identifies(Identifier::Metadata(matcher::claim(path, all)));
            self.whole(path.as_ref().and_then(|path| self.of_http(|| claim(path))))
        })
    }

    /// A term of HTTP only.
    fn of_http<T>(&self, term: impl FnOnce() -> T) -> Option<T> {
        (!self.tcp).then(term)
    }

    /// What is said of all values at once.
    fn whole<T>(&self, term: Option<T>) -> Result<Option<T>, Unspeakable> {
        match term {
            None if self.strict => Err(Unspeakable),
            term => Ok(term),
        }
    }

    /// What is said of each value.
    fn or<T: Term>(
        &self,
        values: &[String],
        say: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Unspeakable> {
        let mut terms = Vec::new();
        for value in values {
            terms.extend(self.whole(say(value))?);
        }
        Ok((!terms.is_empty()).then(|| T::or(terms)))
    }
}

fn port(value: &str) -> Option<Permission> {
    let port = value.parse::<u16>().ok()?;
    Some(permits(Rule::DestinationPort(u32::from(port))))
}

fn path(value: &str) -> Permission {
    if !value.contains("{*}") && !value.contains("{**}") {
        return permits(Rule::UrlPath(type_matcher::PathMatcher {
            rule: Some(type_matcher::path_matcher::Rule::Path(matcher::string(
                value,
            ))),
        }));
    }
    let template = UriTemplateMatchConfig {
        path_template: value.replace("{*}", "*").replace("{**}", "**"),
    };
    permits(Rule::UriTemplate(TypedExtensionConfig {
        name: "uri-template".to_owned(),
        typed_config: Some(any(&template)),
    }))
}

/// `experimental.envoy.filters.NAME[KEY]`; a value in brackets is one of a list.
fn envoy_filter(key: &str, values: &[String]) -> Option<Permission> {
    let key = key.strip_prefix("experimental.")?;
    let (filter, key) = key.strip_suffix(']').unwrap_or(key).split_once('[')?;
    let value = |value: &String| match value.starts_with('[') && value.ends_with(']') {
        true => {
            let item = matcher::string(value.trim_matches(['[', ']']));
            matcher::list_value(matcher::text_value(item))
        }
        false => matcher::text_value(matcher::string(value)),
    };
    let values = matcher::one_of(values.iter().map(value).collect());
    Some(permits(Rule::Metadata(matcher::metadata(
        filter,
        [key],
        values,
    ))))
}

/// `ISSUER/SUBJECT`, where an issuer may have slashes, too.
fn request_principal(value: &str) -> Principal {
    let parts = value.rsplit_once('/');
    let (issuer, subject) = match (value.strip_prefix('*'), value.strip_suffix('*'), parts) {
        (Some(""), ..) => (matcher::something(), matcher::something()),
        (Some(_), _, Some(("*", subject))) => (matcher::something(), matcher::exact(subject)),
        (Some(_), _, Some((issuer, subject))) => {
            (matcher::suffix(&issuer[1..]), matcher::exact(subject))
        }
        (Some(end), _, None) => (matcher::something(), matcher::suffix(end)),
        (None, Some(_), Some((issuer, "*"))) => (matcher::exact(issuer), matcher::something()),
        (None, Some(_), Some((issuer, subject))) => (
            matcher::exact(issuer),
            matcher::prefix(subject.strip_suffix('*').unwrap_or(subject)),
        ),
        (None, Some(start), None) => (matcher::prefix(start), matcher::something()),
        (None, None, Some((issuer, subject))) => (matcher::exact(issuer), matcher::exact(subject)),
        (None, None, None) => (matcher::exact(value), matcher::exact("")),
    };
    let claim = |name: &str, text| {
        let path = [matcher::JWT_PAYLOAD, name];
        let value = matcher::text_value(text);
        identifies(Identifier::Metadata(matcher::metadata(
            matcher::JWT_FILTER,
            path,
            value,
        )))
    };
    Principal::all(vec![claim("iss", issuer), claim("sub", subject)])
}

fn in_brackets(text: &str) -> Option<&str> {
    text.strip_prefix('[')?.strip_suffix(']')
}

/// `[a][b]`; if it is not of that form, all between the first bracket and the last is one name.
fn in_nested_brackets(text: &str) -> Option<Vec<&str>> {
    let mut names = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let inner = rest.strip_prefix('[').and_then(|r| r.split_once(']'));
        match inner.filter(|(name, _)| !name.contains('[')) {
            Some((name, after)) => {
                names.push(name);
                rest = after;
            }
            None => return in_brackets(text).map(|name| vec![name]),
        }
    }
    Some(names)
}
