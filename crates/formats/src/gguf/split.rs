//! Models in parts named `NAME-00001-of-00003.gguf` and so on, as llama.cpp's `gguf-split` writes them.
//!
//! The first part has all metadata. Every part has its number, the number of parts and the number of tensors in all
//! parts. Nothing in a part names the model, so a part of another model with the same tensors cannot be detected.

use super::{ALIGNMENT_KEY, Gguf, SPLIT_COUNT, SPLIT_NO, SPLIT_TENSORS};
use crate::{FileData, FormatError, TensorSource};

impl Gguf {
    /// Opens and maps a file. If it is a part of a split model, opens all parts.
    ///
    /// # Errors
    /// Those of [`Gguf::parse`] and [`Gguf::join`], I/O errors, [`FormatError::MissingShard`], and
    /// [`FormatError::SplitName`] for a part whose name does not lead to the others.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Self, FormatError> {
        let path = path.as_ref();
        let file = path.display().to_string();
        let data = crate::map_file(path)?;
        let opened = Self::parse_part(data.clone(), file.clone())?;
        let count = usize::from(opened.split_count()?);
        if count == 1 {
            return Ok(opened);
        }
        let own = usize::from(opened.require_part(SPLIT_NO)?);
        let name = path.file_stem().and_then(|stem| stem.to_str()).and_then(crate::parse_shard_name);
        let Some((stem, _, _)) = name.filter(|&(_, no, of)| (no, of) == (own, count)) else {
            return Err(FormatError::SplitName { file, no: own + 1, count });
        };
        let mut parts = Vec::with_capacity(count);
        for no in 0..count {
            if no == own {
                parts.push((data.clone(), file.clone()));
                continue;
            }
            let shard = format!("{}.gguf", crate::shard_name(stem, no, count));
            let part = path.with_file_name(&shard);
            match crate::map_file(&part) {
                Ok(data) => parts.push((data, part.display().to_string())),
                Err(FormatError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                    return Err(FormatError::MissingShard { file, shard });
                }
                Err(other) => return Err(other),
            }
        }
        Self::join(parts)
    }

    /// Parses the parts of a model, which must be in order. Each has a name for errors.
    ///
    /// # Errors
    /// Those of [`Gguf::parse`], [`FormatError::SplitMismatch`] for a part out of order or of another model, and
    /// [`FormatError::TensorInTwoShards`].
    pub fn join(parts: Vec<(FileData, String)>) -> Result<Self, FormatError> {
        let count = parts.len();
        let mut parts = parts.into_iter().map(|(data, file)| Self::parse_part(data, file));
        let Some(first) = parts.next() else {
            return Err(FormatError::EmptyFile { file: "the list of parts".to_owned() });
        };
        let mut model = first?;
        let total = model.check_part(0, count)?;
        for (no, part) in (1..).zip(parts) {
            let part = part?;
            let tensors = part.check_part(no, count)?;
            if tensors != total {
                return Err(part.mismatch(SPLIT_TENSORS, shown(tensors), shown(total)));
            }
            model.append(part, no)?;
        }
        let found = model.tensors.len() as u64;
        if total.is_some_and(|total| total != found) {
            return Err(model.mismatch(SPLIT_TENSORS, shown(total), format!("{found}, the number in all parts")));
        }
        Ok(model)
    }

    /// Returns the number of parts of the model to which this file belongs; 1 for a whole model.
    pub(super) fn split_count(&self) -> Result<u16, FormatError> {
        Ok(self.part_number(SPLIT_COUNT)?.unwrap_or(1).max(1))
    }

    fn part_number(&self, key: &str) -> Result<Option<u16>, FormatError> {
        let Some(found) = self.get_u64(key)? else { return Ok(None) };
        let wide = || self.mismatch(key, found.to_string(), "at most 65535".to_owned());
        u16::try_from(found).map(Some).map_err(|_| wide())
    }

    fn require_part(&self, key: &str) -> Result<u16, FormatError> {
        let missing = || self.mismatch(key, "nothing".to_owned(), "a number".to_owned());
        self.part_number(key)?.ok_or_else(missing)
    }

    fn mismatch(&self, key: &str, found: String, expected: String) -> FormatError {
        FormatError::SplitMismatch { file: self.file().to_owned(), key: key.to_owned(), found, expected }
    }

    /// Checks that this is part `no` of `count`. Returns the number of tensors in all parts, if the part states it.
    fn check_part(&self, no: usize, count: usize) -> Result<Option<u64>, FormatError> {
        for (key, expected) in [(SPLIT_COUNT, count), (SPLIT_NO, no)] {
            let found = usize::from(self.require_part(key)?);
            if found != expected {
                return Err(self.mismatch(key, found.to_string(), expected.to_string()));
            }
        }
        self.get_u64(SPLIT_TENSORS)
    }

    /// Adds the tensors of part `no`, whose metadata must not contradict that of the earlier parts.
    fn append(&mut self, part: Self, no: usize) -> Result<(), FormatError> {
        for (key, value) in part.metadata.iter().filter(|(key, _)| *key != SPLIT_NO && *key != ALIGNMENT_KEY) {
            match self.metadata.value(key) {
                Some(own) if own != value => return Err(part.mismatch(key, value.describe(), own.describe())),
                _ => {}
            }
        }
        for entry in &part.tensors {
            let tensor = &entry.info.name;
            if self.contains(tensor) {
                let (file, other) = (part.file().to_owned(), self.file_of(tensor).to_owned());
                return Err(FormatError::TensorInTwoShards { file, tensor: tensor.clone(), other });
            }
        }
        for mut entry in part.tensors {
            entry.part = no;
            self.index.insert(entry.info.name.clone(), self.tensors.len());
            self.tensors.push(entry);
        }
        self.parts.extend(part.parts);
        Ok(())
    }
}

fn shown(count: Option<u64>) -> String {
    count.map_or_else(|| "nothing".to_owned(), |count| count.to_string())
}
