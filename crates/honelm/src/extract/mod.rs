//! Facts out of texts: JSON that a schema accepts, with the place of each string in the text.

mod places;

use honelm_engine::{ChatAsk, Completion, EngineError, FinishReason, Generation};
use honelm_grammar::Constraint;
use honelm_text::Message;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::classify::{Label, check_names, check_texts, direct_answers, invalid};
use crate::together::{Call, CallLimits};
use crate::{Cancel, Error, Model};
use places::Places;

/// The most kinds of an extraction.
pub const MOST_KINDS: usize = 64;
/// The most tokens of a JSON text where no limit is given.
pub const EXTRACT_TOKENS: usize = 1024;
/// The most mentions of a kind.
const MOST_MENTIONS: usize = 32;
/// The most characters of a mention of a kind.
const MOST_CHARACTERS: usize = 200;

/// The facts to extract.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    /// A value that a JSON schema accepts.
    Schema(Value),
    /// The mentions of things of these kinds: an object with a list of strings for each.
    Kinds(Vec<Label>),
}

/// The settings of an extraction.
#[derive(Debug, Clone, PartialEq)]
pub struct ExtractOptions {
    /// The facts to extract.
    pub wanted: Wanted,
    /// The task, in place of the usual sentence.
    pub instruction: Option<String>,
    /// The most tokens of the JSON text.
    pub max_tokens: usize,
    /// The limits of the call.
    pub limits: CallLimits,
}

impl ExtractOptions {
    /// Creates settings for JSON texts of at most [`EXTRACT_TOKENS`] tokens.
    #[must_use]
    pub fn new(wanted: Wanted) -> Self {
        Self { wanted, instruction: None, max_tokens: EXTRACT_TOKENS, limits: CallLimits::default() }
    }
}

/// A string of the extracted facts, and its place in the text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mention {
    /// The place in the facts, as a JSON pointer.
    pub path: String,
    /// The kind, if kinds were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The string.
    pub text: String,
    /// The first character in the text; `None` if the text does not have exactly this string as whole words.
    pub start: Option<usize>,
    /// The character behind the last one.
    pub end: Option<usize>,
}

/// The facts of a text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Extraction {
    /// The facts, which the schema accepts; `None` if the JSON text was not complete.
    pub data: Option<Value>,
    /// All strings of the facts, but not the names of properties, in their order.
    pub mentions: Vec<Mention>,
    /// The reason for the end of the JSON text: `stop`, `length` or `context`.
    pub finish_reason: &'static str,
    /// The number of tokens of the prompt.
    pub prompt_tokens: usize,
    /// The number of those that were cached.
    pub cached_tokens: usize,
    /// The number of tokens of the JSON text.
    pub completion_tokens: usize,
}

/// Checked settings: prompts for the model, and what follows from its answers.
#[derive(Debug, Clone)]
pub struct Extractor {
    wanted: Wanted,
    schema: Value,
    instruction: Option<String>,
}

impl Extractor {
    /// Checks settings, but does not compile the schema.
    ///
    /// # Errors
    /// [`EngineError::InvalidSetting`] for no kinds or too many, and names that are empty, equal or broken.
    pub fn new(wanted: Wanted, instruction: Option<String>) -> Result<Self, EngineError> {
        let schema = match &wanted {
            Wanted::Schema(schema) => schema.clone(),
            Wanted::Kinds(kinds) => {
                if !(1..=MOST_KINDS).contains(&kinds.len()) {
                    return invalid("kinds", format!("{} kinds", kinds.len()), "1 to 64 kinds");
                }
                check_names("kinds", kinds)?;
                schema_of(kinds)
            }
        };
        Ok(Self { wanted, schema, instruction })
    }

    /// Returns the rule that answers must match.
    #[must_use]
    pub fn constraint(&self) -> Constraint {
        Constraint::JsonSchema(self.schema.clone())
    }

    /// Returns the messages that ask for the facts of a text.
    #[must_use]
    pub fn messages(&self, text: &str) -> Vec<Message> {
        let usual = "Extract the facts from the text as JSON.";
        let instruction = self.instruction.as_deref().unwrap_or(usual);
        let rule = match &self.wanted {
            Wanted::Schema(schema) => format!("The JSON must match this schema:\n{schema}"),
            Wanted::Kinds(kinds) => {
                let kinds: Vec<String> = kinds.iter().map(|kind| format!("- {}", kind.described(": "))).collect();
                format!("For each kind, list what the text mentions, or nothing:\n{}", kinds.join("\n"))
            }
        };
        let prompt =
            format!("{instruction} Copy words exactly as they stand in the text.\n\n{rule}\n\nText:\n{text}\n\nJSON:");
        vec![Message::new("user", prompt)]
    }

    /// Returns the facts that an answer has, with their places in the text. `data` of the result is `None` if the answer is not
    /// complete.
    #[must_use]
    pub fn result(&self, text: &str, answer: &str, is_complete: bool) -> (Option<Value>, Vec<Mention>) {
        let data: Option<Value> = is_complete.then(|| serde_json::from_str(answer.trim()).ok()).flatten();
        let Some(mut data) = data else { return (None, Vec::new()) };
        if let Wanted::Kinds(_) = self.wanted {
            drop_repeats(&mut data, text);
        }
        let (mut mentions, mut places) = (Vec::new(), Places::new(text));
        collect(&data, &mut String::new(), &mut |path, found| {
            let (start, end) = places.take(found).unzip();
            mentions.push(Mention { kind: self.kind(path), path: path.to_owned(), text: found.to_owned(), start, end });
        });
        (Some(data), mentions)
    }

    /// Returns the kind of the mentions at a path.
    fn kind(&self, path: &str) -> Option<String> {
        let Wanted::Kinds(_) = self.wanted else { return None };
        let name = path.strip_prefix('/')?.split('/').next()?;
        Some(name.replace("~1", "/").replace("~0", "~"))
    }
}

/// Returns the schema of an object with a list of mentions for each kind.
fn schema_of(kinds: &[Label]) -> Value {
    let mention = json!({"type": "string", "minLength": 1, "maxLength": MOST_CHARACTERS});
    let list = json!({"type": "array", "items": mention, "maxItems": MOST_MENTIONS});
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name.as_str()).collect();
    let properties: Map<String, Value> = names.iter().map(|name| ((*name).to_owned(), list.clone())).collect();
    json!({"type": "object", "properties": properties, "required": names, "additionalProperties": false})
}

/// Removes the mentions of a kind for which the text has no further place. One that has no place at all stays once.
fn drop_repeats(data: &mut Value, text: &str) {
    for list in data.as_object_mut().into_iter().flat_map(|kinds| kinds.values_mut()).filter_map(Value::as_array_mut) {
        let mut places = Places::new(text);
        list.retain(|mention| {
            let mention = mention.as_str().unwrap_or_default();
            let is_new = !places.is_spent(mention);
            places.take(mention);
            is_new
        });
    }
}

/// Passes all strings of a JSON value with their paths, in order.
fn collect(value: &Value, path: &mut String, into: &mut dyn FnMut(&str, &str)) {
    let mut inside = |name: &str, value: &Value, path: &mut String| {
        let end = path.len();
        path.push('/');
        path.push_str(&name.replace('~', "~0").replace('/', "~1"));
        collect(value, path, into);
        path.truncate(end);
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| inside(name, value, path)),
        Value::Array(list) => list.iter().enumerate().for_each(|(i, value)| inside(&i.to_string(), value, path)),
        Value::String(text) => into(path, text),
        _ => {}
    }
}

impl Model {
    /// Extracts facts from texts. All are computed together, on the device alone, and the JSON texts match the schema.
    ///
    /// A string that the model wrote has a place if the text has exactly this string, so that a reader can see where a fact comes from.
    /// One without a place may be invented.
    ///
    /// ```no_run
    /// use honelm::{Cancel, ExtractOptions, Label, Model, RunOptions, Wanted};
    ///
    /// # fn main() -> Result<(), honelm::Error> {
    /// let mut model = Model::open("model.gguf".as_ref(), &RunOptions::default(), &mut |_| true)?;
    /// let options = ExtractOptions::new(Wanted::Kinds(vec![Label::new("PERSON"), Label::new("DATE")]));
    /// for mention in &model.extract(&["Ada was born on 10 December 1815."], &options, &Cancel::new())?[0].mentions {
    ///     println!("{:?} {} {:?}", mention.kind, mention.text, mention.start);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Invalid settings ([`Extractor::new`]), a schema that cannot be enforced or compiled, an empty text, one that is longer than the
    /// context, a device that fails, [`Error::Interrupted`], [`Error::Deadline`].
    pub fn extract(
        &mut self,
        texts: &[impl AsRef<str>],
        options: &ExtractOptions,
        cancel: &Cancel,
    ) -> Result<Vec<Extraction>, Error> {
        self.check_unchanged()?;
        check_texts(texts)?;
        let extractor = Extractor::new(options.wanted.clone(), options.instruction.clone())?;
        let call = Call::new(options.limits, cancel);
        let max_tokens = options.max_tokens.min(self.context());
        let ask = ChatAsk {
            how: Generation::greedy(max_tokens),
            options: direct_answers(),
            constraint: Some(extractor.constraint()),
            begun: Some(String::new()),
            ..ChatAsk::default()
        };
        let request = |text: &_| self.loaded.chat_request(&extractor.messages(AsRef::as_ref(text)), &ask);
        let requests = texts.iter().map(request).collect::<Result<Vec<_>, _>>()?;
        let all = call.complete(self, requests)?;
        Ok(all.iter().zip(texts).map(|(done, text)| extraction(&extractor, text.as_ref(), done)).collect())
    }
}

fn extraction(extractor: &Extractor, text: &str, done: &Completion) -> Extraction {
    let is_complete = done.finish_reason == FinishReason::Stop;
    let (data, mentions) = extractor.result(text, &done.answer, is_complete);
    Extraction {
        data,
        mentions,
        finish_reason: done.finish_reason.name(),
        prompt_tokens: done.prompt_tokens,
        cached_tokens: done.cached_tokens,
        completion_tokens: done.completion_tokens(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(names: &[&str]) -> Wanted {
        Wanted::Kinds(names.iter().map(|name| Label::new(*name)).collect())
    }

    #[test]
    fn strings_are_located_and_repeats_dropped() {
        let extractor = Extractor::new(kinds(&["PERSON", "a/b"]), None).expect("valid");
        let text = "Zoë saw Ann, and Ann saw Zoë.";
        let answer = r#"{"PERSON": ["Zoë", "Ann", "Ann", "Ann", "Bob", "Bob"], "a/b": ["saw"]}"#;
        let (data, mentions) = extractor.result(text, answer, true);
        assert_eq!(data, Some(json!({"PERSON": ["Zoë", "Ann", "Ann", "Bob"], "a/b": ["saw"]})));
        let found: Vec<_> = mentions.iter().map(|m| (&m.path[..], &m.text[..], m.start.zip(m.end))).collect();
        let expected = [
            ("/PERSON/0", "Zoë", Some((0, 3))),
            ("/PERSON/1", "Ann", Some((8, 11))),
            ("/PERSON/2", "Ann", Some((17, 20))),
            ("/PERSON/3", "Bob", None),
            ("/a~1b/0", "saw", Some((4, 7))),
        ];
        assert_eq!(found, expected);
        assert_eq!(mentions[4].kind.as_deref(), Some("a/b"));
        assert_eq!(extractor.result(text, r#"{"PERSON": ["Z"#, false), (None, Vec::new()));
    }

    #[test]
    fn all_strings_of_a_schema_are_located() {
        let extractor = Extractor::new(Wanted::Schema(json!({"type": "object"})), None).expect("valid");
        let answer = r#"{"who": {"name": "Ada", "age": 36, "of": null}, "seen": [true, "Ada", "Paris"]}"#;
        let (data, mentions) = extractor.result("Ada was in Rome with Ada.", answer, true);
        assert_eq!(data, serde_json::from_str(answer).ok());
        let found: Vec<_> = mentions.iter().map(|m| (&m.path[..], m.start)).collect();
        assert_eq!(found, [("/who/name", Some(0)), ("/seen/1", Some(21)), ("/seen/2", None)]);
        assert!(mentions.iter().all(|mention| mention.kind.is_none()));
    }

    #[test]
    fn wrong_kinds_are_refused() {
        let many: Vec<String> = (0..65).map(|i| i.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for names in [&[][..], &["A", "A"], &[""], &["A\n"], &many] {
            let error = Extractor::new(kinds(names), None).expect_err("refused");
            assert!(matches!(error, EngineError::InvalidSetting { name: "kinds", .. }), "{error}");
        }
    }
}
