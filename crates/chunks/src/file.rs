use serde::{Deserialize, Serialize};

use crate::digest::is_digest;
use crate::{ChunkError, ChunkPlan};

/// A file that is to be stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewFile {
    /// The path below the model's folder.
    pub path: String,
    /// The size; `None` until [`Record::end`](crate::Record::end) if the server does not tell it.
    pub bytes: Option<u64>,
    /// The bytes per chunk.
    pub chunk_bytes: u64,
    /// The version of the server's file ([`validator`](crate::validator)).
    pub validator: Option<String>,
    /// The publisher's SHA-256 of the file.
    pub sha256: Option<String>,
    /// The publisher's SHA-256 of each chunk.
    pub chunks: Option<Vec<String>>,
}

impl NewFile {
    /// Returns a file of unknown size with the usual chunks.
    #[must_use]
    pub fn named(path: &str) -> Self {
        let chunk_bytes = ChunkPlan::chunk_bytes_for(None);
        Self { path: path.to_owned(), bytes: None, chunk_bytes, validator: None, sha256: None, chunks: None }
    }

    /// Checks everything that a manifest or a server may have chosen.
    fn check(&self) -> Result<(), ChunkError> {
        let invalid = |field, found: &str, expected| {
            let (path, found) = (self.path.clone(), format!("'{}'", found.escape_debug().take(80).collect::<String>()));
            Err(ChunkError::InvalidManifest { path, field, found, expected })
        };
        let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', ':']);
        if self.path.len() > 200 || self.path.chars().any(char::is_control) || !self.path.split('/').all(plain) {
            return invalid("path", &self.path, "a relative path of at most 200 bytes");
        }
        let digests = self.sha256.iter().chain(self.chunks.iter().flatten());
        if let Some(bad) = digests.into_iter().find(|text| !is_digest(text)) {
            return invalid("sha256", bad, "64 hexadecimal digits in lower case");
        }
        let plan = ChunkPlan::new(&self.path, self.bytes.unwrap_or(0), self.chunk_bytes)?;
        match (&self.chunks, self.bytes) {
            (Some(chunks), Some(_)) if chunks.len() != plan.count() => {
                invalid("chunks", &chunks.len().to_string(), "one hash per chunk")
            }
            (Some(chunks), None) => {
                invalid("bytes", &format!("no size, {} chunks", chunks.len()), "the size of the file")
            }
            _ => Ok(()),
        }
    }
}

/// The state of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// Nothing of it is stored.
    Missing,
    /// This many bytes from its beginning are stored.
    Part(u64),
    /// It is stored, and its bytes had this SHA-256.
    Whole(String),
    /// The stored bytes are not those that had this SHA-256.
    Damaged(String),
}

/// A range of a file that is to be fetched: the rest of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Wanted {
    /// The chunk.
    pub chunk: usize,
    /// The first byte of the chunk in the file.
    pub begin: u64,
    /// The first byte to fetch. The bytes from `begin` to here are stored.
    pub offset: u64,
    /// The number of bytes to fetch.
    pub length: u64,
}

/// A file of a stored model.
#[derive(Debug, Clone)]
pub struct FileRecord {
    new: NewFile,
    chunks: Vec<Chunk>,
    /// The chunks that are being fetched. This is not part of the log.
    taken: Vec<usize>,
}

impl FileRecord {
    pub(crate) fn new(new: NewFile) -> Result<Self, ChunkError> {
        new.check()?;
        let count = ChunkPlan::new(&new.path, new.bytes.unwrap_or(0), new.chunk_bytes)?.count();
        Ok(Self { new, chunks: vec![Chunk::Missing; count], taken: Vec::new() })
    }

    /// Returns what the file was added with. Its size is the current one.
    #[must_use]
    pub fn new_file(&self) -> &NewFile {
        &self.new
    }

    fn plan(&self) -> Result<ChunkPlan, ChunkError> {
        // A file of unknown size has room for one more chunk.
        let bytes = self.new.bytes.unwrap_or((self.chunks.len() as u64 + 1) * self.new.chunk_bytes);
        ChunkPlan::new(&self.new.path, bytes, self.new.chunk_bytes)
    }

    /// Returns the number of stored bytes.
    #[must_use]
    pub fn stored(&self) -> u64 {
        let Ok(plan) = self.plan() else { return 0 };
        let of = |(at, chunk): (usize, &Chunk)| match chunk {
            Chunk::Missing | Chunk::Damaged(_) => 0,
            Chunk::Part(bytes) => *bytes,
            Chunk::Whole(_) => plan.range(at).end - plan.range(at).start,
        };
        self.chunks.iter().enumerate().map(of).sum()
    }

    /// Returns `true` if every chunk is stored and the size is known.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.new.bytes.is_some() && self.chunks.iter().all(|chunk| matches!(chunk, Chunk::Whole(_)))
    }

    /// Returns `true` if a chunk is damaged.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.chunks.iter().any(|chunk| matches!(chunk, Chunk::Damaged(_)))
    }

    /// Returns `true` if nothing of it is stored.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.chunks.iter().all(|chunk| matches!(chunk, Chunk::Missing))
    }

    /// Returns the SHA-256 of a chunk whose bytes are stored.
    #[must_use]
    pub fn recorded(&self, chunk: usize) -> Option<&str> {
        match self.chunks.get(chunk)? {
            Chunk::Whole(hash) => Some(hash),
            _ => None,
        }
    }

    /// Returns the extents of the stored chunks: their numbers, first bytes and lengths.
    pub fn extents(&self) -> impl Iterator<Item = Wanted> {
        let plan = self.plan().ok();
        let whole = |(at, chunk): (usize, &Chunk)| matches!(chunk, Chunk::Whole(_)).then_some(at);
        let stored: Vec<usize> = self.chunks.iter().enumerate().filter_map(whole).collect();
        stored.into_iter().filter_map(move |chunk| {
            let range = plan?.range(chunk);
            Some(Wanted { chunk, begin: range.start, offset: range.start, length: range.end - range.start })
        })
    }

    /// Takes the first chunk that is not stored and not taken; of those, only damaged ones if asked.
    pub(crate) fn take(&mut self, only_damaged: bool) -> Result<Option<Wanted>, ChunkError> {
        let plan = self.plan()?;
        for (chunk, state) in self.chunks.iter().enumerate() {
            let held = match state {
                _ if self.taken.contains(&chunk) => continue,
                Chunk::Damaged(_) => 0,
                Chunk::Missing if !only_damaged => 0,
                Chunk::Part(bytes) if !only_damaged => *bytes,
                _ => continue,
            };
            let range = plan.range(chunk);
            let offset = range.start + held;
            self.taken.push(chunk);
            return Ok(Some(Wanted { chunk, begin: range.start, offset, length: range.end - offset }));
        }
        Ok(None)
    }

    pub(crate) fn give_back(&mut self, chunk: usize) {
        self.taken.retain(|taken| *taken != chunk);
    }

    /// Sets the size of a file whose size was unknown.
    pub(crate) fn end(&mut self, bytes: u64) -> Result<(), ChunkError> {
        let count = ChunkPlan::new(&self.new.path, bytes, self.new.chunk_bytes)?.count();
        self.chunks.resize(count, Chunk::Missing);
        self.new.bytes = Some(bytes);
        Ok(())
    }

    pub(crate) fn part(&mut self, chunk: usize, bytes: u64) -> Result<(), ChunkError> {
        let range = self.plan()?.range(chunk);
        match self.chunks.get_mut(chunk) {
            // A damaged chunk is fetched as a whole, so that its hash stays known.
            Some(state @ (Chunk::Missing | Chunk::Part(_))) if bytes < range.end - range.start => {
                *state = if bytes == 0 { Chunk::Missing } else { Chunk::Part(bytes) };
                Ok(())
            }
            Some(Chunk::Damaged(_)) => Ok(()),
            _ => Err(self.out_of_bounds(chunk)),
        }
    }

    /// Records a stored chunk.
    pub(crate) fn whole(&mut self, chunk: usize, found: &str) -> Result<(), ChunkError> {
        if !is_digest(found) {
            return Err(ChunkError::InvalidRecord { problem: format!("found '{found}' as hash of a chunk") });
        }
        if self.new.bytes.is_none() && chunk == self.chunks.len() {
            self.chunks.push(Chunk::Missing);
        }
        let Some(state) = self.chunks.get(chunk) else { return Err(self.out_of_bounds(chunk)) };
        let published = self.new.chunks.as_ref().and_then(|chunks| chunks.get(chunk));
        let before = match state {
            Chunk::Damaged(hash) => Some(hash),
            _ => None,
        };
        if let Some(expected) = published.or(before).filter(|expected| *expected != found) {
            let (path, expected, found) = (self.new.path.clone(), expected.clone(), found.to_owned());
            return Err(ChunkError::WrongHash { path, chunk, expected, found });
        }
        self.chunks[chunk] = Chunk::Whole(found.to_owned());
        self.give_back(chunk);
        Ok(())
    }

    /// Marks a stored chunk as damaged.
    pub(crate) fn damaged(&mut self, chunk: usize) -> Result<(), ChunkError> {
        match self.chunks.get_mut(chunk) {
            Some(state @ Chunk::Whole(_)) => {
                let Chunk::Whole(hash) = std::mem::replace(state, Chunk::Missing) else { return Ok(()) };
                *state = Chunk::Damaged(hash);
                Ok(())
            }
            _ => Err(self.out_of_bounds(chunk)),
        }
    }

    /// Compares the hash of the whole file with the publisher's. On a difference every chunk counts as missing.
    pub(crate) fn compare(&mut self, found: &str) -> Result<(), ChunkError> {
        match &self.new.sha256 {
            Some(expected) if expected != found => {
                let (path, expected) = (self.new.path.clone(), expected.clone());
                self.chunks.fill(Chunk::Missing);
                Err(ChunkError::WrongFileHash { path, expected, found: found.to_owned() })
            }
            _ => Ok(()),
        }
    }

    fn out_of_bounds(&self, chunk: usize) -> ChunkError {
        let problem = format!("{}: found an entry for chunk {chunk} that its state does not allow", self.new.path);
        ChunkError::InvalidRecord { problem }
    }
}
