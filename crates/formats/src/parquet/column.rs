//! A column: its place in the schema, its pages, and the strings in them.

use super::bytes::{Input, hybrid, snappy};
use super::thrift::{Value, structure};
use super::{ParquetError, Strings};

/// The largest size of a page in bytes.
const MOST_PAGE: usize = 1 << 28;
/// The largest number of values of a page, and of rows of a file.
const MOST_VALUES: usize = 1 << 22;
/// The deepest nesting of the schema.
const MOST_DEPTH: usize = 64;
/// `BYTE_ARRAY` among the physical types.
const BYTE_ARRAY: i64 = 6;

/// A column that holds values.
#[derive(Debug)]
pub(super) struct Column {
    pub path: Vec<String>,
    kind: i64,
    /// The definition level of a value that is not null.
    defined: u32,
    /// The definition level from which a list has an element; 0 for a column outside of lists.
    element: u32,
    /// The number of lists around a value.
    repeated: u32,
}

/// The levels of a node and of those around it.
#[derive(Clone, Copy, Default)]
struct Levels {
    defined: u32,
    element: u32,
    repeated: u32,
}

/// Returns the columns of a schema, which lists its nodes depth first, the root first.
pub(super) fn columns(schema: &[Value<'_>]) -> Result<Vec<Column>, ParquetError> {
    let (root, mut nodes) = schema.split_first().ok_or(ParquetError::Metadata("an empty schema"))?;
    let mut columns = Vec::new();
    let count = root.size(5).unwrap_or(0);
    children(&mut nodes, count, &mut Vec::new(), Levels::default(), &mut columns)?;
    Ok(columns)
}

fn children(
    nodes: &mut &[Value<'_>],
    count: usize,
    path: &mut Vec<String>,
    outer: Levels,
    columns: &mut Vec<Column>,
) -> Result<(), ParquetError> {
    if path.len() >= MOST_DEPTH {
        return Err(ParquetError::Metadata("a schema nested too deeply"));
    }
    for _ in 0..count {
        let (node, rest) = nodes.split_first().ok_or(ParquetError::Metadata("a schema with too few nodes"))?;
        *nodes = rest;
        let name = node.get(4).and_then(Value::text).ok_or(ParquetError::Metadata("a column without a name"))?;
        path.push(name.to_owned());
        let mut levels = outer;
        match node.integer(3) {
            Some(1) => levels.defined += 1,
            Some(2) => {
                levels.defined += 1;
                levels.repeated += 1;
                levels.element = levels.defined;
            }
            _ => {}
        }
        match node.size(5).unwrap_or(0) {
            0 => columns.push(Column {
                path: path.clone(),
                kind: node.integer(1).unwrap_or(-1),
                defined: levels.defined,
                element: levels.element,
                repeated: levels.repeated,
            }),
            count => children(nodes, count, path, levels, columns)?,
        }
        path.pop();
    }
    Ok(())
}

/// A page without its header.
struct Page<'a> {
    header: Value<'a>,
    body: &'a [u8],
    /// The size of the body when it is decompressed.
    size: usize,
}

/// The repetition and the definition levels of a page's values, if the column has any.
struct PageLevels {
    repetitions: Option<Vec<u32>>,
    definitions: Option<Vec<u32>>,
}

/// The strings that were read, a list per row.
#[derive(Debug)]
pub(super) struct Rows {
    pub rows: Vec<Strings>,
    /// The bytes that strings may still take.
    room: usize,
    /// `true` once there is no room, or too many rows. The last row may lack strings then.
    pub full: bool,
}

impl Rows {
    pub(super) fn new(room: usize) -> Self {
        Self { rows: Vec::new(), room, full: false }
    }

    fn begin(&mut self) {
        self.full |= self.rows.len() >= MOST_VALUES;
        if !self.full {
            self.rows.push(Vec::new());
        }
    }

    fn push(&mut self, value: Option<&str>) -> Result<(), ParquetError> {
        let row = self.rows.last_mut().ok_or(ParquetError::Page("a list that continues before the first row"))?;
        // A null takes room as well.
        match self.room.checked_sub(value.map_or(1, str::len).max(1)) {
            Some(room) => self.room = room,
            None => self.full = true,
        }
        if !self.full {
            row.push(value.map(str::to_owned));
        }
        Ok(())
    }
}

impl Column {
    fn unsupported(&self, found: String, expected: &'static str) -> ParquetError {
        ParquetError::Unsupported { column: self.path.join("."), found, expected }
    }

    /// Reads the strings of a column chunk, as far as there is room.
    pub(super) fn read(&self, file: &[u8], metadata: &Value<'_>, rows: &mut Rows) -> Result<(), ParquetError> {
        if self.kind != BYTE_ARRAY {
            return Err(self.unsupported(format!("the physical type {}", self.kind), "a string"));
        }
        if self.repeated > 1 {
            return Err(self.unsupported("a list of lists".to_owned(), "a string or a list of strings"));
        }
        let codec = metadata.integer(4).unwrap_or(0);
        let total = metadata.size(5).ok_or(ParquetError::Metadata("a column without a number of values"))?;
        let length = metadata.size(7).ok_or(ParquetError::Metadata("a column without a size"))?;
        let first = metadata.size(9).ok_or(ParquetError::Metadata("a column without pages"))?;
        // A dictionary comes before the first data page.
        let first = metadata.size(11).filter(|&at| at > 0).map_or(first, |dictionary| dictionary.min(first));
        let bytes = file.get(first..).and_then(|rest| rest.get(..length)).ok_or(ParquetError::Cut)?;
        let (mut input, mut seen) = (Input::new(bytes), 0);
        let mut dictionary: Option<Vec<String>> = None;
        while seen < total && !rows.full {
            let header = structure(&mut input)?;
            let size = header.size(2).ok_or(ParquetError::Page("no size"))?;
            let stored = header.size(3).ok_or(ParquetError::Page("no compressed size"))?;
            if size > MOST_PAGE {
                return Err(ParquetError::Page("a page of more than 256 MiB"));
            }
            let page = Page { body: input.take(stored)?, size, header };
            match page.header.integer(1) {
                Some(0) => seen += self.first_version(&page, codec, dictionary.as_deref(), rows)?,
                Some(2) => dictionary = Some(self.dictionary(&page, codec)?),
                Some(3) => seen += self.second_version(&page, codec, dictionary.as_deref(), rows)?,
                // An index, which this reader does not need.
                Some(1) => {}
                _ => return Err(ParquetError::Page("an unknown kind of page")),
            }
        }
        Ok(())
    }

    fn decompressed<'b>(
        &self,
        codec: i64,
        body: &'b [u8],
        size: usize,
    ) -> Result<std::borrow::Cow<'b, [u8]>, ParquetError> {
        const CODECS: [&str; 8] = ["none", "SNAPPY", "GZIP", "LZO", "BROTLI", "LZ4", "ZSTD", "LZ4_RAW"];
        match codec {
            0 => Ok(body.into()),
            1 => Ok(snappy(body, size)?.into()),
            other => {
                let known = usize::try_from(other).ok().and_then(|at| CODECS.get(at).copied());
                let found =
                    known.map_or_else(|| format!("the compression {other}"), |name| format!("the compression {name}"));
                Err(self.unsupported(found, "SNAPPY or none"))
            }
        }
    }

    fn dictionary(&self, page: &Page<'_>, codec: i64) -> Result<Vec<String>, ParquetError> {
        let header = page.header.get(7).ok_or(ParquetError::Page("a dictionary without a header"))?;
        let count = header.size(1).ok_or(ParquetError::Page("a dictionary without a number of values"))?;
        let body = self.decompressed(codec, page.body, page.size)?;
        let mut input = Input::new(&body);
        // Every string has a length of four bytes at least, which ends a count that is too large.
        (0..count).map(|_| string(&mut input).map(str::to_owned)).collect()
    }

    fn first_version(
        &self,
        page: &Page<'_>,
        codec: i64,
        dictionary: Option<&[String]>,
        rows: &mut Rows,
    ) -> Result<usize, ParquetError> {
        let header = page.header.get(5).ok_or(ParquetError::Page("a data page without a header"))?;
        let count = values_of(header)?;
        let body = self.decompressed(codec, page.body, page.size)?;
        let mut input = Input::new(&body);
        let mut levels = |most: u32| -> Result<Option<Vec<u32>>, ParquetError> {
            if most == 0 {
                return Ok(None);
            }
            let length = input.number(4)?;
            let mut levels = Input::new(input.take(length)?);
            hybrid(&mut levels, width(most), count).map(Some)
        };
        let levels = PageLevels { repetitions: levels(self.repeated)?, definitions: levels(self.defined)? };
        self.values(&mut input, header.integer(2), count, dictionary, &levels, rows)?;
        Ok(count)
    }

    fn second_version(
        &self,
        page: &Page<'_>,
        codec: i64,
        dictionary: Option<&[String]>,
        rows: &mut Rows,
    ) -> Result<usize, ParquetError> {
        let header = page.header.get(8).ok_or(ParquetError::Page("a data page without a header"))?;
        let count = values_of(header)?;
        let mut input = Input::new(page.body);
        let mut levels = |length: i16, most: u32| -> Result<Option<Vec<u32>>, ParquetError> {
            let length = header.size(length).ok_or(ParquetError::Page("levels without a length"))?;
            let mut levels = Input::new(input.take(length)?);
            (most > 0).then(|| hybrid(&mut levels, width(most), count)).transpose()
        };
        let levels = PageLevels { repetitions: levels(6, self.repeated)?, definitions: levels(5, self.defined)? };
        let body = input.take(input.rest())?;
        let size = page.size.checked_sub(page.body.len() - body.len()).ok_or(ParquetError::Cut)?;
        let codec = if header.get(7) == Some(&Value::Bool(false)) { 0 } else { codec };
        let body = self.decompressed(codec, body, size)?;
        self.values(&mut Input::new(&body), header.integer(4), count, dictionary, &levels, rows)?;
        Ok(count)
    }

    /// Adds the values of a page to the rows.
    fn values(
        &self,
        input: &mut Input<'_>,
        encoding: Option<i64>,
        count: usize,
        dictionary: Option<&[String]>,
        levels: &PageLevels,
        rows: &mut Rows,
    ) -> Result<(), ParquetError> {
        let level = |levels: &Option<Vec<u32>>, at: usize, otherwise: u32| {
            levels.as_ref().and_then(|levels| levels.get(at).copied()).unwrap_or(otherwise)
        };
        let definition = |at: usize| level(&levels.definitions, at, self.defined);
        let present = (0..count).filter(|&at| definition(at) == self.defined).count();
        let mut indices = match encoding {
            Some(0) => None,
            // Both names of indices into the dictionary.
            Some(2 | 8) => {
                let bits = if present > 0 { u32::from(input.byte()?) } else { 0 };
                Some(hybrid(input, bits, present)?.into_iter())
            }
            other => {
                let found = format!("the encoding {}", other.unwrap_or(-1));
                return Err(self.unsupported(found, "plain strings or a dictionary"));
            }
        };
        for at in 0..count {
            if level(&levels.repetitions, at, 0) == 0 {
                rows.begin();
            }
            if rows.full {
                break;
            }
            let definition = definition(at);
            if definition == self.defined {
                match &mut indices {
                    None => rows.push(Some(string(input)?))?,
                    Some(indices) => {
                        let index = indices.next().and_then(|index| dictionary?.get(index as usize));
                        rows.push(Some(index.ok_or(ParquetError::Page("an index beyond the dictionary"))?))?;
                    }
                }
            } else if self.repeated == 0 || definition >= self.element {
                rows.push(None)?;
            }
        }
        Ok(())
    }
}

/// Returns the number of values of a data page.
fn values_of(header: &Value<'_>) -> Result<usize, ParquetError> {
    let count = header.size(1).ok_or(ParquetError::Page("a data page without a number of values"))?;
    if count > MOST_VALUES { Err(ParquetError::Page("more than 4194304 values in a page")) } else { Ok(count) }
}

/// Reads a string with its length before it.
fn string<'a>(input: &mut Input<'a>) -> Result<&'a str, ParquetError> {
    let length = input.number(4)?;
    std::str::from_utf8(input.take(length)?).map_err(|_| ParquetError::Page("a string that is not UTF-8"))
}

/// Returns the number of bits that hold the numbers from 0 to `most`.
fn width(most: u32) -> u32 {
    u32::BITS - most.leading_zeros()
}
