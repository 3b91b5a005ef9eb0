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

/// What is fetched, from where and to where.
#[derive(Debug, Clone)]
pub struct PullOptions {
    /// The model.
    pub spec: ModelSpec,
    /// Patterns of the files that are wanted; by default those that make up the model.
    pub include: Vec<String>,
    /// Hub, cache, token.
    pub settings: HubSettings,
    /// How often and how long to try.
    pub patience: Patience,
}

/// A file that is in the cache now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PulledFile {
    /// Its path in the repository.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// Bytes that were received for it this time; 0 where it was here.
    pub received_bytes: u64,
    /// Its id: SHA-256, or Git's SHA-1.
    pub hash: String,
}

/// A model that is in the cache now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pulled {
    /// `ORG/REPO`.
    pub repository: String,
    /// The branch, tag or commit that was asked for.
    pub revision: String,
    /// The commit that it is.
    pub commit: String,
    /// The revision's folder in the cache.
    pub path: PathBuf,
    /// What to open: the folder, or a GGUF file in it; nothing where no whole model was fetched.
    pub model: Option<PathBuf>,
    /// Length of all files together.
    pub bytes: u64,
    /// Bytes that were received this time.
    pub received_bytes: u64,
    /// The files.
    pub files: Vec<PulledFile>,
}

/// Fetches a model into the cache. What is there already is not fetched again; what is interrupted goes on where it
/// stopped when it is called again.
///
/// # Errors
/// What the server, the network, the disk or the request lack, each with what to do about it. Nothing appears under its
/// name in the cache before it is whole and its hash right.
pub fn pull(options: &PullOptions, transport: &dyn Transport, events: PullEvents<'_>) -> Result<Pulled, StoreError> {
    let PullOptions { spec, include, settings, patience } = options;
    if settings.offline {
        return Err(StoreError::Offline { repo: spec.to_string() });
    }
    if settings.token.is_some() && !settings.endpoint.origin.https && !settings.endpoint.origin.is_loopback() {
        events(&PullEvent::Warning("HF_ENDPOINT is no https address: the token can be read on the way"));
    }
    let client = Client::new(transport, settings, spec, *patience);
    let listing = listing::fetch(&client, spec, events)?;
    let selection = select(spec, &listing.files, include)?;
    for note in &selection.notes {
        events(&PullEvent::Warning(note));
    }
    let files = known(&client, spec, &listing.commit, selection.files, events)?;
    let cache = RepositoryCache::new(&settings.cache, spec);
    check_space(&cache, &files)?;
    let files = fetch_all(&client, spec, &listing.commit, &cache, &files, events)?;
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

/// The files with length and id; small ones first, so that what is wrong with a configuration shows early.
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

fn fetch_all(
    client: &Client<'_>,
    spec: &ModelSpec,
    commit: &str,
    cache: &RepositoryCache,
    files: &[WantedFile],
    events: PullEvents<'_>,
) -> Result<Vec<PulledFile>, StoreError> {
    let total = files.iter().map(|f| f.size).fold(0, u64::saturating_add);
    let mut before = 0;
    let mut out = Vec::with_capacity(files.len());
    for file in files {
        if !events(&PullEvent::Progress { file: &file.path, done: before, total }) {
            return Err(StoreError::Interrupted);
        }
        let mut received_bytes = 0;
        if !cache.has_file(commit, file) {
            let url = client.file_url(spec, commit, &file.path);
            received_bytes = Fetch { client, cache, url, file, before, total }.run(events)?;
            cache.link(commit, file)?;
        }
        before += file.size;
        let hash = file.blob.as_str().to_owned();
        out.push(PulledFile { path: file.path.clone(), bytes: file.size, received_bytes, hash });
    }
    events(&PullEvent::Progress { file: "", done: before, total });
    out.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(out)
}

/// Checks that what is still missing fits on the disk.
fn check_space(cache: &RepositoryCache, files: &[WantedFile]) -> Result<(), StoreError> {
    let mut counted = HashSet::new();
    let missing = files.iter().filter(|f| !cache.has_blob(f) && counted.insert(f.blob.as_str()));
    let left = |f: &WantedFile| f.size.saturating_sub(cache.partial_length(&f.blob));
    let needed = missing.map(left).fold(0, u64::saturating_add);
    let dir = cache.blobs();
    // A file system that does not tell is tried.
    match free_space(&dir) {
        Some(free) if free < needed => Err(StoreError::DiskFull { dir, needed, free }),
        _ => Ok(()),
    }
}

/// Free bytes where `dir` is or will be.
fn free_space(dir: &Path) -> Option<u64> {
    let dir = std::path::absolute(dir).ok()?;
    let there = dir.ancestors().find(|d| d.is_dir())?;
    fs4::available_space(there).ok()
}
