//! Calibration and held-out texts: the shipped ones, or files.

use std::path::{Path, PathBuf};

use honelm_formats::{FormatError, read_input};
use honelm_store::Digest;

use crate::documents::{Document, json_lines};
use crate::{Error, parquet};

/// The largest size of a text in bytes.
const MOST_TEXT: u64 = 1 << 30;

const CALIBRATION: &str = include_str!("../data/calibration.jsonl");
const HELDOUT: &str = include_str!("../data/heldout.txt");

/// The source of a text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TextSource {
    /// The text that is part of this library.
    #[default]
    Shipped,
    /// A UTF-8 file.
    File(PathBuf),
}

/// A text with the facts that reports show.
#[derive(Debug, Clone)]
pub struct Text {
    /// The file name, or `shipped`.
    pub name: String,
    /// The SHA-256 digest of its bytes.
    pub digest: String,
    /// The documents. Plain text is one document.
    pub documents: Vec<String>,
    /// Warnings about the text.
    pub warnings: Vec<String>,
}

/// A calibration text with the facts that reports show.
#[derive(Debug, Clone, Default)]
pub struct CalibrationText {
    /// The file name, or `shipped`.
    pub name: String,
    /// The SHA-256 digest of its bytes.
    pub digest: String,
    /// The documents. Plain text is one document.
    pub documents: Vec<Document>,
    /// Warnings about the text.
    pub warnings: Vec<String>,
}

impl TextSource {
    /// Reads the text for calibration. A file whose name ends in `.jsonl` has JSON lines, one whose name ends in `.parquet`
    /// has rows, each with a string `text` or a list `messages`; any other file is plain text.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Text`] for a file that is empty, binary or not UTF-8, or an invalid line or row.
    pub fn calibration(&self) -> Result<CalibrationText, Error> {
        let Self::File(path) = self else { return calibration_text("shipped", CALIBRATION, json_lines(CALIBRATION)) };
        let name = path.to_string_lossy();
        if has_extension(path, "parquet") {
            let bytes = read_named(path, MOST_TEXT)?;
            return calibration_text(&name, &bytes, parquet::documents(&bytes));
        }
        let contents = read(path)?;
        let documents = match has_extension(path, "jsonl") {
            true => json_lines(&contents),
            false => Ok(vec![Document::Text(contents.clone())]),
        };
        calibration_text(&name, contents.as_bytes(), documents)
    }

    /// Reads the text for evaluation as one document of plain text.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Text`] for a file that is empty, binary or not UTF-8.
    pub fn heldout(&self) -> Result<Text, Error> {
        match self {
            Self::Shipped => Ok(text("shipped", HELDOUT.to_owned())),
            Self::File(path) => Ok(text(&path.to_string_lossy(), read(path)?)),
        }
    }
}

fn text(name: &str, contents: String) -> Text {
    let digest = Digest::default().with(&contents).hex();
    let warnings = line_ends(name, [contents.as_str()].into_iter());
    Text { name: name.to_owned(), digest, documents: vec![contents], warnings }
}

fn calibration_text(
    name: &str,
    contents: impl AsRef<[u8]>,
    documents: Result<Vec<Document>, String>,
) -> Result<CalibrationText, Error> {
    let digest = Digest::default().with(contents).hex();
    let documents = documents.map_err(|problem| Error::Text { path: name.to_owned(), problem })?;
    let warnings = line_ends(name, documents.iter().flat_map(Document::texts));
    Ok(CalibrationText { name: name.to_owned(), digest, documents, warnings })
}

/// Returns a warning if a document's lines end with CR LF.
fn line_ends<'a>(name: &str, mut documents: impl Iterator<Item = &'a str>) -> Vec<String> {
    let warning = documents.any(|document| document.contains("\r\n")).then(|| {
        format!(
            "{name}: lines end with CR LF. A model reads each CR as text, which makes its perplexity much worse; convert \
             the file to LF line ends, for example with dos2unix"
        )
    });
    warning.into_iter().collect()
}

fn has_extension(path: &Path, wanted: &str) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(wanted))
}

/// Reads a file or pipe that a user names.
pub(crate) fn read_named(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    read_input(path, limit).map_err(|error| match error {
        FormatError::Io { source, .. } => Error::Io { path: path.to_owned(), source },
        other => other.into(),
    })
}

/// Reads a text file or a pipe. It must be UTF-8, and neither empty nor binary.
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
    fn shipped_texts_exist_and_differ() {
        let calibration = TextSource::Shipped.calibration().expect("shipped");
        let heldout = TextSource::Shipped.heldout().expect("shipped");
        assert_eq!(calibration.documents.len(), 80);
        assert_eq!(heldout.documents.len(), 1);
        assert_ne!(calibration.digest, heldout.digest);
    }

    #[test]
    fn crlf_line_ends_are_told_of() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("text.txt");
        for (contents, told) in [("one\ntwo\n", 0), ("one\r\ntwo\r\n", 1)] {
            std::fs::write(&path, contents).expect("written");
            let source = TextSource::File(path.clone());
            for warnings in [source.heldout().expect("text").warnings, source.calibration().expect("text").warnings] {
                assert_eq!(warnings.len(), told, "{warnings:?}");
                assert!(warnings.iter().all(|warning| warning.contains("CR LF")), "{warnings:?}");
            }
        }
    }

    #[test]
    fn empty_binary_and_non_utf8_files_are_errors() {
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
