//! The text of a NACK.

use std::fmt::Write as _;

/// Longest text; control planes log it and show it to people.
const MAX_LENGTH: usize = 4096;

/// One line per refused resource, in the order of their names: `NAME: FIELD: MESSAGE; …`. At most 4 KiB; what does not
/// fit is counted (`and 12 more`). None: nothing was refused.
pub(crate) fn text(mut refused: Vec<(String, String)>) -> Option<String> {
    refused.sort();
    let mut text = String::new();
    for (at, (name, problems)) in refused.iter().enumerate() {
        let line = format!("{name}: {problems}");
        let separator = usize::from(at > 0);
        // room for the count, should the next one not fit
        if text.len() + separator + line.len() + 24 > MAX_LENGTH {
            if at == 0 {
                text.push_str(cut(&line, MAX_LENGTH - 64));
                text.push('…');
            }
            let left = refused.len() - at.max(1);
            if left > 0 {
                let _ = write!(text, "\nand {left} more");
            }
            return Some(text);
        }
        if at > 0 {
            text.push('\n');
        }
        text.push_str(&line);
    }
    (!text.is_empty()).then_some(text)
}

/// At most `length` bytes, whole characters.
fn cut(text: &str, length: usize) -> &str {
    let end = (0..=length.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(count: usize, length: usize) -> Vec<(String, String)> {
        (0..count)
            .rev()
            .map(|at| (format!("r{at:02}"), "x".repeat(length)))
            .collect()
    }

    #[test]
    fn names_come_in_order() {
        assert_eq!(text(Vec::new()), None);
        assert_eq!(text(refused(2, 1)).unwrap(), "r00: x\nr01: x");
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let text = text(refused(20, 500)).unwrap();
        assert!(text.len() <= MAX_LENGTH);
        assert!(text.ends_with("\nand 12 more"), "{text}");
    }

    #[test]
    fn one_that_is_too_long_is_cut_between_characters() {
        let text = text(vec![
            ("a".into(), "ü".repeat(5_000)),
            ("b".into(), "y".into()),
        ])
        .unwrap();
        assert!(text.len() <= MAX_LENGTH);
        assert!(text.ends_with("…\nand 1 more"));
    }
}
