use std::path::PathBuf;
use std::time::Duration;

use honelm_formats::printable;

/// Why work cannot be kept, or a model not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant's message says what its fields are")]
pub enum StoreError {
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: std::io::Error },
    /// A file could not be read, or not be written whole.
    #[error(transparent)]
    File(#[from] honelm_formats::FormatError),
    #[error("'{0}' is no name for a journal entry: letters, digits, '-', '_' and '.' only")]
    Name(String),
    #[error(
        "{}: this finished piece of work is gone or damaged, or another run replaced it; run again to make it anew",
        .path.display()
    )]
    LostEntry { path: PathBuf },
    /// The caller stopped it.
    #[error("interrupted")]
    Interrupted,

    // What was asked for
    #[error("'{text}' names no repository ({problem}); expected ORG/REPO, ORG/REPO@REVISION or ORG/REPO:QUANT")]
    InvalidRepository { text: String, problem: &'static str },
    #[error("{name} is '{found}'; expected {expected}")]
    InvalidSetting { name: &'static str, found: String, expected: &'static str },
    #[error("HF_HUB_OFFLINE is set, so '{repo}' is not fetched: unset it, or use a model that is already here")]
    Offline { repo: String },
    #[error(
        "no file or folder '{name}', nor a model of that name in {}: {problem}; fetch it with `honelm pull {name}`",
        .cache.display()
    )]
    NotInCache { name: String, cache: PathBuf, problem: String },
    #[error("{repo} has no file for '{wanted}'; it has {}", list(choices))]
    UnknownFile { repo: String, wanted: String, choices: Vec<String> },
    #[error("{repo} comes in several files; choose one, as in {repo}:{}\n{}", example(choices), lines(choices))]
    SeveralFiles { repo: String, choices: Vec<String> },
    #[error("{repo}: {file} is one of {parts} parts, and part {missing} is not there")]
    MissingPart { repo: String, file: String, parts: usize, missing: usize },
    #[error("{repo}: no file matches {patterns}; it has {}", list(files))]
    NoMatch { repo: String, patterns: String, files: Vec<String> },
    #[error(
        "{repo} has no safetensors and no GGUF file, only {}; --include GLOB fetches files all the same",
        list(files)
    )]
    NoWeights { repo: String, files: Vec<String> },
    #[error(
        "{repo}: {} can be a Python pickle, which runs code when it is loaded, so it is never fetched; look for a \
         safetensors or GGUF version of the model",
        list(files)
    )]
    Pickle { repo: String, files: Vec<String> },

    // The network and the server
    #[error("cannot reach {host}: {problem}; check the network, HTTPS_PROXY and HF_ENDPOINT, then pull again")]
    Connection { host: String, problem: String, passing: bool },
    #[error(
        "{what}: {host} says there is no such repository, or that it is private ({status}); check the name, and for a \
         private one set HF_TOKEN"
    )]
    NoRepository { what: String, host: String, status: u16 },
    #[error("{what}: {host} does not accept the token (401); set HF_TOKEN to a valid one, or unset it")]
    TokenRefused { what: String, host: String },
    #[error("{what}: {host} grants no access (403); ask for it on the model's page, {page}, and set HF_TOKEN")]
    Forbidden { what: String, host: String, page: String },
    #[error("{what}: {host} does not have it (404); check name and revision")]
    NotFound { what: String, host: String },
    #[error("{what}: {host} asks to wait{} (429); pull again then: it goes on where it stopped", wait(.after))]
    TooManyRequests { what: String, host: String, after: Option<Duration> },
    #[error("{what}: {host} fails ({status}); pull again later: it goes on where it stopped")]
    Server { what: String, host: String, status: u16 },
    #[error("{what}: {host} answered with status {status}; is HF_ENDPOINT a Hugging Face Hub or a mirror of it?")]
    Status { what: String, host: String, status: u16 },
    #[error(
        "{what}: {host} answered with a web page: a login page or a proxy stands between, or HF_ENDPOINT is no Hugging \
         Face Hub"
    )]
    WebPage { what: String, host: String },
    #[error("{what}: {host} redirects to {to}, {problem}; check HF_ENDPOINT")]
    Redirect { what: String, host: String, to: String, problem: &'static str },
    #[error("{what}: the answer of {host} cannot be used: {problem}")]
    InvalidAnswer { what: String, host: String, problem: String },
    #[error("{repo} lists the file {}, {problem}: refused", shown(.name))]
    UnsafeName { repo: String, name: String, problem: &'static str },
    #[error("{file}: {host} sends {found} bytes, the repository lists {expected}; pull again, or try without a mirror")]
    WrongLength { file: String, host: String, expected: u64, found: u64 },
    #[error(
        "{file}: the bytes received from {host} are not those that the repository lists (hash {found}, expected \
         {expected}); they were thrown away; pull again, or try without a mirror"
    )]
    WrongHash { file: String, host: String, expected: String, found: String },
    #[error(
        "{file}: the connection to {host} broke at {done} of {size} bytes ({problem}); pull again: it goes on there"
    )]
    Cut { file: String, host: String, done: u64, size: u64, problem: String },
    #[error(
        "{}: it is damaged on this disk (its hash is {found}, the cache has it as {expected}); fetch it again with \
         `honelm pull {repo}`",
        .path.display()
    )]
    DamagedBlob { path: PathBuf, repo: String, expected: String, found: String },
    #[error(
        "{}: {needed} bytes are needed and {free} are free; make room, or set HF_HUB_CACHE to a folder on another disk",
        .dir.display()
    )]
    DiskFull { dir: PathBuf, needed: u64, free: u64 },
}

impl StoreError {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => "disk-full",
            Self::Io { .. } => "io",
            Self::File(e) => e.code(),
            Self::Name(_) => "invalid-name",
            Self::LostEntry { .. } => "kept-work-lost",
            Self::Interrupted => "interrupted",
            Self::InvalidRepository { .. } => "invalid-repository",
            Self::InvalidSetting { .. } => "invalid-setting",
            Self::Offline { .. } => "offline",
            Self::NotInCache { .. } => "model-not-found",
            Self::UnknownFile { .. } => "unknown-file",
            Self::SeveralFiles { .. } => "several-files",
            Self::MissingPart { .. } => "missing-shard",
            Self::NoMatch { .. } => "no-file-matches",
            Self::NoWeights { .. } => "no-weights",
            Self::Pickle { .. } => "pickle-file",
            Self::Connection { .. } => "connection-failed",
            Self::NoRepository { .. } => "repository-not-found",
            Self::TokenRefused { .. } => "token-refused",
            Self::Forbidden { .. } => "forbidden",
            Self::NotFound { .. } => "not-found",
            Self::TooManyRequests { .. } => "too-many-requests",
            Self::Server { .. } => "server-error",
            Self::Status { .. } => "unexpected-status",
            Self::WebPage { .. } => "html-page",
            Self::Redirect { .. } => "redirect-refused",
            Self::InvalidAnswer { .. } => "invalid-answer",
            Self::UnsafeName { .. } => "unsafe-file-name",
            Self::WrongLength { .. } => "wrong-length",
            Self::WrongHash { .. } => "wrong-hash",
            Self::Cut { .. } => "connection-cut",
            Self::DamagedBlob { .. } => "damaged-blob",
            Self::DiskFull { .. } => "disk-full",
        }
    }

    /// Whether the same request may succeed a little later.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Connection { passing, .. } => *passing,
            Self::Cut { .. } | Self::Server { .. } | Self::TooManyRequests { .. } => true,
            _ => false,
        }
    }
}

/// A name from a server, fit for a message.
fn shown(name: &str) -> String {
    format!("'{}'", name.chars().take(120).flat_map(char::escape_debug).collect::<String>())
}

/// Names in a message; of many, the first.
fn list(names: &[String]) -> String {
    const MOST: usize = 12;
    match names {
        [] => "none".to_owned(),
        few if few.len() <= MOST => few.iter().map(|n| one_line(n)).collect::<Vec<_>>().join(", "),
        many => format!("{} and {} more", list(&many[..MOST]), many.len() - MOST),
    }
}

/// One choice a line.
fn lines(choices: &[String]) -> String {
    choices.iter().map(|c| format!("  {}", one_line(c))).collect::<Vec<_>>().join("\n")
}

/// What is typed for a choice, which may have a size after two spaces.
fn example(choices: &[String]) -> String {
    choices.first().and_then(|c| c.split("  ").next()).map(one_line).unwrap_or_default()
}

/// A name in a list.
fn one_line(name: &str) -> String {
    printable(name).replace('\n', "\\n")
}

fn wait(after: &Option<Duration>) -> String {
    after.map_or_else(String::new, |after| format!(" for {} s", after.as_secs()))
}
