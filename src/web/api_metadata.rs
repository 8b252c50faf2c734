//! `/api/v1/targets/metadata` and `/api/v1/metadata`: what pages say of metric families, field for field as
//! Prometheus (`web/api/v1/api.go: targetMetadata, metricMetadata`).

use crate::labels::Labels;
use crate::labels::selector::Selector;
use crate::metadata::{Family, type_name};
use crate::scrape::status::PoolStatus;
use crate::web::api::{as_map, failure, success};
use crate::web::http::{Request, Response};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

type Pools = Vec<(String, Arc<PoolStatus>)>;

#[derive(Serialize)]
struct OfTarget {
    #[serde(serialize_with = "as_map")]
    target: Labels,
    /// Left out where one is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    metric: Option<String>,
    r#type: &'static str,
    help: String,
    unit: String,
}

#[derive(Serialize, PartialEq, Eq)]
struct OfMetric {
    r#type: &'static str,
    unit: String,
    help: String,
}

/// Answers `/api/v1/targets/metadata`.
pub(in crate::web) fn of_targets(pools: &Pools, request: &Request) -> Response {
    let answer = limit(request, "limit").and_then(|limit| {
        let matched = first_value(request, "match_target");
        let selector = match matched.as_str() {
            "" => None,
            text => Some(
                Selector::parse(text).map_err(|why| format!("invalid parameter \"match_target\": {why}"))?,
            ),
        };
        Ok(list_of_targets(pools, selector.as_ref(), &first_value(request, "metric"), limit))
    });
    match answer {
        Ok(rows) => success(&rows),
        Err(why) => failure(400, "bad_data", &why),
    }
}

/// Answers `/api/v1/metadata`.
pub(in crate::web) fn of_metrics(pools: &Pools, request: &Request) -> Response {
    let limits = limit(request, "limit").and_then(|all| Ok((all, limit(request, "limit_per_metric")?)));
    match limits {
        Ok((limit, limit_per_metric)) => {
            success(&list_of_metrics(pools, &first_value(request, "metric"), limit, limit_per_metric))
        }
        Err(why) => failure(400, "bad_data", &why),
    }
}

/// The limit ends the list before a target, never inside one.
fn list_of_targets(
    pools: &Pools,
    selector: Option<&Selector>,
    metric: &str,
    limit: Option<usize>,
) -> Vec<OfTarget> {
    let mut rows = Vec::new();
    for active in pools.iter().flat_map(|(_, pool)| &pool.active) {
        if limit.is_some_and(|limit| rows.len() >= limit) {
            break;
        }
        let labels = &active.target.labels;
        if selector.is_some_and(|selector| !selector.matches(|name| labels.get(name))) {
            continue;
        }
        let list = active.status.families();
        let row = |family: &Family| OfTarget {
            target: labels.clone(),
            metric: metric.is_empty().then(|| family.name().to_owned()),
            r#type: type_name(family.metric_type()),
            help: family.help().to_owned(),
            unit: family.unit().to_owned(),
        };
        match metric {
            "" => rows.extend(list.families().iter().map(row)),
            metric => rows.extend(list.get(metric).map(row)),
        }
    }
    rows
}

fn list_of_metrics(
    pools: &Pools,
    metric: &str,
    limit: Option<usize>,
    limit_per_metric: Option<usize>,
) -> BTreeMap<String, Vec<OfMetric>> {
    let mut metrics: BTreeMap<String, Vec<OfMetric>> = BTreeMap::new();
    let mut lists = Vec::new();
    for active in pools.iter().flat_map(|(_, pool)| &pool.active) {
        let list = active.status.families();
        // Targets with the same pages have one list.
        if !lists.iter().any(|it| Arc::ptr_eq(it, &list)) {
            lists.push(list);
        }
    }
    for list in &lists {
        for family in list.families().iter().filter(|family| metric.is_empty() || family.name() == metric) {
            let known = metrics.entry(family.name().to_owned()).or_default();
            let row = OfMetric {
                r#type: type_name(family.metric_type()),
                unit: family.unit().to_owned(),
                help: family.help().to_owned(),
            };
            // Prometheus takes 0 for no limit here, and for nothing at all in `limit`.
            let is_full = limit_per_metric.is_some_and(|limit| limit > 0 && known.len() >= limit);
            if !is_full && !known.contains(&row) {
                known.push(row);
            }
        }
    }
    match limit {
        Some(limit) => metrics.into_iter().take(limit).collect(),
        None => metrics,
    }
}

fn first_value(request: &Request, name: &str) -> String {
    request.query_values(name).into_iter().next().unwrap_or_default()
}

/// Less than 0 is no limit.
fn limit(request: &Request, name: &str) -> Result<Option<usize>, String> {
    match first_value(request, name).as_str() {
        "" => Ok(None),
        text => match text.parse::<i64>() {
            Ok(limit) => Ok(usize::try_from(limit).ok()),
            Err(_) => Err(format!("{name} must be a number")),
        },
    }
}
