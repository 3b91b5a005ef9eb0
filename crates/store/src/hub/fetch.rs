//! The fetch of one file: in order, resumed after interruptions, and renamed to its blob only once its hash is right.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use honelm_chunks::ContentRange;

use super::cache::RepositoryCache;
use super::client::{Answer, Client};
use super::files::{BlobHash, io_at};
use super::listing::BlobId;
use super::transport::Method;
use super::url::Url;
use super::{PullEvent, PullEvents, WantedFile};
use crate::StoreError;

/// The size of one read in bytes. Received bytes are written at once, so an interruption loses at most one read.
const READ: usize = 256 << 10;

/// The part of a file that an answer contains.
enum Extent {
    Whole,
    /// The bytes after the partial file.
    Rest,
    /// Another part, with the header that describes it.
    Other(String),
}

/// The fetch of one file into the cache.
pub(crate) struct Fetch<'a> {
    pub client: &'a Client<'a>,
    pub cache: &'a RepositoryCache,
    pub url: Url,
    pub file: &'a WantedFile,
    /// The bytes of the files before this one, for the progress.
    pub before: u64,
    /// The bytes of all files, for the progress.
    pub total: u64,
}

impl Fetch<'_> {
    /// Fetches the blob and returns the number of bytes received; `None` if the cache already has it.
    pub fn run(&self, events: PullEvents<'_>) -> Result<Option<u64>, StoreError> {
        if self.cache.has_blob(self.file) {
            return Ok(None);
        }
        let _lock = self.cache.lock(&self.file.blob, events)?;
        if self.cache.has_blob(self.file) {
            return Ok(None);
        }
        if self.cache.has_damaged_blob(self.file) {
            let text = format!("{}: the copy in the cache is damaged; fetching it again", self.file.path);
            events(&PullEvent::Warning(&text));
        }
        let mut partial = Partial::open(self.cache.partial(&self.file.blob), self.file)?;
        let mut inherited = partial.length > 0;
        loop {
            self.complete(&mut partial, events)?;
            let Err(found) = partial.check(&self.file.blob) else { break };
            partial.restart()?;
            if !inherited {
                return Err(StoreError::WrongHash {
                    file: self.file.path.clone(),
                    host: partial.host,
                    expected: self.file.blob.as_str().to_owned(),
                    found,
                });
            }
            // The bytes of an earlier attempt may have been wrong.
            inherited = false;
            let text = format!("{}: the incomplete copy in the cache is damaged; fetching it again", self.file.path);
            events(&PullEvent::Warning(&text));
        }
        let received = partial.received;
        partial.commit(self.cache.blob(&self.file.blob))?;
        self.cache.remember_intact(&self.file.blob);
        Ok(Some(received))
    }

    /// Receives until the file is complete, over as many connections as needed.
    fn complete(&self, partial: &mut Partial, events: PullEvents<'_>) -> Result<(), StoreError> {
        let mut failures = 0;
        let mut furthest = partial.length;
        let mut etag = None;
        while partial.length < self.file.size {
            let Err(error) = self.receive(partial, &mut etag, events) else { continue };
            // A connection below the lowest allowed rate does not count as progress.
            if partial.length > furthest.saturating_add(self.client.patience().least_progress()) {
                (failures, furthest) = (0, partial.length);
            }
            self.client.wait_after(error, &mut failures, events)?;
        }
        Ok(())
    }

    /// Receives what one connection gives. If the server cannot resume, the next attempt fetches the whole file.
    fn receive(
        &self,
        partial: &mut Partial,
        etag: &mut Option<String>,
        events: PullEvents<'_>,
    ) -> Result<(), StoreError> {
        let mut headers = Vec::new();
        if partial.length > 0 {
            headers.push(("Range", format!("bytes={}-", partial.length)));
            // If the server's file has changed, it then sends the whole file.
            headers.extend(etag.clone().map(|etag| ("If-Range", etag)));
        }
        let asked_for_a_part = partial.length > 0;
        let mut answer = match self.client.send(&self.file.path, Method::Get, &self.url, &headers) {
            // The server's file is shorter than the partial file, so one of the two is wrong.
            Err(StoreError::Status { status: 416, host, .. }) if asked_for_a_part => {
                return self.begin_anew(partial, &host, events);
            }
            answer => answer?,
        };
        partial.host.clone_from(&answer.host);
        match self.check_extent(partial.length, &answer)? {
            Extent::Rest => {}
            Extent::Whole if asked_for_a_part => self.begin_anew(partial, &answer.host, events)?,
            Extent::Whole => {}
            Extent::Other(_) if asked_for_a_part => return self.begin_anew(partial, &answer.host, events),
            Extent::Other(found) => {
                let problem = format!("found the part {found}, expected the whole file");
                return Err(self.client.invalid(&self.file.path, &self.url, problem));
            }
        }
        *etag = answer.response.header("etag").filter(|tag| tag.starts_with('"')).map(str::to_owned);
        self.copy(&mut answer, partial, events)
    }

    fn begin_anew(&self, partial: &mut Partial, host: &str, events: PullEvents<'_>) -> Result<(), StoreError> {
        let text = format!("{}: {host} cannot resume; fetching it from the start", self.file.path);
        events(&PullEvent::Warning(&text));
        partial.restart()
    }

    /// Returns the part of the file that an answer contains; a whole file of the wrong length is an error.
    fn check_extent(&self, from: u64, answer: &Answer) -> Result<Extent, StoreError> {
        let (response, size) = (&answer.response, self.file.size);
        if response.status == 200 {
            return match response.length() {
                Some(found) if found != size => Err(StoreError::WrongLength {
                    file: self.file.path.clone(),
                    host: answer.host.clone(),
                    expected: size,
                    found,
                }),
                _ => Ok(Extent::Whole),
            };
        }
        let text = response.header("content-range").unwrap_or_default();
        Ok(match ContentRange::parse(text) {
            Some(ContentRange { start, total, .. }) if start == from && total.is_none_or(|total| total == size) => {
                Extent::Rest
            }
            _ => Extent::Other(format!("'{}'", text.chars().take(80).flat_map(char::escape_debug).collect::<String>())),
        })
    }

    fn copy(&self, answer: &mut Answer, partial: &mut Partial, events: PullEvents<'_>) -> Result<(), StoreError> {
        let size = self.file.size;
        let mut buffer = vec![0; READ];
        loop {
            let progress =
                PullEvent::Progress { file: &self.file.path, done: self.before + partial.length, total: self.total };
            if !events(&progress) {
                return Err(StoreError::Interrupted);
            }
            let problem = match answer.response.body.read(&mut buffer) {
                Ok(0) if partial.length == size => return Ok(()),
                Ok(0) => "it ended early".to_owned(),
                Ok(n) if n as u64 > size - partial.length => {
                    return Err(StoreError::WrongLength {
                        file: self.file.path.clone(),
                        host: answer.host.clone(),
                        expected: size,
                        found: partial.length + n as u64,
                    });
                }
                Ok(n) => {
                    partial.append(&buffer[..n])?;
                    continue;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                // The file is complete, so the error does not matter.
                Err(_) if partial.length == size => return Ok(()),
                Err(e) => e.to_string(),
            };
            return Err(StoreError::Cut {
                file: self.file.path.clone(),
                host: answer.host.clone(),
                done: partial.length,
                size,
                problem,
            });
        }
    }
}

/// An incomplete blob and the hash of its bytes.
struct Partial {
    file: File,
    path: PathBuf,
    length: u64,
    received: u64,
    hash: BlobHash,
    wanted: WantedFile,
    /// The server that sent the last bytes.
    host: String,
}

impl Partial {
    fn open(path: PathBuf, wanted: &WantedFile) -> Result<Self, StoreError> {
        let folder = path.parent().unwrap_or(&path);
        fs::create_dir_all(folder).map_err(io_at(folder))?;
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
        let file = honelm_formats::open_no_follow(&path, &options)?;
        let mut partial = Self {
            file,
            length: 0,
            received: 0,
            hash: BlobHash::new(wanted),
            wanted: wanted.clone(),
            host: String::new(),
            path,
        };
        let held = partial.file.metadata().map_err(io_at(&partial.path))?.len();
        if held > wanted.size {
            partial.restart()?;
        } else {
            partial.hash_held()?;
        }
        Ok(partial)
    }

    fn hash_held(&mut self) -> Result<(), StoreError> {
        let mut buffer = vec![0; READ];
        loop {
            match self.file.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => {
                    self.hash.update(&buffer[..n]);
                    self.length += n as u64;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(io_at(&self.path)(e)),
            }
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).map_err(io_at(&self.path))?;
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        self.received += bytes.len() as u64;
        Ok(())
    }

    /// Discards all bytes.
    fn restart(&mut self) -> Result<(), StoreError> {
        self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0))).map_err(io_at(&self.path))?;
        self.length = 0;
        self.hash = BlobHash::new(&self.wanted);
        Ok(())
    }

    /// Compares the hash with `expected`; the error is the hash found.
    fn check(&self, expected: &BlobId) -> Result<(), String> {
        let found = self.hash.hex();
        if found == expected.as_str() { Ok(()) } else { Err(found) }
    }

    fn commit(self, blob: PathBuf) -> Result<(), StoreError> {
        self.file.sync_all().map_err(io_at(&self.path))?;
        // Windows cannot rename an open file.
        drop(self.file);
        fs::rename(&self.path, &blob).map_err(io_at(&blob))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_git_and_lfs() {
        let of = |blob: BlobId| {
            let file = WantedFile { path: "x".to_owned(), size: 6, blob };
            let mut hash = BlobHash::new(&file);
            hash.update(b"hel");
            hash.update(b"lo\n");
            hash.hex()
        };
        // `echo hello | git hash-object --stdin`, `echo hello | sha256sum`
        assert_eq!(of(BlobId::GitSha1(String::new())), "ce013625030ba8dba906f756967f9e9ca394464a");
        assert_eq!(
            of(BlobId::Sha256(String::new())),
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
        );
    }
}
