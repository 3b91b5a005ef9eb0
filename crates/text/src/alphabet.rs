//! GPT-2's byte alphabet, which maps every byte to a printable character.
//!
//! Bytes that are printable in Latin-1 map to themselves. The other 68 bytes map to U+0100 and the following
//! characters, in order. Source: `bytes_to_unicode` of GPT-2's encoder.

use std::sync::LazyLock;

/// The first character of the bytes that are not printable.
const SHIFTED: u32 = 0x100;

/// Returns `true` if a byte maps to itself.
fn printable(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF)
}

/// The bytes that map to U+0100 and the following characters, in order.
static SHIFTED_BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| (0..=255).filter(|&b| !printable(b)).collect());

/// Returns the byte of a character, if the character belongs to the alphabet.
pub(crate) fn byte_of(c: char) -> Option<u8> {
    let code = u32::from(c);
    match u8::try_from(code) {
        Ok(byte) => printable(byte).then_some(byte),
        Err(_) => SHIFTED_BYTES.get(usize::try_from(code - SHIFTED).ok()?).copied(),
    }
}

/// Returns the character of a byte.
fn char_of(byte: u8) -> char {
    let shifted = || SHIFTED_BYTES.iter().position(|&b| b == byte).and_then(|at| u32::try_from(at).ok());
    if printable(byte) {
        return char::from(byte);
    }
    shifted().and_then(|at| char::from_u32(SHIFTED + at)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The characters of all bytes.
static CHARS: LazyLock<[char; 256]> =
    LazyLock::new(|| std::array::from_fn(|byte| u8::try_from(byte).map_or(char::REPLACEMENT_CHARACTER, char_of)));

/// Converts bytes to a token's text.
pub(crate) fn text_of(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    push_text(bytes, &mut text);
    text
}

/// Appends bytes as a token's text.
pub(crate) fn push_text(bytes: &[u8], out: &mut String) {
    let chars = &*CHARS;
    out.extend(bytes.iter().map(|&byte| chars[usize::from(byte)]));
}

/// Appends the bytes of a token's text. Returns `false` and appends nothing if a character does not belong to the
/// alphabet.
pub(crate) fn push_bytes(text: &str, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    for c in text.chars() {
        match byte_of(c) {
            Some(byte) => out.push(byte),
            None => {
                out.truncate(start);
                return false;
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_characters_stand_for_their_bytes() {
        assert_eq!(byte_of('Ġ'), Some(b' '));
        assert_eq!(byte_of('Ċ'), Some(b'\n'));
        assert_eq!(byte_of('A'), Some(b'A'));
        assert_eq!(byte_of('Ń'), Some(0xAD));
        assert_eq!(byte_of(' '), None);
        assert_eq!(byte_of('\u{144}'), None);
    }

    #[test]
    fn text_and_bytes_are_each_others_inverse() {
        let all: Vec<u8> = (0..=255).collect();
        let text = text_of(&all);
        let mut bytes = Vec::new();
        assert!(push_bytes(&text, &mut bytes));
        assert_eq!((bytes, text.chars().count()), (all, 256));
    }

    #[test]
    fn every_byte_has_exactly_one_character() {
        let mut seen = [0; 256];
        for c in (0..0x200).filter_map(char::from_u32) {
            if let Some(b) = byte_of(c) {
                seen[usize::from(b)] += 1;
            }
        }
        assert!(seen.iter().all(|&n| n == 1));
    }
}
