//! The place of the records.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use honelm_gateway::policy::RecordSettings;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::StoreError;

/// The name of the file in the folder of this program's data.
const NAME: &str = "gateway.db";

/// The place of the records. Its text has no password.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// An SQLite file.
    File(PathBuf),
    /// A PostgreSQL database, by its address.
    Server(String),
}

impl Location {
    /// Returns the place that an address names, or the file `gateway.db` in the folder of this program's data.
    ///
    /// # Errors
    /// [`StoreError::Address`], and [`StoreError::NoFolder`] without a home.
    pub fn new(address: Option<&str>) -> Result<Self, StoreError> {
        match address {
            Some(address) => address.parse(),
            None => honelm::data_folder().map(|folder| Self::File(folder.join(NAME))).ok_or(StoreError::NoFolder),
        }
    }

    /// Returns the address as the driver reads it.
    pub(super) fn driver_address(&self) -> Result<String, StoreError> {
        match self {
            Self::File(path) => {
                let wrong = || StoreError::Address { found: self.to_string() };
                let path = std::path::absolute(path).map_err(|_| wrong())?;
                let path = path.to_str().ok_or_else(wrong)?;
                Ok(format!("sqlite://{}", utf8_percent_encode(path, NON_ALPHANUMERIC)))
            }
            Self::Server(address) => Ok(address.clone()),
        }
    }

    pub(super) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Server(_) => None,
        }
    }
}

impl FromStr for Location {
    type Err = StoreError;

    fn from_str(address: &str) -> Result<Self, StoreError> {
        if !RecordSettings::is_address(address) {
            return Err(StoreError::Address { found: without_password(address) });
        }
        Ok(match address.strip_prefix("sqlite:") {
            Some(path) => Self::File(path.strip_prefix("//").unwrap_or(path).into()),
            None => Self::Server(address.to_owned()),
        })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Server(address) => f.write_str(&without_password(address)),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Returns an address without its password and its options, which can hold one.
fn without_password(address: &str) -> String {
    let (address, _) = address.split_once('?').unwrap_or((address, ""));
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let shown = match authority.rsplit_once('@') {
        Some((user, host)) => format!("{}@{host}", user.split(':').next().unwrap_or_default()),
        None => authority.to_owned(),
    };
    format!("{scheme}://{shown}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_files_and_servers() {
        for (address, path) in [("sqlite:a b?.db", "a b?.db"), ("sqlite:///v/h.db", "/v/h.db"), ("sqlite:/v/h", "/v/h")]
        {
            assert_eq!(address.parse(), Ok(Location::File(path.into())));
        }
        let encoded = Location::File("/a b?.db".into()).driver_address().expect("an address");
        assert_eq!(encoded, "sqlite://%2Fa%20b%3F%2Edb");
        for bad in ["", "sqlite:", "sqlite::memory:", "mysql://u:secret@host/d", "records.db"] {
            let error = bad.parse::<Location>().expect_err(bad).to_string();
            assert!(error.contains("expected sqlite:PATH or postgres://") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        for (address, shown) in [
            ("postgres://me:pa@ss@db:5432/honelm", "postgres://me@db:5432/honelm"),
            ("postgres://db/honelm?password=secret", "postgres://db/honelm"),
            ("postgresql:///honelm?host=/run/postgresql", "postgresql:///honelm"),
        ] {
            let location: Location = address.parse().expect(address);
            assert_eq!((location.to_string(), format!("{location:?}")), (shown.to_owned(), shown.to_owned()));
            assert_eq!(location.driver_address().as_deref(), Ok(address));
        }
    }
}
