use crate::FormatError;

/// A file format that holds weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A GGUF file.
    Gguf,
    /// A safetensors file.
    Safetensors,
}

/// Determines the format of `file` from its first bytes. 16 bytes suffice; 512 give the best error messages.
///
/// # Errors
/// A separate variant each for an empty file, a web page, a Git LFS pointer, a pickle and an old ggml file;
/// [`FormatError::UnknownFormat`] for anything else.
pub fn identify(file: &str, head: &[u8]) -> Result<FileKind, FormatError> {
    if head.starts_with(b"GGUF") {
        return Ok(FileKind::Gguf);
    }
    // A header length below 2^32, then the brace that the format requires. This test precedes the one for pickles,
    // because a length can look like the first two bytes of a pickle.
    if head.get(4..9) == Some(b"\0\0\0\0{") {
        return Ok(FileKind::Safetensors);
    }
    Err(refusal(file, head, "GGUF or safetensors"))
}

/// Returns the error for `head`, which is not the start of an `expected` file.
pub(crate) fn refusal(file: &str, head: &[u8], expected: &'static str) -> FormatError {
    let file = file.to_owned();
    let head = &head[..head.len().min(512)];
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let says = |tag: &[u8]| text.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag));
    if head.is_empty() {
        FormatError::EmptyFile { file }
    } else if [&b"<!doctype"[..], b"<html", b"<head", b"<body", b"<?xml"].into_iter().any(says) {
        FormatError::HtmlPage { file }
    } else if text.starts_with(b"version https://git-lfs") {
        FormatError::LfsPointer { file }
    } else if head.starts_with(b"PK\x03\x04") || matches!(head, [0x80, 2..=5, ..]) {
        FormatError::Pickle { file }
    } else if let Some(magic) = [&b"lmgg"[..], b"fmgg", b"tjgg", b"algg"].into_iter().find(|&m| head.starts_with(m)) {
        // The magics "ggml", "ggmf", "ggjt" and "ggla" are stored as little-endian numbers, hence reversed.
        FormatError::LegacyGgml { file, found: magic.iter().rev().map(|&b| char::from(b)).collect() }
    } else {
        let start = &head[..head.len().min(8)];
        FormatError::UnknownFormat { file, expected, found: format!("\"{}\"", start.escape_ascii()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(head: &[u8]) -> &'static str {
        identify("model", head).expect_err("must be refused").code()
    }

    #[test]
    fn knows_the_two_formats() {
        assert_eq!(identify("m", b"GGUF\x03\0\0\0").expect("GGUF"), FileKind::Gguf);
        assert_eq!(identify("m", b"\x10\0\0\0\0\0\0\0{\"a\"").expect("safetensors"), FileKind::Safetensors);
    }

    #[test]
    fn a_header_length_that_looks_like_a_pickle_is_safetensors() {
        assert_eq!(identify("m", b"\x80\x02\0\0\0\0\0\0{}").expect("safetensors"), FileKind::Safetensors);
    }

    #[test]
    fn names_what_people_download_by_mistake() {
        assert_eq!(code(b""), "empty-file");
        assert_eq!(code(b"\n <!DOCTYPE html><html>"), "html-page");
        assert_eq!(code(b"<html lang=en>"), "html-page");
        assert_eq!(code(b"version https://git-lfs.github.com/spec/v1\noid sha256:"), "lfs-pointer");
        assert_eq!(code(b"PK\x03\x04\0\0\x08\x08archive/data.pkl"), "pickle-file");
        assert_eq!(code(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."), "pickle-file");
        assert_eq!(code(b"tjgg\x03\0\0\0"), "legacy-ggml");
        assert_eq!(code(b"{\"a\": 1}"), "unknown-format");
        assert_eq!(code(&[0; 64]), "unknown-format");
    }
}
