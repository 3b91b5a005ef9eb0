use std::collections::HashSet;
use std::io::Write;

use honelm_blocks::Encoding;

use super::metadata::Metadata;
use super::value::{Array, Value, with_values};
use super::{ALIGNMENT_KEY, MAX_DIMENSIONS, SPLIT_COUNT, SPLIT_NO, SPLIT_TENSORS, alignment};
use crate::{ElementType, FormatError, TensorInfo, TensorSink, shards};

/// The longest tensor name. ggml stores names in 64 bytes, the last of which is 0.
const MAX_NAME: usize = 63;
/// The longest key of the format.
const MAX_KEY: usize = 65535;
/// The name of the file in errors before [`Writer::write_to`] receives it.
const UNNAMED: &str = "the new GGUF file";

/// Writes a GGUF file of version 3. Metadata and all tensors are declared first. The data are then requested tensor
/// by tensor, so only one tensor needs to be in memory at a time.
#[derive(Debug, Clone, Default)]
pub struct Writer {
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    ggml_ids: Vec<u32>,
    names: HashSet<String>,
}

impl Writer {
    /// Returns an empty file.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a metadata key. `general.alignment` sets the alignment of tensor data.
    ///
    /// # Errors
    /// [`FormatError::DuplicateKey`] and [`FormatError::NameTooLong`].
    pub fn metadata(&mut self, key: impl Into<String>, value: impl Into<Value>) -> Result<&mut Self, FormatError> {
        let key = key.into();
        if key.len() > MAX_KEY {
            return Err(FormatError::NameTooLong { file: UNNAMED.to_owned(), name: key, limit: MAX_KEY });
        }
        if !self.metadata.insert(key.clone(), value.into()) {
            return Err(FormatError::DuplicateKey { file: UNNAMED.to_owned(), key });
        }
        Ok(self)
    }

    /// Declares the next tensor, whose `shape` is outermost first.
    ///
    /// # Errors
    /// [`FormatError::DuplicateTensor`], [`FormatError::NameTooLong`], [`FormatError::TooManyDimensions`],
    /// [`FormatError::PartialBlock`], [`FormatError::SizeOverflow`], and [`FormatError::NotRepresentable`] if ggml has
    /// no such encoding.
    pub fn tensor(
        &mut self,
        name: impl Into<String>,
        shape: &[usize],
        encoding: Encoding,
    ) -> Result<&mut Self, FormatError> {
        let (name, file) = (name.into(), UNNAMED.to_owned());
        if name.len() > MAX_NAME {
            return Err(FormatError::NameTooLong { file, name, limit: MAX_NAME });
        }
        if shape.len() > MAX_DIMENSIONS {
            let (found, limit) = (shape.len() as u64, MAX_DIMENSIONS as u64);
            return Err(FormatError::TooManyDimensions { file, tensor: name, found, limit });
        }
        let row = shape.last().copied().unwrap_or(1);
        if !row.is_multiple_of(encoding.block_len()) {
            let (row, block) = (row as u64, encoding.block_len() as u64);
            return Err(FormatError::PartialBlock { file, tensor: name, row, encoding: encoding.to_string(), block });
        }
        let Some(ggml_id) = encoding.ggml_id() else {
            let reason = format!("ggml has no type for {encoding}");
            return Err(FormatError::NotRepresentable { tensor: name, format: "GGUF", reason });
        };
        let element = ElementType::Weights(encoding);
        let Some(size) = element.size_of(shape) else {
            let shape = shape.iter().map(|&d| d as u64).collect();
            return Err(FormatError::SizeOverflow { file, tensor: name, shape });
        };
        if !self.names.insert(name.clone()) {
            return Err(FormatError::DuplicateTensor { file, tensor: name });
        }
        self.tensors.push(TensorInfo { name, element, shape: shape.to_vec(), size });
        self.ggml_ids.push(ggml_id);
        Ok(self)
    }

    /// Returns the declared tensors in the order in which their data are requested.
    #[must_use]
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// Divides the tensors, in the declared order, into files of at most `limit` bytes. A larger tensor gets a file of
    /// its own. The first file has all metadata. If there are several files, they are marked as parts as llama.cpp's
    /// `gguf-split` does, and take the names of [`crate::shard_name`].
    ///
    /// # Errors
    /// [`FormatError::TooManyShards`], and those of [`Writer::write_to`].
    pub fn split(&self, limit: u64) -> Result<Vec<Self>, FormatError> {
        let alignment = alignment(UNNAMED, &self.metadata)?;
        let empty = Self { metadata: self.metadata.clone(), ..Self::default() };
        // The three keys of a part, and the padding of the header.
        let marks = 128 + alignment;
        let first = empty.header(UNNAMED, alignment)?.len() as u64 + marks;
        let entry = |tensor: &TensorInfo| {
            let info = 24 + tensor.name.len() + 8 * tensor.shape.len();
            (info as u64).saturating_add(tensor.size).saturating_add(alignment)
        };
        let sizes: Vec<u64> = self.tensors.iter().map(entry).collect();
        let parts = shards::cut(&sizes, first, marks, limit);
        if parts.len() == 1 {
            return Ok(vec![self.clone()]);
        }
        if parts.len() > shards::MAX_SHARDS {
            return Err(FormatError::TooManyShards { found: parts.len(), limit: shards::MAX_SHARDS });
        }
        let count = parts.len();
        let part = |(no, range): (usize, std::ops::Range<usize>)| {
            let mut part = if no == 0 { empty.clone() } else { Self::new() };
            if let (1.., Some(own)) = (no, self.metadata.value(ALIGNMENT_KEY)) {
                part.metadata(ALIGNMENT_KEY, own.clone())?;
            }
            part.metadata(SPLIT_NO, no as u16)?;
            part.metadata(SPLIT_COUNT, count as u16)?;
            part.metadata(SPLIT_TENSORS, self.tensors.len() as i32)?;
            part.tensors = self.tensors.get(range.clone()).unwrap_or_default().to_vec();
            part.ggml_ids = self.ggml_ids.get(range).unwrap_or_default().to_vec();
            part.names = part.tensors.iter().map(|tensor| tensor.name.clone()).collect();
            Ok(part)
        };
        parts.into_iter().enumerate().map(part).collect()
    }

    /// Returns the size of the whole file in bytes.
    ///
    /// # Errors
    /// Those of [`Writer::write_to`].
    pub fn file_size(&self) -> Result<u64, FormatError> {
        let alignment = alignment(UNNAMED, &self.metadata)?;
        let header = self.header(UNNAMED, alignment)?.len() as u64;
        Ok(header + self.tensors.iter().map(|tensor| tensor.size.next_multiple_of(alignment)).sum::<u64>())
    }

    /// Writes the file to `out`. Errors call it `file`. `data` is called once per tensor in the declared order, and
    /// must write exactly the declared number of bytes.
    ///
    /// # Errors
    /// The errors of `data`, [`FormatError::SizeMismatch`] if it writes too little or too much,
    /// [`FormatError::InvalidAlignment`], and I/O errors.
    pub fn write_to<W: Write, E: From<FormatError>>(
        &self,
        out: &mut W,
        file: &str,
        mut data: impl FnMut(&TensorInfo, &mut TensorSink<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = |source| FormatError::io("write", file, source);
        let alignment = alignment(file, &self.metadata)?;
        out.write_all(&self.header(file, alignment)?).map_err(failed)?;
        for tensor in &self.tensors {
            let mut sink = TensorSink::new(out, file, tensor);
            data(tensor, &mut sink)?;
            sink.finish()?;
            let padding = tensor.size.next_multiple_of(alignment) - tensor.size;
            std::io::copy(&mut std::io::Read::take(std::io::repeat(0), padding), out).map_err(failed)?;
        }
        out.flush().map_err(failed)?;
        Ok(())
    }

    /// Returns everything before the data section, padded.
    fn header(&self, file: &str, alignment: u64) -> Result<Vec<u8>, FormatError> {
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in self.metadata.iter() {
            put_string(&mut out, key);
            out.extend(value.id().to_le_bytes());
            put_value(&mut out, value);
        }
        let mut offset = 0u64;
        for (tensor, ggml_id) in self.tensors.iter().zip(&self.ggml_ids) {
            put_string(&mut out, &tensor.name);
            out.extend((tensor.shape.len() as u32).to_le_bytes());
            for &dim in tensor.shape.iter().rev() {
                out.extend((dim as u64).to_le_bytes());
            }
            out.extend(ggml_id.to_le_bytes());
            out.extend(offset.to_le_bytes());
            let next = tensor.size.checked_next_multiple_of(alignment).and_then(|size| offset.checked_add(size));
            offset = next.ok_or_else(|| FormatError::SizeOverflow {
                file: file.to_owned(),
                tensor: tensor.name.clone(),
                shape: tensor.shape.iter().map(|&d| d as u64).collect(),
            })?;
        }
        let padded = (out.len() as u64).next_multiple_of(alignment);
        out.resize(padded as usize, 0);
        Ok(out)
    }
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// The encoding of one value in a file.
trait Put {
    fn put(&self, out: &mut Vec<u8>);
}

macro_rules! put_numbers {
    ($($t:ty),+) => {$(
        impl Put for $t {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend(self.to_le_bytes());
            }
        }
    )+};
}
put_numbers!(u8, i8, u16, i16, u32, i32, f32, u64, i64, f64);

impl Put for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push((*self).into());
    }
}

impl Put for String {
    fn put(&self, out: &mut Vec<u8>) {
        put_string(out, self);
    }
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(v) => v.put(out),
        Value::I8(v) => v.put(out),
        Value::U16(v) => v.put(out),
        Value::I16(v) => v.put(out),
        Value::U32(v) => v.put(out),
        Value::I32(v) => v.put(out),
        Value::F32(v) => v.put(out),
        Value::Bool(v) => v.put(out),
        Value::String(v) => v.put(out),
        Value::Array(array) => {
            out.extend(array.element_id().to_le_bytes());
            out.extend((array.len() as u64).to_le_bytes());
            with_values!(array, values => values.iter().for_each(|v| v.put(out)));
        }
        Value::U64(v) => v.put(out),
        Value::I64(v) => v.put(out),
        Value::F64(v) => v.put(out),
    }
}
