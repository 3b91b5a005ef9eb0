//! The bytes of a model, as the page gives them.

use std::cell::RefCell;
use std::collections::BTreeMap;

use honelm_formats::{Bytes, FileData, FormatError};
use honelm_model::ModelError;
use js_sys::Uint8Array;
use wasm_bindgen::prelude::*;

use crate::WebError;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** The files of a model, wherever they are. Errors that it throws reach the caller of `WebModel.load` as they are. */
export interface ModelFiles {
  /** What the folder or the file is called. */
  readonly name: string;
  /** The one file that the model is, or nothing where it is a folder. */
  readonly single: string | undefined;
  /** Bytes of a file; undefined where there is none of that name. */
  size(name: string): Promise<number | undefined>;
  /** Exactly these bytes of a file. */
  read(name: string, offset: number, length: number): Promise<Uint8Array>;
}
"#;

#[wasm_bindgen]
extern "C" {
    /// The files of a model, wherever they are: a JavaScript object (TypeScript's `ModelFiles`).
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

/// Most bytes that are asked for at a time.
const MOST: u64 = 8 << 20;
/// Bytes that are asked for at least: one answer holds many small tensors.
const LEAST: u64 = 1 << 20;
/// Fetched bytes that are kept before they are dropped: small tensors come from what was fetched for others.
const KEPT: u64 = 16 << 20;

/// The page's files, what was fetched of them, and who hears of it.
pub struct Files<'f> {
    files: &'f ModelFiles,
    /// Files of which parts are fetched, by name.
    remote: RefCell<BTreeMap<String, FileData>>,
    /// Bytes fetched since they were last dropped.
    kept: RefCell<u64>,
    /// Told the file and the end of every part that came, and the file's size, in bytes.
    progress: &'f dyn Fn(&str, u64, u64),
}

impl<'f> Files<'f> {
    pub fn new(files: &'f ModelFiles, progress: &'f dyn Fn(&str, u64, u64)) -> Self {
        Self { files, remote: RefCell::default(), kept: RefCell::default(), progress }
    }

    /// What the folder or the file is called.
    pub fn name(&self) -> String {
        self.files.name()
    }

    /// The one file that the model is, if it is one.
    pub fn single(&self) -> Option<String> {
        self.files.single()
    }

    /// A file, of which nothing is fetched yet; `None` where there is none of that name.
    pub async fn remote(&self, name: &str) -> Result<Option<FileData>, WebError> {
        let Some(size) = self.files.size(name).await?.as_f64() else { return Ok(None) };
        let data = FileData::remote(size as u64);
        self.remote.borrow_mut().insert(name.to_owned(), data.clone());
        Ok(Some(data))
    }

    /// A whole file, a small one; `None` where there is none of that name.
    pub async fn whole(&self, name: &str) -> Result<Option<Bytes>, WebError> {
        match self.files.size(name).await?.as_f64() {
            Some(size) => Ok(Some(self.read(name, 0, size as u64).await?)),
            None => Ok(None),
        }
    }

    /// Does `work`, and fetches what it lacks, until it lacks nothing.
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

    /// Drops what was fetched, once it is much: what was made of it stays. Whether it was.
    pub fn tidy(&self) -> bool {
        let much = *self.kept.borrow() > KEPT;
        if much {
            self.forget();
        }
        much
    }

    /// Drops what was fetched.
    pub fn forget(&self) {
        self.remote.borrow().values().for_each(FileData::forget);
        *self.kept.borrow_mut() = 0;
    }

    /// Exactly `length` bytes from `offset` on.
    async fn read(&self, name: &str, offset: u64, length: u64) -> Result<Bytes, WebError> {
        let wrong = |problem| WebError::InvalidArgument { name: "files", problem };
        let mut bytes = Vec::new();
        let room = usize::try_from(length).ok().and_then(|length| bytes.try_reserve_exact(length).ok());
        room.ok_or_else(|| WebError::HeapFull { file: name.to_owned(), bytes: length })?;
        while (bytes.len() as u64) < length {
            let (at, left) = (offset + bytes.len() as u64, length - bytes.len() as u64);
            let found = self.files.read(name, at as f64, left.min(MOST) as f64).await?;
            let part: Uint8Array = found.dyn_into().map_err(|_| wrong(format!("read({name}) gave no Uint8Array")))?;
            if u64::from(part.length()) != left.min(MOST) {
                return Err(wrong(format!("read({name}) gave {} bytes of {}", part.length(), left.min(MOST))));
            }
            let here = bytes.len();
            bytes.resize(here + part.length() as usize, 0);
            part.copy_to(&mut bytes[here..]);
        }
        Ok(bytes.into())
    }
}
