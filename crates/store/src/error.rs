use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use honelm_formats::printable;

/// The error of the journal and of the Hub's cache.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of each variant describes its fields")]
pub enum StoreError {
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: std::io::Error },
    /// A file could not be read, or not be written completely.
    #[error(transparent)]
    File(#[from] honelm_formats::FormatError),
    #[error("invalid name of a journal entry: found '{0}', expected letters, digits, '-', '_' and '.' only")]
    Name(String),
    #[error("{}: the journal entry is missing or damaged, or another run replaced it; run again to compute it anew", .path.display())]
    LostEntry { path: PathBuf },
    /// The caller stopped the work.
    #[error("interrupted")]
    Interrupted,

    // The request
    #[error(
        "'{text}' is not a model of the Hugging Face Hub: {problem}; expected ORG/REPO, ORG/REPO@REVISION or ORG/REPO:QUANT"
    )]
    InvalidRepository { text: String, problem: Cow<'static, str> },
    #[error("invalid {name}: found '{found}', expected {expected}")]
    InvalidSetting { name: &'static str, found: String, expected: &'static str },
    #[error("'{repo}' is not fetched because HF_HUB_OFFLINE is set; unset it, or use a model that is in the cache")]
    Offline { repo: String },
    #[error(
        "'{name}' is not a file or folder, nor a model in the cache {}: {problem}; fetch it with `honelm pull {name}`",
        .cache.display()
    )]
    NotInCache { name: String, cache: PathBuf, problem: String },
    #[error("{repo} has no GGUF file '{wanted}', only {}", list(choices))]
    UnknownFile { repo: String, wanted: String, choices: Vec<String> },
    #[error("{repo} has several GGUF models; choose one, for example {repo}:{}\n{}", example(choices), lines(choices))]
    SeveralFiles { repo: String, choices: Vec<String> },
    #[error("{repo}: {file}: part {missing} of {parts} is missing")]
    MissingPart { repo: String, file: String, parts: usize, missing: usize },
    #[error("{repo}: no file matches {patterns}; it has {}", list(files))]
    NoMatch { repo: String, patterns: String, files: Vec<String> },
    #[error(
        "{repo} has no safetensors and no GGUF file, only {}; --include GLOB fetches files regardless of their kind",
        list(files)
    )]
    NoWeights { repo: String, files: Vec<String> },
    #[error(
        "{repo}: {} can be a Python pickle, which runs code when it is loaded, and is never fetched; look for a \
         safetensors or GGUF version of the model",
        list(files)
    )]
    Pickle { repo: String, files: Vec<String> },

    // The network and the server
    #[error("cannot reach {host}: {problem}; check the network, HTTPS_PROXY and HF_ENDPOINT, then pull again")]
    Connection { host: String, problem: String, passing: bool },
    #[error(
        "{what}: no such repository on {host}, or a private one ({status}); check the name, and set HF_TOKEN to a token \
         that may read it"
    )]
    NoRepository { what: String, host: String, status: u16 },
    #[error(
        "{what}: not logged in to {host} (401), and the repository is gated; accept its licence on {page}, then set \
         HF_TOKEN or run `hf auth login`, which writes the token to {}",
        .token_file.display()
    )]
    GatedLogin { what: String, host: String, page: String, token_file: PathBuf },
    #[error(
        "{what}: not logged in to {host} (401), and the repository is private or does not exist; check the name, and \
         set HF_TOKEN or run `hf auth login`, which writes the token to {}",
        .token_file.display()
    )]
    Login { what: String, host: String, token_file: PathBuf },
    #[error("{what}: {host} does not accept the token of {token} (401); replace or remove it")]
    TokenRefused { what: String, host: String, token: String },
    #[error(
        "{what}: access to a gated repository of {host} is refused (403); accept its licence on {page} with the account \
         that owns the token"
    )]
    Gated { what: String, host: String, page: String },
    #[error(
        "{what}: {host} refuses access (403); ask for it on {page}, or use a token that has the permission to read it"
    )]
    Forbidden { what: String, host: String, page: String },
    #[error("{what}: not found on {host} (404); check the name and the revision")]
    NotFound { what: String, host: String },
    #[error("{what}: {host} asks to wait{} (429); pull again after that: it resumes", wait(.after))]
    TooManyRequests { what: String, host: String, after: Option<Duration> },
    #[error("{what}: {host} fails ({status}); pull again later: it resumes")]
    Server { what: String, host: String, status: u16 },
    #[error("{what}: unexpected status {status} from {host}; check that HF_ENDPOINT is a Hugging Face Hub or a mirror")]
    Status { what: String, host: String, status: u16 },
    #[error(
        "{what}: {host} answered with a web page; log in to the network or proxy in between, and check that HF_ENDPOINT \
         is a Hugging Face Hub"
    )]
    WebPage { what: String, host: String },
    #[error("{what}: {host} redirects to {to}, {problem}; check HF_ENDPOINT")]
    Redirect { what: String, host: String, to: String, problem: &'static str },
    #[error("{what}: invalid answer from {host}: {problem}")]
    InvalidAnswer { what: String, host: String, problem: String },
    #[error("{repo}: refused the file {}, {problem}", shown(.name))]
    UnsafeName { repo: String, name: String, problem: &'static str },
    #[error(
        "{file}: wrong length from {host}: found {found} bytes, expected {expected}; pull again, or try without a mirror"
    )]
    WrongLength { file: String, host: String, expected: u64, found: u64 },
    #[error(
        "{file}: wrong hash of the bytes received from {host}, which were discarded: found {found}, expected {expected}; \
         pull again, or try without a mirror"
    )]
    WrongHash { file: String, host: String, expected: String, found: String },
    #[error(
        "{file}: the connection to {host} broke at {done} of {size} bytes ({problem}); pull again: it resumes there"
    )]
    Cut { file: String, host: String, done: u64, size: u64, problem: String },
    #[error(
        "{}: damaged on this disk: found the hash {found}, expected {expected}; fetch it again with `honelm pull {repo}`",
        .path.display()
    )]
    DamagedBlob { path: PathBuf, repo: String, expected: String, found: String },
    #[error(
        "{}: not enough space: {needed} bytes are needed and {free} are free; free some, or set HF_HUB_CACHE to a folder \
         on another disk",
        .dir.display()
    )]
    DiskFull { dir: PathBuf, needed: u64, free: u64 },
}

impl StoreError {
    /// Returns a stable name for programs.
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
            Self::Login { .. } | Self::GatedLogin { .. } => "login-required",
            Self::TokenRefused { .. } => "token-refused",
            Self::Gated { .. } | Self::Forbidden { .. } => "forbidden",
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

    /// Returns `true` if the same request may succeed a little later.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Connection { passing, .. } => *passing,
            Self::Cut { .. } | Self::Server { .. } | Self::TooManyRequests { .. } => true,
            _ => false,
        }
    }
}

/// Quotes a name that a server sent, without control characters.
fn shown(name: &str) -> String {
    format!("'{}'", name.chars().take(120).flat_map(char::escape_debug).collect::<String>())
}

/// Joins names; of many, the first ones.
fn list(names: &[String]) -> String {
    const MOST: usize = 12;
    match names {
        [] => "none".to_owned(),
        few if few.len() <= MOST => few.iter().map(|n| one_line(n)).collect::<Vec<_>>().join(", "),
        many => format!("{} and {} more", list(&many[..MOST]), many.len() - MOST),
    }
}

/// Writes one choice per line.
fn lines(choices: &[String]) -> String {
    choices.iter().map(|c| format!("  {}", one_line(c))).collect::<Vec<_>>().join("\n")
}

/// Returns the first choice as a user types it, without the size that may follow it after two spaces.
fn example(choices: &[String]) -> String {
    choices.first().and_then(|c| c.split("  ").next()).map(one_line).unwrap_or_default()
}

fn one_line(name: &str) -> String {
    printable(name).replace('\n', "\\n")
}

fn wait(after: &Option<Duration>) -> String {
    after.map_or_else(String::new, |after| format!(" for {} s", after.as_secs()))
}
