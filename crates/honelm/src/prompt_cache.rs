//! Files of cached prompts.
//!
//! A file holds: the magic, the version and the length of the header as little-endian `u32`, the header as JSON, and for each
//! prompt its tokens as little-endian `u32` and the cells of each layer. It ends with the SHA-256 of all that. The header
//! names everything that decides the bits of the cells; a model that differs in one of these refuses the file.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use honelm_backend::{CacheSpec, CacheType, SavedSequence, block_on};
use honelm_engine::Driver;
use honelm_formats::{FormatError, OutputGate, open_file, read_file, write_atomic};
use honelm_store::Seal;
use serde::{Deserialize, Serialize};

use crate::Error;

const MAGIC: &[u8; 8] = b"HONELMPC";
const VERSION: u32 = 1;
/// The largest header in bytes.
const MOST_HEADER: u64 = 16 << 20;
/// The bytes before the header, and those of the seal at the end.
const START: usize = MAGIC.len() + 8;
const SEAL: usize = 32;

/// The error of a file of cached prompts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PromptCacheError {
    /// The file is something else.
    #[error("{path}: not a prompt cache; choose another file")]
    NotOne {
        /// The file.
        path: String,
    },
    /// The file has the format of another version.
    #[error("{path}: prompt cache of version {found}, expected {expected}; remove it to make a new one")]
    Version {
        /// The file.
        path: String,
        /// Its version.
        found: u32,
        /// The version of this program.
        expected: u32,
    },
    /// The file was made by another model, or with settings that give other bits.
    #[error(
        "{path}: {field}: found {found}, expected {expected}; the cached prompts do not fit, so choose another file or remove \
         this one"
    )]
    Different {
        /// The file.
        path: String,
        /// The field of the header.
        field: &'static str,
        /// Its value in the file.
        found: String,
        /// The value of the loaded model.
        expected: String,
    },
    /// The file is cut short or changed.
    #[error("{path}: damaged prompt cache: {problem}; remove it to make a new one")]
    Damaged {
        /// The file.
        path: String,
        /// The problem.
        problem: String,
    },
}

impl PromptCacheError {
    /// Returns a stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotOne { .. } => "not-a-prompt-cache",
            Self::Version { .. } => "prompt-cache-version",
            Self::Different { .. } => "prompt-cache-of-another-model",
            Self::Damaged { .. } => "damaged-prompt-cache",
        }
    }
}

/// Everything that decides the bits of cached cells, besides the tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    /// The version of this program.
    pub program: String,
    /// A digest of the model's files.
    pub model: String,
    /// The name of the back end's arithmetic.
    pub arithmetic: String,
    /// The number type of the cache.
    pub cache_type: String,
    /// The context in tokens, since it decides the scaling of positions.
    pub context: usize,
}

impl Identity {
    pub fn new(model: String, arithmetic: String, cache_type: CacheType, context: usize) -> Self {
        let program = env!("CARGO_PKG_VERSION").to_owned();
        Self { program, model, arithmetic, cache_type: cache_type.name().to_owned(), context }
    }

    /// Returns the first field in which `found` differs, with both values.
    fn difference(&self, found: &Self) -> Option<(&'static str, String, String)> {
        let pair = |name, a: &String, b: &String| (a != b).then(|| (name, a.clone(), b.clone()));
        pair("program", &found.program, &self.program)
            .or_else(|| pair("model", &found.model, &self.model))
            .or_else(|| pair("arithmetic", &found.arithmetic, &self.arithmetic))
            .or_else(|| pair("cache_type", &found.cache_type, &self.cache_type))
            .or_else(|| pair("context", &found.context.to_string(), &self.context.to_string()))
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    identity: Identity,
    /// The prompts, the least recently used first.
    prompts: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    tokens: usize,
    /// The pages of each group that a window has dropped.
    dropped: Vec<usize>,
}

/// Checks that a path is free or holds a prompt cache, before work starts.
pub(crate) fn check_output(path: &Path) -> Result<(), Error> {
    Ok(OutputGate::new(true).file(path, "a prompt cache", &is_prompt_cache)?)
}

fn is_prompt_cache(path: &Path) -> bool {
    let mut magic = [0; MAGIC.len()];
    open_file(path).is_ok_and(|mut file: File| file.read_exact(&mut magic).is_ok()) && magic == *MAGIC
}

/// Writes all cached prompts of a driver. Nothing is in place before the file is complete.
pub(crate) fn save(path: &Path, driver: &mut Driver, identity: &Identity, layers: usize) -> Result<(), Error> {
    check_output(path)?;
    let mut prompts = Vec::new();
    let mut entries = Vec::new();
    for tokens in driver.prefixes() {
        if let Some(saved) = driver.saved_prefix(&tokens)? {
            entries.push(Entry { tokens: saved.len, dropped: saved.dropped });
            prompts.push(tokens);
        }
    }
    let header = Header { identity: identity.clone(), prompts: entries };
    let header =
        serde_json::to_vec(&header).map_err(|source| Error::Serialise { what: "the prompt cache's header", source })?;
    write_atomic(path, |file| {
        let mut seal = Seal::default();
        let mut put = |bytes: &[u8]| {
            seal.update(bytes);
            file.write_all(bytes).map_err(|error| FormatError::io("write", path.display(), error))
        };
        put(MAGIC)?;
        put(&VERSION.to_le_bytes())?;
        put(&(header.len() as u32).to_le_bytes())?;
        put(&header)?;
        for tokens in &prompts {
            put(&tokens.iter().flat_map(|token| token.to_le_bytes()).collect::<Vec<u8>>())?;
            for layer in 0..layers {
                if let Some(cells) = block_on(driver.export_prefix(tokens, layer))? {
                    put(&cells)?;
                }
            }
        }
        let seal = seal.finish();
        file.write_all(&seal).map_err(|error| FormatError::io("write", path.display(), error))?;
        Ok(())
    })
}

/// Restores the prompts of a file, if there is one. Returns the number of prompts.
pub(crate) fn restore(path: &Path, driver: &mut Driver, identity: &Identity, spec: &CacheSpec) -> Result<usize, Error> {
    check_output(path)?;
    if !path.exists() {
        return Ok(0);
    }
    // Forks share pages in memory, but not in the file.
    let limit = (driver.cache_bytes() as u64).saturating_mul(64).saturating_add(MOST_HEADER);
    let bytes = read_file(path, limit)?;
    if bytes.is_empty() {
        return Ok(0);
    }
    let shown = path.display().to_string();
    let (header, rest) = parse(&bytes, &shown)?;
    if let Some((field, found, expected)) = identity.difference(&header.identity) {
        return Err(PromptCacheError::Different { path: shown, field, found, expected }.into());
    }
    let prompts: Vec<SavedSequence> =
        header.prompts.into_iter().map(|entry| SavedSequence { len: entry.tokens, dropped: entry.dropped }).collect();
    // Prompts that shared pages no longer do, so perhaps only the last used ones fit.
    let mut room = driver.cache_bytes();
    let fits = |saved: &&SavedSequence| {
        let left = saved.page_bytes(spec).and_then(|bytes| room.checked_sub(bytes));
        left.inspect(|left| room = *left).is_some()
    };
    let skipped = prompts.len() - prompts.iter().rev().take_while(fits).count();
    let mut contents = Contents { rest, path: &shown };
    for (i, saved) in prompts.iter().enumerate() {
        let ids = contents.take(saved.len.checked_mul(4))?;
        let tokens = ids.as_chunks::<4>().0.iter().map(|id| u32::from_le_bytes(*id)).collect();
        let mut cells = |layer: usize| contents.take(saved.layer_bytes(spec, layer)).map(<[u8]>::to_vec);
        if i >= skipped {
            block_on(driver.import_prefix(tokens, saved, cells))?;
        } else {
            (0..spec.layers.len()).try_for_each(|layer| cells(layer).map(drop))?;
        }
    }
    match contents.rest.len() {
        0 => Ok(prompts.len() - skipped),
        more => Err(contents.damaged(format!("found {more} bytes after the last prompt"))),
    }
}

/// The part of a file that is not read yet.
struct Contents<'b> {
    rest: &'b [u8],
    path: &'b str,
}

impl<'b> Contents<'b> {
    fn damaged(&self, problem: String) -> Error {
        PromptCacheError::Damaged { path: self.path.to_owned(), problem }.into()
    }

    /// Takes `count` bytes.
    fn take(&mut self, count: Option<usize>) -> Result<&'b [u8], Error> {
        let Some(count) = count.filter(|&count| count <= self.rest.len()) else {
            return Err(self.damaged(format!("a prompt needs more than the {} bytes left", self.rest.len())));
        };
        let (taken, left) = self.rest.split_at(count);
        self.rest = left;
        Ok(taken)
    }
}

/// Splits a file into its header and the prompts, after checking the seal.
fn parse<'b>(bytes: &'b [u8], path: &str) -> Result<(Header, &'b [u8]), PromptCacheError> {
    let path = path.to_owned();
    if !bytes.starts_with(MAGIC) {
        return Err(PromptCacheError::NotOne { path });
    }
    let damaged = |problem: &str| PromptCacheError::Damaged { path: path.clone(), problem: problem.to_owned() };
    let cut = || damaged("the file is cut short");
    let number = |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    let version = number(MAGIC.len()).ok_or_else(cut)?;
    if version != VERSION {
        return Err(PromptCacheError::Version { path: path.clone(), found: version, expected: VERSION });
    }
    let header = number(MAGIC.len() + 4).ok_or_else(cut)? as usize;
    let end = bytes.len().checked_sub(SEAL).filter(|&end| end >= START).ok_or_else(cut)?;
    let (contents, seal) = bytes.split_at(end);
    let mut found = Seal::default();
    found.update(contents);
    if found.finish() != *seal {
        return Err(damaged("its contents do not match its hash, so it is cut short or changed"));
    }
    let rest = &contents[START..];
    if header > rest.len() {
        return Err(cut());
    }
    let (header, rest) = rest.split_at(header);
    let header = serde_json::from_slice(header).map_err(|error| damaged(&format!("header: {error}")))?;
    Ok((header, rest))
}
