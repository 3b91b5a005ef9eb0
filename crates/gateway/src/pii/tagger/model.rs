//! The file of the trained tagger.
//!
//! Little-endian: the magic `HONETAG2`; the scale of the weights (f32); 25 transition scores (f32); the bits of the
//! common words, of first names, last names and places; and for each of [`ROWS`] rows one byte per tag but the first, whose scores are 0.

use super::crf::{Scores, TAGS, Transitions};
use super::features::{Features, Lexicon, NAME_BITS, ROWS, WORD_BITS, Words};

const MAGIC: &[u8; 8] = b"HONETAG2";
/// The number of weights of a row.
pub(crate) const COLUMNS: usize = TAGS - 1;

/// A trained tagger.
#[derive(Debug, Clone)]
pub struct Model<'a> {
    scale: f32,
    /// The scores of one tag after another.
    pub transitions: Transitions,
    /// The words that the features know of.
    pub lexicon: Lexicon,
    weights: &'a [u8],
}

impl<'a> Model<'a> {
    /// Reads a model; `None` if the bytes are not one.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (numbers, rest) = rest.split_at_checked(4 * (1 + TAGS * TAGS))?;
        let (words, rest) = rest.split_at_checked(WORD_BITS / 8)?;
        let (names, weights) = rest.split_at_checked(3 * NAME_BITS / 8)?;
        let mut numbers = numbers.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let scale = numbers.next()?;
        let mut transitions = Transitions::default();
        transitions.iter_mut().flatten().zip(numbers).for_each(|(to, from)| *to = from);
        let finite = scale.is_finite() && transitions.iter().flatten().all(|t| t.is_finite());
        (finite && weights.len() == ROWS * COLUMNS).then_some(())?;
        let set = |i: usize| Words::from_bits(&names[i * NAME_BITS / 8..(i + 1) * NAME_BITS / 8]);
        let lexicon = Lexicon { words: Words::from_bits(words), names: [set(0), set(1), set(2)] };
        Some(Self { scale, transitions, lexicon, weights })
    }

    /// Sums the weights of a token's features.
    #[must_use]
    pub fn scores(&self, features: &Features) -> Scores {
        let mut sums = [0i32; COLUMNS];
        for &row in &features.rows {
            let at = row as usize * COLUMNS;
            if let Some(weights) = self.weights.get(at..at + COLUMNS) {
                sums.iter_mut().zip(weights).for_each(|(sum, &w)| *sum += i32::from(w.cast_signed()));
            }
        }
        let mut out = [0.0; TAGS];
        out[1..].iter_mut().zip(sums).for_each(|(out, sum)| *out = sum as f32 * self.scale);
        out
    }
}

/// Writes a model whose weights are given as floating-point numbers, `ROWS * COLUMNS` of them.
#[must_use]
pub fn write(weights: &[f32], transitions: &Transitions, lexicon: &Lexicon) -> Vec<u8> {
    let mut sizes: Vec<f32> = weights.iter().map(|w| w.abs()).filter(|w| *w > 0.0).collect();
    sizes.sort_by(f32::total_cmp);
    // A few large weights are cut, so that the others keep their precision.
    let most = sizes.get(sizes.len() * 9995 / 10000).copied().unwrap_or(1.0);
    let scale = most / 127.0;
    let mut out = MAGIC.to_vec();
    out.extend(scale.to_le_bytes());
    transitions.iter().flatten().for_each(|t| out.extend(t.to_le_bytes()));
    out.extend(lexicon.words.bits());
    lexicon.names.iter().for_each(|names| out.extend(names.bits()));
    out.extend(weights.iter().map(|w| ((w / scale).round().clamp(-127.0, 127.0) as i8).cast_unsigned()));
    out
}
