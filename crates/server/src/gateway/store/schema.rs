//! The tables and their versions.

use std::borrow::Cow;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{AnyPool, Executor, Row};

use super::{Location, PATIENCE, Store, StoreError};

/// The versions of the tables. A version that was published never changes.
const VERSIONS: [(&str, &str); 2] = [
    ("records", include_str!("migrations/0001_records.sql")),
    ("budgets", include_str!("migrations/0002_budgets.sql")),
];

/// The tries to update a file, and the time between two.
const TRIES: usize = 20;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// The newest version.
const NEWEST: i64 = VERSIONS.len() as i64;

fn migrator() -> Migrator {
    let migration = |(version, (name, text)): (i64, (&'static str, &'static str))| {
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, Cow::Borrowed(text), false)
    };
    Migrator { migrations: (1..).zip(VERSIONS).map(migration).collect(), ..Migrator::DEFAULT }
}

/// Creates the file if there is none, brings the tables to the newest version, and compares the currency.
pub(super) async fn update(store: &Store) -> Result<(), StoreError> {
    let Store { location, write, .. } = store;
    if let Some(path) = location.file() {
        create(path).map_err(|problem| StoreError::Database { place: location.to_string(), problem })?;
        refuse_foreign_tables(store).await?;
        // A reader does not wait for the writer. A crash of the system can lose the last transactions, never the file.
        let settings = format!(
            "PRAGMA busy_timeout = {}; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL",
            PATIENCE.as_millis()
        );
        write.execute(&*settings).await.map_err(|error| store.error(&error))?;
    }
    migrate(store).await?;
    let Some(expected) = &store.currency else { return Ok(()) };
    let set = "INSERT INTO honelm_settings (name, value) VALUES ('currency', $1) ON CONFLICT (name) DO NOTHING";
    sqlx::query(set).bind(expected.as_str()).execute(write).await.map_err(|error| store.error(&error))?;
    match currency(write).await.map_err(|error| store.error(&error))? {
        Some(found) if found != *expected => {
            Err(StoreError::Currency { place: location.to_string(), found, expected: expected.clone() })
        }
        _ => Ok(()),
    }
}

/// Brings the tables to the newest version. Updates of an SQLite file take no lock, so the slower of two gateways finds the work of the
/// other one half done, and tries again.
async fn migrate(store: &Store) -> Result<(), StoreError> {
    let mut tries = if store.location.file().is_some() { TRIES } else { 1 };
    loop {
        let Err(error) = migrator().run(&store.write).await else { return Ok(()) };
        tries -= 1;
        let can_pass = matches!(error, MigrateError::Execute(_) | MigrateError::ExecuteMigration(..));
        let found = of_migration(&store.location, &error);
        if tries == 0 || !can_pass || matches!(found, StoreError::Corrupt { .. } | StoreError::Full { .. }) {
            return Err(found);
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
}

/// Checks that the tables have the newest version.
pub(super) async fn check(store: &Store) -> Result<(), StoreError> {
    let place = || store.location.to_string();
    let query = "SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations";
    let found: i64 = match sqlx::query_scalar(query).fetch_one(&store.read).await.map_err(|error| store.error(&error)) {
        // The table is missing.
        Err(StoreError::Database { problem, .. }) if problem.contains("_sqlx_migrations") => {
            return Err(StoreError::Missing { place: place() });
        }
        found => found?,
    };
    match found {
        NEWEST => Ok(()),
        _ if found > NEWEST => Err(StoreError::Newer { place: place(), found, expected: NEWEST }),
        _ => Err(StoreError::Older { place: place(), found, expected: NEWEST }),
    }
}

/// Returns the currency of the records.
pub(super) async fn currency(pool: &AnyPool) -> Result<Option<String>, sqlx::Error> {
    let query = "SELECT value FROM honelm_settings WHERE name = 'currency'";
    let row = sqlx::query(query).fetch_optional(pool).await?;
    row.map(|row| row.try_get(0)).transpose()
}

/// Creates a file that only this user can read.
fn create(path: &std::path::Path) -> Result<(), String> {
    if path.exists() {
        return if path.is_file() { Ok(()) } else { Err("found no regular file, expected one".to_owned()) };
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error.to_string()),
        _ => Ok(()),
    }
}

/// Refuses the SQLite file of another program.
async fn refuse_foreign_tables(store: &Store) -> Result<(), StoreError> {
    let query = "SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' AND name <> '_sqlx_migrations' \
                 AND tbl_name NOT LIKE 'honelm_%' LIMIT 1";
    let found = sqlx::query(query).fetch_optional(&store.write).await.map_err(|error| store.error(&error))?;
    let Some(row) = found else { return Ok(()) };
    let name: String = row.try_get(0).map_err(|error| store.error(&error))?;
    Err(StoreError::Corrupt {
        place: store.location.to_string(),
        found: format!("the table {name:?} of another program"),
    })
}

fn of_migration(location: &Location, error: &MigrateError) -> StoreError {
    let place = location.to_string();
    let corrupt = |found: &str| StoreError::Corrupt { place: place.clone(), found: found.to_owned() };
    match error {
        MigrateError::VersionMissing(found) => StoreError::Newer { place, found: *found, expected: NEWEST },
        MigrateError::VersionMismatch(version) => corrupt(&format!("a changed version {version} of the tables")),
        MigrateError::Dirty(version) => corrupt(&format!("a half-made version {version} of the tables")),
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => StoreError::of(location, error),
        other => StoreError::Database { place, problem: other.to_string() },
    }
}
