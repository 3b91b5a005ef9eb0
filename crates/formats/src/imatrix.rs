//! Importance matrices of llama.cpp: the sum of the squared inputs of each column of a weight.
//!
//! Two forms: GGUF with `general.type` = `imatrix`, and the legacy `.dat`. Of a weight `NAME`, the GGUF form has the
//! tensors `NAME.in_sum2` and `NAME.counts`. The legacy form is a sequence of i32 numbers, names and f32 values. It has
//! one count per weight, in chunks instead of inputs, and no length of a chunk.
//!
//! Source: llama.cpp's `tools/imatrix/imatrix.cpp` and `tools/quantize/quantize.cpp`.

use std::collections::BTreeMap;

use bytes::Bytes;
use honelm_blocks::Encoding;

use crate::gguf::cursor::Cursor;
use crate::gguf::{Gguf, Value, Writer};
use crate::{ElementType, FormatError, TensorSource};

const TYPE: &str = "general.type";
const DATASETS: &str = "imatrix.datasets";
const CHUNK_COUNT: &str = "imatrix.chunk_count";
const CHUNK_SIZE: &str = "imatrix.chunk_size";
const SUMS: &str = ".in_sum2";
const COUNTS: &str = ".counts";
/// The smallest entry of the legacy form: the length of an empty name, the number of chunks, the number of values.
const SMALLEST_ENTRY: u64 = 4 + 4 + 4;

/// An importance matrix.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Imatrix {
    /// The statistics by the weight's name in GGUF: `blk.0.attn_q.weight`.
    pub entries: BTreeMap<String, InputSquares>,
    /// The names of the texts.
    pub datasets: Vec<String>,
    /// The number of chunks of text.
    pub chunk_count: u32,
    /// The number of tokens per chunk; 0 if it is unknown.
    pub chunk_size: u32,
}

/// The squared inputs of one weight.
#[derive(Debug, Clone, PartialEq)]
pub struct InputSquares {
    /// The sum of the squared inputs of each column. // [experts, K]
    pub sums: Vec<f32>,
    /// The number of inputs that were summed, per expert; one number for a weight without experts. Never empty, and
    /// divides the number of sums.
    pub counts: Vec<f32>,
}

/// The form of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// GGUF.
    Gguf,
    /// The legacy `.dat`.
    Dat,
}

impl InputSquares {
    /// Returns the mean of the squared inputs of each column. An expert without inputs has 1 everywhere, as in
    /// llama.cpp. // [experts, K]
    #[must_use]
    pub fn means(&self) -> Vec<f32> {
        let mean = |(sums, &count): (&[f32], &f32)| -> Vec<f32> {
            sums.iter().map(|sum| if count > 0.0 { sum / count } else { 1.0 }).collect()
        };
        self.sums.chunks(self.columns()).zip(&self.counts).flat_map(mean).collect()
    }

    /// Returns the number of columns.
    fn columns(&self) -> usize {
        (self.sums.len() / self.counts.len().max(1)).max(1)
    }

    /// Checks the values. `file` and `tensor` are the names for errors.
    fn checked(self, file: &str, tensor: &str) -> Result<Self, FormatError> {
        let (values, counts) = (self.sums.len(), self.counts.len());
        let bad = |problem| FormatError::InvalidImatrix { file: file.to_owned(), tensor: tensor.to_owned(), problem };
        if values == 0 || counts == 0 || !values.is_multiple_of(counts) {
            return Err(bad(format!("found {values} sums for {counts} counts, expected the same number per count")));
        }
        match self.sums.iter().chain(&self.counts).find(|v| !v.is_finite() || **v < 0.0) {
            Some(v) => Err(bad(format!("found {v} among the sums of squares, expected finite numbers from 0 on"))),
            None => Ok(self),
        }
    }
}

impl Imatrix {
    /// Parses a file in either form. Errors name the file `file`.
    ///
    /// # Errors
    /// [`FormatError::NotAnImatrix`] for a GGUF file of another type, [`FormatError::InvalidImatrix`] for sums and counts
    /// that do not fit together or are negative or not finite, and a variant for each violation of the format.
    pub fn parse(data: Bytes, file: &str) -> Result<Self, FormatError> {
        if data.is_empty() {
            return Err(FormatError::EmptyFile { file: file.to_owned() });
        }
        let found = if data.starts_with(b"GGUF") { Self::from_gguf(data, file) } else { Self::from_dat(&data, file) }?;
        if found.entries.is_empty() {
            return Err(FormatError::NotAnImatrix { file: file.to_owned(), found: "no entries".to_owned() });
        }
        Ok(found)
    }

    /// Returns the bytes of a file.
    ///
    /// # Errors
    /// [`FormatError::InvalidImatrix`] for an entry that [`Imatrix::parse`] would refuse, [`FormatError::NameTooLong`].
    pub fn to_bytes(&self, form: Form) -> Result<Vec<u8>, FormatError> {
        for (name, entry) in &self.entries {
            entry.clone().checked("the new importance matrix", name)?;
        }
        match form {
            Form::Gguf => self.to_gguf(),
            Form::Dat => Ok(self.to_dat()),
        }
    }

    fn from_gguf(data: Bytes, file: &str) -> Result<Self, FormatError> {
        let gguf = Gguf::parse(data, file)?;
        match gguf.get_as::<&str>(TYPE)? {
            Some("imatrix") => {}
            other => {
                let found = format!("a GGUF file of type '{}'", crate::error::escaped(other.unwrap_or("model")));
                return Err(FormatError::NotAnImatrix { file: file.to_owned(), found });
            }
        }
        let mut entries = BTreeMap::new();
        for name in gguf.names() {
            if let Some(weight) = name.strip_suffix(SUMS) {
                let (sums, counts) = (floats(&gguf, name)?, floats(&gguf, &format!("{weight}{COUNTS}"))?);
                entries.insert(weight.to_owned(), InputSquares { sums, counts }.checked(file, weight)?);
            }
        }
        Ok(Self {
            entries,
            datasets: gguf.get_as::<&[String]>(DATASETS)?.unwrap_or_default().to_vec(),
            chunk_count: gguf.get_as(CHUNK_COUNT)?.unwrap_or_default(),
            chunk_size: gguf.get_as(CHUNK_SIZE)?.unwrap_or_default(),
        })
    }

    fn to_gguf(&self) -> Result<Vec<u8>, FormatError> {
        let mut writer = Writer::new();
        writer.metadata(TYPE, "imatrix")?;
        writer.metadata(DATASETS, Value::Array(crate::gguf::Array::String(self.datasets.clone())))?;
        writer.metadata(CHUNK_COUNT, self.chunk_count)?;
        writer.metadata(CHUNK_SIZE, self.chunk_size)?;
        let mut data = Vec::new();
        for (name, entry) in &self.entries {
            // ggml drops outer dimensions of 1.
            let experts = Some(entry.counts.len()).filter(|&experts| experts > 1);
            for (suffix, values, columns) in [(SUMS, &entry.sums, entry.columns()), (COUNTS, &entry.counts, 1)] {
                let shape: Vec<usize> = experts.into_iter().chain([columns]).collect();
                writer.tensor(format!("{name}{suffix}"), &shape, Encoding::F32)?;
                data.push(values);
            }
        }
        let (mut out, mut data) = (Vec::new(), data.into_iter());
        writer.write_to(&mut out, "the new importance matrix", |_, sink| {
            sink.write(&bytes_of(data.next().map_or(&[][..], Vec::as_slice)))
        })?;
        Ok(out)
    }

    fn from_dat(data: &[u8], file: &str) -> Result<Self, FormatError> {
        let mut cursor = Cursor::new(file, data);
        let count = cursor.count_i32(SMALLEST_ENTRY, "the number of entries")?;
        let mut entries = BTreeMap::new();
        for i in 0..count {
            let length = cursor.count_i32(1, format_args!("the length of the name of entry {i}"))?;
            let name = cursor.text(length, format_args!("the name of entry {i}"))?;
            let what = crate::error::shown(&name);
            // llama.cpp does not divide by a number of chunks that is not positive.
            let chunks = cursor.u32(format_args!("the number of chunks of {what}"))?.cast_signed().max(1);
            let values = cursor.count_i32(4, format_args!("the number of values of {what}"))?;
            let sums = floats_of(cursor.take(values as u64 * 4, format_args!("the values of {what}"))?);
            let entry = InputSquares { sums, counts: vec![chunks as f32] }.checked(file, &name)?;
            if entries.insert(name.clone(), entry).is_some() {
                return Err(FormatError::DuplicateTensor { file: file.to_owned(), tensor: name });
            }
        }
        // Old files end here.
        let mut found = Self { entries, ..Self::default() };
        if cursor.remaining() > 0 {
            found.chunk_count = cursor.u32("the number of chunks")?;
            let length = cursor.count_i32(1, "the length of the text's name")?;
            found.datasets = vec![cursor.text(length, "the text's name")?];
        }
        Ok(found)
    }

    fn to_dat(&self) -> Vec<u8> {
        let mut out = (self.entries.len() as u32).to_le_bytes().to_vec();
        for (name, entry) in &self.entries {
            let most = entry.counts.iter().copied().fold(0.0, f32::max);
            let chunks = (most / self.chunk_size.max(1) as f32).ceil().max(1.0);
            out.extend((name.len() as u32).to_le_bytes());
            out.extend(name.as_bytes());
            out.extend((chunks as u32).to_le_bytes());
            out.extend((entry.sums.len() as u32).to_le_bytes());
            out.extend(bytes_of(&entry.means().iter().map(|mean| mean * chunks).collect::<Vec<_>>()));
        }
        out.extend(self.chunk_count.to_le_bytes());
        let dataset = self.datasets.last().map_or("", String::as_str);
        out.extend((dataset.len() as u32).to_le_bytes());
        out.extend(dataset.as_bytes());
        out
    }
}

/// Returns the values of an F32 tensor.
fn floats(gguf: &Gguf, name: &str) -> Result<Vec<f32>, FormatError> {
    let tensor = gguf.get(name)?;
    if tensor.element != ElementType::Weights(Encoding::F32) {
        let (file, tensor, found) = (gguf.file().to_owned(), name.to_owned(), tensor.element.to_string());
        return Err(FormatError::UnexpectedElement { file, tensor, found, expected: "F32" });
    }
    Ok(floats_of(&tensor.bytes))
}

fn floats_of(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
}

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}
