//! The list of a repository's files, as the Hub gives it. Every part of the answer is checked.

use honelm_formats::is_device_name;
use serde::Deserialize;

use super::transport::Method;
use super::{Client, ModelSpec, PullEvents, WantedFile};
use crate::StoreError;

/// The largest size of an answer of the API in bytes, which is enough for about 100,000 files.
const MOST_JSON: u64 = 32 << 20;

/// The hash that identifies a file's contents; also the name of its blob in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlobId {
    /// SHA-256 of the bytes, for files in large file storage.
    Sha256(String),
    /// Git's SHA-1 of `blob LENGTH\0` and the bytes, for files in the Git repository itself.
    GitSha1(String),
}

impl BlobId {
    /// Parses an id as servers write it, possibly as a quoted or weak ETag.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix("W/").unwrap_or(text).trim_matches('"');
        let hex = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match text.len() {
            64 if hex => Some(Self::Sha256(text.to_owned())),
            40 if hex => Some(Self::GitSha1(text.to_owned())),
            _ => None,
        }
    }

    /// Returns the hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Sha256(hex) | Self::GitSha1(hex) => hex,
        }
    }
}

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteFile {
    /// The path in the repository, with `/` between parts.
    pub path: String,
    /// The length in bytes; not every mirror lists it.
    pub size: Option<u64>,
    /// The id of the contents; not every mirror lists it.
    pub blob: Option<BlobId>,
}

/// A repository at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The commit, 40 hexadecimal digits.
    pub commit: String,
    /// The files, sorted by path.
    pub files: Vec<RemoteFile>,
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
    size: Option<u64>,
}

impl Listing {
    /// Parses the answer to `/api/models/ORG/REPO/revision/REVISION?blobs=true`.
    ///
    /// # Errors
    /// A description of the first invalid part.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let answer: Answer = serde_json::from_slice(json).map_err(|e| format!("not the JSON of a repository: {e}"))?;
        if !is_commit(&answer.sha) {
            return Err("'sha' is not a commit: expected 40 hexadecimal digits".to_owned());
        }
        let mut files = answer.siblings.into_iter().map(file).collect::<Result<Vec<_>, _>>()?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        if let Some(twice) = files.windows(2).find(|pair| pair[0].path == pair[1].path) {
            return Err(format!("the file {:?} is listed twice", twice[0].path));
        }
        Ok(Self { commit: answer.sha, files })
    }
}

fn file(sibling: Sibling) -> Result<RemoteFile, String> {
    let Sibling { rfilename: path, size, blob_id, lfs } = sibling;
    let id = |text: &str| BlobId::parse(text).ok_or_else(|| format!("the id of {path:?} is not a hash"));
    let (blob, size) = match lfs {
        Some(Lfs { sha256: Some(sha256), size: own }) => (Some(id(&sha256)?), own.or(size)),
        // The Git id of a file in large file storage identifies the pointer to the file.
        Some(_) => (None, None),
        None => (blob_id.as_deref().map(id).transpose()?, size),
    };
    Ok(RemoteFile { path, size, blob })
}

/// Returns `true` if `text` is a complete commit id.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Checks that a path of a repository stays below its folder on every system.
///
/// # Errors
/// A clause that says what is wrong, such as "whose name has an empty part".
pub(crate) fn check_path(path: &str) -> Result<(), &'static str> {
    if path.is_empty() || path.len() > 1024 {
        return Err("whose name is empty or longer than 1024 bytes");
    }
    if path.chars().any(|c| c.is_control() || matches!(c, '\\' | ':' | '<' | '>' | '"' | '|')) {
        return Err("whose name contains a character that is not allowed in file names");
    }
    for part in path.split('/') {
        match part {
            "" => return Err("whose name has an empty part"),
            "." | ".." => return Err("whose name has the part '.' or '..'"),
            _ if is_device_name(part) => return Err("whose name is a device on Windows"),
            _ if part.len() > 255 => return Err("whose name has a part longer than 255 bytes"),
            // Windows drops these characters, so two names could mean one file.
            _ if part.ends_with(['.', ' ']) => return Err("whose name ends in '.' or a space"),
            _ => {}
        }
    }
    Ok(())
}

/// Checks the names of files that will be put into one folder: each must be valid, and none both a file and a folder.
pub(crate) fn check_names(spec: &ModelSpec, files: &[RemoteFile]) -> Result<(), StoreError> {
    let refuse =
        |file: &RemoteFile, problem| Err(StoreError::UnsafeName { repo: spec.id(), name: file.path.clone(), problem });
    let names: std::collections::HashSet<&str> = files.iter().map(|f| f.path.as_str()).collect();
    for file in files {
        if let Err(problem) = check_path(&file.path) {
            return refuse(file, problem);
        }
        let inside_a_file = file.path.match_indices('/').any(|(at, _)| names.contains(&file.path[..at]));
        if inside_a_file {
            return refuse(file, "which is inside another file");
        }
    }
    Ok(())
}

/// Fetches the list of the repository's files.
pub(crate) fn fetch(client: &Client<'_>, spec: &ModelSpec, events: PullEvents<'_>) -> Result<Listing, StoreError> {
    let revision = super::url::escape(spec.revision());
    let url = client.endpoint().below(&format!("/api/models/{}/revision/{revision}", spec.id()), Some("blobs=true"));
    let what = format!("{}@{}", spec.id(), spec.revision());
    let json = client.read(&what, &url, MOST_JSON, events)?;
    Listing::parse(&json).map_err(|problem| client.invalid(&what, &url, problem))
}

/// Takes the length and the id that the listing lacks from the headers of the file itself.
pub(crate) fn complete(
    client: &Client<'_>,
    spec: &ModelSpec,
    commit: &str,
    file: RemoteFile,
    events: PullEvents<'_>,
) -> Result<WantedFile, StoreError> {
    let RemoteFile { path, size, blob } = file;
    if let (Some(size), Some(blob)) = (size, &blob) {
        return Ok(WantedFile { path, size, blob: blob.clone() });
    }
    let url = client.file_url(spec, commit, &path);
    let answer = client.retrying(events, &mut || client.send(&path, Method::Head, &url, &[]))?;
    let etag = answer.linked_etag.as_deref().or_else(|| answer.response.header("etag"));
    let blob = blob.or_else(|| etag.and_then(BlobId::parse));
    let size = size.or(answer.linked_size).or_else(|| answer.response.length());
    let missing = |what: &str| client.invalid(&path, &url, format!("its {what} is neither listed nor in the headers"));
    match (size, blob) {
        (Some(size), Some(blob)) => Ok(WantedFile { path, size, blob }),
        (None, _) => Err(missing("length")),
        (_, None) => Err(missing("hash")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn parse(siblings: &str) -> Result<Listing, String> {
        Listing::parse(format!(r#"{{"sha": "{COMMIT}", "extra": 1, "siblings": [{siblings}]}}"#).as_bytes())
    }

    #[test]
    fn sizes_and_ids_are_read() {
        let sha256 = "a".repeat(64);
        let listing = parse(&format!(
            r#"{{"rfilename": "model.safetensors", "size": 9, "blobId": "{COMMIT}", "lfs": {{"sha256": "{sha256}", "size": 9, "pointerSize": 134}}}},
               {{"rfilename": "config.json", "size": 5, "blobId": "{COMMIT}"}}, {{"rfilename": "bare.json"}}"#
        ))
        .expect("a listing");
        let blobs: Vec<_> = listing.files.iter().map(|f| (f.path.as_str(), f.size, f.blob.clone())).collect();
        assert_eq!(
            blobs,
            [
                ("bare.json", None, None),
                ("config.json", Some(5), Some(BlobId::GitSha1(COMMIT.to_owned()))),
                ("model.safetensors", Some(9), Some(BlobId::Sha256(sha256))),
            ]
        );
    }

    #[test]
    fn answers_that_are_not_a_listing_are_refused() {
        for json in ["", "[]", "{}", r#"{"sha": "main"}"#, r#"{"sha": "../../../etc/passwd/0123456789abcdef0123"}"#] {
            Listing::parse(json.as_bytes()).expect_err(json);
        }
        parse(r#"{"rfilename": "a", "blobId": "../../x"}"#).expect_err("an id that is a path");
        parse(r#"{"rfilename": "a", "size": -1}"#).expect_err("a negative size");
        parse(r#"{"rfilename": "a"}, {"rfilename": "a"}"#).expect_err("twice");
    }

    #[test]
    fn names_that_leave_their_folder_or_are_devices_are_refused() {
        for path in [
            "",
            "/etc/passwd",
            "..",
            "../x",
            "a/../../x",
            "a//b",
            "./a",
            "a/",
            "C:/x",
            "a\\b",
            "a\0b",
            "a\nb",
            "a/..",
            "a.",
            "a /b",
            "NUL.json",
            "sub/con.json/x",
            "AUX",
            "com1.txt",
            "x:stream",
        ] {
            check_path(path).expect_err(path);
        }
        check_path("sub/.hidden/model-00001-of-00002.safetensors").expect("plain");
        let spec: ModelSpec = "org/repo".parse().expect("a spec");
        let named = |path: &str| RemoteFile { path: path.to_owned(), size: None, blob: None };
        check_names(&spec, &[named("a.json"), named("a.json/b")]).expect_err("a file in a file");
        check_names(&spec, &[named("a"), named("ab/c")]).expect("beside each other");
    }
}
