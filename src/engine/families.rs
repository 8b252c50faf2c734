//! Metadata of metric families: name, type, help and unit, each distinct family once for all targets.
//!
//! A leaf that knows no page and no target. Scrapes intern what their pages say, hold it as long as they want it and
//! give it back by dropping it; the web and remote write read what is held. The lock is taken when a page has
//! something new and when somebody reads, never for a page that says what it said before.

use crate::exposition::recall::{is_plain_help, is_plain_name};
use crate::metric_type::MetricType;
use foldhash::quality::RandomState;
use hashbrown::HashTable;
use parking_lot::Mutex;
use std::cmp::Ordering;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

/// Below this many families and lists no one looks for those that are held no more.
const SWEEP_MIN: usize = 1024;

/// What a page says of one family. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Family {
    /// Name, a blank, help and unit, one behind the other: a HELP line says the first three as they stand here.
    text: Arc<str>,
    name_len: u32,
    help_len: u32,
    metric_type: MetricType,
    has_plain_name: bool,
    has_plain_help: bool,
}

impl Family {
    /// A family of its own; [`MetadataStore::intern`] makes one that is shared.
    fn new(name: &str, metric_type: MetricType, help: &str, unit: &str) -> Self {
        let len = |text: &str| u32::try_from(text.len()).unwrap_or(0);
        // What is longer than 4 GiB cannot have come out of a page.
        let (name_len, help_len) = (len(name), len(help));
        let (has_plain_name, has_plain_help) = (is_plain_name(name), is_plain_help(help));
        let text = [name, " ", help, unit].concat().into();
        Self { text, name_len, help_len, metric_type, has_plain_name, has_plain_help }
    }

    /// Its name, unescaped.
    pub fn name(&self) -> &str {
        self.text.get(..self.name_len as usize).unwrap_or_default()
    }

    /// Its type; unknown if no page says.
    pub fn metric_type(&self) -> MetricType {
        self.metric_type
    }

    /// Its help, unescaped; may be empty.
    pub fn help(&self) -> &str {
        self.text.get(self.help_start()..self.help_end()).unwrap_or_default()
    }

    /// The name and the blank behind it if a page spells it as it is.
    pub fn plain_name(&self) -> Option<&[u8]> {
        self.text.as_bytes().get(..self.help_start()).filter(|_| self.has_plain_name)
    }

    /// The help if there is one and a page spells it as it is.
    pub fn plain_help(&self) -> Option<&[u8]> {
        self.text.as_bytes().get(self.help_start()..self.help_end()).filter(|_| self.has_plain_help)
    }

    /// What a HELP line says behind its keyword, if a page spells name and help as they are.
    pub fn plain_help_line(&self) -> Option<&[u8]> {
        self.text.as_bytes().get(..self.help_end()).filter(|_| self.has_plain_name && self.has_plain_help)
    }

    /// Its unit; may be empty.
    pub fn unit(&self) -> &str {
        self.text.get(self.help_end()..).unwrap_or_default()
    }

    /// Bytes of the name.
    pub fn name_len(&self) -> u32 {
        self.name_len
    }

    fn help_start(&self) -> usize {
        self.name_len as usize + 1
    }

    fn help_end(&self) -> usize {
        self.help_start() + self.help_len as usize
    }

    fn is_shared_with(&self, other: &Family) -> bool {
        Arc::ptr_eq(&self.text, &other.text) && self.metric_type == other.metric_type
    }
}

impl PartialEq for Family {
    fn eq(&self, other: &Self) -> bool {
        self.is_shared_with(other)
            || (&*self.text, self.name_len, self.help_len, self.metric_type)
                == (&*other.text, other.name_len, other.help_len, other.metric_type)
    }
}

impl Eq for Family {}

/// Prometheus' word for a type (`model.MetricType`).
pub fn type_name(metric_type: MetricType) -> &'static str {
    match metric_type {
        MetricType::Counter => "counter",
        MetricType::Gauge => "gauge",
        MetricType::Histogram => "histogram",
        MetricType::GaugeHistogram => "gaugehistogram",
        MetricType::Summary => "summary",
        MetricType::Info => "info",
        MetricType::StateSet => "stateset",
        MetricType::Unknown => "unknown",
    }
}

/// The families of one page in its order; targets with the same page share one.
#[derive(Debug, Default)]
pub struct FamilyList {
    families: Box<[Family]>,
    /// Indexes in order of name.
    by_name: Box<[u32]>,
    /// As [`FamilyList::text_bytes`] says.
    text_bytes: usize,
}

impl FamilyList {
    fn new(families: Vec<Family>) -> Self {
        let text_bytes = families
            .iter()
            .map(|it| it.help().len() + it.unit().len() + type_name(it.metric_type()).len())
            .sum();
        let mut by_name: Vec<u32> = (0..).take(families.len()).collect();
        by_name.sort_by_key(|idx| families[*idx as usize].name());
        Self { families: families.into(), by_name: by_name.into(), text_bytes }
    }

    /// All families in the order of the page.
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// Where a family stands.
    pub fn find(&self, name: &str) -> Option<usize> {
        let place = self.by_name.binary_search_by(|idx| self.name_at(*idx).cmp(name)).ok()?;
        self.by_name.get(place).map(|idx| *idx as usize)
    }

    /// The family of this name.
    pub fn get(&self, name: &str) -> Option<&Family> {
        self.families.get(self.find(name)?)
    }

    /// The family at this place in order of name.
    pub fn nth_by_name(&self, place: usize) -> Option<&Family> {
        self.families.get(*self.by_name.get(place)? as usize)
    }

    /// Bytes of help, unit and type, as Prometheus counts them (`metaEntry.size`).
    pub fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    fn name_at(&self, idx: u32) -> &str {
        self.families.get(idx as usize).map_or("", Family::name)
    }
}

/// All families and lists that are held.
#[derive(Debug, Default)]
pub struct MetadataStore {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    families: HashTable<Family>,
    lists: HashTable<Arc<FamilyList>>,
    /// Number of both at which those that no one holds are looked for.
    sweep_at: usize,
    /// Seeded per process: targets choose the texts.
    hash_state: RandomState,
}

impl MetadataStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// The list with these families, given as name, type, help and unit, no name twice.
    pub fn intern<'a>(
        &self,
        families: impl Iterator<Item = (&'a str, MetricType, &'a str, &'a str)>,
    ) -> Arc<FamilyList> {
        let mut held = self.held.lock();
        let families: Vec<Family> = families.map(|family| held.family(family)).collect();
        let list = held.list(families);
        held.sweep_if_large();
        list
    }

    /// All families that some target has, in order of name. Families that differ in nothing come once
    /// (`storage/remote/metadata_watcher.go: collect`).
    pub fn families(&self) -> Vec<Family> {
        let mut families: Vec<Family> = {
            let mut held = self.held.lock();
            held.sweep();
            held.families.iter().cloned().collect()
        };
        families.sort_unstable_by(compare);
        families
    }

    /// Families and lists that are kept, those that no one holds included, until somebody looks.
    #[cfg(test)]
    fn len(&self) -> (usize, usize) {
        let held = self.held.lock();
        (held.families.len(), held.lists.len())
    }
}

fn compare(left: &Family, right: &Family) -> Ordering {
    let key = |it: &Family| type_name(it.metric_type());
    left.name()
        .cmp(right.name())
        .then_with(|| key(left).cmp(key(right)))
        .then_with(|| left.text.cmp(&right.text))
}

impl Held {
    fn family(&mut self, (name, metric_type, help, unit): (&str, MetricType, &str, &str)) -> Family {
        let Held { families, hash_state, .. } = self;
        let hash = hash_state.hash_one((name, help));
        let is_equal = |it: &Family| {
            (it.name(), it.metric_type, it.help(), it.unit()) == (name, metric_type, help, unit)
        };
        if let Some(family) = families.find(hash, is_equal) {
            return family.clone();
        }
        let family = Family::new(name, metric_type, help, unit);
        families.insert_unique(hash, family.clone(), |it| hash_state.hash_one((it.name(), it.help())));
        family
    }

    fn list(&mut self, families: Vec<Family>) -> Arc<FamilyList> {
        let Held { lists, hash_state, .. } = self;
        let hash_of = |families: &[Family]| {
            let mut hasher = hash_state.build_hasher();
            families.iter().for_each(|it| it.name().hash(&mut hasher));
            hasher.finish()
        };
        let hash = hash_of(&families);
        // Families are interned: the same ones share their text.
        let is_equal = |it: &Arc<FamilyList>| {
            it.families.len() == families.len()
                && it.families.iter().zip(&families).all(|(left, right)| left.is_shared_with(right))
        };
        if let Some(list) = lists.find(hash, is_equal) {
            return Arc::clone(list);
        }
        let list = Arc::new(FamilyList::new(families));
        lists.insert_unique(hash, Arc::clone(&list), |it| hash_of(&it.families));
        list
    }

    fn sweep_if_large(&mut self) {
        if self.families.len() + self.lists.len() >= self.sweep_at.max(SWEEP_MIN) {
            self.sweep();
        }
    }

    /// Forgets what no one holds. The next time is when there is twice as much: a share of it is paid by each of
    /// those that came since.
    fn sweep(&mut self) {
        self.lists.retain(|list| Arc::strong_count(list) > 1);
        self.families.retain(|family| Arc::strong_count(&family.text) > 1);
        self.sweep_at = 2 * (self.families.len() + self.lists.len());
        let hash_state = &self.hash_state;
        if self.families.len() < self.families.capacity() / 4 {
            self.families.shrink_to_fit(|it| hash_state.hash_one((it.name(), it.help())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::MetadataStore;
    use crate::metric_type::MetricType;
    use std::sync::Arc;

    #[test]
    fn the_same_families_are_there_once_and_go_when_nobody_holds_them() {
        let store = MetadataStore::new();
        let up = ("up", MetricType::Gauge, "Whether it is.", "");
        let size = ("size_bytes", MetricType::Unknown, "", "bytes");
        let first = store.intern([up, size].into_iter());
        let second = store.intern([up, size].into_iter());
        assert!(Arc::ptr_eq(&first, &second));
        let other = store.intern([size, ("up", MetricType::Gauge, "Is it?", "")].into_iter());
        assert_eq!(store.len(), (3, 2));
        let names = |store: &MetadataStore| {
            let texts = |it: &super::Family| {
                format!("{} {:?} {:?} {:?}", it.name(), it.metric_type(), it.help(), it.unit())
            };
            store.families().iter().map(texts).collect::<Vec<_>>()
        };
        let expected = [
            r#"size_bytes Unknown "" "bytes""#,
            r#"up Gauge "Is it?" """#,
            r#"up Gauge "Whether it is." """#,
        ];
        assert_eq!(names(&store), expected);
        assert_eq!(first.get("size_bytes").map(super::Family::unit), Some("bytes"));
        assert_eq!((first.find("up"), first.find("down")), (Some(0), None));
        assert_eq!(first.text_bytes(), "Whether it is.gaugebytesunknown".len());

        drop((first, second));
        assert_eq!(names(&store), expected[..2]);
        drop(other);
        assert!(names(&store).is_empty());
        assert_eq!(store.len(), (0, 0));
    }

    #[test]
    fn a_store_shrinks_without_anybody_reading_it() {
        let store = MetadataStore::new();
        let kept = store.intern([("kept", MetricType::Counter, "", "")].into_iter());
        for number in 0..20_000 {
            store.intern([(format!("passing_{number}").as_str(), MetricType::Counter, "", "")].into_iter());
        }
        let (families, lists) = store.len();
        assert!(families + lists < 2 * super::SWEEP_MIN, "{families} {lists}");
        assert_eq!(store.families(), kept.families());
    }
}
