//! The gate that the path of every output passes before any work is done.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::atomic::{PARTIAL, parent, temporary_name};
use super::entry::{Entry, Identity, begins_with, first_name, identity};
use super::publish::foreign_entry;
use crate::{FormatError, error::shown, parse_shard_name};

/// Longest file name that file systems take, in bytes.
const NAME_LIMIT: usize = 255;
/// Bytes that the names of unfinished files have more than those of finished ones: `.NAME.4294967295.9999999999.partial`.
const TEMPORARY: usize = 31;
/// Bytes that the name of a part has more than that of the whole: `-00001-of-00003`.
const PART: usize = 15;
const GGUF: &str = "a GGUF file";
const MODEL_FOLDER: &str = "a folder of an earlier model";

/// Decides whether a command may write to a path, before it begins to work.
///
/// A path may be written to where nothing is there, where an empty file or folder is, and where an earlier output of the
/// same kind is that the user wants replaced. It is refused
///
/// - where it is `-`, has no name, is not UTF-8, or is too long for the names of unfinished files;
/// - where a link, a device, a pipe or a socket is: those are neither followed nor replaced;
/// - where anything else is that no earlier run wrote: a file of another kind, or a folder with such files;
/// - where it is an input of the command, lies in one or contains one, under whatever name;
/// - where its folder cannot be written to.
///
/// Folders on the way to the output may be links, and may be missing.
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

/// Where an output path leads.
struct Place {
    /// The path, its folders resolved.
    resolved: PathBuf,
    /// The nearest folder above it that is there.
    base: PathBuf,
}

impl OutputGate {
    /// A gate that lets outputs replace earlier ones of their kind where `replace` is set.
    #[must_use]
    pub fn new(replace: bool) -> Self {
        Self { inputs: Vec::new(), replace }
    }

    /// Adds a file or folder that the command reads. One that cannot be found is left for its reader to report.
    #[must_use]
    pub fn with_input(mut self, path: impl AsRef<Path>) -> Self {
        let shown = path.as_ref().to_owned();
        let folder = if shown.as_os_str().is_empty() { Path::new(".") } else { &shown };
        if let (Ok(resolved), Ok(metadata)) = (fs::canonicalize(folder), fs::metadata(folder)) {
            self.inputs.push(Input { shown, resolved, identity: identity(&metadata), is_folder: metadata.is_dir() });
        }
        self
    }

    /// Checks the path of a GGUF file; with `in_parts` also the names of its parts that are there.
    ///
    /// # Errors
    /// [`FormatError`]'s variants on outputs, each of which says what is there and what was expected.
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

    /// Checks the path of a file. `kind` is what messages call such a file; `is_kind` tells one from others.
    ///
    /// # Errors
    /// As [`OutputGate::gguf`].
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
        // Path drops these: `model/` would become a file called `model`.
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

    /// Checks the path of a folder that is written whole and replaced whole, as [`crate::AtomicDir`] does.
    ///
    /// # Errors
    /// As [`OutputGate::gguf`].
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

    /// Checks the path of a folder that work goes on in, run after run. `is_ours` tells one that an earlier run worked
    /// in; whether its results may be replaced is for the caller to decide.
    ///
    /// # Errors
    /// As [`OutputGate::gguf`].
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
        // By identity too: a folder can be mounted twice, and names can differ in case alone.
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
    /// Checks that a file can be made here, by making one: under the longest name that will be needed, where the folder
    /// of that name is there.
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

/// A path as messages name it.
fn shown_path(path: &Path) -> String {
    path.display().to_string()
}

/// The path as text; `-` and what is no text are refused.
fn text_of(path: &Path) -> Result<&str, FormatError> {
    match path.to_str() {
        None => Err(FormatError::OutputNotUtf8 { path: shown_path(path) }),
        Some("-") => Err(FormatError::OutputIsStdout),
        Some(text) => Ok(text),
    }
}

/// Whether the last component of a path is `.`, which [`Path`] drops.
fn ends_in_dot(text: &str) -> bool {
    text.strip_suffix('.').is_some_and(|rest| rest.ends_with(std::path::is_separator))
}

/// Whether a folder is at the place, rather than nothing; anything else is refused.
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

/// Follows the folders of `path`, of which the last may be missing, but not its last name. `limit` is for that name.
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
