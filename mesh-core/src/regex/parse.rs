//! RE2's syntax, read into the intermediate form of `regex-syntax`.
//!
//! The rules are those of RE2 as Envoy asks for it: Perl syntax, Latin-1 (a character is a byte, of the text as of the
//! pattern: header values are not UTF-8), `.` does not match a newline, `^` and `$` are the ends of the text. One
//! explicit stack instead of recursion.

use regex_syntax::hir::{Capture, Hir, Look, Repetition};

use super::class::{self, literal};

/// Repetition counts may not exceed this, nor may the product of nested ones.
const MAX_REPEAT: u32 = 1000;
/// Groups may nest so deep. RE2 allows more; what compiles the result recurses.
const MAX_DEPTH: usize = 250;

/// Reads a pattern; the error says what is wrong with it.
pub(super) fn parse(pattern: &str) -> Result<Hir, String> {
    Parser::default().run(&class::as_latin1(pattern))
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags {
    /// `i`
    pub(super) fold_case: bool,
    /// `m`
    multi_line: bool,
    /// `s`
    dot_matches_newline: bool,
    /// `U`
    swap_greed: bool,
}

/// An expression and the product of the repetition counts nested in it.
#[derive(Debug)]
struct Item {
    hir: Hir,
    repeats: u32,
}

/// An open group; the first is the whole pattern.
#[derive(Debug, Default)]
struct Group {
    /// Restored when the group closes.
    outer_flags: Flags,
    capture: Option<u32>,
    alternatives: Vec<Item>,
    sequence: Vec<Item>,
}

#[derive(Debug, Default)]
struct Parser {
    flags: Flags,
    captures: u32,
    /// All groups around the current one.
    outer: Vec<Group>,
    group: Group,
    /// The operator just read was a repetition: another one must not follow.
    after_repetition: bool,
}

impl Parser {
    fn run(mut self, pattern: &str) -> Result<Hir, String> {
        let mut rest = pattern;
        while let Some(c) = rest.chars().next() {
            let after = &rest[c.len_utf8()..];
            let was_repetition = std::mem::take(&mut self.after_repetition);
            rest = match c {
                '(' => self.open(rest)?,
                ')' => {
                    self.close()
                        .ok_or_else(|| format!("unexpected ): {pattern}"))?;
                    after
                }
                '|' => {
                    self.group.end_alternative();
                    after
                }
                '^' if self.flags.multi_line => self.look(Look::StartLF, after),
                '^' => self.look(Look::Start, after),
                '$' if self.flags.multi_line => self.look(Look::EndLF, after),
                '$' => self.look(Look::End, after),
                '.' => {
                    let dot = class::dot(self.flags.dot_matches_newline);
                    self.push(class::bytes(&dot));
                    after
                }
                '[' => {
                    let (class, after) = class::parse_bracket(rest, self.flags)?;
                    self.push(class);
                    after
                }
                '*' => self.repeat(rest, after, 0, None, was_repetition)?,
                '+' => self.repeat(rest, after, 1, None, was_repetition)?,
                '?' => self.repeat(rest, after, 0, Some(1), was_repetition)?,
                '{' => match parse_counts(after) {
                    Some((min, max, after)) => {
                        self.counted_repeat(rest, after, min, max, was_repetition)?
                    }
                    None => self.character('{', after),
                },
                '\\' => self.escape(rest)?,
                c => self.character(c, after),
            };
        }
        if !self.outer.is_empty() {
            return Err(format!("missing ): {pattern}"));
        }
        Ok(self.group.finish().hir)
    }

    fn push(&mut self, hir: Hir) {
        self.group.sequence.push(Item { hir, repeats: 1 });
    }

    fn character<'p>(&mut self, c: char, after: &'p str) -> &'p str {
        self.push(literal(c, self.flags));
        after
    }

    fn look<'p>(&mut self, look: Look, after: &'p str) -> &'p str {
        self.push(Hir::look(look));
        after
    }

    /// `text` begins with `(`.
    fn open<'p>(&mut self, text: &'p str) -> Result<&'p str, String> {
        let outer_flags = self.flags;
        let Some(options) = text.strip_prefix("(?") else {
            self.captures += 1;
            self.enter(outer_flags, Some(self.captures))?;
            return Ok(&text[1..]);
        };
        let name = options.strip_prefix("P<").or_else(|| {
            let name = options.strip_prefix('<')?;
            (!name.starts_with(['=', '!'])).then_some(name)
        });
        if let Some(name) = name {
            let after = class::capture_name(name)
                .ok_or_else(|| format!("invalid named capture group: {text}"))?;
            self.captures += 1;
            self.enter(outer_flags, Some(self.captures))?;
            return Ok(after);
        }

        let invalid = || {
            format!("invalid perl operator: {text} (look-around, comments and x are not in RE2)")
        };
        let mut negated = false;
        let mut any = false;
        let mut flags = self.flags;
        for (at, c) in options.char_indices() {
            match c {
                'i' => flags.fold_case = !negated,
                'm' => flags.multi_line = !negated,
                's' => flags.dot_matches_newline = !negated,
                'U' => flags.swap_greed = !negated,
                '-' if !negated => {
                    negated = true;
                    any = false;
                    continue;
                }
                ':' | ')' if !negated || any => {
                    if c == ':' {
                        self.enter(outer_flags, None)?;
                    }
                    self.flags = flags;
                    return Ok(&options[at + 1..]);
                }
                _ => return Err(invalid()),
            }
            any = true;
        }
        Err(invalid())
    }

    fn enter(&mut self, outer_flags: Flags, capture: Option<u32>) -> Result<(), String> {
        if self.outer.len() >= MAX_DEPTH {
            return Err(format!("groups nest deeper than {MAX_DEPTH}"));
        }
        let group = Group {
            outer_flags,
            capture,
            ..Group::default()
        };
        self.outer.push(std::mem::replace(&mut self.group, group));
        Ok(())
    }

    /// None: no group is open.
    fn close(&mut self) -> Option<()> {
        let group = std::mem::replace(&mut self.group, self.outer.pop()?);
        self.flags = group.outer_flags;
        let capture = group.capture;
        let Item { hir, repeats } = group.finish();
        let hir = match capture {
            Some(index) => Hir::capture(Capture {
                index,
                name: None,
                sub: Box::new(hir),
            }),
            None => hir,
        };
        self.group.sequence.push(Item { hir, repeats });
        Some(())
    }

    fn counted_repeat<'p>(
        &mut self,
        text: &'p str,
        after: &'p str,
        min: u32,
        max: Option<u32>,
        was_repetition: bool,
    ) -> Result<&'p str, String> {
        let operator = &text[..text.len() - after.len()];
        let invalid = format!(
            "invalid repetition size: {operator} (at most {MAX_REPEAT}, nested ones multiplied)"
        );
        if min > MAX_REPEAT || max.is_some_and(|max| max > MAX_REPEAT || max < min) {
            return Err(invalid);
        }
        let after = self.repeat(text, after, min, max, was_repetition)?;
        if let Some(item) = self.group.sequence.last_mut() {
            item.repeats = item.repeats.saturating_mul(max.unwrap_or(min).max(1));
            if item.repeats > MAX_REPEAT {
                return Err(invalid);
            }
        }
        Ok(after)
    }

    fn repeat<'p>(
        &mut self,
        text: &'p str,
        after: &'p str,
        min: u32,
        max: Option<u32>,
        was_repetition: bool,
    ) -> Result<&'p str, String> {
        let operator = &text[..text.len() - after.len()];
        let (lazy, after) = match after.strip_prefix('?') {
            Some(after) => (true, after),
            None => (false, after),
        };
        if was_repetition {
            return Err(format!(
                "bad repetition operator: {operator} follows another one"
            ));
        }
        let Some(Item { hir, repeats }) = self.group.sequence.pop() else {
            return Err(format!("no argument for repetition operator: {operator}"));
        };
        let hir = Hir::repetition(Repetition {
            min,
            max,
            greedy: lazy == self.flags.swap_greed,
            sub: Box::new(hir),
        });
        self.group.sequence.push(Item { hir, repeats });
        self.after_repetition = true;
        Ok(after)
    }

    /// `text` begins with `\`.
    fn escape<'p>(&mut self, text: &'p str) -> Result<&'p str, String> {
        let after = text.get(2..).unwrap_or_default();
        match text.as_bytes().get(1) {
            Some(b'b') => return Ok(self.look(Look::WordAscii, after)),
            Some(b'B') => return Ok(self.look(Look::WordAsciiNegate, after)),
            Some(b'A') => return Ok(self.look(Look::Start, after)),
            Some(b'z') => return Ok(self.look(Look::End, after)),
            Some(b'C') => {
                self.push(class::bytes(&class::dot(true)));
                return Ok(after);
            }
            Some(b'Q') => {
                let (quoted, after) = after.split_once("\\E").unwrap_or((after, ""));
                for c in quoted.chars() {
                    self.character(c, "");
                }
                return Ok(after);
            }
            _ => {}
        }
        if let Some((class, after)) = class::parse_group(text, self.flags)? {
            self.push(class::bytes(&class));
            return Ok(after);
        }
        let (c, after) = class::parse_escape(text)?;
        Ok(self.character(c, after))
    }
}

impl Group {
    fn end_alternative(&mut self) {
        let sequence = std::mem::take(&mut self.sequence);
        let repeats = sequence.iter().map(|i| i.repeats).max().unwrap_or(1);
        let hir = Hir::concat(sequence.into_iter().map(|i| i.hir).collect());
        self.alternatives.push(Item { hir, repeats });
    }

    fn finish(mut self) -> Item {
        self.end_alternative();
        let repeats = self
            .alternatives
            .iter()
            .map(|i| i.repeats)
            .max()
            .unwrap_or(1);
        let hir = Hir::alternation(self.alternatives.into_iter().map(|i| i.hir).collect());
        Item { hir, repeats }
    }
}

/// `n}`, `n,}` or `n,m}`; anything else makes the brace before it a literal.
fn parse_counts(text: &str) -> Option<(u32, Option<u32>, &str)> {
    let (min, rest) = parse_count(text)?;
    if let Some(after) = rest.strip_prefix('}') {
        return Some((min, Some(min), after));
    }
    let rest = rest.strip_prefix(',')?;
    if let Some(after) = rest.strip_prefix('}') {
        return Some((min, None, after));
    }
    let (max, rest) = parse_count(rest)?;
    Some((min, Some(max), rest.strip_prefix('}')?))
}

/// A number without leading zeros, below 10^9 (longer ones are no numbers to RE2).
fn parse_count(text: &str) -> Option<(u32, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() || digits.len() > 9 || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    Some((digits.parse().ok()?, rest))
}
