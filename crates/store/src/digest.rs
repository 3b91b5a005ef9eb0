use std::io::Read;
use std::path::Path;

use honelm_chunks::{Seal, hex};

use crate::StoreError;

/// Returns the SHA-256 of a file's contents as 64 hexadecimal digits.
///
/// # Errors
/// I/O errors with the path.
pub fn digest_file(path: &Path) -> Result<String, StoreError> {
    let at = |source| StoreError::Io { path: path.to_owned(), source };
    let mut file = honelm_formats::open_file(path)?;
    let mut hash = Seal::default();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(at)? {
            0 => return Ok(hex(&hash.finish())),
            n => hash.update(&buffer[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
