//! The page `/gateway` and its document: the last requests, where each went and why, savings, the health of upstreams.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use honelm_gateway::policy::{Spent, Upstream};
use serde_json::{Value, json};

use super::accounts::{Accounts, AccountsError, Holder, Record};
use super::store::{By, Group};
use super::{Gateway, UpstreamHealth};
use crate::app::Shared;
use crate::{Api, ApiError, status};

/// The requests that the page shows.
const SHOWN: usize = 30;
const DAY: u64 = 86_400;
/// The days of the longer sums.
const DAYS: u64 = 30;

pub fn routes() -> Router<Shared> {
    Router::new()
        .route("/gateway", get(|| async { status::page(include_str!("gateway.html")) }))
        .route("/gateway.json", get(document))
}

async fn document(app: State<Shared>) -> Response {
    match &app.gateway {
        Some(gateway) => Json(state(gateway).await).into_response(),
        None => {
            let message = "this server runs without a gateway; honelm serve --gateway FILE starts one";
            Api::OpenAi.respond(&ApiError::new(StatusCode::NOT_FOUND, "no_gateway", message))
        }
    }
}

/// Returns the state of a gateway. A store that fails is named, and the rest is shown.
async fn state(gateway: &Gateway) -> Value {
    let accounts = gateway.accounts();
    let mut problem = accounts.problem();
    let mut kept = |error: AccountsError| problem = Some(error.to_string());
    let (sums, recent, spent) =
        tokio::join!(sums(accounts.as_ref()), accounts.recent(SHOWN), spent(accounts.as_ref(), gateway));
    let sums = sums.map_err(&mut kept).unwrap_or_default();
    let recent = recent.map_err(&mut kept).unwrap_or_default();
    let spent = spent.map_err(&mut kept).unwrap_or_default();
    let upstreams = gateway.health().into_iter().zip(&gateway.settings().upstreams);
    let upstreams = upstreams.enumerate().map(|(at, (health, settings))| upstream(&health, settings, spent.get(at)));
    json!({
        "currency": gateway.settings().currency,
        "problem": problem,
        "lost_records": accounts.lost(),
        "sums": sums,
        "upstreams": upstreams.collect::<Vec<_>>(),
        "requests": recent.iter().map(request).collect::<Vec<_>>(),
    })
}

/// Returns the sums of today and of the last days, in UTC.
async fn sums(accounts: &dyn Accounts) -> Result<Vec<Value>, AccountsError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let today = now - now % DAY;
    let mut out = Vec::new();
    for (name, begin) in [("Today".to_owned(), today), (format!("Last {DAYS} days"), today.saturating_sub(DAYS * DAY))]
    {
        let groups = accounts.sums(UNIX_EPOCH + Duration::from_secs(begin), By::Model).await?;
        out.push(sum(&name, &groups));
    }
    Ok(out)
}

fn sum(name: &str, groups: &[Group]) -> Value {
    let mut all = Group::default();
    groups.iter().for_each(|group| all.merge(group));
    let totals = all.totals;
    json!({
        "name": name,
        "requests": totals.requests,
        "local_requests": totals.local_requests,
        "local_share": totals.local_share(),
        "degraded_requests": totals.degraded_requests,
        "refused_requests": totals.refused_requests,
        "input_tokens": totals.input_tokens,
        "cached_input_tokens": totals.cached_input_tokens,
        "output_tokens": totals.output_tokens,
        "cost": totals.cost,
        "cloud_only_cost": totals.cloud_only_cost,
        "saved": totals.saved(),
        "energy_joules": totals.energy_joules(),
        "replaced": all.replaced,
    })
}

/// Returns what each upstream has spent; only those with a budget are counted.
async fn spent(accounts: &dyn Accounts, gateway: &Gateway) -> Result<Vec<Option<Spent>>, AccountsError> {
    let upstreams = &gateway.settings().upstreams;
    let has_budget = |upstream: &Upstream| upstream.budget.day.is_some() || upstream.budget.month.is_some();
    let holders: Vec<Holder> =
        upstreams.iter().filter(|of| has_budget(of)).map(|of| Holder::Upstream(of.name.clone())).collect();
    let mut spent = accounts.spent(&holders).await?.into_iter();
    Ok(upstreams.iter().map(|upstream| if has_budget(upstream) { spent.next() } else { None }).collect())
}

fn upstream(health: &UpstreamHealth, settings: &Upstream, spent: Option<&Option<Spent>>) -> Value {
    let spent = spent.copied().flatten();
    json!({
        "name": health.name,
        "api": health.api,
        "model": health.model,
        "breaker": health.breaker,
        "opens_again_seconds": health.opens_again_seconds,
        "requests": health.requests,
        "failures": health.failures,
        "last_failure": health.last_failure,
        "first_token_seconds": health.first_token_seconds,
        "spent_day": spent.map(|spent| spent.day),
        "spent_month": spent.map(|spent| spent.month),
        "budget_day": settings.budget.day,
        "budget_month": settings.budget.month,
    })
}

/// Returns a record as the page gets it.
fn request(record: &Record) -> Value {
    let mut out = serde_json::to_value(record).unwrap_or_default();
    let time = record.time.duration_since(UNIX_EPOCH).unwrap_or_default();
    out["time_ms"] = json!(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    out["cost"] = json!(record.cost);
    out["cloud_only_cost"] = json!(record.cloud_only_cost);
    out["saved"] = json!(record.cloud_only_cost.minus(record.cost));
    out
}
