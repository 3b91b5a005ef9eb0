use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;

use super::cursor::Cursor;
use super::metadata::{FromValue, Metadata};
use super::types::{GgmlType, ggml_type};
use super::{MAX_DIMENSIONS, alignment};
use crate::{FileData, FileWatch, FormatError, TensorInfo, TensorSource};

/// The smallest entries: an empty key with its type and one byte; an empty name with rank 0, type and offset.
const SMALLEST_PAIR: u64 = 8 + 4 + 1;
const SMALLEST_TENSOR: u64 = 8 + 4 + 4 + 8;

/// A parsed GGUF file.
#[derive(Debug, Clone)]
pub struct Gguf {
    /// The keys and values in the order of the file.
    pub metadata: Metadata,
    pub(super) version: u32,
    pub(super) tensors: Vec<Entry>,
    pub(super) index: HashMap<String, usize>,
    /// The files: one, or the parts of a split model. Never empty.
    pub(super) parts: Vec<Part>,
}

/// A file of a model.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) file: String,
    data: FileData,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) info: TensorInfo,
    /// The index of the file in [`Gguf::parts`].
    pub(super) part: usize,
    /// The byte range in the file.
    range: Range<u64>,
}

/// A tensor's entry as stored in the file.
struct Declared {
    name: String,
    dimensions: Vec<u64>,
    kind: GgmlType,
    offset: u64,
}

impl Gguf {
    /// Parses a file that is a whole model. Errors name the file `file`.
    ///
    /// # Errors
    /// A variant of [`FormatError`] for each violation of the format, for versions other than 2 and 3, for big-endian
    /// files and for parts of split models ([`Gguf::join`] reads these); [`FormatError::NotFetched`] if more of a
    /// remote file's header is needed.
    pub fn parse(data: impl Into<FileData>, file: impl Into<String>) -> Result<Self, FormatError> {
        let gguf = Self::parse_part(data.into(), file.into())?;
        match gguf.split_count()? {
            1 => Ok(gguf),
            parts => Err(FormatError::SplitGguf { file: gguf.file().to_owned(), parts: parts.into() }),
        }
    }

    /// Parses a file that may be a part of a model.
    pub(super) fn parse_part(data: FileData, file: String) -> Result<Self, FormatError> {
        let mut gguf = data.parse_head(&file, |head| Self::parse_head(head, data.len(), &file))?;
        gguf.parts.push(Part { file, data });
        Ok(gguf)
    }

    /// Parses `bytes`, the beginning of a file of `len` bytes. The caller fills in the parts.
    fn parse_head(bytes: &[u8], len: u64, file: &str) -> Result<Self, FormatError> {
        if !bytes.starts_with(b"GGUF") {
            // A file of two or three bytes of the magic is truncated, not of another format.
            if !bytes.is_empty() && b"GGUF".starts_with(bytes) {
                let (file, what) = (file.to_owned(), "the magic".to_owned());
                return Err(FormatError::Truncated { file, what, offset: 0, needed: 4, available: len });
            }
            return Err(crate::sniff::refusal(file, bytes, "GGUF"));
        }
        let mut cursor = Cursor::new(file, bytes);
        cursor.u32("the magic")?;
        let version = cursor.u32("the version")?;
        match version {
            2 | 3 => {}
            _ if matches!(version.swap_bytes(), 1..=3) => return Err(FormatError::BigEndian { file: file.to_owned() }),
            found => return Err(FormatError::UnsupportedVersion { file: file.to_owned(), found }),
        }
        // Both counts together must fit, because neither list has been read yet.
        let tensor_count = cursor.count(SMALLEST_TENSOR, "the number of tensors")?;
        let pair_count = cursor.count(SMALLEST_PAIR, "the number of metadata keys")?;
        let metadata = read_metadata(&mut cursor, pair_count)?;
        let alignment = alignment(file, &metadata)?;
        let declared =
            (0..tensor_count).map(|i| read_tensor(&mut cursor, i)).collect::<Result<Vec<_>, FormatError>>()?;
        let start = cursor.offset().next_multiple_of(alignment);
        let tensors = place(file, declared, start, len, alignment)?;
        let mut index = HashMap::with_capacity(tensors.len());
        for (i, entry) in tensors.iter().enumerate() {
            if index.insert(entry.info.name.clone(), i).is_some() {
                return Err(FormatError::DuplicateTensor { file: file.to_owned(), tensor: entry.info.name.clone() });
            }
        }
        Ok(Self { metadata, version, tensors, index, parts: Vec::new() })
    }

    /// Returns the version of the format, 2 or 3.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Returns the name of the file in errors; the first one of a split model.
    #[must_use]
    pub fn file(&self) -> &str {
        self.parts.first().map_or("", |part| &part.file)
    }

    /// Returns the names of all files of the model.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().map(|part| part.file.as_str())
    }

    /// Returns all tensors in the order of the file.
    pub fn tensors(&self) -> impl Iterator<Item = &TensorInfo> {
        self.tensors.iter().map(|entry| &entry.info)
    }

    /// Returns the value of `key` as a `T`, or `None` if there is no such key.
    ///
    /// # Errors
    /// [`FormatError::WrongValueType`] and [`FormatError::ValueOutOfRange`].
    pub fn get_as<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<Option<T>, FormatError> {
        self.metadata.get(self.file(), key)
    }

    /// Returns the value of a required key.
    ///
    /// # Errors
    /// [`FormatError::MissingKey`], and those of [`Gguf::get_as`].
    pub fn require<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<T, FormatError> {
        self.get_as(key)?.ok_or_else(|| FormatError::MissingKey {
            file: self.file().to_owned(),
            key: key.to_owned(),
            expected: T::EXPECTED,
        })
    }
}

macro_rules! getters {
    ($($(#[$doc:meta])* $name:ident -> $t:ty;)+) => {
        /// Typed metadata. Each method returns `None` if the key is missing, and fails with
        /// [`FormatError::WrongValueType`] or [`FormatError::ValueOutOfRange`] if the value cannot be converted.
        #[allow(clippy::missing_errors_doc, reason = "said once for all of them")]
        impl Gguf {$(
            $(#[$doc])*
            pub fn $name(&self, key: &str) -> Result<Option<$t>, FormatError> {
                self.get_as(key)
            }
        )+}
    };
}
getters! {
    /// Returns an integer of any width that fits.
    get_u32 -> u32;
    /// Returns an integer of any width that fits.
    get_i32 -> i32;
    /// Returns an integer of any width that fits.
    get_u64 -> u64;
    /// Returns a float of either width.
    get_f32 -> f32;
    /// Returns a boolean.
    get_bool -> bool;
    /// Returns a string.
    get_str -> &str;
    /// Returns an array of strings.
    get_array_str -> &[String];
    /// Returns an array of f32.
    get_array_f32 -> &[f32];
    /// Returns an array of booleans.
    get_array_bool -> &[bool];
    /// Returns an array of integers of any width that fit.
    get_array_u32 -> Vec<u32>;
    /// Returns an array of integers of any width that fit.
    get_array_i32 -> Vec<i32>;
}

impl TensorSource for Gguf {
    fn names(&self) -> Vec<&str> {
        self.tensors.iter().map(|entry| entry.info.name.as_str()).collect()
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.index.get(name).and_then(|&i| self.tensors.get(i)).map(|entry| &entry.info)
    }

    fn bytes(&self, name: &str, within: Range<u64>) -> Result<Bytes, FormatError> {
        let entry = self.index.get(name).and_then(|&i| self.tensors.get(i));
        let Some((entry, part)) = entry.and_then(|entry| Some((entry, self.parts.get(entry.part)?))) else {
            return Err(FormatError::MissingTensor { file: self.file().to_owned(), tensor: name.to_owned() });
        };
        part.data.range(&part.file, entry.range.start + within.start..entry.range.start + within.end)
    }

    fn watch(&self) -> FileWatch {
        FileWatch::of(self.parts.iter().map(|part| &part.data))
    }

    fn forget(&self) {
        self.parts.iter().for_each(|part| part.data.forget());
    }

    fn file_of(&self, name: &str) -> &str {
        let entry = self.index.get(name).and_then(|&i| self.tensors.get(i));
        entry.and_then(|entry| self.parts.get(entry.part)).map_or(self.file(), |part| &part.file)
    }
}

fn read_metadata(cursor: &mut Cursor<'_>, count: usize) -> Result<Metadata, FormatError> {
    let mut metadata = Metadata::default();
    for i in 0..count {
        let key = cursor.string(format_args!("metadata key {i}"))?;
        let value = cursor.value(&key)?;
        if metadata.value(&key).is_some() {
            return Err(FormatError::DuplicateKey { file: cursor.file.to_owned(), key });
        }
        metadata.insert(key, value);
    }
    Ok(metadata)
}

fn read_tensor(cursor: &mut Cursor<'_>, i: usize) -> Result<Declared, FormatError> {
    let name = cursor.string(format_args!("the name of tensor {i}"))?;
    let shown = crate::error::shown(&name);
    let rank = cursor.u32(format_args!("the rank of tensor {shown}"))?;
    if rank as usize > MAX_DIMENSIONS {
        let (found, limit) = (rank.into(), MAX_DIMENSIONS as u64);
        return Err(FormatError::TooManyDimensions { file: cursor.file.to_owned(), tensor: name, found, limit });
    }
    let dimensions =
        (0..rank).map(|_| cursor.u64(format_args!("the shape of tensor {shown}"))).collect::<Result<_, _>>()?;
    let kind = ggml_type(cursor.u32(format_args!("the type of tensor {shown}"))?);
    let offset = cursor.u64(format_args!("the offset of tensor {shown}"))?;
    Ok(Declared { name, dimensions, kind, offset })
}

/// Checks every tensor's extent against the data section, which spans `start` to `end` of the file.
fn place(file: &str, declared: Vec<Declared>, start: u64, end: u64, alignment: u64) -> Result<Vec<Entry>, FormatError> {
    let available = end.saturating_sub(start);
    let mut sizes = Vec::with_capacity(declared.len());
    for tensor in &declared {
        let size = size_of(file, tensor)?;
        if !tensor.offset.is_multiple_of(alignment) {
            let (tensor, offset) = (tensor.name.clone(), tensor.offset);
            return Err(FormatError::MisalignedTensor { file: file.to_owned(), tensor, offset, alignment });
        }
        let fits = tensor.offset.checked_add(size.unwrap_or(0)).is_some_and(|end| end <= available);
        if !fits {
            return Err(FormatError::TensorOutOfBounds {
                file: file.to_owned(),
                tensor: tensor.name.clone(),
                offset: tensor.offset,
                size: size.unwrap_or(0),
                available,
            });
        }
        sizes.push(size);
    }
    // A tensor of unknown size extends to the next tensor or to the end.
    let mut order: Vec<usize> = (0..declared.len()).filter(|&i| sizes[i] != Some(0)).collect();
    order.sort_by_key(|&i| declared[i].offset);
    for (k, &i) in order.iter().enumerate() {
        let (offset, next) = (declared[i].offset, order.get(k + 1));
        let limit = next.map_or(available, |&n| declared[n].offset);
        let size = *sizes[i].get_or_insert(limit - offset);
        if let Some(&n) = next
            && (offset + size > limit || offset == limit)
        {
            let (first, second) = (declared[i].name.clone(), declared[n].name.clone());
            return Err(FormatError::OverlappingTensors { file: file.to_owned(), first, second });
        }
    }
    let entry = |(tensor, size): (Declared, Option<u64>)| {
        let size = size.unwrap_or(0);
        // The range lies within the file, so the sums fit. A tensor without data may have any offset.
        let begin = if size == 0 { 0 } else { start + tensor.offset };
        let shape = tensor.dimensions.iter().rev().map(|&d| usize::try_from(d));
        let shape = shape.collect::<Result<Vec<_>, _>>().map_err(|_| overflow(file, &tensor))?;
        let info = TensorInfo { name: tensor.name, element: tensor.kind.element, shape, size };
        Ok(Entry { info, part: 0, range: begin..begin + size })
    };
    declared.into_iter().zip(sizes).map(entry).collect()
}

/// Returns the number of bytes of the tensor's data, or `None` if its type is unknown.
fn size_of(file: &str, tensor: &Declared) -> Result<Option<u64>, FormatError> {
    let Some((block_len, block_bytes)) = tensor.kind.block else { return Ok(None) };
    let row = tensor.dimensions.first().copied().unwrap_or(1);
    if !row.is_multiple_of(block_len) {
        return Err(FormatError::PartialBlock {
            file: file.to_owned(),
            tensor: tensor.name.clone(),
            row,
            encoding: tensor.kind.element.to_string(),
            block: block_len,
        });
    }
    let rows = tensor.dimensions.iter().skip(1);
    let size = rows.fold((row / block_len).checked_mul(block_bytes), |size, &dim| size?.checked_mul(dim));
    size.map(Some).ok_or_else(|| overflow(file, tensor))
}

fn overflow(file: &str, tensor: &Declared) -> FormatError {
    let shape = tensor.dimensions.iter().rev().copied().collect();
    FormatError::SizeOverflow { file: file.to_owned(), tensor: tensor.name.clone(), shape }
}
