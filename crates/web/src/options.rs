//! The arguments from JavaScript, as JSON.

use honelm_backend::CacheType;
use honelm_cpu::{Compute, Isa};
use honelm_engine::{ChatAsk, Generation};
use honelm_grammar::Constraint;
use honelm_model::OpenOptions;
use honelm_text::Message;
use honelm_text::answer::Tool;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::WebError;

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

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum CacheName {
    #[default]
    F16,
    F32,
    Q8_0,
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

    pub fn cache_type(&self) -> CacheType {
        match self.cache_type {
            CacheName::F16 => CacheType::F16,
            CacheName::F32 => CacheType::F32,
            CacheName::Q8_0 => CacheType::Q8_0,
        }
    }
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
    logprobs: Option<usize>,
    /// The JSON schema that the answer must match.
    json_schema: Option<Value>,
    /// The tools that the model may call, in OpenAI's form.
    tools: Option<Value>,
    /// `true` if the texts of special tokens in messages become these tokens; otherwise they are text.
    pub parse_special: bool,
}

impl GenerationSettings {
    /// Returns what the answer must match.
    pub fn constraint(&self) -> Option<Constraint> {
        self.json_schema.clone().map(Constraint::JsonSchema)
    }

    /// Returns the constraint and the tools of the answer.
    pub fn ask(&self) -> Result<ChatAsk, WebError> {
        let tools = self.tools.as_ref().map(Tool::read_list).transpose()?.unwrap_or_default();
        Ok(ChatAsk { constraint: self.constraint(), tools, ..ChatAsk::default() })
    }

    /// Applies these settings on top of the model's own.
    pub fn apply(self, own: &Generation) -> Generation {
        let own = if self.ignore_eos { own.clone().without_ends() } else { own.clone() };
        Generation {
            max_tokens: self.max_tokens.unwrap_or(own.max_tokens),
            temperature: self.temperature.unwrap_or(own.temperature),
            top_k: self.top_k.unwrap_or(own.top_k),
            top_p: self.top_p.unwrap_or(own.top_p),
            min_p: self.min_p.unwrap_or(own.min_p),
            seed: self.seed.unwrap_or(own.seed),
            repeat_penalty: self.repeat_penalty.unwrap_or(own.repeat_penalty),
            stop: [own.stop.clone(), self.stop].concat(),
            logprobs: self.logprobs,
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
    let messages: Vec<Message> = parsed("messages", json)?;
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
        let both = given.apply(&own);
        assert_eq!((both.temperature, both.top_k), (0.0, 7));
        assert_eq!(both.stop, ["END", "."]);
        let given: GenerationSettings = parsed("settings", r#"{"ignore_eos": true, "stop": ["."]}"#).expect("settings");
        let both = given.apply(&own);
        assert!(both.ignore_eos && both.stop == ["."]);
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
    }
}
