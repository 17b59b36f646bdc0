//! Single values, as Go reads them from JSON.

use super::schema::Type;
use crate::yaml::Value;

/// What a type of whole numbers holds.
pub(super) fn range(of: Type) -> (i128, i128) {
    match of {
        Type::I32 => (i32::MIN.into(), i32::MAX.into()),
        Type::U32 => (0, u32::MAX.into()),
        Type::U64 => (0, u64::MAX.into()),
        _ => (i64::MIN.into(), i64::MAX.into()),
    }
}

/// A whole number; one in quotes is taken, and a fraction of nothing (`1.0` becomes `1` on the way through JSON).
pub(super) fn integer(value: &Value, of: Type) -> Option<i128> {
    let number = match value {
        Value::Int(n) => i128::from(*n),
        Value::Float(f) if f.fract() == 0.0 && f.abs() < 1e21 => *f as i128,
        Value::String(text) => return integer_text(text, of),
        _ => return None,
    };
    let (low, high) = range(of);
    (low..=high).contains(&number).then_some(number)
}

fn integer_text(text: &str, of: Type) -> Option<i128> {
    let text = text.trim_matches([' ', '\t', '\r', '\n']);
    if text == "null" {
        return Some(0);
    }
    // Go's YAML drops the underscores of a plain number
    let plain = text.replace('_', "");
    let text = if text.starts_with(|c: char| c.is_ascii_digit()) {
        &*plain
    } else {
        text
    };
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_json =
        digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    let number = is_json.then(|| text.parse().ok())??;
    let (low, high) = range(of);
    (low..=high).contains(&number).then_some(number)
}

/// Whether a key of a map is a number of that type.
pub(super) fn is_number_text(text: &str, of: Type) -> bool {
    match of {
        Type::Bool => matches!(text, "true" | "false"),
        // a key such as `80.` is the number 80 before it becomes text
        of => {
            let whole = text
                .parse()
                .ok()
                .filter(|f: &f64| text.contains('.') && f.fract() == 0.0);
            match whole {
                Some(number) => integer(&Value::Float(number), of).is_some(),
                None => integer_text(text, of).is_some(),
            }
        }
    }
}

/// A number with a fraction.
pub(super) fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Int(n) => Some(*n as f64),
        Value::Float(f) => Some(*f),
        Value::String(text) => match &**text {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            "null" => Some(0.0),
            text => serde_json::from_str::<serde_json::Number>(text)
                .ok()
                .and_then(|n| n.as_f64()),
        },
        _ => None,
    }
}

/// Standard base64 with its padding; line ends are skipped.
pub(super) fn is_base64(text: &str) -> bool {
    let text: Vec<u8> = text.bytes().filter(|b| !b"\r\n".contains(b)).collect();
    let body = match text.as_slice() {
        [body @ .., b'=', b'='] | [body @ .., b'='] => body,
        body => body,
    };
    text.len().is_multiple_of(4)
        && body
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"+/".contains(b))
}

/// A duration in Go's words, in nanoseconds; it may be negative.
pub(super) fn duration(text: &str) -> Option<i64> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0i128;
    let mut rest = rest;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return None;
        }
        let end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let whole: i128 = if whole.is_empty() {
            0
        } else {
            whole.parse().ok()?
        };
        total = total.checked_add(whole.checked_mul(unit)?)?;
        if !fraction.is_empty() {
            let digits = &fraction[..fraction.len().min(18)];
            total += digits.parse::<i128>().ok()? * unit / 10i128.pow(digits.len() as u32);
        }
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// A time by RFC 3339.
pub(super) fn is_timestamp(text: &str) -> bool {
    let bytes = text.as_bytes();
    let pattern = b"dddd-dd-ddTdd:dd:dd";
    if bytes.len() <= pattern.len()
        || !pattern.iter().zip(bytes).all(|(p, b)| match p {
            b'd' => b.is_ascii_digit(),
            p => p == b,
        })
    {
        return false;
    }
    let number = |from: usize| text[from..from + 2].parse::<u32>().unwrap_or(u32::MAX);
    let in_range = (1..=12).contains(&number(5))
        && (1..=31).contains(&number(8))
        && number(11) < 24
        && number(14) < 60
        && number(17) < 60;
    let rest = &text[pattern.len()..];
    let rest = match rest.strip_prefix('.') {
        Some(fraction) => {
            let end = fraction
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(fraction.len());
            if end == 0 {
                return false;
            }
            &fraction[end..]
        }
        None => rest,
    };
    let zone = rest.as_bytes();
    in_range
        && (rest == "Z"
            || matches!(zone, [b'+' | b'-', a, b, b':', c, d]
                if [a, b, c, d].iter().all(|b| b.is_ascii_digit())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, nanos) in [
            ("1s", 1_000_000_000),
            ("-1.5h", -5_400_000_000_000),
            (".5ms", 500_000),
            ("1h2m3s", 3_723_000_000_000),
            ("0", 0),
        ] {
            assert_eq!(duration(text), Some(nanos), "{text}");
        }
        for text in ["", "1", "s", "1.s.", "1d", "3000000000h", "1 s", "--1s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_may_stand_in_quotes() {
        let text = |t: &str| Value::String(t.to_owned());
        assert_eq!(integer(&text("80"), Type::U32), Some(80));
        assert_eq!(integer(&Value::Float(1.0), Type::I32), Some(1));
        for wrong in [
            text("080"),
            text("+1"),
            text("1.0"),
            text(""),
            Value::Int(-1),
            Value::Bool(true),
        ] {
            assert_eq!(integer(&wrong, Type::U32), None, "{wrong:?}");
        }
        assert_eq!(float(&text("1.5")), Some(1.5));
        assert_eq!(float(&text("x")), None);
    }

    #[test]
    fn times_and_bytes() {
        assert!(is_timestamp("2026-01-31T12:00:00Z"));
        assert!(is_timestamp("2026-01-31T12:00:00.123+01:00"));
        assert!(!is_timestamp("2026-01-31"));
        assert!(!is_timestamp("2026-13-31T12:00:00Z"));
        assert!(is_base64("aGk="));
        assert!(!is_base64("aGk"));
    }
}
