use std::fmt::Display;

use super::value::{ARRAY_ID, Array, Value};
use crate::FormatError;

/// Reads little-endian fields one after another and checks every extent and count first.
pub(crate) struct Cursor<'a> {
    pub(super) file: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(file: &'a str, bytes: &'a [u8]) -> Self {
        Self { file, bytes, at: 0 }
    }

    /// Returns the offset of the next byte.
    pub(crate) fn offset(&self) -> u64 {
        self.at as u64
    }

    /// Returns the number of bytes after the last one that was read.
    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Reads `n` bytes.
    pub(crate) fn take(&mut self, n: u64, what: impl Display) -> Result<&'a [u8], FormatError> {
        let rest = &self.bytes[self.at..];
        match usize::try_from(n).ok().and_then(|n| rest.get(..n)) {
            Some(taken) => {
                self.at += taken.len();
                Ok(taken)
            }
            None => Err(FormatError::Truncated {
                file: self.file.to_owned(),
                what: what.to_string(),
                offset: self.offset(),
                needed: n,
                available: rest.len() as u64,
            }),
        }
    }

    fn array<const W: usize>(&mut self, what: impl Display) -> Result<[u8; W], FormatError> {
        let mut out = [0; W];
        out.copy_from_slice(self.take(W as u64, what)?);
        Ok(out)
    }

    pub(crate) fn u32(&mut self, what: impl Display) -> Result<u32, FormatError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn u64(&mut self, what: impl Display) -> Result<u64, FormatError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// Reads a count of items of at least `smallest` bytes each. Fails if the rest of the file cannot hold them.
    pub(super) fn count(&mut self, smallest: u64, what: impl Display) -> Result<usize, FormatError> {
        let count = self.u64(&what)?;
        self.fitting(count, 8, smallest, what)
    }

    /// Reads a count as [`Cursor::count`] does, stored as i32.
    pub(crate) fn count_i32(&mut self, smallest: u64, what: impl Display) -> Result<usize, FormatError> {
        // A negative count becomes one that no file can hold.
        let count = u64::from(self.u32(&what)?);
        self.fitting(count, 4, smallest, what)
    }

    /// Checks that the rest of the file can hold `count` items. The count itself is the last `width` bytes read.
    fn fitting(&self, count: u64, width: u64, smallest: u64, what: impl Display) -> Result<usize, FormatError> {
        let available = self.remaining() as u64;
        match usize::try_from(count) {
            Ok(fits) if count <= available / smallest => Ok(fits),
            _ => Err(FormatError::ImplausibleCount {
                file: self.file.to_owned(),
                what: what.to_string(),
                offset: self.offset() - width,
                count,
                available,
            }),
        }
    }

    /// Reads a string: its length as u64, then UTF-8.
    pub(super) fn string(&mut self, what: impl Display) -> Result<String, FormatError> {
        let length = self.count(1, format_args!("the length of {what}"))?;
        self.text(length, what)
    }

    /// Reads `length` bytes of UTF-8.
    pub(crate) fn text(&mut self, length: usize, what: impl Display) -> Result<String, FormatError> {
        let offset = self.offset();
        let bytes = self.take(length as u64, &what)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(FormatError::InvalidUtf8 { file: self.file.to_owned(), what: what.to_string(), offset }),
        }
    }

    /// Reads the value of metadata key `key`.
    pub(super) fn value(&mut self, key: &str) -> Result<Value, FormatError> {
        let shown = crate::error::shown(key);
        let what = format_args!("the value of {shown}");
        let id = self.u32(format_args!("the value type of {shown}"))?;
        Ok(match id {
            0 => Value::U8(u8::from_le_bytes(self.array(what)?)),
            1 => Value::I8(i8::from_le_bytes(self.array(what)?)),
            2 => Value::U16(u16::from_le_bytes(self.array(what)?)),
            3 => Value::I16(i16::from_le_bytes(self.array(what)?)),
            4 => Value::U32(self.u32(what)?),
            5 => Value::I32(i32::from_le_bytes(self.array(what)?)),
            6 => Value::F32(f32::from_le_bytes(self.array(what)?)),
            7 => {
                let [byte] = self.array(what)?;
                Value::Bool(self.bool(key, byte)?)
            }
            8 => Value::String(self.string(what)?),
            ARRAY_ID => Value::Array(self.array_value(key)?),
            10 => Value::U64(self.u64(what)?),
            11 => Value::I64(i64::from_le_bytes(self.array(what)?)),
            12 => Value::F64(f64::from_le_bytes(self.array(what)?)),
            found => {
                return Err(FormatError::UnknownValueType { file: self.file.to_owned(), key: key.to_owned(), found });
            }
        })
    }

    fn bool(&self, key: &str, byte: u8) -> Result<bool, FormatError> {
        match byte {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(FormatError::InvalidBool { file: self.file.to_owned(), key: key.to_owned(), found }),
        }
    }

    fn array_value(&mut self, key: &str) -> Result<Array, FormatError> {
        let shown = crate::error::shown(key);
        let id = self.u32(format_args!("the element type of {shown}"))?;
        let smallest = match id {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            ARRAY_ID => return Err(FormatError::NestedArray { file: self.file.to_owned(), key: key.to_owned() }),
            found => {
                return Err(FormatError::UnknownValueType { file: self.file.to_owned(), key: key.to_owned(), found });
            }
        };
        let count = self.count(smallest, format_args!("the length of {shown}"))?;
        if id == 8 {
            let strings = (0..count).map(|i| self.string(format_args!("element {i} of {shown}")));
            return Ok(Array::String(strings.collect::<Result<_, _>>()?));
        }
        // The count was checked, so the product is at most the rest of the file.
        let bytes = self.take(count as u64 * smallest, format_args!("the value of {shown}"))?;
        Ok(match id {
            0 => Array::U8(bytes.to_vec()),
            1 => Array::I8(numbers(bytes, i8::from_le_bytes)),
            2 => Array::U16(numbers(bytes, u16::from_le_bytes)),
            3 => Array::I16(numbers(bytes, i16::from_le_bytes)),
            4 => Array::U32(numbers(bytes, u32::from_le_bytes)),
            5 => Array::I32(numbers(bytes, i32::from_le_bytes)),
            6 => Array::F32(numbers(bytes, f32::from_le_bytes)),
            7 => Array::Bool(bytes.iter().map(|&byte| self.bool(key, byte)).collect::<Result<_, _>>()?),
            10 => Array::U64(numbers(bytes, u64::from_le_bytes)),
            11 => Array::I64(numbers(bytes, i64::from_le_bytes)),
            _ => Array::F64(numbers(bytes, f64::from_le_bytes)),
        })
    }
}

fn numbers<const W: usize, T>(bytes: &[u8], value: impl Fn([u8; W]) -> T) -> Vec<T> {
    bytes.as_chunks::<W>().0.iter().map(|&chunk| value(chunk)).collect()
}
