//! Bytes that are read from front to back, and the compression and packing of Parquet.

use super::ParquetError;

/// The rest of an input.
#[derive(Debug, Clone)]
pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Returns the number of bytes left.
    pub(super) fn rest(&self) -> usize {
        self.0.len()
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], ParquetError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(ParquetError::Cut)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, ParquetError> {
        Ok(self.take(1)?[0])
    }

    /// Reads a little-endian number of `count` bytes, at most 8.
    pub(super) fn number(&mut self, count: usize) -> Result<usize, ParquetError> {
        let bytes = self.take(count)?;
        let value = bytes.iter().rev().take(8).fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        usize::try_from(value).map_err(|_| ParquetError::Cut)
    }

    /// Reads an unsigned LEB128 number.
    pub(super) fn varint(&mut self) -> Result<u64, ParquetError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Ok(value);
            }
        }
        Err(ParquetError::Metadata("a number of more than 64 bits"))
    }

    pub(super) fn length(&mut self) -> Result<usize, ParquetError> {
        usize::try_from(self.varint()?).map_err(|_| ParquetError::Cut)
    }
}

/// Decompresses a block of Snappy's raw format to `length` bytes.
///
/// <https://github.com/google/snappy/blob/main/format_description.txt>
pub(super) fn snappy(bytes: &[u8], length: usize) -> Result<Vec<u8>, ParquetError> {
    let mut input = Input::new(bytes);
    let bad = ParquetError::Page("compressed data that is no Snappy block");
    if input.length()? != length {
        return Err(bad);
    }
    let mut out = Vec::new();
    while input.rest() > 0 {
        let tag = usize::from(input.byte()?);
        if tag & 3 == 0 {
            let count = match tag >> 2 {
                long @ 60.. => input.number(long - 59)?,
                short => short,
            };
            let count = count.checked_add(1).ok_or(ParquetError::Cut)?;
            out.extend_from_slice(input.take(count)?);
        } else {
            let (count, back) = match tag & 3 {
                1 => ((tag >> 2 & 7) + 4, (tag >> 5) << 8 | input.number(1)?),
                2 => ((tag >> 2) + 1, input.number(2)?),
                _ => ((tag >> 2) + 1, input.number(4)?),
            };
            let Some(from) = out.len().checked_sub(back).filter(|_| back > 0) else { return Err(bad) };
            // A copy may overlap what it writes.
            for at in from..from + count {
                out.push(out[at]);
            }
        }
        if out.len() > length {
            return Err(bad);
        }
    }
    if out.len() == length { Ok(out) } else { Err(bad) }
}

/// Reads `count` numbers of `bits` bits each in the hybrid of run lengths and packed bits.
///
/// <https://parquet.apache.org/docs/file-format/data-pages/encodings/#RLE>
pub(super) fn hybrid(input: &mut Input<'_>, bits: u32, count: usize) -> Result<Vec<u32>, ParquetError> {
    if bits > 32 {
        return Err(ParquetError::Page("numbers of more than 32 bits"));
    }
    let bits = bits as usize;
    let mut out = Vec::new();
    while out.len() < count {
        let head = input.length()?;
        let wanted = count - out.len();
        if head & 1 == 0 {
            let value = input.number(bits.div_ceil(8))? as u32;
            let run = (head >> 1).min(wanted);
            if run == 0 {
                return Err(ParquetError::Page("an empty run"));
            }
            out.resize(out.len() + run, value);
        } else {
            let packed = input.take((head >> 1).checked_mul(bits).ok_or(ParquetError::Cut)?)?;
            let values = (head >> 1).saturating_mul(8).min(wanted);
            if values == 0 {
                return Err(ParquetError::Page("an empty run"));
            }
            out.extend((0..values).map(|value| {
                (0..bits).fold(0u32, |number, bit| {
                    let at = value * bits + bit;
                    number | u32::from(packed[at / 8] >> (at % 8) & 1) << bit
                })
            }));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snappy_blocks_are_decompressed() {
        // The literal "abcd", a copy of 8 bytes from 4 back, the literal "x".
        let block = [13, 3 << 2, b'a', b'b', b'c', b'd', 4 << 2 | 1, 4, 0, b'x'];
        assert_eq!(snappy(&block, 13).expect("a block"), b"abcdabcdabcdx");
        assert!(snappy(&block, 12).is_err() && snappy(&block[..9], 13).is_err());
        // A copy from before the beginning, and one from no distance.
        assert!(snappy(&[8, 0, b'a', 3 << 2 | 1, 2], 8).is_err() && snappy(&[8, 0, b'a', 3 << 2 | 1, 0], 8).is_err());
    }

    #[test]
    fn runs_and_packed_bits_are_read() {
        // The example of the specification: 0 to 7 in 3 bits each; before it 5 times the number 4.
        let bytes = [5 << 1, 4, 3, 0b1000_1000, 0b1100_0110, 0b1111_1010];
        let found = hybrid(&mut Input::new(&bytes), 3, 13).expect("numbers");
        assert_eq!(found, [4, 4, 4, 4, 4, 0, 1, 2, 3, 4, 5, 6, 7]);
        assert!(hybrid(&mut Input::new(&bytes), 3, 14).is_err());
        assert!(hybrid(&mut Input::new(&[0, 0, 0, 0]), 3, 1).is_err());
    }
}
