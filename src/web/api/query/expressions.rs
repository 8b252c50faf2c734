//! `/api/v1/query` and `/api/v1/query_range`, field for field as Prometheus (`web/api/v1/api.go: query, queryRange`).

use crate::query::error::QueryError;
use crate::query::evaluate::{Steps, instant, stepped};
use crate::query::expression::{Expression, ExpressionError};
use crate::query::{Answer, TIMEOUT};
use crate::web::api::json::failure;
use crate::web::api::query::ask;
use crate::web::api::query::params::{self, BadParameter};
use crate::web::api::query::result::render;
use crate::web::serve::http::Request;
use crate::web::serve::reply::Reply;
use crate::web::state::WebState;
use scraped_engine::history::{Bounds, History};
use std::time::{Duration, Instant};

/// Prometheus' `--query.lookback-delta`.
pub(super) const LOOKBACK_MS: i64 = 5 * 60 * 1000;

/// Steps of a question, as in Prometheus.
const MAX_STEPS: i128 = 11_000;

const NANOS_A_MS: i128 = 1_000_000;

/// Answers `/api/v1/query`.
pub(in crate::web) fn query(state: &WebState, request: &Request) -> Reply {
    prepared_query(state, request).unwrap_or_else(refused)
}

/// Answers `/api/v1/query_range`.
pub(in crate::web) fn query_range(state: &WebState, request: &Request) -> Reply {
    prepared_range(state, request).unwrap_or_else(refused)
}

fn refused(BadParameter(why): BadParameter) -> Reply {
    Reply::Now(failure(400, "bad_data", &why))
}

fn prepared_query(state: &WebState, request: &Request) -> Result<Reply, BadParameter> {
    let limit = params::limit(request)?;
    let ts_ms = params::time(request, "time")?.unwrap_or_else(params::now_ms);
    let deadline = deadline(request)?;
    let lookback_ms = lookback_ms(request)?;
    let text = request.form_value("query");
    let work = move |history: &History, bounds: &Bounds| {
        instant(history, bounds, expression(&text)?, ts_ms, lookback_ms)
    };
    Ok(ask(&state.queries, deadline, work, move |answer: Answer<_>| render(answer, limit)))
}

fn prepared_range(state: &WebState, request: &Request) -> Result<Reply, BadParameter> {
    let limit = params::limit(request)?;
    let time =
        |name| params::parse_time(&request.form_value(name)).map_err(|why| BadParameter::new(name, &why));
    let (start_ms, end_ms) = (time("start")?, time("end")?);
    if end_ms < start_ms {
        return Err(BadParameter::new("end", "end timestamp must not be before start time"));
    }
    let step_nanos =
        params::parse_nanos(&request.form_value("step")).map_err(|why| BadParameter::new("step", &why))?;
    if step_nanos <= 0 {
        let why = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(BadParameter::new("step", why));
    }
    let length_nanos = (i128::from(end_ms) - i128::from(start_ms)) * NANOS_A_MS;
    if length_nanos / step_nanos > MAX_STEPS {
        let why = "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution \
                   (?step=XX)";
        return Err(BadParameter(why.to_owned()));
    }
    let deadline = deadline(request)?;
    let lookback_ms = lookback_ms(request)?;
    let text = request.form_value("query");
    let step_ms = i64::try_from(step_nanos / NANOS_A_MS).unwrap_or(i64::MAX).max(1);
    let steps = Steps { start_ms, end_ms, step_ms };
    let work = move |history: &History, bounds: &Bounds| {
        let expression = expression_of_steps(&text)?;
        stepped(history, bounds, expression, steps, lookback_ms)
    };
    Ok(ask(&state.queries, deadline, work, move |answer: Answer<_>| render(answer, limit)))
}

/// Reads an expression. For the query thread: patterns take their time, and brackets their stack.
fn expression(text: &str) -> Result<Expression, QueryError> {
    Expression::parse(text).map_err(|error| match error {
        ExpressionError::Mistake(mistake) => BadParameter::new("query", &mistake.to_string()).into(),
        ExpressionError::NeedsEngine => QueryError::NeedsEngine,
    })
}

/// The same of one that has a value at each step.
fn expression_of_steps(text: &str) -> Result<Expression, QueryError> {
    let expression = expression(text)?;
    let kind = match &expression {
        Expression::Vector(_) | Expression::Number(_) => return Ok(expression),
        Expression::Range { .. } => "range vector",
        Expression::Text(_) => "string",
    };
    let why = format!("invalid expression type \"{kind}\" for range query, must be Scalar or instant Vector");
    Err(BadParameter::new("query", &why).into())
}

/// `timeout`, which may be less than ours.
fn deadline(request: &Request) -> Result<Instant, BadParameter> {
    let text = request.form_value("timeout");
    if text.is_empty() {
        return Ok(params::deadline());
    }
    let nanos = params::parse_nanos(&text).map_err(|why| BadParameter::new("timeout", &why))?;
    let timeout = Duration::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX));
    Ok(Instant::now() + timeout.min(TIMEOUT))
}

fn lookback_ms(request: &Request) -> Result<i64, BadParameter> {
    let text = request.form_value("lookback_delta");
    if text.is_empty() {
        return Ok(LOOKBACK_MS);
    }
    let nanos = params::parse_nanos(&text)
        .map_err(|why| BadParameter(format!("error parsing lookback delta duration: {why}")))?;
    let ms = i64::try_from(nanos / NANOS_A_MS).unwrap_or(i64::MAX);
    Ok(if ms > 0 { ms } else { LOOKBACK_MS })
}
