use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

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

/// Returns the SHA-256 of bytes as 64 hexadecimal digits.
#[must_use]
pub fn digest_bytes(bytes: impl AsRef<[u8]>) -> String {
    hex(&Sha256::digest(bytes))
}

/// Formats bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Returns `true` for a SHA-256 as [`digest_bytes`] writes it.
pub(crate) fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
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
    fn the_hash_is_the_known_answer_of_fips_180() {
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest_bytes("abc"), known);
        let mut seal = Seal::default();
        seal.update(b"a");
        seal.update(b"bc");
        assert_eq!(hex(&seal.finish()), known);
        assert!(is_digest(known) && !is_digest(&known.to_uppercase()) && !is_digest(&known[1..]));
    }
}
