//! The file of an estimator: a magic number, the length of a JSON head, the head, and the tables.

use super::features::{GRAM_BUCKETS, MEASURES};
use super::language::{Language, PAIR_BUCKETS, WORD_BUCKETS};
use super::{Estimator, Head, SEEN_BITS};
use crate::error::{GatewayError, Result};

/// The first bytes, which end with the version.
const MAGIC: &[u8; 8] = b"HNLMRT01";
/// The most bytes of a head.
const MOST_HEAD: usize = 1 << 20;
/// The bytes of the tables: the n-gram model's two, the weights, the known words.
const TABLES: [usize; 4] = [WORD_BUCKETS, PAIR_BUCKETS, GRAM_BUCKETS, SEEN_BITS / 8];

impl Estimator {
    /// Writes the estimator.
    ///
    /// # Errors
    /// [`GatewayError::Estimator`] for a number that is not finite, which JSON cannot hold.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let bad = |error: serde_json::Error| GatewayError::Estimator {
            file: self.head.provenance.source.clone(),
            found: error.to_string(),
            expected: "a head of finite numbers".to_owned(),
        };
        let head = serde_json::to_vec(&self.head).map_err(bad)?;
        let (words, pairs, _) = self.language.parts();
        let mut out = MAGIC.to_vec();
        out.extend((head.len() as u32).to_le_bytes());
        out.extend(head);
        out.extend(words);
        out.extend(pairs);
        out.extend(self.grams.iter().map(|w| w.to_le_bytes()[0]));
        out.extend(&self.seen);
        Ok(out)
    }

    /// Reads an estimator. `file` names it in errors.
    ///
    /// # Errors
    /// [`GatewayError::Estimator`] for bytes that are no estimator of this version.
    pub fn from_bytes(file: &str, bytes: &[u8]) -> Result<Self> {
        let bad = |found: String, expected: String| GatewayError::Estimator { file: file.to_owned(), found, expected };
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| {
            let start = String::from_utf8_lossy(bytes.get(..8).unwrap_or(bytes)).into_owned();
            bad(format!("the first bytes {start:?}"), "an estimator of this version: \"HNLMRT01\"".to_owned())
        })?;
        let cut = || bad(format!("a file of {} bytes", bytes.len()), "a longer one: it is cut short".to_owned());
        let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = u32::from_le_bytes(*length) as usize;
        if length > MOST_HEAD {
            return Err(bad(format!("a head of {length} bytes"), format!("at most {MOST_HEAD}")));
        }
        let (json, mut rest) = rest.split_at_checked(length).ok_or_else(cut)?;
        let head: Head = serde_json::from_slice(json)
            .map_err(|error| bad(format!("a head with an error ({error})"), "the head of an estimator".to_owned()))?;
        check(&head).map_err(|(found, expected)| bad(found, expected))?;
        if rest.len() != TABLES.iter().sum::<usize>() {
            return Err(bad(format!("{} bytes of tables", rest.len()), TABLES.iter().sum::<usize>().to_string()));
        }
        let mut table = |size: usize| {
            let (table, after) = rest.split_at(size.min(rest.len()));
            rest = after;
            table
        };
        let [words, pairs, grams, seen] = TABLES.map(&mut table);
        let language = Language::from_parts(words, pairs, head.language_total)
            .ok_or_else(|| bad("a bad total of words".to_owned(), "a number of at least 0".to_owned()))?;
        let grams = grams.iter().map(|byte| i8::from_le_bytes([*byte])).collect();
        Ok(Self { language, head, grams, seen: seen.to_vec() })
    }
}

fn check(head: &Head) -> Result<(), (String, String)> {
    if head.measures != MEASURES {
        let found = head.measures.iter().zip(MEASURES).find(|(found, own)| *found != own);
        let found = found
            .map_or_else(|| format!("{} measures", head.measures.len()), |(found, _)| format!("measure {found:?}"));
        return Err((found, format!("the {} measures of this version: train it again", MEASURES.len())));
    }
    for (name, list) in [("means", &head.means), ("scales", &head.scales), ("weights", &head.weights)] {
        if list.len() != MEASURES.len() || !list.iter().all(|x| x.is_finite()) {
            return Err((format!("{} {name}", list.len()), format!("{} finite numbers", MEASURES.len())));
        }
    }
    if ![head.bias, head.step, head.familiar_from].iter().all(|x| x.is_finite()) {
        return Err(("a bias, step or share that is not finite".to_owned(), "finite numbers".to_owned()));
    }
    let corrected = head.corrected.as_ref();
    if !head.calibration.is_valid() || !corrected.is_none_or(|c| c.is_finite() && c.calibration.is_valid()) {
        return Err((
            "a table of thresholds that is not ascending".to_owned(),
            "ascending thresholds and counts".to_owned(),
        ));
    }
    Ok(())
}
