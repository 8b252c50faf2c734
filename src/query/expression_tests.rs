use super::{At, Expression, ExpressionError};

fn shown(text: &str) -> String {
    let vector = |vector: &super::Vector| {
        let at = match vector.at {
            None => String::new(),
            Some(At::Time(ms)) => format!(" @ {ms}"),
            Some(at) => format!(" @ {at:?}"),
        };
        format!("vector offset {}{at}", vector.offset_ms)
    };
    match Expression::parse(text) {
        Ok(Expression::Vector(it)) => vector(&it),
        Ok(Expression::Range { vector: it, range_ms }) => format!("{range_ms} of {}", vector(&it)),
        Ok(Expression::Number(number)) => format!("{number}"),
        Ok(Expression::Text(text)) => format!("{text:?}"),
        Err(ExpressionError::NeedsEngine) => "needs an engine".to_owned(),
        Err(ExpressionError::Mistake(error)) => error.to_string(),
    }
}

#[test]
fn selectors_move_in_time() {
    for (text, want) in [
        ("up", "vector offset 0"),
        (" ( up ) ", "vector offset 0"),
        ("up[5m]", "300000 of vector offset 0"),
        ("up [ 1h30m ]", "5400000 of vector offset 0"),
        ("up[30]", "30000 of vector offset 0"),
        ("up offset 5m", "vector offset 300000"),
        ("up OFFSET -5m", "vector offset -300000"),
        ("up{job='a'}[5m] offset 1.5", "300000 of vector offset 1500"),
        ("up @ 12.5", "vector offset 0 @ 12500"),
        ("up @ -1", "vector offset 0 @ -1000"),
        ("up @ start() offset 1m", "vector offset 60000 @ Start"),
        ("up offset 1m @ end()", "vector offset 60000 @ End"),
        ("sum", "vector offset 0"),
        ("up # comment", "vector offset 0"),
    ] {
        assert_eq!(shown(text), want, "{text}");
    }
}

#[test]
fn numbers_are_computed() {
    for (text, want) in [
        ("1", "1"),
        ("1+1", "2"),
        ("1 + 2 * 3 ^ 2 ^ 0", "7"),
        ("-2 ^ 2", "-4"),
        ("(1 - 2) % 2", "-1"),
        ("1 / 0", "inf"),
        ("0x1F", "31"),
        ("1e3", "1000"),
        ("1_000", "1000"),
        ("-Inf", "-inf"),
        ("NaN", "NaN"),
        ("5m", "300"),
        (r#""a\tb""#, r#""a\tb""#),
        ("'it''s'", r#"1:5: parse error: unexpected string "'s'""#),
    ] {
        assert_eq!(shown(text), want, "{text}");
    }
}

#[test]
fn what_needs_an_engine_is_told_from_what_is_no_promql() {
    let deep = format!("{}up{}", "(".repeat(100), ")".repeat(100));
    for text in [
        "rate(up[5m])",
        "time()",
        "vector(1)",
        "sum by (job) (up)",
        "sum(up) without (job, 'a.b',)",
        "sum(rate(a[5m])) / on (job) group_left (x) sum(b)",
        "up + 1",
        "-up",
        "up == bool 1",
        "up and down or left unless right",
        "up[5m:1m]",
        "up[5m:] offset 1m",
        "rate(up[5m]) @ 12",
        "topk(3, up)",
        "1 == bool 1",
        "absent(up{a='b'})",
        deep.as_str(),
    ] {
        assert_eq!(shown(text), "needs an engine", "{text}");
    }
    for (text, want) in [
        ("", "unknown position: parse error: no expression found in input"),
        (" ", "1:1: parse error: no expression found in input"),
        ("up{", "1:4: parse error: unexpected end of input inside braces"),
        ("up[5m", "1:6: parse error: unclosed left bracket"),
        ("up[]", r#"1:4: parse error: unexpected "]" in subquery selector, expected number or duration"#),
        ("up[0s]", "1:4: parse error: duration must be greater than 0"),
        ("up offset", "1:10: parse error: unexpected end of input in offset, expected number or duration"),
        ("up @ x", r#"1:6: parse error: unexpected identifier "x" in @, expected timestamp"#),
        ("up up", r#"1:4: parse error: unexpected identifier "up""#),
        ("sum(up", "1:7: parse error: unclosed left parenthesis"),
        ("up)", "1:4: parse error: unexpected right parenthesis ')'"),
        ("up +", "1:5: parse error: unexpected end of input"),
        ("1 == 1", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
        ("1[5m]", "1:2: parse error: ranges only allowed for vector selectors"),
        ("up offset 1m[5m]", "1:13: parse error: no offset modifiers allowed before range"),
        ("up @ 1[5m]", "1:7: parse error: no @ modifiers allowed before range"),
        ("rate(up[5m],)", "1:12: parse error: trailing commas not allowed in function call args"),
        ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ("a $ b", "1:3: parse error: unexpected character: '$'"),
    ] {
        assert_eq!(shown(text), want, "{text}");
    }
}

#[test]
fn deep_expressions_need_little_stack() {
    let texts = [
        "(".repeat(2000),
        "-".repeat(2000),
        format!("{}1{}", "(".repeat(1000), ")".repeat(1000)),
        "a(".repeat(1000),
        "sum by (a) (".repeat(500),
        "1^".repeat(1000),
        "1 or ".repeat(1000),
        format!("{{a=~\"{}\"}}", "(a*)*".repeat(300)),
        format!("{{a=~\"{}a{}\"}}", "(".repeat(900), ")".repeat(900)),
        "{a=~\"((a{1,100}){1,100}){1,100}\"}".to_owned(),
    ];
    for text in texts {
        // As much as the thread of pages has.
        let thread = std::thread::Builder::new().stack_size(256 << 10);
        let outcome = thread.spawn(move || drop(Expression::parse(&text))).unwrap().join();
        assert!(outcome.is_ok());
    }
}
