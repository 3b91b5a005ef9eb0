use serde::{Deserialize, Serialize};

use crate::log::Log;
use crate::{ChunkError, FileRecord, NewFile, Wanted};

/// The version of the log.
const VERSION: u32 = 1;

/// A stored model's own properties.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The version of the log.
    version: u32,
    /// A name that no other stored model has.
    pub id: String,
    /// The name for people.
    pub name: String,
    /// The address that it comes from; `None` for an imported model.
    pub url: Option<String>,
    /// The time of its first entry, in milliseconds since 1970.
    pub added: u64,
}

impl Model {
    /// Returns the properties of a new model.
    #[must_use]
    pub fn new(id: &str, name: &str, url: Option<&str>, added: u64) -> Self {
        Self { version: VERSION, id: id.to_owned(), name: name.to_owned(), url: url.map(str::to_owned), added }
    }
}

/// A line of the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
enum Entry {
    Model(Model),
    /// A file; one of the same path starts again.
    File(NewFile),
    /// There are no more files.
    Listed,
    /// The size of a file is now known.
    End {
        file: usize,
        bytes: u64,
    },
    Part {
        file: usize,
        chunk: usize,
        bytes: u64,
    },
    Whole {
        file: usize,
        chunk: usize,
        sha256: String,
    },
    Damaged {
        file: usize,
        chunk: usize,
    },
    /// The SHA-256 of the whole file is the publisher's.
    Checked {
        file: usize,
    },
    /// The SHA-256 of the whole file is not the publisher's.
    Refused {
        file: usize,
    },
    Name {
        name: String,
    },
    Used {
        at: u64,
    },
}

/// The state of a stored model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// All bytes are stored.
    Complete,
    /// Bytes are missing.
    Partial,
    /// The bytes of a chunk have another hash than before.
    Damaged,
}

/// A file of a [`Summary`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SummaryFile {
    /// The path below the model's folder.
    pub path: String,
    /// The size, or the stored bytes if it is unknown.
    pub bytes: u64,
}

/// A stored model as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// A name that no other stored model has.
    pub id: String,
    /// The name for people.
    pub name: String,
    /// The address that it comes from; `None` for an imported model.
    pub url: Option<String>,
    /// The bytes of all known files.
    pub bytes: u64,
    /// The stored bytes.
    pub stored: u64,
    /// The state.
    pub state: State,
    /// The files.
    pub files: Vec<SummaryFile>,
    /// The times of the first entry and of the last use, in milliseconds since 1970.
    pub added: u64,
    /// The time of the last use.
    pub used: Option<u64>,
    /// `manifest` if every file has the publisher's hash, otherwise `recorded`.
    pub hashes: &'static str,
}

/// The files of a stored model and the states of their chunks.
///
/// Every change adds a line to a log ([`Record::drain`]), which its owner appends to the stored log. Bytes must be durable
/// before the line that tells of them. [`Record::replay`] makes the same record from the lines.
#[derive(Debug, Clone)]
pub struct Record {
    model: Model,
    files: Vec<FileRecord>,
    /// The files whose hash was found to be the publisher's.
    checked: Vec<bool>,
    listed: bool,
    used: Option<u64>,
    log: Log,
    /// The lines that were not drained.
    lines: Vec<u8>,
}

impl Record {
    /// Creates the record of a model without files.
    ///
    /// # Errors
    /// The errors of [`Record::rename`].
    pub fn create(model: Model) -> Result<Self, ChunkError> {
        let mut record = Self::of(model.clone());
        let name = model.name.clone();
        record.lines = record.log.line(&Entry::Model(model))?;
        record.check_name(&name)?;
        Ok(record)
    }

    /// Reads a log up to its end or to the first damaged line. Returns the record and the number of bytes that were read;
    /// the owner cuts the log there before it appends.
    ///
    /// # Errors
    /// [`ChunkError::InvalidRecord`] if the first line is damaged or of another version, or an entry contradicts another.
    pub fn replay(bytes: &[u8]) -> Result<(Self, usize), ChunkError> {
        let invalid = |problem: &str| ChunkError::InvalidRecord { problem: problem.to_owned() };
        let mut record: Option<Self> = None;
        let (log, valid) = Log::read(bytes, |entry: Entry| match (&mut record, entry) {
            (None, Entry::Model(model)) if model.version == VERSION => {
                record = Some(Self::of(model));
                Ok(())
            }
            (None, Entry::Model(model)) => {
                let problem = format!("version: found {}, expected {VERSION}", model.version);
                Err(ChunkError::InvalidRecord { problem })
            }
            (None, _) => Err(invalid("found another entry before that of the model")),
            (Some(record), entry) => record.apply(entry),
        })?;
        let mut record = record.ok_or_else(|| invalid("found no undamaged line"))?;
        record.log = log;
        Ok((record, valid))
    }

    fn of(model: Model) -> Self {
        let (files, checked, lines) = (Vec::new(), Vec::new(), Vec::new());
        Self { model, files, checked, listed: false, used: None, log: Log::default(), lines }
    }

    /// Takes the lines that were added since the last call.
    pub fn drain(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.lines)
    }

    /// Returns the model's properties.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Returns the files.
    #[must_use]
    pub fn files(&self) -> &[FileRecord] {
        &self.files
    }

    /// Returns the number of a file.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<usize> {
        self.files.iter().position(|file| file.new_file().path == path)
    }

    /// Returns `true` if all files are known ([`Record::list`]).
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.listed
    }

    /// Returns `true` if all files are known and stored, and have the publisher's hashes where there are any.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.listed && (0..self.files.len()).all(|file| self.files[file].is_complete() && !self.needs_check(file))
    }

    /// Returns `true` if the publisher's hash of a file was not compared since its last change.
    #[must_use]
    pub fn needs_check(&self, file: usize) -> bool {
        let published = self.files.get(file).is_some_and(|file| file.new_file().sha256.is_some());
        published && !self.checked.get(file).copied().unwrap_or(false)
    }

    /// Returns the model as it is listed.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let files = |file: &FileRecord| {
            let new = file.new_file();
            SummaryFile { path: new.path.clone(), bytes: new.bytes.unwrap_or_else(|| file.stored()) }
        };
        let files: Vec<SummaryFile> = self.files.iter().map(files).collect();
        let published = |file: &FileRecord| file.new_file().sha256.is_some() || file.new_file().chunks.is_some();
        let state = match self.files.iter().any(FileRecord::is_damaged) {
            true => State::Damaged,
            false if self.is_complete() => State::Complete,
            false => State::Partial,
        };
        Summary {
            id: self.model.id.clone(),
            name: self.model.name.clone(),
            url: self.model.url.clone(),
            bytes: files.iter().map(|file| file.bytes).sum(),
            stored: self.files.iter().map(FileRecord::stored).sum(),
            state,
            added: self.model.added,
            used: self.used,
            hashes: if !files.is_empty() && self.files.iter().all(published) { "manifest" } else { "recorded" },
            files,
        }
    }

    /// Adds a file and returns its number. A file of the same path loses everything that is stored of it.
    ///
    /// # Errors
    /// [`ChunkError::InvalidManifest`] if a property is out of bounds.
    pub fn add(&mut self, file: NewFile) -> Result<usize, ChunkError> {
        let path = file.path.clone();
        self.write(Entry::File(file))?;
        Ok(self.find(&path).unwrap_or_default())
    }

    /// Records that all files are known.
    ///
    /// # Errors
    /// None that the caller can cause.
    pub fn list(&mut self) -> Result<(), ChunkError> {
        self.write(Entry::Listed)
    }

    /// Sets the size of a file that was added without one.
    ///
    /// # Errors
    /// [`ChunkError::InvalidManifest`] if it is too large.
    pub fn end(&mut self, file: usize, bytes: u64) -> Result<(), ChunkError> {
        self.write(Entry::End { file, bytes })
    }

    /// Takes the first chunk of a file that is not stored and not taken; `None` if there is none.
    ///
    /// # Errors
    /// [`ChunkError::InvalidRecord`] if there is no such file.
    pub fn take(&mut self, file: usize) -> Result<Option<Wanted>, ChunkError> {
        self.file(file)?.take(false)
    }

    /// Takes the first damaged chunk of a file that is not taken; `None` if there is none.
    ///
    /// # Errors
    /// [`ChunkError::InvalidRecord`] if there is no such file.
    pub fn take_damaged(&mut self, file: usize) -> Result<Option<Wanted>, ChunkError> {
        self.file(file)?.take(true)
    }

    /// Gives back a chunk that was not fetched.
    ///
    /// # Errors
    /// [`ChunkError::InvalidRecord`] if there is no such file.
    pub fn give_back(&mut self, file: usize, chunk: usize) -> Result<(), ChunkError> {
        self.file(file)?.give_back(chunk);
        Ok(())
    }

    /// Records that the first `bytes` bytes of a chunk are stored.
    ///
    /// # Errors
    /// [`ChunkError::InvalidRecord`] if the chunk is stored, or not longer than that.
    pub fn part(&mut self, file: usize, chunk: usize, bytes: u64) -> Result<(), ChunkError> {
        self.write(Entry::Part { file, chunk, bytes })
    }

    /// Records that a chunk is stored, and the SHA-256 of its bytes.
    ///
    /// # Errors
    /// [`ChunkError::WrongHash`] if the publisher's hash is another one, or the chunk was damaged and had another one.
    pub fn whole(&mut self, file: usize, chunk: usize, sha256: &str) -> Result<(), ChunkError> {
        self.write(Entry::Whole { file, chunk, sha256: sha256.to_owned() })
    }

    /// Records that the bytes of a stored chunk do not have its hash any more.
    ///
    /// # Errors
    /// [`ChunkError::InvalidRecord`] if the chunk is not stored.
    pub fn damaged(&mut self, file: usize, chunk: usize) -> Result<(), ChunkError> {
        self.write(Entry::Damaged { file, chunk })
    }

    /// Compares the SHA-256 of a whole file with the publisher's. On a difference, all of its chunks count as missing, since
    /// nobody knows which of them is wrong.
    ///
    /// # Errors
    /// [`ChunkError::WrongFileHash`] on a difference.
    pub fn check(&mut self, file: usize, sha256: &str) -> Result<(), ChunkError> {
        match self.file(file)?.compare(sha256) {
            Ok(()) => self.write(Entry::Checked { file }),
            Err(error) => {
                self.write(Entry::Refused { file })?;
                Err(error)
            }
        }
    }

    /// Changes the name for people.
    ///
    /// # Errors
    /// [`ChunkError::InvalidManifest`] if it is empty, too long or has control characters.
    pub fn rename(&mut self, name: &str) -> Result<(), ChunkError> {
        self.write(Entry::Name { name: name.to_owned() })
    }

    /// Records the time of a use in milliseconds since 1970.
    ///
    /// # Errors
    /// None that the caller can cause.
    pub fn used(&mut self, at: u64) -> Result<(), ChunkError> {
        self.write(Entry::Used { at })
    }

    fn write(&mut self, entry: Entry) -> Result<(), ChunkError> {
        self.apply(entry.clone())?;
        let line = self.log.line(&entry)?;
        self.lines.extend_from_slice(&line);
        Ok(())
    }

    fn apply(&mut self, entry: Entry) -> Result<(), ChunkError> {
        match entry {
            Entry::Model(_) => {
                return Err(ChunkError::InvalidRecord { problem: "found a second entry of the model".to_owned() });
            }
            Entry::File(new) => self.place(FileRecord::new(new)?),
            Entry::Listed => self.listed = true,
            Entry::End { file, bytes } => self.changed(file)?.end(bytes)?,
            Entry::Part { file, chunk, bytes } => self.changed(file)?.part(chunk, bytes)?,
            Entry::Whole { file, chunk, sha256 } => self.file(file)?.whole(chunk, &sha256)?,
            Entry::Damaged { file, chunk } => self.file(file)?.damaged(chunk)?,
            Entry::Checked { file } => {
                self.file(file)?;
                self.checked[file] = true;
            }
            Entry::Refused { file } => {
                let new = self.file(file)?.new_file().clone();
                self.place(FileRecord::new(new)?);
            }
            Entry::Name { name } => {
                self.check_name(&name)?;
                self.model.name = name;
            }
            Entry::Used { at } => self.used = Some(at),
        }
        Ok(())
    }

    /// Puts a new file in the place of the one with the same path, else at the end.
    fn place(&mut self, file: FileRecord) {
        match self.find(&file.new_file().path) {
            Some(at) => {
                self.files[at] = file;
                self.checked[at] = false;
            }
            None => {
                self.files.push(file);
                self.checked.push(false);
            }
        }
    }

    fn file(&mut self, file: usize) -> Result<&mut FileRecord, ChunkError> {
        let count = self.files.len();
        let problem = || format!("found an entry for file {file}, expected one of {count}");
        self.files.get_mut(file).ok_or_else(|| ChunkError::InvalidRecord { problem: problem() })
    }

    /// Returns a file whose publisher's hash must be compared again.
    fn changed(&mut self, file: usize) -> Result<&mut FileRecord, ChunkError> {
        if let Some(checked) = self.checked.get_mut(file) {
            *checked = false;
        }
        self.file(file)
    }

    fn check_name(&self, name: &str) -> Result<(), ChunkError> {
        if !name.trim().is_empty() && name.len() <= 200 && !name.chars().any(char::is_control) {
            return Ok(());
        }
        Err(ChunkError::InvalidManifest {
            path: self.model.id.clone(),
            field: "name",
            found: format!("'{}'", name.escape_debug().take(80).collect::<String>()),
            expected: "a name of at most 200 bytes",
        })
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
