use std::collections::BTreeMap;

use crate::yaml::{At, Fields};

/// Header operations on one side; maps are sorted as istiod emits them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeaderOps {
    pub(crate) set: BTreeMap<String, String>,
    pub(crate) add: BTreeMap<String, String>,
    pub(crate) remove: Vec<String>,
}

/// `headers` of a route or of a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers {
    pub(crate) request: HeaderOps,
    pub(crate) response: HeaderOps,
}

impl HeaderOps {
    fn read(at: At<'_>) -> Self {
        let fields = at.fields();
        let ops = HeaderOps {
            set: header_map(&fields, "set"),
            add: header_map(&fields, "add"),
            remove: fields.list("remove", |at| {
                let name = at.string();
                if name.eq_ignore_ascii_case("host") {
                    at.refuse("the Host header cannot be removed", "set it");
                }
                check_name(&at, &name);
                name
            }),
        };
        fields.finish();
        ops
    }
}

impl Headers {
    /// Reads `headers` and the names that they had until Istio 1.1.
    pub(crate) fn read(fields: &Fields<'_>) -> Option<Self> {
        let mut headers = Headers::default();
        let mut found = false;
        if let Some(at) = fields.get("headers") {
            found = true;
            let inner = at.fields();
            headers.request = inner
                .get("request")
                .map(HeaderOps::read)
                .unwrap_or_default();
            headers.response = inner
                .get("response")
                .map(HeaderOps::read)
                .unwrap_or_default();
            inner.finish_with(&[
                ("set", "headers.request.set"),
                ("add", "headers.request.add"),
                ("remove", "headers.request.remove"),
            ]);
        }
        for (old, new) in [
            ("appendHeaders", "headers.request.add"),
            ("appendRequestHeaders", "headers.request.add"),
            ("appendResponseHeaders", "headers.response.add"),
        ] {
            if let Some(at) = fields.get(old) {
                found = true;
                at.warn(
                    "was removed from Istio, it is read as its successor",
                    format_args!("write {new}"),
                );
                let side = if old == "appendResponseHeaders" {
                    &mut headers.response
                } else {
                    &mut headers.request
                };
                side.add.extend(at.string_map());
            }
        }
        for (old, new) in [
            ("removeRequestHeaders", "headers.request.remove"),
            ("removeResponseHeaders", "headers.response.remove"),
        ] {
            if let Some(at) = fields.get(old) {
                found = true;
                at.warn(
                    "was removed from Istio, it is read as its successor",
                    format_args!("write {new}"),
                );
                let side = if old == "removeRequestHeaders" {
                    &mut headers.request
                } else {
                    &mut headers.response
                };
                side.remove.extend(at.strings());
            }
        }
        found.then_some(headers)
    }

    /// Whether requests get another `:authority` by these operations.
    pub(crate) fn sets_authority(&self) -> bool {
        let is_authority = |name: &&String| is_authority(name);
        self.request
            .set
            .keys()
            .chain(self.request.add.keys())
            .any(|name| is_authority(&name))
    }
}

fn header_map(fields: &Fields<'_>, name: &'static str) -> BTreeMap<String, String> {
    let Some(at) = fields.get(name) else {
        return BTreeMap::new();
    };
    let entry = |(name, at): (&str, At<'_>)| {
        if !is_authority(name) {
            check_name(&at, name);
        }
        (name.to_owned(), at.string())
    };
    at.entries().into_iter().map(entry).collect()
}

fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case(":authority") || name.eq_ignore_ascii_case("host")
}

/// Refuses what is no header name.
pub(crate) fn check_name(at: &At<'_>, name: &str) {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(token) {
        at.refuse(
            format_args!("{name:?} is no header name"),
            "use letters, digits and hyphens",
        );
    }
}
