use mesh_core::grpc::STATUS_NAMES;

use super::part::Part;
use super::{destination, header, names};
use crate::model::RETRY_POLICIES;

pub(super) fn check(route: &Part<'_>, is_delegate: bool, converted: bool) {
    check_conflicts(route, is_delegate);
    for matched in route.list("match") {
        check_match(&matched);
    }
    header::check_operations(route);
    if let Some(cors) = route.get("corsPolicy") {
        check_cors(&cors);
    }
    if let Some(fault) = route.get("fault") {
        check_fault(&fault);
    }
    if route.number("mirrorPercent") > 100 {
        route.refuse_at(
            "mirrorPercent",
            "mirror_percent must have a max value of 100",
            "write a number from 0 to 100",
        );
    }
    if let Some(percentage) = route.get("mirrorPercentage") {
        check_mirror_percentage(&percentage);
    }
    if let Some(mirror) = route.get("mirror") {
        destination::check(&mirror);
    }
    for mirror in route.list("mirrors") {
        match mirror.get("destination") {
            None => mirror.refuse(
                "destination is required for mirrors",
                "add destination: {host: …}",
            ),
            Some(to) => {
                destination::check(&to);
                if let Some(percentage) = mirror.get("percentage") {
                    check_mirror_percentage(&percentage);
                }
            }
        }
    }
    if let Some(redirect) = route.get("redirect") {
        check_redirect(&redirect, route);
    }
    if let Some(response) = route.get("directResponse") {
        check_direct_response(&response);
    }
    if let Some(retries) = route.get("retries") {
        check_retries(&retries);
    }
    if let Some(rewrite) = route.get("rewrite") {
        check_rewrite(&rewrite);
    }
    header::check_single_authority(route);
    destination::check_weighted(&route.about("route"), &route.list("route"), converted);
    names::check_duration_of(route, "timeout");
}

fn check_conflicts(route: &Part<'_>, is_delegate: bool) {
    let has_route = !route.list("route").is_empty();
    if route.has("delegate") && !is_delegate {
        for (name, is_there) in [("redirect", route.has("redirect")), ("route", has_route)] {
            if is_there {
                route.refuse_at(
                    name,
                    format_args!("root HTTP route must not specify {name}"),
                    "keep delegate only",
                );
            }
        }
        return;
    }
    if is_delegate && route.has("delegate") {
        route.refuse_at(
            "delegate",
            "delegate HTTP route cannot contain delegate",
            "remove it",
        );
    }
    let winner = ["redirect", "directResponse"]
        .into_iter()
        .find(|name| route.has(name));
    match winner {
        Some(name) => {
            for other in ["route", "fault", "rewrite", "directResponse"] {
                let is_there = match other {
                    "route" => has_route,
                    other => other != name && route.has(other),
                };
                if is_there {
                    route.refuse_at(
                        other,
                        format_args!("HTTP route cannot contain both {other} and {name}"),
                        "keep one of them",
                    );
                }
            }
        }
        None if !has_route => route.refuse(
            "HTTP route, redirect or direct_response is required",
            "add route: [{destination: {host: …}}]",
        ),
        None => {}
    }
    if route.has("mirror") && !route.list("mirrors").is_empty() {
        route.refuse_at(
            "mirror",
            "HTTP route cannot contain both mirror and mirrors",
            "write mirrors only",
        );
    }
}

const FORMS: [&str; 3] = ["exact", "prefix", "regex"];

/// `empty_prefix`: an empty prefix is fine.
fn check_string_match(at: &Part<'_>, empty_prefix: bool) {
    match at.one_of(&FORMS) {
        Some(("prefix", prefix)) if prefix.as_text().is_empty() && !empty_prefix => prefix.refuse(
            "prefix string match should not be empty",
            "write a prefix, or remove the match",
        ),
        Some(("regex", regex)) if regex.as_text().is_empty() => regex.refuse(
            "regex string match should not be empty",
            "write an expression, or remove the match",
        ),
        Some(("regex", regex)) => names::check_regex(&regex, regex.as_text()),
        _ => {}
    }
}

fn check_match(matched: &Part<'_>) {
    for (name, at) in matched.map("headers") {
        header::check_matched_name(&at, name);
        check_string_match(&at, false);
    }
    for (name, at) in matched.map("withoutHeaders") {
        header::check_matched_name(&at, name);
        // `*` means that it is there, it is no expression
        let is_presence = matches!(at.one_of(&FORMS), Some(("regex", r)) if r.as_text() == "*");
        if !is_presence {
            check_string_match(&at, false);
        }
    }
    for name in ["uri", "scheme", "method", "authority"] {
        if let Some(at) = matched.get(name) {
            check_string_match(&at, name == "uri");
        }
    }
    for (_, at) in matched.map("queryParams") {
        check_string_match(&at, false);
    }
    if matched.number("port") != 0 {
        names::check_port_of(matched, "port");
    }
    names::check_labels(matched, "sourceLabels");
    names::check_gateway_names(matched, false);
    let namespace = matched.text("sourceNamespace");
    if !namespace.is_empty() && !names::is_label(namespace) {
        matched.refuse_at(
            "sourceNamespace",
            format_args!("sourceNamespace match {namespace} is invalid"),
            "write a namespace",
        );
    }
}

fn check_cors(cors: &Part<'_>) {
    for origin in cors.list("allowOrigins") {
        match origin.one_of(&FORMS) {
            Some((_, text)) if text.as_text().is_empty() => text.refuse(
                "'' is not a valid match type for CORS allow origins",
                "write an origin such as https://example.com",
            ),
            None => origin.refuse(
                "'' is not a valid match type for CORS allow origins",
                "write exact, prefix or regex",
            ),
            Some(("regex", regex)) => names::check_regex(&regex, regex.as_text()),
            Some(_) => {}
        }
    }
    const METHODS: [&str; 10] = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*",
    ];
    for method in cors.list("allowMethods") {
        if !METHODS.contains(&method.as_text()) {
            method.refuse(
                format_args!("{:?} is not a supported HTTP method", method.as_text()),
                format_args!("write one of {}", METHODS.join(", ")),
            );
        }
    }
    for list in ["allowHeaders", "exposeHeaders"] {
        for name in cors.list(list) {
            if !header::is_token(name.as_text()) {
                name.refuse(
                    format_args!("header name {} is not a valid header name", name.as_text()),
                    "write letters, digits and -",
                );
            }
        }
    }
    if let Some(age) = cors.get("maxAge") {
        names::check_duration(&age);
        if age.nanos() % 1_000_000_000 > 0 {
            age.refuse(
                "max_age duration is accurate only to seconds precision",
                "write whole seconds",
            );
        }
    }
}

fn check_percentage(of: &Part<'_>) {
    let Some(at) = of.get("percentage") else {
        return;
    };
    let value = at.float("value");
    if !(0.0..=100.0).contains(&value) && !value.is_nan() || value > 0.0 && value < 0.0001 {
        at.refuse_at(
            "value",
            format_args!("percentage {value} is neither 0.0, nor in range [0.0001, 100.0]"),
            "write a number from 0 to 100",
        );
    }
}

fn check_fault(fault: &Part<'_>) {
    let (abort, delay) = (fault.get("abort"), fault.get("delay"));
    if abort.is_none() && delay.is_none() {
        fault.refuse(
            "HTTP fault injection must have an abort and/or a delay",
            "add abort or delay",
        );
    }
    if let Some(abort) = abort {
        check_percentage(&abort);
        match abort.one_of(&["httpStatus", "grpcStatus", "http2Error"]) {
            Some(("http2Error", at)) => at.refuse(
                "HTTP/2 abort fault injection not supported yet",
                "write httpStatus or grpcStatus",
            ),
            Some(("httpStatus", at)) => check_status(&at, at.as_number()),
            Some((_, at)) => check_grpc_status(&at),
            None => abort.warn_at(
                "",
                "abort configured, but error type not set",
                "add httpStatus",
            ),
        }
    }
    if let Some(delay) = delay {
        check_percentage(&delay);
        match delay.one_of(&["fixedDelay", "exponentialDelay"]) {
            Some(("fixedDelay", at)) => names::check_duration(&at),
            Some((_, at)) => at.refuse("exponentialDelay not supported yet", "write fixedDelay"),
            None => {}
        }
    }
}

fn check_status(at: &Part<'_>, status: i128) {
    if !(200..=600).contains(&status) {
        at.refuse(
            format_args!("HTTP status {status} is not in range 200-599"),
            "write a status",
        );
    }
}

fn check_grpc_status(at: &Part<'_>) {
    let status = at.as_text();
    if !STATUS_NAMES.contains(&status) {
        at.refuse(
            format_args!("gRPC status {status:?} is not supported"),
            "write one such as NOT_FOUND",
        );
    }
}

fn check_mirror_percentage(at: &Part<'_>) {
    let value = at.float("value");
    if !(0.0..=100.0).contains(&value) && !value.is_nan() {
        at.refuse_at(
            "value",
            format_args!("mirror percentage must be from 0 to 100 (it has {value})"),
            "write a number from 0 to 100",
        );
    }
}

/// What is wrong first is reported alone.
fn check_redirect(redirect: &Part<'_>, route: &Part<'_>) {
    let set = |name: &str| !redirect.text(name).is_empty();
    if set("uri") && set("prefixRewrite") {
        return redirect.refuse(
            "redirect may only specify one of uri or prefix_rewrite",
            "keep one of them",
        );
    }
    if set("prefixRewrite") {
        let other = route.list("match").into_iter().find_map(|matched| {
            let uri = matched.get("uri")?;
            (!matches!(uri.one_of(&FORMS), Some(("prefix", _)))).then_some(uri)
        });
        if let Some(uri) = other {
            return uri.refuse(
                "redirect prefix_rewrite requires all URI matches to use prefix match type",
                "match a prefix",
            );
        }
    }
    let port = redirect.one_of(&["port", "derivePort"]);
    if !["uri", "prefixRewrite", "authority", "scheme"]
        .into_iter()
        .any(set)
        && port.is_none()
    {
        return redirect.refuse(
            "redirect must specify URI, authority, scheme, or port",
            "add one of them",
        );
    }
    let code = redirect.number("redirectCode");
    if code != 0 && !(300..=399).contains(&code) {
        return redirect.refuse_at(
            "redirectCode",
            format_args!("{code} is not a valid redirect code, must be 3xx"),
            "use 301, 302, 303, 307 or 308",
        );
    }
    if !matches!(redirect.text("scheme"), "" | "http" | "https") {
        return redirect.refuse_at(
            "scheme",
            "invalid redirect scheme, must be \"http\" or \"https\"",
            "write http or https",
        );
    }
    if let Some(("port", port)) = port
        && port.as_number() > 0
    {
        names::check_port(&port);
    }
}

fn check_direct_response(response: &Part<'_>) {
    if let Some(body) = response.get("body") {
        let length = match body.one_of(&["string", "bytes"]) {
            Some(("bytes", bytes)) => {
                let text = bytes.as_text();
                let digits = text.bytes().filter(|b| !b"=\r\n".contains(b)).count();
                digits * 3 / 4
            }
            Some((_, text)) => text.as_text().len(),
            None => 0,
        };
        if length > 1 << 20 {
            body.refuse(
                "large direct_responses may impact control plane performance, must be less than 1MB",
                "send less",
            );
        } else if length > 100 << 10 {
            response.warn_at(
                "body",
                "large direct_responses may impact control plane performance",
                "send less",
            );
        }
    }
    check_status(&response.about("status"), response.number("status"));
}

fn check_retries(retries: &Part<'_>) {
    let attempts = retries.number("attempts");
    if attempts < 0 {
        retries.refuse_at("attempts", "attempts cannot be negative", "write 0 or more");
    }
    let retry_on = retries.text("retryOn");
    if attempts == 0
        && (retries.has("perTryTimeout")
            || !retry_on.is_empty()
            || retries.has("retryRemoteLocalities"))
    {
        retries.refuse(
            "http retry policy configured when attempts are set to 0 (disabled)",
            "write attempts, or remove the rest",
        );
    }
    names::check_duration_of(retries, "perTryTimeout");
    names::check_duration_of(retries, "backoff");
    if retry_on.is_empty() {
        return;
    }
    for condition in retry_on.split(',') {
        let status = condition.parse::<i64>().unwrap_or(0);
        if !is_http_status(status) && !RETRY_POLICIES.contains(&condition) {
            let suggestion = match crate::yaml::nearest(condition, &RETRY_POLICIES) {
                Some(name) => format!("did you mean {name}?"),
                None => format!("write statuses, or some of {}", RETRY_POLICIES.join(", ")),
            };
            retries.refuse_at(
                "retryOn",
                format_args!("{condition:?} is not a valid retryOn policy"),
                suggestion,
            );
        }
    }
}

/// A status that has a name in Go.
fn is_http_status(status: i64) -> bool {
    matches!(
        status,
        100..=103 | 200..=208 | 226 | 300..=305 | 307 | 308 | 400..=418 | 421..=426 | 428 | 429 | 431 | 451 | 500..=508 | 510 | 511
    )
}

fn check_rewrite(rewrite: &Part<'_>) {
    let regex = rewrite.get("uriRegexRewrite");
    let uri = !rewrite.text("uri").is_empty();
    if uri && regex.is_some() {
        return rewrite.refuse(
            "rewrite may only contain one of URI or UriRegexRewrite",
            "keep one of them",
        );
    }
    let Some(regex) = regex else {
        if !uri && rewrite.text("authority").is_empty() {
            rewrite.refuse(
                "rewrite must specify at least one of URI, UriRegexRewrite, or authority",
                "add one of them",
            );
        }
        return;
    };
    if regex.text("match").is_empty() || regex.text("rewrite").is_empty() {
        return regex.refuse(
            "UriRegexRewrite requires both Rewrite and Match fields to be specified",
            "add both",
        );
    }
    names::check_regex(&regex.about("match"), regex.text("match"));
}
