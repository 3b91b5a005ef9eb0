//! The records of requests.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use honelm_gateway::accounting::{Money, Usage};
use serde::de::DeserializeOwned;
use sqlx::any::AnyRow;
use sqlx::{Row, Type};

use super::{Store, StoreError};
use crate::gateway::accounts::Record;

/// A record with the id that its row has.
#[derive(Debug, Clone)]
pub struct Identified {
    /// The id, which no other record has.
    pub id: String,
    /// The record.
    pub record: Record,
}

const COLUMNS: &str = "id, time_ms, client, model, upstream, route, reason, degraded, continued, complete, input_tokens, \
                       cached_input_tokens, output_tokens, cost, cloud_only_cost, energy, first_token, duration, replaced, \
                       failures";

/// The columns that hold whole numbers, with the numbers that are right. The tables have the same rules.
const NUMBERS: [(&str, &str, &str); 12] = [
    ("time_ms", "BETWEEN 0 AND 253402300799999", "milliseconds since 1970"),
    ("degraded", "IN (0, 1)", "0 or 1"),
    ("continued", "IN (0, 1)", "0 or 1"),
    ("complete", "IN (0, 1)", "0 or 1"),
    ("input_tokens", COUNT, WHOLE),
    ("cached_input_tokens", COUNT, WHOLE),
    ("output_tokens", COUNT, WHOLE),
    ("cost", "BETWEEN 0 AND 9223372036854775807", WHOLE),
    ("cloud_only_cost", "BETWEEN 0 AND 9223372036854775807", WHOLE),
    ("energy", COUNT, WHOLE),
    ("first_token", COUNT, WHOLE),
    ("duration", COUNT, WHOLE),
];
const COUNT: &str = "BETWEEN 0 AND 9007199254740991";
const WHOLE: &str = "a whole number of at least 0";
const ROUTES: [&str; 3] = ["local", "cloud", "refused"];

impl Store {
    /// Adds records in one transaction. Those whose id is there already are left out.
    ///
    /// # Errors
    /// A place that cannot be reached or written.
    pub async fn add(&self, records: &[Identified]) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let insert = format!(
            "INSERT INTO honelm_records ({COLUMNS}) VALUES {} ON CONFLICT (id) DO NOTHING",
            super::placeholders(1, 1, COLUMNS.split(", ").count())
        );
        for Identified { id, record } in records {
            let Record { usage, .. } = record;
            let query = sqlx::query(&insert)
                .bind(&**id)
                .bind(milliseconds(record.time))
                .bind(record.client.as_deref())
                .bind(&*record.model)
                .bind(record.upstream.as_deref())
                .bind(&*record.route)
                .bind(&*record.reason)
                .bind(i64::from(record.degraded))
                .bind(i64::from(record.continued))
                .bind(i64::from(record.complete))
                .bind(tokens(usage.input))
                .bind(tokens(usage.cached_input))
                .bind(tokens(usage.output))
                .bind(record.cost.nanos())
                .bind(record.cloud_only_cost.nanos())
                .bind(record.energy_joules.map(millionths))
                .bind(record.first_token_seconds.map(millionths))
                .bind(millionths(record.seconds))
                .bind(json(&record.replaced))
                .bind(json(&record.failures));
            query.execute(&mut *transaction).await.map_err(|error| self.error(&error))?;
        }
        transaction.commit().await.map_err(|error| self.error(&error))
    }

    /// Returns the last `most` records, the newest first.
    ///
    /// # Errors
    /// A place that cannot be reached or read, and a row that is wrong.
    pub async fn recent(&self, most: usize) -> Result<Vec<Record>, StoreError> {
        self.ready().await?;
        let query = format!("SELECT {COLUMNS} FROM honelm_records ORDER BY time_ms DESC, id LIMIT $1");
        let query = sqlx::query(&query).bind(i64::try_from(most).unwrap_or(i64::MAX));
        let rows = query.fetch_all(&self.read).await.map_err(|error| self.error(&error))?;
        rows.iter().map(|row| self.record_of(row)).collect()
    }

    /// Removes the records before a time.
    ///
    /// # Errors
    /// A place that cannot be reached or written.
    pub async fn remove_records_before(&self, time: SystemTime) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let remove = "DELETE FROM honelm_records WHERE time_ms < $1";
        let query = sqlx::query(remove).bind(milliseconds(time));
        query.execute(&mut *transaction).await.map_err(|error| self.error(&error))?;
        transaction.commit().await.map_err(|error| self.error(&error))
    }

    fn record_of(&self, row: &AnyRow) -> Result<Record, StoreError> {
        let of = Fields { store: self, row };
        let micros = |micros: u64| micros as f64 / 1e6;
        let route: String = of.get("route", "a text")?;
        let known = ROUTES.iter().find(|known| **known == route);
        let route = known.ok_or_else(|| of.wrong("route", "local, cloud or refused"))?;
        let replaced: BTreeMap<String, usize> = of.json("replaced", "a JSON object of counts")?;
        let failures: Vec<(String, String)> = of.json("failures", "a JSON array of pairs")?;
        Ok(Record {
            time: UNIX_EPOCH + Duration::from_millis(of.count("time_ms")?.unwrap_or(0)),
            client: of.get("client", "a text")?,
            model: of.get("model", "a text")?,
            upstream: of.get("upstream", "a text")?,
            route: Cow::Borrowed(route),
            reason: of.get("reason", "a text")?,
            degraded: of.count("degraded")? == Some(1),
            continued: of.count("continued")? == Some(1),
            complete: of.count("complete")? == Some(1),
            usage: Usage {
                input: of.count("input_tokens")?.unwrap_or(0),
                cached_input: of.count("cached_input_tokens")?.unwrap_or(0),
                output: of.count("output_tokens")?.unwrap_or(0),
            },
            cost: of.money("cost")?,
            cloud_only_cost: of.money("cloud_only_cost")?,
            energy_joules: of.count("energy")?.map(micros),
            replaced: replaced.into_iter().map(|(kind, count)| (Cow::Owned(kind), count)).collect(),
            first_token_seconds: of.count("first_token")?.map(micros),
            seconds: micros(of.count("duration")?.unwrap_or(0)),
            failures: failures.into_iter().map(|(upstream, code)| (upstream, Cow::Owned(code))).collect(),
        })
    }

    /// Returns an error about the first row since a time with a wrong number, if there is one. Sums would hide it.
    pub(super) async fn check_numbers(&self, since: SystemTime) -> Result<(), StoreError> {
        let since = milliseconds(since);
        for (field, rule, expected) in NUMBERS {
            let query = format!(
                "SELECT id, CAST({field} AS TEXT) FROM honelm_records \
                 WHERE time_ms >= $1 AND {field} IS NOT NULL AND NOT ({field} {rule}) ORDER BY id LIMIT 1"
            );
            let query = sqlx::query(&query).bind(since);
            let found = query.fetch_optional(&self.read).await.map_err(|error| self.error(&error))?;
            if let Some(row) = found {
                let id = row.try_get(0).unwrap_or_default();
                let found = row.try_get(1).unwrap_or_default();
                return Err(StoreError::Row { place: self.location.to_string(), id, field, found, expected });
            }
        }
        Ok(())
    }
}

/// The rule that all numbers of a right row obey.
pub(super) fn right_numbers() -> String {
    let rule = |(field, rule, _): &(&str, &str, &str)| format!("({field} IS NULL OR {field} {rule})");
    NUMBERS.iter().map(rule).collect::<Vec<_>>().join(" AND ")
}

/// The columns of a row.
struct Fields<'a> {
    store: &'a Store,
    row: &'a AnyRow,
}

impl<'a> Fields<'a> {
    fn get<T>(&self, field: &'static str, expected: &'static str) -> Result<T, StoreError>
    where
        T: sqlx::Decode<'a, sqlx::Any> + Type<sqlx::Any>,
    {
        self.row.try_get(field).map_err(|_| self.wrong(field, expected))
    }

    fn count(&self, field: &'static str) -> Result<Option<u64>, StoreError> {
        let count: Option<i64> = self.get(field, WHOLE)?;
        count.map(|count| u64::try_from(count).map_err(|_| self.wrong(field, WHOLE))).transpose()
    }

    fn money(&self, field: &'static str) -> Result<Money, StoreError> {
        self.get(field, WHOLE).map(Money::from_nanos)
    }

    fn json<T: DeserializeOwned>(&self, field: &'static str, expected: &'static str) -> Result<T, StoreError> {
        let text: String = self.get(field, expected)?;
        serde_json::from_str(&text).map_err(|_| self.wrong(field, expected))
    }

    fn wrong(&self, field: &'static str, expected: &'static str) -> StoreError {
        let text = self.row.try_get::<String, _>(field).ok();
        let number = || self.row.try_get::<i64, _>(field).ok().map(|number| number.to_string());
        let found = text.or_else(number).unwrap_or_else(|| "another type".to_owned());
        let id = self.row.try_get("id").unwrap_or_default();
        StoreError::Row { place: self.store.location.to_string(), id, field, found, expected }
    }
}

/// Returns the milliseconds since 1970.
pub(super) fn milliseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The largest count that the tables accept: numbers up to it are exact in every program that reads JSON.
const MOST: i64 = (1 << 53) - 1;

/// Returns the nearest number of millionths that the tables accept.
pub(super) fn millionths(units: f64) -> i64 {
    // A cast from floating point saturates, and makes 0 of what is no number.
    ((units * 1e6).round() as i64).clamp(0, MOST)
}

fn tokens(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(MOST).min(MOST)
}

fn json(value: &impl serde::Serialize) -> String {
    // Maps of text and numbers cannot fail.
    serde_json::to_string(value).unwrap_or_default()
}
