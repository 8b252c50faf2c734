//! What is wrong with a JSON text, and where, without a word of the text.

use serde_json::error::Category;

/// The sentence of an error of serde_json. That of a value of a wrong type shows the value, which may be anything.
pub(in crate::discovery) fn json_mistake(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let shows_value = ["invalid type: ", "invalid value: ", "invalid length ", "unknown variant "];
    if error.classify() != Category::Data || !shows_value.iter().any(|start| text.starts_with(start)) {
        return text;
    }
    // The last one is ours: what is expected holds no such words.
    let expected = text.rsplit_once(", expected ").map_or("something else", |(_, expected)| expected);
    let expected = expected.rsplit_once(" at line ").map_or(expected, |(expected, _)| expected);
    format!("expected {expected} at line {} column {}", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use super::json_mistake;
    use std::collections::BTreeMap;

    #[test]
    fn values_are_not_shown() {
        let check = |text: &str, want: &str| {
            let error = serde_json::from_str::<BTreeMap<String, u16>>(text).expect_err("a mistake");
            assert_eq!(json_mistake(&error), want, "{text}");
        };
        check("\"hunter2, expected nothing\"", "expected a map at line 1 column 27");
        check("{\"a\": \"hunter2\"}", "expected u16 at line 1 column 15");
        check("{\"a\": 4711471}", "expected u16 at line 1 column 13");
        check("hunter2", "expected value at line 1 column 1");
        check("{\"a\": 1", "EOF while parsing an object at line 1 column 7");
    }
}
