//! The arguments from JavaScript, as JSON.

use std::collections::BTreeMap;

use honelm_backend::CacheType;
use honelm_cpu::{Compute, Isa};
use honelm_engine::{ChatAsk, EngineError, Generation, Overflow, Pooling};
use honelm_grammar::Constraint;
use honelm_model::OpenOptions;
use honelm_text::Message;
use honelm_text::answer::{Tool, ToolChoice};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::WebError;
use crate::chosen::Tested;

/// The device that a model is to run on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceName {
    /// The best available device.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The browser's GPU; an error if it cannot be used.
    Gpu,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ComputeName {
    #[default]
    Fast,
    F32,
}

/// A type of the cache by its name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct CacheName(CacheType);

impl TryFrom<String> for CacheName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let known = || CacheType::ALL.map(CacheType::name).join(", ");
        CacheType::from_name(&name)
            .map(Self)
            .ok_or_else(|| format!("unknown cache type {name:?}: expected {}", known()))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum IsaName {
    Generic,
}

/// The settings of loading a model.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoadSettings {
    pub device: DeviceName,
    compute: ComputeName,
    cache_type: CacheName,
    /// `generic`: the CPU's portable kernels instead of the vector kernels.
    isa: Option<IsaName>,
    /// The largest number of tokens in prompt and answer; by default the model's own limit, at most 8192.
    pub context: Option<usize>,
    /// Unknown fields of the configuration that are ignored, as named in the error.
    allow_unknown: Vec<String>,
    /// Earlier results of the known-answer test, by adapter key.
    pub trust: Value,
}

impl LoadSettings {
    pub fn compute(&self) -> Compute {
        match self.compute {
            ComputeName::Fast => Compute::Fast,
            ComputeName::F32 => Compute::F32,
        }
    }

    /// Returns the requested instruction set, by default the best.
    pub fn isa(&self) -> Option<Isa> {
        self.isa.map(|IsaName::Generic| Isa::Generic)
    }

    pub fn open_options(&self) -> OpenOptions {
        OpenOptions { allow_unknown: self.allow_unknown.clone() }
    }

    /// Adds the result of a known-answer test, which is not repeated then.
    pub fn know(&mut self, tested: &Tested) {
        if !self.trust.is_object() {
            self.trust = Value::Object(Map::new());
        }
        self.trust[&tested.key] = tested.trust.clone();
    }

    pub fn cache_type(&self) -> CacheType {
        self.cache_type.0
    }
}

/// The action when the context is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OverflowName {
    #[default]
    Stop,
    Shift,
}

impl OverflowName {
    /// Returns the action. The oldest exchanges are left out of the prompt first; an answer that is too long by itself loses the
    /// older half of its text.
    fn overflow(self, context: usize) -> Overflow {
        match self {
            Self::Stop => Overflow::Stop,
            Self::Shift => Overflow::Shift { keep: KEPT.min(context / 2) },
        }
    }
}

/// The tokens at the start of the prompt that a shift keeps, among them the beginning of a system message.
const KEPT: usize = 64;

/// The settings of embeddings.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddingOptions {
    /// The way from the hidden states to a vector; by default that of the model's files, or else the mean.
    pub pooling: Option<Pooling>,
    /// The number of values; by default all.
    pub dimensions: Option<usize>,
}

/// The settings of one answer. Missing settings are the model's own.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GenerationSettings {
    max_tokens: Option<usize>,
    temperature: Option<f32>,
    top_k: Option<u32>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    seed: Option<u64>,
    repeat_penalty: Option<f32>,
    stop: Vec<String>,
    ignore_eos: bool,
    frequency_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    /// The amounts added to the logits of tokens.
    logit_bias: BTreeMap<u32, f32>,
    logprobs: Option<usize>,
    /// A number of the answer: answers with the same seed and other numbers are drawn independently.
    stream: u64,
    overflow: OverflowName,
    /// The JSON schema that the answer must match.
    json_schema: Option<Value>,
    /// The form of the answer, as in OpenAI's API.
    response_format: Option<Value>,
    /// The tools that the model may call, and which of them it calls, in OpenAI's form.
    tools: Option<Value>,
    tool_choice: Option<Value>,
    parallel_tool_calls: Option<bool>,
    /// The beginning of the answer, which exists already. The model goes on from it and does not repeat it.
    begun: Option<String>,
    /// `true` if the texts of special tokens in messages become these tokens; otherwise they are text.
    pub parse_special: bool,
}

impl GenerationSettings {
    /// Returns what the answer must match.
    pub fn constraint(&self) -> Result<Option<Constraint>, WebError> {
        let form = self.response_format.as_ref().map_or(Ok(None), Constraint::of_response_format);
        let form = form.map_err(EngineError::from)?;
        Ok(self.json_schema.clone().map(Constraint::JsonSchema).or(form))
    }

    /// Returns the constraint and the tools of the answer.
    pub fn ask(&self) -> Result<ChatAsk, WebError> {
        let tools = self.tools.as_ref().map(Tool::read_list).transpose()?.unwrap_or_default();
        let (tools, choice) = match ToolChoice::read(self.tool_choice.as_ref(), &tools)? {
            Some(choice) => (tools, choice),
            None => (Vec::new(), ToolChoice::Auto),
        };
        let parallel = self.parallel_tool_calls.unwrap_or(true);
        let begun = self.begun.clone();
        Ok(ChatAsk { constraint: self.constraint()?, tools, choice, parallel, begun, ..ChatAsk::default() })
    }

    /// Applies these settings on top of those of a model with a context of `context` tokens.
    pub fn apply(self, own: &Generation, context: usize) -> Generation {
        let own = if self.ignore_eos { own.clone().without_ends() } else { own.clone() };
        Generation {
            max_tokens: self.max_tokens.unwrap_or(own.max_tokens),
            temperature: self.temperature.unwrap_or(own.temperature),
            top_k: self.top_k.unwrap_or(own.top_k),
            top_p: self.top_p.unwrap_or(own.top_p),
            min_p: self.min_p.unwrap_or(own.min_p),
            seed: self.seed.unwrap_or(own.seed),
            repeat_penalty: self.repeat_penalty.unwrap_or(own.repeat_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(own.frequency_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(own.presence_penalty),
            logit_bias: self.logit_bias,
            stop: [own.stop.clone(), self.stop].concat(),
            stream: self.stream,
            logprobs: self.logprobs,
            overflow: self.overflow.overflow(context),
            ..own
        }
    }
}

/// Parses an argument.
pub fn parsed<T: DeserializeOwned>(name: &'static str, json: &str) -> Result<T, WebError> {
    serde_json::from_str(json).map_err(|error| WebError::InvalidArgument { name, problem: error.to_string() })
}

/// Parses a conversation that ends with a question, or with the result of a call.
pub fn conversation(json: &str) -> Result<Vec<Message>, WebError> {
    let mut messages: Vec<Message> = parsed("messages", json)?;
    messages.iter_mut().for_each(Message::parse_arguments);
    match messages.last() {
        Some(Message { role, content: Value::String(_), .. }) if role == "user" || role == "tool" => Ok(messages),
        last => {
            let found = last.map_or_else(|| "no message".to_owned(), |last| format!("a message of {:?}", last.role));
            let problem = format!("found {found} at the end, expected a text of \"user\" or \"tool\"");
            Err(WebError::InvalidArgument { name: "messages", problem })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_settings_are_the_models_own() {
        let own = Generation { top_k: 7, stop: vec!["END".to_owned()], ..Generation::default() };
        let given: GenerationSettings = parsed("settings", r#"{"temperature": 0, "stop": ["."]}"#).expect("settings");
        let both = given.apply(&own, 100);
        assert_eq!((both.temperature, both.top_k), (0.0, 7));
        assert_eq!(both.stop, ["END", "."]);
        let given: GenerationSettings = parsed("settings", r#"{"ignore_eos": true, "stop": ["."]}"#).expect("settings");
        let both = given.apply(&own, 100);
        assert!(both.ignore_eos && both.stop == ["."]);
    }

    #[test]
    fn tools_and_forms_are_those_of_openai() {
        let ask = |json: &str| parsed::<GenerationSettings>("settings", json).and_then(|given| given.ask());
        let tools = r#""tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]"#;
        let found =
            ask(&format!(r#"{{{tools}, "tool_choice": "required", "parallel_tool_calls": false}}"#)).expect("read");
        assert_eq!((found.tools.len(), found.choice, found.parallel), (1, ToolChoice::Required, false));
        let named = format!(r#"{{{tools}, "tool_choice": {{"type": "function", "function": {{"name": "f"}}}}}}"#);
        assert_eq!(ask(&named).expect("read").choice, ToolChoice::Named("f".to_owned()));
        assert!(ask(&format!(r#"{{{tools}, "tool_choice": "none"}}"#)).expect("read").tools.is_empty());
        let form =
            r#"{"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "null"}}}}"#;
        let schema = serde_json::json!({"type": "null"});
        assert_eq!(ask(form).expect("read").constraint, Some(Constraint::JsonSchema(schema)));
        assert_eq!(ask(r#"{"response_format": {"type": "text"}}"#).expect("read").constraint, None);
        let named = named.replace("\"f\"}}}", "\"g\"}}}");
        for wrong in [named.as_str(), r#"{"tool_choice": "required"}"#, r#"{"response_format": {"type": "xml"}}"#] {
            let error = ask(wrong).expect_err(wrong).to_string();
            assert!(error.contains("expected"), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_shift_keeps_at_most_half_of_the_context() {
        let overflow = |json: &str| {
            let given: GenerationSettings = parsed("settings", json).expect("settings");
            given.apply(&Generation::default(), 40).overflow
        };
        assert_eq!(overflow(r#"{"overflow": "shift"}"#), Overflow::Shift { keep: 20 });
        assert_eq!(overflow("{}"), Overflow::Stop);
    }

    #[test]
    fn unknown_settings_and_conversations_without_a_question_are_refused() {
        let error = parsed::<GenerationSettings>("settings", r#"{"heat": 1}"#).expect_err("refused");
        assert!(error.to_string().starts_with("settings: unknown field `heat`"), "{error}");
        for messages in ["[]", r#"[{"role": "assistant", "content": "Hi"}]"#, r#"[{"role": "user", "content": null}]"#]
        {
            assert_eq!(conversation(messages).expect_err("refused").code(), "invalid-argument", "{messages}");
        }
        let load: LoadSettings = parsed("options", r#"{"cache_type": "q8_0", "compute": "f32"}"#).expect("options");
        assert_eq!((load.cache_type(), load.compute()), (CacheType::Q8_0, Compute::F32));
        for element in CacheType::ALL {
            let text = format!(r#"{{"cache_type": "{}"}}"#, element.name());
            let load: LoadSettings = parsed("options", &text).expect("options");
            assert_eq!(load.cache_type(), element);
        }
    }
}
