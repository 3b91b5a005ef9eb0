//! Sums over records.

use std::collections::BTreeMap;
use std::time::SystemTime;

use honelm_gateway::accounting::{Money, Totals};
use serde::Serialize;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::records::{millionths, milliseconds, right_numbers};
use super::{Store, StoreError};
use crate::gateway::accounts::Record;

/// The milliseconds of a day.
const DAY: i64 = 86_400_000;

/// The property by which records are grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// The client.
    Client,
    /// The model that answered.
    Model,
    /// The day, in UTC.
    Day,
    /// The upstream.
    Upstream,
}

/// Returns the seconds from 1970 to the begin of a day such as `2026-12-01`, in UTC.
#[must_use]
pub fn day_begin(day: &str) -> Option<u64> {
    let date: jiff::civil::Date = day.parse().ok()?;
    let begin = date.to_zoned_datetime(jiff::tz::TimeZone::UTC).ok()?;
    u64::try_from(begin.timestamp().as_second()).ok()
}

/// The sums of a group of records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    /// The client, the model, the upstream, or the day as `2026-12-01`. Empty for requests without one.
    pub name: String,
    /// The sums.
    pub totals: Totals,
    /// The kinds of private data that were replaced, with their counts.
    pub replaced: BTreeMap<String, u64>,
}

impl Group {
    /// Adds records up, by the names of their groups.
    #[must_use]
    pub fn of<'a>(records: impl IntoIterator<Item = &'a Record>, by: By) -> Vec<Self> {
        let mut groups: BTreeMap<String, Self> = BTreeMap::new();
        for record in records {
            let name = by.group(match by {
                By::Client => record.client.clone().unwrap_or_default(),
                By::Model => record.model.clone(),
                By::Upstream => record.upstream.clone().unwrap_or_default(),
                By::Day => (milliseconds(record.time) / DAY).to_string(),
            });
            let group = groups.entry(name.clone()).or_insert_with(|| Self { name, ..Self::default() });
            group.merge(&Self::of_one(record));
        }
        groups.into_values().collect()
    }

    /// Returns the sums of a single record, without a name.
    fn of_one(record: &Record) -> Self {
        let microjoules = record.energy_joules.map(millionths);
        let count = |count: i64| u64::try_from(count).unwrap_or(0);
        Self {
            name: String::new(),
            totals: Totals {
                requests: 1,
                local_requests: u64::from(record.route == "local"),
                degraded_requests: u64::from(record.degraded),
                refused_requests: u64::from(record.route == "refused"),
                input_tokens: record.usage.input,
                cached_input_tokens: record.usage.cached_input,
                output_tokens: record.usage.output,
                cost: record.cost,
                cloud_only_cost: record.cloud_only_cost,
                energy_microjoules: microjoules.map_or(0, count),
                measured_requests: u64::from(microjoules.is_some()),
                replaced: record.replaced.values().sum::<usize>() as u64,
            },
            replaced: record.replaced.iter().map(|(kind, count)| (kind.to_string(), *count as u64)).collect(),
        }
    }

    /// Adds the sums of another group.
    pub fn merge(&mut self, other: &Self) {
        self.totals.merge(&other.totals);
        for (kind, count) in &other.replaced {
            *self.replaced.entry(kind.clone()).or_default() += count;
        }
    }
}

impl By {
    /// The names.
    pub const NAMES: [&str; 4] = ["client", "model", "day", "upstream"];

    /// Returns the name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    fn column(self) -> String {
        match self {
            Self::Client => "COALESCE(client, '')".to_owned(),
            Self::Model => "model".to_owned(),
            Self::Upstream => "COALESCE(upstream, '')".to_owned(),
            Self::Day => format!("CAST(time_ms / {DAY} AS TEXT)"),
        }
    }

    /// Returns the name of a group as people write it.
    fn group(self, key: String) -> String {
        let Self::Day = self else { return key };
        let second = key.parse::<i64>().unwrap_or(0).saturating_mul(DAY / 1000);
        let day = jiff::Timestamp::from_second(second).unwrap_or_default().to_string();
        day.split('T').next().unwrap_or_default().to_owned()
    }
}

impl Store {
    /// Returns the sums of the records since a time, by the names of their groups.
    ///
    /// # Errors
    /// A place that cannot be reached or read, and a row that is wrong.
    pub async fn usage(&self, since: SystemTime, by: By) -> Result<Vec<Group>, StoreError> {
        self.ready().await?;
        let error = |error: sqlx::Error| self.error(&error);
        let key = by.column();
        let sum = |what: &str| format!("CAST(COALESCE(SUM({what}), 0) AS BIGINT)");
        let count = |condition: &str| sum(&format!("CASE WHEN {condition} THEN 1 ELSE 0 END"));
        let sums = [
            "COUNT(*)".to_owned(),
            count("route = 'local'"),
            count("degraded = 1"),
            count("route = 'refused'"),
            sum("input_tokens"),
            sum("cached_input_tokens"),
            sum("output_tokens"),
            sum("cost"),
            sum("cloud_only_cost"),
            sum("energy"),
            "COUNT(energy)".to_owned(),
            count(&format!("NOT ({})", right_numbers())),
        ];
        let query =
            format!("SELECT {key} AS name, {} FROM honelm_records WHERE time_ms >= $1 GROUP BY 1", sums.join(", "));
        let from = milliseconds(since);
        let rows = sqlx::query(&query).bind(from).fetch_all(&self.read).await;
        // A sum of wrong numbers can fail in itself.
        let rows = match rows {
            Err(failed) => {
                self.check_numbers(since).await?;
                return Err(error(failed));
            }
            Ok(rows) => rows,
        };
        let mut groups = rows.iter().map(group).collect::<Result<Vec<_>, _>>().map_err(error)?;
        if groups.iter().any(|(_, wrong)| *wrong > 0) {
            self.check_numbers(since).await?;
        }
        let query = format!(
            "SELECT {key} AS name, replaced, COUNT(*) FROM honelm_records \
             WHERE time_ms >= $1 AND replaced <> '{{}}' GROUP BY 1, 2"
        );
        for row in sqlx::query(&query).bind(from).fetch_all(&self.read).await.map_err(error)? {
            let (name, kinds, rows) = kinds(&row).map_err(error)?;
            let kinds: BTreeMap<String, u64> = serde_json::from_str(&kinds).map_err(|_| self.wrong_kinds(kinds))?;
            let Some((group, _)) = groups.iter_mut().find(|(group, _)| group.name == name) else { continue };
            for (kind, count) in kinds {
                let count = count.saturating_mul(rows);
                group.totals.replaced += count;
                *group.replaced.entry(kind).or_default() += count;
            }
        }
        let named = |(group, _): (Group, i64)| Group { name: by.group(group.name), ..group };
        let mut groups: Vec<Group> = groups.into_iter().map(named).collect();
        // Databases order texts by rules of their own.
        groups.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(groups)
    }

    fn wrong_kinds(&self, found: String) -> StoreError {
        let place = self.location.to_string();
        let expected = "a JSON object of counts";
        StoreError::Row { place, id: "in several rows".to_owned(), field: "replaced", found, expected }
    }
}

/// Reads a group and the number of its wrong rows.
fn group(row: &AnyRow) -> Result<(Group, i64), sqlx::Error> {
    let number = |at: usize| row.try_get::<i64, _>(at);
    let count = |at: usize| number(at).map(|count| u64::try_from(count).unwrap_or(0));
    let totals = Totals {
        requests: count(1)?,
        local_requests: count(2)?,
        degraded_requests: count(3)?,
        refused_requests: count(4)?,
        input_tokens: count(5)?,
        cached_input_tokens: count(6)?,
        output_tokens: count(7)?,
        cost: Money::from_nanos(number(8)?),
        cloud_only_cost: Money::from_nanos(number(9)?),
        energy_microjoules: count(10)?,
        measured_requests: count(11)?,
        replaced: 0,
    };
    Ok((Group { name: row.try_get(0)?, totals, replaced: BTreeMap::new() }, number(12)?))
}

fn kinds(row: &AnyRow) -> Result<(String, String, u64), sqlx::Error> {
    Ok((row.try_get(0)?, row.try_get(1)?, u64::try_from(row.try_get::<i64, _>(2)?).unwrap_or(0)))
}
