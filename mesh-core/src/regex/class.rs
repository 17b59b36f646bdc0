//! Characters, escapes and character classes of RE2. They are classes of Unicode, whose first 256 code points are
//! Latin-1: folding and negation are done there, and only what is left of the bytes goes into the automaton.

use std::{borrow::Cow, sync::LazyLock};

use regex_syntax::hir::{
    Class, ClassBytes, ClassBytesRange, ClassUnicode, ClassUnicodeRange, Hir, HirKind,
};

use super::parse::Flags;

/// The last character that a text can hold.
const LAST: char = '\u{ff}';

/// The pattern's bytes as characters.
pub(super) fn as_latin1(pattern: &str) -> Cow<'_, str> {
    match pattern.is_ascii() {
        true => Cow::Borrowed(pattern),
        false => pattern.bytes().map(char::from).collect(),
    }
}

/// What of the class is a byte.
pub(super) fn bytes(class: &ClassUnicode) -> Hir {
    let ranges = class.ranges().iter().filter_map(|range| {
        let start = u8::try_from(range.start()).ok()?;
        let end = u8::try_from(range.end()).unwrap_or(u8::MAX);
        Some(ClassBytesRange::new(start, end))
    });
    Hir::class(Class::Bytes(ClassBytes::new(ranges)))
}

/// One character, with its case variants under `(?i)`.
pub(super) fn literal(c: char, flags: Flags) -> Hir {
    bytes(&fold(ranges(&[(c, c)]), flags))
}

/// `.`
pub(super) fn dot(matches_newline: bool) -> ClassUnicode {
    if matches_newline {
        ranges(&[('\0', char::MAX)])
    } else {
        ranges(&[('\0', '\x09'), ('\x0b', char::MAX)])
    }
}

/// A bracketed class; `text` begins with `[`. Returns what follows the closing bracket.
pub(super) fn parse_bracket(text: &str, flags: Flags) -> Result<(Hir, &str), String> {
    let missing = || format!("missing ]: {text}");
    let mut rest = &text[1..];
    let negated = match rest.strip_prefix('^') {
        Some(after) => {
            rest = after;
            true
        }
        None => false,
    };
    let mut class = ClassUnicode::empty();
    let mut first = true;
    loop {
        if rest.is_empty() {
            return Err(missing());
        }
        if let Some(after) = rest.strip_prefix(']')
            && !first
        {
            if negated {
                class.negate();
            }
            return Ok((bytes(&class), after));
        }
        first = false;
        let group = match parse_posix(rest, flags)? {
            Some(group) => Some(group),
            None => parse_group(rest, flags)?,
        };
        if let Some((group, after)) = group {
            class.union(&group);
            rest = after;
            continue;
        }

        let start = rest;
        let (low, after) = parse_member(rest).ok_or_else(missing)??;
        let (high, after) = match after.strip_prefix('-') {
            Some(high) if !high.is_empty() && !high.starts_with(']') => {
                parse_member(high).ok_or_else(missing)??
            }
            _ => (low, after),
        };
        rest = after;
        if high < low {
            let range = &start[..start.len() - rest.len()];
            return Err(format!("invalid character class range: {range}"));
        }
        class.union(&fold(ranges(&[(low, high)]), flags));
    }
}

/// One end of a range. None: the pattern ends.
fn parse_member(text: &str) -> Option<Result<(char, &str), String>> {
    if text.starts_with('\\') {
        return Some(parse_escape(text));
    }
    let c = text.chars().next()?;
    Some(Ok((c, &text[c.len_utf8()..])))
}

/// A class and what follows it in the pattern.
type Parsed<'p> = (ClassUnicode, &'p str);

/// `[:alpha:]`, `[:^alpha:]`; None: there is none here.
fn parse_posix(text: &str, flags: Flags) -> Result<Option<Parsed<'_>>, String> {
    let Some((name, after)) = text.strip_prefix("[:").and_then(|t| t.split_once(":]")) else {
        return Ok(None);
    };
    let (negated, bare) = match name.strip_prefix('^') {
        Some(bare) => (true, bare),
        None => (false, name),
    };
    let class: &[(char, char)] = match bare {
        "alnum" => &[('0', '9'), ('A', 'Z'), ('a', 'z')],
        "alpha" => &[('A', 'Z'), ('a', 'z')],
        "ascii" => &[('\0', '\x7f')],
        "blank" => &[('\t', '\t'), (' ', ' ')],
        "cntrl" => &[('\0', '\x1f'), ('\x7f', '\x7f')],
        "digit" => &[('0', '9')],
        "graph" => &[('!', '~')],
        "lower" => &[('a', 'z')],
        "print" => &[(' ', '~')],
        "punct" => &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
        "space" => &[('\t', '\r'), (' ', ' ')],
        "upper" => &[('A', 'Z')],
        "word" => WORD,
        "xdigit" => &[('0', '9'), ('A', 'F'), ('a', 'f')],
        _ => {
            return Err(format!(
                "invalid character class range: [:{name}:] is no POSIX class"
            ));
        }
    };
    Ok(Some((signed(ranges(class), negated, flags), after)))
}

const WORD: &[(char, char)] = &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];

/// `\d`, `\s`, `\w`, `\pN`, `\p{Greek}` and their negations; None: there is none here.
pub(super) fn parse_group(text: &str, flags: Flags) -> Result<Option<Parsed<'_>>, String> {
    let Some(letter) = text.strip_prefix('\\').and_then(|t| t.chars().next()) else {
        return Ok(None);
    };
    let class: &[(char, char)] = match letter.to_ascii_lowercase() {
        'd' => &[('0', '9')],
        // RE2's \s lacks the vertical tab.
        's' => &[('\t', '\n'), ('\x0c', '\r'), (' ', ' ')],
        'w' => WORD,
        'p' => return parse_unicode(text, flags).map(Some),
        _ => return Ok(None),
    };
    let class = signed(ranges(class), letter.is_ascii_uppercase(), flags);
    Ok(Some((class, &text[2..])))
}

/// `text` begins with `\p` or `\P`.
fn parse_unicode(text: &str, flags: Flags) -> Result<Parsed<'_>, String> {
    let invalid = || format!("invalid character class range: {text} is no Unicode group of RE2");
    let mut negated = text.starts_with("\\P");
    let rest = &text[2..];
    let (mut name, after) = match rest.strip_prefix('{') {
        Some(rest) => rest.split_once('}').ok_or_else(invalid)?,
        None => rest.split_at(rest.chars().next().map_or(0, char::len_utf8)),
    };
    if let Some(bare) = name.strip_prefix('^') {
        negated = !negated;
        name = bare;
    }
    let class = if name == "Any" {
        dot(true)
    } else if name == "C" {
        // Unlike Unicode, RE2 leaves unassigned code points out. Surrogates are in no text.
        let mut class = unicode("gc=Cc").ok_or_else(invalid)?;
        for part in ["gc=Cf", "gc=Co"] {
            class.union(&unicode(part).ok_or_else(invalid)?);
        }
        class
    } else if name == "Cs" {
        ClassUnicode::empty()
    } else if CATEGORIES.contains(&name) {
        unicode(&format!("gc={name}")).ok_or_else(invalid)?
    } else if SCRIPTS.contains(&name) {
        unicode(&format!("sc={name}")).ok_or_else(invalid)?
    } else {
        return Err(invalid());
    };
    Ok((signed(class, negated, flags), after))
}

fn unicode(property: &str) -> Option<ClassUnicode> {
    match regex_syntax::parse(&format!("\\p{{{property}}}"))
        .ok()?
        .into_kind()
    {
        HirKind::Class(Class::Unicode(class)) => Some(class),
        _ => None,
    }
}

/// A one-character escape; `text` begins with `\`.
pub(super) fn parse_escape(text: &str) -> Result<(char, &str), String> {
    let mut rest = text[1..].chars();
    let Some(c) = rest.next() else {
        return Err("trailing \\ at the end".to_owned());
    };
    let code = match c {
        'a' => '\x07',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        'x' => return parse_hex(text),
        '0'..='7' => return parse_octal(text),
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => c,
        _ => return Err(bad_escape(text, 1 + c.len_utf8())),
    };
    Ok((code, rest.as_str()))
}

fn bad_escape(text: &str, length: usize) -> String {
    let escape = text.get(..length).unwrap_or(text);
    format!("invalid escape sequence: {escape}")
}

/// `\xFF` or `\x{0FF}`.
fn parse_hex(text: &str) -> Result<(char, &str), String> {
    let invalid = || bad_escape(text, 4);
    let digits = &text[2..];
    let (digits, after) = match digits.strip_prefix('{') {
        Some(digits) => digits.split_once('}').ok_or_else(invalid)?,
        None => digits.split_at_checked(2).ok_or_else(invalid)?,
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(invalid());
    }
    let code = u32::from_str_radix(digits.trim_start_matches('0'), 16);
    let code = if digits.bytes().all(|b| b == b'0') {
        0
    } else {
        code.map_err(|_| invalid())?
    };
    let c = char::from_u32(code).filter(|c| *c <= LAST);
    Ok((c.ok_or_else(invalid)?, after))
}

/// `\0`, `\07`, `\012`, `\12`; a single digit other than 0 is a back-reference, which RE2 does not have.
fn parse_octal(text: &str) -> Result<(char, &str), String> {
    let digits = text[1..]
        .bytes()
        .take(3)
        .take_while(|b| (b'0'..=b'7').contains(b))
        .count();
    let (octal, after) = text[1..].split_at(digits);
    if digits == 1 && octal != "0" {
        return Err(bad_escape(text, 2));
    }
    let code = u8::from_str_radix(octal, 8).map_err(|_| bad_escape(text, 1 + digits))?;
    Ok((code.into(), after))
}

/// The name of a capture group up to `>`, which is not used; returns what follows.
pub(super) fn capture_name(text: &str) -> Option<&str> {
    let (name, after) = text.split_once('>')?;
    let valid = !name.is_empty() && name.chars().all(|c| NAME_CHARACTERS.contains(c));
    valid.then_some(after)
}

/// Letters, marks, numbers and connectors, as RE2 has it.
static NAME_CHARACTERS: LazyLock<Set> = LazyLock::new(|| {
    let categories = ["gc=L", "gc=M", "gc=Nd", "gc=Nl", "gc=Pc"];
    Set(categories.iter().filter_map(|c| unicode(c)).collect())
});

struct Set(Vec<ClassUnicode>);

impl Set {
    fn contains(&self, c: char) -> bool {
        self.0
            .iter()
            .flat_map(|class| class.ranges())
            .any(|range| (range.start()..=range.end()).contains(&c))
    }
}

fn ranges(ranges: &[(char, char)]) -> ClassUnicode {
    ClassUnicode::new(ranges.iter().map(|(a, b)| ClassUnicodeRange::new(*a, *b)))
}

/// A predefined class: folded, then negated, as RE2 does it.
fn signed(class: ClassUnicode, negated: bool, flags: Flags) -> ClassUnicode {
    let mut class = fold(class, flags);
    if negated {
        class.negate();
    }
    class
}

fn fold(mut class: ClassUnicode, flags: Flags) -> ClassUnicode {
    if flags.fold_case {
        class.case_fold_simple();
    }
    class
}

/// The general categories of RE2.
const CATEGORIES: &[&str] = &[
    "Cc", "Cf", "Co", "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N", "Nd", "Nl",
    "No", "P", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So", "Z", "Zl",
    "Zp", "Zs",
];

/// The scripts of RE2, spelt as RE2 wants them.
#[rustfmt::skip]
const SCRIPTS: &[&str] = &[
    "Adlam", "Ahom", "Anatolian_Hieroglyphs", "Arabic", "Armenian", "Avestan", "Balinese", "Bamum",
    "Bassa_Vah", "Batak", "Bengali", "Bhaiksuki", "Bopomofo", "Brahmi", "Braille", "Buginese", "Buhid",
    "Canadian_Aboriginal", "Carian", "Caucasian_Albanian", "Chakma", "Cham", "Cherokee", "Chorasmian",
    "Common", "Coptic", "Cuneiform", "Cypriot", "Cypro_Minoan", "Cyrillic", "Deseret", "Devanagari",
    "Dives_Akuru", "Dogra", "Duployan", "Egyptian_Hieroglyphs", "Elbasan", "Elymaic", "Ethiopic", "Georgian",
    "Glagolitic", "Gothic", "Grantha", "Greek", "Gujarati", "Gunjala_Gondi", "Gurmukhi", "Han", "Hangul",
    "Hanifi_Rohingya", "Hanunoo", "Hatran", "Hebrew", "Hiragana", "Imperial_Aramaic", "Inherited",
    "Inscriptional_Pahlavi", "Inscriptional_Parthian", "Javanese", "Kaithi", "Kannada", "Katakana", "Kawi",
    "Kayah_Li", "Kharoshthi", "Khitan_Small_Script", "Khmer", "Khojki", "Khudawadi", "Lao", "Latin", "Lepcha",
    "Limbu", "Linear_A", "Linear_B", "Lisu", "Lycian", "Lydian", "Mahajani", "Makasar", "Malayalam",
    "Mandaic", "Manichaean", "Marchen", "Masaram_Gondi", "Medefaidrin", "Meetei_Mayek", "Mende_Kikakui",
    "Meroitic_Cursive", "Meroitic_Hieroglyphs", "Miao", "Modi", "Mongolian", "Mro", "Multani", "Myanmar",
    "Nabataean", "Nag_Mundari", "Nandinagari", "New_Tai_Lue", "Newa", "Nko", "Nushu",
    "Nyiakeng_Puachue_Hmong", "Ogham", "Ol_Chiki", "Old_Hungarian", "Old_Italic", "Old_North_Arabian",
    "Old_Permic", "Old_Persian", "Old_Sogdian", "Old_South_Arabian", "Old_Turkic", "Old_Uyghur", "Oriya",
    "Osage", "Osmanya", "Pahawh_Hmong", "Palmyrene", "Pau_Cin_Hau", "Phags_Pa", "Phoenician",
    "Psalter_Pahlavi", "Rejang", "Runic", "Samaritan", "Saurashtra", "Sharada", "Shavian", "Siddham",
    "SignWriting", "Sinhala", "Sogdian", "Sora_Sompeng", "Soyombo", "Sundanese", "Syloti_Nagri", "Syriac",
    "Tagalog", "Tagbanwa", "Tai_Le", "Tai_Tham", "Tai_Viet", "Takri", "Tamil", "Tangsa", "Tangut", "Telugu",
    "Thaana", "Thai", "Tibetan", "Tifinagh", "Tirhuta", "Toto", "Ugaritic", "Vai", "Vithkuqi", "Wancho",
    "Warang_Citi", "Yezidi", "Yi", "Zanabazar_Square",
];
