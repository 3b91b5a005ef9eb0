//! The way from a request of the Messages API to a job.

use honelm_grammar::Constraint;
use honelm_text::{Message, RenderOptions};
use serde_json::{Value, json};

use super::request::{Block, CountTokens, CreateMessage, ToolParam};
use crate::ApiError;
use crate::config::Limits;
use crate::job::{Job, Prompt};
use crate::json::TextOrList;
use crate::model::ModelCard;
use crate::settings::Settings;
use crate::tools::{self, Tools};
use crate::turns::Turns;

impl From<CountTokens> for CreateMessage {
    fn from(count: CountTokens) -> Self {
        Self {
            model: count.model,
            messages: count.messages,
            system: count.system,
            tools: count.tools,
            tool_choice: count.tool_choice,
            thinking: count.thinking,
            output_config: count.output_config,
            ..Self::default()
        }
    }
}

impl CreateMessage {
    /// Returns the job, with the number of ignored parts and tools.
    ///
    /// # Errors
    /// 400 with the field that is wrong.
    pub fn job(&self, model: &ModelCard, limits: &Limits) -> Result<(Job, usize), ApiError> {
        let (messages, ignored_parts) = self.conversation(limits, model.images)?;
        let tools = self.tools(limits)?;
        let given = self.settings();
        let how = given.clone().generation(model, limits)?;
        let mut options = RenderOptions::default();
        options.extra.insert("enable_thinking".to_owned(), self.thinks().into());
        if let Some(effort) = self.output_config.as_ref().and_then(|output| output.effort.as_deref()) {
            options.extra.insert("reasoning_effort".to_owned(), effort.into());
        }
        let one_call = self.tool_choice.as_ref().and_then(|choice| choice.disable_parallel_tool_use);
        let job = Job {
            given,
            tools: tools.tools,
            tool_choice: tools.choice,
            parallel_calls: one_call != Some(true),
            constraint: self.constraint()?,
            ..Job::new(Prompt::Chat { messages, options }, how)
        };
        Ok((job, ignored_parts + tools.ignored))
    }

    /// Returns `true` if the request asks for reasoning.
    #[must_use]
    pub fn thinks(&self) -> bool {
        self.thinking.as_ref().is_some_and(|thinking| thinking.kind != "disabled")
    }

    /// Returns `true` if the reasoning is left out of the answer.
    #[must_use]
    pub fn omits_thinking(&self) -> bool {
        self.thinking.as_ref().is_some_and(|thinking| thinking.display.as_deref() == Some("omitted"))
    }

    fn settings(&self) -> Settings {
        Settings {
            max_tokens: self.max_tokens.map(|tokens| tokens.count()),
            temperature: self.temperature.map(|temperature| temperature.get()),
            top_k: self.top_k.map(|top_k| u32::try_from(top_k.get()).unwrap_or(0)),
            top_p: self.top_p.map(|top_p| top_p.get()),
            stop: self.stop_sequences.clone().unwrap_or_default(),
            ..Settings::default()
        }
    }

    /// Returns the messages, with the number of ignored parts.
    fn conversation(&self, limits: &Limits, images: bool) -> Result<(Vec<Message>, usize), ApiError> {
        let invalid = |param: String, problem: String| Err(ApiError::invalid(param, problem));
        if self.messages.is_empty() {
            return invalid("messages".to_owned(), "found none, expected at least one message".to_owned());
        }
        if self.messages.len() > limits.messages {
            let found = format!("found {} messages, expected at most {}", self.messages.len(), limits.messages);
            return invalid("messages".to_owned(), found);
        }
        let (mut turns, mut ignored) = (Turns::default(), 0);
        if let Some(system) = &self.system {
            for text in texts("system", system)? {
                turns.system(text);
            }
        }
        for (i, message) in self.messages.iter().enumerate() {
            let place = format!("messages.{i}.content");
            match (message.role.as_str(), &message.content) {
                ("user", TextOrList::Text(text)) => turns.user(text),
                ("assistant", TextOrList::Text(text)) => turns.assistant(text),
                ("system", content) => {
                    for text in texts(&place, content)? {
                        turns.system(text);
                    }
                }
                ("user", TextOrList::List(parts)) => user(parts, &place, images, &mut turns)?,
                ("assistant", TextOrList::List(parts)) => ignored += assistant(parts, &place, &mut turns)?,
                (other, _) => {
                    let found = format!("found {other:?}, expected \"user\", \"assistant\" or \"system\"");
                    return invalid(format!("messages.{i}.role"), found);
                }
            }
        }
        let messages = turns.finish();
        if messages.last().is_some_and(|last| last.role == "assistant") {
            let found =
                "found a message of the assistant at the end, expected one of the user: answers are not continued";
            return Err(ApiError::unsupported("messages", found));
        }
        Ok((messages, ignored))
    }

    /// Returns the tools that may be called.
    fn tools(&self, limits: &Limits) -> Result<Tools, ApiError> {
        let given = self.tools.as_deref().unwrap_or_default();
        if given.len() > limits.messages {
            let found = format!("found {} tools, expected at most {}", given.len(), limits.messages);
            return Err(ApiError::invalid("tools", found));
        }
        let choice = match &self.tool_choice {
            None => json!("auto"),
            Some(choice) => match (choice.kind.as_str(), &choice.name) {
                ("auto" | "any" | "none", _) => json!(choice.kind),
                ("tool", Some(name)) => json!({"name": name}),
                ("tool", None) => {
                    return Err(ApiError::invalid("tool_choice.name", "found nothing, expected the name of a tool"));
                }
                (other, _) => {
                    let found = format!("found {other:.80?}, expected \"auto\", \"any\", \"tool\" or \"none\"");
                    return Err(ApiError::invalid("tool_choice.type", found));
                }
            },
        };
        let given: Vec<Value> = given.iter().map(ToolParam::json).collect();
        tools::read(Some(&given.into()), Some(&choice))
    }

    fn constraint(&self) -> Result<Option<Constraint>, ApiError> {
        let Some(format) = self.output_config.as_ref().and_then(|output| output.format.as_ref()) else {
            return Ok(None);
        };
        match (format.kind.as_str(), &format.schema) {
            ("json_schema", Some(schema)) => Ok(Some(Constraint::JsonSchema(schema.clone()))),
            ("json_schema", None) => {
                Err(ApiError::invalid("output_config.format.schema", "found nothing, expected a JSON schema"))
            }
            (other, _) => Err(ApiError::invalid(
                "output_config.format.type",
                format!("found {other:?}, expected \"json_schema\""),
            )),
        }
    }
}

impl ToolParam {
    /// Returns the tool in OpenAI's form.
    fn json(&self) -> Value {
        let kind = self.kind.as_deref().filter(|kind| *kind != "custom").unwrap_or("function");
        json!({"type": kind, "name": self.name, "description": self.description, "parameters": self.input_schema})
    }
}

/// Returns the texts of content that can only be text.
fn texts<'c>(place: &str, content: &'c TextOrList<Block>) -> Result<Vec<&'c str>, ApiError> {
    match content {
        TextOrList::Text(text) => Ok(vec![text]),
        TextOrList::List(parts) => {
            parts.iter().enumerate().map(|(i, part)| part.text(&format!("{place}.{i}"))).collect()
        }
    }
}

impl Block {
    /// Returns the address of an image; its contents as a `data:` address.
    fn image(&self) -> Option<String> {
        let source = self.source.as_ref().filter(|_| self.kind == "image")?;
        match source.kind.as_str() {
            "url" => source.url.clone(),
            _ => Some(format!("data:{};base64,{}", source.media_type.as_deref()?, source.data.as_deref()?)),
        }
    }

    /// Returns the text of a part that must be one, or a document that is one.
    fn text(&self, place: &str) -> Result<&str, ApiError> {
        let source = self.source.as_ref().filter(|source| source.kind == "text");
        match (self.kind.as_str(), source) {
            ("text", _) => Ok(self.text.as_deref().unwrap_or_default()),
            ("document", Some(source)) => Ok(source.data.as_deref().unwrap_or_default()),
            (other, _) => {
                let found = format!("found {other:?}, expected text: the model reads nothing else");
                Err(ApiError::unsupported(format!("{place}.type"), found))
            }
        }
    }
}

/// Adds the parts of a message of the user.
fn user(parts: &[Block], place: &str, images: bool, turns: &mut Turns) -> Result<(), ApiError> {
    // Results belong to the calls before them, wherever they are in the message.
    let is_result = |part: &&Block| part.kind == "tool_result";
    for (i, part) in parts.iter().enumerate().filter(|(_, part)| is_result(part)) {
        let Some(id) = &part.tool_use_id else {
            let missing = "found nothing, expected the id of a call";
            return Err(ApiError::invalid(format!("{place}.{i}.tool_use_id"), missing));
        };
        let result = match &part.content {
            Some(content) => texts(&format!("{place}.{i}.content"), content)?.join("\n"),
            None => String::new(),
        };
        turns.result(id, &if part.is_error == Some(true) { format!("Error: {result}") } else { result });
    }
    for (i, part) in parts.iter().enumerate().filter(|(_, part)| !is_result(part)) {
        match part.image().filter(|_| images) {
            Some(url) => turns.image(&url),
            None => turns.user(part.text(&format!("{place}.{i}"))?),
        }
    }
    Ok(())
}

/// Adds the parts of a message of the model. Returns the number of ignored ones.
fn assistant(parts: &[Block], place: &str, turns: &mut Turns) -> Result<usize, ApiError> {
    let mut ignored = 0;
    for (i, part) in parts.iter().enumerate() {
        match part.kind.as_str() {
            "text" => turns.assistant(part.text.as_deref().unwrap_or_default()),
            "thinking" => turns.reasoning(part.thinking.as_deref().unwrap_or_default()),
            "tool_use" => {
                let missing = |field: &str, expected: &str| {
                    ApiError::invalid(format!("{place}.{i}.{field}"), format!("found nothing, expected {expected}"))
                };
                let id = part.id.as_deref().ok_or_else(|| missing("id", "the id of the call"))?;
                let name = part.name.as_deref().ok_or_else(|| missing("name", "the name of the tool"))?;
                let arguments = part.input.as_ref().map_or_else(|| "{}".to_owned(), Value::to_string);
                turns.call(id, name, &arguments);
            }
            // Encrypted reasoning, and what tools of another server returned.
            _ => ignored += 1,
        }
    }
    Ok(ignored)
}
