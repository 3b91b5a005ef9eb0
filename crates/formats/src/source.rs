use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use honelm_blocks::{BlockMatrix, Encoding};

use crate::{FileWatch, FormatError};

/// A fixed-width integer type, little-endian on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are the types")]
pub enum IntegerType {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
}

impl IntegerType {
    /// Returns the number of bytes per value.
    #[must_use]
    pub const fn width(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 => 4,
            Self::U64 | Self::I64 => 8,
        }
    }

    /// Returns the name in safetensors and ggml.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::U8 => "U8",
            Self::I8 => "I8",
            Self::U16 => "U16",
            Self::I16 => "I16",
            Self::U32 => "U32",
            Self::I32 => "I32",
            Self::U64 => "U64",
            Self::I64 => "I64",
        }
    }
}

/// The type of a tensor's elements.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ElementType {
    /// Floats or blocks that [`honelm_blocks`] can decode.
    Weights(Encoding),
    /// Plain integers.
    Integer(IntegerType),
    /// FP8 numbers, one byte each, whose scale is in another tensor ([`crate::quantized::fp8`]).
    F8E4M3,
    /// A type that cannot be read, by its name (`F8_E5M2`, `IQ2_XS`) or number (`type 77`). Such tensors are listed,
    /// but [`TensorSource::get`] returns an error.
    Other(Cow<'static, str>),
}

impl ElementType {
    /// Returns the number of bytes of a tensor of this type and shape (outermost dimension first). Returns `None` if
    /// it does not fit in 64 bits, a row is not whole blocks, or the type cannot be read.
    #[must_use]
    pub fn size_of(&self, shape: &[usize]) -> Option<u64> {
        let (block_len, block_bytes) = match self {
            Self::Weights(encoding) => (encoding.block_len(), encoding.block_bytes()),
            Self::Integer(integer) => (1, integer.width()),
            Self::F8E4M3 => (1, 1),
            Self::Other(_) => return None,
        };
        let row = shape.last().copied().unwrap_or(1);
        if !row.is_multiple_of(block_len) {
            return None;
        }
        let leading = shape.split_last().map_or(&[][..], |(_, leading)| leading);
        let row_bytes = ((row / block_len) as u64).checked_mul(block_bytes as u64)?;
        leading.iter().try_fold(row_bytes, |size, &dim| size.checked_mul(dim as u64))
    }

    /// Returns the number of bytes to which the start of such a tensor should be aligned.
    pub(crate) fn alignment(&self) -> u64 {
        match self {
            Self::Weights(encoding) if encoding.is_float() => encoding.block_bytes() as u64,
            Self::Integer(integer) => integer.width() as u64,
            Self::Weights(_) | Self::F8E4M3 | Self::Other(_) => 1,
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weights(encoding) => f.write_str(encoding.display_name()),
            Self::Integer(integer) => f.write_str(integer.name()),
            Self::F8E4M3 => f.write_str("F8_E4M3"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// A tensor's entry in a file, without the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The name in the file.
    pub name: String,
    /// The type of the elements.
    pub element: ElementType,
    /// The dimensions, outermost first as in Hugging Face (the reverse of GGUF's order).
    pub shape: Vec<usize>,
    /// The number of bytes of data. For a type of unknown size, the space up to the next tensor.
    pub size: u64,
}

/// A tensor as stored in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawTensor {
    /// The name in the file.
    pub name: String,
    /// The type of the elements; never [`ElementType::Other`].
    pub element: ElementType,
    /// The dimensions, outermost first as in Hugging Face (the reverse of GGUF's order).
    pub shape: Vec<usize>,
    /// The little-endian data, with the length that type and shape require. A view into the map if the file is mapped;
    /// not necessarily aligned.
    pub bytes: Bytes,
}

impl RawTensor {
    /// Returns the values of an integer tensor, or `None` for other types and for a `U64` above `i64::MAX`.
    #[must_use]
    pub fn integers(&self) -> Option<Vec<i64>> {
        fn read<const W: usize>(bytes: &[u8], value: impl Fn([u8; W]) -> Option<i64>) -> Option<Vec<i64>> {
            let (values, rest) = bytes.as_chunks::<W>();
            if rest.is_empty() { values.iter().map(|&b| value(b)).collect() } else { None }
        }
        let ElementType::Integer(integer) = &self.element else { return None };
        let bytes = &self.bytes[..];
        match integer {
            IntegerType::Bool | IntegerType::U8 => read::<1>(bytes, |b| Some(u8::from_le_bytes(b).into())),
            IntegerType::I8 => read::<1>(bytes, |b| Some(i8::from_le_bytes(b).into())),
            IntegerType::U16 => read::<2>(bytes, |b| Some(u16::from_le_bytes(b).into())),
            IntegerType::I16 => read::<2>(bytes, |b| Some(i16::from_le_bytes(b).into())),
            IntegerType::U32 => read::<4>(bytes, |b| Some(u32::from_le_bytes(b).into())),
            IntegerType::I32 => read::<4>(bytes, |b| Some(i32::from_le_bytes(b).into())),
            IntegerType::U64 => read::<8>(bytes, |b| u64::from_le_bytes(b).try_into().ok()),
            IntegerType::I64 => read::<8>(bytes, |b| Some(i64::from_le_bytes(b))),
        }
    }
}

/// The named tensors of a checkpoint in one or more files.
pub trait TensorSource {
    /// Returns all names in the order of the file or index.
    fn names(&self) -> Vec<&str>;

    /// Returns a tensor's entry, even if its type cannot be read.
    fn info(&self, name: &str) -> Option<&TensorInfo>;

    /// Returns the bytes `within` of a tensor's data. The range must lie within its size.
    ///
    /// # Errors
    /// [`FormatError::MissingTensor`] and [`FormatError::NotFetched`].
    fn bytes(&self, name: &str, within: Range<u64>) -> Result<Bytes, FormatError>;

    /// Releases the memory that the files take ([`crate::FileData::forget`]).
    fn forget(&self);

    /// Returns a watch that detects writes to the mapped files.
    fn watch(&self) -> FileWatch;

    /// Returns the name, for errors, of the file that contains the tensor, or of the whole checkpoint if there is no
    /// such tensor.
    fn file_of(&self, name: &str) -> &str;

    /// Returns `true` if there is a tensor of this name.
    fn contains(&self, name: &str) -> bool {
        self.info(name).is_some()
    }

    /// Returns the entry of a required tensor.
    ///
    /// # Errors
    /// [`FormatError::MissingTensor`], and [`FormatError::UnsupportedEncoding`] if its type cannot be read.
    fn entry(&self, name: &str) -> Result<&TensorInfo, FormatError> {
        let (file, tensor) = (|| self.file_of(name).to_owned(), name.to_owned());
        match self.info(name) {
            None => Err(FormatError::MissingTensor { file: file(), tensor }),
            Some(TensorInfo { element: ElementType::Other(found), .. }) => {
                Err(FormatError::UnsupportedEncoding { file: file(), tensor, found: found.to_string() })
            }
            Some(info) => Ok(info),
        }
    }

    /// Returns a required tensor.
    ///
    /// # Errors
    /// Those of [`TensorSource::entry`] and [`TensorSource::bytes`].
    fn get(&self, name: &str) -> Result<RawTensor, FormatError> {
        let TensorInfo { name, element, shape, size } = self.entry(name)?.clone();
        let bytes = self.bytes(&name, 0..size)?;
        Ok(RawTensor { name, element, shape, bytes })
    }

    /// Returns the encoding, rows and columns of a weight tensor as a matrix. The last dimension is a row; the product
    /// of the others is the number of rows. A vector is one row.
    ///
    /// # Errors
    /// [`FormatError::UnexpectedElement`] for integers, and those of [`TensorSource::entry`].
    fn matrix_shape(&self, name: &str) -> Result<(Encoding, usize, usize), FormatError> {
        let TensorInfo { element, shape, .. } = self.entry(name)?;
        let &ElementType::Weights(encoding) = element else {
            return Err(FormatError::UnexpectedElement {
                file: self.file_of(name).to_owned(),
                tensor: name.to_owned(),
                found: element.to_string(),
                expected: "weights",
            });
        };
        let cols = shape.last().copied().unwrap_or(1);
        // If one dimension is 0, the data do not bound the others.
        let overflow = || FormatError::SizeOverflow {
            file: self.file_of(name).to_owned(),
            tensor: name.to_owned(),
            shape: shape.iter().map(|&d| d as u64).collect(),
        };
        let leading = shape.split_last().map_or(&[][..], |(_, leading)| leading);
        let rows = leading.iter().try_fold(1usize, |rows, &dim| rows.checked_mul(dim)).ok_or_else(overflow)?;
        Ok((encoding, rows, cols))
    }

    /// Returns a weight tensor as a matrix with the shape of [`TensorSource::matrix_shape`].
    ///
    /// # Errors
    /// Those of [`TensorSource::matrix_shape`] and [`TensorSource::bytes`].
    fn matrix(&self, name: &str) -> Result<BlockMatrix, FormatError> {
        let (encoding, rows, cols) = self.matrix_shape(name)?;
        let bytes = self.bytes(name, 0..self.entry(name)?.size)?;
        Ok(BlockMatrix { encoding, rows, cols, bytes })
    }

    /// Returns the rows `rows` of such a matrix without reading the others.
    ///
    /// # Errors
    /// Those of [`TensorSource::matrix`].
    ///
    /// # Panics
    /// Panics if the range exceeds the rows of the matrix.
    fn matrix_rows(&self, name: &str, rows: Range<usize>) -> Result<BlockMatrix, FormatError> {
        let (encoding, all, cols) = self.matrix_shape(name)?;
        assert!(rows.end <= all, "rows beyond the matrix");
        // The size of the whole matrix was checked, so this product fits.
        let row = self.entry(name)?.size / all.max(1) as u64;
        let bytes = self.bytes(name, rows.start as u64 * row..rows.end as u64 * row)?;
        Ok(BlockMatrix { encoding, rows: rows.len(), cols, bytes })
    }

    /// Returns the values of an integer tensor of any width.
    ///
    /// # Errors
    /// [`FormatError::UnexpectedElement`] for anything but integers that fit `i64`, and those of
    /// [`TensorSource::get`].
    fn integers(&self, name: &str) -> Result<Vec<i64>, FormatError> {
        let tensor = self.get(name)?;
        tensor.integers().ok_or_else(|| FormatError::UnexpectedElement {
            file: self.file_of(name).to_owned(),
            tensor: name.to_owned(),
            found: tensor.element.to_string(),
            expected: "integers of at most 63 bits",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_count_whole_blocks_and_refuse_overflow() {
        let weights = ElementType::Weights;
        assert_eq!(weights(Encoding::F16).size_of(&[3, 5]), Some(30));
        assert_eq!(weights(Encoding::Q4_0).size_of(&[3, 64]), Some(3 * 2 * 18));
        assert_eq!(weights(Encoding::Q4_0).size_of(&[3, 65]), None);
        assert_eq!(weights(Encoding::F32).size_of(&[]), Some(4));
        assert_eq!(weights(Encoding::F32).size_of(&[usize::MAX, usize::MAX]), None);
        assert_eq!(ElementType::Integer(IntegerType::I64).size_of(&[2]), Some(16));
        assert_eq!(ElementType::F8E4M3.size_of(&[2]), Some(2));
        assert_eq!(ElementType::Other("F8_E5M2".into()).size_of(&[2]), None);
    }

    #[test]
    fn integers_of_every_width_are_read() {
        let read = |integer: IntegerType, bytes: &[u8]| {
            let count = bytes.len() / integer.width();
            let element = ElementType::Integer(integer);
            RawTensor { name: "t".into(), element, shape: vec![count], bytes: Bytes::copy_from_slice(bytes) }.integers()
        };
        assert_eq!(read(IntegerType::Bool, &[0, 1]), Some(vec![0, 1]));
        assert_eq!(read(IntegerType::U8, &[255]), Some(vec![255]));
        assert_eq!(read(IntegerType::I8, &[255]), Some(vec![-1]));
        assert_eq!(read(IntegerType::I16, &[254, 255]), Some(vec![-2]));
        assert_eq!(read(IntegerType::I32, &[1, 0, 0, 128]), Some(vec![i64::from(i32::MIN) + 1]));
        assert_eq!(read(IntegerType::U32, &[1, 0, 0, 128]), Some(vec![(1 << 31) + 1]));
        assert_eq!(read(IntegerType::I64, &[255; 8]), Some(vec![-1]));
        assert_eq!(read(IntegerType::U64, &[255; 8]), None);
    }
}
