//! Inspection of paths without following links or waiting for pipes.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

use crate::FormatError;

/// The kind of file at a path. Links are not followed.
#[derive(Debug)]
pub(crate) enum Entry {
    /// Nothing.
    Nothing,
    /// A regular file.
    File(Metadata),
    /// A folder.
    Folder(Metadata),
    /// A link, a device, a pipe or a socket, as the string says.
    Special(&'static str),
}

impl Entry {
    /// Inspects `path`.
    pub(crate) fn at(path: &Path) -> Result<Self, FormatError> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::Nothing),
            Err(error) => Err(FormatError::io("open", path.display(), error)),
            Ok(metadata) if metadata.is_file() => Ok(Self::File(metadata)),
            Ok(metadata) if metadata.is_dir() => Ok(Self::Folder(metadata)),
            Ok(metadata) => Ok(Self::Special(special(&metadata))),
        }
    }

    /// Returns the identity of a file or folder.
    pub(crate) fn identity(&self) -> Option<Identity> {
        match self {
            Self::File(metadata) | Self::Folder(metadata) => identity(metadata),
            Self::Nothing | Self::Special(_) => None,
        }
    }
}

/// The device and inode, which are equal for two names of the same file.
pub(crate) type Identity = (u64, u64);

/// Returns the identity of a file or folder, if the system has one.
#[cfg(unix)]
pub(crate) fn identity(metadata: &Metadata) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    Some((metadata.dev(), metadata.ino()))
}

/// Returns the identity of a file or folder, if the system has one.
#[cfg(not(unix))]
pub(crate) fn identity(_metadata: &Metadata) -> Option<Identity> {
    None
}

#[cfg(unix)]
fn special(metadata: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = metadata.file_type();
    match () {
        () if kind.is_symlink() => "a symbolic link",
        () if kind.is_fifo() => "a pipe",
        () if kind.is_socket() => "a socket",
        () => "a device",
    }
}

#[cfg(not(unix))]
fn special(metadata: &Metadata) -> &'static str {
    if metadata.file_type().is_symlink() { "a symbolic link" } else { "a device" }
}

/// Checks that `path` is not a link, a device, a pipe or a socket.
///
/// # Errors
/// [`FormatError::OutputIsSpecial`], and I/O errors.
pub fn refuse_special(path: &Path) -> Result<(), FormatError> {
    match Entry::at(path)? {
        Entry::Special(found) => Err(FormatError::special(path, found)),
        _ => Ok(()),
    }
}

/// Opens a regular file. Fails on a link instead of following it, and on a pipe or device without waiting for it.
///
/// # Errors
/// I/O errors, and [`FormatError::NotAFile`].
pub fn open_no_follow(path: &Path, options: &OpenOptions) -> Result<File, FormatError> {
    let shown = path.display();
    let refused = |found| FormatError::NotAFile { path: shown.to_string(), found };
    // This check gives the clearer message. The flags below close the gap between the two calls.
    match Entry::at(path)? {
        Entry::Folder(_) => return Err(refused("a folder")),
        Entry::Special(found) => return Err(refused(found)),
        Entry::File(_) | Entry::Nothing => {}
    }
    let file = no_follow(options.clone()).open(path).map_err(|error| FormatError::io("open", &shown, error))?;
    let metadata = file.metadata().map_err(|error| FormatError::io("open", &shown, error))?;
    if metadata.is_file() { Ok(file) } else { Err(refused("a special file")) }
}

#[cfg(unix)]
fn no_follow(mut options: OpenOptions) -> OpenOptions {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt;
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
    options
}

#[cfg(windows)]
fn no_follow(mut options: OpenOptions) -> OpenOptions {
    use std::os::windows::fs::OpenOptionsExt;
    /// `FILE_FLAG_OPEN_REPARSE_POINT`, which opens a link itself.
    const OPEN_REPARSE_POINT: u32 = 0x0020_0000;
    options.custom_flags(OPEN_REPARSE_POINT);
    options
}

#[cfg(not(any(unix, windows)))]
fn no_follow(options: OpenOptions) -> OpenOptions {
    options
}

/// Returns `true` if `path` is a regular file that begins with `magic`, and `false` if it cannot be read.
pub(crate) fn begins_with(path: &Path, magic: &[u8]) -> bool {
    let mut head = vec![0; magic.len()];
    let read = open_no_follow(path, OpenOptions::new().read(true)).map(|mut file| file.read_exact(&mut head));
    matches!(read, Ok(Ok(()))) && head == magic
}

/// Returns the name of an entry of a folder, or `None` if the folder is empty.
pub(crate) fn first_name(folder: &Path) -> Result<Option<String>, FormatError> {
    let failed = |error| FormatError::io("open", folder.display(), error);
    let first = fs::read_dir(folder).map_err(failed)?.next().transpose().map_err(failed)?;
    Ok(first.map(|entry| entry.file_name().to_string_lossy().into_owned()))
}
