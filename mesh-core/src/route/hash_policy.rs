//! The hash of a request (Envoy `source/common/http/hash_policy.cc`): what ring hash and maglev choose by.

use std::{borrow::Cow, net::IpAddr};

use http::{
    HeaderMap, HeaderValue,
    header::{COOKIE, HeaderName},
};

use crate::{
    hash::xx_hash,
    head::{ConnectionInfo, RequestHead},
    matcher::MatchedHeader,
    model::{HashCookie, HashPolicy, HashSource},
    regex::Regex,
};

/// What hash policies read.
#[derive(Clone, Copy, Debug)]
pub struct HashContext<'a> {
    /// The request's head as it goes to the upstream.
    pub head: RequestHead<'a>,
    /// The connection it came on.
    pub connection: &'a ConnectionInfo,
    /// The client behind trusted proxies, else the peer. None: there is no connection.
    pub client: Option<IpAddr>,
    /// The stream's random number: stands for the connection where there is none, in the value of cookies made up.
    pub random: u64,
}

/// The hash that the policies make of a request; None: none of them found anything. `set_cookie` gets the cookies that
/// were made up, as the answer says them (`set-cookie`).
///
/// Allocates only for cookies made up, for `regex_rewrite`, and for a header of several lines.
pub fn request_hash(
    policies: &[HashPolicy],
    cx: &HashContext<'_>,
    set_cookie: &mut dyn FnMut(HeaderValue),
) -> Option<u64> {
    let mut hash: Option<u64> = None;
    for policy in policies {
        if let Some(new) = hash_of(&policy.source, cx, set_cookie) {
            hash = Some(hash.map_or(0, |old| old.rotate_left(1)) ^ new);
        }
        if policy.terminal && hash.is_some() {
            break;
        }
    }
    hash
}

fn hash_of(
    source: &HashSource,
    cx: &HashContext<'_>,
    set_cookie: &mut dyn FnMut(HeaderValue),
) -> Option<u64> {
    match source {
        HashSource::Header { name, rewrite } => header(name, rewrite.as_ref(), &cx.head),
        HashSource::Cookie(cookie) => match cookie_value(cx.head.headers, &cookie.name) {
            Some(value) => Some(xx_hash(value, 0)),
            None => make_up(cookie, cx, set_cookie),
        },
        HashSource::SourceIp => source_ip_hash(cx.client?),
        HashSource::QueryParameter(name) => {
            let (_, query) = cx.head.path.split_once('?')?;
            let value = query.split('&').find_map(|parameter| {
                let (found, value) = parameter.split_once('=').unwrap_or((parameter, ""));
                (found == &**name).then_some(value)
            });
            Some(xx_hash(value?.as_bytes(), 0))
        }
        HashSource::FilterState(_) => None,
    }
}

/// The hash of a client's address (`source_ip`), for HTTP and for TCP alike.
pub fn source_ip_hash(client: IpAddr) -> Option<u64> {
    let mut text = Text::<64>::default();
    std::fmt::write(&mut text, format_args!("{client}")).ok()?;
    Some(xx_hash(text.bytes(), 0))
}

fn header(
    name: &MatchedHeader,
    rewrite: Option<&(Regex, Box<str>)>,
    head: &RequestHead<'_>,
) -> Option<u64> {
    let name = match name {
        MatchedHeader::Name(name) => return lines(head.headers, name, rewrite),
        MatchedHeader::Method => ":method",
        MatchedHeader::Scheme => ":scheme",
        MatchedHeader::Authority => ":authority",
        MatchedHeader::Path => ":path",
        MatchedHeader::Absent(_) => return None,
    };
    Some(xx_hash(&rewritten(head.header(name)?, rewrite), 0))
}

fn lines(
    headers: &HeaderMap,
    name: &HeaderName,
    rewrite: Option<&(Regex, Box<str>)>,
) -> Option<u64> {
    let mut lines = headers
        .get_all(name)
        .iter()
        .map(|line| rewritten(line.as_bytes(), rewrite));
    let first = lines.next()?;
    let Some(second) = lines.next() else {
        return Some(xx_hash(&first, 0));
    };
    let mut all = vec![first, second];
    all.extend(lines);
    all.sort_unstable();
    Some(all.iter().fold(0, |seed, line| xx_hash(line, seed)))
}

fn rewritten<'v>(value: &'v [u8], rewrite: Option<&(Regex, Box<str>)>) -> Cow<'v, [u8]> {
    match rewrite {
        Some((pattern, substitution)) => Cow::Owned(pattern.replace_all_bytes(value, substitution)),
        None => Cow::Borrowed(value),
    }
}

/// The first cookie of the name; quotes around the value do not belong to it. None: absent or empty.
fn cookie_value<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    let lines = headers.get_all(COOKIE).iter();
    let mut cookies = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let value = cookies.find_map(|cookie| {
        let start = cookie.iter().position(|byte| *byte != b' ')?;
        let equals = cookie.iter().position(|byte| *byte == b'=')?;
        (cookie.get(start..equals)? == name.as_bytes()).then(|| &cookie[equals + 1..])
    })?;
    let value = match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    };
    (!value.is_empty()).then_some(value)
}

/// A cookie whose value is the same for all requests of a connection.
fn make_up(
    cookie: &HashCookie,
    cx: &HashContext<'_>,
    set_cookie: &mut dyn FnMut(HeaderValue),
) -> Option<u64> {
    let made_up = cookie.made_up.as_ref()?;
    let value = match (cx.connection.peer, cx.connection.local) {
        (Some(remote), Some(local)) => {
            let mut text = Text::<128>::default();
            std::fmt::write(&mut text, format_args!("{remote}{local}")).ok()?;
            xx_hash(text.bytes(), 0)
        }
        _ => cx.random,
    };
    let value = format!("{value:016x}");
    let attributes = made_up.attributes.as_bytes();
    let header = [
        cookie.name.as_bytes(),
        b"=\"",
        value.as_bytes(),
        b"\"",
        attributes,
    ]
    .concat();
    if let Ok(header) = HeaderValue::from_maybe_shared(bytes::Bytes::from(header)) {
        set_cookie(header);
    }
    Some(xx_hash(value.as_bytes(), 0))
}

/// A short text on the stack.
struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self {
            bytes: [0; N],
            len: 0,
        }
    }
}

impl<const N: usize> Text<N> {
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl<const N: usize> std::fmt::Write for Text<N> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.len + text.len();
        let place = self.bytes.get_mut(self.len..end).ok_or(std::fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MadeUpCookie;

    fn hash(
        policies: &[HashPolicy],
        request: http::request::Builder,
    ) -> (Option<u64>, Vec<String>) {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let connection = ConnectionInfo {
            peer: Some("1.2.3.4:5".parse().unwrap()),
            local: Some("[::1]:80".parse().unwrap()),
            ..ConnectionInfo::default()
        };
        let cx = HashContext {
            head: RequestHead::of(&parts),
            connection: &connection,
            client: Some("9.8.7.6".parse().unwrap()),
            random: 7,
        };
        let mut cookies = Vec::new();
        let mut keep = |cookie: HeaderValue| cookies.push(cookie.to_str().unwrap().to_owned());
        let hash = request_hash(policies, &cx, &mut keep);
        (hash, cookies)
    }

    fn of_header(name: &'static str) -> HashPolicy {
        HashPolicy::new(HashSource::Header {
            name: MatchedHeader::Name(HeaderName::from_static(name)),
            rewrite: None,
        })
    }

    fn of_cookie(made_up: Option<&'static str>) -> HashPolicy {
        let made_up = made_up.map(|attributes| MadeUpCookie {
            attributes: HeaderValue::from_static(attributes),
        });
        HashPolicy::new(HashSource::Cookie(Box::new(HashCookie::new("c", made_up))))
    }

    fn xx(text: &str) -> Option<u64> {
        Some(xx_hash(text.as_bytes(), 0))
    }

    fn get() -> http::request::Builder {
        http::Request::get("http://host/path?a=1&b&a=2&=x")
    }

    #[test]
    fn lines_of_a_header_are_sorted_and_chained() {
        let foo_bar = Some(xx_hash(b"foo", xx_hash(b"bar", 0)));
        let request = || get().header("x", "foo").header("x", "bar");
        assert_eq!(hash(&[of_header("x")], request()).0, foo_bar);
        assert_eq!(
            hash(&[of_header("x")], get().header("x", "foo")).0,
            xx("foo")
        );
        assert_eq!(hash(&[of_header("y")], request()).0, None);
        let rewrite = HashPolicy::new(HashSource::Header {
            name: MatchedHeader::Path,
            rewrite: Some((Regex::new("/([a-z]+).*").unwrap(), "\\1".into())),
        });
        assert_eq!(hash(&[rewrite], get()).0, xx("path"));
    }

    #[test]
    fn policies_are_rotated_into_one_until_a_terminal_one() {
        let request = || get().header("x", "1").header("y", "2");
        let [x, y] = ["1", "2"].map(|text| xx_hash(text.as_bytes(), 0));
        let mut policies = [of_header("x"), of_header("y")];
        assert_eq!(hash(&policies, request()).0, Some(x.rotate_left(1) ^ y));
        policies[0].terminal = true;
        assert_eq!(hash(&policies, request()).0, Some(x));
        policies[0].source = of_header("z").source;
        assert_eq!(hash(&policies, request()).0, Some(y));
    }

    #[test]
    fn a_cookie_is_read_or_made_up() {
        let with =
            |cookie: &'static str| hash(&[of_cookie(None)], get().header("cookie", cookie)).0;
        assert_eq!(with("a=1; c=2; c=3"), xx("2"));
        assert_eq!(with("c=\"2\""), xx("2"));
        assert_eq!(with("cc=2;  c=\""), xx("\""));
        assert_eq!(with("c="), None);
        assert_eq!(with("c"), None);

        let (found, cookies) = hash(&[of_cookie(Some("; Max-Age=5; HttpOnly"))], get());
        let value = format!("{:016x}", xx_hash(b"1.2.3.4:5[::1]:80", 0));
        assert_eq!(found, xx(&value));
        assert_eq!(cookies, [format!("c=\"{value}\"; Max-Age=5; HttpOnly")]);
    }

    #[test]
    fn addresses_and_query_parameters() {
        let one = |source| hash(&[HashPolicy::new(source)], get()).0;
        assert_eq!(one(HashSource::SourceIp), xx("9.8.7.6"));
        assert_eq!(one(HashSource::QueryParameter("a".into())), xx("1"));
        assert_eq!(one(HashSource::QueryParameter("b".into())), xx(""));
        assert_eq!(one(HashSource::QueryParameter("c".into())), None);
        assert_eq!(one(HashSource::FilterState("f".into())), None);
    }
}
