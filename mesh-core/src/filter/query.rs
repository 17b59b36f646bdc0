use std::collections::BTreeMap;

/// A query, percent-decoded, by name (Envoy `QueryParamsMulti`).
pub(crate) struct Query(pub(crate) BTreeMap<Vec<u8>, Vec<Vec<u8>>>);

impl Query {
    pub(crate) fn parse(path: &str) -> Self {
        let mut parameters = BTreeMap::<_, Vec<_>>::new();
        let Some((_, mut rest)) = path.split_once('?') else {
            return Self(parameters);
        };
        // An empty rest ends it, an empty parameter does not.
        while !rest.is_empty() {
            let (parameter, after) = rest.split_once('&').unwrap_or((rest, ""));
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let values = parameters.entry(decoded(name)).or_default();
            values.push(decoded(value));
            rest = after;
        }
        Self(parameters)
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.remove(name.as_bytes());
    }

    /// The path with this query instead of its own.
    pub(crate) fn replaced_in(&self, path: &str) -> Vec<u8> {
        let mut out = path
            .split('?')
            .next()
            .unwrap_or_default()
            .as_bytes()
            .to_vec();
        let mut separator = b'?';
        let write = |out: &mut Vec<u8>, text: &[u8]| {
            for byte in text {
                match byte {
                    0..=b' ' | b'"' | b'#' | b'<' | b'>' | 0x7f.. => {
                        out.extend(format!("%{byte:02X}").bytes());
                    }
                    _ => out.push(*byte),
                }
            }
        };
        for (name, values) in &self.0 {
            for value in values {
                out.push(separator);
                write(&mut out, name);
                out.push(b'=');
                write(&mut out, value);
                separator = b'&';
            }
        }
        out
    }
}

/// All but letters, digits and `*-._` as `%XX` (Envoy `PercentEncoding::urlEncode`).
pub(super) fn encoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => out.push(*byte),
            _ => out.extend(format!("%{byte:02X}").bytes()),
        }
    }
    out
}

/// `%XX` as the byte (Envoy `PercentEncoding::decode`).
pub(super) fn decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let digit = |at: usize| {
        bytes
            .get(at)
            .and_then(|byte| char::from(*byte).to_digit(16))
    };
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or_default());
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_sorted_and_decoded() {
        let query = Query::parse("/a?b=1&a=%78&&b&c=%2&d=%20");
        assert_eq!(query.replaced_in("/a?b=1"), b"/a?=&a=x&b=1&b=&c=%2&d=%20");
        assert_eq!(encoded(b"a/ *%"), b"a%2F%20*%25");
        assert_eq!(Query::parse("/a").replaced_in("/a"), b"/a");
        assert_eq!(Query::parse("/a?").replaced_in("/a?"), b"/a");
    }
}
