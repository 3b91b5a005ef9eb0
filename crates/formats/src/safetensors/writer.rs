use std::collections::HashSet;
use std::io::Write;

use serde_json::{Map, Value, json};

use super::header::dtype_name;
use super::{HEADER_LIMIT, METADATA_KEY};
use crate::{ElementType, FormatError, TensorInfo, TensorSink, shards};

/// The name of the file in errors before [`Writer::write_to`] receives it.
const UNNAMED: &str = "the new safetensors file";

/// Writes a safetensors file. All tensors are declared first. The data are then requested tensor by tensor, so only
/// one tensor needs to be in memory at a time.
#[derive(Debug, Clone)]
pub struct Writer {
    metadata: Map<String, Value>,
    tensors: Vec<TensorInfo>,
    names: HashSet<String>,
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// Returns an empty file with the metadata `{"format": "pt"}`, which transformers requires.
    #[must_use]
    pub fn new() -> Self {
        let metadata = Map::from_iter([("format".to_owned(), json!("pt"))]);
        Self { metadata, tensors: Vec::new(), names: HashSet::new() }
    }

    /// Sets a metadata string.
    pub fn metadata(&mut self, key: impl Into<String>, value: impl Into<String>) -> &mut Self {
        self.metadata.insert(key.into(), Value::String(value.into()));
        self
    }

    /// Declares the next tensor, whose `shape` is outermost first. Only floats and integers are possible: safetensors
    /// has no block encodings.
    ///
    /// # Errors
    /// [`FormatError::DuplicateTensor`], [`FormatError::NotRepresentable`] and [`FormatError::SizeOverflow`].
    pub fn tensor(
        &mut self,
        name: impl Into<String>,
        shape: &[usize],
        element: ElementType,
    ) -> Result<&mut Self, FormatError> {
        let (name, file) = (name.into(), UNNAMED.to_owned());
        if dtype_name(&element).is_none() {
            let reason = format!("the format has no type for {element}");
            return Err(FormatError::NotRepresentable { tensor: name, format: "safetensors", reason });
        }
        let Some(size) = element.size_of(shape) else {
            let shape = shape.iter().map(|&d| d as u64).collect();
            return Err(FormatError::SizeOverflow { file, tensor: name, shape });
        };
        if name == METADATA_KEY || !self.names.insert(name.clone()) {
            return Err(FormatError::DuplicateTensor { file, tensor: name });
        }
        self.tensors.push(TensorInfo { name, element, shape: shape.to_vec(), size });
        Ok(self)
    }

    /// Returns the declared tensors in the order in which their data are written: as declared if that aligns every
    /// tensor to its element, otherwise by width, widest first.
    #[must_use]
    pub fn tensors(&self) -> Vec<&TensorInfo> {
        let mut tensors: Vec<&TensorInfo> = self.tensors.iter().collect();
        let mut offset = 0u64;
        let aligned = tensors.iter().all(|tensor| {
            let aligned = offset.is_multiple_of(tensor.element.alignment());
            offset = offset.saturating_add(tensor.size);
            aligned
        });
        if !aligned {
            tensors.sort_by_key(|tensor| std::cmp::Reverse(tensor.element.alignment()));
        }
        tensors
    }

    /// Divides the tensors, in the declared order, into files of at most `limit` bytes. A larger tensor gets a file of
    /// its own. If there are several files, they take the names of [`crate::shard_name`] and need an [`index`].
    ///
    /// # Errors
    /// [`FormatError::TooManyShards`].
    pub fn split(&self, limit: u64) -> Result<Vec<Self>, FormatError> {
        // An offset has at most 20 digits.
        let entry = |tensor: &TensorInfo| {
            let name = Value::from(tensor.name.as_str()).to_string();
            (name.len() + tensor.shape.len() * 21 + 90) as u64 + tensor.size
        };
        let sizes: Vec<u64> = self.tensors.iter().map(entry).collect();
        let fixed = 32 + Value::Object(self.metadata.clone()).to_string().len() as u64;
        let parts = shards::cut(&sizes, fixed, fixed, limit);
        if parts.len() > shards::MAX_SHARDS {
            return Err(FormatError::TooManyShards { found: parts.len(), limit: shards::MAX_SHARDS });
        }
        let part = |range: std::ops::Range<usize>| {
            let tensors: Vec<TensorInfo> = self.tensors.get(range).unwrap_or_default().to_vec();
            let names = tensors.iter().map(|tensor| tensor.name.clone()).collect();
            Self { metadata: self.metadata.clone(), tensors, names }
        };
        Ok(parts.into_iter().map(part).collect())
    }

    /// Returns the size of the whole file in bytes.
    ///
    /// # Errors
    /// [`FormatError::SizeOverflow`] and [`FormatError::HeaderTooLarge`].
    pub fn file_size(&self) -> Result<u64, FormatError> {
        let header = self.header(UNNAMED)?.len() as u64;
        Ok(header + self.tensors.iter().map(|tensor| tensor.size).sum::<u64>())
    }

    /// Writes the file to `out`. Errors call it `file`. `data` is called once per tensor in the order of
    /// [`Writer::tensors`], and must write exactly the declared number of bytes.
    ///
    /// # Errors
    /// The errors of `data`, [`FormatError::SizeMismatch`] if it writes too little or too much, those of
    /// [`Writer::file_size`], and I/O errors.
    pub fn write_to<W: Write, E: From<FormatError>>(
        &self,
        out: &mut W,
        file: &str,
        mut data: impl FnMut(&TensorInfo, &mut TensorSink<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = |source| FormatError::io("write", file, source);
        out.write_all(&self.header(file)?).map_err(failed)?;
        for tensor in self.tensors() {
            let mut sink = TensorSink::new(out, file, tensor);
            data(tensor, &mut sink)?;
            sink.finish()?;
        }
        out.flush().map_err(failed)?;
        Ok(())
    }

    /// Returns the length and the JSON header, padded with spaces so that the data begin at a multiple of 8 bytes.
    fn header(&self, file: &str) -> Result<Vec<u8>, FormatError> {
        let mut header = Map::new();
        if !self.metadata.is_empty() {
            header.insert(METADATA_KEY.to_owned(), Value::Object(self.metadata.clone()));
        }
        let mut offset = 0u64;
        for tensor in self.tensors() {
            let Some(end) = offset.checked_add(tensor.size) else {
                let shape = tensor.shape.iter().map(|&d| d as u64).collect();
                return Err(FormatError::SizeOverflow { file: file.to_owned(), tensor: tensor.name.clone(), shape });
            };
            let dtype = dtype_name(&tensor.element);
            let entry = json!({"dtype": dtype, "shape": tensor.shape, "data_offsets": [offset, end]});
            header.insert(tensor.name.clone(), entry);
            offset = end;
        }
        let mut text = Value::Object(header).to_string().into_bytes();
        text.resize(text.len().next_multiple_of(8), b' ');
        if text.len() as u64 > HEADER_LIMIT {
            let found = text.len() as u64;
            return Err(FormatError::HeaderTooLarge { file: file.to_owned(), found, limit: HEADER_LIMIT });
        }
        let mut out = (text.len() as u64).to_le_bytes().to_vec();
        out.extend(text);
        Ok(out)
    }
}

/// Returns `model.safetensors.index.json` for the shards `files`.
#[must_use]
pub fn index(files: &[(String, Writer)]) -> Value {
    let mut map = Map::new();
    let mut total = 0u64;
    for (name, writer) in files {
        for tensor in &writer.tensors {
            map.insert(tensor.name.clone(), json!(name));
            total += tensor.size;
        }
    }
    json!({"metadata": {"total_size": total}, "weight_map": map})
}
