//! Protobuf's text form of `MetricFamily`, encoded as a page: families stand one behind the other, `---` between them.
//!
//! Fields are written in the order of the text. A list in brackets is packed; a field that is there several times is
//! not. `\xff` in a string is a byte.

#[derive(Clone, Copy)]
enum Kind {
    Integer,
    Zigzag,
    Double,
    Text,
    Type,
    Message(&'static str),
}

/// Message, field, number, kind.
const FIELDS: &[(&str, &str, u64, Kind)] = &[
    ("MetricFamily", "name", 1, Kind::Text),
    ("MetricFamily", "help", 2, Kind::Text),
    ("MetricFamily", "type", 3, Kind::Type),
    ("MetricFamily", "metric", 4, Kind::Message("Metric")),
    ("MetricFamily", "unit", 5, Kind::Text),
    ("Metric", "label", 1, Kind::Message("LabelPair")),
    ("Metric", "gauge", 2, Kind::Message("Value")),
    ("Metric", "counter", 3, Kind::Message("Counter")),
    ("Metric", "summary", 4, Kind::Message("Summary")),
    ("Metric", "untyped", 5, Kind::Message("Value")),
    ("Metric", "timestamp_ms", 6, Kind::Integer),
    ("Metric", "histogram", 7, Kind::Message("Histogram")),
    ("LabelPair", "name", 1, Kind::Text),
    ("LabelPair", "value", 2, Kind::Text),
    ("Value", "value", 1, Kind::Double),
    ("Counter", "value", 1, Kind::Double),
    ("Counter", "exemplar", 2, Kind::Message("Exemplar")),
    ("Counter", "start_timestamp", 3, Kind::Message("Timestamp")),
    ("Summary", "sample_count", 1, Kind::Integer),
    ("Summary", "sample_sum", 2, Kind::Double),
    ("Summary", "quantile", 3, Kind::Message("Quantile")),
    ("Summary", "start_timestamp", 4, Kind::Message("Timestamp")),
    ("Quantile", "quantile", 1, Kind::Double),
    ("Quantile", "value", 2, Kind::Double),
    ("Histogram", "sample_count", 1, Kind::Integer),
    ("Histogram", "sample_sum", 2, Kind::Double),
    ("Histogram", "bucket", 3, Kind::Message("Bucket")),
    ("Histogram", "sample_count_float", 4, Kind::Double),
    ("Histogram", "schema", 5, Kind::Zigzag),
    ("Histogram", "zero_threshold", 6, Kind::Double),
    ("Histogram", "zero_count", 7, Kind::Integer),
    ("Histogram", "zero_count_float", 8, Kind::Double),
    ("Histogram", "negative_span", 9, Kind::Message("BucketSpan")),
    ("Histogram", "negative_delta", 10, Kind::Zigzag),
    ("Histogram", "negative_count", 11, Kind::Double),
    ("Histogram", "positive_span", 12, Kind::Message("BucketSpan")),
    ("Histogram", "positive_delta", 13, Kind::Zigzag),
    ("Histogram", "positive_count", 14, Kind::Double),
    ("Histogram", "start_timestamp", 15, Kind::Message("Timestamp")),
    ("Histogram", "exemplars", 16, Kind::Message("Exemplar")),
    ("Bucket", "cumulative_count", 1, Kind::Integer),
    ("Bucket", "upper_bound", 2, Kind::Double),
    ("Bucket", "exemplar", 3, Kind::Message("Exemplar")),
    ("Bucket", "cumulative_count_float", 4, Kind::Double),
    ("BucketSpan", "offset", 1, Kind::Zigzag),
    ("BucketSpan", "length", 2, Kind::Integer),
    ("Exemplar", "label", 1, Kind::Message("LabelPair")),
    ("Exemplar", "value", 2, Kind::Double),
    ("Exemplar", "timestamp", 3, Kind::Message("Timestamp")),
    ("Timestamp", "seconds", 1, Kind::Integer),
    ("Timestamp", "nanos", 2, Kind::Integer),
];

const TYPES: [&str; 6] = ["COUNTER", "GAUGE", "SUMMARY", "UNTYPED", "HISTOGRAM", "GAUGE_HISTOGRAM"];

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(Vec<u8>),
    Mark(char),
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let text = lines.collect::<Vec<_>>().join("\n");
    let mut chars = text.chars().peekable();
    while let Some(it) = chars.next() {
        match it {
            '"' => {
                let mut bytes = Vec::new();
                loop {
                    match chars.next().expect("a string ends") {
                        '"' => break,
                        '\\' => match chars.next().expect("an escape ends") {
                            'n' => bytes.push(b'\n'),
                            'x' => {
                                let digits: String = chars.by_ref().take(2).collect();
                                bytes.push(u8::from_str_radix(&digits, 16).unwrap());
                            }
                            it => bytes.extend_from_slice(it.to_string().as_bytes()),
                        },
                        it => bytes.extend_from_slice(it.to_string().as_bytes()),
                    }
                }
                tokens.push(Token::Text(bytes));
            }
            ':' | ',' => {}
            '<' | '{' => tokens.push(Token::Mark('{')),
            '>' | '}' => tokens.push(Token::Mark('}')),
            '[' | ']' => tokens.push(Token::Mark(it)),
            _ if it.is_whitespace() => {}
            _ => {
                let mut word = String::from(it);
                while let Some(it) = chars.peek()
                    && (it.is_alphanumeric() || "_.+-".contains(*it))
                {
                    word.push(*it);
                    chars.next();
                }
                tokens.push(Token::Word(word));
            }
        }
    }
    tokens
}

fn push_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A field with a number.
pub fn number(field: u64, number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    push_varint(&mut out, field << 3);
    push_varint(&mut out, number);
    out
}

/// A field with content: text, or a message.
pub fn content(field: u64, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    push_bytes(&mut out, field, content);
    out
}

fn push_bytes(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    push_varint(out, number << 3 | 2);
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn push_scalar(out: &mut Vec<u8>, kind: Kind, word: &str) {
    match kind {
        Kind::Integer => push_varint(out, word.parse::<i128>().unwrap() as u64),
        Kind::Zigzag => {
            let number: i64 = word.parse().unwrap();
            push_varint(out, (number << 1 ^ number >> 63) as u64);
        }
        Kind::Double => out.extend_from_slice(&word.parse::<f64>().unwrap().to_le_bytes()),
        Kind::Type => {
            let known = TYPES.iter().position(|it| *it == word);
            push_varint(out, known.map_or_else(|| word.parse().unwrap(), |it| it as u64));
        }
        Kind::Text | Kind::Message(_) => panic!("{word} is no number"),
    }
}

fn wire_type(kind: Kind) -> u64 {
    match kind {
        Kind::Integer | Kind::Zigzag | Kind::Type => 0,
        Kind::Double => 1,
        Kind::Text | Kind::Message(_) => 2,
    }
}

fn encode_message(message: &str, tokens: &mut std::slice::Iter<'_, Token>) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let name = match tokens.next() {
            None | Some(Token::Mark('}')) => return out,
            Some(Token::Word(name)) => name,
            token => panic!("{token:?} in {message}"),
        };
        let field = FIELDS.iter().find(|field| field.0 == message && field.1 == name);
        let &(.., number, kind) = field.unwrap_or_else(|| panic!("{message} has no {name}"));
        match tokens.next() {
            Some(Token::Text(text)) => push_bytes(&mut out, number, text),
            Some(Token::Mark('{')) => {
                let Kind::Message(inner) = kind else { panic!("{name} is no message") };
                push_bytes(&mut out, number, &encode_message(inner, tokens));
            }
            Some(Token::Mark('[')) => {
                let mut packed = Vec::new();
                while let Some(Token::Word(word)) = tokens.next() {
                    push_scalar(&mut packed, kind, word);
                }
                push_bytes(&mut out, number, &packed);
            }
            Some(Token::Word(word)) => {
                push_varint(&mut out, number << 3 | wire_type(kind));
                push_scalar(&mut out, kind, word);
            }
            token => panic!("{token:?} for {name}"),
        }
    }
}

/// The page that `text` stands for.
pub fn encode(text: &str) -> Vec<u8> {
    let mut page = Vec::new();
    for family in text.split("\n---\n") {
        let message = encode_message("MetricFamily", &mut tokens(family).iter());
        push_varint(&mut page, message.len() as u64);
        page.extend_from_slice(&message);
    }
    page
}

/// The page whose bytes `text` has as hexadecimal digits; `#` begins a comment.
pub fn page_of_hex(text: &str) -> Vec<u8> {
    let digits: String = text.lines().map(|line| line.split('#').next().unwrap()).collect();
    let digits: Vec<char> = digits.chars().filter(|it| !it.is_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}
