//! A log of JSON lines. Each line begins with a hash of all lines up to it, so that a line which was torn or changed ends the
//! log there.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{ChunkError, Digest};

/// The hexadecimal digits of a line's hash.
const DIGITS: usize = 16;

/// The end of a log: the hash of all its lines.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    chain: String,
}

impl Log {
    /// Returns the next line.
    pub fn line(&mut self, entry: &impl Serialize) -> Result<Vec<u8>, ChunkError> {
        let invalid = |error: serde_json::Error| ChunkError::InvalidRecord { problem: error.to_string() };
        let json = serde_json::to_string(entry).map_err(invalid)?;
        self.chain = next(&self.chain, &json);
        Ok(format!("{} {json}\n", self.chain).into_bytes())
    }

    /// Reads lines up to the first that is damaged, and passes each entry to `apply`. Returns the log and its length in
    /// bytes. A line whose entry `apply` or the parser refuses is an error, since its hash shows that it was written so.
    pub fn read<T: DeserializeOwned>(
        bytes: &[u8],
        mut apply: impl FnMut(T) -> Result<(), ChunkError>,
    ) -> Result<(Self, usize), ChunkError> {
        let (mut log, mut valid) = (Self::default(), 0);
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            let Some((chain, json)) = parts(line) else { break };
            if next(&log.chain, json) != chain {
                break;
            }
            let entry = serde_json::from_str(json)
                .map_err(|error| ChunkError::InvalidRecord { problem: format!("byte {valid}: {error}") })?;
            apply(entry)?;
            chain.clone_into(&mut log.chain);
            valid += line.len();
        }
        Ok((log, valid))
    }
}

/// Returns the hash and the entry of a complete line.
fn parts(line: &[u8]) -> Option<(&str, &str)> {
    let line = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
    let (chain, json) = line.split_once(' ')?;
    (chain.len() == DIGITS).then_some((chain, json))
}

/// Returns the hash of the lines with the hash `chain` and one more.
fn next(chain: &str, json: &str) -> String {
    let mut hash = Digest::default().with(chain).with(json).hex();
    hash.truncate(DIGITS);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_or_changed_line_ends_the_log() {
        let mut log = Log::default();
        let lines: Vec<Vec<u8>> = (0..4).map(|n| log.line(&n).expect("a line")).collect();
        let whole = lines.concat();
        let read = |bytes: &[u8]| {
            let mut found = Vec::new();
            let (log, valid) = Log::read(bytes, |n: u32| {
                found.push(n);
                Ok(())
            })
            .expect("readable");
            (found, valid, log)
        };
        let (found, valid, mut again) = read(&whole);
        assert_eq!((found, valid), (vec![0, 1, 2, 3], whole.len()));
        assert_eq!(again.line(&9).expect("a line"), log.line(&9).expect("a line"), "a log continues after it was read");
        for cut in 0..whole.len() {
            let complete = whole[..cut].iter().filter(|b| **b == b'\n').count();
            let (found, valid, _) = read(&whole[..cut]);
            assert_eq!(found.len(), complete, "cut at {cut}");
            assert_eq!(valid, lines[..complete].concat().len());
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            let before = whole[..at].iter().filter(|b| **b == b'\n').count();
            assert_eq!(read(&changed).0.len(), before, "changed at {at}");
        }
        let mut exchanged = lines.clone();
        exchanged.swap(1, 2);
        assert_eq!(read(&exchanged.concat()).0, [0], "exchanged lines");
    }
}
