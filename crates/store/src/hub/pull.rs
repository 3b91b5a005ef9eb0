use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::cache::RepositoryCache;
use super::client::{Client, Patience};
use super::fetch::Fetch;
use super::listing::{self, RemoteFile};
use super::select::select;
use super::transport::Transport;
use super::{HubSettings, ModelSpec, PullEvent, PullEvents, WantedFile, find};
use crate::StoreError;

/// The options of a pull.
#[derive(Debug, Clone)]
pub struct PullOptions {
    /// The model.
    pub spec: ModelSpec,
    /// Patterns that select files; if empty, the files that make up the model are selected.
    pub include: Vec<String>,
    /// The settings of the Hub's tools.
    pub settings: HubSettings,
    /// The policy for retries and slow connections.
    pub patience: Patience,
}

/// A file that a pull has put into the cache or found there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PulledFile {
    /// The path in the repository.
    pub path: String,
    /// The length in bytes.
    pub bytes: u64,
    /// The bytes received by this pull; 0 if the file was in the cache.
    pub received_bytes: u64,
    /// The id of the contents: SHA-256, or Git's SHA-1.
    pub hash: String,
}

/// The result of a pull.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pulled {
    /// The repository, `ORG/REPO`.
    pub repository: String,
    /// The requested branch, tag or commit.
    pub revision: String,
    /// The commit of the revision.
    pub commit: String,
    /// The folder of the snapshot in the cache.
    pub path: PathBuf,
    /// The path to open: the folder, or a GGUF file in it; `None` if the files are not a complete model.
    pub model: Option<PathBuf>,
    /// The length of all files in bytes.
    pub bytes: u64,
    /// The bytes received by this pull.
    pub received_bytes: u64,
    /// The files, sorted by path.
    pub files: Vec<PulledFile>,
}

/// Fetches a model into the cache. Files that are in the cache are not fetched again, and an interrupted pull resumes when
/// it is called again.
///
/// # Errors
/// A problem of the request, the server, the network or the disk. A file gets its name in the cache only when it is
/// complete and its hash is right.
pub fn pull(options: &PullOptions, transport: &dyn Transport, events: PullEvents<'_>) -> Result<Pulled, StoreError> {
    let PullOptions { spec, include, settings, patience } = options;
    if settings.offline {
        return Err(StoreError::Offline { repo: spec.to_string() });
    }
    if settings.token.is_some() && !settings.endpoint.is_https() && !settings.endpoint.is_loopback() {
        events(&PullEvent::Warning("HF_ENDPOINT is not an https address: others on the network can read the token"));
    }
    let client = Client::new(transport, settings, spec, *patience);
    let listing = listing::fetch(&client, spec, events)?;
    let selection = select(spec, &listing.files, include)?;
    for note in &selection.notes {
        events(&PullEvent::Warning(note));
    }
    let files = known(&client, spec, &listing.commit, selection.files, events)?;
    let cache = RepositoryCache::new(&settings.cache, spec);
    check_space(&cache, &listing.commit, &files)?;
    let fetched = FetchAll { client: &client, spec, commit: &listing.commit, cache: &cache };
    let files = fetched.run(&files, settings.symlinks, events)?;
    cache.set_commit(spec.revision(), &listing.commit)?;
    Ok(Pulled {
        repository: spec.id(),
        revision: spec.revision().to_owned(),
        path: cache.snapshot(&listing.commit),
        model: find(spec, &settings.cache).ok(),
        bytes: files.iter().map(|f| f.bytes).sum(),
        received_bytes: files.iter().map(|f| f.received_bytes).sum(),
        files,
        commit: listing.commit,
    })
}

/// Completes the lengths and ids of files, and sorts small files first, so that an invalid configuration is found early.
fn known(
    client: &Client<'_>,
    spec: &ModelSpec,
    commit: &str,
    files: Vec<RemoteFile>,
    events: PullEvents<'_>,
) -> Result<Vec<WantedFile>, StoreError> {
    let mut out = Vec::with_capacity(files.len());
    for file in files {
        out.push(listing::complete(client, spec, commit, file, events)?);
    }
    out.sort_by(|a, b| a.size.cmp(&b.size).then_with(|| a.path.cmp(&b.path)));
    Ok(out)
}

/// The fetch of all files of a commit.
struct FetchAll<'a> {
    client: &'a Client<'a>,
    spec: &'a ModelSpec,
    commit: &'a str,
    cache: &'a RepositoryCache,
}

impl FetchAll<'_> {
    fn run(&self, files: &[WantedFile], symlinks: bool, events: PullEvents<'_>) -> Result<Vec<PulledFile>, StoreError> {
        let Self { client, cache, commit, .. } = *self;
        let total = files.iter().map(|f| f.size).fold(0, u64::saturating_add);
        let mut before = 0;
        let mut out = Vec::with_capacity(files.len());
        for file in files {
            if !events(&PullEvent::Progress { file: &file.path, done: before, total }) {
                return Err(StoreError::Interrupted);
            }
            let mut received = None;
            if !cache.has_file(commit, file) {
                let url = client.file_url(self.spec, commit, &file.path);
                received = Fetch { client, cache, url, file, before, total }.run(events)?;
                cache.place(commit, file, symlinks, received.is_some())?;
            }
            before += file.size;
            let (hash, received_bytes) = (file.blob.as_str().to_owned(), received.unwrap_or(0));
            out.push(PulledFile { path: file.path.clone(), bytes: file.size, received_bytes, hash });
        }
        events(&PullEvent::Progress { file: "", done: before, total });
        out.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(out)
    }
}

/// Checks that the missing bytes fit on the disk.
fn check_space(cache: &RepositoryCache, commit: &str, files: &[WantedFile]) -> Result<(), StoreError> {
    let mut counted = HashSet::new();
    let is_here = |file: &WantedFile| cache.has_file(commit, file) || cache.has_blob(file);
    let missing = files.iter().filter(|f| !is_here(f) && counted.insert(f.blob.as_str()));
    let left = |f: &WantedFile| f.size.saturating_sub(cache.partial_length(&f.blob));
    let needed = missing.map(left).fold(0, u64::saturating_add);
    let dir = cache.blobs();
    // If the free space is unknown, the pull is tried.
    match free_space(&dir) {
        Some(free) if free < needed => Err(StoreError::DiskFull { dir, needed, free }),
        _ => Ok(()),
    }
}

/// Returns the free bytes of the disk that `dir` is or will be on.
fn free_space(dir: &Path) -> Option<u64> {
    let dir = std::path::absolute(dir).ok()?;
    let there = dir.ancestors().find(|d| d.is_dir())?;
    fs4::available_space(there).ok()
}
