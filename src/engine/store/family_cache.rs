//! What a target's pages say of its metric families: type, help and unit (the metadata of Prometheus' `scrapeCache`).
//!
//! A field of its `ScrapeLoop`, so one thread has it at a time. A page mostly says what the last one said, in the same
//! order: then a line costs two comparisons with a list that all targets of that kind share. What is new is gathered
//! until the page is read and becomes another list. Knows no series.

use crate::exposition::Entry;
use crate::exposition::content_type::Format;
use crate::exposition::recall::{KEYWORD_LEN, Keyword, KnownLine, type_as_written};
use crate::families::{Family, FamilyList, MetadataStore};
use crate::metric_type::MetricType;
use crate::store::cache::PageFate;
use hashbrown::HashMap;
use memchr::memchr;
use std::sync::Arc;

/// A family is forgotten when a page is stored and this many scrapes before it did not have it either
/// (`scrapeCache.iterDone`).
const KEPT_SCRAPES: u8 = 10;

/// Age of a family that the running page has.
const SEEN: u8 = u8::MAX;

/// The families of one target.
#[derive(Debug, Default)]
pub struct MetadataCache {
    list: Arc<FamilyList>,
    /// By family of the list: scrapes since a page had it.
    ages: Vec<u8>,
    /// The family of the last line.
    current: Current,
    /// The family that is due next.
    next_idx: usize,
    /// Of the line that was guessed last.
    guessed_idx: usize,
    /// Keyword of the line at which the family was guessed to begin: with it begins the next one, too.
    first_keyword: Keyword,
    format: Option<Format>,
    /// What is new in the running page; most pages have nothing new.
    news: Option<Box<News>>,
    /// Scratch.
    unescaped: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Current {
    #[default]
    None,
    /// As the list says.
    Known(usize),
    /// Another than the list says.
    New(usize),
}

/// Families that are new or different.
#[derive(Debug, Default)]
struct News {
    drafts: Vec<Draft>,
    by_name: HashMap<Box<str>, usize, foldhash::quality::RandomState>,
}

#[derive(Debug)]
struct Draft {
    name: Box<str>,
    place: Place,
    metric_type: MetricType,
    help: String,
    unit: String,
}

/// Where a draft goes in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Before(usize),
    InsteadOf(usize),
}

impl Place {
    fn idx(self) -> usize {
        match self {
            Place::Before(idx) | Place::InsteadOf(idx) => idx,
        }
    }
}

/// What is known of the family that a sample stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurrentFamily<'a> {
    name: &'a str,
    /// Its type so far.
    pub metric_type: MetricType,
    /// Its unit so far.
    pub unit: &'a str,
    /// Its help so far.
    pub help: &'a str,
    /// The running page says something that the last one did not.
    pub is_new: bool,
}

impl MetadataCache {
    /// Starts a page, again if it is read once more.
    pub fn begin(&mut self, format: Format) {
        self.current = Current::None;
        self.next_idx = 0;
        self.news = None;
        self.format = Some(format);
    }

    /// The line of metadata at the start of `text` if it is one that is due and says what the list says: a guess to be
    /// checked against what stands behind it. The next entry to be noted has to be that line.
    pub fn guess(&mut self, text: &[u8]) -> Option<KnownLine> {
        if self.news.is_some() {
            return None;
        }
        let keyword = Keyword::at(text)?;
        let behind = text.get(KEYWORD_LEN..)?;
        let current_idx = match self.current {
            Current::Known(idx) => idx,
            Current::None | Current::New(_) => self.next_idx,
        };
        let begins_family = keyword == self.first_keyword;
        let (likely_idx, other_idx) =
            if begins_family { (self.next_idx, current_idx) } else { (current_idx, self.next_idx) };
        self.guessed_idx = likely_idx;
        let mut line = self.line_of(likely_idx, keyword, behind);
        if line.is_none() {
            self.guessed_idx = other_idx;
            line = self.line_of(other_idx, keyword, behind);
        }
        if self.guessed_idx == self.next_idx {
            self.first_keyword = keyword;
        }
        line
    }

    /// The line with this keyword if the family is the one that stands behind it, and says what the list says.
    fn line_of(&self, idx: usize, keyword: Keyword, behind: &[u8]) -> Option<KnownLine> {
        let family = self.list.families().get(idx)?;
        let said_behind_name = |said: &[u8]| {
            let name = family.plain_name()?;
            behind.strip_prefix(name)?.starts_with(said).then_some(name.len() + said.len())
        };
        let (said_len, metric_type) = match keyword {
            Keyword::Help => {
                let said = family.plain_help_line()?;
                (behind.starts_with(said).then_some(said.len())?, None)
            }
            Keyword::Type => {
                let metric_type = family.metric_type();
                let said = type_as_written(self.format?, metric_type)?;
                (said_behind_name(said.as_bytes())?, Some(metric_type))
            }
            Keyword::Unit if self.format == Some(Format::OpenMetrics) && !family.unit().is_empty() => {
                (said_behind_name(family.unit().as_bytes())?, None)
            }
            Keyword::Unit => return None,
        };
        let len = u32::try_from(KEYWORD_LEN + said_len).ok()?;
        Some(KnownLine { name_len: family.name_len(), len, metric_type })
    }

    /// Takes what a TYPE, HELP or UNIT line says; other entries say nothing.
    pub fn note(&mut self, entry: &Entry<'_>) {
        match entry {
            Entry::Type { name, metric_type } => self.set_type(name, *metric_type),
            Entry::Help { name, text } => self.set_help(name, text),
            Entry::Unit { name, unit } => self.set_unit(name, unit),
            Entry::KnownMetadata { .. } => self.make_current(self.guessed_idx),
            Entry::Series { .. } | Entry::Histogram { .. } | Entry::Comment => {}
        }
    }

    /// A TYPE line.
    fn set_type(&mut self, name: &[u8], metric_type: MetricType) {
        self.locate(name);
        self.change(|family| family.metric_type() != metric_type, |draft| draft.metric_type = metric_type);
    }

    /// A HELP line, as it stands in the page.
    fn set_help(&mut self, name: &[u8], text: &str) {
        self.locate(name);
        if let Current::Known(idx) = self.current
            && self
                .list
                .families()
                .get(idx)
                .is_some_and(|family| family.plain_help() == Some(text.as_bytes()))
        {
            return;
        }
        if memchr(b'\\', text.as_bytes()).is_none() {
            self.set_plain_help(text);
            return;
        }
        let mut unescaped = std::mem::take(&mut self.unescaped);
        unescape_help(self.format, text, &mut unescaped);
        self.set_plain_help(&unescaped);
        self.unescaped = unescaped;
    }

    /// A UNIT line.
    fn set_unit(&mut self, name: &[u8], unit: &str) {
        self.locate(name);
        self.change(|family| family.unit() != unit, |draft| replace(&mut draft.unit, unit));
    }

    /// The family of the line read last.
    pub fn current(&self) -> Option<CurrentFamily<'_>> {
        match self.current {
            Current::None => None,
            Current::Known(idx) => self.list.families().get(idx).map(|family| CurrentFamily {
                name: family.name(),
                metric_type: family.metric_type(),
                unit: family.unit(),
                help: family.help(),
                is_new: false,
            }),
            Current::New(idx) => self.news.as_ref()?.drafts.get(idx).map(|draft| CurrentFamily {
                name: &draft.name,
                metric_type: draft.metric_type,
                unit: &draft.unit,
                help: &draft.help,
                is_new: true,
            }),
        }
    }

    /// Ends a scrape. True if the list is another one now.
    pub fn finish(&mut self, fate: PageFate, store: &MetadataStore) -> bool {
        self.current = Current::None;
        let mut oldest = 0;
        for age in &mut self.ages {
            *age = if *age == SEEN { 0 } else { age.saturating_add(1).min(SEEN - 1) };
            oldest = oldest.max(*age);
        }
        let max_age = if fate == PageFate::Stored { KEPT_SCRAPES } else { SEEN };
        let news = self.news.take();
        if news.is_none() && oldest <= max_age {
            return false;
        }
        self.rebuild(news.map(|news| news.drafts).unwrap_or_default(), max_age, store);
        true
    }

    /// The families, in the order of the page.
    pub fn list(&self) -> &Arc<FamilyList> {
        &self.list
    }

    fn set_plain_help(&mut self, help: &str) {
        self.change(|family| family.help() != help, |draft| replace(&mut draft.help, help));
    }

    /// Makes the family of this name the current one.
    fn locate(&mut self, name: &[u8]) {
        let families = self.list.families();
        let is_named = |family: Option<&Family>| family.is_some_and(|it| it.name().as_bytes() == name);
        match self.current {
            Current::Known(idx) if is_named(families.get(idx)) => return,
            Current::New(idx) if self.draft(idx).is_some_and(|it| it.name.as_bytes() == name) => return,
            _ => {}
        }
        let idx = if is_named(families.get(self.next_idx)) {
            Some(self.next_idx)
        } else {
            let Ok(name) = std::str::from_utf8(name) else {
                self.current = Current::None;
                return;
            };
            if let Some(draft_idx) = self.news.as_ref().and_then(|news| news.by_name.get(name)) {
                self.current = Current::New(*draft_idx);
                return;
            }
            self.list.find(name)
        };
        match idx {
            Some(idx) => self.make_current(idx),
            None => self.current = self.add_draft(name),
        }
    }

    fn make_current(&mut self, idx: usize) {
        self.next_idx = idx + 1;
        if let Some(age) = self.ages.get_mut(idx) {
            *age = SEEN;
        }
        self.current = self.drafted_at(idx).map_or(Current::Known(idx), Current::New);
    }

    /// A family of the list that the page has already said something else of.
    fn drafted_at(&self, idx: usize) -> Option<usize> {
        let news = self.news.as_ref()?;
        news.by_name.get(self.list.families().get(idx)?.name()).copied()
    }

    fn add_draft(&mut self, name: &[u8]) -> Current {
        let Ok(name) = std::str::from_utf8(name) else { return Current::None };
        let place = Place::Before(self.next_idx);
        let (metric_type, help, unit) = (MetricType::Unknown, String::new(), String::new());
        self.push_draft(Draft { name: name.into(), place, metric_type, help, unit })
    }

    fn push_draft(&mut self, draft: Draft) -> Current {
        let news = self.news.get_or_insert_with(Box::default);
        let idx = news.drafts.len();
        news.by_name.insert(draft.name.clone(), idx);
        news.drafts.push(draft);
        Current::New(idx)
    }

    fn draft(&self, idx: usize) -> Option<&Draft> {
        self.news.as_ref()?.drafts.get(idx)
    }

    /// Changes the current family if it `differs`.
    fn change(&mut self, differs: impl Fn(&Family) -> bool, change: impl Fn(&mut Draft)) {
        if let Current::Known(idx) = self.current {
            let Some(family) = self.list.families().get(idx).filter(|family| differs(family)) else { return };
            let draft = Draft {
                name: family.name().into(),
                place: Place::InsteadOf(idx),
                metric_type: family.metric_type(),
                help: family.help().to_owned(),
                unit: family.unit().to_owned(),
            };
            self.current = self.push_draft(draft);
        }
        if let (Current::New(idx), Some(news)) = (self.current, &mut self.news)
            && let Some(draft) = news.drafts.get_mut(idx)
        {
            change(draft);
        }
    }

    fn rebuild(&mut self, mut drafts: Vec<Draft>, max_age: u8, store: &MetadataStore) {
        // Those for the same place stay in the order of the page.
        drafts.sort_by_key(|draft| draft.place.idx());
        let mut drafts = drafts.iter().peekable();
        let mut families = Vec::new();
        let mut ages = Vec::new();
        for (idx, (family, age)) in self.list.families().iter().zip(&self.ages).enumerate() {
            let mut is_replaced = false;
            while let Some(draft) = drafts.next_if(|draft| draft.place.idx() == idx) {
                is_replaced |= draft.place == Place::InsteadOf(idx);
                families.push(draft.parts());
                ages.push(0);
            }
            if !is_replaced && *age <= max_age {
                families.push((family.name(), family.metric_type(), family.help(), family.unit()));
                ages.push(*age);
            }
        }
        families.extend(drafts.map(Draft::parts));
        ages.resize(families.len(), 0);
        ages.shrink_to_fit();
        self.list = store.intern(families.into_iter());
        self.ages = ages;
    }
}

impl Draft {
    fn parts(&self) -> (&str, MetricType, &str, &str) {
        (&self.name, self.metric_type, &self.help, &self.unit)
    }
}

impl CurrentFamily<'_> {
    /// Whether a metric of this name is one of the family's (`isSeriesPartOfFamily`): TYPE lines may be missing, and
    /// then the last one is another family's.
    pub fn has_metric(&self, metric_name: &str) -> bool {
        let suffixes: &[&str] = match self.metric_type {
            MetricType::Counter => &["_total"],
            MetricType::Histogram => &["_bucket", "_sum", "_count"],
            MetricType::GaugeHistogram => &["_bucket", "_gsum", "_gcount"],
            MetricType::Summary => &["_sum", "_count"],
            MetricType::Info => &["_info"],
            MetricType::Gauge | MetricType::StateSet | MetricType::Unknown => &[],
        };
        // The text format has the suffix of counters and infos in the family's name as well.
        let name = match self.metric_type {
            MetricType::Counter => self.name.strip_suffix("_total").unwrap_or(self.name),
            MetricType::Info => self.name.strip_suffix("_info").unwrap_or(self.name),
            _ => self.name,
        };
        let of_metric = suffixes.iter().find_map(|suffix| metric_name.strip_suffix(suffix));
        metric_name.starts_with(self.name) && of_metric.unwrap_or(metric_name) == name
    }
}

fn replace(text: &mut String, by: &str) {
    text.clear();
    text.push_str(by);
}

/// Help as it is meant: `\\` and `\n` are escapes in both text formats, `\"` in OpenMetrics only (`helpReplacer`,
/// `lvalReplacer`).
fn unescape_help(format: Option<Format>, text: &str, out: &mut String) {
    out.clear();
    if format == Some(Format::Protobuf) {
        out.push_str(text);
        return;
    }
    let mut chars = text.chars();
    while let Some(character) = chars.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match chars.next() {
            Some('\\') => out.push('\\'),
            Some('n') => out.push('\n'),
            Some('"') if format == Some(Format::OpenMetrics) => out.push('"'),
            other => {
                out.push('\\');
                out.extend(other);
            }
        }
    }
}

#[cfg(test)]
#[path = "family_cache_tests.rs"]
mod tests;
