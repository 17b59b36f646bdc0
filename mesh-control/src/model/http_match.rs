use std::collections::BTreeMap;

use super::headers::check_name;
use super::names;
use crate::yaml::At;

/// How a text is matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StringMatch {
    Exact(String),
    Prefix(String),
    /// By whole parts of the path, and the length as written; only of an Ingress.
    PathPrefix(String, usize),
    Regex(String),
    /// `{}`: it must be there.
    Present,
}

/// One entry of `http[].match`: all of it must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HttpMatch {
    pub(crate) name: String,
    pub(crate) uri: Option<StringMatch>,
    pub(crate) ignore_uri_case: bool,
    pub(crate) scheme: Option<StringMatch>,
    pub(crate) method: Option<StringMatch>,
    pub(crate) authority: Option<StringMatch>,
    /// Sorted by name, as istiod emits them.
    pub(crate) headers: BTreeMap<String, StringMatch>,
    pub(crate) without_headers: BTreeMap<String, StringMatch>,
    pub(crate) query_params: BTreeMap<String, StringMatch>,
    pub(crate) port: Option<u32>,
    pub(crate) source_labels: BTreeMap<String, String>,
    pub(crate) source_namespace: String,
    /// Resolved: `mesh` or `namespace/name`.
    pub(crate) gateways: Vec<String>,
    pub(crate) stat_prefix: String,
}

impl StringMatch {
    pub(crate) fn read(at: At<'_>) -> Self {
        let fields = at.fields();
        let forms: Vec<_> = ["exact", "prefix", "regex"]
            .into_iter()
            .filter_map(|n| fields.get(n).map(|at| (n, at)))
            .collect();
        if forms.len() > 1 {
            at.refuse("has several of exact, prefix and regex", "keep one of them");
        }
        let found = match forms.into_iter().next() {
            None => StringMatch::Present,
            Some(("exact", value)) => StringMatch::Exact(value.string()),
            Some(("prefix", value)) => StringMatch::Prefix(value.string()),
            Some((_, value)) => {
                let regex = value.string();
                check_regex(&value, &regex);
                StringMatch::Regex(regex)
            }
        };
        fields.finish_with(&[("suffix", "regex: it has no suffix match")]);
        found
    }

    fn read_with_value(at: At<'_>, of: &str) -> Self {
        let matched = StringMatch::read(at.clone());
        if matched == StringMatch::Present {
            at.without_effect(
                format_args!("the {of} match is empty, it matches everything"),
                "write one of exact, prefix or regex",
            );
        }
        matched
    }
}

/// What means itself in a regular expression, as Go's `regexp.QuoteMeta` writes it.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::new();
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted
}

/// What is wrong with a regular expression that Istio refuses, and what would be right.
pub(crate) fn regex_problem(regex: &str) -> Option<(String, &'static str)> {
    if regex.len() > 1024 {
        return Some((
            "regex is too large, max length allowed is 1024".into(),
            "make it shorter",
        ));
    }
    let error = mesh_core::regex::Regex::new(regex).err()?;
    Some((
        format!("is no RE2 regular expression: {error}"),
        "correct it, see RE2's syntax",
    ))
}

/// Refuses a regular expression that Istio refuses.
pub(crate) fn check_regex(at: &At<'_>, regex: &str) {
    if let Some((wrong, right)) = regex_problem(regex) {
        at.refuse(wrong, right);
    }
}

impl HttpMatch {
    pub(crate) fn read(at: At<'_>, namespace: &str) -> Self {
        let fields = at.fields();
        let matched = HttpMatch {
            name: fields.string("name"),
            uri: fields
                .get("uri")
                .map(|at| StringMatch::read_with_value(at, "uri")),
            ignore_uri_case: fields.get("ignoreUriCase").is_some_and(|at| at.bool()),
            scheme: fields
                .get("scheme")
                .map(|at| StringMatch::read_with_value(at, "scheme")),
            method: fields
                .get("method")
                .map(|at| StringMatch::read_with_value(at, "method")),
            authority: fields
                .get("authority")
                .map(|at| StringMatch::read_with_value(at, "authority")),
            headers: headers(&fields, "headers"),
            without_headers: headers(&fields, "withoutHeaders"),
            query_params: match fields.get("queryParams") {
                Some(at) => at
                    .entries()
                    .into_iter()
                    .map(|(n, at)| (n.to_owned(), StringMatch::read(at)))
                    .collect(),
                None => BTreeMap::new(),
            },
            // 0 is as good as none
            port: fields
                .get("port")
                .map(|at| at.number(u16::MAX.into()))
                .filter(|port| *port > 0),
            source_labels: fields
                .get("sourceLabels")
                .map(|at| names::selector(&at))
                .unwrap_or_default(),
            source_namespace: fields.string("sourceNamespace"),
            gateways: fields.list("gateways", |at| {
                super::virtual_service::gateway_name(&at.string(), namespace)
            }),
            stat_prefix: fields.string("statPrefix"),
        };
        fields.finish_with(&[
            ("path", "uri"),
            ("host", "authority"),
            ("hosts", "authority"),
            ("queryParameters", "queryParams"),
        ]);
        matched
    }
}

/// The claim of a token that a header's name stands for: `@request.auth.claims.a.b` or `@request.auth.claims[a][b]`.
pub(crate) fn claim(name: &str) -> Option<Vec<&str>> {
    const PREFIX: &str = "@request.auth.claims";
    let (start, rest) = name.split_at_checked(PREFIX.len())?;
    if !start.eq_ignore_ascii_case(PREFIX) {
        return None;
    }
    if let Some(path) = rest.strip_prefix('.').filter(|path| !path.is_empty()) {
        return Some(path.split('.').collect());
    }
    let path = rest.strip_prefix('[')?.strip_suffix(']')?;
    (!path.is_empty()).then(|| path.split("][").collect())
}

fn headers(fields: &crate::yaml::Fields<'_>, name: &'static str) -> BTreeMap<String, StringMatch> {
    let Some(at) = fields.get(name) else {
        return BTreeMap::new();
    };
    let mut headers = BTreeMap::new();
    for (name, at) in at.entries() {
        let is_claim = claim(name).is_some();
        if !is_claim {
            check_name(&at, name);
        }
        let matched = StringMatch::read(at.clone());
        if is_claim && matched == StringMatch::Present {
            at.refuse(
                "the presence of a claim cannot be asked for: istiod sends a matcher without a pattern, for which proxies \
                 refuse all routes of the port",
                "write regex: .+",
            );
        }
        headers.insert(name.to_owned(), matched);
    }
    headers
}
