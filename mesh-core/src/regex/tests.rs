use super::*;

/// What google-re2 (1.1, Latin-1, full match) says of a pattern; texts are their bytes in UTF-8.
enum Verdict {
    Refused,
    Matches {
        yes: &'static [&'static str],
        no: &'static [&'static str],
    },
}
use Verdict::{Matches, Refused as REFUSED};

#[test]
fn reads_patterns_as_re2_does() {
    let mut scratch = Scratch::default();
    for (pattern, verdict) in RE2 {
        let regex = Regex::new(pattern);
        match verdict {
            REFUSED => assert!(regex.is_err(), "{pattern:?} must be refused"),
            Matches { yes, no } => {
                let regex = regex.unwrap_or_else(|e| panic!("{e}"));
                for text in *yes {
                    let matches = regex.is_full_match(text.as_bytes(), &mut scratch);
                    assert!(matches, "{pattern:?} must match {text:?}");
                }
                for text in *no {
                    let matches = regex.is_full_match(text.as_bytes(), &mut scratch);
                    assert!(!matches, "{pattern:?} must not match {text:?}");
                }
            }
        }
    }
}

#[test]
fn says_what_is_wrong() {
    for (pattern, reason) in [
        (
            "a**",
            r#"regex "a**": bad repetition operator: * follows another one"#,
        ),
        (
            "a{1001}",
            r#"regex "a{1001}": invalid repetition size: {1001} (at most 1000, nested ones multiplied)"#,
        ),
        (r"\u0061", r#"regex "\\u0061": invalid escape sequence: \u"#),
        (
            "(?=a)",
            r#"regex "(?=a)": invalid perl operator: (?=a) (look-around, comments and x are not in RE2)"#,
        ),
        (
            "[[:foo:]]",
            r#"regex "[[:foo:]]": invalid character class range: [:foo:] is no POSIX class"#,
        ),
        ("(a", r#"regex "(a": missing ): (a"#),
    ] {
        assert_eq!(Regex::new(pattern).unwrap_err().to_string(), reason);
    }
}

#[test]
fn bounds_what_a_pattern_costs() {
    let thousand = "a".repeat(1000);
    let mut scratch = Scratch::default();
    let regex = Regex::new("(a{100}){10}").unwrap();
    assert!(regex.is_full_match(thousand.as_bytes(), &mut scratch));
    assert!(!regex.is_full_match(&thousand.as_bytes()[1..], &mut scratch));

    let nested = |depth| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Regex::new(&nested(250)).is_ok());
    assert!(Regex::new(&nested(251)).is_err());
    assert!(Regex::new(&nested(1_000_000)).is_err());
    let error = Regex::new(&r"\pL{1000}".repeat(1000)).unwrap_err();
    assert!(error.to_string().contains("pattern too large"), "{error}");
}

#[test]
fn matches_bytes_that_are_not_utf8() {
    let mut scratch = Scratch::default();
    let mut matches = |pattern: &str, text: &[u8]| {
        Regex::new(pattern)
            .unwrap()
            .is_full_match(text, &mut scratch)
    };
    assert!(matches(".", b"\xff"));
    assert!(matches("[^x]", b"\xff"));
    assert!(!matches("[^\\xff]", b"\xff"));
    assert!(matches(r"\C", b"\xff"));
    assert!(matches(r"\W\D\S", b"\xff\xe9\x80"));
    assert!(matches(r"(?i)\xe9", b"\xc9"));
    assert!(!matches(r"(?i)\xff", b"\x78"));
    assert!(matches("\u{e9}", "\u{e9}".as_bytes()));
    assert!(!matches("\u{e9}", b"\xe9"));
    assert!(matches("[\u{e9}]{2}", "\u{e9}".as_bytes()));
}

#[test]
fn anywhere_is_what_re2_calls_a_partial_match() {
    let mut scratch = Scratch::default();
    let mut matches = |pattern: &str, text: &str| {
        Regex::anywhere(pattern)
            .unwrap()
            .is_full_match(text.as_bytes(), &mut scratch)
    };
    assert!(matches("b+", "abbc"));
    assert!(matches("b", "a\nb\nc"));
    assert!(!matches("^b", "ab"));
    assert!(matches("^a|x", "ab"));
    assert!(!matches("b$", "abc"));
    assert!(matches("", ""));
}

#[test]
fn scratch_keeps_a_bounded_number_of_caches() {
    let mut scratch = Scratch::default();
    for i in 0..MAX_CACHES + 10 {
        let text = i.to_string();
        let regex = Regex::new(&text).unwrap();
        assert!(regex.is_full_match(text.as_bytes(), &mut scratch));
        assert!(regex.is_full_match(text.as_bytes(), &mut scratch));
    }
    assert_eq!(scratch.caches.len(), 10);
}

/// The rules of RE2 `GlobalReplace`.
#[test]
fn replaces_all_matches() {
    for (pattern, substitution, text, expected) in [
        ("a*", "-", "baaac", "-b-c-"),
        ("", "-", "ba", "-b-a-"),
        ("é", "e", "éa", "ea"),
        ("/foo/(.*)", r"/bar/\1", "/foo/x/foo/y", "/bar/x/foo/y"),
        (
            "^/service/([^/]+)(/.*)$",
            r"\2/instance/\1",
            "/service/foo/v1/api",
            "/v1/api/instance/foo",
        ),
        ("one", "two", "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/two/zzz"),
        (
            "^(.*?)one(.*)$",
            r"\1two\2",
            "/xxx/one/yyy/one/zzz",
            "/xxx/two/yyy/one/zzz",
        ),
        ("(?i)/xxx/", "/yyy/", "/aaa/XxX/bbb", "/aaa/yyy/bbb"),
        ("(?U)a+", "x", "aaa", "xxx"),
        ("a", r"<\0>", "aba", "<a>b<a>"),
        ("(a)|(b)", r"[\1\2]", "abc", "[a][b]c"),
        ("a", r"\\", "aba", r"\b\"),
        ("^a", "b", "aaa", "baa"),
        ("x", "y", "abc", "abc"),
        // A group that the expression lacks: nothing changes. Any other escape ends the substitution.
        ("a", r"\1", "aba", "aba"),
        ("a", r"x\qy", "aba", "xbx"),
    ] {
        let regex = Regex::new(pattern).unwrap();
        let replaced = regex.replace_all(text, substitution);
        assert_eq!(
            replaced, expected,
            "{pattern:?} by {substitution:?} in {text:?}"
        );
    }
}

/// Random patterns and texts, judged by google-re2 in a Python that `MESH_RE2_PYTHON` names.
#[test]
#[ignore = "needs google-re2: cargo verify"]
fn random_patterns_mean_what_re2_says() {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };
    const JUDGE: &str = "
import re2, sys
options = re2.Options()
options.log_errors = False
options.encoding = re2.Options.Encoding.LATIN1
for line in sys.stdin:
    if not line.split():
        continue
    pattern, *texts = (bytes.fromhex(h[1:]) for h in line.split())
    try:
        regex = re2.compile(pattern, options)
        print(''.join('y' if regex.fullmatch(t) else 'n' for t in texts))
    except re2.error:
        print('refused')
";
    const PATTERN: &[&str] = &[
        "a",
        "b",
        "B",
        "é",
        "ſ",
        "1",
        "_",
        "-",
        ".",
        "*",
        "+",
        "?",
        "*?",
        "|",
        "(",
        ")",
        "(?:",
        "(?i)",
        "(?i:",
        "(?s)",
        "(?-s:",
        "(?m)",
        "(?U)",
        "(?P<n>",
        "(?",
        "[",
        "]",
        "[^",
        "[a-",
        "b-]",
        "[[",
        "[:alpha:]",
        "[:^digit:]",
        "[[:",
        "[:foo:]",
        "&&",
        "--",
        "~~",
        "^",
        "$",
        "{",
        "}",
        "{2}",
        "{,2}",
        "{0,1}",
        "{1,}",
        "{02}",
        "{2,1}",
        ",",
        "\\",
        "\\d",
        "\\D",
        "\\w",
        "\\W",
        "\\s",
        "\\S",
        "\\b",
        "\\B",
        "\\A",
        "\\z",
        "\\Z",
        "\\C",
        "\\Q",
        "\\E",
        "\\pL",
        "\\P{Lu}",
        "\\p{Greek}",
        "\\x61",
        "\\x{62}",
        "\\x{e9}",
        "\\xC9",
        "\\x{100}",
        "\\351",
        "\\400",
        "\\x",
        "\\0",
        "\\61",
        "\\141",
        "\\1",
        "\\n",
        "\\_",
        "\\.",
        "\\-",
        "\\]",
        "\\k",
        " ",
        "#",
        "\n",
    ];
    #[rustfmt::skip]
    const TEXT: &[&[u8]] = &[
        b"a", b"b", b"A", b"B", "é".as_bytes(), "É".as_bytes(), "ſ".as_bytes(), b"1", b"_", b"-", b".", b" ", b"\n",
        b"[", b"]", b"{", b"}", b"&", b"~", b",", b"2", b"\xe9", b"\xc9", b"\xff", b"\x80", b"\xb5", b"\\", b"^",
        b"$", b"#",
    ];
    let python = std::env::var("MESH_RE2_PYTHON").expect("MESH_RE2_PYTHON");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % n as u64).unwrap()
    };
    let cases: Vec<(String, Vec<Vec<u8>>)> = (0..50_000)
        .map(|_| {
            let pattern = (0..below(8)).map(|_| PATTERN[below(PATTERN.len())]);
            let pattern = pattern.collect();
            let mut text = || -> Vec<u8> {
                let parts = (0..below(5)).map(|_| TEXT[below(TEXT.len())]);
                parts.flatten().copied().collect()
            };
            (pattern, (0..12).map(|_| text()).collect())
        })
        .collect();
    let hex = |text: &[u8]| -> String {
        let digits = text.iter().map(|b| format!("{b:02x}"));
        std::iter::once(".".to_owned()).chain(digits).collect()
    };
    let questions: String = cases
        .iter()
        .flat_map(|(pattern, texts)| {
            std::iter::once(pattern.as_bytes())
                .chain(texts.iter().map(Vec::as_slice))
                .map(hex)
                .chain(["\n".to_owned()])
        })
        .map(|word| word + " ")
        .collect();

    let mut judge = Command::new(python)
        .args(["-c", JUDGE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = judge.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(questions.as_bytes()));
    let output = judge.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let answers = String::from_utf8(output.stdout).unwrap();
    assert_eq!(answers.lines().count(), cases.len());
    let matching = answers.lines().filter(|a| a.contains('y')).count();
    assert!(matching > 1000, "{matching}");

    let mut scratch = Scratch::default();
    let mut differences = Vec::new();
    for ((pattern, texts), expected) in cases.iter().zip(answers.lines()) {
        let ours = match Regex::new(pattern) {
            Err(_) => "refused".to_owned(),
            Ok(regex) => texts
                .iter()
                .map(|t| regex.is_full_match(t, &mut scratch))
                .map(|matches| if matches { 'y' } else { 'n' })
                .collect(),
        };
        if ours != expected {
            differences.push(format!("{pattern:?} on {texts:?}: {ours}, RE2 {expected}"));
        }
    }
    assert!(
        differences.is_empty(),
        "{}: {:#?}",
        differences.len(),
        &differences[..differences.len().min(20)]
    );
}

#[rustfmt::skip]
const RE2: &[(&str, Verdict)] = &[
    ("\\d+", Matches { yes: &["12"], no: &["\u{663}", "", "1a"] }),
    ("\\w+", Matches { yes: &["a_1"], no: &["\u{e9}", "\u{17f}"] }),
    ("(?i)\\w", Matches { yes: &["K", "k"], no: &["\u{17f}", "\u{e9}"] }),
    ("(?i)\\W", Matches { yes: &[], no: &["\u{e9}", "\u{17f}", "a"] }),
    ("\\s", Matches { yes: &[" ", "\t"], no: &["\u{b}", "\u{a0}"] }),
    ("[[:space:]]", Matches { yes: &["\u{b}", " "], no: &["a"] }),
    ("\\D", Matches { yes: &["\n"], no: &["\u{e9}", "1"] }),
    ("\\S\\W", Matches { yes: &[], no: &["\u{e9}-", "  "] }),
    ("[a&&b]", Matches { yes: &["a", "&", "b"], no: &["&&"] }),
    ("[a~~b]", Matches { yes: &["~", "a"], no: &[] }),
    ("[a--c]", REFUSED),
    ("[+--]", Matches { yes: &["+", ",", "-"], no: &["."] }),
    ("[a-b-c]", Matches { yes: &["a", "-", "c"], no: &["b-c"] }),
    ("[-a]", Matches { yes: &["-", "a"], no: &[] }),
    ("[a-]", Matches { yes: &["-", "a"], no: &[] }),
    ("[]a]", Matches { yes: &["]", "a"], no: &[] }),
    ("[^]a]", Matches { yes: &["b", "\n"], no: &["]"] }),
    ("[[a]", Matches { yes: &["[", "a"], no: &[] }),
    ("[[:foo]", Matches { yes: &["[", ":", "f"], no: &["x"] }),
    ("[[:foo:]]", REFUSED),
    ("[[:^alpha:]]", Matches { yes: &["1"], no: &["a"] }),
    ("[^[:alpha:]1]", Matches { yes: &["2"], no: &["1", "a"] }),
    ("[[:word:]-]+", Matches { yes: &["a-b"], no: &["\u{e9}"] }),
    ("[[.a.]]", Matches { yes: &["a]", "[]", ".]"], no: &[] }),
    ("\\Qa.b\\E+", Matches { yes: &["a.b", "a.bb"], no: &["axb", "a.ba.b"] }),
    ("\\Qa|b", Matches { yes: &["a|b"], no: &["a"] }),
    ("a\\Q\\E*", Matches { yes: &["", "aa", "a"], no: &[] }),
    ("[\\Qa]", REFUSED),
    ("\\Q\\\\E", Matches { yes: &["\\"], no: &[] }),
    ("\\C", Matches { yes: &["a"], no: &["\u{e9}"] }),
    ("\\C\\C", Matches { yes: &["\u{e9}"], no: &[] }),
    ("\\07", Matches { yes: &["\u{7}"], no: &[] }),
    ("\\0", Matches { yes: &["\u{0}"], no: &[] }),
    ("\\012", Matches { yes: &["\n"], no: &[] }),
    ("\\12", Matches { yes: &["\n"], no: &[] }),
    ("\\1", REFUSED),
    ("\\8", REFUSED),
    ("(a)\\1", REFUSED),
    ("\\377", Matches { yes: &[], no: &["\u{ff}"] }),
    ("a{,2}", Matches { yes: &["a{,2}"], no: &["a", "aa"] }),
    ("a{1", Matches { yes: &["a{1"], no: &["a"] }),
    ("{", Matches { yes: &["{"], no: &[] }),
    ("a{1,2", Matches { yes: &["a{1,2"], no: &[] }),
    ("a{}", Matches { yes: &["a{}"], no: &[] }),
    ("a{01}", Matches { yes: &["a{01}"], no: &["a"] }),
    ("a{2,1}", REFUSED),
    ("a{1001}", REFUSED),
    ("(a{100}){11}", REFUSED),
    ("a{1000000000}", Matches { yes: &["a{1000000000}"], no: &[] }),
    ("{1}", REFUSED),
    ("x{2}{3}", REFUSED),
    ("x{2}*", REFUSED),
    ("a**", REFUSED),
    ("a*+", REFUSED),
    ("a*?", Matches { yes: &["", "aaa"], no: &[] }),
    ("a*??", REFUSED),
    ("a+?b", Matches { yes: &["aab"], no: &[] }),
    ("^*", Matches { yes: &[""], no: &["a"] }),
    ("\\b+a", Matches { yes: &["a"], no: &[] }),
    ("(|a)*", Matches { yes: &["", "aa"], no: &[] }),
    ("*", REFUSED),
    ("a|*", REFUSED),
    ("(*a)", REFUSED),
    ("a(?i)*", Matches { yes: &["aa"], no: &["AA"] }),
    ("a*(?i)*", Matches { yes: &["aa"], no: &[] }),
    ("+", REFUSED),
    ("?", REFUSED),
    ("(?x)a b", REFUSED),
    ("(?i)k", Matches { yes: &["K", "k", "K"], no: &[] }),
    ("(?i:a)b", Matches { yes: &["Ab"], no: &["AB"] }),
    ("a(?i)b|c", Matches { yes: &["aB", "C"], no: &["AB"] }),
    ("(a(?i)b)c", Matches { yes: &["aBc"], no: &["abC"] }),
    ("(?i-i)a", Matches { yes: &["a"], no: &["A"] }),
    ("(?s).", Matches { yes: &["\n"], no: &[] }),
    (".", Matches { yes: &["a"], no: &["\u{e9}", "\n", ""] }),
    ("(?-s).", Matches { yes: &[], no: &["\n"] }),
    ("(?s:.)(?-s:.)", Matches { yes: &["\na"], no: &["\n\n"] }),
    ("(?)a", Matches { yes: &["a"], no: &[] }),
    ("(?-)a", REFUSED),
    ("(?i-)a", REFUSED),
    ("(?U)a+", Matches { yes: &["aa"], no: &[] }),
    ("(?u)a", REFUSED),
    ("(?R)a", REFUSED),
    ("a$", Matches { yes: &["a"], no: &["a\n"] }),
    ("a\\z", Matches { yes: &["a"], no: &["a\n"] }),
    ("a\\Z", REFUSED),
    ("\\Aa", Matches { yes: &["a"], no: &[] }),
    ("(?m)a$\\nb", Matches { yes: &["a\nb"], no: &[] }),
    ("(?m)^a$", Matches { yes: &["a"], no: &["a\n"] }),
    ("a^b", Matches { yes: &[], no: &["ab", "a^b"] }),
    ("a$b", Matches { yes: &[], no: &["ab"] }),
    ("\\<a", Matches { yes: &["<a"], no: &["a"] }),
    ("\\b{start}a", Matches { yes: &[], no: &["a", "{start}a"] }),
    ("\\ba\\b", Matches { yes: &["a"], no: &[] }),
    ("a\\Bb", Matches { yes: &["ab"], no: &[] }),
    ("\u{e9}\\b\u{e9}", Matches { yes: &[], no: &["\u{e9}\u{e9}"] }),
    ("\\u0061", REFUSED),
    ("\\x61", Matches { yes: &["a"], no: &[] }),
    ("\\x{61}", Matches { yes: &["a"], no: &[] }),
    ("\\x{000000061}", Matches { yes: &["a"], no: &[] }),
    ("\\x{}", REFUSED),
    ("\\x6", REFUSED),
    ("\\x{110000}", REFUSED),
    ("\\x{d800}", REFUSED),
    ("[\\x{d800}-\\x{e000}]", REFUSED),
    ("\\e", REFUSED),
    ("\\h", REFUSED),
    ("\\_\\-\\/\\@\\ ", Matches { yes: &["_-/@ "], no: &[] }),
    ("\\\u{e9}", REFUSED),
    ("\\a\\f\\t\\n\\r\\v", Matches { yes: &["\u{7}\u{c}\t\n\r\u{b}"], no: &[] }),
    ("\\", REFUSED),
    ("(?=a)", REFUSED),
    ("(?!a)", REFUSED),
    ("(?<=a)b", REFUSED),
    ("(?<!a)b", REFUSED),
    ("(?>a)", REFUSED),
    ("(?#c)a", REFUSED),
    ("(?P<n>a)", Matches { yes: &["a"], no: &[] }),
    ("(?<n>a)", Matches { yes: &["a"], no: &[] }),
    ("(?P<n-1>a)", REFUSED),
    ("(?P<>a)", REFUSED),
    ("(?P=n)", REFUSED),
    ("(?P>n)", REFUSED),
    ("(?'n'a)", REFUSED),
    ("(?|a)", REFUSED),
    ("(a", REFUSED),
    ("a)", REFUSED),
    ("()", Matches { yes: &[""], no: &["a"] }),
    ("a||b", Matches { yes: &["", "a", "b"], no: &[] }),
    ("(a|b|)c", Matches { yes: &["c", "bc"], no: &[] }),
    ("[a", REFUSED),
    ("[]", REFUSED),
    ("[z-a]", REFUSED),
    ("[a-\\d]", REFUSED),
    ("[\\d-z]+", Matches { yes: &["1-z"], no: &["y"] }),
    ("[\\w.]+", Matches { yes: &["a.b"], no: &[] }),
    ("\\pL", Matches { yes: &["a"], no: &["\u{e9}", "1"] }),
    ("\\p{Lu}+", Matches { yes: &[], no: &["A\u{c9}", "a"] }),
    ("\\p{Greek}", Matches { yes: &[], no: &["\u{3b1}", "a"] }),
    ("\\p{^Greek}", Matches { yes: &["a"], no: &["\u{3b1}"] }),
    ("\\P{^Greek}", Matches { yes: &[], no: &["\u{3b1}", "a"] }),
    ("\\p{greek}", REFUSED),
    ("\\p{Grek}", REFUSED),
    ("\\p{Script=Greek}", REFUSED),
    ("\\p{Letter}", REFUSED),
    ("\\p{Cn}", REFUSED),
    ("\\p{LC}", REFUSED),
    ("\\p{Any}", Matches { yes: &["\n", "a"], no: &[] }),
    ("\\pC", Matches { yes: &["\n"], no: &["\u{fdd0}", "a"] }),
    ("[\\p{Nd}_]", Matches { yes: &["_"], no: &["\u{663}", "a"] }),
    ("(?i)\\p{Lu}", Matches { yes: &["a", "A"], no: &["1"] }),
    ("\\p", REFUSED),
    ("\\p{", REFUSED),
    ("a", Matches { yes: &["a"], no: &["ab", "ba", ""] }),
    ("ab|abc", Matches { yes: &["abc", "ab"], no: &[] }),
    ("/api/v[0-9]+/.*", Matches { yes: &["/api/v1/x", "/api/v2/"], no: &["/api/vx/"] }),
    ("^/a$", Matches { yes: &["/a"], no: &[] }),
    (".*\\.example\\.com(:[0-9]+)?", Matches { yes: &["a.example.com", "a.example.com:80"], no: &["examplexcom"] }),
    ("^(.*?;)?(user=jason)(;.*)?$", Matches { yes: &["user=jason", "a=b;user=jason;c"], no: &["user=jasonx"] }),
    ("", Matches { yes: &[""], no: &["a"] }),
    ("#.*", Matches { yes: &["#a"], no: &[] }),
    ("a b", Matches { yes: &["a b"], no: &[] }),
];
