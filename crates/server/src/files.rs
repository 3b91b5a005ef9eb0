//! Files that a server may serve: those of a page, and those of models for a browser.

use std::future::Future;
use std::io::{self, ErrorKind, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tower_http::services::ServeDir;
use tower_http::services::fs::{Backend, DefaultServeDirFallback, File};

/// The regular files below a folder, or a single file. Links are followed if their target is in the folder. Dot files,
/// pipes and devices are left out.
#[derive(Debug, Clone)]
pub struct Files(Arc<Root>);

#[derive(Debug)]
enum Root {
    /// The file, for any path.
    File(PathBuf),
    /// The folder, by its canonical path.
    Folder {
        folder: PathBuf,
        /// In the Hub's cache, the folder of the blobs that the files of a revision link to.
        blobs: Option<PathBuf>,
    },
}

impl Files {
    /// Creates the set of one file.
    #[must_use]
    pub fn file(path: &Path) -> Self {
        Self(Arc::new(Root::File(path.to_owned())))
    }

    /// Creates the set of the files below a folder.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn below(folder: &Path) -> io::Result<Self> {
        let folder = folder.canonicalize()?;
        let blobs = honelm::hub_blobs(&folder).and_then(|blobs| blobs.canonicalize().ok());
        Ok(Self(Arc::new(Root::Folder { folder, blobs })))
    }

    /// Returns the service that serves the files, with ranges, conditional requests and HEAD.
    #[must_use]
    pub fn service(self) -> ServeDir<DefaultServeDirFallback, Self> {
        let base = match &*self.0 {
            Root::File(_) => PathBuf::new(),
            Root::Folder { folder, .. } => folder.clone(),
        };
        ServeDir::with_backend(base, self)
    }

    /// Returns the bytes of the weights: of the file, or of the safetensors files in the folder itself.
    pub fn weight_bytes(&self) -> u64 {
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
        match &*self.0 {
            Root::File(path) => size(path),
            Root::Folder { folder, .. } => {
                let entries = folder.read_dir().into_iter().flatten().flatten();
                let weights =
                    entries.map(|entry| entry.path()).filter(|path| path.extension() == Some("safetensors".as_ref()));
                weights.filter(|path| self.resolve(path).is_ok()).map(|path| size(&path)).sum()
            }
        }
    }

    /// Returns the names in the folder itself that link to files elsewhere, which are not served.
    #[must_use]
    pub fn links_out(&self) -> Vec<String> {
        let Root::Folder { folder, .. } = &*self.0 else { return Vec::new() };
        let entries = folder.read_dir().into_iter().flatten().flatten();
        let named = entries.filter(|entry| !is_hidden(Path::new(&entry.file_name())));
        let led_out = named.filter(|entry| entry.path().is_file() && self.resolve(&entry.path()).is_err());
        led_out.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Resolves links in a path.
    fn resolve(&self, wanted: &Path) -> io::Result<PathBuf> {
        let (folder, blobs) = match &*self.0 {
            Root::File(file) => return Ok(file.clone()),
            Root::Folder { folder, blobs } => (folder, blobs.as_deref()),
        };
        let below = wanted.strip_prefix(folder).map_err(|_| io::Error::from(ErrorKind::NotFound))?;
        let real = wanted.canonicalize()?;
        let stays = real.strip_prefix(folder).is_ok_and(|below| !is_hidden(below));
        let is_blob = blobs.is_some() && real.parent() == blobs;
        if !is_hidden(below) && (stays || is_blob) { Ok(real) } else { Err(ErrorKind::NotFound.into()) }
    }
}

/// Returns `true` if a component of a path begins with a dot.
fn is_hidden(path: &Path) -> bool {
    let begins_with_a_dot = |part: Component<'_>| part.as_os_str().as_encoded_bytes().starts_with(b".");
    path.components().any(begins_with_a_dot)
}

type Soon<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// Runs work that waits for the disk on a thread of its own.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

impl Backend for Files {
    type File = Opened;
    type Metadata = std::fs::Metadata;
    type OpenFuture = Soon<'static, Opened>;
    type MetadataFuture = Soon<'static, std::fs::Metadata>;

    fn open(&self, path: PathBuf) -> Self::OpenFuture {
        let files = self.clone();
        Box::pin(blocking(move || {
            let opened = honelm::open_file(files.resolve(&path)?).map_err(|_| io::Error::from(ErrorKind::NotFound))?;
            Ok(Opened(tokio::fs::File::from_std(opened)))
        }))
    }

    fn metadata(&self, path: PathBuf) -> Self::MetadataFuture {
        let files = self.clone();
        Box::pin(blocking(move || {
            let metadata = files.resolve(&path)?.metadata()?;
            if metadata.is_file() || metadata.is_dir() { Ok(metadata) } else { Err(ErrorKind::NotFound.into()) }
        }))
    }
}

/// An open file.
#[derive(Debug)]
pub struct Opened(tokio::fs::File);

impl File for Opened {
    type Metadata = std::fs::Metadata;
    type MetadataFuture<'a> = Soon<'a, std::fs::Metadata>;

    fn metadata(&self) -> Self::MetadataFuture<'_> {
        Box::pin(self.0.metadata())
    }
}

impl AsyncRead for Opened {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl AsyncSeek for Opened {
    fn start_seek(mut self: Pin<&mut Self>, position: SeekFrom) -> io::Result<()> {
        Pin::new(&mut self.0).start_seek(position)
    }

    fn poll_complete(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Pin::new(&mut self.0).poll_complete(cx)
    }
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    #[test]
    fn only_regular_files_below_the_folder_are_served() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("model");
        fs::create_dir_all(folder.join("sub")).unwrap();
        fs::create_dir(folder.join(".git")).unwrap();
        for name in ["config.json", "sub/a.jinja", ".env", ".git/config"] {
            fs::write(folder.join(name), "x").unwrap();
        }
        fs::write(dir.path().join("secret"), "x").unwrap();
        for (to, name) in [
            ("sub/a.jinja", "within"),
            ("../secret", "out"),
            ("/etc/passwd", "passwd"),
            ("..", "up"),
            (".git/config", "to-hidden"),
            ("/dev/zero", "endless"),
        ] {
            symlink(to, folder.join(name)).unwrap();
        }
        assert!(Command::new("mkfifo").arg(folder.join("pipe")).status().unwrap().success());
        let files = Files::below(&folder).unwrap();
        let folder = folder.canonicalize().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let opens = |name: &str| runtime.block_on(files.open(folder.join(name))).is_ok();
        for name in ["config.json", "sub/a.jinja", "within"] {
            assert!(opens(name), "{name}");
        }
        let refused =
            [".env", ".git/config", "out", "passwd", "up/secret", "to-hidden", "endless", "pipe", "sub", "../secret"];
        for name in refused {
            assert!(!opens(name), "{name}");
        }
        let mut led_out = files.links_out();
        led_out.sort();
        assert_eq!(led_out, ["out", "passwd", "to-hidden"]);
    }

    #[test]
    fn a_revision_in_the_cache_may_only_link_to_blobs_of_its_repository() {
        let dir = tempfile::tempdir().unwrap();
        let (own, other) = (dir.path().join("models--org--own"), dir.path().join("models--org--other"));
        let snapshot = own.join("snapshots").join("0123456789abcdef0123456789abcdef01234567");
        fs::create_dir_all(&snapshot).unwrap();
        for repository in [&own, &other] {
            fs::create_dir_all(repository.join("blobs")).unwrap();
            fs::write(repository.join("blobs/abc"), "x").unwrap();
        }
        fs::write(own.join("refs"), "x").unwrap();
        symlink("../../blobs/abc", snapshot.join("config.json")).unwrap();
        symlink("../../../models--org--other/blobs/abc", snapshot.join("other.json")).unwrap();
        symlink("../../refs", snapshot.join("refs.json")).unwrap();
        let files = Files::below(&snapshot).unwrap();
        let snapshot = snapshot.canonicalize().unwrap();
        assert!(files.resolve(&snapshot.join("config.json")).is_ok());
        assert!(files.resolve(&snapshot.join("other.json")).is_err());
        assert!(files.resolve(&snapshot.join("refs.json")).is_err());
    }
}
