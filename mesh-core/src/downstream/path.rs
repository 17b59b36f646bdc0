//! Path normalisation (Envoy `path_utility.cc`; RFC 3986 as Chromium's URL library reads it).

use std::borrow::Cow;

use http::uri::PathAndQuery;

use crate::model::{ConnectionManagerConfig, EscapedSlashes};

/// What became of a path.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Normal {
    /// The path with its query; None: it is what it was.
    pub(super) path: Option<String>,
    /// The client shall ask for it again by this name.
    pub(super) redirect: bool,
}

/// The path is refused: `%00`, or a slash that must not be escaped.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// What had become of the path until then, with its query: Envoy's formats and routes see that one from then on. None:
    /// it is what it was.
    pub(super) path: Option<String>,
}

/// Normalises a path that begins with a slash, as the manager says. Allocates only if there may be something to do.
pub(super) fn normalise(
    manager: &ConnectionManagerConfig,
    came: &PathAndQuery,
) -> Result<Normal, Refused> {
    if is_plain(came.path().as_bytes()) && came.query().is_none_or(str::is_ascii) {
        return Ok(Normal::default());
    }
    normalise_text(manager, came.as_str())
}

fn normalise_text(manager: &ConnectionManagerConfig, came: &str) -> Result<Normal, Refused> {
    let (path, query) = came.split_at(came.find('?').unwrap_or(came.len()));
    let mut now = Cow::Borrowed(path);
    let mut redirect = false;
    if manager.escaped_slashes != EscapedSlashes::KeepUnchanged
        && let Some(unescaped) = unescape_slashes(&now)
    {
        match manager.escaped_slashes {
            EscapedSlashes::RejectRequest => {
                let path = Some(unescaped + query);
                return Err(Refused { path });
            }
            EscapedSlashes::UnescapeAndRedirect => redirect = true,
            EscapedSlashes::UnescapeAndForward | EscapedSlashes::KeepUnchanged => {}
        }
        now = unescaped.into();
    }
    if manager.normalize_path && may_be_abnormal(&now) {
        let canonical = canonical(&now).map_err(|HasNul| Refused {
            path: match &now {
                Cow::Owned(unescaped) => Some(format!("{unescaped}{query}")),
                Cow::Borrowed(_) => None,
            },
        })?;
        now = canonical.into();
    }
    if manager.merge_slashes && now.contains("//") {
        now = merge_slashes(&now).into();
    }
    Ok(match now {
        Cow::Owned(now) if now != path => Normal {
            path: Some(now + query),
            redirect,
        },
        _ => Normal::default(),
    })
}

/// Whether a path is one that nothing here would change or refuse, whatever the manager says. It says no to some that
/// are normal too; what it says yes to costs a few instructions per 16 bytes.
fn is_plain(path: &[u8]) -> bool {
    const BLOCK: usize = 16;
    let Some(last) = path.last_chunk::<BLOCK>() else {
        let mut block = [b'a'; BLOCK];
        if let Some(start) = block.get_mut(..path.len()) {
            start.copy_from_slice(path);
        }
        return is_plain_block(&block);
    };
    let mut plain = true;
    let mut rest = path;
    while let Some((block, _)) = rest.split_first_chunk::<BLOCK>() {
        plain &= is_plain_block(block);
        // The next block begins with the last byte of this one, so that no pair of bytes is missed.
        rest = rest.get(BLOCK - 1..).unwrap_or_default();
    }
    plain & is_plain_block(last)
}

/// Without branches, so that the compiler looks at all bytes at once.
#[inline]
fn is_plain_block(block: &[u8; 16]) -> bool {
    // Each byte's successor; the last has none.
    let next = (u128::from_le_bytes(*block) >> 8).to_le_bytes();
    let mut found = 0;
    for (byte, next) in block.iter().zip(next) {
        let begins_dots_or_slashes = (*byte == b'/') & (next & !1 == b'.');
        found |= u8::from(may_change(*byte) | begins_dots_or_slashes);
    }
    found == 0
}

/// Whether a byte may be one that [`must_be_escaped`], or `%`, or `\`: with few comparisons, hence a little too often.
#[inline]
const fn may_change(byte: u8) -> bool {
    (byte <= b'"')
        | (byte == b'%')
        | (byte & !2 == b'<')
        | (byte & !2 == b'\\')
        | (byte == b'`')
        | (byte >= b'{')
}

/// `%2F` and `%5C` as the slashes that they stand for; None: there is none.
fn unescape_slashes(path: &str) -> Option<String> {
    let escaped = |at: usize| match path.as_bytes().get(at..at + 3)? {
        b"%2f" | b"%2F" => Some('/'),
        b"%5c" | b"%5C" => Some('\\'),
        _ => None,
    };
    (0..path.len()).find(|at| escaped(*at).is_some())?;
    let mut unescaped = String::with_capacity(path.len());
    let mut rest = path.char_indices();
    while let Some((at, c)) = rest.next() {
        match escaped(at) {
            Some(slash) => {
                unescaped.push(slash);
                // The two digits.
                rest.nth(1);
            }
            None => unescaped.push(c),
        }
    }
    Some(unescaped)
}

/// Whether [`canonical`] could change the path.
fn may_be_abnormal(path: &str) -> bool {
    path.contains("/.")
        || path
            .bytes()
            .any(|b| matches!(b, b'%' | b'\\') || must_be_escaped(b))
}

const fn must_be_escaped(byte: u8) -> bool {
    matches!(
        byte,
        b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' | 0..=b' ' | 0x7f..
    )
}

/// The path holds `%00`.
struct HasNul;

/// Resolves `.` and `..`, turns `\` into `/`, unescapes what needs no escape and escapes what does.
fn canonical(path: &str) -> Result<String, HasNul> {
    let mut out = String::with_capacity(path.len() + 8);
    out.push('/');
    let path = path.strip_prefix('/').unwrap_or(path);
    let mut segments = path.split(['/', '\\']).peekable();
    while let Some(segment) = segments.next() {
        match Dots::of(segment) {
            Dots::None => {
                push_segment(&mut out, segment)?;
                if segments.peek().is_some() {
                    out.push('/');
                }
            }
            Dots::One => {}
            Dots::Two => {
                out.pop();
                out.truncate(out.rfind('/').map_or(0, |slash| slash + 1));
                if out.is_empty() {
                    out.push('/');
                }
            }
        }
    }
    Ok(out)
}

/// Whether a segment stands for a step in the hierarchy.
enum Dots {
    None,
    One,
    Two,
}

impl Dots {
    /// Dots may be escaped; path parameters (`..;a`) do not count after dots that are not.
    fn of(segment: &str) -> Self {
        let mut rest = segment;
        let mut dots = 0;
        let mut escaped = false;
        while dots < 2 {
            if let Some(after) = rest.strip_prefix('.') {
                rest = after;
            } else if let Some(after) = rest
                .strip_prefix("%2e")
                .or_else(|| rest.strip_prefix("%2E"))
            {
                rest = after;
                escaped = true;
            } else {
                break;
            }
            dots += 1;
        }
        let ends = rest.is_empty() || (!escaped && rest.starts_with(';'));
        match dots {
            1 if ends => Self::One,
            2 if ends => Self::Two,
            _ => Self::None,
        }
    }
}

fn push_segment(out: &mut String, segment: &str) -> Result<(), HasNul> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut rest = segment.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        match (byte, escape(after)) {
            (b'%', Some(0)) => return Err(HasNul),
            (b'%', Some(byte)) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                out.push(char::from(byte));
                rest = after.get(2..).unwrap_or_default();
            }
            _ if must_be_escaped(*byte) => {
                out.push('%');
                for half in [byte >> 4, byte & 15] {
                    out.push(char::from(HEX[usize::from(half)]));
                }
            }
            _ => out.push(char::from(*byte)),
        }
    }
    Ok(())
}

/// The byte that two hexadecimal digits stand for.
fn escape(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

/// One slash for several. A path of slashes only becomes two, as in Envoy.
fn merge_slashes(path: &str) -> String {
    let mut merged = String::with_capacity(path.len());
    merged.push('/');
    for (i, segment) in path.split('/').filter(|s| !s.is_empty()).enumerate() {
        if i > 0 {
            merged.push('/');
        }
        merged.push_str(segment);
    }
    if path.ends_with('/') {
        merged.push('/');
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RouteSource;

    /// As the stage does it, and paths beside that `http` would not parse.
    fn normalised(manager: &ConnectionManagerConfig, came: &str) -> Result<Normal, Refused> {
        let text = normalise_text(manager, came);
        if let Ok(parsed) = PathAndQuery::try_from(came)
            && parsed.as_str() == came
        {
            assert_eq!(normalise(manager, &parsed), text, "{came}");
        }
        text
    }

    /// The long way round, for a path of any length.
    #[test]
    fn a_plain_path_is_one_without_anything_to_do() {
        for length in 1..40 {
            for at in 1..length {
                for byte in 1..=u8::MAX {
                    let mut path = vec![b'a'; length];
                    path[0] = b'/';
                    path[at] = byte;
                    let changes = must_be_escaped(byte)
                        || b"%\\".contains(&byte)
                        || (at == 1 && b"./".contains(&byte));
                    assert!(!(is_plain(&path) && changes), "{path:?}");
                    if byte.is_ascii_alphanumeric() || b"-_:;=+,&$".contains(&byte) {
                        assert!(is_plain(&path), "{path:?}");
                    }
                    if let Some(next) = path.get_mut(at + 1) {
                        *next = b'.';
                        assert_eq!(
                            is_plain(&path),
                            byte != b'/' && !may_change(byte) && !changes
                        );
                    }
                }
            }
        }
    }

    fn manager(merge: bool, escaped: EscapedSlashes) -> ConnectionManagerConfig {
        let mut manager = ConnectionManagerConfig::new("", RouteSource::Rds("".into()));
        manager.normalize_path = true;
        manager.merge_slashes = merge;
        manager.escaped_slashes = escaped;
        manager
    }

    /// Filled in by Envoy 1.40.
    #[test]
    fn normal_paths_are_envoys() {
        let plain = manager(false, EscapedSlashes::KeepUnchanged);
        for (came, normal) in [
            ("/", "/"),
            ("/a/./b/../c//d%2Fe%5cf?q=/../", "/a/c//d%2Fe%5cf?q=/../"),
            ("/%41%61%30%7e%2d%5f%2E%2e", "/Aa0~-_.."),
            ("/%zz", "/%zz"),
            ("/a%", "/a%"),
            ("/a%4", "/a%4"),
            ("/x%41%2", "/xA%2"),
            ("/%2F%5C", "/%2F%5C"),
            ("/a\"b<c>d{e}f|g^h`i", "/a%22b%3Cc%3Ed%7Be%7Df%7Cg%5Eh%60i"),
            ("/!$&'()*+,;=:@[]", "/!$&'()*+,;=:@[]"),
            ("/%c3%a9%20%21%25%2B", "/%c3%a9%20%21%25%2B"),
            ("/%252e", "/%252e"),
            ("/..", "/"),
            ("/.", "/"),
            ("/%2E", "/"),
            ("/../../x", "/x"),
            ("/a/..", "/"),
            ("/a/.", "/a/"),
            ("/a/b/..", "/a/"),
            ("/a/b/../", "/a/"),
            ("/a/..?/..", "/?/.."),
            ("//a//b/", "//a//b/"),
            ("/a//../b", "/a/b"),
            ("/a/%2e/b", "/a/b"),
            ("/a/%2E%2e/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/a/%2e.", "/"),
            ("/a\\..\\b", "/b"),
            ("/a\\b", "/a/b"),
            ("/%5c..%5cb", "/%5c..%5cb"),
            ("/%2e%2e%2fx", "/..%2fx"),
            ("/...", "/..."),
            ("/a/.../b", "/a/.../b"),
            ("/a%2e%2e/", "/a../"),
            ("/a;x/../b", "/b"),
            ("/a;%2e%2e/b", "/a;../b"),
            ("/a/..;/b", "/b"),
            ("/a/..;x/b", "/b"),
            ("/a/.;x=1/b", "/a/b"),
            ("/a/.;", "/a/"),
            ("/..;a", "/"),
            ("/a/%2e%2e;/b", "/a/..;/b"),
            ("/a/.%2e;q/b", "/a/..;q/b"),
            ("/a/..%3b/b", "/a/..%3b/b"),
            ("/a/...;/b", "/a/...;/b"),
            ("/a/;../b", "/a/;../b"),
            ("/a/..a;/b", "/a/..a;/b"),
        ] {
            let got = normalised(&plain, came).unwrap();
            assert_eq!(got.path.as_deref().unwrap_or(came), normal, "{came}");
            assert_eq!(got.path.is_none(), came == normal, "{came}");
        }
        let as_it_came = Err(Refused { path: None });
        assert_eq!(normalised(&plain, "/a%00"), as_it_came);
        let unescape = manager(false, EscapedSlashes::UnescapeAndForward);
        let path = Some("/a/b%00?%2F".to_owned());
        assert_eq!(
            normalised(&unescape, "/a%2Fb%00?%2F"),
            Err(Refused { path })
        );
        let escaped = normalised(&plain, "/\u{e9}").unwrap();
        assert_eq!(escaped.path.as_deref(), Some("/%C3%A9"));
    }

    #[test]
    fn slashes_are_merged_after_everything_else() {
        let merge = manager(true, EscapedSlashes::UnescapeAndRedirect);
        for (came, normal, redirect) in [
            ("//a", "/a", false),
            ("//a//b/", "/a/b/", false),
            ("/a//?//", "/a/?//", false),
            ("//", "//", false),
            ("/%2f", "//", true),
            ("/%2F%5C", "//", true),
            ("/a/./b/../c//d%2Fe%5cf?q=/../", "/a/c/d/e/f?q=/../", true),
            ("/%5c..%5cb", "/b", true),
            ("/a%2f..%2fb", "/b", true),
        ] {
            let got = normalised(&merge, came).unwrap();
            assert_eq!(got.path.as_deref().unwrap_or(came), normal, "{came}");
            assert_eq!(got.redirect, redirect, "{came}");
        }
    }

    #[test]
    fn escaped_slashes_are_refused_forwarded_or_left() {
        let path = |action| {
            let mut manager = manager(false, action);
            manager.normalize_path = false;
            normalised(&manager, "/a%2Fb?%2F").map(|normal| normal.path)
        };
        let unescaped = Some("/a/b?%2F".to_owned());
        assert_eq!(path(EscapedSlashes::KeepUnchanged), Ok(None));
        let refused = Refused {
            path: unescaped.clone(),
        };
        assert_eq!(path(EscapedSlashes::RejectRequest), Err(refused));
        assert_eq!(path(EscapedSlashes::UnescapeAndForward), Ok(unescaped));
    }

    proptest::proptest! {
        #[test]
        fn any_path_stays_a_path_without_dot_segments(
            came in "/([a./\\\\;%2eE5cF?]|\\PC){0,24}",
            merge: bool,
            unescape: bool,
        ) {
            let escaped = match unescape {
                true => EscapedSlashes::UnescapeAndForward,
                false => EscapedSlashes::KeepUnchanged,
            };
            if let Ok(normal) = normalised(&manager(merge, escaped), &came) {
                let now = normal.path.unwrap_or(came);
                let path = now.split('?').next().unwrap_or_default();
                proptest::prop_assert!(path.starts_with('/'));
                proptest::prop_assert!(!path.contains('\\'));
                for segment in path.split('/') {
                    proptest::prop_assert!(segment != "." && segment != "..", "{path}");
                }
            }
        }
    }
}
