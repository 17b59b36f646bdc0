//! Names in certificates (Envoy `source/common/tls/utility.cc`, `san_matcher.cc`).

use crate::{
    matcher::StringMatcher,
    model::{SanKind, SanMatcher},
    regex::Scratch,
};

/// Whether one alternative name of the matcher's kind is what it asks for.
pub(super) fn fits(matcher: &SanMatcher, san: &str, scratch: &mut Scratch) -> bool {
    match (&matcher.matcher, matcher.kind) {
        (StringMatcher::Exact { value, .. }, SanKind::Dns) => dns_name_matches(value, san),
        (matcher, _) => matcher.matches(san.as_bytes(), scratch),
    }
}

/// Whether a certificate's name, which may have a wildcard in its first label, is that of a host.
pub fn dns_name_matches(name: &str, of_certificate: &str) -> bool {
    let (name, pattern) = (
        name.to_ascii_lowercase(),
        of_certificate.to_ascii_lowercase(),
    );
    if name == pattern {
        return true;
    }
    let (Some((first, rest)), Some((glob, pattern_rest))) =
        (name.split_once('.'), pattern.split_once('.'))
    else {
        return false;
    };
    let is_wildcard =
        glob.contains('*') && !pattern_rest.contains('*') && !glob.starts_with("xn--");
    is_wildcard && rest == pattern_rest && label_matches(first, glob)
}

fn label_matches(label: &str, glob: &str) -> bool {
    if glob == "*" {
        return true;
    }
    match glob.split_once('*') {
        Some((start, end)) if !end.contains('*') => {
            glob.len() <= label.len() + 1 && label.starts_with(start) && label.ends_with(end)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_one_label() {
        for (name, pattern, fits) in [
            ("a.test", "A.Test", true),
            ("x.a.test", "*.a.test", true),
            ("x.y.a.test", "*.a.test", false),
            ("a.test", "*.a.test", false),
            ("test", "*", false),
            ("foobar.a.test", "foo*.a.test", true),
            ("foo.a.test", "foo*.a.test", true),
            ("fo.a.test", "foo*.a.test", false),
            ("fo.a.test", "f**.a.test", false),
            ("xn--abc.a.test", "xn--*.a.test", false),
            ("x.a.test", "*.*.test", false),
        ] {
            assert_eq!(dns_name_matches(name, pattern), fits, "{name} {pattern}");
        }
    }
}
