//! Whether a text is an expression of the Common Expression Language: its syntax only.

/// # Errors
/// What stands where something else must, and where.
pub(super) fn check(text: &str) -> Result<(), String> {
    let mut parser = Parser {
        text: text.as_bytes(),
        at: 0,
        depth: 0,
    };
    parser.expression()?;
    parser.space();
    match parser.at == text.len() {
        true => Ok(()),
        false => Err(parser.wrong("the end")),
    }
}

const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];
const KEYWORDS: [&str; 4] = ["in", "true", "false", "null"];
const MACROS: [&str; 6] = ["all", "exists", "exists_one", "existsOne", "map", "filter"];

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    depth: u32,
}

/// What macros ask of their arguments.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Name,
    Field,
    Other,
}

type Parsed = Result<Kind, String>;

impl Parser<'_> {
    fn wrong(&self, expected: &str) -> String {
        match self.text.get(self.at) {
            Some(byte) => format!(
                "at {}: {:?} instead of {expected}",
                self.at + 1,
                *byte as char
            ),
            None => format!("it ends where {expected} must stand"),
        }
    }

    fn space(&mut self) {
        while let Some(byte) = self.text.get(self.at) {
            if byte.is_ascii_whitespace() {
                self.at += 1;
            } else if self.text[self.at..].starts_with(b"//") {
                while self.text.get(self.at).is_some_and(|b| *b != b'\n') {
                    self.at += 1;
                }
            } else {
                break;
            }
        }
    }

    fn take(&mut self, token: &str) -> bool {
        self.space();
        let found = self.text[self.at..].starts_with(token.as_bytes());
        if found {
            self.at += token.len();
        }
        found
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        match self.take(token) {
            true => Ok(()),
            false => Err(self.wrong(token)),
        }
    }

    fn word(&mut self) -> Option<String> {
        self.space();
        let is_part = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
        let rest = &self.text[self.at..];
        let length = rest.iter().take_while(|b| is_part(b)).count();
        if length == 0 || rest[0].is_ascii_digit() {
            return None;
        }
        self.at += length;
        Some(String::from_utf8_lossy(&rest[..length]).into_owned())
    }

    fn expression(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > 250 {
            return Err("it nests too deeply".to_owned());
        }
        let mut kind = self.binary()?;
        if self.take("?") {
            self.binary()?;
            self.expect(":")?;
            self.expression()?;
            kind = Kind::Other;
        }
        self.depth -= 1;
        Ok(kind)
    }

    /// Operands between operators; what binds stronger does not matter.
    fn binary(&mut self) -> Parsed {
        let mut kind = self.unary()?;
        loop {
            const OPERATORS: [&str; 13] = [
                "||", "&&", "<=", ">=", "==", "!=", "<", ">", "+", "-", "*", "/", "%",
            ];
            let found = OPERATORS.into_iter().any(|operator| self.take(operator)) || self.take_in();
            if !found {
                return Ok(kind);
            }
            self.unary()?;
            kind = Kind::Other;
        }
    }

    fn take_in(&mut self) -> bool {
        let before = self.at;
        if self.word().as_deref() == Some("in") {
            return true;
        }
        self.at = before;
        false
    }

    fn unary(&mut self) -> Parsed {
        let mut prefixed = false;
        let first = [b'!', b'-'].into_iter().find(|b| {
            self.space();
            self.text.get(self.at) == Some(b)
        });
        if let Some(first) = first {
            while self.text.get(self.at) == Some(&first) {
                self.at += 1;
                prefixed = true;
                self.space();
            }
        }
        let kind = self.member()?;
        Ok(if prefixed { Kind::Other } else { kind })
    }

    fn member(&mut self) -> Parsed {
        let mut kind = self.primary()?;
        loop {
            if self.take(".") {
                self.take("?");
                let name = self.word().filter(|name| !KEYWORDS.contains(&&**name));
                let Some(name) = name else {
                    return Err(self.wrong("a name"));
                };
                kind = Kind::Field;
                if self.take("(") {
                    let arguments = self.arguments(")")?;
                    if MACROS.contains(&&*name)
                        && arguments.len() >= 2
                        && arguments.first() != Some(&Kind::Name)
                    {
                        return Err(format!("the first argument of {name} must be a name"));
                    }
                    kind = Kind::Other;
                } else if self.is_message() {
                    self.entries()?;
                    kind = Kind::Other;
                }
            } else if self.take("[") {
                self.take("?");
                self.expression()?;
                self.expect("]")?;
                kind = Kind::Other;
            } else {
                return Ok(kind);
            }
        }
    }

    fn is_message(&mut self) -> bool {
        self.take("{")
    }

    /// After an opening brace: `name: value` or `key: value`, up to the closing one.
    fn entries(&mut self) -> Result<(), String> {
        loop {
            if self.take("}") {
                return Ok(());
            }
            self.take("?");
            self.expression()?;
            self.expect(":")?;
            self.expression()?;
            if !self.take(",") {
                return self.expect("}");
            }
        }
    }

    /// Expressions up to `end`.
    fn arguments(&mut self, end: &str) -> Result<Vec<Kind>, String> {
        let mut kinds = Vec::new();
        if self.take(end) {
            return Ok(kinds);
        }
        loop {
            if end == "]" {
                self.take("?");
            }
            kinds.push(self.expression()?);
            let comma = self.take(",");
            if !comma || end == "]" && self.take(end) {
                if !comma {
                    self.expect(end)?;
                }
                return Ok(kinds);
            }
        }
    }

    fn primary(&mut self) -> Parsed {
        self.space();
        if self.take("(") {
            let kind = self.expression()?;
            self.expect(")")?;
            return Ok(kind);
        }
        if self.take("[") {
            self.arguments("]")?;
            return Ok(Kind::Other);
        }
        if self.take("{") {
            self.entries()?;
            return Ok(Kind::Other);
        }
        if self.literal()? {
            return Ok(Kind::Other);
        }
        self.take(".");
        let Some(name) = self.word() else {
            return Err(self.wrong("a value"));
        };
        if KEYWORDS[1..].contains(&&*name) {
            return Ok(Kind::Other);
        }
        if name == "in" || RESERVED.contains(&&*name) {
            return Err(format!("{name} is a reserved word"));
        }
        if self.take("(") {
            let arguments = self.arguments(")")?;
            if name == "has" && arguments.len() == 1 && arguments != [Kind::Field] {
                return Err("the argument of has must be a field".to_owned());
            }
            return Ok(Kind::Other);
        }
        if self.is_message() {
            self.entries()?;
            return Ok(Kind::Other);
        }
        Ok(Kind::Name)
    }

    /// A number or a text.
    fn literal(&mut self) -> Result<bool, String> {
        let rest = &self.text[self.at..];
        let digits = |from: usize| {
            rest[from..]
                .iter()
                .take_while(|b| b.is_ascii_digit())
                .count()
        };
        let is_fraction = rest.first() == Some(&b'.') && digits(1) > 0;
        if digits(0) > 0 || is_fraction {
            if rest.starts_with(b"0x") {
                let hex = rest[2..]
                    .iter()
                    .take_while(|b| b.is_ascii_hexdigit())
                    .count();
                self.at += 2 + hex;
            } else {
                let mut length = digits(0);
                if rest.get(length) == Some(&b'.') && digits(length + 1) > 0 {
                    length += 1 + digits(length + 1);
                }
                if matches!(rest.get(length), Some(b'e' | b'E')) {
                    let sign = usize::from(matches!(rest.get(length + 1), Some(b'+' | b'-')));
                    let exponent = digits((length + 1 + sign).min(rest.len()));
                    if exponent > 0 {
                        length += 1 + sign + exponent;
                    }
                }
                self.at += length;
            }
            if matches!(self.text.get(self.at), Some(b'u' | b'U')) {
                self.at += 1;
            }
            return Ok(true);
        }
        let prefix = rest
            .iter()
            .take(2)
            .take_while(|b| b"rRbB".contains(b))
            .count();
        let Some(quote @ (b'"' | b'\'')) = rest.get(prefix) else {
            return Ok(false);
        };
        let is_raw = rest[..prefix].iter().any(|b| b"rR".contains(b));
        let triple = [*quote; 3];
        let (end, is_long): (&[u8], bool) = match rest[prefix..].starts_with(&triple) {
            true => (&triple, true),
            false => (&triple[..1], false),
        };
        self.at += prefix + end.len();
        loop {
            let rest = &self.text[self.at..];
            match rest.first() {
                None => return Err("a text does not end".to_owned()),
                Some(b'\n' | b'\r') if !is_long => return Err("a text does not end".to_owned()),
                Some(_) if rest.starts_with(end) => {
                    self.at += end.len();
                    return Ok(true);
                }
                Some(b'\\') if !is_raw => {
                    let escape = rest.get(1).copied().unwrap_or_default();
                    if !b"abfnrtv\"'\\?`xXuU01234567".contains(&escape) {
                        return Err(format!("\\{} is no escape", escape as char));
                    }
                    self.at += 2;
                }
                Some(_) => self.at += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions() {
        for right in [
            "response.code >= 400",
            "has(response.code) && response.code >= 400 || !connection.mtls",
            "request.headers['x'] == \"a\\n\" ? true : false",
            "[1, 2u, 3.5e1].exists(x, x in [1])",
            "{'a': 1}.a",
            "a.b.C{x: 1}",
            "- -1 == 1",
            "xds.filter_chain_name == r'\\d'",
        ] {
            assert_eq!(check(right), Ok(()), "{right}");
        }
        for wrong in [
            "",
            "a >",
            "a b",
            "has(a)",
            "'a",
            "if",
            "(a",
            "a =< b",
            "a.all(1, b)",
            "[a",
            "a..b",
        ] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }
}
