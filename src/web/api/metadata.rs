//! `/api/v1/targets/metadata` and `/api/v1/metadata`: what pages say of metric families, field for field as
//! Prometheus (`web/api/v1/api.go: targetMetadata, metricMetadata`).

use crate::scrape::targets::status::StatusBoard;
use crate::web::api::json::{as_map, failure, json_bytes, json_in_pieces, with_commas};
use crate::web::serve::http::{Request, Response};
use crate::web::walk;
use scraped_engine::families::{Family, FamilyList, type_name};
use scraped_engine::labels::Labels;
use scraped_engine::labels::selector::Selector;
use scraped_engine::labels::selector::parser::parse_metric_selector;
use serde::Serialize;
use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashSet};
use std::iter::once;
use std::sync::Arc;

#[derive(Serialize)]
struct OfTarget<'a> {
    #[serde(serialize_with = "as_map")]
    target: &'a Labels,
    /// Left out where one is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    metric: Option<&'a str>,
    r#type: &'static str,
    help: &'a str,
    unit: &'a str,
}

#[derive(Serialize, PartialEq, Eq)]
struct OfMetric<'a> {
    r#type: &'static str,
    unit: &'a str,
    help: &'a str,
}

/// Answers `/api/v1/targets/metadata`.
pub(in crate::web) fn of_targets(board: &Arc<StatusBoard>, request: &Request) -> Response {
    let answer = limit(request, "limit").and_then(|limit| {
        let matched = request.query_value("match_target");
        let selector = match matched.as_str() {
            "" => None,
            text => Some(
                parse_metric_selector(text)
                    .map_err(|why| format!("invalid parameter \"match_target\": {why}"))?,
            ),
        };
        Ok(list_of_targets(board, selector, request.query_value("metric"), limit))
    });
    answer.unwrap_or_else(|why| failure(400, "bad_data", &why))
}

/// Answers `/api/v1/metadata`.
pub(in crate::web) fn of_metrics(board: &StatusBoard, request: &Request) -> Response {
    let limits = limit(request, "limit").and_then(|all| Ok((all, limit(request, "limit_per_metric")?)));
    match limits {
        Ok((limit, limit_per_metric)) => {
            list_of_metrics(board, &request.query_value("metric"), limit, limit_per_metric)
        }
        Err(why) => failure(400, "bad_data", &why),
    }
}

/// One family of a target a piece. The limit ends the list before a target, never inside one.
fn list_of_targets(
    board: &Arc<StatusBoard>,
    selector: Option<Selector>,
    metric: String,
    limit: Option<usize>,
) -> Response {
    let mut n_rows = 0;
    let rows = walk::active(board, board.jobs())
        .filter(move |(_, active)| {
            let labels = &active.target.labels;
            selector.as_ref().is_none_or(|selector| selector.matches(|name| labels.get(name)))
        })
        .map_while(move |(_, active)| {
            if limit.is_some_and(|limit| n_rows >= limit) {
                return None;
            }
            let (labels, list) = (active.target.labels.clone(), active.status.families());
            let places = match metric.as_str() {
                "" => 0..list.families().len(),
                metric => list.find(metric).map_or(0..0, |place| place..place + 1),
            };
            n_rows += places.len();
            let names_it = metric.is_empty();
            Some(places.filter_map(move |place| {
                let family = list.families().get(place)?;
                Some(json_bytes(&OfTarget {
                    target: &labels,
                    metric: names_it.then(|| family.name()),
                    r#type: type_name(family.metric_type()),
                    help: family.help(),
                    unit: family.unit(),
                }))
            }))
        })
        .flatten();
    let start = once(br#"{"status":"success","data":["#.to_vec());
    json_in_pieces(start.chain(with_commas(rows)).chain(once(b"]}".to_vec())))
}

/// One name a piece: the lists of all targets are in order of name and are read side by side.
fn list_of_metrics(
    board: &StatusBoard,
    metric: &str,
    limit: Option<usize>,
    limit_per_metric: Option<usize>,
) -> Response {
    let mut lists: Vec<Arc<FamilyList>> = Vec::new();
    let mut known = HashSet::new();
    for active in board.pools().iter().flat_map(|(_, pool)| &pool.active) {
        let list = active.status.families();
        // Targets with the same pages have one list.
        if known.insert(Arc::as_ptr(&list)) {
            lists.push(list);
        }
    }
    let mut merge = Merge::new(lists, metric);
    let names = std::iter::from_fn(move || {
        let families = merge.next_name()?;
        let mut rows: Vec<OfMetric<'_>> = Vec::new();
        for family in &families {
            let row = OfMetric {
                r#type: type_name(family.metric_type()),
                unit: family.unit(),
                help: family.help(),
            };
            // Prometheus takes 0 for no limit here, and for nothing at all in `limit`.
            let is_full = limit_per_metric.is_some_and(|limit| limit > 0 && rows.len() >= limit);
            if !is_full && !rows.contains(&row) {
                rows.push(row);
            }
        }
        let mut member = json_bytes(&families.first().map_or("", Family::name));
        member.push(b':');
        member.extend_from_slice(&json_bytes(&rows));
        Some(member)
    });
    let names = names.take(limit.unwrap_or(usize::MAX));
    let start = once(br#"{"status":"success","data":{"#.to_vec());
    json_in_pieces(start.chain(with_commas(names)).chain(once(b"}}".to_vec())))
}

/// Lists that are read side by side in order of name.
struct Merge {
    lists: Vec<Arc<FamilyList>>,
    /// Of each list that has more: place of its next family in order of name.
    next: BinaryHeap<Reverse<Next>>,
    wanted: Option<String>,
}

/// The next family of a list; those of the same name in the order of the lists.
#[derive(PartialEq, Eq)]
struct Next {
    family: Family,
    list_idx: usize,
    place: usize,
}

impl Ord for Next {
    fn cmp(&self, other: &Self) -> Ordering {
        self.family.name().cmp(other.family.name()).then(self.list_idx.cmp(&other.list_idx))
    }
}

impl PartialOrd for Next {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Merge {
    /// `metric` is the one name that is wanted; empty: all.
    fn new(lists: Vec<Arc<FamilyList>>, metric: &str) -> Self {
        let wanted = (!metric.is_empty()).then(|| metric.to_owned());
        let mut merge = Self { lists, next: BinaryHeap::new(), wanted };
        for list_idx in 0..merge.lists.len() {
            merge.push(list_idx, 0);
        }
        merge
    }

    fn push(&mut self, list_idx: usize, place: usize) {
        let Some(list) = self.lists.get(list_idx) else { return };
        let family = match &self.wanted {
            None => list.nth_by_name(place),
            Some(name) => list.get(name).filter(|_| place == 0),
        };
        if let Some(family) = family {
            self.next.push(Reverse(Next { family: family.clone(), list_idx, place }));
        }
    }

    /// The families of the next name, one of each list that has it.
    fn next_name(&mut self) -> Option<Vec<Family>> {
        let mut families: Vec<Family> = Vec::new();
        while let Some(Reverse(next)) = self.next.peek() {
            if families.first().is_some_and(|first| first.name() != next.family.name()) {
                break;
            }
            if let Some(Reverse(Next { family, list_idx, place })) = self.next.pop() {
                self.push(list_idx, place + 1);
                families.push(family);
            }
        }
        (!families.is_empty()).then_some(families)
    }
}

/// Less than 0 is no limit.
fn limit(request: &Request, name: &str) -> Result<Option<usize>, String> {
    match request.query_value(name).as_str() {
        "" => Ok(None),
        text => match text.parse::<i64>() {
            Ok(limit) => Ok(usize::try_from(limit).ok()),
            Err(_) => Err(format!("{name} must be a number")),
        },
    }
}
