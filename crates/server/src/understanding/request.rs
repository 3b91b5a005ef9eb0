//! The requests for labels and facts of texts.

use honelm::{Classifier, ClassifyOptions, Extractor, Label, LabelledText, Normalise, Wanted};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ApiError;
use crate::config::Limits;
use crate::fields::{Fields, Num, OneOrMany};
use crate::json::{Count, NameOrObject};

/// A label, or a kind of things in a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LabelObject {
    /// The name.
    pub name: String,
    /// The meaning.
    #[serde(default)]
    pub description: Option<String>,
}

/// A text whose labels are known.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
pub struct ExampleObject {
    /// The text.
    pub text: String,
    /// Its label, or with `multi` all of its labels.
    pub labels: OneOrMany<String>,
}

/// A request for the labels of texts (`POST /v1/classify`).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ClassifyTexts {
    /// The name of the model.
    pub model: Option<String>,
    /// A text, or several. Required.
    pub input: Option<OneOrMany<String>>,
    /// The labels: names, or objects with a name and a description. Required.
    pub labels: Option<Vec<NameOrObject<LabelObject>>>,
    /// Texts with known labels, which are shown to the model.
    pub examples: Option<Vec<ExampleObject>>,
    /// The question to decide, in place of the usual sentence.
    pub instruction: Option<String>,
    /// Decides for each label on its own if it fits.
    pub multi: Option<bool>,
    /// The least probability of a label that is chosen with `multi`; 0.5 by default.
    pub threshold: Option<Num<0, 1>>,
    /// The comparison of labels of different lengths: `length`, the default, per token, or `none`.
    pub normalise: Option<String>,
    /// The fields that are not known here.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Map<String, Value>,
}

/// A request for the facts of texts (`POST /v1/extract`).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ExtractFacts {
    /// The name of the model.
    pub model: Option<String>,
    /// A text, or several. Required.
    pub input: Option<OneOrMany<String>>,
    /// The JSON schema of the facts. Either this or `kinds` is required.
    pub schema: Option<Value>,
    /// The kinds of things to find: names, or objects with a name and a description.
    pub kinds: Option<Vec<NameOrObject<LabelObject>>>,
    /// The task, in place of the usual sentence.
    pub instruction: Option<String>,
    /// The most tokens of the JSON text of each input; 1,024 by default.
    pub max_tokens: Option<Count>,
    /// The fields that are not known here.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Map<String, Value>,
}

impl Fields for ClassifyTexts {
    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }
}

impl Fields for ExtractFacts {
    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }
}

impl ClassifyTexts {
    /// Checks the request, and returns its texts and what asks about them.
    ///
    /// # Errors
    /// 400 with the field.
    pub fn checked(self, limits: &Limits) -> Result<(Vec<String>, Classifier), ApiError> {
        let texts = texts(self.input, limits)?;
        let multi = self.multi.unwrap_or(false);
        let labels = labels(self.labels.unwrap_or_default());
        let questions = texts.len().saturating_mul(if multi { labels.len() } else { 1 });
        if questions > limits.messages {
            let found = format!("found {questions} questions about all texts, expected at most {}", limits.messages);
            return Err(ApiError::invalid("labels", found));
        }
        let normalise = match self.normalise.as_deref() {
            None | Some("length") => Normalise::Length,
            Some("none") => Normalise::None,
            Some(other) => {
                let found = format!("found {other:?}, expected \"length\" or \"none\"");
                return Err(ApiError::invalid("normalise", found));
            }
        };
        let examples = self.examples.unwrap_or_default().into_iter();
        let example = |example: ExampleObject| LabelledText { text: example.text, labels: example.labels.into_vec() };
        let usual = ClassifyOptions::new(labels);
        let options = ClassifyOptions {
            examples: examples.map(example).collect(),
            instruction: self.instruction,
            multi,
            threshold: self.threshold.map_or(usual.threshold, |threshold| threshold.get().into()),
            normalise,
            ..usual
        };
        Ok((texts, Classifier::new(options)?))
    }
}

impl ExtractFacts {
    /// Checks the request, and returns its texts and what asks about them. The schema is not compiled.
    ///
    /// # Errors
    /// 400 with the field.
    pub fn checked(self, limits: &Limits) -> Result<(Vec<String>, Extractor), ApiError> {
        let texts = texts(self.input, limits)?;
        let wanted = match (self.schema, self.kinds) {
            (Some(schema), None) => Wanted::Schema(schema),
            (None, Some(kinds)) => Wanted::Kinds(labels(kinds)),
            (Some(_), Some(_)) => return Err(ApiError::invalid("kinds", "found schema too, expected one of the two")),
            (None, None) => return Err(ApiError::invalid("schema", "found nothing, expected a JSON schema, or kinds")),
        };
        Ok((texts, Extractor::new(wanted, self.instruction)?))
    }
}

fn labels(given: Vec<NameOrObject<LabelObject>>) -> Vec<Label> {
    let label = |given| match given {
        NameOrObject::Name(name) => Label::new(name),
        NameOrObject::Object(LabelObject { name, description }) => Label { name, description },
    };
    given.into_iter().map(label).collect()
}

/// Returns the texts of a request, at least one and none without words.
fn texts(input: Option<OneOrMany<String>>, limits: &Limits) -> Result<Vec<String>, ApiError> {
    let texts = input.map(OneOrMany::into_vec).unwrap_or_default();
    if texts.is_empty() {
        return Err(ApiError::invalid("input", "found no text, expected at least one"));
    }
    if texts.len() > limits.messages {
        let found = format!("found {} items, expected at most {}", texts.len(), limits.messages);
        return Err(ApiError::invalid("input", found));
    }
    match texts.iter().position(|text| text.trim().is_empty()) {
        Some(at) => Err(ApiError::invalid(format!("input[{at}]"), "found an empty text, expected words")),
        None => Ok(texts),
    }
}
