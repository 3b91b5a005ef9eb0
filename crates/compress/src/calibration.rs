//! Calibration texts as token sequences.

use crate::CompressError;

/// Token sequences on which inputs are observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calibration {
    /// Samples of equal length.
    pub samples: Vec<Vec<u32>>,
}

impl Calibration {
    /// Joins tokenised documents and cuts the result into `count` samples of `length` tokens, or fewer where the text is too
    /// short for as many. The documents hold their own marks, such as BOS and EOS.
    ///
    /// # Errors
    /// [`CompressError::CalibrationTooShort`] where the text does not fill one sample.
    pub fn cut(
        documents: impl IntoIterator<Item = Vec<u32>>,
        count: usize,
        length: usize,
    ) -> Result<Self, CompressError> {
        let mut samples = Vec::new();
        let mut stream = Vec::new();
        for document in documents {
            stream.extend(document);
            while stream.len() >= length && samples.len() < count {
                let rest = stream.split_off(length);
                samples.push(std::mem::replace(&mut stream, rest));
            }
            if samples.len() == count {
                break;
            }
        }
        if samples.is_empty() {
            return Err(CompressError::CalibrationTooShort { found: stream.len(), wanted: length });
        }
        Ok(Self { samples })
    }

    /// Returns the number of tokens in all samples.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.samples.iter().map(Vec::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_joined_and_cut_into_samples() {
        let documents = vec![vec![0, 10, 11, 12, 1], vec![0, 20, 1], vec![0, 30, 31, 32, 33, 1]];
        let c = Calibration::cut(documents, 10, 4).expect("enough text");
        assert_eq!(c.samples, [[0, 10, 11, 12], [1, 0, 20, 1], [0, 30, 31, 32]]);
        assert_eq!(c.tokens(), 12);
    }

    #[test]
    fn takes_no_more_than_asked_and_refuses_less_than_one_sample() {
        let long = vec![vec![7; 100]];
        assert_eq!(Calibration::cut(long, 3, 10).expect("enough text").samples.len(), 3);
        let short = Calibration::cut(vec![vec![7; 7]], 3, 10);
        assert!(matches!(short, Err(CompressError::CalibrationTooShort { found: 7, wanted: 10 })));
    }
}
