//! Texts in Parquet files: columns of strings, and lists of structures of strings, as data sets of texts and
//! conversations have them.
//!
//! Pages of both versions are read, plain or with a dictionary, uncompressed or compressed by Snappy.
//! <https://parquet.apache.org/docs/file-format/>

mod bytes;
mod column;
mod thrift;

use bytes::Input;
use column::{Column, Rows};
use thrift::Value;

/// The name at both ends of a file.
const MAGIC: &[u8; 4] = b"PAR1";

/// An error of a Parquet file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParquetError {
    /// A file that does not begin and end as a Parquet file.
    #[error("no Parquet file: expected PAR1 as its first and last bytes")]
    NotParquet,
    /// A file that ends too early, or whose parts are said to be longer than they are.
    #[error("the Parquet file is cut short")]
    Cut,
    /// Metadata that is invalid.
    #[error("the metadata of the Parquet file are invalid: {0}")]
    Metadata(&'static str),
    /// A page that is invalid.
    #[error("a page of the Parquet file is invalid: {0}")]
    Page(&'static str),
    /// A feature that is not supported.
    #[error("column {column}: {found} is not supported, expected {expected}")]
    Unsupported {
        /// The column.
        column: String,
        /// The value found.
        found: String,
        /// The supported values.
        expected: &'static str,
    },
}

/// A Parquet file.
#[derive(Debug)]
pub struct Parquet<'a> {
    bytes: &'a [u8],
    metadata: Value<'a>,
    columns: Vec<Column>,
}

/// The strings of a column in a row: one of a plain column, any number of a list. `None` stands for null.
pub type Strings = Vec<Option<String>>;

impl<'a> Parquet<'a> {
    /// Reads the metadata of a file.
    ///
    /// # Errors
    /// [`ParquetError`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, ParquetError> {
        let body =
            bytes.strip_prefix(MAGIC).and_then(|rest| rest.strip_suffix(MAGIC)).ok_or(ParquetError::NotParquet)?;
        let (rest, length) = body.split_last_chunk::<4>().ok_or(ParquetError::NotParquet)?;
        let length = u32::from_le_bytes(*length) as usize;
        let start = rest.len().checked_sub(length).ok_or(ParquetError::Cut)?;
        let metadata = thrift::structure(&mut Input::new(&rest[start..]))?;
        let schema = metadata.list(2).ok_or(ParquetError::Metadata("no schema"))?;
        Ok(Self { bytes, columns: column::columns(schema)?, metadata })
    }

    /// Returns the paths of the columns that hold values: `text`, `messages.list.element.role`.
    pub fn columns(&self) -> impl Iterator<Item = &[String]> {
        self.columns.iter().map(|column| &*column.path)
    }

    /// Returns the strings of a column, a list per row. Ends at the row at which the strings have `most` bytes.
    ///
    /// # Errors
    /// [`ParquetError::Unsupported`] for a column of another type, or of lists in lists; [`ParquetError`] for an invalid
    /// file.
    pub fn strings(&self, path: &[String], most: usize) -> Result<Vec<Strings>, ParquetError> {
        let at = self.columns.iter().position(|column| column.path == path);
        let at = at.ok_or(ParquetError::Metadata("no such column"))?;
        let mut found = Rows::new(most);
        for group in self.metadata.list(4).unwrap_or_default() {
            let chunks = group.list(1).ok_or(ParquetError::Metadata("a row group without columns"))?;
            let chunk = chunks.get(at).and_then(|chunk| chunk.get(3));
            let chunk = chunk.ok_or(ParquetError::Metadata("a column without metadata"))?;
            let before = found.rows.len();
            self.columns[at].read(self.bytes, chunk, &mut found)?;
            if found.full {
                // The last row may be incomplete.
                found.rows.pop();
                break;
            }
            if Some(found.rows.len() - before) != group.size(3) {
                return Err(ParquetError::Metadata("another number of rows than in the pages"));
            }
        }
        Ok(found.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_refused() {
        for bytes in
            [&b""[..], b"PAR1", b"PAR1PAR1", b"PAR1\0\0\0\0PAR2", b"PAR1\xff\xff\xff\x7fPAR1", b"PAR1\0\0\0\0PAR1"]
        {
            assert!(Parquet::new(bytes).is_err(), "{bytes:?}");
        }
    }
}
