//! The check of every output path before any work begins.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::entry::{Entry, Identity, begins_with, first_name, identity};
use super::publish::foreign_entry;
use super::temporary::{PARTIAL, parent, temporary_name};
use crate::{FormatError, error::shown, parse_shard_name};

/// The longest file name that file systems accept, in bytes.
const NAME_LIMIT: usize = 255;
/// The number of bytes that a temporary name adds: `.NAME.4294967295.9999999999.partial`.
const TEMPORARY: usize = 31;
/// The number of bytes that the name of a part adds: `-00001-of-00003`.
const PART: usize = 15;
const GGUF: &str = "a GGUF file";
const MODEL_FOLDER: &str = "a folder of an earlier model";

/// Decides whether a command may write to a path, before the command begins to work.
///
/// A path is accepted if it does not exist, if it is an empty file or folder, or if it is an earlier output of the
/// same kind and the user wants to replace it. A path is rejected if
///
/// - it is `-`, has no file name, is not UTF-8, or is too long for the names of temporary files;
/// - it is a link, a device, a pipe or a socket, which are neither written to nor replaced;
/// - it is anything else that no earlier run wrote: a file of another kind, or a folder with such files;
/// - it is an input of the command, lies in one or contains one, under any name;
/// - its folder cannot be written to.
///
/// The folders above the output may be links, and need not exist.
#[derive(Debug, Clone, Default)]
pub struct OutputGate {
    inputs: Vec<Input>,
    replace: bool,
}

/// A file or folder that the command reads.
#[derive(Debug, Clone)]
struct Input {
    shown: PathBuf,
    resolved: PathBuf,
    identity: Option<Identity>,
    is_folder: bool,
}

/// The resolved location of an output path.
struct Place {
    /// The path with its folders resolved.
    resolved: PathBuf,
    /// The nearest existing folder above it.
    base: PathBuf,
}

impl OutputGate {
    /// Returns a gate that accepts earlier outputs of the same kind if `replace` is set.
    #[must_use]
    pub fn new(replace: bool) -> Self {
        Self { inputs: Vec::new(), replace }
    }

    /// Adds a file or folder that the command reads. A missing input is ignored here and left for its reader to
    /// report.
    #[must_use]
    pub fn with_input(mut self, path: impl AsRef<Path>) -> Self {
        let shown = path.as_ref().to_owned();
        let folder = if shown.as_os_str().is_empty() { Path::new(".") } else { &shown };
        if let (Ok(resolved), Ok(metadata)) = (fs::canonicalize(folder), fs::metadata(folder)) {
            self.inputs.push(Input { shown, resolved, identity: identity(&metadata), is_folder: metadata.is_dir() });
        }
        self
    }

    /// Checks the path of a GGUF file and, with `in_parts`, the names of its existing parts.
    ///
    /// # Errors
    /// The output variants of [`FormatError`], which say what was found and what was expected.
    pub fn gguf(&self, path: &Path, in_parts: bool) -> Result<(), FormatError> {
        let place = self.file_within(path, NAME_LIMIT - TEMPORARY - if in_parts { PART } else { 0 }, GGUF, &is_gguf)?;
        let (Some(stem), Some(folder)) = (place.resolved.file_stem(), place.resolved.parent()) else { return Ok(()) };
        if !in_parts || !folder.is_dir() {
            return Ok(());
        }
        let failed = |error| FormatError::io("open", folder.display(), error);
        for entry in fs::read_dir(folder).map_err(failed)? {
            let name = PathBuf::from(entry.map_err(failed)?.file_name());
            let part = name.file_stem().and_then(OsStr::to_str).and_then(parse_shard_name);
            if part.is_some_and(|(of, ..)| stem == of) && name.extension().is_some_and(|e| e == "gguf") {
                self.file(&path.with_file_name(name), GGUF, &is_gguf)?;
            }
        }
        Ok(())
    }

    /// Checks the path of a file. Errors call this kind of file `kind`; `is_kind` recognises one.
    ///
    /// # Errors
    /// Those of [`OutputGate::gguf`].
    pub fn file(&self, path: &Path, kind: &'static str, is_kind: &dyn Fn(&Path) -> bool) -> Result<(), FormatError> {
        self.file_within(path, NAME_LIMIT - TEMPORARY, kind, is_kind).map(drop)
    }

    fn file_within(
        &self,
        path: &Path,
        limit: usize,
        kind: &'static str,
        is_kind: &dyn Fn(&Path) -> bool,
    ) -> Result<Place, FormatError> {
        let text = text_of(path)?;
        // `Path` drops a trailing separator: `model/` would become a file called `model`.
        if text.ends_with(std::path::is_separator) || Path::new(text).file_name().is_none() || ends_in_dot(text) {
            return Err(FormatError::OutputWithoutName { path: shown_path(path), expected: kind });
        }
        let place = resolve(path, limit, kind)?;
        self.refuse_inputs(path, &place)?;
        match Entry::at(&place.resolved)? {
            Entry::Special(found) => return Err(FormatError::special(path, found)),
            Entry::Folder(_) => {
                let path = shown_path(path);
                return Err(FormatError::OutputOfAnotherKind { path, found: "a folder", expected: kind });
            }
            Entry::File(metadata) if metadata.len() > 0 => {
                if !is_kind(&place.resolved) {
                    let path = shown_path(path);
                    return Err(FormatError::OutputOfAnotherKind { path, found: "another file", expected: kind });
                }
                self.refuse_existing(path)?;
            }
            Entry::File(_) | Entry::Nothing => {}
        }
        place.probe()?;
        Ok(place)
    }

    /// Checks the path of a folder that is written and replaced as a whole, as [`crate::AtomicDir`] does.
    ///
    /// # Errors
    /// Those of [`OutputGate::gguf`].
    pub fn folder(&self, path: &Path) -> Result<(), FormatError> {
        text_of(path)?;
        let current = std::env::current_dir().and_then(fs::canonicalize).ok();
        let within = |folder: &Path| current.as_ref().is_some_and(|current| current.starts_with(folder));
        if fs::canonicalize(path).is_ok_and(|folder| within(&folder)) {
            return Err(FormatError::OutputIsCurrentFolder { path: shown_path(path) });
        }
        if path.file_name().is_none() {
            return Err(FormatError::OutputWithoutName { path: shown_path(path), expected: MODEL_FOLDER });
        }
        let place = resolve(path, NAME_LIMIT - TEMPORARY, MODEL_FOLDER)?;
        self.refuse_inputs(path, &place)?;
        if is_folder(path, &place)? && first_name(&place.resolved)?.is_some() {
            if let Some(found) = foreign_entry(&place.resolved)? {
                return Err(FormatError::FolderNotOurs { path: shown_path(path), found: shown(&found) });
            }
            self.refuse_existing(path)?;
        }
        place.probe()
    }

    /// Checks the path of a folder in which several runs work one after another. `is_ours` recognises a folder in
    /// which an earlier run worked. The caller decides whether its results may be replaced.
    ///
    /// # Errors
    /// Those of [`OutputGate::gguf`].
    pub fn work_folder(&self, path: &Path, is_ours: &dyn Fn(&Path) -> bool) -> Result<(), FormatError> {
        text_of(path)?;
        let place = match (path.file_name(), fs::canonicalize(path)) {
            (None, Ok(folder)) => Place { resolved: folder.clone(), base: folder },
            _ => resolve(path, NAME_LIMIT, "a folder")?,
        };
        self.refuse_inputs(path, &place)?;
        let there = is_folder(path, &place)?;
        if there {
            if is_ours(&place.resolved) {
                return Ok(());
            }
            if let Some(found) = first_name(&place.resolved)? {
                return Err(FormatError::FolderNotOurs { path: shown_path(path), found: shown(&found) });
            }
        }
        let base = if there { &place.resolved } else { &place.base };
        Place { resolved: base.clone(), base: base.clone() }.probe()
    }

    fn refuse_existing(&self, path: &Path) -> Result<(), FormatError> {
        if self.replace { Ok(()) } else { Err(FormatError::OutputExists { path: shown_path(path) }) }
    }

    fn refuse_inputs(&self, path: &Path, place: &Place) -> Result<(), FormatError> {
        let output = Entry::at(&place.resolved)?.identity();
        let same = |a: Option<Identity>, b: Option<Identity>| a.is_some() && a == b;
        // Identities are compared too, because a folder can be mounted twice and names can differ in case only.
        let lies_below = |path: &Path, folder: &Path, id: Option<Identity>| {
            let is_folder = |above: &Path| fs::metadata(above).is_ok_and(|metadata| same(identity(&metadata), id));
            path.starts_with(folder) || path.ancestors().skip(1).any(is_folder)
        };
        for input in &self.inputs {
            let relation = if input.resolved == place.resolved || same(input.identity, output) {
                "is"
            } else if input.is_folder && lies_below(&place.resolved, &input.resolved, input.identity) {
                "lies in"
            } else if lies_below(&input.resolved, &place.resolved, output) {
                "contains"
            } else {
                continue;
            };
            let (path, input) = (shown_path(path), input.shown.display().to_string());
            return Err(FormatError::OutputIsInput { path, relation, input });
        }
        Ok(())
    }
}

impl Place {
    /// Checks that a file can be created here by creating one, with the longest name that will be needed if the folder
    /// exists.
    fn probe(&self) -> Result<(), FormatError> {
        let name = match self.resolved.strip_prefix(&self.base) {
            Ok(name) if name.components().count() == 1 => name,
            _ => Path::new("honelm"),
        };
        let path = temporary_name(&self.base.join(name), PARTIAL)?;
        let made = OpenOptions::new().write(true).create_new(true).open(&path);
        drop(made.map_err(|error| FormatError::io("create", path.display(), error))?);
        fs::remove_file(&path).map_err(|error| FormatError::io("remove", path.display(), error))
    }
}

/// Formats a path for a message.
fn shown_path(path: &Path) -> String {
    path.display().to_string()
}

/// Returns the path as text. `-` and paths that are not UTF-8 are errors.
fn text_of(path: &Path) -> Result<&str, FormatError> {
    match path.to_str() {
        None => Err(FormatError::OutputNotUtf8 { path: shown_path(path) }),
        Some("-") => Err(FormatError::OutputIsStdout),
        Some(text) => Ok(text),
    }
}

/// Returns `true` if the last component of a path is `.`, which [`Path`] drops.
fn ends_in_dot(text: &str) -> bool {
    text.strip_suffix('.').is_some_and(|rest| rest.ends_with(std::path::is_separator))
}

/// Returns `true` for a folder and `false` for nothing. Anything else is an error.
fn is_folder(path: &Path, place: &Place) -> Result<bool, FormatError> {
    match Entry::at(&place.resolved)? {
        Entry::Nothing => Ok(false),
        Entry::Folder(_) => Ok(true),
        Entry::Special(found) => Err(FormatError::special(path, found)),
        Entry::File(_) => {
            let path = shown_path(path);
            Err(FormatError::OutputOfAnotherKind { path, found: "a file", expected: "a folder" })
        }
    }
}

/// Resolves the folders of `path`, the last of which may be missing, but not its last name. `limit` applies to that
/// name.
fn resolve(path: &Path, limit: usize, expected: &'static str) -> Result<Place, FormatError> {
    let nameless = || FormatError::OutputWithoutName { path: shown_path(path), expected };
    let mut below = vec![path.file_name().ok_or_else(nameless)?];
    let mut folder = parent(path);
    let base = loop {
        match fs::canonicalize(folder) {
            Ok(base) => break base,
            Err(error) if error.kind() == io::ErrorKind::NotFound && matches!(Entry::at(folder)?, Entry::Nothing) => {
                below.push(folder.file_name().ok_or_else(nameless)?);
                folder = parent(folder);
            }
            Err(error) => return Err(FormatError::io("open", folder.display(), error)),
        }
    };
    if !base.is_dir() {
        let error = io::Error::from(io::ErrorKind::NotADirectory);
        return Err(FormatError::io("create", path.display(), error));
    }
    for (depth, name) in below.iter().enumerate() {
        let limit = if depth == 0 { limit } else { NAME_LIMIT };
        if name.len() > limit {
            return Err(FormatError::OutputNameTooLong { path: shown_path(path), found: name.len(), limit });
        }
    }
    let resolved = below.iter().rev().fold(base.clone(), |folder, name| folder.join(name));
    Ok(Place { resolved, base })
}

fn is_gguf(path: &Path) -> bool {
    begins_with(path, b"GGUF")
}
