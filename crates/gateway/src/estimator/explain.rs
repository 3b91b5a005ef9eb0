//! The reasons for an estimate.

use serde::Serialize;

use super::features::{Features, GRAM_BUCKETS, MEASURES, grams};
use super::language::bucket;
use super::prompt::Prompt;
use super::words::{parts, words};
use super::{Estimate, Estimator};

/// A feature of a prompt with its share of the gain.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Contribution {
    /// The name of the measure, or the word or the pair of words.
    pub feature: String,
    /// `true` for a word or a pair of words.
    pub is_words: bool,
    /// The value: standard deviations above the training data's mean, or for words `1 / sqrt(k)` among `k` words and pairs.
    pub value: f32,
    /// The weight.
    pub weight: f32,
    /// The value times the weight: what the feature adds to the gain.
    pub contribution: f32,
}

/// An estimate as a sum.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The estimate.
    pub estimate: Estimate,
    /// The gain of a prompt whose features are all average.
    pub bias: f32,
    /// The features, the largest contributions first. With `bias` they add up to the gain.
    pub contributions: Vec<Contribution>,
}

impl Estimator {
    /// Explains the estimate for a prompt. Words whose hashes share a bucket appear as one.
    #[must_use]
    pub fn explain(&self, prompt: &Prompt) -> Explanation {
        let features = Features::of(prompt, &self.language);
        let value = 1.0 / (features.grams.len().max(1) as f32).sqrt();
        let standard = self.head.standardise(&features.measures);
        let measures = MEASURES.iter().zip(standard).zip(&self.head.weights).map(|((name, value), weight)| {
            let contribution = value * weight;
            Contribution { feature: (*name).to_owned(), is_words: false, value, weight: *weight, contribution }
        });
        let mut contributions: Vec<Contribution> = measures.collect();
        contributions.extend(self.words_of(prompt).into_iter().map(|(gram, feature)| {
            let weight = f32::from(self.grams[gram as usize]) * self.head.step;
            Contribution { feature, is_words: true, value, weight, contribution: value * weight }
        }));
        contributions.retain(|c| c.contribution != 0.0);
        contributions.sort_by(|a, b| b.contribution.abs().total_cmp(&a.contribution.abs()));
        Explanation { estimate: self.of_features(&features), bias: self.head.bias, contributions }
    }

    /// Returns the buckets of a prompt's words and pairs, each once, with the text that fell into it first.
    fn words_of(&self, prompt: &Prompt) -> Vec<(u32, String)> {
        let [head, tail] = parts(&prompt.text);
        let all = words(&if tail.is_empty() { head.to_owned() } else { format!("{head}\n{tail}") });
        let mut named: Vec<(u32, String)> =
            grams(&all).map(|(hash, text)| (bucket(hash, GRAM_BUCKETS) as u32, text)).collect();
        named.sort_by_key(|(gram, _)| *gram);
        named.dedup_by_key(|(gram, _)| *gram);
        named
    }
}
