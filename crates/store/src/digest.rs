use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::StoreError;

/// A running SHA-256 of a list of byte strings. The length of each string is hashed before it, so that different lists
/// never give the same input.
#[derive(Debug, Clone, Default)]
pub struct Digest(Sha256);

impl Digest {
    /// Adds a byte string.
    #[must_use]
    pub fn with(mut self, part: impl AsRef<[u8]>) -> Self {
        let part = part.as_ref();
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
        self
    }

    /// Returns the hash as 64 hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> String {
        hex(&self.0.clone().finalize())
    }
}

/// A running SHA-256 of bytes, which seals a file.
#[derive(Debug, Clone, Default)]
pub struct Seal(Sha256);

impl Seal {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the hash.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// Returns the SHA-256 of a file's contents as 64 hexadecimal digits.
///
/// # Errors
/// I/O errors with the path.
pub fn digest_file(path: &Path) -> Result<String, StoreError> {
    let at = |source| StoreError::Io { path: path.to_owned(), source };
    let mut file = honelm_formats::open_file(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(at)? {
            0 => return Ok(hex(&hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// Returns the SHA-256 of bytes as 64 hexadecimal digits.
#[must_use]
pub fn digest_bytes(bytes: impl AsRef<[u8]>) -> String {
    hex(&Sha256::digest(bytes))
}

/// Formats bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_kept_apart() {
        assert_ne!(Digest::default().with("ab").with("c").hex(), Digest::default().with("a").with("bc").hex());
        assert_eq!(Digest::default().with("ab").hex(), Digest::default().with("ab").hex());
    }

    #[test]
    fn the_hash_of_a_file_is_the_known_answer_of_fips_180() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("abc");
        std::fs::write(&path, "abc").expect("a file");
        assert_eq!(
            digest_file(&path).expect("a hash"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(digest_file(&dir.path().join("none")).expect_err("not there").code(), "file-not-found");
    }
}
