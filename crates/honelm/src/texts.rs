//! Texts to calibrate and to judge on: the shipped ones, or files.

use std::path::{Path, PathBuf};

use honelm_compress::calibration_texts;
use honelm_formats::{FormatError, read_input};
use honelm_store::Digest;

use crate::Error;

/// Most bytes of a text.
const MOST_TEXT: u64 = 1 << 30;

const CALIBRATION: &str = include_str!("../data/calibration.jsonl");
const HELDOUT: &str = include_str!("../data/heldout.txt");

/// Where a text comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TextSource {
    /// The one that is part of this library.
    #[default]
    Shipped,
    /// A UTF-8 file.
    File(PathBuf),
}

/// A text and what reports say of it.
#[derive(Debug, Clone)]
pub struct Text {
    /// File name, or `shipped`.
    pub name: String,
    /// SHA-256 of its bytes.
    pub digest: String,
    /// The documents in it; one for plain text.
    pub documents: Vec<String>,
}

impl TextSource {
    /// The text as calibration: JSON lines with a field `text` (by the ending `.jsonl`), or plain text.
    pub fn calibration(&self) -> Result<Text, Error> {
        match self {
            Self::Shipped => text("shipped", CALIBRATION.to_owned(), true),
            Self::File(path) => text(&path.to_string_lossy(), read(path)?, is_json_lines(path)),
        }
    }

    /// The text to be judged on, one document.
    pub fn heldout(&self) -> Result<Text, Error> {
        match self {
            Self::Shipped => text("shipped", HELDOUT.to_owned(), false),
            Self::File(path) => text(&path.to_string_lossy(), read(path)?, false),
        }
    }
}

fn text(name: &str, contents: String, json_lines: bool) -> Result<Text, Error> {
    let digest = Digest::default().with(&contents).hex();
    let documents = calibration_texts(&contents, json_lines).map_err(|e| match e {
        honelm_compress::CompressError::CalibrationLine { line, problem } => {
            Error::Text { path: name.to_owned(), problem: format!("line {line}: {problem}") }
        }
        other => other.into(),
    })?;
    Ok(Text { name: name.to_owned(), digest, documents })
}

fn is_json_lines(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("jsonl"))
}

/// What the file or pipe holds that a user names.
pub(crate) fn read_named(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    read_input(path, limit).map_err(|error| match error {
        FormatError::Io { source, .. } => Error::Io { path: path.to_owned(), source },
        other => other.into(),
    })
}

/// A whole text file, or what a pipe holds: UTF-8, not empty, not binary.
pub fn read(path: &Path) -> Result<String, Error> {
    let bad = |problem: String| Error::Text { path: path.display().to_string(), problem };
    let bytes = read_named(path, MOST_TEXT)?;
    if bytes.is_empty() {
        return Err(bad("the file is empty, expected text".to_owned()));
    }
    if let Some(at) = bytes.iter().position(|&b| b == 0) {
        return Err(bad(format!("byte {at} is 0: a binary file, expected text")));
    }
    String::from_utf8(bytes).map_err(|e| bad(format!("not UTF-8 from byte {} on", e.utf8_error().valid_up_to())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_texts_are_there_and_apart() {
        let calibration = TextSource::Shipped.calibration().expect("shipped");
        let heldout = TextSource::Shipped.heldout().expect("shipped");
        assert_eq!(calibration.documents.len(), 80);
        assert_eq!(heldout.documents.len(), 1);
        assert_ne!(calibration.digest, heldout.digest);
    }

    #[test]
    fn refuses_empty_binary_and_foreign_text() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("text.txt");
        for (contents, said) in [(&b""[..], "empty"), (b"ab\0c", "byte 2 is 0"), (b"ab\xff", "not UTF-8 from byte 2")] {
            std::fs::write(&path, contents).expect("written");
            let error = TextSource::File(path.clone()).heldout().expect_err("refused").to_string();
            assert!(error.contains(said), "{error}");
        }
        assert!(matches!(read(&dir.path().join("none")), Err(Error::Io { .. })));
    }
}
