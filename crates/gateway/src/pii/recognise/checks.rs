//! Check digits. All take the letters (upper case) and digits of an identifier without separators.

/// Returns the digits of a text, ignoring everything else.
pub(crate) fn digits(text: &str) -> impl DoubleEndedIterator<Item = u32> + '_ {
    text.bytes().filter(u8::is_ascii_digit).map(|b| u32::from(b - b'0'))
}

/// Returns a number modulo `m`.
pub(crate) fn modulo(text: &str, m: u32) -> u32 {
    digits(text).fold(0, |r, d| (r * 10 + d) % m)
}

/// Sums digits with weights.
pub(crate) fn weighted(text: &str, weights: &[u32]) -> u32 {
    digits(text).zip(weights).map(|(d, w)| d * w).sum()
}

/// Luhn's algorithm (ISO/IEC 7812-1).
pub(crate) fn luhn(text: &str) -> bool {
    let sum: u32 =
        digits(text).rev().enumerate().map(|(i, d)| if i % 2 == 1 { d * 2 / 10 + d * 2 % 10 } else { d }).sum();
    sum.is_multiple_of(10)
}

/// MOD 11,10 of ISO/IEC 7064.
pub(crate) fn mod_11_10(text: &str) -> bool {
    let mut product = 10;
    let all: Vec<u32> = digits(text).collect();
    let Some((check, rest)) = all.split_last() else { return false };
    for d in rest {
        let sum = (d + product) % 10;
        product = if sum == 0 { 10 } else { sum } * 2 % 11;
    }
    (11 - product) % 10 == *check
}

/// MOD 97-10 of ISO/IEC 7064 over letters and digits, where A is 10.
pub(crate) fn mod_97(chars: impl Iterator<Item = u8>) -> u32 {
    chars.fold(0, |r, b| match b {
        b'0'..=b'9' => (r * 10 + u32::from(b - b'0')) % 97,
        _ => (r * 100 + u32::from(b.to_ascii_uppercase().saturating_sub(b'A')) + 10) % 97,
    })
}

/// Verhoeff's algorithm (1969), over the dihedral group of order 10.
pub(crate) fn verhoeff(text: &str) -> bool {
    const STEP: [u32; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    let multiply = |a: u32, b: u32| match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => 5 + (a + b - 5) % 5,
        (false, true) => 5 + (a - 5 + 5 - b) % 5,
        (false, false) => (a - 5 + 5 - (b - 5)) % 5,
    };
    let permute = |mut d: u32, times: usize| {
        for _ in 0..times % 8 {
            d = STEP[d as usize];
        }
        d
    };
    digits(text).rev().enumerate().fold(0, |c, (i, d)| multiply(c, permute(d, i))) == 0
}

/// Weights 7, 3, 1 with letters from A = 10 (ICAO 9303): the last digit checks the others.
pub(crate) fn icao(text: &str) -> bool {
    let value = |b: u8| if b.is_ascii_digit() { u32::from(b - b'0') } else { u32::from(b.saturating_sub(b'A')) + 10 };
    let Some((last, rest)) = text.as_bytes().split_last() else { return false };
    let sum: u32 = rest.iter().zip([7, 3, 1].iter().cycle()).map(|(b, w)| value(*b) * w).sum();
    sum % 10 == value(*last)
}

/// Tells if all characters are the same.
pub(crate) fn uniform(text: &str) -> bool {
    text.bytes().all(|b| Some(&b) == text.as_bytes().first())
}
