//! A small n-gram model of ordinary text, which tells how common the words of a prompt are.

use super::words::{Kind, Word, pair, words};

/// The buckets of single words, a power of two.
pub(super) const WORD_BUCKETS: usize = 1 << 15;
/// The buckets of pairs of words, a power of two.
pub(super) const PAIR_BUCKETS: usize = 1 << 17;
/// The codes of a doubled count.
const STEPS: f32 = 8.0;
/// The weight of the single words beside the counts of pairs.
const PRIOR: f32 = 4.0;

/// An n-gram model over hashed words and pairs, with logarithmic counts of 8 bits.
///
/// The probability of a word is `(c(w) + 1/2) / (N + B/2)` for the count `c` among `N` words in `B` buckets; that of a word after
/// another is `(c(v, w) + k p(w)) / (c(v) + k)` with `k` = 4, a Dirichlet prior (MacKay and Peto 1995).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Language {
    words: Vec<u8>,
    pairs: Vec<u8>,
    /// The number of words that were counted.
    total: f32,
}

/// The surprise of a text in nats.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Surprise {
    /// The mean negative logarithm of the words' probabilities.
    pub words: f32,
    /// The same for each word after the one before it.
    pub pairs: f32,
    /// The share of words that the model never saw, 0 to 1.
    pub unseen: f32,
}

impl Language {
    /// Counts the words of texts.
    pub fn train<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut singles, mut pairs, mut total) = (vec![0u32; WORD_BUCKETS], vec![0u32; PAIR_BUCKETS], 0u32);
        for text in texts {
            let words: Vec<u64> = words(text).iter().filter(|w| w.kind == Kind::Letters).map(|w| w.hash).collect();
            words.iter().for_each(|hash| singles[bucket(*hash, WORD_BUCKETS)] += 1);
            words.windows(2).for_each(|two| pairs[bucket(pair(two[0], two[1]), PAIR_BUCKETS)] += 1);
            total += words.len() as u32;
        }
        let codes = |counts: Vec<u32>| counts.into_iter().map(code).collect();
        Self { words: codes(singles), pairs: codes(pairs), total: total as f32 }
    }

    /// Joins the tables of a file. `None` for lengths that do not fit or a total that is no number.
    pub fn from_parts(words: &[u8], pairs: &[u8], total: f32) -> Option<Self> {
        let fits = words.len() == WORD_BUCKETS && pairs.len() == PAIR_BUCKETS && total.is_finite() && total >= 0.0;
        fits.then(|| Self { words: words.to_vec(), pairs: pairs.to_vec(), total })
    }

    /// Returns the tables and the total, in the order of [`Language::from_parts`].
    pub fn parts(&self) -> (&[u8], &[u8], f32) {
        (&self.words, &self.pairs, self.total)
    }

    /// Computes how surprising words are.
    pub fn surprise(&self, words: &[&Word]) -> Surprise {
        let letters = words.iter().filter(|w| w.kind == Kind::Letters);
        let (mut sum, mut of_pairs, mut unseen, mut n) = (0.0, 0.0, 0.0, 0.0);
        let mut before: Option<u64> = None;
        for word in letters {
            let seen = count(self.words[bucket(word.hash, WORD_BUCKETS)]);
            let alone = (seen + 0.5) / (self.total + 0.5 * WORD_BUCKETS as f32);
            sum -= alone.ln();
            unseen += f32::from(u8::from(seen == 0.0));
            of_pairs -= match before {
                None => alone,
                Some(previous) => {
                    let both = count(self.pairs[bucket(pair(previous, word.hash), PAIR_BUCKETS)]);
                    let first = count(self.words[bucket(previous, WORD_BUCKETS)]);
                    (both + PRIOR * alone) / (first.max(both) + PRIOR)
                }
            }
            .ln();
            before = Some(word.hash);
            n += 1.0;
        }
        if n == 0.0 {
            Surprise::default()
        } else {
            Surprise { words: sum / n, pairs: of_pairs / n, unseen: unseen / n }
        }
    }
}

/// Returns the bucket of a hash among `buckets`, a power of two.
pub(super) fn bucket(hash: u64, buckets: usize) -> usize {
    (hash >> 8) as usize & (buckets - 1)
}

fn code(count: u32) -> u8 {
    (STEPS * (count as f32 + 1.0).log2()).round().min(255.0) as u8
}

fn count(code: u8) -> f32 {
    (f32::from(code) / STEPS).exp2() - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surprise(language: &Language, text: &str) -> Surprise {
        let words = words(text);
        language.surprise(&words.iter().collect::<Vec<_>>())
    }

    #[test]
    fn codes_keep_counts_to_five_percent() {
        for n in [0, 1, 2, 3, 10, 100, 5000, 1_000_000] {
            assert!((count(code(n)) - n as f32).abs() <= 0.05 * n as f32, "{n}");
        }
    }

    #[test]
    fn ordinary_text_surprises_less_than_rare_words_and_shuffled_ones() {
        let language = Language::train(["the cat sat on the mat and the dog sat on the rug"; 20]);
        let ordinary = surprise(&language, "The dog sat on the mat");
        let shuffled = surprise(&language, "mat the on sat dog the");
        let rare = surprise(&language, "eigenvalue of unitary operators");
        assert!(ordinary.pairs < shuffled.pairs && shuffled.words < rare.words, "{ordinary:?} {shuffled:?} {rare:?}");
        assert!((ordinary.words - shuffled.words).abs() < 1e-5);
        assert_eq!((ordinary.unseen, rare.unseen), (0.0, 1.0));
        assert_eq!(surprise(&language, "1 + 2"), Surprise::default());
    }
}
