//! A small decoder of remote write requests, 1.0 and 2.0, of the tests' own: what the sender wrote has to be understood
//! by somebody who does not share its code.
//!
//! After the published `.proto` files. Strict: an unknown field, a field out of order (but for the two of a sample), a
//! symbol that is not there or a label out of order is an error, told as a sentence.

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
    /// Milliseconds and the histogram; a time series has these or samples.
    pub histograms: Vec<(i64, Histogram)>,
    /// In the order of the request.
    pub exemplars: Vec<Exemplar>,
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

/// An exemplar.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exemplar {
    /// In the order of the request.
    pub labels: Vec<(String, String)>,
    /// The bits of the value.
    pub value: u64,
    /// Milliseconds.
    pub ts_ms: i64,
}

/// A native histogram; floats as their bits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the message")]
pub struct Histogram {
    pub is_float: bool,
    /// A number, or the bits of a float.
    pub count: u64,
    pub zero_count: u64,
    pub sum: u64,
    pub schema: i64,
    pub zero_threshold: u64,
    pub negative_spans: Vec<(i64, u64)>,
    /// Deltas, or the bits of absolute counts.
    pub negative: Vec<i64>,
    pub positive_spans: Vec<(i64, u64)>,
    pub positive: Vec<i64>,
    pub reset_hint: u64,
    pub custom_values: Vec<u64>,
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
        message.series.iter().try_for_each(check_series)?;
        Ok(message)
    }

    /// Samples of all series.
    pub fn n_samples(&self) -> usize {
        self.series.iter().map(|series| series.samples.len()).sum()
    }

    /// Histograms of all series.
    pub fn n_histograms(&self) -> usize {
        self.series.iter().map(|series| series.histograms.len()).sum()
    }

    /// Exemplars of all series.
    pub fn n_exemplars(&self) -> usize {
        self.series.iter().map(|series| series.exemplars.len()).sum()
    }
}

fn check_series(series: &Series) -> Result<(), String> {
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
    if !series.samples.is_sorted_by(|a, b| a.0 < b.0) || !series.histograms.is_sorted_by(|a, b| a.0 < b.0) {
        let Series { samples, histograms, .. } = series;
        return Err(format!("samples of {labels:?} are not in order: {samples:?} {histograms:?}"));
    }
    if !series.samples.is_empty() && !series.histograms.is_empty() {
        return Err(format!("a time series of {labels:?} with floats and histograms"));
    }
    if series.samples.len() + series.histograms.len() + series.exemplars.len() == 0 {
        return Err(format!("a time series of {labels:?} with nothing in it"));
    }
    Ok(())
}

#[derive(Clone, Copy, Debug)]
enum Field<'a> {
    Number(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
}

fn fields(bytes: &[u8]) -> Result<Vec<(u64, Field<'_>)>, String> {
    let fields = fields_in_any_order(bytes)?;
    if !fields.is_sorted_by(|a, b| a.0 <= b.0) {
        return Err(format!("fields are not in order: {fields:?}"));
    }
    Ok(fields)
}

fn fields_in_any_order(mut bytes: &[u8]) -> Result<Vec<(u64, Field<'_>)>, String> {
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

fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

fn doubles(bytes: &[u8]) -> Result<Vec<u64>, String> {
    let (values, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() || values.is_empty() {
        return Err(format!("{} bytes of packed doubles", bytes.len()));
    }
    Ok(values.iter().map(|value| u64::from_le_bytes(*value)).collect())
}

fn deltas(mut bytes: &[u8]) -> Result<Vec<i64>, String> {
    let mut deltas = Vec::new();
    while !bytes.is_empty() {
        deltas.push(zigzag(varint(&mut bytes)?));
    }
    if deltas.is_empty() { Err("an empty list is left out".to_owned()) } else { Ok(deltas) }
}

fn span(bytes: &[u8]) -> Result<(i64, u64), String> {
    let mut span = (0, 0);
    for (field, value) in fields(bytes)? {
        match (field, value) {
            (1, Field::Number(offset)) => span.0 = zigzag(offset),
            (2, Field::Number(length)) => span.1 = length,
            other => return Err(format!("in a span: {other:?}")),
        }
    }
    Ok(span)
}

fn histogram(bytes: &[u8]) -> Result<(i64, Histogram), String> {
    let mut it = Histogram::default();
    let mut ts_ms = 0;
    let (mut counts, mut buckets) = (Vec::new(), Vec::new());
    for (field, value) in fields(bytes)? {
        match (field, value) {
            (1, Field::Number(count)) | (2, Field::Fixed(count)) => {
                counts.push(field == 2);
                it.count = count;
            }
            (3, Field::Fixed(sum)) => it.sum = sum,
            (4, Field::Number(schema)) => it.schema = zigzag(schema),
            (5, Field::Fixed(threshold)) => it.zero_threshold = threshold,
            (6, Field::Number(count)) | (7, Field::Fixed(count)) => {
                counts.push(field == 7);
                it.zero_count = count;
            }
            (8, Field::Bytes(content)) => it.negative_spans.push(span(content)?),
            (9 | 12, Field::Bytes(content)) => {
                buckets.push(false);
                *(if field == 9 { &mut it.negative } else { &mut it.positive }) = deltas(content)?;
            }
            (10 | 13, Field::Bytes(content)) => {
                buckets.push(true);
                let counts = doubles(content)?.into_iter().map(u64::cast_signed).collect();
                *(if field == 10 { &mut it.negative } else { &mut it.positive }) = counts;
            }
            (11, Field::Bytes(content)) => it.positive_spans.push(span(content)?),
            (14, Field::Number(hint)) => it.reset_hint = hint,
            (15, Field::Number(ts)) => ts_ms = ts as i64,
            (16, Field::Bytes(content)) => it.custom_values = doubles(content)?,
            other => return Err(format!("in a histogram: {other:?}")),
        }
    }
    // Both counts are there, and all is of one flavour.
    it.is_float = counts.first() == Some(&true);
    if counts.len() != 2 || counts.iter().chain(&buckets).any(|is_float| *is_float != it.is_float) {
        return Err(format!("a histogram with counts of different flavours: {it:?}"));
    }
    Ok((ts_ms, it))
}

fn exemplar_v1(bytes: &[u8]) -> Result<Exemplar, String> {
    let mut exemplar = Exemplar::default();
    for (field, value) in fields(bytes)? {
        match (field, value) {
            (1, Field::Bytes(content)) => exemplar.labels.push(label(content)?),
            (2, Field::Fixed(bits)) => exemplar.value = bits,
            (3, Field::Number(ts)) => exemplar.ts_ms = ts as i64,
            other => return Err(format!("in an exemplar: {other:?}")),
        }
    }
    Ok(exemplar)
}

fn exemplar_v2(bytes: &[u8], symbols: &[String]) -> Result<Exemplar, String> {
    let mut exemplar = Exemplar::default();
    for (field, value) in fields(bytes)? {
        match (field, value) {
            (1, Field::Bytes(refs)) => exemplar.labels = labels(refs, symbols)?,
            (2, Field::Fixed(bits)) => exemplar.value = bits,
            (3, Field::Number(ts)) => exemplar.ts_ms = ts as i64,
            other => return Err(format!("in an exemplar: {other:?}")),
        }
    }
    Ok(exemplar)
}

fn label(bytes: &[u8]) -> Result<(String, String), String> {
    let mut pair = [String::new(), String::new()];
    for (field, value) in fields(bytes)? {
        match (field, value) {
            (1 | 2, Field::Bytes(content)) => pair[field as usize - 1] = text(content)?,
            other => return Err(format!("in a label: {other:?}")),
        }
    }
    let [name, value] = pair;
    Ok((name, value))
}

fn symbol(number: u64, symbols: &[String]) -> Result<String, String> {
    let found = symbols.get(number as usize).cloned();
    found.ok_or_else(|| format!("symbol {number} of {}", symbols.len()))
}

fn labels(mut refs: &[u8], symbols: &[String]) -> Result<Vec<(String, String)>, String> {
    let mut labels = Vec::new();
    while !refs.is_empty() {
        let name = symbol(varint(&mut refs)?, symbols)?;
        if refs.is_empty() {
            return Err("an odd number of label refs".to_owned());
        }
        labels.push((name, symbol(varint(&mut refs)?, symbols)?));
    }
    Ok(labels)
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
    for (field, value) in fields_in_any_order(bytes)? {
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
            (1, Field::Bytes(content)) => series.labels.push(label(content)?),
            (2, Field::Bytes(content)) => series.samples.push(sample(content)?),
            (3, Field::Bytes(content)) => series.exemplars.push(exemplar_v1(content)?),
            (4, Field::Bytes(content)) => series.histograms.push(histogram(content)?),
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
    let mut series = Series::default();
    for (field, value) in fields(bytes)? {
        match (field, value) {
            (1, Field::Bytes(refs)) => series.labels = labels(refs, symbols)?,
            (2, Field::Bytes(content)) => series.samples.push(sample(content)?),
            (3, Field::Bytes(content)) => series.histograms.push(histogram(content)?),
            (4, Field::Bytes(content)) => series.exemplars.push(exemplar_v2(content, symbols)?),
            (5, Field::Bytes(content)) => {
                for (field, value) in fields(content)? {
                    match (field, value) {
                        (1, Field::Number(kind)) => series.metadata.kind = kind,
                        (3, Field::Number(help)) => series.metadata.help = symbol(help, symbols)?,
                        (4, Field::Number(unit)) => series.metadata.unit = symbol(unit, symbols)?,
                        other => return Err(format!("in 2.0 metadata: {other:?}")),
                    }
                }
            }
            other => return Err(format!("in a 2.0 series: {other:?}")),
        }
    }
    Ok(series)
}
