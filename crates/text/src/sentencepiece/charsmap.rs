//! SentencePiece's `precompiled_charsmap`: character replacements as a compact double array.
//!
//! Layout: the array's size in bytes (u32, little-endian), the array (u32s), then the replacements, each terminated by
//! a zero byte. Sources: `normalizer.cc` of SentencePiece; Darts-clone, which defines the units of the array.

use std::fmt;

/// The longest sequence that is looked up, and the longest replacement, in bytes. NFKC's are below 40. The bound keeps
/// a map with cycles from slowing down every text.
const MAX_BYTES: usize = 256;

/// A validated map.
#[derive(Clone)]
pub(crate) struct Charsmap {
    units: Vec<u32>,
    /// The replacements, each terminated by a zero byte.
    replacements: String,
    /// The original bytes, for export.
    blob: Vec<u8>,
}

impl fmt::Debug for Charsmap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charsmap").field("units", &self.units.len()).finish_non_exhaustive()
    }
}

impl Charsmap {
    /// Checks the sizes and the replacements. An empty blob is `None`. The error is a description.
    pub(crate) fn parse(blob: &[u8]) -> Result<Option<Self>, String> {
        if blob.is_empty() {
            return Ok(None);
        }
        let (size, rest) = blob.split_first_chunk::<4>().ok_or("shorter than the 4 bytes of its header")?;
        let size = u32::from_le_bytes(*size) as usize;
        if !size.is_multiple_of(4) || size == 0 || size >= rest.len() {
            return Err(format!("the array has {size} bytes, but only {} follow", rest.len()));
        }
        let (array, replacements) = rest.split_at(size);
        let units = array.as_chunks::<4>().0.iter().map(|unit| u32::from_le_bytes(*unit)).collect();
        let replacements = std::str::from_utf8(replacements).map_err(|_| "the replacements are not UTF-8")?;
        if !replacements.ends_with('\0') {
            return Err("the last replacement is not terminated".to_owned());
        }
        if let Some(long) = replacements.split('\0').find(|text| text.len() > MAX_BYTES) {
            return Err(format!("found a replacement of {} bytes, expected at most {MAX_BYTES}", long.len()));
        }
        Ok(Some(Self { units, replacements: replacements.to_owned(), blob: blob.to_vec() }))
    }

    /// Returns the original bytes.
    pub(crate) fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// Finds the longest prefix of `text` in the map. Returns its length and replacement, and the number of bytes that
    /// were read.
    pub(crate) fn longest(&self, text: &[u8]) -> (Option<(usize, &str)>, usize) {
        let mut at = self.units.first().map_or(0, |unit| offset(*unit));
        let (mut found, mut scanned) = (None, 0);
        for (length, &byte) in text.iter().take(MAX_BYTES).enumerate() {
            scanned = length + 1;
            at ^= usize::from(byte);
            let Some(&unit) = self.units.get(at) else { break };
            // Leaves have the top bit set, which no byte has.
            if byte == 0 || unit & (1 << 31 | 0xFF) != u32::from(byte) {
                break;
            }
            at ^= offset(unit);
            if unit >> 8 & 1 == 1
                && let Some(leaf) = self.units.get(at)
            {
                found = Some((length + 1, leaf & !(1 << 31)));
            }
        }
        let replacement = |start: u32| self.replacements.get(start as usize..)?.split('\0').next();
        (found.and_then(|(length, start)| Some((length, replacement(start)?))), scanned)
    }
}

/// Returns the offset of a unit's children.
fn offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & 1 << 9) >> 6)) as usize
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    /// Returns a map from `a` to `xy`. The root is at 0 and its children begin at 1, so `a` (0x61) is at 0x60.
    pub(crate) fn one() -> Vec<u8> {
        let mut units = vec![0_u32; 0x62];
        units[0] = 1 << 10;
        units[0x60] = u32::from(b'a') | 1 << 8 | 1 << 10;
        units[0x61] = 1 << 31;
        let mut blob = u32::try_from(units.len() * 4).unwrap().to_le_bytes().to_vec();
        blob.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
        blob.extend(b"xy\0");
        blob
    }

    #[test]
    fn finds_the_replacement() {
        let map = Charsmap::parse(&one()).unwrap().unwrap();
        assert_eq!(map.longest(b"ab").0, Some((1, "xy")));
        assert_eq!(map.longest(b"b").0, None);
        assert_eq!(map.longest(b"").0, None);
    }

    #[test]
    fn refuses_lying_sizes() {
        let whole = one();
        assert!(Charsmap::parse(&[]).unwrap().is_none());
        for cut in 1..whole.len() {
            assert!(Charsmap::parse(&whole[..cut]).is_err(), "cut at {cut}");
        }
        let mut long = whole.clone();
        long.extend([b'x'; MAX_BYTES + 1]);
        long.push(0);
        assert!(Charsmap::parse(&long).unwrap_err().contains("257"));
    }

    #[test]
    fn survives_any_one_byte_changed() {
        let whole = one();
        for at in 0..whole.len() {
            for byte in [0, 1, 0x7F, 0xFF] {
                let mut blob = whole.clone();
                blob[at] = byte;
                if let Ok(Some(map)) = Charsmap::parse(&blob) {
                    assert!(map.longest(b"aaaa").0.is_none_or(|(length, _)| length <= 4));
                }
            }
        }
    }
}
