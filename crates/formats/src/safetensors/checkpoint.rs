use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;

use super::header::File;
use crate::json::{self, Pairs};
use crate::{FileData, FileWatch, FormatError, TensorInfo, TensorSource};

/// A safetensors checkpoint: one file, or the shards of an index.
#[derive(Debug, Clone)]
pub struct Safetensors {
    /// The file, folder or index, for errors.
    name: String,
    files: Vec<File>,
    /// Each tensor as the indices of its file and of the tensor within it, in the order of the file or index.
    order: Vec<(usize, usize)>,
    index: HashMap<String, (usize, usize)>,
    /// Tensors in shards other than the one that the index names, each with the ignored file.
    passed_over: Vec<(String, usize)>,
}

/// The contents of `model.safetensors.index.json` except its `metadata`.
#[derive(Deserialize)]
struct Index {
    weight_map: Pairs<String>,
}

impl Safetensors {
    /// Opens a `.safetensors` file, or a folder with `model.safetensors` or `model.safetensors.index.json`. All files
    /// are mapped.
    ///
    /// # Errors
    /// Those of [`Safetensors::parse`] and [`Safetensors::from_shards`], I/O errors, [`FormatError::NoWeights`] for a
    /// folder with neither file, and [`FormatError::Pickle`] for a folder with pickles instead.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Self, FormatError> {
        const INDEX_LIMIT: u64 = super::HEADER_LIMIT;
        let path = path.as_ref();
        if !path.is_dir() {
            return Self::parse(crate::map_file(path)?, path.display().to_string());
        }
        let single = path.join("model.safetensors");
        if single.exists() {
            return Self::parse(crate::map_file(&single)?, single.display().to_string());
        }
        let index = path.join("model.safetensors.index.json");
        let Some(json) = crate::file::read_small(&index, INDEX_LIMIT)? else { return Err(no_weights(path)) };
        let name = index.display().to_string();
        Self::from_shards(&name, &json, |shard| {
            let file = path.join(shard);
            match crate::map_file(&file) {
                Ok(data) => Ok((data, file.display().to_string())),
                Err(FormatError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                    Err(FormatError::MissingShard { file: name.clone(), shard: shard.to_owned() })
                }
                Err(other) => Err(other),
            }
        })
    }

    /// Parses one file. Errors name it `file`.
    ///
    /// # Errors
    /// A variant of [`FormatError`] for each violation of the format.
    pub fn parse(data: impl Into<FileData>, file: impl Into<String>) -> Result<Self, FormatError> {
        let name = file.into();
        let file = File::parse(data.into(), name.clone())?;
        let order: Vec<_> = (0..file.tensors.len()).map(|i| (0, i)).collect();
        let index = file.tensors.iter().map(|(info, _)| info.name.clone()).zip(order.iter().copied()).collect();
        Ok(Self { name, files: vec![file], order, index, passed_over: Vec::new() })
    }

    /// Parses the shards of an index. `load` is called once per shard and returns its contents and its name for
    /// errors. The index determines the shard from which a tensor is taken. Tensors that it does not list come last.
    ///
    /// # Errors
    /// [`FormatError::InvalidJson`], [`FormatError::DuplicateTensor`], [`FormatError::UnsafeShardName`] for anything
    /// but a plain file name, [`FormatError::TensorNotInShard`], [`FormatError::TensorInTwoShards`] for a tensor that
    /// the index does not list, the errors of `load`, and those of [`Safetensors::parse`].
    pub fn from_shards(
        index_name: &str,
        index_json: &[u8],
        mut load: impl FnMut(&str) -> Result<(FileData, String), FormatError>,
    ) -> Result<Self, FormatError> {
        let Index { weight_map } = json::parse(index_name, index_json)?;
        let mut files: Vec<File> = Vec::new();
        let mut shards: HashMap<String, (usize, HashMap<String, usize>)> = HashMap::new();
        let mut order = Vec::new();
        let mut index = HashMap::new();
        for (tensor, shard) in weight_map.0 {
            if !shards.contains_key(&shard) {
                if !is_plain_name(&shard) {
                    return Err(FormatError::UnsafeShardName { file: index_name.to_owned(), shard });
                }
                let (data, name) = load(&shard)?;
                let file = File::parse(data, name)?;
                let tensors = file.tensors.iter().enumerate().map(|(i, (info, _))| (info.name.clone(), i)).collect();
                shards.insert(shard.clone(), (files.len(), tensors));
                files.push(file);
            }
            let found = shards.get(&shard).and_then(|(file, tensors)| Some((*file, *tensors.get(&tensor)?)));
            let Some(place) = found else {
                return Err(FormatError::TensorNotInShard { file: index_name.to_owned(), tensor, shard });
            };
            order.push(place);
            if index.insert(tensor.clone(), place).is_some() {
                return Err(FormatError::DuplicateTensor { file: index_name.to_owned(), tensor });
            }
        }
        let (mut unlisted, mut passed_over) = (HashMap::new(), Vec::new());
        for (f, file) in files.iter().enumerate() {
            for (t, (info, _)) in file.tensors.iter().enumerate() {
                match index.get(&info.name) {
                    Some(&place) if place == (f, t) => {}
                    Some(_) => passed_over.push((info.name.clone(), f)),
                    None => {
                        order.push((f, t));
                        if let Some((other, _)) = unlisted.insert(info.name.clone(), (f, t)) {
                            let other = files.get(other).map_or("", |file| &file.name).to_owned();
                            let (file, tensor) = (file.name.clone(), info.name.clone());
                            return Err(FormatError::TensorInTwoShards { file, tensor, other });
                        }
                    }
                }
            }
        }
        index.extend(unlisted);
        Ok(Self { name: index_name.to_owned(), files, order, index, passed_over })
    }

    /// Returns the `__metadata__` strings of the (first) file in its order.
    #[must_use]
    pub fn metadata(&self) -> &[(String, String)] {
        self.files.first().map_or(&[], |file| &file.metadata)
    }

    /// Returns the tensors in shards other than the one that the index names, each with the ignored file.
    pub fn passed_over(&self) -> impl Iterator<Item = (&str, &str)> {
        self.passed_over
            .iter()
            .filter_map(|(tensor, file)| Some((tensor.as_str(), self.files.get(*file)?.name.as_str())))
    }

    /// Returns the name of the file or index in errors.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the names of the files in errors.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.name.as_str())
    }

    /// Returns all tensors in the order of the file or index.
    pub fn tensors(&self) -> impl Iterator<Item = &TensorInfo> {
        self.order.iter().filter_map(|&place| self.place(place)).map(|(_, info, _)| info)
    }

    fn place(&self, (file, tensor): (usize, usize)) -> Option<(&File, &TensorInfo, Range<u64>)> {
        let file = self.files.get(file)?;
        let (info, range) = file.tensors.get(tensor)?;
        Some((file, info, range.clone()))
    }
}

impl TensorSource for Safetensors {
    fn names(&self) -> Vec<&str> {
        self.tensors().map(|info| info.name.as_str()).collect()
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.place(*self.index.get(name)?).map(|(_, info, _)| info)
    }

    fn bytes(&self, name: &str, within: Range<u64>) -> Result<Bytes, FormatError> {
        let Some((file, _, range)) = self.index.get(name).and_then(|&place| self.place(place)) else {
            return Err(FormatError::MissingTensor { file: self.name.clone(), tensor: name.to_owned() });
        };
        file.data.range(&file.name, range.start + within.start..range.start + within.end)
    }

    fn forget(&self) {
        self.files.iter().for_each(|file| file.data.forget());
    }

    fn watch(&self) -> FileWatch {
        FileWatch::of(self.files.iter().map(|file| &file.data))
    }

    fn file_of(&self, name: &str) -> &str {
        let entry = self.index.get(name).and_then(|&place| self.place(place));
        entry.map_or(&self.name, |(file, _, _)| &file.name)
    }
}

/// Returns `true` if a shard's name stays in the folder: no separator, device or drive of any system, and no
/// parent.
fn is_plain_name(name: &str) -> bool {
    !crate::is_device_name(name)
        && !name.is_empty()
        && name != "."
        && name != ".."
        && !name.contains(['/', '\\', ':', '\0'])
}

/// Returns the error for a folder without safetensors, which mentions pickles if there are any.
#[cfg(not(target_arch = "wasm32"))]
fn no_weights(folder: &std::path::Path) -> FormatError {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let head = path.is_file() && matches!(extension, Some("bin" | "pt" | "pth" | "ckpt"));
        let Some(head) = head.then(|| first_bytes(&path)).flatten() else { continue };
        let found = crate::identify(&path.display().to_string(), &head);
        if let Err(error @ (FormatError::Pickle { .. } | FormatError::LfsPointer { .. })) = found {
            return error;
        }
    }
    FormatError::NoWeights { path: folder.display().to_string() }
}

#[cfg(not(target_arch = "wasm32"))]
fn first_bytes(path: &std::path::Path) -> Option<Vec<u8>> {
    use std::io::Read;
    let mut head = Vec::new();
    crate::open_file(path).ok()?.take(512).read_to_end(&mut head).ok()?;
    Some(head)
}
