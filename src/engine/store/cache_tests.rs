//! The cache against a model in Prometheus' terms, and what it costs.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// What Prometheus' cache knows, in its own terms: maps by text.
#[derive(Debug, Default)]
struct Model {
    known: BTreeMap<String, Known>,
    tracked: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Stored,
    Failed,
    /// Not written; the same page comes again.
    Rewound,
    /// The handles of `a` and `b` are stale; then the same page again.
    Forgot,
}

fn handle(text: &str) -> SeriesHandle {
    let number =
        text.bytes().fold(0u32, |number, byte| number.wrapping_mul(31).wrapping_add(u32::from(byte)));
    SeriesHandle { series_ref: SeriesRef(NonZeroU32::new(number).unwrap()), generation: text.len() as u16 }
}

fn is_dropped(text: &str) -> bool {
    text.starts_with('d')
}

#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    added: usize,
    stale: BTreeSet<u32>,
}

/// Texts of a page in its order, each with whether its sample is tracked.
type Page<'a> = &'a [(String, bool)];

fn scrape(
    cache: &mut ScrapeCache,
    cursor: &mut Cursor,
    page: Page<'_>,
    fate: PageFate,
    model: &Model,
) -> Outcome {
    let mut added = 0;
    let mut seen = BTreeSet::new();
    cache.begin(cursor);
    for (text, is_tracked) in page {
        let line = format!("{text} 1\n");
        let guessed = cache.guess(cursor, line.as_bytes()).filter(|text_len| *text_len == text.len());
        let found = match guessed.and_then(|_| cache.hit_guessed(cursor)) {
            Some(hit) => Ok(hit),
            None => cache.find(cursor, text.as_bytes()),
        };
        let is_repeated = !seen.insert(text);
        let entry_idx = match found {
            Ok(hit) => {
                assert_eq!(hit.is_repeated, is_repeated, "{text}");
                match hit.known {
                    Known::Dropped => assert!(is_dropped(text)),
                    Known::Series(it) => assert_eq!(it, handle(text)),
                    Known::Forgotten => cache.remember(hit.entry_idx, handle(text)),
                    Known::OverBudget => panic!("{text}: nothing is"),
                }
                if !is_repeated {
                    assert_eq!(Some(&hit.known), model.known.get(text), "{text}");
                }
                hit.entry_idx
            }
            Err(new_text) => {
                assert!(!is_repeated && !model.known.contains_key(text), "{text}");
                added += usize::from(!is_dropped(text));
                let known = if is_dropped(text) { Known::Dropped } else { Known::Series(handle(text)) };
                cache.insert(cursor, new_text, known)
            }
        };
        if *is_tracked && !is_dropped(text) {
            cache.track(entry_idx);
        }
    }
    let mut stale = BTreeSet::new();
    cache.for_each_stale(fate, |handle| assert!(stale.insert(handle.series_ref.0.get())));
    Outcome { added, stale }
}

impl Model {
    fn scrape(&mut self, page: Page<'_>, fate: PageFate) -> Outcome {
        let kept: BTreeSet<&String> =
            page.iter().map(|(text, _)| text).filter(|it| !is_dropped(it)).collect();
        let tracked: BTreeSet<String> = page
            .iter()
            .filter(|(text, is_tracked)| *is_tracked && !is_dropped(text))
            .map(|(text, _)| text.clone())
            .collect();
        let added = kept.iter().filter(|text| !self.known.contains_key(**text)).count();
        let has_handle = |text: &&String| {
            let is_found_again = fate == PageFate::Stored && kept.contains(*text);
            self.known.get(*text) != Some(&Known::Forgotten) || is_found_again
        };
        let refs = |texts: &mut dyn Iterator<Item = &String>| -> BTreeSet<u32> {
            texts.filter(has_handle).map(|it| handle(it).series_ref.0.get()).collect()
        };
        let stale = match fate {
            PageFate::Stored => refs(&mut self.tracked.difference(&tracked)),
            PageFate::Failed => refs(&mut self.tracked.iter()),
        };
        if fate == PageFate::Stored {
            self.known.retain(|text, _| page.iter().any(|(it, _)| it == text));
            self.tracked = tracked;
        } else {
            self.tracked.clear();
        }
        for (text, _) in page {
            let known = match fate {
                _ if is_dropped(text) => Known::Dropped,
                PageFate::Stored => Known::Series(handle(text)),
                PageFate::Failed => match self.known.get(text) {
                    Some(known) => *known,
                    None => Known::Forgotten,
                },
            };
            self.known.insert(text.clone(), known);
        }
        Outcome { added, stale }
    }

    fn forget(&mut self, texts: impl Fn(&String) -> bool) {
        for (text, known) in &mut self.known {
            if texts(text) && *known != Known::Dropped {
                *known = Known::Forgotten;
            }
        }
    }
}

fn check(scrapes: &[(Vec<(String, bool)>, End)]) {
    let (mut cache, mut cursor, mut model) = (ScrapeCache::new(), Cursor::default(), Model::default());
    for (page, end) in scrapes {
        match end {
            End::Stored | End::Failed => {}
            End::Rewound => {
                scrape(&mut cache, &mut cursor, page, PageFate::Stored, &model);
                cache.rewind();
            }
            End::Forgot => {
                scrape(&mut cache, &mut cursor, page, PageFate::Stored, &model);
                cache.rewind();
                cache.forget_stale(|it| it != handle("a") && it != handle("b"));
                model.forget(|text| text == "a" || text == "b");
            }
        }
        let fate = if *end == End::Failed { PageFate::Failed } else { PageFate::Stored };
        let got = scrape(&mut cache, &mut cursor, page, fate, &model);
        assert_eq!(got, model.scrape(page, fate), "{page:?} {end:?}");
        match fate {
            PageFate::Stored => cache.finish_page(&mut cursor),
            PageFate::Failed => assert!(!cache.finish_without_page()),
        }
        assert_eq!(cache.len(), model.known.len());
    }
}

fn scrapes() -> impl Strategy<Value = Vec<(Vec<(String, bool)>, End)>> {
    let text = prop_oneof![4 => "[a-f]", 1 => "[ad]{2,3}"];
    let page = prop::collection::vec((text, prop::bool::weighted(0.8)), 0..10);
    let end = prop_oneof![
        4 => Just(End::Stored), 2 => Just(End::Failed), 1 => Just(End::Rewound), 1 => Just(End::Forgot),
    ];
    prop::collection::vec((page, end), 0..12)
}

proptest! {
    #![proptest_config(crate::cases::cases(256))]

    /// Whatever the order of texts and the ends of scrapes, the cache says what maps would say.
    #[test]
    fn behaves_as_maps(scrapes in scrapes()) {
        check(&scrapes);
    }
}

fn numbered(numbers: impl Iterator<Item = u32>) -> Vec<(String, bool)> {
    numbers.map(|number| (format!("a{{n=\"{number}\"}}"), true)).collect()
}

#[test]
fn a_page_in_order_needs_no_index() {
    let (mut cache, mut cursor, model) = (ScrapeCache::new(), Cursor::default(), Model::default());
    let page = numbered(0..100);
    for _ in 0..2 {
        cache.begin(&mut cursor);
        for (text, _) in &page {
            if cache.guess(&mut cursor, text.as_bytes()).is_some() {
                cache.hit_guessed(&mut cursor).unwrap();
            } else {
                let new_text = cache.find(&mut cursor, text.as_bytes()).unwrap_err();
                cache.insert(&mut cursor, new_text, Known::Series(handle(text)));
            }
        }
        assert!(model.known.is_empty() && cursor.is_in_order);
        cache.finish_page(&mut cursor);
    }
    // The second time round nothing was looked up.
    cache.begin(&mut cursor);
    for (text, _) in &page[3..] {
        cache.find(&mut cursor, text.as_bytes()).unwrap();
    }
    assert!(!cursor.has_index, "three series that vanished are skipped");
    assert_eq!(cache.entries.capacity(), 100);
}

#[test]
fn failing_scrapes_with_ever_new_series_do_not_grow_it_without_end() {
    let (mut cache, mut cursor) = (ScrapeCache::new(), Cursor::default());
    let mut n_flushes = 0;
    for round in 0..20 {
        cache.begin(&mut cursor);
        for (text, _) in numbered(round * 300..round * 300 + 300) {
            let new_text = cache.find(&mut cursor, text.as_bytes()).unwrap_err();
            cache.insert(&mut cursor, new_text, Known::Series(handle(&text)));
        }
        n_flushes += u32::from(cache.finish_without_page());
        assert!(cache.len() <= 1300, "{}", cache.len());
    }
    assert_eq!(n_flushes, 6);
}
