//! What is a pattern and what is not, mostly from Go's `regexp/syntax/parse_test.go`.

use super::*;

fn error(pattern: &str) -> Option<String> {
    parse(pattern).err().map(|error| {
        let error = error.to_string();
        error.strip_prefix("error parsing regexp: ").unwrap().to_owned()
    })
}

#[test]
fn errors_are_go_s() {
    let check = |pattern: &str, want: &str| assert_eq!(error(pattern).as_deref(), Some(want), "{pattern:?}");
    check("*", "missing argument to repetition operator: `*`");
    check("+?", "missing argument to repetition operator: `+?`");
    check("(*)", "missing argument to repetition operator: `*`");
    check("a|{2}", "missing argument to repetition operator: `{2}`");
    check(r"\Q\E*", "missing argument to repetition operator: `*`");
    check("(abc", "missing closing ): `(abc`");
    check("(a|b|", "missing closing ): `(a|b|`");
    check("abc)", "unexpected ): `abc)`");
    check("a|b|)", "unexpected ): `a|b|)`");
    check("x[a-z", "missing closing ]: `[a-z`");
    check("[]a", "missing closing ]: `[]a`");
    check("[z-a]", "invalid character class range: `z-a`");
    check("(?i)[a-Z]", "invalid character class range: `a-Z`");
    check(r"[a-\d]", r"invalid escape sequence: `\d`");
    check("[[:alphabet:]]", "invalid character class range: `[:alphabet:]`");
    check(r"abc\", "trailing backslash at end of expression: ``");
    check(r"[\", "trailing backslash at end of expression: ``");
    check("a**", "invalid nested repetition operator: `**`");
    check("a*+", "invalid nested repetition operator: `*+`");
    check("a??{2}", "invalid nested repetition operator: `??{2}`");
    check("a*{2}?b", "invalid nested repetition operator: `*{2}?`");
    check("x{1001}", "invalid repeat count: `{1001}`");
    check("x{9876543210}", "invalid repeat count: `{9876543210}`");
    check("x{1,9876543210}", "invalid repeat count: `{1,9876543210}`");
    check("x{2,1}", "invalid repeat count: `{2,1}`");
    check("((a{100}){10}){2}", "invalid repeat count: `{2}`");
    check("(a{11,}b?){100}", "invalid repeat count: `{100}`");
    check(r"\x", r"invalid escape sequence: `\x`");
    check(r"\xag", r"invalid escape sequence: `\xag`");
    check(r"\x{110000}", r"invalid escape sequence: `\x{110000`");
    check(r"\x{}", r"invalid escape sequence: `\x{}`");
    check(r"\x{12", r"invalid escape sequence: `\x{12`");
    check(r"\u{12}", r"invalid escape sequence: `\u`");
    check(r"\1", r"invalid escape sequence: `\1`");
    check(r"(a)\18", r"invalid escape sequence: `\1`");
    check(r"\8", r"invalid escape sequence: `\8`");
    check(r"\C", r"invalid escape sequence: `\C`");
    check(r"\Z", r"invalid escape sequence: `\Z`");
    check(r"[\b]", r"invalid escape sequence: `\b`");
    check(r"\é", r"invalid escape sequence: `\é`");
    check(r"\p", r"invalid character class range: `\p`");
    check(r"\p{Klingon}", r"invalid character class range: `\p{Klingon}`");
    check(r"\p{Greek", r"invalid character class range: `\p{Greek`");
    check(r"\p{script=Greek}", r"invalid character class range: `\p{script=Greek}`");
    check(r"\p{isGreek}", r"invalid character class range: `\p{isGreek}`");
    check(r"[\pé]", r"invalid character class range: `\pé`");
    check("(?P<name>a", "missing closing ): `(?P<name>a`");
    check("(?P<name", "invalid named capture: `(?P<name`");
    check("(?P<x y>a)", "invalid named capture: `(?P<x y>`");
    check("(?<>a)", "invalid named capture: `(?<>`");
    check("(?P=name)", "invalid or unsupported Perl syntax: `(?P`");
    check("(?=a)", "invalid or unsupported Perl syntax: `(?=`");
    check("(?<!a)", "invalid named capture: `(?<!a)`");
    check("(?x)a", "invalid or unsupported Perl syntax: `(?x`");
    check("(?i-)a", "invalid or unsupported Perl syntax: `(?i-)`");
    check("(?i--s)a", "invalid or unsupported Perl syntax: `(?i--`");
    check("(?i", "invalid or unsupported Perl syntax: `(?i`");
    let deep = "(?:".repeat(1000) + &")*".repeat(1000);
    check(&deep, &format!("expression nests too deeply: `{deep}`"));
    let stacked = "a".to_owned() + &"*(?i)".repeat(1000);
    check(&stacked, &format!("expression nests too deeply: `{stacked}`"));
}

#[test]
fn what_go_accepts_is_accepted() {
    for pattern in [
        "",
        "a||b",
        "()",
        "(|a)*",
        "^*$+",
        "a{,2}",
        "a{2",
        "a{02}",
        "a{0}",
        "{",
        "a{1000}",
        "(?:a{1000}){0,1}",
        "((a{1000}){0}){1000}",
        "[a-b-c]",
        "[]a]",
        "[^]a]",
        "[-a-]",
        "[[]",
        "[[:word:][:^alpha:]]",
        "[[:alpha]",
        r"\Qabc",
        r"\Q*+?{[\E",
        r"\Q\\\\\E",
        r"a*\Q\E*",
        r"\_\-\<\>\/\!",
        r"\0\01\017\123\12a",
        r"\x{D800}[\x{D7FF}-\x{E000}]",
        r"[^\x00-\x{10FFFF}]",
        r"\pN\PN\p{^N}[\p{Greek}\P{^Lu}]",
        r"\p{Any}\p{Cs}\p{LC}\p{Cn}\p{Letter}",
        "(?P<n>a)(?<n>b)(?P<1x>c)",
        "(?i)(?i-sm:a)(?U)a+?(?-U:a+)",
        "(?)",
        "\u{7f}\n",
    ] {
        assert_eq!(error(pattern), None, "{pattern:?}");
    }
}

/// All characters that a pattern of one class matches, as ranges.
fn ranges(pattern: &str) -> Vec<(char, char)> {
    use regex_syntax::hir::{Class, HirKind};
    match parse(pattern).unwrap().hir.into_kind() {
        HirKind::Class(Class::Unicode(class)) => class.iter().map(|it| (it.start(), it.end())).collect(),
        HirKind::Class(Class::Bytes(class)) => {
            class.iter().map(|it| (char::from(it.start()), char::from(it.end()))).collect()
        }
        HirKind::Literal(literal) => {
            let text = String::from_utf8(literal.0.to_vec()).unwrap();
            text.chars().map(|it| (it, it)).collect()
        }
        kind => panic!("{pattern:?} is {kind:?}"),
    }
}

#[test]
fn classes_are_go_s() {
    let check = |pattern: &str, want: &[(char, char)]| assert_eq!(ranges(pattern), want, "{pattern:?}");
    check(r"\d", &[('0', '9')]);
    check(r"\s", &[('\t', '\n'), ('\x0c', '\r'), (' ', ' ')]);
    check(r"[[:space:]]", &[('\t', '\r'), (' ', ' ')]);
    check(
        r"(?i)\w",
        &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z'), ('\u{17f}', '\u{17f}'), ('\u{212a}', '\u{212a}')],
    );
    check(
        r"(?i)[^\W]",
        &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z'), ('\u{17f}', '\u{17f}'), ('\u{212a}', '\u{212a}')],
    );
    check(r"(?i)k", &[('K', 'K'), ('k', 'k'), ('\u{212a}', '\u{212a}')]);
    check(r"(?i)[^k]", &[('\0', 'J'), ('L', 'j'), ('l', '\u{2129}'), ('\u{212b}', '\u{10ffff}')]);
    check(r"[^a]", &[('\0', '`'), ('b', '\u{10ffff}')]);
    check(r"[a&&b]", &[('&', '&'), ('a', 'b')]);
    check(r"[a-b-c]", &[('-', '-'), ('a', 'c')]);
    check(r"[\x{d000}-\x{d900}]", &[('\u{d000}', '\u{d7ff}')]);
    check(r"[\x{d900}-\x{e001}]", &[('\u{e000}', '\u{e001}')]);
    check(r"[\x{d800}-\x{dfff}]", &[]);
    check(r"\x{d800}", &[]);
    check(r"[\a\f\n\r\t\v]", &[('\x07', '\x07'), ('\t', '\r')]);
    check(r"[\0\101-\1032]", &[('\0', '\0'), ('2', '2'), ('A', 'C')]);
    check(r"\p{Zl}", &[('\u{2028}', '\u{2028}')]);
    check(r"[^\p{Any}]", &[]);
}
