//! The errors of the store.

use super::Location;

/// An error of the store of records. [`StoreError::code`] returns a stable name for programs. No message has a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// An address of records is wrong.
    #[error("records: found {found:?}, expected sqlite:PATH or postgres://USER@HOST/DATABASE")]
    Address {
        /// The address.
        found: String,
    },
    /// The environment names no folder for the records.
    #[error(
        "records: found neither STATE_DIRECTORY nor a home folder, expected the key `url` of [records] or --records"
    )]
    NoFolder,
    /// There are no records.
    #[error("{place}: found no records, expected those of `honelm serve --gateway`")]
    Missing {
        /// The file or the server.
        place: String,
    },
    /// A server cannot be reached now, or a disk fails.
    #[error("{place}: cannot be used now: {problem}")]
    Unreachable {
        /// The file or the server.
        place: String,
        /// The problem as the system or the driver reports it.
        problem: String,
    },
    /// Another program holds the lock of the file.
    #[error("{place}: another program has locked it; it is tried again with the next request")]
    Locked {
        /// The file.
        place: String,
    },
    /// There is no room on the disk.
    #[error("{place}: the disk is full; nothing can be recorded until there is room")]
    Full {
        /// The file or the server.
        place: String,
    },
    /// A file is damaged, or no file of records.
    #[error("{place}: found {found}, expected records of HoneLM; move the file away and a new one is made")]
    Corrupt {
        /// The file.
        place: String,
        /// The content found.
        found: String,
    },
    /// The tables have another version.
    #[error("{place}: found tables of version {found}, expected at most {expected}; a newer HoneLM made them")]
    Newer {
        /// The file or the server.
        place: String,
        /// The version.
        found: i64,
        /// The newest version that this program knows.
        expected: i64,
    },
    /// The tables have an older version, and the command only reads.
    #[error("{place}: found tables of version {found}, expected {expected}; `honelm serve --gateway` updates them")]
    Older {
        /// The file or the server.
        place: String,
        /// The version.
        found: i64,
        /// The version of this program.
        expected: i64,
    },
    /// The records are in another currency.
    #[error("{place}: found records in {found}, expected {expected}; amounts of two currencies cannot be added")]
    Currency {
        /// The file or the server.
        place: String,
        /// The currency of the records.
        found: String,
        /// The currency of the gateway file.
        expected: String,
    },
    /// A row is wrong.
    #[error("{place}: record {id}: {field}: found {found:?}, expected {expected}")]
    Row {
        /// The file or the server.
        place: String,
        /// The id of the record.
        id: String,
        /// The column.
        field: &'static str,
        /// The value.
        found: String,
        /// The values that are right.
        expected: &'static str,
    },
    /// The database refuses an operation.
    #[error("{place}: {problem}")]
    Database {
        /// The file or the server.
        place: String,
        /// The problem as the database reports it.
        problem: String,
    },
}

impl StoreError {
    /// Returns a stable code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Address { .. } => "invalid-records-address",
            Self::NoFolder => "no-records-folder",
            Self::Missing { .. } => "no-records",
            Self::Unreachable { .. } => "records-unreachable",
            Self::Locked { .. } => "records-locked",
            Self::Full { .. } => "records-disk-full",
            Self::Corrupt { .. } => "corrupt-records",
            Self::Newer { .. } => "newer-records",
            Self::Older { .. } => "older-records",
            Self::Currency { .. } => "other-currency",
            Self::Row { .. } => "invalid-record",
            Self::Database { .. } => "records-database",
        }
    }

    /// Returns `true` for a problem that can pass by itself.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Locked { .. } | Self::Full { .. })
    }

    /// Converts an error of the database driver.
    pub(super) fn of(location: &Location, error: &sqlx::Error) -> Self {
        let place = location.to_string();
        let problem = one_line(&error.to_string());
        match error {
            sqlx::Error::Database(database) => {
                let code = database.code().unwrap_or_default();
                match location {
                    Location::File(_) => Self::of_sqlite(place, &code, one_line(database.message())),
                    Location::Server(_) => Self::of_postgres(place, &code, one_line(database.message())),
                }
            }
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) => Self::Unreachable { place, problem },
            sqlx::Error::PoolTimedOut => Self::Unreachable { place, problem: "no connection in time".to_owned() },
            sqlx::Error::Configuration(_) => Self::Address { found: place },
            _ => Self::Database { place, problem },
        }
    }

    /// Converts an error of SQLite by its code. The lower eight bits name the class.
    fn of_sqlite(place: String, code: &str, problem: String) -> Self {
        const BUSY: u32 = 5;
        const LOCKED: u32 = 6;
        const DISK: u32 = 10;
        const CORRUPT: u32 = 11;
        const FULL: u32 = 13;
        const NOT_A_DATABASE: u32 = 26;
        match code.parse::<u32>().unwrap_or(0) & 0xff {
            BUSY | LOCKED => Self::Locked { place },
            DISK => Self::Unreachable { place, problem },
            FULL => Self::Full { place },
            CORRUPT => Self::Corrupt { place, found: "a damaged file".to_owned() },
            NOT_A_DATABASE => Self::Corrupt { place, found: "a file of another kind".to_owned() },
            _ => Self::Database { place, problem },
        }
    }

    /// Converts an error of PostgreSQL by its code.
    fn of_postgres(place: String, code: &str, problem: String) -> Self {
        match code {
            "53100" => Self::Full { place },
            // Classes: connection, resources, operator's intervention.
            _ if ["08", "53", "57"].iter().any(|class| code.starts_with(class)) => Self::Unreachable { place, problem },
            _ => Self::Database { place, problem },
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_databases_become_their_cause() {
        let sqlite = |code: &str| StoreError::of_sqlite("r.db".to_owned(), code, "problem".to_owned()).code();
        // Among them extended codes: busy in recovery, a failed write, a corrupt index.
        assert_eq!(
            ["5", "261", "778", "13", "11", "779", "26", "14", "1", "?"].map(sqlite),
            [
                "records-locked",
                "records-locked",
                "records-unreachable",
                "records-disk-full",
                "corrupt-records",
                "corrupt-records",
                "corrupt-records",
                "records-database",
                "records-database",
                "records-database",
            ]
        );
        let postgres = |code: &str| StoreError::of_postgres("p".to_owned(), code, "problem".to_owned()).code();
        assert_eq!(
            ["53100", "28P01", "57P03", "3D000", "42P01"].map(postgres),
            ["records-disk-full", "records-database", "records-unreachable", "records-database", "records-database",]
        );
    }
}
