//! `filters` of a rule, as the parts of Istio's route that they become.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Target, optional};
use crate::model::{
    Cors, HeaderOps, HttpRoute, MirrorAmount, Redirect, RedirectPort, Rewrite, StringMatch, quoted,
};
use crate::yaml::{At, Fields};

/// Puts a filter into a route; false if istiod takes none of the rules then.
pub(super) fn read(
    at: &At<'_>,
    route: &mut HttpRoute,
    mirrors: &mut Vec<(Target, MirrorAmount)>,
    is_http: bool,
) -> bool {
    let fields = at.fields();
    let kind = fields.string("type");
    let mut valid = true;
    match kind.as_str() {
        "RequestHeaderModifier" => {
            if let Some(at) = fields.get("requestHeaderModifier") {
                route.headers.get_or_insert_default().request = header_operations(&at);
            }
        }
        "ResponseHeaderModifier" => {
            if let Some(at) = fields.get("responseHeaderModifier") {
                route.headers.get_or_insert_default().response = header_operations(&at);
            }
        }
        "RequestMirror" => {
            if let Some(at) = fields.get("requestMirror") {
                mirrors.push(mirror(&at));
            }
        }
        "RequestRedirect" if is_http => {
            route.redirect = fields.get("requestRedirect").map(|at| redirect(&at));
        }
        "URLRewrite" if is_http => {
            route.rewrite = fields.get("urlRewrite").and_then(|at| rewrite(&at));
        }
        "CORS" if is_http => route.cors = fields.get("cors").map(|at| cors(&at)),
        other => {
            at.without_effect(
                format_args!("unsupported filter type {other:?}: istiod drops the whole route"),
                "remove it",
            );
            fields.ignore(&["extensionRef", "externalAuth"]);
            valid = false;
        }
    }
    fields.finish();
    valid
}

pub(super) fn header_operations(at: &At<'_>) -> HeaderOps {
    let fields = at.fields();
    let map = |name: &'static str| {
        let mut map = BTreeMap::new();
        for (name, value) in fields.list(name, |at| {
            let fields = at.fields();
            let header = (fields.string("name").to_lowercase(), fields.string("value"));
            fields.finish();
            header
        }) {
            // of the same name the first one counts
            map.entry(name).or_insert(value);
        }
        map
    };
    let operations = HeaderOps {
        set: map("set"),
        add: map("add"),
        remove: fields.strings("remove"),
    };
    fields.finish();
    operations
}

fn mirror(at: &At<'_>) -> (Target, MirrorAmount) {
    let fields = at.fields();
    let target = fields.require("backendRef").map(|at| Target::read(&at));
    let mut amount = MirrorAmount::All;
    let percent = fields.get("percent");
    if let Some(at) = &percent {
        amount = MirrorAmount::Fraction(at.number(100).into());
    }
    if let Some(at) = fields.get("fraction") {
        amount = MirrorAmount::Fraction(fraction(&at));
        if percent.is_some() {
            at.refuse(
                "only one of percent or fraction may be specified",
                "keep one of them",
            );
        }
    }
    fields.finish();
    let target = target.unwrap_or_else(|| Target {
        group: String::new(),
        kind: "Service".to_owned(),
        namespace: None,
        name: String::new(),
        port: None,
    });
    (target, amount)
}

/// In percent, within the bounds of the API's schema.
fn fraction(at: &At<'_>) -> f64 {
    const LARGEST: u32 = i32::MAX as u32;
    let fields = at.fields();
    let number = |name| fields.get(name).map(|at: At<'_>| at.number(LARGEST));
    let numerator = number("numerator").unwrap_or_default();
    let denominator = number("denominator").unwrap_or(100);
    fields.finish();
    if denominator == 0 {
        at.refuse("the denominator is 0", "write 1 or more");
        return 0.0;
    }
    if numerator > denominator {
        at.refuse(
            "numerator must be less than or equal to denominator",
            "write a part of the whole",
        );
    }
    100.0 * f64::from(numerator) / f64::from(denominator)
}

/// `path` of a redirect or rewrite: (whole path, prefix).
fn path(fields: &Fields<'_>) -> (Option<String>, Option<String>) {
    let Some(at) = fields.get("path") else {
        return (None, None);
    };
    let fields = at.fields();
    let words = [("ReplaceFullPath", true), ("ReplacePrefixMatch", false)];
    let is_full = fields.require("type").and_then(|at| at.word(&words));
    let (full, prefix) = (
        optional(&fields, "replaceFullPath"),
        optional(&fields, "replacePrefixMatch"),
    );
    fields.finish();
    match is_full {
        Some(true) => (full, None),
        _ => (None, prefix),
    }
}

fn redirect(at: &At<'_>) -> Redirect {
    let fields = at.fields();
    let (full, prefix) = path(&fields);
    let scheme = fields.string("scheme");
    let port = match fields.get("port") {
        Some(at) => RedirectPort::Number(u32::from(at.port())),
        None if !scheme.is_empty() => RedirectPort::ProtocolDefault,
        None => RedirectPort::Request,
    };
    let redirect = Redirect {
        uri: full.unwrap_or_default(),
        prefix_rewrite: prefix.unwrap_or_default(),
        authority: fields.string("hostname"),
        scheme,
        port: Some(port),
        // the API server writes this one
        code: fields.get("statusCode").map_or(302, |at| at.number(399)),
    };
    fields.finish();
    redirect
}

fn rewrite(at: &At<'_>) -> Option<Rewrite> {
    let fields = at.fields();
    let (full, prefix) = path(&fields);
    let uri = prefix.map(|prefix| {
        let trimmed = prefix.strip_suffix('/').unwrap_or(&prefix);
        match trimmed {
            // the prefix goes away
            "" => "/".to_owned(),
            trimmed => trimmed.to_owned(),
        }
    });
    let rewrite = Rewrite {
        uri: uri.unwrap_or_default(),
        authority: fields.string("hostname"),
        regex: full.map(|path| ("/.*".to_owned(), path)),
    };
    fields.finish();
    (rewrite != Rewrite::default()).then_some(rewrite)
}

fn cors(at: &At<'_>) -> Cors {
    let fields = at.fields();
    let origins = fields.strings("allowOrigins");
    let origin = |origin: String| {
        if origin == "*" {
            StringMatch::Regex(r"^[a-zA-Z][a-zA-Z0-9+.-]*://[^/\s?#]+$".to_owned())
        } else if !origin.contains('*') {
            StringMatch::Exact(origin)
        } else if let Some(prefix) = origin.strip_suffix('*')
            && !prefix.contains('*')
        {
            StringMatch::Prefix(prefix.to_owned())
        } else {
            StringMatch::Regex(format!("^{}$", quoted(&origin).replace(r"\*", ".*")))
        }
    };
    let cors = Cors {
        allow_origins: origins
            .into_iter()
            .filter(|o| !o.is_empty())
            .map(origin)
            .collect(),
        allow_methods: fields.strings("allowMethods"),
        allow_headers: fields.strings("allowHeaders"),
        expose_headers: fields.strings("exposeHeaders"),
        // the API server writes five seconds
        max_age: match fields.get("maxAge").map_or(5, |at| at.number(u32::MAX)) {
            0 => None,
            seconds => Some(Duration::from_secs(seconds.into())),
        },
        allow_credentials: fields
            .get("allowCredentials")
            .and_then(|at| at.bool().then_some(true)),
        forward_unmatched_preflights: false,
    };
    fields.finish();
    cors
}
