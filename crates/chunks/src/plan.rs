use std::ops::Range;

use crate::ChunkError;

/// The bytes of a MiB.
const MIB: u64 = 1 << 20;
/// The largest number of bytes of a file: every offset is exact as a JavaScript number.
const LARGEST: u64 = 1 << 53;
/// The bytes per chunk that a manifest may choose.
const CHOICE: std::ops::RangeInclusive<u64> = MIB..=64 * MIB;
/// The largest number of chunks of a file.
const MOST: u64 = 1 << 20;

/// The division of a file into chunks of equal size, of which the last can be shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkPlan {
    bytes: u64,
    chunk_bytes: u64,
}

impl ChunkPlan {
    /// Divides a file of `bytes` bytes into chunks of `chunk_bytes` bytes. `path` is for the error.
    ///
    /// # Errors
    /// [`ChunkError::InvalidManifest`] if a size is out of bounds.
    pub fn new(path: &str, bytes: u64, chunk_bytes: u64) -> Result<Self, ChunkError> {
        let invalid = |field, found: u64, expected| {
            Err(ChunkError::InvalidManifest { path: path.to_owned(), field, found: found.to_string(), expected })
        };
        if !CHOICE.contains(&chunk_bytes) {
            return invalid("chunk_bytes", chunk_bytes, "1048576 to 67108864");
        }
        if bytes > LARGEST || bytes.div_ceil(chunk_bytes) > MOST {
            return invalid("bytes", bytes, "at most 1048576 chunks");
        }
        Ok(Self { bytes, chunk_bytes })
    }

    /// Returns the bytes per chunk for a file of this size: 4 MiB, from 1 GiB on 8 MiB. Unknown sizes get 4 MiB.
    #[must_use]
    pub fn chunk_bytes_for(bytes: Option<u64>) -> u64 {
        if bytes.is_some_and(|bytes| bytes >= 1024 * MIB) { 8 * MIB } else { 4 * MIB }
    }

    /// Returns the bytes of the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the number of chunks; 0 for an empty file.
    #[must_use]
    pub fn count(&self) -> usize {
        // At most `MOST`, which `new` checks.
        self.bytes.div_ceil(self.chunk_bytes) as usize
    }

    /// Returns the bytes of a chunk; an empty range beyond the end.
    #[must_use]
    pub fn range(&self, chunk: usize) -> Range<u64> {
        let begin = (chunk as u64).saturating_mul(self.chunk_bytes).min(self.bytes);
        begin..(begin + self.chunk_bytes).min(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_a_file_without_gap_or_overlap() {
        for bytes in [0, 1, MIB - 1, MIB, MIB + 1, 5 * MIB, 5 * MIB + 7] {
            for chunk_bytes in [MIB, 2 * MIB, 3 * MIB + 1] {
                let plan = ChunkPlan::new("x", bytes, chunk_bytes).expect("a plan");
                let mut end = 0;
                for chunk in 0..plan.count() {
                    let range = plan.range(chunk);
                    assert_eq!(range.start, end);
                    assert!(range.end > range.start && range.end - range.start <= chunk_bytes);
                    end = range.end;
                }
                assert_eq!(end, bytes);
                assert!(plan.range(plan.count()).is_empty());
            }
        }
    }

    #[test]
    fn sizes_out_of_bounds_name_their_field() {
        for (bytes, chunk_bytes, field) in
            [(1, 0, "chunk_bytes"), (1, MIB - 1, "chunk_bytes"), (u64::MAX, MIB, "bytes"), (1 << 52, MIB, "bytes")]
        {
            let error = ChunkPlan::new("x", bytes, chunk_bytes).expect_err("out of bounds");
            assert!(error.to_string().contains(&format!("x: {field}:")), "{error}");
        }
        assert_eq!(ChunkPlan::chunk_bytes_for(Some(2_300_000_000)), 8 * MIB);
        assert_eq!(ChunkPlan::chunk_bytes_for(None), 4 * MIB);
    }
}
