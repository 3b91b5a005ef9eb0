//! The store of budgets and records: an SQLite file, or a PostgreSQL database that several gateways share.
//!
//! The statements are the same for both. A change of money is one transaction: it takes the rows of all budgets that it touches,
//! in one order, so that two gateways wait for each other and never both find the same money.

mod accounts;
mod budgets;
mod error;
mod location;
mod records;
mod schema;
mod usage;

use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{Any, AnyPool, ConnectOptions, Transaction};
use tokio::sync::OnceCell;

pub use accounts::StoredAccounts;
pub use budgets::Exhausted;
pub use error::StoreError;
pub use location::Location;
pub use records::Identified;
pub use usage::{By, Group, day_begin};

/// The time for which a gateway waits for another program that holds the lock of a file.
const PATIENCE: Duration = Duration::from_secs(2);

/// The time for which a request waits for a connection, behind others.
const QUEUED: Duration = Duration::from_secs(5);

/// A transaction of PostgreSQL whose statements see what others have committed, whatever the default of the database.
const READ_COMMITTED: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// The connections to a PostgreSQL database, for requests and for pages each.
const CONNECTIONS: u32 = 4;

/// A store of budgets and records.
#[derive(Debug)]
pub struct Store {
    location: Location,
    /// The connection of an SQLite file that writes, or the connections to a server.
    write: AnyPool,
    /// The connections for pages and sums, which then do not delay requests.
    read: AnyPool,
    /// Set once the tables are right.
    ready: OnceCell<()>,
    /// The currency of all amounts; `None` to accept that of the records.
    currency: Option<String>,
}

impl Store {
    /// Creates the store of a gateway. Nothing is opened yet.
    ///
    /// # Errors
    /// [`StoreError::Address`].
    pub fn new(location: Location, currency: &str) -> Result<Self, StoreError> {
        Self::with(location, Some(currency.to_owned()))
    }

    /// Opens records to read them.
    ///
    /// # Errors
    /// As [`Store::ready`], and [`StoreError::Missing`] and [`StoreError::Older`] for records that only a gateway creates or updates.
    pub async fn open(location: Location) -> Result<Self, StoreError> {
        if let Some(path) = location.file()
            && !path.exists()
        {
            return Err(StoreError::Missing { place: location.to_string() });
        }
        let store = Self::with(location, None)?;
        store.ready.get_or_try_init(|| schema::check(&store)).await?;
        Ok(store)
    }

    fn with(location: Location, currency: Option<String>) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let of = |error: &sqlx::Error| StoreError::of(&location, error);
        let options: AnyConnectOptions = location.driver_address()?.parse().map_err(|error| of(&error))?;
        let options = options.disable_statement_logging();
        let is_file = location.file().is_some();
        let pool = |connections| {
            let mut pool = AnyPoolOptions::new().max_connections(connections).acquire_timeout(QUEUED);
            if is_file {
                // A connection to a file does not break, and its settings stay.
                pool = pool.max_lifetime(None).idle_timeout(None).test_before_acquire(false);
            }
            pool.connect_lazy_with(options.clone())
        };
        let (write, read) = (pool(if is_file { 1 } else { CONNECTIONS }), pool(if is_file { 2 } else { CONNECTIONS }));
        Ok(Self { location, write, read, ready: OnceCell::new(), currency })
    }

    /// Creates or updates the tables, unless that was done.
    ///
    /// # Errors
    /// A place that cannot be reached or read, tables of a newer version, records in another currency.
    pub async fn ready(&self) -> Result<(), StoreError> {
        self.ready.get_or_try_init(|| schema::update(self)).await.map(drop)
    }

    /// Returns the place.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Returns the currency of the records; `None` if no gateway has used them.
    ///
    /// # Errors
    /// A place that cannot be reached or read.
    pub async fn currency(&self) -> Result<Option<String>, StoreError> {
        self.ready().await?;
        schema::currency(&self.read).await.map_err(|error| self.error(&error))
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.write.close().await;
        self.read.close().await;
    }

    /// Begins a transaction that will write.
    async fn begin(&self) -> Result<Transaction<'static, Any>, StoreError> {
        self.ready().await?;
        // SQLite would otherwise take the lock at the first write, when another writer may have been faster.
        let statement = if self.location.file().is_some() { "BEGIN IMMEDIATE" } else { READ_COMMITTED };
        self.write.begin_with(statement).await.map_err(|error| self.error(&error))
    }

    fn error(&self, error: &sqlx::Error) -> StoreError {
        StoreError::of(&self.location, error)
    }
}

/// Returns `rows` lists of `columns` placeholders for a statement: `($1, $2), ($3, $4)`. They begin at number `first`.
fn placeholders(first: usize, rows: usize, columns: usize) -> String {
    let row = |row: usize| {
        let names: Vec<String> = (0..columns).map(|at| format!("${}", first + row * columns + at)).collect();
        format!("({})", names.join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
}
