//! The bytes of a model, read through the page.

use std::cell::RefCell;
use std::collections::BTreeMap;

use honelm_formats::{Bytes, FileData, FormatError};
use honelm_model::ModelError;
use js_sys::Uint8Array;
use wasm_bindgen::prelude::*;

use crate::WebError;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** The files of a model. Errors that it throws reach the caller of `WebModel.load` unchanged. */
export interface ModelFiles {
  /** The name of the folder or file. */
  readonly name: string;
  /** The name of the model's single file, or undefined if the model is a folder. */
  readonly single: string | undefined;
  /** Returns the size of a file in bytes; undefined if there is no file of this name. */
  size(name: string): Promise<number | undefined>;
  /** Returns exactly these bytes of a file. */
  read(name: string, offset: number, length: number): Promise<Uint8Array>;
}
"#;

#[wasm_bindgen]
extern "C" {
    /// The files of a model: a JavaScript object (TypeScript's `ModelFiles`).
    #[wasm_bindgen(typescript_type = "ModelFiles")]
    pub type ModelFiles;

    #[wasm_bindgen(method, getter)]
    fn name(this: &ModelFiles) -> String;
    #[wasm_bindgen(method, getter)]
    fn single(this: &ModelFiles) -> Option<String>;
    #[wasm_bindgen(method, catch)]
    async fn size(this: &ModelFiles, name: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch)]
    async fn read(this: &ModelFiles, name: &str, offset: f64, length: f64) -> Result<JsValue, JsValue>;
}

/// The largest number of bytes per request.
const MOST: u64 = 8 << 20;
/// The smallest number of bytes per request, since one request can cover many small tensors.
const LEAST: u64 = 1 << 20;
/// The number of fetched bytes that are kept, because small tensors are often in bytes that were fetched for others.
const KEPT: u64 = 16 << 20;

/// The page's files and the bytes fetched from them.
pub struct Files<'f> {
    files: &'f ModelFiles,
    /// The files that are fetched in parts, by name.
    remote: RefCell<BTreeMap<String, FileData>>,
    /// The bytes fetched since they were last dropped.
    kept: RefCell<u64>,
    /// A callback for each fetched part: the file, the end of the part, and the file's size, in bytes.
    progress: &'f dyn Fn(&str, u64, u64),
}

impl<'f> Files<'f> {
    pub fn new(files: &'f ModelFiles, progress: &'f dyn Fn(&str, u64, u64)) -> Self {
        Self { files, remote: RefCell::default(), kept: RefCell::default(), progress }
    }

    /// Returns the name of the folder or file.
    pub fn name(&self) -> String {
        self.files.name()
    }

    /// Returns the model's single file, if it has one.
    pub fn single(&self) -> Option<String> {
        self.files.single()
    }

    /// Returns a file without fetching anything; `None` if there is no file of this name.
    pub async fn remote(&self, name: &str) -> Result<Option<FileData>, WebError> {
        let Some(size) = self.files.size(name).await?.as_f64() else { return Ok(None) };
        let data = FileData::remote(size as u64);
        self.remote.borrow_mut().insert(name.to_owned(), data.clone());
        Ok(Some(data))
    }

    /// Fetches a whole small file; `None` if there is no file of this name.
    pub async fn whole(&self, name: &str) -> Result<Option<Bytes>, WebError> {
        match self.files.size(name).await?.as_f64() {
            Some(size) => Ok(Some(self.read(name, 0, size as u64).await?)),
            None => Ok(None),
        }
    }

    /// Repeats `work`, fetching the bytes that it lacks, until it lacks none.
    pub async fn drive<T>(&self, mut work: impl FnMut() -> Result<T, ModelError>) -> Result<T, WebError> {
        loop {
            match work() {
                Err(ModelError::Format(FormatError::NotFetched { file, range })) => {
                    let data = self.remote.borrow().get(&file).cloned();
                    let data = data.ok_or_else(|| WebError::FileNotFound { file: file.clone() })?;
                    let end = range.end.max((range.start + LEAST).min(data.len()));
                    let bytes = self.read(&file, range.start, end - range.start).await?;
                    *self.kept.borrow_mut() += bytes.len() as u64;
                    data.insert(range.start, bytes);
                    (self.progress)(&file, end, data.len());
                }
                other => return Ok(other?),
            }
        }
    }

    /// Drops the fetched bytes if there are many; objects built from them stay. Returns `true` if they were dropped.
    pub fn tidy(&self) -> bool {
        let much = *self.kept.borrow() > KEPT;
        if much {
            self.forget();
        }
        much
    }

    /// Drops the fetched bytes.
    pub fn forget(&self) {
        self.remote.borrow().values().for_each(FileData::forget);
        *self.kept.borrow_mut() = 0;
    }

    /// Reads exactly `length` bytes from `offset` on.
    async fn read(&self, name: &str, offset: u64, length: u64) -> Result<Bytes, WebError> {
        let wrong = |problem| WebError::InvalidArgument { name: "files", problem };
        let mut bytes = Vec::new();
        let room = usize::try_from(length).ok().and_then(|length| bytes.try_reserve_exact(length).ok());
        room.ok_or_else(|| WebError::HeapFull { file: name.to_owned(), bytes: length })?;
        while (bytes.len() as u64) < length {
            let (at, left) = (offset + bytes.len() as u64, length - bytes.len() as u64);
            let found = self.files.read(name, at as f64, left.min(MOST) as f64).await?;
            let part: Uint8Array =
                found.dyn_into().map_err(|_| wrong(format!("read({name}) did not return a Uint8Array")))?;
            if u64::from(part.length()) != left.min(MOST) {
                return Err(wrong(format!(
                    "read({name}) returned {} bytes, expected {}",
                    part.length(),
                    left.min(MOST)
                )));
            }
            let here = bytes.len();
            bytes.resize(here + part.length() as usize, 0);
            part.copy_to(&mut bytes[here..]);
        }
        Ok(bytes.into())
    }
}
