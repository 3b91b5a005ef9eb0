//! The accounts of a gateway: the money of budgets, and a record of each answered request.
//!
//! [`Accounts`] is the boundary to a store. [`Memory`] is the store of one process without a file.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use honelm_gateway::accounting::Money;
use honelm_gateway::accounting::Usage;
use honelm_gateway::policy::{Budget, Spent};
use serde::Serialize;

use super::store::{By, Group};
use crate::ids;

/// The answer of a store.
pub type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T, AccountsError>> + Send + 'a>>;

/// The records that [`Memory`] keeps.
const KEPT: usize = 1000;

/// The owner of a budget.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// An upstream, by its name.
    Upstream(String),
    /// A client, by its name.
    Client(String),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upstream(name) => write!(f, "the upstream {name:?}"),
            Self::Client(name) => write!(f, "the client {name:?}"),
        }
    }
}

/// The money that a request may cost, asked for before it is sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    /// The budgets that must all hold it. Only holders with a budget are listed.
    pub holders: Vec<(Holder, Budget)>,
    /// The amount: the cost of the longest answer.
    pub amount: Money,
    /// The time after which the reservation lapses if nobody settles it, as after a crash.
    pub lapses: Duration,
}

/// Money that was set aside for a request in all budgets of its wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The id, which nobody can guess.
    pub id: String,
    /// The holders.
    pub holders: Vec<Holder>,
    /// The amount.
    pub amount: Money,
}

/// The record of an answered request. It holds no text of the request or the answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Record {
    /// The time of the request.
    #[serde(skip)]
    pub time: SystemTime,
    /// The name of the client; `None` for one without a `[[client]]` table.
    pub client: Option<String>,
    /// The model that answered, or finished the answer.
    pub model: String,
    /// The upstream that answered, or began the answer.
    pub upstream: Option<String>,
    /// `local`, `cloud` or `refused`. An answer that the device finished is `local`.
    pub route: Cow<'static, str>,
    /// The code of the reason: `cloud-first`, `gain`, `upstream-failed`, ...
    pub reason: String,
    /// `true` if the device answered only because the cloud was away.
    pub degraded: bool,
    /// `true` if the cloud began the answer and the device finished it.
    pub continued: bool,
    /// `true` if the client got a complete answer; `false` for an error, or a client that left.
    pub complete: bool,
    /// The tokens.
    #[serde(flatten)]
    pub usage: Usage,
    /// The cost of all attempts.
    #[serde(skip)]
    pub cost: Money,
    /// The cost of the same tokens at the preferred upstream.
    #[serde(skip)]
    pub cloud_only_cost: Money,
    /// The energy of the device in joules, where it could be read.
    pub energy_joules: Option<f64>,
    /// The number of replaced values of each kind of private data, by Presidio's names.
    pub replaced: BTreeMap<Cow<'static, str>, usize>,
    /// The time from the request to the first token of the answer, in seconds.
    pub first_token_seconds: Option<f64>,
    /// The time from the request to the end, in seconds.
    pub seconds: f64,
    /// The failures of upstreams on the way: their names and the codes of their failures.
    pub failures: Vec<(String, Cow<'static, str>)>,
}

/// A store that cannot give money, or cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountsError {
    /// A budget would be exceeded.
    #[error("the budget of {holder} for the {period} is spent")]
    Exhausted {
        /// The owner of the budget.
        holder: Holder,
        /// `day` or `month`.
        period: &'static str,
    },
    /// The store does not work. Nothing that has a budget may be sent then.
    #[error("the records cannot be used: {0}")]
    Store(String),
}

/// A store of budgets and records. Days and months are those of UTC.
pub trait Accounts: Send + Sync {
    /// Sets money aside in all budgets of a wish at once, or in none. What is spent and what is set aside never exceeds a
    /// budget together, whatever the number of gateways.
    ///
    /// # Errors
    /// [`AccountsError::Exhausted`], [`AccountsError::Store`].
    fn reserve(&self, wish: Wish) -> Reply<'_, Reservation>;

    /// Replaces money that was set aside by the cost of the request, which can be 0. Counts it in the day and month of the
    /// reservation.
    ///
    /// # Errors
    /// [`AccountsError::Store`].
    fn settle(&self, reservation: Reservation, cost: Money) -> Reply<'_, ()>;

    /// Returns what holders have spent and set aside in the present day and month, in their order.
    ///
    /// # Errors
    /// [`AccountsError::Store`].
    fn spent<'a>(&'a self, holders: &'a [Holder]) -> Reply<'a, Vec<Spent>>;

    /// Keeps the record of a request.
    ///
    /// # Errors
    /// [`AccountsError::Store`].
    fn record(&self, record: Record) -> Reply<'_, ()>;

    /// Returns the last `most` records, the newest first.
    ///
    /// # Errors
    /// [`AccountsError::Store`].
    fn recent(&self, most: usize) -> Reply<'_, Vec<Record>>;

    /// Returns the sums of the records since a time, by the names of their groups.
    ///
    /// # Errors
    /// [`AccountsError::Store`].
    fn sums(&self, since: SystemTime, by: By) -> Reply<'_, Vec<Group>>;

    /// Waits until earlier records are written, for a few seconds at most.
    fn flush(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }

    /// Returns the present problem of the store.
    fn problem(&self) -> Option<String> {
        None
    }

    /// Returns the number of records that could not be written.
    fn lost(&self) -> u64 {
        0
    }
}

/// A store in memory, for one process. Its budgets begin anew with the process.
#[derive(Debug, Default)]
pub struct Memory(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// What was spent, by holder and day since 1970. Reserved money counts as spent.
    spent: BTreeMap<(Holder, i64), Money>,
    /// The reservations by id: the day, the wish's holders and amount, and the time at which they lapse.
    open: BTreeMap<String, (i64, Reservation, SystemTime)>,
    records: VecDeque<Record>,
}

impl Memory {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the days since 1970, and the first day of their month.
fn day_of(time: SystemTime) -> (i64, i64) {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let day = i64::try_from(seconds / 86_400).unwrap_or(i64::MAX);
    let date = jiff::Timestamp::from_second(i64::try_from(seconds).unwrap_or(0)).unwrap_or_default();
    let of_month = date.to_zoned_datetime(jiff::tz::TimeZone::UTC).day();
    (day, day - i64::from(of_month) + 1)
}

impl State {
    fn spent(&self, holder: &Holder, day: i64, first: i64) -> Spent {
        let sum = |from: i64| {
            let days = self.spent.range((holder.clone(), from)..=(holder.clone(), day));
            days.fold(Money::ZERO, |sum, (_, money)| sum.plus(*money)).units()
        };
        Spent { day: sum(day), month: sum(first) }
    }

    /// Gives back the money of reservations that nobody settled.
    fn lapse(&mut self, now: SystemTime) {
        let lapsed: Vec<String> =
            self.open.iter().filter(|(_, (.., until))| *until <= now).map(|(id, _)| id.clone()).collect();
        for id in lapsed {
            self.settle(&id, Money::ZERO);
        }
    }

    fn settle(&mut self, id: &str, cost: Money) {
        let Some((day, reservation, _)) = self.open.remove(id) else { return };
        for holder in reservation.holders {
            let spent = self.spent.entry((holder, day)).or_default();
            *spent = spent.minus(reservation.amount).plus(cost);
        }
    }

    fn reserve(&mut self, wish: Wish, now: SystemTime) -> Result<Reservation, AccountsError> {
        self.lapse(now);
        let (day, first) = day_of(now);
        for (holder, budget) in &wish.holders {
            let spent = self.spent(holder, day, first);
            let period = |budget: Budget| budget.is_exceeded(spent, wish.amount.units());
            let over = match () {
                () if period(Budget { month: None, ..*budget }) => "day",
                () if period(Budget { day: None, ..*budget }) => "month",
                () => continue,
            };
            return Err(AccountsError::Exhausted { holder: holder.clone(), period: over });
        }
        let holders: Vec<Holder> = wish.holders.into_iter().map(|(holder, _)| holder).collect();
        for holder in &holders {
            let spent = self.spent.entry((holder.clone(), day)).or_default();
            *spent = spent.plus(wish.amount);
        }
        let reservation = Reservation { id: ids::new("reservation_"), holders, amount: wish.amount };
        self.open.insert(reservation.id.clone(), (day, reservation.clone(), now + wish.lapses));
        Ok(reservation)
    }
}

impl Accounts for Memory {
    fn reserve(&self, wish: Wish) -> Reply<'_, Reservation> {
        let reserved = self.state().reserve(wish, SystemTime::now());
        Box::pin(std::future::ready(reserved))
    }

    fn settle(&self, reservation: Reservation, cost: Money) -> Reply<'_, ()> {
        self.state().settle(&reservation.id, cost);
        Box::pin(std::future::ready(Ok(())))
    }

    fn spent<'a>(&'a self, holders: &'a [Holder]) -> Reply<'a, Vec<Spent>> {
        let (day, first) = day_of(SystemTime::now());
        let mut state = self.state();
        state.lapse(SystemTime::now());
        let spent = holders.iter().map(|holder| state.spent(holder, day, first)).collect();
        drop(state);
        Box::pin(std::future::ready(Ok(spent)))
    }

    fn record(&self, record: Record) -> Reply<'_, ()> {
        let mut state = self.state();
        state.records.push_front(record);
        state.records.truncate(KEPT);
        drop(state);
        Box::pin(std::future::ready(Ok(())))
    }

    fn recent(&self, most: usize) -> Reply<'_, Vec<Record>> {
        let records = self.state().records.iter().take(most).cloned().collect();
        Box::pin(std::future::ready(Ok(records)))
    }

    fn sums(&self, since: SystemTime, by: By) -> Reply<'_, Vec<Group>> {
        let groups = Group::of(self.state().records.iter().filter(|record| record.time >= since), by);
        Box::pin(std::future::ready(Ok(groups)))
    }
}

#[cfg(test)]
mod tests {
    use honelm_gateway::accounting::Amount;

    use super::*;

    fn wish(amount: f64) -> Wish {
        let day = Some(Amount::try_from(1.0).expect("an amount"));
        let month = Some(Amount::try_from(1.5).expect("an amount"));
        let upstream = (Holder::Upstream("u".to_owned()), Budget { day, month: None });
        let client = (Holder::Client("c".to_owned()), Budget { day: None, month });
        let amount = Money::from_units(amount);
        Wish { holders: vec![upstream, client], amount, lapses: Duration::from_secs(60) }
    }

    #[test]
    fn money_is_set_aside_in_all_budgets_or_in_none() {
        let (mut state, now) = (State::default(), UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let first = state.reserve(wish(0.75), now).expect("room");
        let refused = state.reserve(wish(0.5), now).expect_err("the day's budget");
        assert_eq!(
            refused,
            AccountsError::Exhausted { holder: Holder::Upstream("u".to_owned()), period: "day" },
            "{refused}"
        );
        state.settle(&first.id, Money::from_units(0.25));
        let (day, month) = day_of(now);
        let client = Holder::Client("c".to_owned());
        assert_eq!(state.spent(&client, day, month), Spent { day: 0.25, month: 0.25 });
        state.reserve(wish(0.75), now).expect("room again");
        let tomorrow = now + Duration::from_secs(86_400);
        // Nobody settled it, so that it lapses.
        assert_eq!(state.reserve(wish(0.75), tomorrow).expect("a new day").amount, Money::from_units(0.75));
        assert_eq!(state.spent(&client, day + 1, month), Spent { day: 0.75, month: 1.0 });
        let refused = state.reserve(wish(0.75), tomorrow + Duration::from_secs(30)).expect_err("the budgets");
        assert!(matches!(refused, AccountsError::Exhausted { period: "day", .. }), "{refused}");
    }

    #[test]
    fn months_are_those_of_the_calendar() {
        let time = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        // 29 February 2024 and 1 March 2024.
        assert_eq!(day_of(time(1_709_164_800)), (19_782, 19_754));
        assert_eq!(day_of(time(1_709_251_200)), (19_783, 19_783));
    }
}
