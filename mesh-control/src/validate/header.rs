//! Names and values of headers.

use super::part::Part;

/// A token of RFC 9110.
pub(super) fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case(":authority") || name.eq_ignore_ascii_case("host")
}

/// The claim that a header match of the form `@request.auth.claims…` names.
pub(crate) fn is_claim(name: &str) -> bool {
    const PREFIX: &str = "@request.auth.claims";
    let Some(rest) = name.get(PREFIX.len()..) else {
        return false;
    };
    name[..PREFIX.len()].eq_ignore_ascii_case(PREFIX)
        && (rest.starts_with('.') && rest.len() > 1
            || rest.starts_with('[') && rest.ends_with(']') && rest.len() > 2)
}

/// Reports a name in a match.
pub(super) fn check_matched_name(at: &Part<'_>, name: &str) {
    let is_pseudo = [":method", ":scheme", ":authority", ":path", ":status"].contains(&name);
    if name.is_empty() {
        at.refuse("header name cannot be empty", "write a header's name");
    } else if !is_claim(name) && !is_pseudo && !is_token(name) {
        at.refuse(
            format_args!("header name {name} is not a valid header name"),
            "write letters, digits and -",
        );
    }
}

/// Reports what is wrong with a `headers` field.
pub(super) fn check_operations(of: &Part<'_>) {
    let Some(headers) = of.get("headers") else {
        return;
    };
    for (direction, with_authority) in [("request", true), ("response", false)] {
        let Some(operations) = headers.get(direction) else {
            continue;
        };
        for list in ["add", "set"] {
            for (name, at) in operations.map(list) {
                check_name(&at, name, with_authority);
                check_value(&at);
            }
        }
        for at in operations.list("remove") {
            check_name(&at, at.as_text(), false);
        }
    }
}

fn check_name(at: &Part<'_>, name: &str, with_authority: bool) {
    if name.is_empty() {
        at.refuse("header name cannot be empty", "write a header's name");
    } else if with_authority && is_authority(name) {
    } else if name.eq_ignore_ascii_case("host") {
        at.refuse(
            format_args!("invalid header {name:?}: cannot set Host header"),
            "use rewrite.authority",
        );
    } else if name.starts_with(':') {
        at.refuse(
            format_args!("invalid header {name:?}: header cannot have \":\" prefix"),
            "use rewrite, or write a usual header",
        );
    }
}

fn check_value(at: &Part<'_>) {
    let value = at.as_text();
    if value.chars().any(|c| c != '\t' && c.is_ascii_control()) {
        at.refuse(
            format_args!("header value configuration {value} is invalid"),
            "remove its control characters",
        );
    } else if let Err(wrong) = operators(value) {
        at.refuse(
            format_args!("header value configuration: {wrong}"),
            "write %% for a percent sign",
        );
    }
}

/// Whether every `%OPERATOR%` ends, as Istio's copy of Envoy's former parser sees it.
fn operators(value: &str) -> Result<(), String> {
    enum State {
        Literal,
        Name,
        Array,
        String,
        InString,
        Delimiter,
        ArgumentsEnd,
        End,
    }
    let bytes = value.as_bytes();
    let mut state = State::Literal;
    let mut at = 0;
    while at < bytes.len() {
        let (byte, next) = (bytes[at], bytes.get(at + 1));
        state = match (state, byte) {
            (State::Literal, b'%') => match next {
                None => return Err("Un-escaped %".to_owned()),
                Some(b'%') => {
                    at += 1;
                    State::Literal
                }
                Some(_) => State::Name,
            },
            (State::Literal, _) | (State::Name | State::End, b'%') => State::Literal,
            (State::Name, b'(') => State::Array,
            (State::Name, _) => State::Name,
            (State::Array, b'[') => State::String,
            (State::Array, b' ') => State::Array,
            (State::Array, _) => State::InString,
            (State::Delimiter, b',') => State::String,
            (State::Delimiter, b']') => State::ArgumentsEnd,
            (State::Delimiter, b' ') => State::Delimiter,
            (State::Delimiter, _) => return Err("expecting ',', ']', or whitespace".to_owned()),
            (State::String, b'"') => State::InString,
            (State::String, b' ') => State::String,
            (State::String, _) => return Err("expecting '\"'".to_owned()),
            (State::InString, b'\\') => {
                if next.is_none() {
                    return Err("un-terminated backslash".to_owned());
                }
                at += 1;
                State::InString
            }
            (State::InString | State::ArgumentsEnd, b')') => State::End,
            (State::InString, b'"') => State::Delimiter,
            (State::InString, _) => State::InString,
            (State::ArgumentsEnd, b' ') => State::ArgumentsEnd,
            (State::ArgumentsEnd, _) => return Err("expecting ')' or whitespace".to_owned()),
            (State::End, b' ') => State::End,
            (State::End, _) => return Err("expecting '%' or whitespace".to_owned()),
        };
        at += 1;
    }
    match state {
        State::Literal => Ok(()),
        _ => Err(format!("un-terminated variable expression '{value}'")),
    }
}

/// Reports an authority that is written in more than one place.
pub(super) fn check_single_authority(route: &Part<'_>) {
    let rewritten = route
        .get("rewrite")
        .is_some_and(|rewrite| !rewrite.text("authority").is_empty());
    let mut current = rewritten;
    let request = route.get("headers").and_then(|h| h.get("request"));
    for (name, at) in ["set", "add"]
        .into_iter()
        .filter_map(|list| Some(request.as_ref()?.map(list)))
        .flatten()
    {
        if !is_authority(name) {
            continue;
        }
        if current {
            at.refuse(
                "authority header cannot be set multiple times",
                "keep one place that writes it",
            );
            return;
        }
        current = !at.as_text().is_empty();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_end() {
        for right in [
            "foo",
            "%HOSTNAME%",
            "100%%",
            "%REQ(a)%",
            "%A([\"b\", \"c\"])%",
        ] {
            assert_eq!(operators(right), Ok(()), "{right}");
        }
        for wrong in ["abc%123", "%", "%START_TIME%%", "%A([b])%"] {
            assert!(operators(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn claims() {
        assert!(is_claim("@request.auth.claims.sub"));
        assert!(is_claim("@Request.auth.claims[sub]"));
        assert!(!is_claim("@request.auth.claims"));
        assert!(!is_claim("@request.auth.claims[]"));
    }
}
