use super::optional;
use crate::model::Headers;
use crate::yaml::{At, Fields};

/// One of `backendRefs`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Backend {
    pub(crate) target: Target,
    pub(crate) weight: u32,
    pub(crate) headers: Headers,
}

/// What a backend is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) group: String,
    pub(crate) kind: String,
    /// `None`: that of the route.
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    pub(crate) port: Option<u32>,
}

impl Backend {
    /// `valid` becomes false if a filter of it makes the whole route none.
    pub(super) fn read(at: &At<'_>, valid: &mut bool) -> Self {
        let fields = at.fields();
        let target = Target::of(&fields);
        let weight = fields.get("weight").map_or(1, |at| at.number(1_000_000));
        let mut headers = Headers::default();
        for at in fields
            .get("filters")
            .map(|at| at.items())
            .unwrap_or_default()
        {
            let filter = at.fields();
            match filter.string("type").as_str() {
                "RequestHeaderModifier" => {
                    if let Some(at) = filter.get("requestHeaderModifier") {
                        headers.request = super::filter::header_operations(&at);
                    }
                }
                "ResponseHeaderModifier" => {
                    if let Some(at) = filter.get("responseHeaderModifier") {
                        headers.response = super::filter::header_operations(&at);
                    }
                }
                other => {
                    at.without_effect(
                        format_args!(
                            "unsupported filter type {other:?}: istiod drops the whole route"
                        ),
                        "change headers only, or put the filter into the rule",
                    );
                    *valid = false;
                    filter.ignore(&[
                        "requestMirror",
                        "requestRedirect",
                        "urlRewrite",
                        "extensionRef",
                        "cors",
                    ]);
                }
            }
            filter.finish();
        }
        fields.finish_with(&[
            ("service", "name"),
            ("serviceName", "name"),
            ("servicePort", "port"),
        ]);
        Backend {
            target,
            weight,
            headers,
        }
    }
}

impl Target {
    pub(super) fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let target = Target::of(&fields);
        fields.finish();
        target
    }

    fn of(fields: &Fields<'_>) -> Self {
        Target {
            group: fields.string("group"),
            kind: optional(fields, "kind").unwrap_or_else(|| "Service".to_owned()),
            namespace: optional(fields, "namespace"),
            name: fields
                .require("name")
                .map(|at| at.string())
                .unwrap_or_default(),
            port: fields.get("port").map(|at| u32::from(at.port())),
        }
    }
}
