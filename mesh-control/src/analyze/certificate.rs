//! Whether a Secret holds a certificate that is valid now.

use std::time::{SystemTime, UNIX_EPOCH};

use super::objects::Object;

pub(super) fn is_right(secret: &Object<'_>) -> bool {
    let Some(data) = secret.root.get("data") else {
        return false;
    };
    let held = [("cert", "key"), ("tls.crt", "tls.key")]
        .into_iter()
        .find(|(certificate, key)| {
            !data.text(certificate).is_empty() && !data.text(key).is_empty()
        });
    let Some((certificate, _)) = held else {
        return false;
    };
    let pem = decode(data.text(certificate));
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    pem.and_then(|pem| String::from_utf8(pem).ok())
        .and_then(|pem| der(&pem))
        .and_then(|der| validity(&der))
        .is_some_and(|(from, until)| (from..=until).contains(&now))
}

/// The first certificate of a PEM file.
fn der(pem: &str) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = rest.split_once("-----END CERTIFICATE-----")?;
    decode(body)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for byte in text
        .bytes()
        .filter(|b| !b.is_ascii_whitespace() && *b != b'=')
    {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    Some(bytes)
}

/// One value of DER: its tag, its content, and what follows.
fn value(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, length, rest) = (*der.first()?, usize::from(*der.get(1)?), der.get(2..)?);
    let (length, rest) = match length {
        0..=127 => (length, rest),
        _ => {
            let bytes = rest.get(..length & 0x7f).filter(|bytes| bytes.len() <= 4)?;
            let length = bytes.iter().fold(0, |n, b| n << 8 | usize::from(*b));
            (length, &rest[bytes.len()..])
        }
    };
    Some((tag, rest.get(..length)?, &rest[length..]))
}

/// From when until when a certificate is valid, in seconds since 1970 (RFC 5280, section 4.1).
fn validity(der: &[u8]) -> Option<(u64, u64)> {
    let (_, certificate, _) = value(der)?;
    let (_, signed, _) = value(certificate)?;
    let (tag, _, after) = value(signed)?;
    // the version may be left out
    let (_, _, rest) = match tag {
        0xa0 => value(after)?,
        _ => value(signed)?,
    };
    // signature algorithm, issuer
    let (_, _, rest) = value(rest)?;
    let (_, _, rest) = value(rest)?;
    let (_, validity, _) = value(rest)?;
    let (from_tag, from, rest) = value(validity)?;
    let (until_tag, until, _) = value(rest)?;
    Some((time(from_tag, from)?, time(until_tag, until)?))
}

fn time(tag: u8, text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let (year, rest): (i64, &str) = match tag {
        0x17 => {
            let year: i64 = text.get(..2)?.parse().ok()?;
            (
                if year < 50 { 2000 + year } else { 1900 + year },
                text.get(2..)?,
            )
        }
        _ => (text.get(..4)?.parse().ok()?, text.get(4..)?),
    };
    let number = |at: usize| rest.get(at..at + 2)?.parse::<i64>().ok();
    let (month, day) = (number(0)?, number(2)?);
    // days since 1970 of a date in the Gregorian calendar
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let of_era = shifted - era * 400;
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let seconds = days * 86_400 + number(4)? * 3_600 + number(6)? * 60 + number(8).unwrap_or(0);
    u64::try_from(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_certificates() {
        assert_eq!(time(0x17, b"700101000000Z"), Some(0));
        assert_eq!(time(0x17, b"260131120000Z"), Some(1_769_860_800));
        assert_eq!(time(0x18, b"20240229000001Z"), Some(1_709_164_801));
        assert_eq!(validity(b"nonsense"), None);
    }
}
