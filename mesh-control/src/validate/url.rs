//! URLs, as far as Go's parser refuses some.

/// The parts that Go checks.
struct Url<'a> {
    scheme: String,
    rest: &'a str,
}

/// Go's `url.Parse`.
fn parse(text: &str) -> Result<Url<'_>, String> {
    parse_main(text, text.split_once('#').map_or(text, |(main, _)| main))
}

/// Without the fragment, which is in `text` only.
fn parse_main<'a>(text: &str, main: &'a str) -> Result<Url<'a>, String> {
    let fail = |what: &str| Err(format!("parse {text:?}: {what}"));
    if text.bytes().any(|b| b < b' ' || b == 0x7f) {
        return fail("invalid control character in URL");
    }
    let (scheme, rest) = match split_scheme(main) {
        Ok(parts) => parts,
        Err(what) => return fail(what),
    };
    let path_and_host = rest.split_once('?').map_or(rest, |(rest, _)| rest);
    if let Some(after) = path_and_host.strip_prefix("//") {
        let authority = after.split('/').next().unwrap_or_default();
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        if !user
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&b))
        {
            return fail("invalid userinfo");
        }
        if let Err(what) = check_host(host) {
            return fail(what);
        }
    } else if scheme.is_empty()
        && !path_and_host.starts_with('/')
        && path_and_host
            .split('/')
            .next()
            .is_some_and(|segment| segment.contains(':'))
    {
        return fail("first path segment in URL cannot contain colon");
    }
    let bytes = path_and_host.as_bytes();
    for (i, _) in path_and_host.match_indices('%') {
        let hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
        if !hex(i + 1) || !hex(i + 2) {
            return fail("invalid URL escape");
        }
    }
    Ok(Url {
        scheme: scheme.to_lowercase(),
        rest,
    })
}

fn split_scheme(text: &str) -> Result<(&str, &str), &'static str> {
    for (i, b) in text.bytes().enumerate() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if i > 0 => {}
            b':' if i == 0 => return Err("missing protocol scheme"),
            b':' => return Ok((&text[..i], &text[i + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

fn check_host(host: &str) -> Result<(), &'static str> {
    let port = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((_, port)) => port,
            None => return Err("missing ']' in host"),
        },
        None => host.find(':').map_or("", |at| &host[at..]),
    };
    let is_port = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    if !is_port {
        return Err("invalid port after host");
    }
    let odd = |b: u8| {
        b.is_ascii() && !(b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]<>\"%".contains(&b))
    };
    if host.bytes().any(odd) {
        return Err("invalid character in host name");
    }
    Ok(())
}

/// An address of keys: HTTP or HTTPS.
pub(super) fn check_http(text: &str) -> Result<(), String> {
    let url = parse(text)?;
    match &*url.scheme {
        "http" | "https" => Ok(()),
        scheme => Err(format!("URI scheme {scheme:?} is not supported")),
    }
}

/// An address of a Wasm module: with a scheme, or a host and path.
pub(super) fn check_wasm(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("url field needs to be set".to_owned());
    }
    let scheme = match request_uri(text) {
        Ok(scheme) => scheme,
        Err(wrong) => {
            let with_scheme = format!("http://{text}");
            request_uri(&with_scheme).map_err(|_| format!("failed to parse url: {wrong}"))?
        }
    };
    match &*scheme {
        "" | "file" | "http" | "https" | "oci" => Ok(()),
        scheme => Err(format!("url contains unsupported scheme: {scheme}")),
    }
}

/// Go's `url.ParseRequestURI`: absolute, or a path that starts with a slash. Gives the scheme.
fn request_uri(text: &str) -> Result<String, String> {
    let url = parse_main(text, text)?;
    parse(text)?;
    match url.rest.starts_with('/') || !url.scheme.is_empty() {
        true => Ok(url.scheme),
        false => Err(format!("parse {text:?}: invalid URI for request")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes() {
        assert!(check_http("https://a.b/keys").is_ok());
        for wrong in [
            "",
            "hTPp\\://a",
            "ftp://a",
            "http://a:b/",
            "http://[::1",
            "a.b/c",
        ] {
            assert!(check_http(wrong).is_err(), "{wrong}");
        }
        for right in ["oci://a/b", "a.io/b:v1", "file:///x"] {
            assert!(
                check_wasm(right).is_ok(),
                "{right}: {:?}",
                check_wasm(right)
            );
        }
        for wrong in ["", "ftp://a", "#%blah$#@", "a.io:5000/b"] {
            assert!(check_wasm(wrong).is_err(), "{wrong}");
        }
    }
}
