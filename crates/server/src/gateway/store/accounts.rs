//! The store as the accounts of a gateway: requests do not wait for records, and a failure is said once.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use honelm_gateway::accounting::Money;
use honelm_gateway::policy::Spent;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::records::Identified;
use super::{By, Group, Store, StoreError};
use crate::config::LogFormat;
use crate::gateway::accounts::{Accounts, AccountsError, Holder, Record, Reply, Reservation, Wish};
use crate::{ids, log};

/// The records that wait to be written. Further ones are lost, and counted.
const QUEUE: usize = 4096;
/// The records of one transaction.
const BATCH: usize = 256;
/// The time for which a record waits for others.
const GATHERED: Duration = Duration::from_millis(50);
/// The pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);
/// The time between two removals of old records.
const CLEANING: Duration = Duration::from_secs(3600);
/// The time that the end of a server waits for records to be written.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The accounts of a gateway in a [`Store`]. Dropping them ends their task once all records are written.
pub struct StoredAccounts {
    store: Arc<Store>,
    queue: mpsc::Sender<Item>,
    health: Arc<Health>,
}

/// A change that a request need not wait for.
enum Item {
    Record(Box<Identified>),
    /// A settlement that failed at first.
    Settle(String, Money),
    /// A question whether all earlier items are written.
    Flush(oneshot::Sender<()>),
}

/// The state of the store as the last operation found it.
#[derive(Debug)]
struct Health {
    format: LogFormat,
    /// The problem, and the time at which it was found last.
    problem: Mutex<Option<(StoreError, Instant)>>,
    lost: AtomicU64,
}

impl Health {
    /// Notes the outcome of an operation. The log has the first failure, and the first success after it.
    fn note<T>(&self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        let mut problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        let said = match (&outcome, problem.take()) {
            (Ok(_), None) => None,
            (Ok(_), Some(_)) => {
                let lost = self.lost.load(Ordering::Relaxed);
                Some(format!("records: written again; {lost} were lost so far"))
            }
            (Err(error), before) => {
                *problem = Some((error.clone(), Instant::now()));
                let budgets = "requests that need a budget stay on the device until it is solved";
                before.is_none().then(|| format!("warning: {error}; {budgets}"))
            }
        };
        drop(problem);
        if let Some(said) = said {
            log::message(self.format, &said);
        }
        outcome
    }

    /// Returns the problem of a moment ago. Further requests need not wait to find it again.
    fn check(&self) -> Result<(), StoreError> {
        let problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = problem.as_ref().filter(|(_, found)| found.elapsed() < PAUSE);
        recent.map_or(Ok(()), |(error, _)| Err(error.clone()))
    }
}

impl From<StoreError> for AccountsError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

impl StoredAccounts {
    /// Opens a store, and starts the task that writes records and removes those older than `keep_days`; 0 keeps all. Must be called
    /// within a runtime.
    ///
    /// # Errors
    /// A store that does not become right by itself: a damaged file, tables of a newer version, another currency. A server that is away
    /// is tried again.
    pub async fn open(store: Store, keep_days: u32, format: LogFormat) -> Result<Self, StoreError> {
        let health = Arc::new(Health { format, problem: Mutex::new(None), lost: AtomicU64::new(0) });
        if let Err(error) = health.note(store.ready().await)
            && !error.is_passing()
        {
            return Err(error);
        }
        let store = Arc::new(store);
        let (queue, items) = mpsc::channel(QUEUE);
        let writer = Writer { store: Arc::clone(&store), health: Arc::clone(&health), keep_days, waiting: Vec::new() };
        tokio::spawn(writer.run(items));
        Ok(Self { store, queue, health })
    }

    /// Returns the store.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    fn send(&self, item: Item) -> Result<(), AccountsError> {
        self.queue.try_send(item).map_err(|error| {
            self.health.lost.fetch_add(1, Ordering::Relaxed);
            let why = match error {
                TrySendError::Full(_) => "too many records wait to be written",
                TrySendError::Closed(_) => "the task that writes records has ended",
            };
            AccountsError::Store(format!("{}: {why}", self.store.location()))
        })
    }
}

impl Accounts for StoredAccounts {
    fn reserve(&self, wish: Wish) -> Reply<'_, Reservation> {
        Box::pin(async move {
            if !wish.holders.is_empty() {
                self.health.check()?;
            }
            let reserved = self.health.note(self.store.reserve(&wish, SystemTime::now()).await)?;
            reserved.map_err(|(holder, period)| AccountsError::Exhausted { holder, period })
        })
    }

    fn settle(&self, reservation: Reservation, cost: Money) -> Reply<'_, ()> {
        Box::pin(async move {
            if reservation.holders.is_empty() {
                return Ok(());
            }
            match self.health.note(self.store.settle(&reservation.id, cost).await) {
                Ok(()) => Ok(()),
                // The money stays set aside until the settlement succeeds or the reservation lapses.
                Err(_) => self.send(Item::Settle(reservation.id, cost)),
            }
        })
    }

    fn spent<'a>(&'a self, holders: &'a [Holder]) -> Reply<'a, Vec<Spent>> {
        Box::pin(async move {
            if !holders.is_empty() {
                self.health.check()?;
            }
            Ok(self.health.note(self.store.spent(holders, SystemTime::now()).await)?)
        })
    }

    fn record(&self, record: Record) -> Reply<'_, ()> {
        let item = Item::Record(Box::new(Identified { id: ids::new("request_"), record }));
        let sent = self.send(item);
        Box::pin(std::future::ready(sent))
    }

    fn recent(&self, most: usize) -> Reply<'_, Vec<Record>> {
        Box::pin(async move { Ok(self.store.recent(most).await?) })
    }

    fn sums(&self, since: SystemTime, by: By) -> Reply<'_, Vec<Group>> {
        Box::pin(async move { Ok(self.store.usage(since, by).await?) })
    }

    fn flush(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let (sender, receiver) = oneshot::channel();
        let flushed = async {
            if self.queue.send(Item::Flush(sender)).await.is_ok() {
                let _ = receiver.await;
            }
        };
        Box::pin(async move { drop(timeout(LAST_WORDS, flushed).await) })
    }

    fn problem(&self) -> Option<String> {
        self.health
            .problem
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .map(|(problem, _)| problem.to_string())
    }

    fn lost(&self) -> u64 {
        self.health.lost.load(Ordering::Relaxed)
    }
}

/// The task that writes what requests do not wait for.
struct Writer {
    store: Arc<Store>,
    health: Arc<Health>,
    keep_days: u32,
    /// The records that are not written yet.
    waiting: Vec<Identified>,
}

impl Writer {
    async fn run(mut self, mut items: mpsc::Receiver<Item>) {
        let mut cleaning = Instant::now();
        let mut settlements: Vec<(String, Money)> = Vec::new();
        let mut questions = Vec::new();
        loop {
            if Instant::now() >= cleaning {
                cleaning += CLEANING;
                self.clean().await;
            }
            let is_open = self.gather(&mut items, cleaning, &mut settlements, &mut questions).await;
            let is_written = self.write(&mut settlements).await;
            if is_written {
                questions.drain(..).for_each(|question: oneshot::Sender<()>| _ = question.send(()));
            }
            if !is_open && (is_written || items.is_empty()) {
                return;
            }
            if !is_written {
                sleep(PAUSE).await;
            }
        }
    }

    /// Gathers items for a transaction. Returns `false` once nobody can send further ones.
    async fn gather(
        &mut self,
        items: &mut mpsc::Receiver<Item>,
        until: Instant,
        settlements: &mut Vec<(String, Money)>,
        questions: &mut Vec<oneshot::Sender<()>>,
    ) -> bool {
        let mut until = if self.waiting.is_empty() && settlements.is_empty() { until } else { Instant::now() };
        while self.waiting.len() < BATCH {
            match timeout_at(until, items.recv()).await {
                Ok(Some(Item::Record(record))) => self.waiting.push(*record),
                Ok(Some(Item::Settle(id, cost))) => settlements.push((id, cost)),
                Ok(Some(Item::Flush(question))) => {
                    questions.push(question);
                    return true;
                }
                Ok(None) => return false,
                Err(_) => return true,
            }
            until = until.min(Instant::now() + GATHERED);
        }
        true
    }

    /// Writes all that waits. Returns `false` if that failed.
    async fn write(&mut self, settlements: &mut Vec<(String, Money)>) -> bool {
        while let Some((id, cost)) = settlements.last() {
            if self.health.note(self.store.settle(id, *cost).await).is_err() {
                return false;
            }
            settlements.pop();
        }
        if self.waiting.is_empty() {
            return true;
        }
        let mut outcome = self.store.add(&self.waiting).await;
        if matches!(outcome, Err(StoreError::Database { .. })) && self.waiting.len() > 1 {
            outcome = self.write_one_by_one().await;
        }
        match self.health.note(outcome) {
            Ok(()) => self.waiting.clear(),
            // The database does not take this record, now or later.
            Err(StoreError::Database { .. }) => {
                self.health.lost.fetch_add(self.waiting.len() as u64, Ordering::Relaxed);
                self.waiting.clear();
            }
            Err(_) => return false,
        }
        true
    }

    /// Writes records that the database does not take together. Those that it does not take alone stay.
    async fn write_one_by_one(&mut self) -> Result<(), StoreError> {
        let mut outcome = Ok(());
        let mut refused = Vec::new();
        let mut records = std::mem::take(&mut self.waiting).into_iter();
        for record in records.by_ref() {
            match self.store.add(std::slice::from_ref(&record)).await {
                Ok(()) => {}
                Err(error) => {
                    let is_of_record = matches!(error, StoreError::Database { .. });
                    outcome = Err(error);
                    refused.push(record);
                    if !is_of_record {
                        break;
                    }
                }
            }
        }
        refused.extend(records);
        self.waiting = refused;
        outcome
    }

    /// Removes old records and budgets.
    async fn clean(&self) {
        let now = SystemTime::now();
        let _ = self.health.note(self.store.remove_old_budgets(now).await);
        let kept = Duration::from_secs(u64::from(self.keep_days) * 86_400);
        if self.keep_days > 0
            && let Some(first) = now.checked_sub(kept)
        {
            let _ = self.health.note(self.store.remove_records_before(first).await);
        }
    }
}
