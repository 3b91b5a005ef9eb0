//! Bounded reads of files from outside: regular files and, where a user names the path, pipes.
//!
//! Every path that is opened for reading goes through this module. A named pipe, a device or an endless file in a
//! model's folder is therefore an error with its name, and can neither block the program nor fill the memory.

use std::fs::{File, FileType, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

use crate::FormatError;

/// The largest JSON file that is read. Tokenizers reach about 30 MB.
const JSON_LIMIT: u64 = 256 << 20;

/// Opens a regular file for reading, through links.
///
/// # Errors
/// I/O errors, and [`FormatError::NotAFile`] for folders, pipes, devices and sockets.
pub fn open_file(path: impl AsRef<Path>) -> Result<File, FormatError> {
    open(path.as_ref(), FileType::is_file)
}

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
/// Those of [`open_file`], and [`FormatError::FileTooLarge`].
pub fn read_file(path: impl AsRef<Path>, limit: u64) -> Result<Vec<u8>, FormatError> {
    let path = path.as_ref();
    read_open(open_file(path)?, path, limit)
}

/// Reads at most `limit` bytes from a path that a user named, which may be a pipe such as a shell's `<(command)`. A
/// pipe without a writer is empty.
///
/// # Errors
/// Those of [`read_file`].
pub fn read_input(path: impl AsRef<Path>, limit: u64) -> Result<Vec<u8>, FormatError> {
    let path = path.as_ref();
    let file = open(path, |kind| kind.is_file() || is_pipe(*kind))?;
    wait_for_writers(&file).map_err(|error| FormatError::io("open", path.display(), error))?;
    read_open(file, path, limit)
}

/// Reads `source`, for example stdin, to its end, but at most `limit` bytes. Errors call it `name`.
///
/// # Errors
/// I/O errors, and [`FormatError::FileTooLarge`].
pub fn read_limited(source: impl Read, name: &str, limit: u64) -> Result<Vec<u8>, FormatError> {
    let mut bytes = Vec::new();
    read_into(source, &mut bytes, name, limit)?;
    Ok(bytes)
}

fn read_open(file: File, path: &Path, limit: u64) -> Result<Vec<u8>, FormatError> {
    let name = path.display().to_string();
    let length = file.metadata().map_err(|error| FormatError::io("read", &name, error))?.len();
    if length > limit {
        return Err(FormatError::FileTooLarge { path: name, limit });
    }
    // The length of a pipe is 0 and a file may grow, so the bytes read are counted in any case.
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    read_into(file, &mut bytes, &name, limit)?;
    Ok(bytes)
}

fn read_into(source: impl Read, bytes: &mut Vec<u8>, name: &str, limit: u64) -> Result<(), FormatError> {
    let read = source.take(limit.saturating_add(1)).read_to_end(bytes);
    read.map_err(|error| FormatError::io("read", name, error))?;
    if bytes.len() as u64 > limit {
        return Err(FormatError::FileTooLarge { path: name.to_owned(), limit });
    }
    Ok(())
}

/// Opens a path if its kind is `accepted`. The kind is checked before opening, because opening some devices has an
/// effect, and again afterwards, because the path may have been replaced.
fn open(path: &Path, accepted: impl Fn(&FileType) -> bool) -> Result<File, FormatError> {
    let failed = |error| FormatError::io("open", path.display(), error);
    let check = |kind: FileType| match accepted(&kind) {
        true => Ok(()),
        false => Err(FormatError::NotAFile { path: path.display().to_string(), found: name_of(kind) }),
    };
    check(std::fs::metadata(path).map_err(failed)?.file_type())?;
    let mut options = OpenOptions::new();
    options.read(true);
    without_waiting(&mut options);
    let file = options.open(path).map_err(failed)?;
    check(file.metadata().map_err(failed)?.file_type())?;
    Ok(file)
}

/// Asks the system to drop the pages of a file from memory, so that they are read from storage again. Pages that another process
/// has mapped stay.
///
/// # Errors
/// A file that cannot be opened; platforms other than Linux.
pub fn drop_cached(path: &Path) -> Result<(), FormatError> {
    let file = open_file(path)?;
    #[cfg(target_os = "linux")]
    let dropped = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).map_err(io::Error::from);
    #[cfg(not(target_os = "linux"))]
    let dropped: io::Result<()> = {
        drop(file);
        Err(io::ErrorKind::Unsupported.into())
    };
    dropped.map_err(|source| FormatError::io("drop from memory", path.display(), source))
}

/// Allows opening a named pipe that has no writer.
#[cfg(unix)]
fn without_waiting(options: &mut OpenOptions) {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt;
    options.custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed());
}

#[cfg(not(unix))]
fn without_waiting(_: &mut OpenOptions) {}

/// Makes reads wait for the processes that have opened the other end of a pipe.
#[cfg(unix)]
fn wait_for_writers(file: &File) -> io::Result<()> {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    Ok(fcntl_setfl(file, fcntl_getfl(file)? - OFlags::NONBLOCK)?)
}

#[cfg(not(unix))]
fn wait_for_writers(_: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn is_pipe(kind: FileType) -> bool {
    std::os::unix::fs::FileTypeExt::is_fifo(&kind)
}

#[cfg(not(unix))]
fn is_pipe(_: FileType) -> bool {
    false
}

/// Returns the name of a kind of file for messages.
fn name_of(kind: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return "a named pipe";
        }
        if kind.is_char_device() || kind.is_block_device() {
            return "a device";
        }
        if kind.is_socket() {
            return "a socket";
        }
    }
    if kind.is_dir() { "a folder" } else { "a special file" }
}

/// Reads and parses a JSON file such as `config.json`. Returns `None` if there is no such file.
///
/// # Errors
/// Those of [`read_file`] with a limit of 256 MiB, and [`FormatError::InvalidJson`].
pub fn read_json(path: impl AsRef<Path>) -> Result<Option<serde_json::Value>, FormatError> {
    match read_small(path.as_ref(), JSON_LIMIT)? {
        Some(bytes) => crate::parse_json(&path.as_ref().display().to_string(), &bytes).map(Some),
        None => Ok(None),
    }
}

/// Reads a file of at most `limit` bytes. Returns `None` if there is no such file.
pub(crate) fn read_small(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, FormatError> {
    match read_file(path, limit) {
        Err(FormatError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text");
        std::fs::write(&path, "seven b").unwrap();
        assert_eq!(read_file(&path, 7).unwrap(), b"seven b");
        assert_eq!(read_input(&path, 7).unwrap(), b"seven b");
        for result in [read_file(&path, 6), read_input(&path, 6), read_limited(&b"seven b"[..], "stdin", 6)] {
            assert_eq!(result.unwrap_err().code(), "file-too-large");
        }
        assert_eq!(read_file(dir.path().join("none"), 1).unwrap_err().code(), "file-not-found");
        let folder = read_file(dir.path(), 1).unwrap_err();
        assert_eq!(folder.code(), "not-a-file");
        assert!(folder.to_string().contains("a folder"), "{folder}");
    }

    #[test]
    fn an_endless_source_is_refused_at_its_limit() {
        let error = read_limited(io::repeat(b'x'), "stdin", 1 << 16).unwrap_err();
        assert_eq!(error.to_string(), "stdin is larger than the limit of 65536 bytes");
    }

    #[cfg(unix)]
    fn fifo(path: &Path) {
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_or_device_in_the_place_of_a_file_is_refused_by_name_and_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let (pipe, link) = (dir.path().join("tokenizer.json"), dir.path().join("link"));
        fifo(&pipe);
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        for (path, found) in [(&*pipe, "a named pipe"), (&link, "a named pipe"), (Path::new("/dev/zero"), "a device")] {
            for error in [read_file(path, 1 << 20).unwrap_err(), open_file(path).unwrap_err()] {
                assert_eq!(error.code(), "not-a-file");
                let text = error.to_string();
                assert!(text.contains(found) && text.contains(path.to_str().unwrap()), "{text}");
            }
        }
        assert_eq!(read_input("/dev/zero", 1 << 20).unwrap_err().code(), "not-a-file");
        let error = crate::map_file(&pipe).err().unwrap();
        assert_eq!(error.code(), "not-a-file");
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_that_a_user_names_is_read_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        fifo(&pipe);
        assert_eq!(read_input(&pipe, 10).unwrap(), b"", "nobody writes to it");
        // Opened for reading and writing, so that opening does not wait.
        let mut writer = OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        io::Write::write_all(&mut writer, b"a few words").unwrap();
        let reader = {
            let pipe = pipe.clone();
            std::thread::spawn(move || read_input(pipe, 100))
        };
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(!reader.is_finished(), "the writer has not ended");
        drop(writer);
        assert_eq!(reader.join().unwrap().unwrap(), b"a few words");
    }
}
