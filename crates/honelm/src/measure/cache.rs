//! A cache of originals' hidden states, so that judging many candidates scores the original once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use honelm_eval::Chunk;
use honelm_formats::LockFile;
use honelm_store::{Digest, Journal};

use crate::{Error, RunOptions, caches};

/// The largest size of the user's cache in bytes after a run.
const MOST_BYTES: u64 = 4_000_000_000;
/// The file of an entry that a process holds locked while it uses the entry.
const LOCK: &str = "lock";
/// The file of an entry whose time is that of its last use.
const USED: &str = "used";

/// A cache of originals' hidden states and answers. An entry is a folder whose name is a digest of everything that decides
/// its contents: the model's files, the tokens of the text, the arithmetic, and the build of this program. Damaged contents
/// are computed again. After a run, the entries that were not used for the longest time are removed until the cache has at
/// most its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatesCache {
    /// The folder.
    pub folder: PathBuf,
    /// The largest size in bytes after a run.
    pub most_bytes: u64,
}

impl StatesCache {
    /// Returns the user's cache, of at most 4 GB; `None` if the environment names no cache folder.
    #[must_use]
    pub fn of_user() -> Option<Self> {
        Some(Self { folder: caches::folder()?.join("states"), most_bytes: MOST_BYTES })
    }

    /// Claims the entry `key`. Returns `None` if another process uses it, or if the folder cannot be written.
    fn claim(&self, key: &str) -> Option<Entry> {
        let folder = self.folder.join(key);
        fs::create_dir_all(&folder).ok()?;
        let lock = LockFile::acquire(folder.join(LOCK)).ok()??;
        File::create(folder.join(USED)).ok()?;
        Some(Entry { folder, lock: Some(lock), cache: self.clone() })
    }

    /// Removes the entries that were not used for the longest time until the rest has at most the cache's size. Entries that
    /// another process uses stay.
    fn trim(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let mut entries: Vec<(SystemTime, u64, PathBuf)> = entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                // A link is not an entry: what it leads to is not ours.
                let is_entry = fs::symlink_metadata(&path).ok()?.is_dir() && is_key(&path);
                let used = fs::metadata(path.join(USED)).and_then(|file| file.modified());
                is_entry.then(|| (used.unwrap_or(SystemTime::UNIX_EPOCH), bytes_in(&path), path))
            })
            .collect();
        entries.sort();
        let mut total: u64 = entries.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in entries {
            if total <= self.most_bytes {
                break;
            }
            if let Ok(Some(_lock)) = LockFile::acquire(path.join(LOCK))
                && fs::remove_dir_all(&path).is_ok()
            {
                total -= bytes;
            }
        }
    }
}

/// Returns `true` if the name of a path is a digest.
fn is_key(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn bytes_in(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}

/// An entry that this process uses. Dropping it releases it, and trims the cache.
#[derive(Debug)]
struct Entry {
    folder: PathBuf,
    lock: Option<LockFile>,
    cache: StatesCache,
}

impl Drop for Entry {
    fn drop(&mut self) {
        drop(self.lock.take());
        self.cache.trim();
    }
}

/// The place of an original's hidden states during a run.
#[derive(Debug)]
pub(crate) struct Home {
    journal: Journal,
    _entry: Option<Entry>,
    _scratch: Option<tempfile::TempDir>,
}

impl Home {
    /// Takes the entry of a cache; `None` if there is no cache, or its entry cannot be used now.
    pub(crate) fn cached(cache: Option<&StatesCache>, key: &str) -> Option<Self> {
        let entry = cache?.claim(key)?;
        Some(Self { journal: Journal::new(&entry.folder, key), _entry: Some(entry), _scratch: None })
    }

    /// Makes a new folder with a random name in `folder`, or in the system's temporary folder. It is removed after the run.
    pub(crate) fn scratch(folder: Option<&Path>) -> Result<Self, Error> {
        let folder = folder.map_or_else(std::env::temp_dir, Path::to_owned);
        let made = tempfile::Builder::new().prefix("honelm-states-").tempdir_in(&folder);
        let scratch = made.map_err(|source| Error::Io { path: folder, source })?;
        Ok(Self { journal: Journal::new(scratch.path(), "one run"), _entry: None, _scratch: Some(scratch) })
    }

    /// Takes a folder of unfinished work.
    pub(crate) fn work(journal: Journal) -> Self {
        Self { journal, _entry: None, _scratch: None }
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }
}

/// Returns a digest of everything that decides the scores of a model with this digest on `chunks`.
pub(crate) fn states_key(model_digest: &str, chunks: &[Chunk], context: usize, run: &RunOptions) -> String {
    let tokens = |chunk: &Chunk| chunk.tokens.iter().flat_map(|token| token.to_le_bytes()).collect::<Vec<u8>>();
    let settings =
        format!("{} {:?} {:?} {context} {}", run.device, run.compute, run.cache_type, env!("CARGO_PKG_VERSION"));
    let digest = Digest::default().with(build()).with(settings).with(model_digest);
    let of = |digest: Digest, chunk: &Chunk| digest.with(tokens(chunk)).with(format!("{:?}", chunk.scored));
    chunks.iter().fold(digest, of).hex()
}

/// Returns what tells builds of this program apart: the size and the time of its file.
fn build() -> String {
    let file = std::env::current_exe().and_then(fs::metadata);
    file.map_or_else(|_| String::new(), |file| format!("{} {:?}", file.len(), file.modified().ok()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn key(at: u8) -> String {
        format!("{at:064x}")
    }

    #[test]
    fn the_entries_that_were_not_used_for_the_longest_time_go_first() {
        let dir = tempfile::tempdir().unwrap();
        let cache = StatesCache { folder: dir.path().join("states"), most_bytes: 5500 };
        let fill = |at: u8, bytes: usize| {
            let home = Home::cached(Some(&cache), &key(at)).unwrap();
            home.journal().put("states", &vec![at; bytes]).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(20));
        };
        let there = || (1..=4).filter(|&at| cache.folder.join(key(at)).join("states").exists()).collect::<Vec<u8>>();
        fill(1, 2000);
        fill(2, 2000);
        let first = Home::cached(Some(&cache), &key(1)).unwrap();
        assert_eq!(first.journal().get("states").unwrap(), Some(vec![1; 2000]));
        assert!(Home::cached(Some(&cache), &key(1)).is_none(), "it is in use");
        drop(first);
        fs::create_dir(cache.folder.join("mine")).unwrap();
        fs::write(cache.folder.join("mine/file"), vec![0; 9000]).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        fill(3, 2000);
        assert_eq!(there(), [1, 3], "the second was not used again");
        // An entry that is larger than the cache does not stay.
        fill(4, 6000);
        assert_eq!(there(), Vec::<u8>::new());
        assert!(cache.folder.join("mine/file").exists());
    }

    #[test]
    fn an_entry_in_use_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = StatesCache { folder: dir.path().to_owned(), most_bytes: 0 };
        let used = Home::cached(Some(&cache), &key(1)).unwrap();
        used.journal().put("states", b"kept").unwrap();
        drop(Home::cached(Some(&cache), &key(2)));
        assert_eq!(used.journal().get("states").unwrap().as_deref(), Some(&b"kept"[..]));
        drop(used);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn every_input_changes_the_key() {
        let chunk = |first: u32| Chunk { tokens: vec![first, 2, 3], scored: 0..2 };
        let run = RunOptions::default();
        let base = states_key("m", &[chunk(1)], 8, &run);
        let f32 = RunOptions { compute: honelm_cpu::Compute::F32, ..run.clone() };
        let scored = [Chunk { scored: 1..2, ..chunk(1) }];
        let others = [
            states_key("n", &[chunk(1)], 8, &run),
            states_key("m", &[chunk(4)], 8, &run),
            states_key("m", &[chunk(1), chunk(1)], 8, &run),
            states_key("m", &scored, 8, &run),
            states_key("m", &[chunk(1)], 9, &run),
            states_key("m", &[chunk(1)], 8, &f32),
        ];
        assert!(others.iter().all(|other| *other != base));
        assert_eq!(states_key("m", &[chunk(1)], 8, &run), base);
    }
}
