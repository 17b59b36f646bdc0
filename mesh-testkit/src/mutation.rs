//! YAML that somebody got wrong: one change of a document, for fuzzing and for comparing verdicts.

use crate::random::Random;

/// Values that are wrong somewhere.
const VALUES: [&str; 40] = [
    "\"\"",
    "0",
    "-1",
    "1",
    "99999",
    "65536",
    "1.5",
    "true",
    "false",
    "null",
    "[]",
    "{}",
    "\"*\"",
    "\"*.com\"",
    "a_b",
    "a.b",
    "~",
    "10s",
    "1us",
    "1500us",
    "-5s",
    "0s",
    "\"80\"",
    "\"8.0\"",
    "HTTP",
    "TCP",
    "HTTPS",
    "TLS",
    "UDP",
    "ISTIO_MUTUAL",
    "SIMPLE",
    "MUTUAL",
    "STATIC",
    "DNS",
    "NONE",
    "10.0.0.0/8",
    "10.0.0.1",
    "\"[a\"",
    "ns/name",
    "[null]",
];

/// One change of a line below `spec` (mostly): a value, a key, or the line and what belongs to it.
pub fn of_line(text: &str, random: &mut Random) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let spec = lines
        .iter()
        .position(|line| line.starts_with("spec:"))
        .unwrap_or(0);
    // mostly what Istio itself looks at
    let from = if random.below(8) == 0 { 0 } else { spec };
    let candidates: Vec<usize> = (from..lines.len())
        .filter(|i| {
            let line = lines[*i].trim();
            !line.is_empty()
                && !line.starts_with('#')
                && !line.starts_with("apiVersion")
                && !line.starts_with("kind:")
        })
        .collect();
    if candidates.is_empty() {
        return text.to_owned();
    }
    let at = candidates[random.below(candidates.len())];
    let line = lines[at].clone();
    let indent = line.len() - line.trim_start_matches([' ', '-']).len();
    let below = lines[at + 1..]
        .iter()
        .take_while(|l| {
            l.trim().is_empty()
                || l.len() - l.trim_start().len() > line.len() - line.trim_start().len()
        })
        .count();
    match random.below(6) {
        0 => {
            lines.drain(at..=at + below);
        }
        1 | 2 => {
            let value = VALUES[random.below(VALUES.len())];
            let (before, _) = line
                .split_once(": ")
                .unwrap_or((line.trim_end_matches(':'), ""));
            let is_pair = line.contains(':');
            lines[at] = match is_pair {
                true => format!("{before}: {value}"),
                false => format!("{}{value}", &line[..indent]),
            };
            lines.drain(at + 1..=at + below);
        }
        3 => {
            // a misspelt key
            let body = &line[indent..];
            if body.len() > 3 && body.contains(':') {
                let cut = 1 + random.below(2);
                if body.is_char_boundary(cut) && body.is_char_boundary(cut + 1) {
                    lines[at] = format!("{}{}{}", &line[..indent], &body[..cut], &body[cut + 1..]);
                }
            }
        }
        4 => {
            // a character of the value
            let characters: Vec<char> = line.chars().collect();
            let at_character = random.below(characters.len());
            let new = ['*', '.', '-', '/', 'x', '0', '_', '%'][random.below(8)];
            if at_character > indent && characters[at_character] != ':' {
                let mut changed = characters;
                changed[at_character] = new;
                lines[at] = changed.into_iter().collect();
            }
        }
        _ => {
            // a block twice, where it is an item of a list
            if line.trim_start().starts_with("- ") {
                let block: Vec<String> = lines[at..=at + below].to_vec();
                for (i, line) in block.into_iter().enumerate() {
                    lines.insert(at + below + 1 + i, line);
                }
            }
        }
    }
    lines.join("\n")
}

/// Pieces that YAML or its readers have rules of their own for.
const PIECES: [&str; 36] = [
    "\t",
    "\r\n",
    "\u{feff}",
    "\u{0}",
    "\u{85}",
    "\u{2028}",
    "é",
    "🦀",
    ": ",
    " #",
    "- ",
    "? ",
    "---\n",
    "...\n",
    "%YAML 1.1\n",
    "&a ",
    "*a",
    "<<: *a",
    "!!binary ",
    "!!str ",
    "!x ",
    "|\n",
    ">-\n",
    "\"",
    "'",
    "\\",
    "[",
    "]",
    "{",
    "}",
    ",",
    "0x1F",
    "1e999",
    "-.inf",
    ".nan",
    "1_000",
];

/// One change of the text that does not care for lines: a piece more, less, or in another place.
pub fn of_text(text: &str, random: &mut Random) -> String {
    let mut place = |text: &str| {
        let at = random.below(text.len() + 1);
        (at..=text.len())
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(0)
    };
    let (first, second) = (place(text), place(text));
    let (from, to) = (first.min(second), first.max(second));
    // Mostly little is lost.
    let near = (from..to)
        .take(1 + random.below(12))
        .rfind(|at| text.is_char_boundary(*at))
        .unwrap_or(from);
    match random.below(6) {
        0 => format!("{}{}", &text[..from], &text[near..]),
        1 => format!("{}{}", &text[..from], &text[to..]),
        2 => text[..to].to_owned(),
        3 => {
            let piece = random
                .one(&PIECES)
                .repeat(1 + 300 * usize::from(random.chance(2)));
            format!("{}{piece}{}", &text[..from], &text[from..])
        }
        4 => format!("{}{}{}", &text[..from], &text[near..to], &text[from..]),
        _ => format!("{}{}{}", &text[..from], random.one(&PIECES), &text[near..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_many_and_repeat() {
        let text = "apiVersion: v1\nkind: Service\nspec:\n  ports:\n  - {port: 80}\n";
        let some = |seed| {
            let mut random = Random::new(seed);
            let of_lines = (0..100)
                .map(|_| of_line(text, &mut random))
                .collect::<Vec<_>>();
            let of_texts = (0..100).map(|_| of_text(text, &mut random));
            of_lines.into_iter().chain(of_texts).collect::<Vec<_>>()
        };
        assert_eq!(some(1), some(1));
        let mut different = some(1);
        different.sort();
        different.dedup();
        assert!(different.len() > 100, "{}", different.len());
    }
}
