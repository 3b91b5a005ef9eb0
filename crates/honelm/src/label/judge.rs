//! The quality of two answers: against the right ones, or against each other.

use std::collections::BTreeMap;

/// The part of an answer that is compared. Case, white space at the ends and repeated white space do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compare {
    /// The whole answer, without a full stop at its end.
    #[default]
    Whole,
    /// The first word: letters, digits and apostrophes.
    FirstWord,
}

impl Compare {
    /// Returns the part of a text that counts.
    fn part(self, text: &str) -> String {
        let lower = text.to_lowercase();
        match self {
            Self::Whole => {
                let words: Vec<&str> = lower.split_whitespace().collect();
                words.join(" ").trim_end_matches('.').to_owned()
            }
            Self::FirstWord => words(&lower).next().unwrap_or_default().to_owned(),
        }
    }
}

/// Returns the words of a text.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let between = |c: char| !(c.is_alphanumeric() || matches!(c, '\'' | '’'));
    text.split(between).map(|word| word.trim_matches(['\'', '’'])).filter(|word| !word.is_empty())
}

/// The verdict on two answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Judged {
    /// The quality of the local answer, 0 to 1.
    pub local: f32,
    /// The quality of the cloud's answer, 0 to 1.
    pub cloud: f32,
    /// `true` if both answers say the same.
    pub agree: bool,
}

impl Judged {
    /// Judges by the right answers: 1 for one of them, else 0. Without any, the cloud's answer counts as right, and the local quality is
    /// the share of words in common: the F1 of SQuAD (Rajpurkar et al. 2016), or 0 or 1 where only the first word counts.
    pub fn of(compare: Compare, answers: &[String], local: &str, cloud: &str) -> Self {
        let (own, other) = (compare.part(local), compare.part(cloud));
        let agree = own == other;
        if answers.is_empty() {
            let local = match compare {
                _ if agree => 1.0,
                Compare::Whole => common(&own, &other),
                Compare::FirstWord => 0.0,
            };
            return Self { local, cloud: 1.0, agree };
        }
        let right = |found: &str| answers.iter().any(|answer| compare.part(answer) == found);
        let quality = |found: &str| f32::from(u8::from(right(found)));
        Self { local: quality(&own), cloud: quality(&other), agree }
    }
}

/// Returns twice the number of common words, each as often as it occurs in both, divided by the words of both.
fn common(a: &str, b: &str) -> f32 {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    words(a).for_each(|word| *counts.entry(word).or_default() += 1);
    let mut shared = 0;
    for word in words(b) {
        if let Some(count) = counts.get_mut(word).filter(|count| **count > 0) {
            *count -= 1;
            shared += 1;
        }
    }
    let all = words(a).count() + words(b).count();
    if all == 0 { 0.0 } else { 2.0 * shared as f32 / all as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(compare: Compare, answers: &[&str], local: &str, cloud: &str) -> (f32, f32, bool) {
        let answers: Vec<String> = answers.iter().map(|answer| (*answer).to_owned()).collect();
        let found = Judged::of(compare, &answers, local, cloud);
        (found.local, found.cloud, found.agree)
    }

    #[test]
    fn right_answers_decide_where_there_are_any() {
        assert_eq!(judged(Compare::Whole, &["391"], " 391.\n", "The answer is 391"), (1.0, 0.0, false));
        assert_eq!(judged(Compare::Whole, &["new  york", "NYC"], "New York", "nyc"), (1.0, 1.0, false));
        assert_eq!(judged(Compare::FirstWord, &["b"], "B. Paris", "(b) since"), (1.0, 1.0, true));
        assert_eq!(judged(Compare::FirstWord, &["don't"], " \"Don't go", "do not"), (1.0, 0.0, false));
        assert_eq!(judged(Compare::FirstWord, &["x"], "...", ""), (0.0, 0.0, true));
    }

    #[test]
    fn without_them_the_cloud_counts_as_right() {
        assert_eq!(judged(Compare::Whole, &[], "It rains.", "it  rains"), (1.0, 1.0, true));
        assert_eq!(judged(Compare::Whole, &[], "it rains today", "it snows"), (0.4, 1.0, false));
        assert_eq!(judged(Compare::Whole, &[], "", "it"), (0.0, 1.0, false));
        assert_eq!(judged(Compare::FirstWord, &[], "yes, it", "Yes"), (1.0, 1.0, true));
        assert_eq!(judged(Compare::FirstWord, &[], "yes", "no yes"), (0.0, 1.0, false));
    }
}
