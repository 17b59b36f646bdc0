//! Path templates (`envoy.extensions.path.match.uri_template.v3`, `…rewrite.uri_template.v3`): `/a/{x}/{y=**}`.
//!
//! A template is compiled to a regular expression, as Envoy does (`uri_template_internal.cc`): `*` is one segment, `**`
//! any number of them, `{name}` one segment, `{name=…}` what follows the `=`.

use crate::regex::{InvalidRegex, Regex};

/// Letters of a segment, as the inside of a character class.
const LETTERS: &str = "a-zA-Z0-9-._~%!$&'()+,;:@=";
const MAX_VARIABLES: usize = 5;
const MAX_NAME: usize = 16;

/// A compiled template; matched against the path without query.
#[derive(Clone, Debug)]
pub struct PathTemplate {
    text: Box<str>,
    regex: Regex,
    variables: Vec<Box<str>>,
}

/// Why a template is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("path template {template:?}: {reason}")]
pub struct InvalidTemplate {
    template: String,
    reason: String,
}

impl PathTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// What Envoy refuses: letters that a path may not hold, brackets that do not match, more than five variables, names
    /// that occur twice or are longer than 16 letters, anything but literals after `**`.
    pub fn new(template: &str) -> Result<Self, InvalidTemplate> {
        let invalid = |reason: String| InvalidTemplate {
            template: template.to_owned(),
            reason,
        };
        let mut parser = Parser {
            rest: template,
            regex: String::new(),
            variables: Vec::new(),
            after_any: false,
        };
        parser.template().map_err(invalid)?;
        let regex = Regex::new(&parser.regex).map_err(|e| invalid(e.to_string()))?;
        Ok(Self {
            text: template.into(),
            regex,
            variables: parser.variables,
        })
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it is compiled to.
    pub fn regex(&self) -> &Regex {
        &self.regex
    }

    /// A rewrite by this template's variables, as a pattern for the whole path and its substitution.
    ///
    /// # Errors
    /// What Envoy refuses: no leading `/`, `//`, letters that a path may not hold, a variable that the template lacks.
    pub fn rewrite(&self, rewrite: &str) -> Result<(Regex, Box<str>), InvalidTemplate> {
        let invalid = |reason: String| InvalidTemplate {
            template: rewrite.to_owned(),
            reason,
        };
        let substitution = substitution(rewrite, &self.variables).map_err(invalid)?;
        let whole = |regex: &Regex| -> Result<Regex, InvalidRegex> {
            Regex::new(&format!("^{}$", regex.as_str()))
        };
        let pattern = whole(&self.regex).map_err(|e| invalid(e.to_string()))?;
        Ok((pattern, substitution.into()))
    }
}

fn substitution(rewrite: &str, variables: &[Box<str>]) -> Result<String, String> {
    if !rewrite.starts_with('/') {
        return Err("must begin with /".to_owned());
    }
    if rewrite.contains("//") {
        return Err("must not contain //".to_owned());
    }
    let mut substitution = String::new();
    let mut rest = rewrite;
    while !rest.is_empty() {
        let (literal, variable) = match rest.split_once('{') {
            Some((literal, after)) => (literal, Some(after)),
            None => (rest, None),
        };
        if let Some(wrong) = literal.chars().find(|c| *c != '/' && !is_letter(*c)) {
            return Err(format!("{wrong:?} is not allowed in a path"));
        }
        substitution.push_str(literal);
        let Some(after) = variable else { break };
        let (name, after) = after
            .split_once('}')
            .ok_or_else(|| "a bracket is not closed".to_owned())?;
        let place = variables
            .iter()
            .position(|variable| **variable == *name)
            .ok_or_else(|| format!("the matched template has no variable {name:?}"))?;
        substitution.push_str(&format!("\\{}", place + 1));
        rest = after;
    }
    Ok(substitution)
}

struct Parser<'t> {
    rest: &'t str,
    regex: String,
    variables: Vec<Box<str>>,
    /// A `**` was read: only literals may follow.
    after_any: bool,
}

impl<'t> Parser<'t> {
    fn template(&mut self) -> Result<(), String> {
        if !self.rest.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("must hold printable ASCII letters only".to_owned());
        }
        self.rest = self
            .rest
            .strip_prefix('/')
            .ok_or_else(|| "must begin with /".to_owned())?;
        self.regex.push('/');
        while !self.rest.is_empty() {
            match self.rest.as_bytes() {
                [b'*', ..] => self.operator()?,
                [b'{', ..] => self.variable()?,
                _ => self.literal()?,
            }
            if self.rest == "/" {
                // At the end it is part of the path.
                self.rest = "";
                self.regex.push('/');
            } else if let Some(rest) = self.rest.strip_prefix('/') {
                self.rest = rest;
                self.regex.push('/');
            } else if !self.rest.is_empty() {
                self.literal()?;
                if !self.rest.is_empty() {
                    return Err("a segment may only have a suffix at the template's end".to_owned());
                }
            }
        }
        Ok(())
    }

    /// `*` or `**`.
    fn operator(&mut self) -> Result<(), String> {
        if self.after_any {
            return Err("** must not be followed by a * or a variable".to_owned());
        }
        if let Some(rest) = self.rest.strip_prefix("**") {
            self.rest = rest;
            self.after_any = true;
            self.regex.push_str(&format!("[{LETTERS}/]*"));
        } else {
            self.rest = self.rest.strip_prefix('*').unwrap_or(self.rest);
            self.segment();
        }
        Ok(())
    }

    fn segment(&mut self) {
        self.regex.push_str(&format!("[{LETTERS}]+"));
    }

    /// Up to the next `/`.
    fn literal(&mut self) -> Result<(), String> {
        let end = self.rest.find('/').unwrap_or(self.rest.len());
        let (literal, rest) = self.rest.split_at(end);
        if literal.is_empty() || !literal.chars().all(is_letter) {
            return Err(format!("{literal:?} is not a segment of a path"));
        }
        for letter in literal.chars() {
            if matches!(letter, '$' | '(' | ')' | '+' | '.') {
                self.regex.push('\\');
            }
            self.regex.push(letter);
        }
        self.rest = rest;
        Ok(())
    }

    /// `{name}` or `{name=pattern}`.
    fn variable(&mut self) -> Result<(), String> {
        let (inside, after) = self
            .rest
            .strip_prefix('{')
            .and_then(|rest| rest.split_once('}'))
            .ok_or_else(|| format!("a bracket is not closed in {:?}", self.rest))?;
        let (name, pattern) = match inside.split_once('=') {
            Some((name, pattern)) => (name, Some(pattern)),
            None => (inside, None),
        };
        self.name(name)?;
        self.regex.push_str(&format!("(?P<{name}>"));
        match pattern {
            None if self.after_any => {
                return Err("** must not be followed by a * or a variable".to_owned());
            }
            None => self.segment(),
            Some("") => return Err(format!("variable {name:?} has an empty pattern")),
            Some(pattern) => {
                self.rest = pattern;
                self.pattern()?;
            }
        }
        self.regex.push(')');
        self.rest = after;
        Ok(())
    }

    /// What follows the `=` of a variable: segments, the last of which is not empty.
    fn pattern(&mut self) -> Result<(), String> {
        loop {
            match self.rest.starts_with('*') {
                true => self.operator()?,
                false => self.literal()?,
            }
            if self.rest.is_empty() {
                return Ok(());
            }
            self.rest = self
                .rest
                .strip_prefix('/')
                .filter(|rest| !rest.is_empty())
                .ok_or_else(|| format!("{:?} is not a variable's pattern", self.rest))?;
            self.regex.push('/');
        }
    }

    fn name(&mut self, name: &str) -> Result<(), String> {
        let valid = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && name.len() <= MAX_NAME;
        if !valid {
            return Err(format!(
                "{name:?} is not a variable's name of at most {MAX_NAME} letters"
            ));
        }
        if self.variables.iter().any(|known| **known == *name) {
            return Err(format!("variable {name:?} occurs twice"));
        }
        if self.variables.len() == MAX_VARIABLES {
            return Err(format!("must have at most {MAX_VARIABLES} variables"));
        }
        self.variables.push(name.into());
        Ok(())
    }
}

fn is_letter(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~%!$&'()+,;:@=".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::regex::Scratch;

    #[test]
    fn templates_match_as_in_envoy() {
        for (template, matching, other) in [
            (
                "/a/{x}/c",
                &["/a/b/c", "/a/b.d/c"][..],
                &["/a//c", "/a/b/c/", "/a/b/d/c"][..],
            ),
            ("/a/*/c", &["/a/b/c"], &["/a/c"]),
            ("/a/**", &["/a/", "/a/b", "/a/b/c"], &["/a", "/ab"]),
            ("/{x=a/*}/z", &["/a/b/z"], &["/b/b/z", "/a/z"]),
            ("/{path=**}.m3u8", &["/a/b.m3u8", "/.m3u8"], &["/a/b.m3u9"]),
            ("/a(b)+$/", &["/a(b)+$/"], &["/a(b)+$", "/abb$/"]),
            ("/", &["/"], &["/a"]),
        ] {
            let template = PathTemplate::new(template).unwrap();
            let matches = |path: &str| {
                let mut scratch = Scratch::default();
                template
                    .regex()
                    .is_full_match(path.as_bytes(), &mut scratch)
            };
            assert!(matching.iter().all(|path| matches(path)), "{template:?}");
            assert!(!other.iter().any(|path| matches(path)), "{template:?}");
        }
    }

    #[test]
    fn wrong_templates_are_refused() {
        for template in [
            "",
            "a",
            "/a b",
            "/{x",
            "/{x}/{x}",
            "/{1x}",
            "/{x=}",
            "/{x=*/}",
            "/**/*",
            "/**/{x}",
            "/{x=**}/{y=*}",
            "/{a}/{b}/{c}/{d}/{e}/{f}",
            "/{abcdefghijklmnopq}",
            "/*b/c",
            "/a[b]",
            "//a",
            "/{x}}",
        ] {
            assert!(PathTemplate::new(template).is_err(), "{template}");
        }
    }

    #[test]
    fn rewrites_name_variables() {
        let template = PathTemplate::new("/v/{lang}/{rest=**}").unwrap();
        let rewrite = |to: &str, path: &str| {
            let (pattern, substitution) = template.rewrite(to).unwrap();
            pattern.replace_all(path, &substitution)
        };
        assert_eq!(rewrite("/{rest}/{lang}", "/v/en/a/b"), "/a/b/en");
        assert_eq!(rewrite("/x{lang}y", "/v/en/"), "/xeny");
        for wrong in ["x", "/a//b", "/{none}", "/{lang", "/a b"] {
            assert!(template.rewrite(wrong).is_err(), "{wrong}");
        }
    }
}
