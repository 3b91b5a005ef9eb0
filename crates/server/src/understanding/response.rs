//! The responses with labels and facts of texts.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::Usage;

/// The labels of all texts.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Classifications {
    /// `list`.
    pub object: &'static str,
    /// The labels of each text.
    pub data: Vec<ClassifiedText>,
    /// The name of the model.
    pub model: String,
    /// The numbers of tokens.
    pub usage: TextUsage,
}

/// The labels of a text.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ClassifiedText {
    /// `classification`.
    pub object: &'static str,
    /// The index of the text.
    pub index: usize,
    /// The chosen labels: the most probable one, or with `multi` all that reach the threshold.
    pub labels: Vec<String>,
    /// The scores of all labels, in the order of the request.
    pub scores: Vec<ScoreObject>,
}

/// The score of a label.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ScoreObject {
    /// The name.
    pub label: String,
    /// The probability. Those of all labels have the sum 1, except with `multi`.
    pub probability: f64,
    /// The natural logarithm of the probability that the model answers exactly so; with `multi`, that it answers `yes`.
    pub log_likelihood: f64,
    /// The number of tokens of that answer, with the end token.
    pub tokens: usize,
}

/// The facts of all texts.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Extractions {
    /// `list`.
    pub object: &'static str,
    /// The facts of each text.
    pub data: Vec<ExtractedText>,
    /// The name of the model.
    pub model: String,
    /// The numbers of tokens.
    pub usage: TextUsage,
}

/// The facts of a text.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ExtractedText {
    /// `extraction`.
    pub object: &'static str,
    /// The index of the text.
    pub index: usize,
    /// The facts, which the schema accepts; null if the JSON text was not complete.
    pub data: Option<Value>,
    /// All strings of the facts, with their places in the text.
    pub mentions: Vec<MentionObject>,
    /// The reason for the end of the JSON text: `stop`, or `length` at the limit of tokens.
    pub finish_reason: &'static str,
}

/// A string of the facts.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct MentionObject {
    /// The place in the facts, as a JSON pointer.
    pub path: String,
    /// The kind, if kinds were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The string.
    pub text: String,
    /// The first character in the text; null if the text does not have exactly this string as whole words.
    pub start: Option<usize>,
    /// The character behind the last one.
    pub end: Option<usize>,
}

/// The numbers of tokens of all texts.
#[derive(Debug, Clone, Copy, Default, Serialize, JsonSchema)]
pub struct TextUsage {
    /// The tokens of all prompts.
    pub prompt_tokens: usize,
    /// The tokens that were written.
    pub completion_tokens: usize,
    /// The sum.
    pub total_tokens: usize,
    /// More about the prompts.
    pub prompt_tokens_details: PromptTokens,
}

/// The tokens of prompts.
#[derive(Debug, Clone, Copy, Default, Serialize, JsonSchema)]
pub struct PromptTokens {
    /// The tokens that were cached.
    pub cached_tokens: usize,
}

impl TextUsage {
    /// Adds the tokens of an answer.
    pub fn add(&mut self, used: &Usage) {
        self.prompt_tokens += used.prompt_tokens;
        self.completion_tokens += used.completion_tokens;
        self.total_tokens = self.prompt_tokens + self.completion_tokens;
        self.prompt_tokens_details.cached_tokens += used.cached_tokens;
    }
}
