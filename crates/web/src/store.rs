//! The records of the browser's model store. The page's code reads and writes the bytes; what they mean is decided here, by the
//! code that the native store uses.

use honelm_chunks::{Asked, ChunkPlan, FileRecord, Model, NewFile, Record, Reply, Seal, Wanted, digest_bytes, hex};
use honelm_text::TokenizerFiles;
use serde::{Deserialize, Serialize};
use serde_json::json;
use wasm_bindgen::prelude::*;

use crate::WebError;
use crate::load::{CONFIG, INDEX, SETTINGS, WEIGHTS, shard_names};
use crate::options::parsed;

/// The properties of a new model.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewModel {
    id: String,
    name: String,
    url: Option<String>,
    added: u64,
}

/// A file as the page describes it. Missing properties are unknown.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    path: String,
    bytes: Option<u64>,
    chunk_bytes: Option<u64>,
    validator: Option<String>,
    sha256: Option<String>,
    chunks: Option<Vec<String>>,
}

/// The state of a file for the page.
#[derive(Serialize)]
struct FileState<'r> {
    path: &'r str,
    bytes: Option<u64>,
    chunk_bytes: u64,
    validator: Option<&'r str>,
    stored: u64,
    complete: bool,
    untouched: bool,
    needs_check: bool,
    extents: Vec<Wanted>,
}

/// The files of a stored model and the states of their chunks. Documents are JSON texts, numbers of bytes are whole.
#[wasm_bindgen]
pub struct StoreRecord {
    record: Record,
    /// The bytes of the log that were read.
    valid: usize,
}

#[wasm_bindgen]
impl StoreRecord {
    /// Creates the record of a model without files: `{"id", "name", "url", "added"}`.
    ///
    /// # Errors
    /// Fails if the name is too long.
    pub fn create(model: String) -> Result<StoreRecord, WebError> {
        let NewModel { id, name, url, added } = parsed("model", &model)?;
        Ok(Self { record: Record::create(Model::new(&id, &name, url.as_deref(), added))?, valid: 0 })
    }

    /// Reads a log. After a damaged line, it counts as ended: `valid` is its length up to there.
    ///
    /// # Errors
    /// Fails if it is not the log of a stored model.
    pub fn replay(log: &[u8]) -> Result<StoreRecord, WebError> {
        let (record, valid) = Record::replay(log)?;
        Ok(Self { record, valid })
    }

    /// Returns the bytes of the log that was read, up to a damaged line.
    #[must_use]
    pub fn valid(&self) -> f64 {
        self.valid as f64
    }

    /// Returns the lines that were added since the last call, to be appended to the log.
    pub fn drain(&mut self) -> Vec<u8> {
        self.record.drain()
    }

    /// Returns the model as it is listed: TypeScript's `StoredModel` without `memory`.
    ///
    /// # Errors
    /// None that the caller can cause.
    pub fn summary(&self) -> Result<String, WebError> {
        written(&self.record.summary())
    }

    /// Returns `true` if all files are known, stored, and compared with the publisher's hashes.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.record.is_complete()
    }

    /// Returns `true` if all files are known.
    #[must_use]
    pub fn listed(&self) -> bool {
        self.record.is_listed()
    }

    /// Returns the number of a file.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<usize> {
        self.record.find(path)
    }

    /// Returns the state of a file; `extents` are its stored chunks.
    ///
    /// # Errors
    /// Fails if there is no such file.
    pub fn file(&self, file: usize) -> Result<String, WebError> {
        let found = self.at(file)?;
        let new = found.new_file();
        written(&FileState {
            path: &new.path,
            bytes: new.bytes,
            chunk_bytes: new.chunk_bytes,
            validator: new.validator.as_deref(),
            stored: found.stored(),
            complete: found.is_complete(),
            untouched: found.is_untouched(),
            needs_check: self.record.needs_check(file),
            extents: found.extents().collect(),
        })
    }

    /// Adds a file, `{"path", "bytes", "chunk_bytes", "validator", "sha256", "chunks"}`, and returns its number. All but the path
    /// can be missing. A file of the same path starts again.
    ///
    /// # Errors
    /// Fails if a property is out of bounds; the error names it.
    pub fn add(&mut self, file: String) -> Result<usize, WebError> {
        let Described { path, bytes, chunk_bytes, validator, sha256, chunks } = parsed("file", &file)?;
        let chunk_bytes = chunk_bytes.unwrap_or_else(|| ChunkPlan::chunk_bytes_for(bytes));
        Ok(self.record.add(NewFile { path, bytes, chunk_bytes, validator, sha256, chunks })?)
    }

    /// Returns `true` if a file was added with the size and the hashes that a publisher gives: `{"path", "bytes", "chunk_bytes",
    /// "sha256", "chunks"}`. What is missing there agrees.
    ///
    /// # Errors
    /// Fails if there is no such file.
    pub fn agrees(&self, file: usize, published: String) -> Result<bool, WebError> {
        let Described { bytes, chunk_bytes, sha256, chunks, .. } = parsed("file", &published)?;
        let new = self.at(file)?.new_file();
        Ok(bytes.is_none_or(|bytes| new.bytes == Some(bytes))
            && chunk_bytes.is_none_or(|bytes| new.chunk_bytes == bytes)
            && (sha256.is_none() || sha256 == new.sha256)
            && (chunks.is_none() || chunks == new.chunks))
    }

    /// Records that all files are known.
    ///
    /// # Errors
    /// None that the caller can cause.
    pub fn list(&mut self) -> Result<(), WebError> {
        Ok(self.record.list()?)
    }

    /// Sets the size of a file that was added without one.
    ///
    /// # Errors
    /// Fails if there is no such file.
    pub fn end(&mut self, file: usize, bytes: f64) -> Result<(), WebError> {
        Ok(self.record.end(file, bytes as u64)?)
    }

    /// Takes the first range that is not stored and not taken, or the first damaged one: `{"chunk", "begin", "offset", "length"}`.
    ///
    /// # Errors
    /// Fails if there is no such file.
    pub fn take(&mut self, file: usize, only_damaged: bool) -> Result<Option<String>, WebError> {
        let wanted = if only_damaged { self.record.take_damaged(file) } else { self.record.take(file) };
        wanted?.map(|wanted| written(&wanted)).transpose()
    }

    /// Gives back a chunk that was not fetched.
    ///
    /// # Errors
    /// Fails if there is no such file.
    pub fn give_back(&mut self, file: usize, chunk: usize) -> Result<(), WebError> {
        Ok(self.record.give_back(file, chunk)?)
    }

    /// Records that the first `bytes` bytes of a chunk are stored.
    ///
    /// # Errors
    /// Fails if the chunk is stored already.
    pub fn part(&mut self, file: usize, chunk: usize, bytes: f64) -> Result<(), WebError> {
        Ok(self.record.part(file, chunk, bytes as u64)?)
    }

    /// Records that a chunk is stored, and the SHA-256 of its bytes.
    ///
    /// # Errors
    /// Fails if another hash is expected.
    pub fn whole(&mut self, file: usize, chunk: usize, sha256: &str) -> Result<(), WebError> {
        Ok(self.record.whole(file, chunk, sha256)?)
    }

    /// Returns the SHA-256 of a chunk whose bytes are stored.
    #[must_use]
    pub fn recorded(&self, file: usize, chunk: usize) -> Option<String> {
        self.record.files().get(file)?.recorded(chunk).map(str::to_owned)
    }

    /// Records that the bytes of a stored chunk do not have its hash any more.
    ///
    /// # Errors
    /// Fails if the chunk is not stored.
    pub fn damaged(&mut self, file: usize, chunk: usize) -> Result<(), WebError> {
        Ok(self.record.damaged(file, chunk)?)
    }

    /// Compares the SHA-256 of a whole file with the publisher's. On a difference, the file counts as not stored.
    ///
    /// # Errors
    /// Fails on a difference.
    pub fn check(&mut self, file: usize, sha256: &str) -> Result<(), WebError> {
        Ok(self.record.check(file, sha256)?)
    }

    /// Changes the name for people.
    ///
    /// # Errors
    /// Fails if it is empty or too long.
    pub fn rename(&mut self, name: &str) -> Result<(), WebError> {
        Ok(self.record.rename(name)?)
    }

    /// Records a use, in milliseconds since 1970.
    ///
    /// # Errors
    /// None that the caller can cause.
    pub fn used(&mut self, at: f64) -> Result<(), WebError> {
        Ok(self.record.used(at as u64)?)
    }
}

impl StoreRecord {
    fn at(&self, file: usize) -> Result<&FileRecord, WebError> {
        let problem = || format!("found {file}, expected one of {} files", self.record.files().len());
        self.record.files().get(file).ok_or_else(|| WebError::InvalidArgument { name: "file", problem: problem() })
    }
}

/// A running SHA-256, for files that are larger than the browser's own function can take at once.
#[wasm_bindgen]
#[derive(Default)]
pub struct StoreHash(Seal);

#[wasm_bindgen]
impl StoreHash {
    /// Begins a hash.
    #[wasm_bindgen(constructor)]
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the hash as 64 hexadecimal digits.
    #[must_use]
    pub fn finish(self) -> String {
        hex(&self.0.finish())
    }
}

/// Returns the SHA-256 of bytes as 64 hexadecimal digits, for pages without the browser's own function.
#[wasm_bindgen]
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    digest_bytes(bytes)
}

/// Returns what a server's answer means: `{"verdict": "part" | "whole" | "changed" | "empty" | "missing" | "html" | "other_part" |
/// "refused", ...}` with the file's `validator`.
///
/// # Errors
/// Fails if an argument is not of the form of `Asked` or `Reply`.
#[wasm_bindgen]
pub fn judge_reply(asked: String, reply: String) -> Result<String, WebError> {
    let (asked, reply): (Asked, Reply) = (parsed("asked", &asked)?, parsed("reply", &reply)?);
    let mut verdict = json!(reply.judge(&asked));
    verdict["validator"] = json!(reply.validator());
    Ok(verdict.to_string())
}

/// Returns the names of a model folder's files: `config` is required, one of `vocabularies` and either `weights` or the files of
/// `index` too.
#[wasm_bindgen]
#[must_use]
pub fn model_files() -> String {
    let (vocabularies, others): (Vec<&str>, Vec<&str>) =
        TokenizerFiles::names().iter().copied().partition(|name| TokenizerFiles::is_vocabulary(name));
    let others: Vec<&str> = SETTINGS.into_iter().chain(others).filter(|name| *name != CONFIG).collect();
    json!({"config": CONFIG, "weights": WEIGHTS, "index": INDEX, "vocabularies": vocabularies, "others": others})
        .to_string()
}

/// Returns the names of the files of weights in an index, as JSON.
///
/// # Errors
/// Fails if it is not JSON.
#[wasm_bindgen]
pub fn model_shards(index: Vec<u8>) -> Result<String, WebError> {
    written(&shard_names(&index.into())?)
}

fn written(document: &impl Serialize) -> Result<String, WebError> {
    let problem = |error: serde_json::Error| WebError::InvalidArgument { name: "document", problem: error.to_string() };
    serde_json::to_string(document).map_err(problem)
}
