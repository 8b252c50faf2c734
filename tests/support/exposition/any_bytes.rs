//! What holds for any bytes as a page of a text format. Shared by the fuzz targets of both.

use scraped_engine::exposition::Entry;
use scraped_engine::exposition::content_type::Format;
use scraped_engine::exposition::exemplar::Exemplar;
use scraped_engine::exposition::options::ParserOptions;
use scraped_engine::exposition::parser::{Parser, ParserBuffers};
use scraped_engine::exposition::recall::{KnownLine, Recall};
use scraped_engine::exposition::series_text::LabelScratch;
use scraped_engine::families::MetadataStore;
use scraped_engine::float::{Layout, format_go};
use scraped_engine::metric_type::MetricType;
use scraped_engine::store::cache::PageFate;
use scraped_engine::store::family_cache::MetadataCache;
use std::collections::HashSet;
use std::fmt::Write;

/// A sample as it is to come back from a page of our own.
#[derive(Clone, Debug, PartialEq)]
struct Sample {
    /// Sorted, since the name may stand anywhere.
    labels: Vec<(String, String)>,
    value_bits: u64,
    timestamp_ms: Option<i64>,
    exemplar: Option<(Vec<(String, String)>, u64)>,
}

/// What a page gives: printed entries, printed error, samples whose names are UTF-8, texts of all samples.
#[derive(Debug, Default)]
struct Read {
    entries: Vec<String>,
    error: Option<String>,
    samples: Vec<Sample>,
    texts: HashSet<Vec<u8>>,
}

/// What a scrape knows of the page before.
struct LastPage<'a> {
    texts: &'a HashSet<Vec<u8>>,
    metadata: &'a mut MetadataCache,
}

impl Recall for LastPage<'_> {
    fn series(&mut self, rest: &[u8]) -> Option<usize> {
        // Not every length: a text of the cache is as long as one of the page, and guesses are rarely wrong.
        (1..=rest.len().min(64)).find(|len| rest.get(..*len).is_some_and(|text| self.texts.contains(text)))
    }

    fn metadata(&mut self, text: &[u8]) -> Option<KnownLine> {
        self.metadata.guess(text)
    }
}

/// Reads the page three times: as it is, with its texts and families known, and printed anew.
///
/// # Panics
/// Something does not hold.
pub fn check(format: Format, page: &[u8]) {
    let (store, mut metadata, nothing) = (MetadataStore::new(), MetadataCache::default(), HashSet::new());
    let first = read(format, page, LastPage { texts: &nothing, metadata: &mut metadata });
    metadata.finish(PageFate::Stored, &store);
    let families = metadata.list().families().to_vec();
    let again = read(format, page, LastPage { texts: &first.texts, metadata: &mut metadata });
    metadata.finish(PageFate::Stored, &store);
    assert_eq!(first.entries, again.entries, "with known texts");
    assert_eq!(first.error, again.error, "with known texts");
    assert_eq!(metadata.list().families(), families, "with known texts");

    let printed = print(format, &first.samples);
    let mut metadata = MetadataCache::default();
    let back = read(format, printed.as_bytes(), LastPage { texts: &nothing, metadata: &mut metadata });
    assert_eq!(back.error, None, "printed anew: {printed:?}");
    let timeless = |sample: &Sample| match format {
        // Seconds as floats do not hold every millisecond.
        Format::OpenMetrics => Sample { timestamp_ms: None, ..sample.clone() },
        _ => sample.clone(),
    };
    let want: Vec<Sample> = first.samples.iter().map(timeless).collect();
    assert_eq!(back.samples, want, "printed anew: {printed:?}");
}

fn read(format: Format, page: &[u8], mut last_page: LastPage<'_>) -> Read {
    last_page.metadata.begin(format);
    let mut parser = Parser::new(format, page, ParserOptions::default(), ParserBuffers::default());
    let (mut scratch, mut exemplar) = (LabelScratch::default(), Exemplar::default());
    let mut read = Read::default();
    loop {
        let entry = match parser.next(&mut last_page) {
            Ok(Some(entry)) => entry,
            Ok(None) => return read,
            Err(error) => {
                read.error = Some(error.to_string());
                return read;
            }
        };
        let Entry::Series { value, timestamp_ms, .. } = entry else {
            last_page.metadata.note(&entry);
            read.entries.push(match entry {
                Entry::Type { name, metric_type } => of_family(name, Some(metric_type)),
                Entry::Help { name, .. } | Entry::Unit { name, .. } => of_family(name, None),
                Entry::KnownMetadata { name, metric_type } => of_family(name, metric_type),
                entry => format!("{entry:?}"),
            });
            continue;
        };
        let mut labels = Vec::new();
        let is_utf8 = parser
            .visit_labels(&mut scratch, |name, value| labels.push((name.to_owned(), value.to_owned())))
            .is_ok();
        labels.sort();
        let value_bits = value.to_bits();
        let exemplar = parser.exemplar(&mut exemplar).then(|| {
            let labels = exemplar.labels().map(|(name, value)| (name.to_owned(), value.to_owned()));
            (labels.collect(), exemplar.value.to_bits())
        });
        let sample = Sample { labels, value_bits, timestamp_ms, exemplar };
        let text = parser.series_text();
        read.entries.push(format!("{} {sample:?}", text.escape_ascii()));
        read.texts.insert(text.to_vec());
        if is_utf8 {
            read.samples.push(sample);
        }
    }
}

/// What a line of metadata and a known one have in common.
fn of_family(name: &[u8], metric_type: Option<MetricType>) -> String {
    format!("{} {metric_type:?}", name.escape_ascii())
}

fn print(format: Format, samples: &[Sample]) -> String {
    let mut page = String::new();
    for Sample { labels, value_bits, timestamp_ms, exemplar } in samples {
        // Of several the one that can stand in the place of a name, where no NUL may be.
        let is_name = |(name, value): &(String, String)| name == "__name__" && !value.contains('\0');
        let name = labels.iter().position(is_name).expect("a sample has a name");
        page.push('{');
        push_quoted(&labels[name].1, &mut page);
        for (_, (name, value)) in labels.iter().enumerate().filter(|(idx, _)| *idx != name) {
            page.push(',');
            push_quoted(name, &mut page);
            page.push('=');
            push_quoted(value, &mut page);
        }
        page.push_str("} ");
        format_go(f64::from_bits(*value_bits), Layout::General, &mut page);
        if let (Format::Text, Some(timestamp_ms)) = (format, timestamp_ms) {
            let _ = write!(page, " {timestamp_ms}");
        }
        if let Some((labels, value_bits)) = exemplar {
            page.push_str(" # {");
            for (idx, (name, value)) in labels.iter().enumerate() {
                // Escapes stay as they are in an exemplar.
                let comma = if idx > 0 { "," } else { "" };
                let _ = write!(page, "{comma}\"{name}\"=\"{value}\"");
            }
            page.push_str("} ");
            format_go(f64::from_bits(*value_bits), Layout::General, &mut page);
        }
        page.push('\n');
    }
    if format == Format::OpenMetrics {
        page.push_str("# EOF\n");
    }
    page
}

fn push_quoted(text: &str, page: &mut String) {
    page.push('"');
    for it in text.chars() {
        match it {
            '\\' => page.push_str("\\\\"),
            '"' => page.push_str("\\\""),
            '\n' => page.push_str("\\n"),
            _ => page.push(it),
        }
    }
    page.push('"');
}
