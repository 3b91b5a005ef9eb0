//! Payment cards, bank accounts and wallets.

use sha2::{Digest, Sha256};

use super::checks::{luhn, mod_97, uniform};
use super::{Found, Kind, Scan};

/// Length of the account number of each country (SWIFT's IBAN registry), with the country code and check digits.
const COUNTRIES: &str = "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 \
    ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 \
    LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 \
    SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30";

/// Looks for a number that begins with the word `start..end`.
pub(super) fn word(scan: &mut Scan<'_>, start: usize, end: usize) {
    let bytes = &scan.bytes[start..end];
    match bytes[0] {
        b'0'..=b'9' if bytes.len() >= 3 && bytes.iter().all(u8::is_ascii_digit) => card(scan, start),
        b'A'..=b'Z' | b'a'..=b'z'
            if bytes.len() >= 4 && bytes[1].is_ascii_alphabetic() && bytes[2].is_ascii_digit() =>
        {
            iban(scan, start);
        }
        _ => {}
    }
    wallet(scan, start, end);
}

/// Finds a card number: 12 to 19 digits, in groups or not, with an issuer's prefix and Luhn's check digit.
fn card(scan: &mut Scan<'_>, start: usize) {
    let (mut digits, mut at) = (String::new(), start);
    let mut groups = 0;
    // The end of a longer number is no short card number.
    let behind = start > 1 && matches!(scan.bytes[start - 1], b' ' | b'-') && scan.bytes[start - 2].is_ascii_digit();
    let least = if behind { 15 } else { 12 };
    loop {
        let from = at;
        while scan.byte(at).is_ascii_digit() && digits.len() < 20 {
            digits.push(char::from(scan.byte(at)));
            at += 1;
        }
        groups += 1;
        if (least..=19).contains(&digits.len()) && !scan.is_word(at) && issued(&digits) && luhn(&digits) {
            // Groups have four digits, but for the last one and those of the forms 4-6-5 and 4-6-4.
            return scan.add(Found { start, end: at, kind: Kind::CreditCard, score: 1.0 });
        }
        let grouped = at - from >= 3 && matches!(scan.byte(at), b' ' | b'-') && scan.byte(at + 1).is_ascii_digit();
        if !grouped || groups > 5 || digits.len() >= 19 {
            return;
        }
        at += 1;
    }
}

/// Tells if a card issuer has numbers with this beginning and length.
fn issued(number: &str) -> bool {
    let prefix = |n: usize| number[..n].parse::<u32>().unwrap_or(0);
    if uniform(number) {
        return false;
    }
    match number.as_bytes()[0] {
        b'4' => matches!(number.len(), 13 | 16 | 19),
        b'3' => match prefix(2) {
            34 | 37 => number.len() == 15,
            30 | 36 | 38 | 39 => number.len() == 14 || number.len() == 16,
            35 => number.len() == 16 || number.len() == 15,
            _ => false,
        },
        b'5' => matches!(prefix(2), 50..=59) && matches!(number.len(), 12..=19),
        b'2' => (2221..=2720).contains(&prefix(4)) && number.len() == 16 || prefix(4) == 2131 && number.len() == 15,
        b'6' => matches!(number.len(), 12..=19),
        // JCB's old numbers and those of airlines.
        b'1' => number.len() == 15,
        _ => false,
    }
}

/// Finds an IBAN, in groups or not.
fn iban(scan: &mut Scan<'_>, start: usize) {
    let country = &scan.bytes[start..start + 2];
    let known = COUNTRIES.split(' ').find(|c| c.as_bytes()[..2].eq_ignore_ascii_case(country));
    let Some(length) = known.and_then(|c| c[2..].parse::<usize>().ok()) else { return };
    let (mut compact, mut at) = (Vec::with_capacity(length), start);
    while compact.len() < length {
        match scan.byte(at) {
            b if b.is_ascii_alphanumeric() => compact.push(b),
            b' ' | b'-' if scan.is_word(at + 1) && compact.len() >= 4 => {}
            _ => return,
        }
        at += 1;
    }
    let rearranged = compact[4..].iter().chain(&compact[..4]).copied();
    if !scan.is_word(at) && compact[2..4].iter().all(u8::is_ascii_digit) && mod_97(rearranged) == 1 {
        scan.add(Found { start, end: at, kind: Kind::Iban, score: 1.0 });
    }
}

/// Finds an address of Bitcoin (Base58Check, Bech32) or Ethereum.
fn wallet(scan: &mut Scan<'_>, start: usize, end: usize) {
    let text = &scan.text[start..end];
    let right = match text.as_bytes() {
        [b'1' | b'3', ..] => (26..=35).contains(&text.len()) && base58(text),
        [b'b' | b'B', b'c' | b'C', b'1', ..] => (14..=74).contains(&text.len()) && bech32(text),
        [b'0', b'x' | b'X', rest @ ..] => rest.len() == 40 && rest.iter().all(u8::is_ascii_hexdigit),
        _ => false,
    };
    if right {
        scan.add(Found { start, end, kind: Kind::Crypto, score: 1.0 });
    }
}

/// Checks the last four of 25 bytes, which are a hash of the others.
fn base58(text: &str) -> bool {
    const LETTERS: &[u8] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut out = [0u8; 25];
    for c in text.bytes() {
        let Some(mut carry) = LETTERS.iter().position(|l| *l == c) else { return false };
        for byte in out.iter_mut().rev() {
            carry += usize::from(*byte) * 58;
            *byte = (carry & 255) as u8;
            carry >>= 8;
        }
        if carry > 0 {
            return false;
        }
    }
    let hash = Sha256::digest(Sha256::digest(&out[..21]));
    hash[..4] == out[21..]
}

/// Checks the polynomial of BIP 173 and BIP 350.
fn bech32(text: &str) -> bool {
    const LETTERS: &[u8] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    const POLYNOMIAL: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    let lower = text.to_ascii_lowercase();
    if lower != text && text.to_ascii_uppercase() != text {
        return false;
    }
    let mut values = vec![3, 3, 0, 2, 3];
    for c in lower.bytes().skip(3) {
        let Some(value) = LETTERS.iter().position(|l| *l == c) else { return false };
        values.push(value as u32);
    }
    let sum = values.into_iter().fold(1u32, |sum, value| {
        let top = sum >> 25;
        let next = (sum & 0x01ff_ffff) << 5 ^ value;
        (0..5).filter(|i| top >> i & 1 == 1).fold(next, |s, i| s ^ POLYNOMIAL[i])
    });
    sum == 1 || sum == 0x2bc8_30a3
}
