use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The length in tokens of the sequences that are compared, as in GPT-3's analysis of contamination (Brown et al. 2020,
/// appendix C).
pub const NGRAM: usize = 13;

/// The largest allowed share of the held-out text's sequences that occur in the calibration text.
pub const MAX_OVERLAP: f64 = 0.01;

/// Returns the share of the sequences of [`NGRAM`] tokens in `evaluation` that occur in `calibration`, 0 to 1. A shorter
/// `evaluation` is one sequence.
#[must_use]
pub fn overlap<'a>(calibration: impl IntoIterator<Item = &'a [u32]>, evaluation: &[u32]) -> f64 {
    let length = NGRAM.min(evaluation.len()).max(1);
    let known: HashSet<u64> = calibration.into_iter().flat_map(|text| text.windows(length)).map(hash).collect();
    let total = evaluation.windows(length).count();
    let found = evaluation.windows(length).filter(|w| known.contains(&hash(w))).count();
    if total == 0 { 0.0 } else { found as f64 / total as f64 }
}

fn hash(tokens: &[u32]) -> u64 {
    let mut hasher = DefaultHasher::new();
    tokens.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copied_text_is_found_and_unrelated_text_is_not() {
        let text: Vec<u32> = (0..2000u32).map(|i| i.wrapping_mul(2_654_435_761) >> 20).collect();
        let other: Vec<u32> = (5000..7000u32).map(|i| i.wrapping_mul(2_654_435_761) >> 20).collect();
        assert!((overlap([&text[..]], &text) - 1.0).abs() < 1e-12);
        assert!(overlap([&other[..]], &text) < MAX_OVERLAP);
        let mut mixed = other.clone();
        mixed.extend_from_slice(&text[100..200]);
        let share = overlap([&mixed[..]], &text);
        assert!(share > MAX_OVERLAP && share < 0.1, "{share}");
    }

    #[test]
    fn empty_texts_do_not_overlap() {
        assert!(overlap([&[][..]], &[1, 2, 3]) < 1e-12);
        assert!(overlap([&[1, 2, 3][..]], &[]) < 1e-12);
    }
}
