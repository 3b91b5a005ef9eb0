//! The values of a request and what stands for them.

use std::collections::{HashMap, HashSet};
use std::fmt;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::surrogate::{self, Source};
use super::{Kind, Restorer};
use crate::{GatewayError, Result};

/// The most values of a vault.
const LIMIT: usize = 20_000;

/// A value and what stands for it.
pub(crate) struct Entry {
    pub value: Zeroizing<String>,
    pub surrogate: String,
    pub kind: Kind,
    /// A word of a name that was replaced as a whole.
    pub part: bool,
}

/// The private values of one request or conversation, in memory only, with their surrogates. Values are overwritten when
/// the vault is dropped.
///
/// A surrogate follows from the key and the value, so that the same value gets the same surrogate in each request of a
/// conversation whose vaults have the same key, and an unchanged history stays unchanged.
pub struct Vault {
    key: Zeroizing<[u8; 32]>,
    entries: Vec<Entry>,
    /// Entries by a keyed hash of the value, so that no second copy of a value exists.
    by_value: HashMap<[u8; 16], usize>,
    surrogates: HashSet<String>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("values", &self.entries.len()).finish_non_exhaustive()
    }
}

impl Vault {
    /// Creates an empty vault. The key must be secret and random, one for a conversation or for the run of a gateway.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self { key: Zeroizing::new(key), entries: Vec::new(), by_value: HashMap::new(), surrogates: HashSet::new() }
    }

    /// Returns the number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.iter().filter(|entry| !entry.part).count()
    }

    /// Tells if the vault has no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns what turns the surrogates of an answer back into the values.
    #[must_use]
    pub fn restorer(&self) -> Restorer {
        Restorer::new(self.entries.iter().map(|e| (e.surrogate.as_str(), e.value.as_str(), e.kind)))
    }

    /// Returns each value with its kind and what stands for it, in the order in which they were found.
    pub fn values(&self) -> impl Iterator<Item = (Kind, &str, &str)> {
        let whole = self.entries.iter().filter(|entry| !entry.part);
        whole.map(|entry| (entry.kind, entry.value.as_str(), entry.surrogate.as_str()))
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn digest(&self, label: &[u8], value: &str, nonce: u32) -> [u8; 32] {
        let parts = [self.key.as_slice(), label, &nonce.to_le_bytes(), value.as_bytes()];
        parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part)).finalize().into()
    }

    fn index(&self, value: &str) -> [u8; 16] {
        let mut out = [0; 16];
        out.copy_from_slice(&self.digest(b"value", value, 0)[..16]);
        out
    }

    /// Returns the surrogate of a value, a new one if it has none. `taken` tells if a text already occurs in the request.
    ///
    /// # Errors
    ///
    /// [`GatewayError::VaultFull`].
    pub(crate) fn surrogate(&mut self, value: &str, kind: Kind, taken: &dyn Fn(&str) -> bool) -> Result<String> {
        if let Some(&at) = self.by_value.get(&self.index(value)) {
            return Ok(self.entries[at].surrogate.clone());
        }
        let mut words = Vec::new();
        let mut out = String::new();
        for nonce in 0..64 {
            words.clear();
            out = surrogate::make(
                value,
                kind,
                nonce,
                &mut |label, text| Source::new(self.digest(label, text, 0)),
                &mut words,
            );
            let lower = out.to_lowercase();
            let clash = self.surrogates.contains(&lower) || taken(&out) || lower == value.to_lowercase();
            if !clash && !surrogate::is_valid(&out, kind) {
                break;
            }
        }
        self.insert(value, out.clone(), kind, false)?;
        if words.len() > 1 && kind == Kind::Person {
            for (word, by) in words {
                if word.chars().count() > 2 && !self.by_value.contains_key(&self.index(&word)) {
                    self.insert(&word, by, kind, true)?;
                }
            }
        }
        Ok(out)
    }

    /// Remembers a value that a mask replaces, so that it is found wherever else it occurs.
    pub(crate) fn remember(&mut self, value: &str, kind: Kind) -> Result<()> {
        if self.by_value.contains_key(&self.index(value)) {
            return Ok(());
        }
        self.insert(value, format!("<{}>", kind.name()), kind, false)?;
        let words: Vec<&str> = value.split_whitespace().collect();
        for word in words.iter().filter(|w| words.len() > 1 && kind == Kind::Person && w.chars().count() > 2) {
            let word = word.trim_matches(|c: char| !c.is_alphanumeric());
            if !word.is_empty() && !self.by_value.contains_key(&self.index(word)) {
                self.insert(word, format!("<{}>", kind.name()), kind, true)?;
            }
        }
        Ok(())
    }

    fn insert(&mut self, value: &str, surrogate: String, kind: Kind, part: bool) -> Result<()> {
        if self.entries.len() >= LIMIT {
            return Err(GatewayError::VaultFull { limit: LIMIT });
        }
        self.by_value.insert(self.index(value), self.entries.len());
        self.surrogates.insert(surrogate.to_lowercase());
        self.entries.push(Entry { value: Zeroizing::new(value.to_owned()), surrogate, kind, part });
        Ok(())
    }
}
