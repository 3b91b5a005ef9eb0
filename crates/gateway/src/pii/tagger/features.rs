//! The features of a token: hashes of the token, of its form and of its neighbours.

use super::tokens::{Gap, Token};

/// The number of weight rows: hashes are reduced to as many.
pub const ROWS: usize = 1 << 18;
/// The number of bits of the set of common words.
pub const WORD_BITS: usize = 1 << 20;

/// The features of one token. The first [`Features::identity`] ones name the word itself, and those from
/// [`Features::neighbours`] on the words around it; training leaves either out at times, so that the tagger learns to do
/// without.
#[derive(Debug, Default)]
pub struct Features {
    /// The rows of the features.
    pub rows: Vec<u32>,
    /// The number of features that name the word itself.
    pub identity: usize,
    /// The index of the first feature of the neighbours.
    pub neighbours: usize,
    /// The index of the first feature of several neighbours together.
    pub context: usize,
}

/// The number of bits of a set of names.
pub const NAME_BITS: usize = 1 << 18;

/// The words that the features know of.
#[derive(Debug, Clone)]
pub struct Lexicon {
    /// Common words.
    pub words: Words,
    /// First names, last names, and the words of places.
    pub names: [Words; 3],
}

/// A set of words in lower case as hashed bits. A word outside of it may be found in it by chance.
#[derive(Debug, Clone)]
pub struct Words(Vec<u8>);

impl Words {
    /// Takes the bits of a set, a power of two of them.
    #[must_use]
    pub fn from_bits(bits: &[u8]) -> Self {
        Self(bits.to_vec())
    }

    /// Creates the set of the given words, which are in lower case, with this number of bits.
    #[must_use]
    pub fn new<'a>(words: impl Iterator<Item = &'a str>, size: usize) -> Self {
        let mut bits = vec![0; size / 8];
        for word in words {
            let at = hash(0, word.bytes()) as usize % size;
            bits[at / 8] |= 1 << (at % 8);
        }
        Self(bits)
    }

    /// Returns the bits.
    #[must_use]
    pub fn bits(&self) -> &[u8] {
        &self.0
    }

    /// Tells if a word is in the set, in any case.
    #[must_use]
    pub fn has(&self, word: &str) -> bool {
        self.contains(hash(0, word.to_lowercase().bytes()))
    }

    fn contains(&self, word: u64) -> bool {
        let at = word as usize % (8 * self.0.len());
        self.0[at / 8] >> (at % 8) & 1 == 1
    }
}

/// The facts that are computed once for each token.
#[derive(Debug, Clone, Copy)]
struct Facts {
    word: u64,
    suffix: u64,
    shape: u64,
    case: u64,
    common: bool,
    names: u64,
    gap: u64,
}

const NONE: Facts = Facts { word: 1, suffix: 1, shape: 1, case: 1, common: false, names: 0, gap: 3 };

/// FNV-1a.
fn hash(seed: u64, bytes: impl Iterator<Item = u8>) -> u64 {
    continued(0xcbf2_9ce4_8422_2325 ^ seed, bytes)
}

fn continued(hash: u64, bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(hash, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// Mixes the number of a feature with its values into a row.
fn row(feature: u64, a: u64, b: u64, c: u64) -> u32 {
    let mut h = feature.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ a;
    h = (h ^ h >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ b;
    h = (h ^ h >> 31).wrapping_mul(0x94d0_49bb_1331_11eb) ^ c;
    h = (h ^ h >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((h ^ h >> 32) as usize % ROWS) as u32
}

fn hash_chars(chars: &[char]) -> u64 {
    chars.iter().fold(0xcbf2_9ce4_8422_2325, |h, &c| (h ^ u64::from(c)).wrapping_mul(0x0100_0000_01b3))
}

/// The classes of characters of a token.
fn case(text: &str) -> u64 {
    let mut letters = text.chars().filter(|c| c.is_alphabetic());
    let Some(first) = letters.next() else {
        let digits = text.chars().filter(char::is_ascii_digit).count();
        return if digits > 0 { 10 + digits.min(8) as u64 } else { 0 };
    };
    let rest: Vec<char> = letters.collect();
    let upper = rest.iter().filter(|c| c.is_uppercase()).count();
    let digit = u64::from(text.chars().any(|c| c.is_ascii_digit())) * 20;
    digit
        + match (first.is_uppercase(), rest.len(), upper) {
            (false, _, 0) => 2,
            (true, 0, _) => 3,
            (true, _, 0) => 4,
            (true, n, u) if n == u => 5,
            _ => 6,
        }
}

fn facts(text: &str, token: &Token, lexicon: &Lexicon, lower: &mut Vec<char>) -> Facts {
    let word = &text[token.start..token.end];
    lower.clear();
    lower.extend(word.chars().flat_map(char::to_lowercase));
    let case = case(word);
    let hashed = if (10..20).contains(&case) { 1000 + case } else { hash_chars(lower) };
    let mut buffer = [0; 4];
    let plain = lower.iter().fold(hash(0, std::iter::empty()), |h, c| continued(h, c.encode_utf8(&mut buffer).bytes()));
    let alphabetic = lower.first().is_some_and(|c| c.is_alphabetic());
    Facts {
        word: hashed,
        suffix: hash_chars(&lower[lower.len().saturating_sub(3)..]),
        shape: if alphabetic { case * 16 + lower.len().min(8) as u64 } else { hashed },
        case: if alphabetic || case > 0 { case } else { hashed },
        common: lexicon.words.contains(plain),
        names: (0..3).map(|i| u64::from(lexicon.names[i].contains(plain)) << i).sum(),
        gap: token.gap as u64,
    }
}

/// Computes the features of the tokens of a sequence.
#[must_use]
pub fn features(text: &str, tokens: &[Token], lexicon: &Lexicon) -> Vec<Features> {
    let mut lower = Vec::new();
    let all: Vec<Facts> = tokens.iter().map(|token| facts(text, token, lexicon, &mut lower)).collect();
    let at = |i: usize, offset: isize| i.checked_add_signed(offset).and_then(|i| all.get(i)).copied().unwrap_or(NONE);
    let one = |i: usize, token: &Token| {
        let (own, p, n, p2, n2) = (at(i, 0), at(i, -1), at(i, 1), at(i, -2), at(i, 2));
        let mut f = Features { rows: Vec::with_capacity(56), identity: 0, neighbours: 0, context: 0 };
        let mut add = |feature: u64, a: u64, b: u64, c: u64| f.rows.push(row(feature, a, b, c));
        // The word itself.
        add(1, own.word, 0, 0);
        add(2, own.word, own.case, 0);
        add(3, p.word, own.word, 0);
        add(4, own.word, n.word, 0);
        add(34, own.names, own.case, u64::from(own.common));
        add(35, own.names * 64 + p.names * 8 + n.names, own.case, 0);
        add(36, p.names, own.case, p.case);
        add(37, n.names, own.case, n.case);
        let word: Vec<char> = text[token.start..token.end].chars().flat_map(char::to_lowercase).collect();
        let letters = word.first().is_some_and(|c| c.is_alphabetic());
        if letters && word.len() > 3 {
            for size in [4, 5] {
                if word.len() > size {
                    add(5, hash_chars(&word[..size]), size as u64, 0);
                    add(6, hash_chars(&word[word.len() - size..]), size as u64, 0);
                }
            }
        }
        f.identity = f.rows.len();
        let mut add = |feature: u64, a: u64, b: u64, c: u64| f.rows.push(row(feature, a, b, c));
        if letters {
            for size in 1..=3.min(word.len()) {
                add(7, hash_chars(&word[..size]), size as u64, own.case);
                add(8, hash_chars(&word[word.len() - size..]), size as u64, own.case);
            }
            for gram in word.windows(3).take(10) {
                add(9, hash_chars(gram), 0, 0);
            }
        }
        let common = u64::from(own.common);
        let around = u64::from(p.common) * 2 + u64::from(n.common);
        let (first, last) = (u64::from(own.gap >= 2), u64::from(n.gap >= 2));
        add(10, own.shape, 0, 0);
        add(11, own.case, common, first);
        f.neighbours = f.rows.len();
        let mut add = |feature: u64, a: u64, b: u64, c: u64| f.rows.push(row(feature, a, b, c));
        add(12, own.case, common * 4 + around, p.case);
        add(13, own.case, p.case, n.case);
        add(14, p.case, own.case, p2.case);
        add(15, own.case, n.case, n2.case);
        add(16, p.word, own.case, own.gap.min(1));
        add(17, n.word, own.case, n.gap.min(1));
        add(20, p2.word, own.case, 0);
        add(21, n2.word, own.case, 0);
        add(23, p.suffix, own.case, 0);
        add(24, n.suffix, own.case, 0);
        add(25, own.gap * 4 + n.gap, own.case, common);
        add(26, first * 2 + last, p.case, own.case);
        add(27, own.shape, p.shape, 0);
        add(28, own.shape, n.shape, 0);
        add(33, own.gap, p.case, own.case);
        add(32, 0, 0, 0);
        f.context = f.rows.len();
        let mut add = |feature: u64, a: u64, b: u64, c: u64| f.rows.push(row(feature, a, b, c));
        add(18, p2.word, p.word, own.case);
        add(19, n.word, n2.word, own.case);
        add(22, p.word, n.word, own.case);
        add(29, at(i, -3).word, p2.word, own.case);
        for offset in [-5, -4, -3] {
            add(30, at(i, offset).word, own.case, 0);
        }
        for offset in [3, 4, 5] {
            add(31, at(i, offset).word, own.case, 0);
        }
        f
    };
    tokens.iter().enumerate().map(|(i, token)| one(i, token)).collect()
}

/// Tells if white space of this kind ends a name.
pub(crate) fn ends_name(gap: Gap) -> bool {
    matches!(gap, Gap::Line | Gap::Paragraph)
}
