//! A small decoder of remote write requests, 1.0 and 2.0, of the tests' own: what the sender wrote has to be understood
//! by somebody who does not share its code.
//!
//! After the published `.proto` files. Strict: an unknown field, a symbol that is not there or a label out of order is
//! an error, told as a sentence.

use serde_json::Value;

/// Which message a request says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `prometheus.WriteRequest`.
    V1,
    /// `io.prometheus.write.v2.Request`.
    V2,
}

/// A time series of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series {
    /// In the order of the request.
    pub labels: Vec<(String, String)>,
    /// Milliseconds and the bits of the value, in the order of the request.
    pub samples: Vec<(i64, u64)>,
    /// Of a 2.0 request.
    pub metadata: Metadata,
}

/// Type, help and unit of a family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Name of the family; empty in 2.0, where it stands at the series.
    pub family: String,
    /// Number of the type: 1 counter, 2 gauge, …; 0 unknown.
    pub kind: u64,
    /// `# HELP`.
    pub help: String,
    /// `# UNIT`.
    pub unit: String,
}

/// A decoded request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Its time series.
    pub series: Vec<Series>,
    /// Metadata of a 1.0 request.
    pub metadata: Vec<Metadata>,
    /// Symbols of a 2.0 request.
    pub symbols: Vec<String>,
}

impl Series {
    /// As `query` shows it: `{a="1",b="2"}`.
    pub fn key(&self) -> String {
        let pairs: Vec<(&str, &str)> =
            self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        key(&pairs)
    }

    /// The value of a label; empty without it.
    pub fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

/// Labels as `{a="1",b="2"}`, values as in JSON.
pub fn key(labels: &[(&str, &str)]) -> String {
    let labels: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}={}", Value::from(*value))).collect();
    format!("{{{}}}", labels.join(","))
}

impl Message {
    /// Decodes a message and checks what every receiver relies on.
    pub fn decode(protocol: Protocol, bytes: &[u8]) -> Result<Message, String> {
        let mut message = Message::default();
        for (field, value) in fields(bytes)? {
            match (protocol, field, value) {
                (Protocol::V1, 1, Field::Bytes(content)) => message.series.push(series_v1(content)?),
                (Protocol::V1, 3, Field::Bytes(content)) => message.metadata.push(metadata_v1(content)?),
                // All symbols stand before the first series that needs them, or the receiver has to read twice.
                (Protocol::V2, 4, Field::Bytes(content)) => message.symbols.push(text(content)?),
                (Protocol::V2, 5, Field::Bytes(content)) => {
                    let series = series_v2(content, &message.symbols)?;
                    message.series.push(series);
                }
                (_, field, value) => {
                    return Err(format!("field {field} of a {protocol:?} request: {value:?}"));
                }
            }
        }
        if protocol == Protocol::V2 && message.symbols.first().map(String::as_str) != Some("") {
            return Err(format!("the first symbol is not empty: {:?}", message.symbols.first()));
        }
        message.series.iter().try_for_each(check_labels)?;
        Ok(message)
    }

    /// Samples of all series.
    pub fn n_samples(&self) -> usize {
        self.series.iter().map(|series| series.samples.len()).sum()
    }
}

fn check_labels(series: &Series) -> Result<(), String> {
    let labels = &series.labels;
    if !labels.is_sorted_by(|a, b| a.0 < b.0) {
        return Err(format!("labels are not sorted, or one is there twice: {labels:?}"));
    }
    if labels.iter().any(|(name, value)| name.is_empty() || value.is_empty()) {
        return Err(format!("an empty label: {labels:?}"));
    }
    if series.label("__name__").is_empty() {
        return Err(format!("no name: {labels:?}"));
    }
    if !series.samples.is_sorted_by(|a, b| a.0 < b.0) {
        return Err(format!("samples of {labels:?} are not in order: {:?}", series.samples));
    }
    Ok(())
}

#[derive(Clone, Copy, Debug)]
enum Field<'a> {
    Number(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
}

fn fields(mut bytes: &[u8]) -> Result<Vec<(u64, Field<'_>)>, String> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let value = match tag & 7 {
            0 => Field::Number(varint(&mut bytes)?),
            1 => {
                let (head, tail) = bytes.split_first_chunk::<8>().ok_or("cut in a fixed number")?;
                bytes = tail;
                Field::Fixed(u64::from_le_bytes(*head))
            }
            2 => {
                let len = varint(&mut bytes)? as usize;
                let (head, tail) = bytes.split_at_checked(len).ok_or("cut in a field of bytes")?;
                bytes = tail;
                Field::Bytes(head)
            }
            other => return Err(format!("wire type {other}")),
        };
        fields.push((tag >> 3, value));
    }
    Ok(fields)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().ok_or("cut in a number")?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number of more than ten bytes".to_owned())
}

fn text(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|error| error.to_string())
}

fn sample(bytes: &[u8]) -> Result<(i64, u64), String> {
    let mut sample = (0, 0);
    for (field, value) in fields(bytes)? {
        match (field, value) {
            (1, Field::Fixed(bits)) => sample.1 = bits,
            (2, Field::Number(ts_ms)) => sample.0 = ts_ms as i64,
            other => return Err(format!("in a sample: {other:?}")),
        }
    }
    Ok(sample)
}

fn series_v1(bytes: &[u8]) -> Result<Series, String> {
    let mut series = Series::default();
    for (field, value) in fields(bytes)? {
        match (field, value) {
            (1, Field::Bytes(label)) => {
                let mut pair = [String::new(), String::new()];
                for (field, value) in fields(label)? {
                    match (field, value) {
                        (1 | 2, Field::Bytes(content)) => pair[field as usize - 1] = text(content)?,
                        other => return Err(format!("in a label: {other:?}")),
                    }
                }
                let [name, value] = pair;
                series.labels.push((name, value));
            }
            (2, Field::Bytes(content)) => series.samples.push(sample(content)?),
            other => return Err(format!("in a 1.0 series: {other:?}")),
        }
    }
    Ok(series)
}

fn metadata_v1(bytes: &[u8]) -> Result<Metadata, String> {
    let mut metadata = Metadata::default();
    for (field, value) in fields(bytes)? {
        match (field, value) {
            (1, Field::Number(kind)) => metadata.kind = kind,
            (2, Field::Bytes(content)) => metadata.family = text(content)?,
            (4, Field::Bytes(content)) => metadata.help = text(content)?,
            (5, Field::Bytes(content)) => metadata.unit = text(content)?,
            other => return Err(format!("in metadata: {other:?}")),
        }
    }
    Ok(metadata)
}

fn series_v2(bytes: &[u8], symbols: &[String]) -> Result<Series, String> {
    let symbol = |number: u64| {
        let found = symbols.get(number as usize).cloned();
        found.ok_or_else(|| format!("symbol {number} of {}", symbols.len()))
    };
    let mut series = Series::default();
    for (field, value) in fields(bytes)? {
        match (field, value) {
            (1, Field::Bytes(mut refs)) => {
                while !refs.is_empty() {
                    let name = symbol(varint(&mut refs)?)?;
                    if refs.is_empty() {
                        return Err("an odd number of label refs".to_owned());
                    }
                    series.labels.push((name, symbol(varint(&mut refs)?)?));
                }
            }
            (2, Field::Bytes(content)) => series.samples.push(sample(content)?),
            (5, Field::Bytes(content)) => {
                for (field, value) in fields(content)? {
                    match (field, value) {
                        (1, Field::Number(kind)) => series.metadata.kind = kind,
                        (3, Field::Number(help)) => series.metadata.help = symbol(help)?,
                        (4, Field::Number(unit)) => series.metadata.unit = symbol(unit)?,
                        other => return Err(format!("in 2.0 metadata: {other:?}")),
                    }
                }
            }
            other => return Err(format!("in a 2.0 series: {other:?}")),
        }
    }
    Ok(series)
}
