//! Sets of tokens that may be drawn.

use crate::BackendError;

/// A set of tokens: one bit for each id of a vocabulary. Ids beyond it are not in the set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenMask {
    words: Vec<u32>,
    len: usize,
}

impl TokenMask {
    /// Creates an empty set over `len` ids.
    #[must_use]
    pub fn none(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(32)], len }
    }

    /// Creates a set from its bits: id `i` is bit `i % 32` of word `i / 32`. Missing words have no bits; bits from `len` on
    /// are cleared.
    #[must_use]
    pub fn from_words(words: &[u32], len: usize) -> Self {
        let mut mask = Self::none(len);
        mask.words.iter_mut().zip(words).for_each(|(own, word)| *own = *word);
        if let (Some(last), rest @ 1..) = (mask.words.last_mut(), len % 32) {
            *last &= (1 << rest) - 1;
        }
        mask
    }

    /// Adds an id. Ids beyond the vocabulary are ignored.
    pub fn insert(&mut self, id: u32) {
        if (id as usize) < self.len {
            self.words[id as usize / 32] |= 1 << (id % 32);
        }
    }

    /// Removes an id.
    pub fn remove(&mut self, id: u32) {
        if (id as usize) < self.len {
            self.words[id as usize / 32] &= !(1 << (id % 32));
        }
    }

    /// Returns `true` if an id is in the set.
    #[must_use]
    pub fn contains(&self, id: u32) -> bool {
        (id as usize) < self.len && self.words[id as usize / 32] & (1 << (id % 32)) != 0
    }

    /// Returns the number of ids in the set.
    #[must_use]
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Returns the size of the vocabulary.
    #[must_use]
    pub fn vocabulary(&self) -> usize {
        self.len
    }

    /// Returns the ids in the set, in ascending order.
    pub fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        (0..).zip(&self.words).flat_map(|(at, &word)| {
            let mut word = word;
            std::iter::from_fn(move || {
                let bit = word.trailing_zeros();
                (word != 0).then(|| {
                    word &= word - 1;
                    at * 32 + bit
                })
            })
        })
    }

    /// Sets the logits of all ids that are not in the set to -∞.
    ///
    /// # Errors
    /// [`BackendError::NoAllowedToken`] if no logit of an id in the set is above -∞, so that no token can be drawn. The
    /// logits have been changed then.
    pub fn apply(&self, logits: &mut [f32]) -> Result<(), BackendError> {
        let vocabulary = logits.len();
        let mut is_possible = false;
        let words = self.words.iter().copied().chain(std::iter::repeat(0));
        for (part, word) in logits.chunks_mut(32).zip(words) {
            for (bit, logit) in part.iter_mut().enumerate() {
                if word & (1 << bit) == 0 {
                    *logit = f32::NEG_INFINITY;
                } else {
                    is_possible |= *logit > f32::NEG_INFINITY;
                }
            }
        }
        if is_possible { Ok(()) } else { Err(BackendError::NoAllowedToken { allowed: self.count(), vocabulary }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_the_ids_that_were_added() {
        let mut mask = TokenMask::none(70);
        for id in [0, 31, 32, 69, 70, u32::MAX] {
            mask.insert(id);
        }
        assert_eq!(mask.ids().collect::<Vec<_>>(), [0, 31, 32, 69]);
        assert_eq!((mask.count(), mask.vocabulary()), (4, 70));
        mask.remove(31);
        assert!(!mask.contains(31) && mask.contains(32) && !mask.contains(70));
    }

    #[test]
    fn bits_beyond_the_vocabulary_are_cleared() {
        let mask = TokenMask::from_words(&[u32::MAX, u32::MAX, u32::MAX], 33);
        assert_eq!((mask.count(), mask.ids().last()), (33, Some(32)));
        assert_eq!(TokenMask::from_words(&[1], 64).ids().collect::<Vec<_>>(), [0]);
        assert_eq!(TokenMask::from_words(&[u32::MAX], 32).count(), 32);
    }
}
