//! Budgets: money is set aside before a request is sent, and settled after it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use honelm_gateway::accounting::Money;
use honelm_gateway::policy::{Budget, Spent};
use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};

use super::{Store, StoreError, placeholders};
use crate::gateway::accounts::{Holder, Reservation, Wish};
use crate::ids;

/// The time after which rows that count no more are removed.
const KEPT: Duration = Duration::from_secs(86_400);

/// The time after which sums of money are removed: no present month began longer ago.
const SPENDING_KEPT: Duration = Duration::from_secs(62 * 86_400);

/// The holder and the period, `day` or `month`, of a budget that is spent.
pub type Exhausted = (Holder, &'static str);

/// The money of a holder in a day or a month.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    holder: String,
    period: String,
    limit: Option<Money>,
    /// The index of the holder among those asked for.
    of: usize,
    is_day: bool,
}

/// Returns the name of a holder in the tables.
fn name(holder: &Holder) -> String {
    match holder {
        Holder::Upstream(name) => format!("upstream:{name}"),
        Holder::Client(name) => format!("client:{name}"),
    }
}

pub(super) fn unix_seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Returns the day and the month of a time, in UTC: `2026-12-01` and `2026-12`.
fn periods(now: SystemTime) -> (String, String) {
    let day = ids::rfc3339(now).split('T').next().unwrap_or_default().to_owned();
    let month = day.rsplit_once('-').map_or_else(String::new, |(month, _)| month.to_owned());
    (day, month)
}

/// Returns the lines of holders, in the order in which every transaction takes them.
fn lines<'a>(holders: impl IntoIterator<Item = (&'a Holder, Budget)>, now: SystemTime) -> Vec<Line> {
    let (day, month) = periods(now);
    let mut lines: Vec<Line> = Vec::new();
    for (of, (holder, budget)) in holders.into_iter().enumerate() {
        for (period, limit, is_day) in [(&day, budget.day, true), (&month, budget.month, false)] {
            let limit = limit.map(Money::from);
            lines.push(Line { holder: name(holder), period: period.clone(), limit, of, is_day });
        }
    }
    lines.sort();
    lines.dedup_by(|a, b| a.holder == b.holder && a.period == b.period);
    lines
}

impl Store {
    /// Sets money aside in all budgets of a wish at once, or in none. Returns the holder and the period whose budget is spent.
    ///
    /// # Errors
    /// A place that cannot be reached or written. Nothing may be sent then.
    pub async fn reserve(&self, wish: &Wish, now: SystemTime) -> Result<Result<Reservation, Exhausted>, StoreError> {
        let lines = lines(wish.holders.iter().map(|(holder, budget)| (holder, *budget)), now);
        let holders = wish.holders.iter().map(|(holder, _)| holder.clone()).collect();
        let reservation = Reservation { id: ids::new("reservation_"), holders, amount: wish.amount };
        if lines.is_empty() {
            return Ok(Ok(reservation));
        }
        let mut transaction = self.begin().await?;
        let error = |error: sqlx::Error| self.error(&error);
        let taken = taken(&mut transaction, &lines, now).await.map_err(error)?;
        let exceeded = lines
            .iter()
            .zip(&taken)
            .find(|(line, taken)| line.limit.is_some_and(|limit| taken.plus(wish.amount) > limit));
        if let Some((line, _)) = exceeded {
            transaction.rollback().await.map_err(error)?;
            let holder = wish.holders[line.of].0.clone();
            return Ok(Err((holder, if line.is_day { "day" } else { "month" })));
        }
        let values = placeholders(1, lines.len(), 5);
        let insert = format!("INSERT INTO honelm_reservations (id, holder, period, amount, expires) VALUES {values}");
        let expires = unix_seconds(now.checked_add(wish.lapses).unwrap_or(now));
        let mut query = sqlx::query(&insert);
        for line in &lines {
            query = query.bind(&*reservation.id).bind(&*line.holder).bind(&*line.period);
            query = query.bind(wish.amount.nanos()).bind(expires);
        }
        query.execute(&mut *transaction).await.map_err(error)?;
        transaction.commit().await.map_err(error)?;
        Ok(Ok(reservation))
    }

    /// Replaces money that was set aside by a cost. A second call for the same reservation changes nothing.
    ///
    /// # Errors
    /// A place that cannot be reached or written.
    pub async fn settle(&self, id: &str, cost: Money) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let error = |error: sqlx::Error| self.error(&error);
        let of = "SELECT holder, period FROM honelm_reservations WHERE id = $1";
        let rows = sqlx::query(of).bind(id).fetch_all(&mut *transaction).await.map_err(error)?;
        let mut lines = Vec::new();
        for row in &rows {
            lines.push((row.try_get::<String, _>(0).map_err(error)?, row.try_get::<String, _>(1).map_err(error)?));
        }
        // The order in which every transaction takes rows.
        lines.sort();
        if !lines.is_empty() && cost > Money::ZERO {
            let add = format!(
                "INSERT INTO honelm_spending (holder, period, spent) VALUES {} \
                 ON CONFLICT (holder, period) DO UPDATE SET spent = honelm_spending.spent + excluded.spent",
                placeholders(1, lines.len(), 3)
            );
            let query = lines.iter().fold(sqlx::query(&add), |query, (holder, period)| {
                query.bind(&**holder).bind(&**period).bind(cost.nanos())
            });
            query.execute(&mut *transaction).await.map_err(error)?;
        }
        let remove = "DELETE FROM honelm_reservations WHERE id = $1";
        sqlx::query(remove).bind(id).execute(&mut *transaction).await.map_err(error)?;
        transaction.commit().await.map_err(error)
    }

    /// Returns what holders have spent and set aside in the present day and month, in their order.
    ///
    /// # Errors
    /// A place that cannot be reached or read.
    pub async fn spent(&self, holders: &[Holder], now: SystemTime) -> Result<Vec<Spent>, StoreError> {
        let mut spent = vec![Spent::default(); holders.len()];
        if holders.is_empty() {
            return Ok(spent);
        }
        self.ready().await?;
        let lines = lines(holders.iter().map(|holder| (holder, Budget::default())), now);
        let query = format!(
            "SELECT holder, period, spent FROM honelm_spending WHERE (holder, period) IN ({values}) \
             UNION ALL SELECT holder, period, amount FROM honelm_reservations \
             WHERE (holder, period) IN ({values}) AND expires > ${last}",
            values = values_of(&lines),
            last = 2 * lines.len() + 1,
        );
        let query = lines.iter().fold(sqlx::query(&query), |query, line| query.bind(&*line.holder).bind(&*line.period));
        let rows = query.bind(unix_seconds(now)).fetch_all(&self.read).await.map_err(|error| self.error(&error))?;
        let sums = sums(&lines, &rows).map_err(|error| self.error(&error))?;
        for (line, sum) in lines.iter().zip(sums) {
            let of = &mut spent[line.of];
            *(if line.is_day { &mut of.day } else { &mut of.month }) = sum.units();
        }
        Ok(spent)
    }

    /// Removes reservations that lapsed long ago, and the sums of past months.
    ///
    /// # Errors
    /// A place that cannot be reached or written.
    pub async fn remove_old_budgets(&self, now: SystemTime) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let error = |error: sqlx::Error| self.error(&error);
        let lapsed = unix_seconds(now.checked_sub(KEPT).unwrap_or(UNIX_EPOCH));
        let remove = "DELETE FROM honelm_reservations WHERE expires < $1";
        sqlx::query(remove).bind(lapsed).execute(&mut *transaction).await.map_err(error)?;
        let (_, month) = periods(now.checked_sub(SPENDING_KEPT).unwrap_or(UNIX_EPOCH));
        let remove = "DELETE FROM honelm_spending WHERE period < $1";
        sqlx::query(remove).bind(month).execute(&mut *transaction).await.map_err(error)?;
        transaction.commit().await.map_err(error)
    }
}

/// Takes the rows of lines for this transaction, and returns what is spent and set aside in each.
async fn taken(
    transaction: &mut Transaction<'static, Any>,
    lines: &[Line],
    now: SystemTime,
) -> Result<Vec<Money>, sqlx::Error> {
    let rows: Vec<String> = (0..lines.len()).map(|row| format!("(${}, ${}, 0)", 2 * row + 1, 2 * row + 2)).collect();
    // The update changes nothing, but another transaction with the row waits until this one ends.
    let take = format!(
        "INSERT INTO honelm_spending (holder, period, spent) VALUES {} \
         ON CONFLICT (holder, period) DO UPDATE SET spent = honelm_spending.spent RETURNING holder, period, spent",
        rows.join(", ")
    );
    let query = lines.iter().fold(sqlx::query(&take), |query, line| query.bind(&*line.holder).bind(&*line.period));
    let spent = query.fetch_all(&mut **transaction).await?;
    let set_aside = format!(
        "SELECT holder, period, CAST(SUM(amount) AS BIGINT) FROM honelm_reservations \
         WHERE (holder, period) IN ({}) AND expires > ${} GROUP BY holder, period",
        values_of(lines),
        2 * lines.len() + 1
    );
    let query = lines.iter().fold(sqlx::query(&set_aside), |query, line| query.bind(&*line.holder).bind(&*line.period));
    let reserved = query.bind(unix_seconds(now)).fetch_all(&mut **transaction).await?;
    let (spent, reserved) = (sums(lines, &spent)?, sums(lines, &reserved)?);
    Ok(spent.into_iter().zip(reserved).map(|(spent, reserved)| spent.plus(reserved)).collect())
}

/// Returns the placeholders of lines in a list: `VALUES ($1, $2), …`.
fn values_of(lines: &[Line]) -> String {
    format!("VALUES {}", placeholders(1, lines.len(), 2))
}

/// Adds rows of holder, period and amount up by line.
fn sums(lines: &[Line], rows: &[AnyRow]) -> Result<Vec<Money>, sqlx::Error> {
    let mut sums = vec![Money::ZERO; lines.len()];
    for row in rows {
        let (holder, period, amount): (&str, &str, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let of = lines.iter().zip(&mut sums).filter(|(line, _)| line.holder == holder && line.period == period);
        of.for_each(|(_, sum)| *sum = sum.plus(Money::from_nanos(amount)));
    }
    Ok(sums)
}
