//! The exact match of generated answers.

use fancy_regex::{Captures, Regex};
use serde::Deserialize;

/// The result of an expression that finds nothing, as in lm-evaluation-harness.
const NOT_FOUND: &str = "[invalid]";

/// The match of an expression that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Take {
    /// The first.
    #[default]
    First,
    /// The last.
    Last,
}

/// Right answers, and what the comparison ignores.
///
/// The rules are those of lm-evaluation-harness: `RegexFilter` and `WhitespaceFilter` (`lm_eval/filters/extraction.py`),
/// then `exact_match_hf_evaluate` (`lm_eval/api/metrics.py`), for each of the right answers.
#[derive(Debug, Clone)]
pub struct ExactMatch {
    answers: Vec<String>,
    extract: Option<(Regex, Take)>,
    remove: Vec<Regex>,
    ignore_case: bool,
    ignore_punctuation: bool,
    ignore_numbers: bool,
}

impl ExactMatch {
    /// Creates a comparison with `answers`. `regex` extracts the answer from the generated text, and `remove` are
    /// expressions whose matches are removed from both texts.
    ///
    /// # Errors
    /// The field and the problem of an invalid expression.
    pub(super) fn new(
        answers: Vec<String>,
        regex: Option<&str>,
        take: Take,
        remove: &[String],
    ) -> Result<Self, String> {
        let compiled =
            |field: &str, text: &str| Regex::new(text).map_err(|error| format!("{field}: {text:?}: {error}"));
        Ok(Self {
            extract: regex.map(|text| Ok::<_, String>((compiled("regex", text)?, take))).transpose()?,
            remove: remove.iter().map(|text| compiled("remove", text)).collect::<Result<_, _>>()?,
            answers,
            ignore_case: false,
            ignore_punctuation: false,
            ignore_numbers: false,
        })
    }

    /// Sets what else is ignored: the case, ASCII punctuation, ASCII digits.
    #[must_use]
    pub(super) fn ignoring(self, case: bool, punctuation: bool, numbers: bool) -> Self {
        Self { ignore_case: case, ignore_punctuation: punctuation, ignore_numbers: numbers, ..self }
    }

    /// Returns `true` if a generated text is one of the right answers.
    ///
    /// # Errors
    /// An expression that takes too much work on this text.
    pub(super) fn is_right(&self, generated: &str) -> Result<bool, String> {
        let found = match &self.extract {
            Some((regex, take)) => extracted(regex, *take, generated)?,
            None => generated.to_owned(),
        };
        let found = self.normalised(found.trim())?;
        for answer in &self.answers {
            if self.normalised(answer.trim())? == found {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn normalised(&self, text: &str) -> Result<String, String> {
        let mut text = text.to_owned();
        for regex in &self.remove {
            text = regex.try_replacen(&text, 0, "").map_err(|error| format!("remove: {error}"))?.into_owned();
        }
        if self.ignore_case {
            text = text.to_lowercase();
        }
        text.retain(|c| {
            let is_ignored =
                (self.ignore_punctuation && c.is_ascii_punctuation()) || (self.ignore_numbers && c.is_ascii_digit());
            !is_ignored
        });
        Ok(text)
    }
}

/// Returns the match of an expression: its first group that is not empty, or the whole if it has no groups.
fn extracted(regex: &Regex, take: Take, text: &str) -> Result<String, String> {
    let group = |captures: Captures<'_>| match captures.len() {
        1 => captures.get(0).map(|found| found.as_str().to_owned()),
        2 => Some(captures.get(1).map_or_else(String::new, |found| found.as_str().to_owned())),
        _ => captures.iter().skip(1).flatten().map(|found| found.as_str().to_owned()).find(|text| !text.is_empty()),
    };
    let mut last = None;
    for captures in regex.captures_iter(text) {
        last = Some(group(captures.map_err(|error| format!("regex: {error}"))?));
        if take == Take::First {
            break;
        }
    }
    Ok(last.flatten().unwrap_or_else(|| NOT_FOUND.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every case with the verdict of lm-evaluation-harness, made by `tests/scripts/make_exact_match.py`.
    #[test]
    fn verdicts_are_those_of_the_harness() {
        #[derive(Deserialize)]
        struct Case {
            generated: String,
            answers: Vec<String>,
            regex: Option<String>,
            #[serde(default)]
            take: Take,
            #[serde(default)]
            remove: Vec<String>,
            #[serde(default)]
            ignore: [bool; 3],
            right: bool,
        }
        let cases = include_str!("../../tests/data/exact-match.jsonl");
        let mut verdicts = [0, 0];
        for line in cases.lines() {
            let case: Case = serde_json::from_str(line).expect("a case");
            let [letters, punctuation, numbers] = case.ignore;
            let exact = ExactMatch::new(case.answers, case.regex.as_deref(), case.take, &case.remove)
                .expect("expressions")
                .ignoring(letters, punctuation, numbers);
            assert_eq!(exact.is_right(&case.generated), Ok(case.right), "{line}");
            verdicts[usize::from(case.right)] += 1;
        }
        assert!(verdicts.iter().all(|&n| n > 6), "{verdicts:?}");
    }

    #[test]
    fn an_expression_that_takes_too_much_work_is_an_error() {
        let exact = ExactMatch::new(vec!["b".to_owned()], Some(r"^(?=(a+)+$)\1b"), Take::First, &[]).expect("compiled");
        let problem = exact.is_right(&("a".repeat(40) + "!")).expect_err("too much work");
        assert!(problem.starts_with("regex: "), "{problem}");
    }
}
