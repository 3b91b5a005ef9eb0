//! The bytes of a model, as the page gives them.

use honelm_formats::Bytes;
use js_sys::Uint8Array;
use wasm_bindgen::prelude::*;

use crate::WebError;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** The files of a model, wherever they are. Errors that it throws reach the caller of `WebModel.load` as they are. */
export interface ModelFiles {
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
    fn single(this: &ModelFiles) -> Option<String>;
    #[wasm_bindgen(method, catch)]
    async fn size(this: &ModelFiles, name: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch)]
    async fn read(this: &ModelFiles, name: &str, offset: f64, length: f64) -> Result<JsValue, JsValue>;
}

/// Bytes that are asked for at a time.
const CHUNK: u64 = 8 << 20;

/// The page's files, and who hears how much of them was read.
pub struct Files<'f> {
    files: &'f ModelFiles,
    /// Told `(file, done, total)` in bytes.
    progress: &'f dyn Fn(&str, f64, f64),
}

impl<'f> Files<'f> {
    pub fn new(files: &'f ModelFiles, progress: &'f dyn Fn(&str, f64, f64)) -> Self {
        Self { files, progress }
    }

    /// The one file that the model is, if it is one.
    pub fn single(&self) -> Option<String> {
        self.files.single()
    }

    /// Bytes of a file; `None` where there is none of that name.
    pub async fn size(&self, name: &str) -> Result<Option<u64>, WebError> {
        Ok(self.files.size(name).await?.as_f64().map(|size| size as u64))
    }

    /// Exactly `length` bytes from `offset` on.
    pub async fn read(&self, name: &str, offset: u64, length: u64) -> Result<Vec<u8>, WebError> {
        let found = self.files.read(name, offset as f64, length as f64).await?;
        let bytes: Uint8Array = found.dyn_into().map_err(|_| WebError::InvalidArgument {
            name: "files",
            problem: format!("read({name}) did not give a Uint8Array"),
        })?;
        if u64::from(bytes.length()) != length {
            let problem = format!("read({name}, {offset}, {length}) gave {} bytes", bytes.length());
            return Err(WebError::InvalidArgument { name: "files", problem });
        }
        Ok(bytes.to_vec())
    }

    /// A whole file; `None` where there is none of that name.
    pub async fn whole(&self, name: &str) -> Result<Option<Bytes>, WebError> {
        let Some(size) = self.size(name).await? else { return Ok(None) };
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(size as usize).map_err(|_| WebError::InvalidArgument {
            name: "files",
            problem: format!("{name} has {size} bytes, more than this tab can hold"),
        })?;
        while (bytes.len() as u64) < size {
            let done = bytes.len() as u64;
            (self.progress)(name, done as f64, size as f64);
            bytes.extend(self.read(name, done, CHUNK.min(size - done)).await?);
        }
        (self.progress)(name, size as f64, size as f64);
        Ok(Some(bytes.into()))
    }
}
