//! Calibration texts as token sequences.

use crate::CompressError;

/// Token sequences on which inputs are observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calibration {
    /// Samples of equal length.
    pub samples: Vec<Vec<u32>>,
}

impl Calibration {
    /// Joins tokenised documents as BOS, text, EOS and cuts the result into `count` samples of `length` tokens, or fewer
    /// where the text is too short for as many.
    ///
    /// # Errors
    /// [`CompressError::CalibrationTooShort`] where the text does not fill one sample.
    pub fn new(
        documents: impl IntoIterator<Item = Vec<u32>>,
        bos: Option<u32>,
        eos: Option<u32>,
        count: usize,
        length: usize,
    ) -> Result<Self, CompressError> {
        let mut samples = Vec::new();
        let mut stream = Vec::new();
        for document in documents {
            stream.extend(bos);
            stream.extend(document);
            stream.extend(eos);
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

/// Returns the documents of a calibration file: of JSON lines the `text` field of each, of plain text the whole.
///
/// # Errors
/// [`CompressError::CalibrationLine`] for a line without a string field `text`.
pub fn calibration_texts(contents: &str, json_lines: bool) -> Result<Vec<String>, CompressError> {
    if !json_lines {
        return Ok(vec![contents.to_owned()]);
    }
    let parse = |(i, line): (usize, &str)| {
        let bad = |problem: String| CompressError::CalibrationLine { line: i + 1, problem };
        let value: serde_json::Value = serde_json::from_str(line).map_err(|e| bad(e.to_string()))?;
        match value.get("text").and_then(serde_json::Value::as_str) {
            Some(text) => Ok(text.to_owned()),
            None => Err(bad("expected an object with a string field 'text'".to_owned())),
        }
    };
    contents.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()).map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_joined_with_their_marks_and_cut_into_samples() {
        let documents = vec![vec![10, 11, 12], vec![20], vec![30, 31, 32, 33]];
        let c = Calibration::new(documents, Some(0), Some(1), 10, 4).expect("enough text");
        assert_eq!(c.samples, [[0, 10, 11, 12], [1, 0, 20, 1], [0, 30, 31, 32]]);
        assert_eq!(c.tokens(), 12);
    }

    #[test]
    fn takes_no_more_than_asked_and_refuses_less_than_one_sample() {
        let long = vec![vec![7; 100]];
        assert_eq!(Calibration::new(long, None, None, 3, 10).expect("enough text").samples.len(), 3);
        let short = Calibration::new(vec![vec![7; 5]], Some(0), Some(1), 3, 10);
        assert!(matches!(short, Err(CompressError::CalibrationTooShort { found: 7, wanted: 10 })));
    }

    #[test]
    fn reads_json_lines_and_names_the_bad_one() {
        let texts = calibration_texts("{\"text\": \"a\"}\n\n{\"text\": \"b\", \"x\": 1}\n", true).expect("texts");
        assert_eq!(texts, ["a", "b"]);
        for bad in ["{\"text\": 1}", "nonsense", "{}"] {
            let contents = format!("{{\"text\": \"a\"}}\n{bad}");
            assert!(matches!(calibration_texts(&contents, true), Err(CompressError::CalibrationLine { line: 2, .. })));
        }
        assert_eq!(calibration_texts("{plain}", false).expect("text"), ["{plain}"]);
    }
}
