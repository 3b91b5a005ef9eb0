//! The words of a text, their hashes, and deterministic random numbers.

/// The most bytes of a text that are read. Of a longer text, the first and the last half of this are.
const MOST_BYTES: usize = 64 << 10;

/// The kind of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Letters and apostrophes.
    Letters,
    /// Digits, with `.` and `,` between them.
    Number,
    /// One other character that is no space.
    Symbol,
}

/// A word of a text, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub text: String,
    pub kind: Kind,
    /// The hash of `text`.
    pub hash: u64,
}

/// Returns the parts of a text that are read: all of it, or of a long text its beginning and its end.
pub(super) fn parts(text: &str) -> [&str; 2] {
    if text.len() <= MOST_BYTES {
        return [text, ""];
    }
    let (mut head, mut tail) = (MOST_BYTES / 2, text.len() - MOST_BYTES / 2);
    while !text.is_char_boundary(head) {
        head -= 1;
    }
    while !text.is_char_boundary(tail) {
        tail += 1;
    }
    [&text[..head], &text[tail..]]
}

/// Splits a text into words.
pub(super) fn words(text: &str) -> Vec<Word> {
    let mut out = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(first) = chars.next() {
        if first.is_whitespace() {
            continue;
        }
        let kind = match first {
            c if c.is_alphabetic() => Kind::Letters,
            c if c.is_numeric() => Kind::Number,
            _ => Kind::Symbol,
        };
        let mut word: String = first.to_lowercase().collect();
        let continues = |c: &char| match kind {
            Kind::Letters => c.is_alphabetic() || matches!(c, '\'' | '’'),
            Kind::Number => c.is_numeric() || matches!(c, '.' | ','),
            Kind::Symbol => false,
        };
        while let Some(c) = chars.next_if(continues) {
            word.extend(c.to_lowercase());
        }
        if kind == Kind::Number {
            word.truncate(word.trim_end_matches(['.', ',']).len());
        }
        let hash = hash(word.as_bytes());
        out.push(Word { text: word, kind, hash });
    }
    out
}

/// Computes the 64-bit FNV-1a hash (Fowler, Noll and Vo), finished by [`mix`].
pub(super) fn hash(bytes: &[u8]) -> u64 {
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, byte| (h ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)))
}

/// Combines the hashes of two neighbouring words. The order matters.
pub(super) fn pair(first: u64, second: u64) -> u64 {
    mix(first.rotate_left(23) ^ second.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Mixes the bits of a number: the output function of `SplitMix64` (Steele, Lea and Flood 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Random numbers that depend on the seed alone (`SplitMix64`).
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Draws a number below `n`, which must be above 0.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        // The high half of the product: uniform up to n / 2^64.
        ((u128::from(mix(self.0)) * n as u128) >> 64) as usize
    }

    /// Shuffles a slice (Fisher and Yates).
    pub fn shuffle<T>(&mut self, slice: &mut [T]) {
        for last in (1..slice.len()).rev() {
            slice.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_letters_numbers_and_symbols() {
        let found: Vec<String> = words("Don't pay $3,000.50. x²=4").into_iter().map(|word| word.text).collect();
        assert_eq!(found, ["don't", "pay", "$", "3,000.50", "x", "²", "=", "4"]);
        assert_ne!(pair(hash(b"a"), hash(b"b")), pair(hash(b"b"), hash(b"a")));
    }

    #[test]
    fn long_texts_are_read_at_both_ends() {
        let text = format!("{}é{}", "a".repeat(MOST_BYTES / 2 - 1), "é".repeat(MOST_BYTES));
        let [head, tail] = parts(&text);
        assert!(head.len() + tail.len() <= MOST_BYTES && head.len() + tail.len() > MOST_BYTES - 4);
        assert_eq!(parts("short"), ["short", ""]);
    }

    #[test]
    fn draws_are_uniform_and_shuffles_keep_every_element() {
        let mut random = Random::new(1);
        let mut counts = [0; 7];
        (0..7000).for_each(|_| counts[random.below(7)] += 1);
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
        let mut order: Vec<usize> = (0..50).collect();
        random.shuffle(&mut order);
        assert_ne!(order, (0..50).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..50).collect::<Vec<_>>());
    }
}
