use std::time::Duration;

use super::mirror::{mirror_amount, mirrors};
use super::{Cors, Fault, Headers, HttpMatch, Mirror, MirrorAmount, Retries, names};
use crate::yaml::{At, Mark};

/// One entry of `http`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct HttpRoute {
    pub(crate) mark: Mark,
    pub(crate) name: String,
    pub(crate) matches: Vec<HttpMatch>,
    pub(crate) route: Vec<HttpDestination>,
    pub(crate) redirect: Option<Redirect>,
    pub(crate) direct_response: Option<DirectResponse>,
    pub(crate) rewrite: Option<Rewrite>,
    /// `None`: no timeout.
    pub(crate) timeout: Option<Duration>,
    /// `None`: the mesh's default.
    pub(crate) retries: Option<Retries>,
    pub(crate) fault: Option<Fault>,
    /// `mirror`.
    pub(crate) mirror: Option<Destination>,
    /// `mirrorPercentage`, else `mirrorPercent`.
    pub(crate) mirror_amount: Option<MirrorAmount>,
    pub(crate) mirrors: Vec<Mirror>,
    pub(crate) cors: Option<Cors>,
    pub(crate) headers: Option<Headers>,
    /// (namespace, name) of the VirtualService whose routes stand here.
    pub(crate) delegate: Option<(String, String)>,
}

/// `destination`: where requests go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Destination {
    /// Resolved to a full name.
    pub(crate) host: String,
    pub(crate) subset: String,
    pub(crate) port: Option<u32>,
}

/// An entry of `route`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpDestination {
    pub(crate) destination: Destination,
    pub(crate) weight: u32,
    pub(crate) headers: Headers,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Redirect {
    pub(crate) uri: String,
    pub(crate) prefix_rewrite: String,
    pub(crate) authority: String,
    pub(crate) scheme: String,
    pub(crate) port: Option<RedirectPort>,
    /// 0: 301.
    pub(crate) code: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RedirectPort {
    Number(u32),
    /// The scheme's own.
    ProtocolDefault,
    /// That of the request.
    Request,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DirectResponse {
    pub(crate) status: u32,
    pub(crate) body: Option<Body>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Text(String),
    Bytes(Vec<u8>),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rewrite {
    pub(crate) uri: String,
    pub(crate) authority: String,
    /// (match, rewrite).
    pub(crate) regex: Option<(String, String)>,
}

impl HttpRoute {
    pub(crate) fn read(at: At<'_>, namespace: &str, is_delegate: bool) -> Self {
        let fields = at.fields();
        let delegate = fields.get("delegate").map(|at| {
            if is_delegate {
                at.refuse("delegate HTTP route cannot contain delegate", "remove it");
            }
            let fields = at.fields();
            let name = fields.string("name");
            let namespace = match fields.string("namespace") {
                own if own.is_empty() => namespace.to_owned(),
                other => other,
            };
            fields.finish();
            (namespace, name)
        });
        if let Some(at) = fields.get("websocketUpgrade") {
            at.warn(
                "was removed from Istio, websockets are always allowed",
                "remove it",
            );
        }
        let route = HttpRoute {
            mark: at.mark(),
            name: fields.string("name"),
            matches: fields.list("match", |at| HttpMatch::read(at, namespace)),
            route: fields.list("route", |at| HttpDestination::read(at, namespace)),
            redirect: fields.get("redirect").map(Redirect::read),
            direct_response: fields.get("directResponse").map(DirectResponse::read),
            rewrite: fields.get("rewrite").map(Rewrite::read),
            timeout: fields.get("timeout").map(|at| at.duration_from_1ms()),
            retries: fields.get("retries").map(Retries::read),
            fault: fields.get("fault").map(Fault::read),
            mirror: fields
                .get("mirror")
                .map(|at| Destination::read(at, namespace)),
            mirror_amount: mirror_amount(&fields),
            mirrors: mirrors(&fields, namespace),
            cors: fields.get("corsPolicy").map(Cors::read),
            headers: Headers::read(&fields),
            delegate,
        };
        route.check(&at);
        fields.finish_with(&[
            ("retry", "retries"),
            ("destination", "route: [{destination: …}]"),
            ("cors", "corsPolicy"),
            ("perTryTimeout", "retries.perTryTimeout"),
            ("weight", "route[].weight"),
        ]);
        route
    }

    /// All that requests are mirrored to.
    pub(crate) fn all_mirrors(&self) -> impl Iterator<Item = (&Destination, MirrorAmount)> {
        let amount = self.mirror_amount.unwrap_or(MirrorAmount::All);
        let listed = self.mirrors.iter().map(|m| (&m.destination, m.amount));
        self.mirror.iter().map(move |m| (m, amount)).chain(listed)
    }

    fn check(&self, at: &At<'_>) {
        let has_route = !self.route.is_empty();
        let rewrites = self
            .rewrite
            .as_ref()
            .is_some_and(|rewrite| !rewrite.authority.is_empty());
        if rewrites && self.headers.as_ref().is_some_and(Headers::sets_authority) {
            at.refuse(
                "authority header cannot be set multiple times",
                "keep rewrite.authority or the header",
            );
        }
        if self.delegate.is_some() {
            if has_route || self.redirect.is_some() {
                at.refuse(
                    format_args!(
                        "root HTTP route {} must not specify route or redirect",
                        self.name
                    ),
                    "move it into the delegate",
                );
            }
            return;
        }
        if self.mirror.is_some() && !self.mirrors.is_empty() {
            at.refuse(
                "HTTP route cannot contain both mirror and mirrors",
                "keep mirrors",
            );
        }
        if self.direct_response.is_some() && (self.fault.is_some() || self.rewrite.is_some()) {
            at.refuse(
                "HTTP route cannot contain fault or rewrite with direct_response",
                "keep direct_response",
            );
        }
        if has_route && self.redirect.is_some() {
            at.refuse(
                "HTTP route cannot contain both route and redirect",
                "keep one of them",
            );
        }
        if has_route && self.direct_response.is_some() {
            at.refuse(
                "HTTP route cannot contain both route and direct_response",
                "keep one of them",
            );
        }
        if self.redirect.is_some() && self.direct_response.is_some() {
            at.refuse(
                "HTTP route cannot contain both redirect and direct_response",
                "keep one of them",
            );
        }
        if !has_route && self.redirect.is_none() && self.direct_response.is_none() {
            at.refuse(
                "HTTP route, redirect or direct_response is required",
                "add route with a destination",
            );
        }
        if self.redirect.is_some() && self.rewrite.is_some() {
            at.refuse(
                "HTTP route rule cannot contain both rewrite and redirect",
                "keep one of them",
            );
        }
        if self.redirect.is_some() && self.fault.is_some() {
            at.refuse(
                "HTTP route cannot contain both fault and redirect",
                "keep one of them",
            );
        }
        if self.route.len() > 1 && self.route.iter().all(|d| d.weight == 0) {
            at.refuse(
                "total destination weight = 0",
                "give at least one destination a weight",
            );
        }
    }
}

impl Destination {
    pub(crate) fn read(at: At<'_>, namespace: &str) -> Self {
        let fields = at.fields();
        let host = fields.require("host").map(|at| {
            let host = at.string();
            if let Some(wrong) = names::invalid_host(&host) {
                at.refuse(
                    format_args!("{host:?} {wrong}"),
                    "write the name of a service",
                );
            } else if host == "*" {
                at.refuse(
                    "destination host cannot be a wildcard",
                    "write the name of a service",
                );
            }
            names::resolve_host(&host, namespace)
        });
        let port = fields.get("port").and_then(|at| {
            let fields = at.fields();
            if let Some(at) = fields.get("name") {
                at.refuse(
                    "port name selectors were removed from Istio",
                    "use port.number",
                );
            }
            let named = fields.get("name").is_some();
            let number = if named {
                fields.get("number")
            } else {
                fields.require("number")
            };
            let port = number.map(|at| u32::from(at.port()));
            fields.finish();
            port
        });
        let destination = Destination {
            host: host.unwrap_or_default(),
            subset: fields.get("subset").map(subset_name).unwrap_or_default(),
            port,
        };
        fields.finish_with(&[
            ("name", "host"),
            ("service", "host"),
            ("weight", "weight beside destination"),
        ]);
        destination
    }
}

/// The name of a subset.
pub(crate) fn subset_name(at: At<'_>) -> String {
    let name = at.string();
    if !name.is_empty() && !names::is_label(&name) {
        at.refuse(
            format_args!("subset name is invalid: {name}"),
            "use letters, digits and hyphens",
        );
    }
    name
}

impl HttpDestination {
    fn read(at: At<'_>, namespace: &str) -> Self {
        let fields = at.fields();
        let destination = fields
            .require("destination")
            .map(|at| Destination::read(at, namespace));
        let read = HttpDestination {
            destination: destination.unwrap_or_default(),
            weight: fields
                .get("weight")
                .map_or(0, |at| at.number(i32::MAX as u32)),
            headers: Headers::read(&fields).unwrap_or_default(),
        };
        fields.finish_with(&[
            ("host", "destination.host"),
            ("subset", "destination.subset"),
            ("port", "destination.port"),
        ]);
        read
    }
}

impl Redirect {
    fn read(at: At<'_>) -> Self {
        let fields = at.fields();
        let number = fields
            .get("port")
            .map(|at| RedirectPort::Number(u32::from(at.port())));
        let derived = fields.get("derivePort").and_then(|at| {
            at.word(&[
                ("FROM_PROTOCOL_DEFAULT", RedirectPort::ProtocolDefault),
                ("FROM_REQUEST_PORT", RedirectPort::Request),
            ])
        });
        if number.is_some() && derived.is_some() {
            at.refuse("has both port and derivePort", "keep one of them");
        }
        let code = fields.get("redirectCode").map_or(0, |at| {
            let code = at.number(599);
            if code != 0 && !matches!(code, 301 | 302 | 303 | 307 | 308) {
                at.refuse(
                    format_args!("{code} is no redirect code"),
                    "use 301, 302, 303, 307 or 308",
                );
            }
            code
        });
        let redirect = Redirect {
            uri: fields.string("uri"),
            prefix_rewrite: fields.string("prefixRewrite"),
            authority: fields.string("authority"),
            scheme: fields.string("scheme"),
            port: number.or(derived),
            code,
        };
        let empty = redirect.uri.is_empty()
            && redirect.prefix_rewrite.is_empty()
            && redirect.authority.is_empty()
            && redirect.scheme.is_empty()
            && redirect.port.is_none();
        if empty {
            at.refuse(
                "redirect must specify URI, authority, scheme, or port",
                "add one of them",
            );
        }
        if !redirect.uri.is_empty() && !redirect.prefix_rewrite.is_empty() {
            at.refuse("has both uri and prefixRewrite", "keep one of them");
        }
        fields.finish();
        redirect
    }
}

impl DirectResponse {
    fn read(at: At<'_>) -> Self {
        let fields = at.fields();
        let status = fields.require("status").map_or(0, |at| {
            let status = at.number(599);
            if status < 200 {
                at.refuse(
                    format_args!("HTTP status {status} is not in range 200-599"),
                    "write a status",
                );
            }
            status
        });
        let body = fields.get("body").map(|at| {
            let fields = at.fields();
            let body = match fields.get("bytes") {
                Some(at) => Body::Bytes(read_base64(&at)),
                None => Body::Text(fields.string("string")),
            };
            fields.finish();
            body
        });
        let length = match &body {
            Some(Body::Text(text)) => text.len(),
            Some(Body::Bytes(bytes)) => bytes.len(),
            None => 0,
        };
        if length > 1 << 20 {
            at.refuse("response body size 1MB is exceeded", "send less");
        }
        fields.finish();
        DirectResponse { status, body }
    }
}

impl Rewrite {
    fn read(at: At<'_>) -> Self {
        let fields = at.fields();
        let regex = fields.get("uriRegexRewrite").map(|at| {
            let fields = at.fields();
            let pattern = fields.require("match").map(|at| {
                let regex = at.string();
                super::http_match::check_regex(&at, &regex);
                regex
            });
            let rewrite = fields.require("rewrite").map(|at| at.string());
            let pair = (pattern.unwrap_or_default(), rewrite.unwrap_or_default());
            fields.finish();
            pair
        });
        let rewrite = Rewrite {
            uri: fields.string("uri"),
            authority: fields.string("authority"),
            regex,
        };
        if rewrite.uri.is_empty() && rewrite.authority.is_empty() && rewrite.regex.is_none() {
            at.refuse(
                "rewrite must specify at least one of URI or authority",
                "add one of them",
            );
        }
        if !rewrite.uri.is_empty() && rewrite.regex.is_some() {
            at.refuse(
                "rewrite may only contain one of URI or uriRegexRewrite",
                "keep one of them",
            );
        }
        fields.finish();
        rewrite
    }
}

fn read_base64(at: &At<'_>) -> Vec<u8> {
    let text = at.string();
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => {
                at.refuse("is no base64", "write the bytes in base64, or use string");
                return Vec::new();
            }
        };
        bits = (bits << 6) | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}
