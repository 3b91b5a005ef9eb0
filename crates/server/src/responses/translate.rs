//! The way from a request of the Responses API to a job.

use honelm_engine::Overflow;
use honelm_grammar::Constraint;
use honelm_text::{Message, RenderOptions};
use serde_json::{Value, json};

use super::request::{ContentPart, CountInputTokens, CreateResponse, Item, TextFormat, TextSettings};
use super::response::{ResponseObject, Status};
use crate::app::unix_seconds;
use crate::config::Limits;
use crate::job::{Job, Prompt};
use crate::json::{NameOrObject, TextOrList};
use crate::model::ModelCard;
use crate::settings::Settings;
use crate::tools::{self, Tools};
use crate::turns::Turns;
use crate::{ApiError, ids};

/// The number of tokens at the start that are kept when the context is full.
const KEPT: usize = 4;

/// The output that a request asks for to get log-probabilities.
const LOGPROBS: &str = "message.output_text.logprobs";

impl From<CountInputTokens> for CreateResponse {
    fn from(count: CountInputTokens) -> Self {
        Self {
            model: count.model,
            input: count.input,
            instructions: count.instructions,
            previous_response_id: count.previous_response_id,
            tools: count.tools,
            tool_choice: count.tool_choice,
            parallel_tool_calls: count.parallel_tool_calls,
            text: count.text,
            reasoning: count.reasoning,
            truncation: count.truncation,
            ..Self::default()
        }
    }
}

impl CreateResponse {
    /// Refuses what the server does not have.
    ///
    /// # Errors
    /// 400 with the field.
    pub fn check(&self) -> Result<(), ApiError> {
        if self.background == Some(true) {
            return Err(ApiError::unsupported(
                "background",
                "found true, expected false: responses are not made in the background",
            ));
        }
        for (name, given) in [("conversation", &self.conversation), ("prompt", &self.prompt)] {
            if given.is_some() {
                return Err(ApiError::unsupported(name, "found one, expected none: the server stores only responses"));
            }
        }
        match self.truncation.as_deref() {
            None | Some("auto" | "disabled") => Ok(()),
            Some(other) => {
                Err(ApiError::invalid("truncation", format!("found {other:?}, expected \"auto\" or \"disabled\"")))
            }
        }
    }

    /// Takes the items of the input out of the request. Each gets an id if it has none.
    ///
    /// # Errors
    /// 400 if there are none, or more than the server allows.
    pub fn take_input(&mut self, limits: &Limits) -> Result<Vec<Item>, ApiError> {
        let items = match self.input.take() {
            None => Vec::new(),
            Some(TextOrList::Text(text)) => {
                vec![Item { role: Some("user".to_owned()), content: Some(TextOrList::Text(text)), ..Item::default() }]
            }
            Some(TextOrList::List(items)) => items,
        };
        if items.is_empty() && self.instructions.is_none() && self.previous_response_id.is_none() {
            return Err(ApiError::invalid("input", "found nothing, expected a text or a list of items"));
        }
        if items.len() > limits.messages {
            let found = format!("found {} items, expected at most {}", items.len(), limits.messages);
            return Err(ApiError::invalid("input", found));
        }
        Ok(items.into_iter().map(named).collect())
    }

    /// Returns the job for the items of a conversation, with the number of ignored items and tools.
    ///
    /// # Errors
    /// 400 with the field that is wrong.
    pub fn job<'i>(
        &self,
        items: impl Iterator<Item = &'i Item>,
        model: &ModelCard,
        limits: &Limits,
    ) -> Result<(Job, usize), ApiError> {
        let (messages, ignored_items) = messages(self.instructions.as_deref(), items, model.images)?;
        let tools = self.tools(limits)?;
        let given = self.settings();
        let mut how = given.clone().generation(model, limits)?;
        if self.truncation.as_deref() == Some("auto") {
            how.overflow = Overflow::Shift { keep: KEPT };
        }
        let mut options = RenderOptions::default();
        if let Some(effort) = self.reasoning.as_ref().and_then(|reasoning| reasoning.effort.as_deref()) {
            options.extra.insert("reasoning_effort".to_owned(), effort.into());
            options.extra.insert("enable_thinking".to_owned(), (!matches!(effort, "none" | "minimal")).into());
        }
        let job = Job {
            given,
            tools: tools.tools,
            tool_choice: tools.choice,
            parallel_calls: self.parallel_tool_calls.unwrap_or(true),
            constraint: self.constraint()?,
            ..Job::new(Prompt::Chat { messages, options }, how)
        };
        Ok((job, ignored_items + tools.ignored))
    }

    /// Returns the response before its first event.
    #[must_use]
    pub fn response(&self, model: &str, job: &Job) -> ResponseObject {
        ResponseObject {
            id: ids::new("resp_"),
            object: "response",
            created_at: unix_seconds(),
            completed_at: None,
            status: Status::InProgress,
            error: None,
            incomplete_details: None,
            instructions: self.instructions.clone(),
            max_output_tokens: self.max_output_tokens.map(|tokens| tokens.count() as u64),
            model: model.to_owned(),
            output: Vec::new(),
            parallel_tool_calls: job.parallel_calls,
            previous_response_id: self.previous_response_id.clone(),
            reasoning: self.reasoning.clone().unwrap_or_default(),
            store: self.stores(),
            temperature: Some(f64::from(job.how.temperature)),
            text: self.text_settings(),
            tool_choice: self.tool_choice_json(),
            tools: self.tools.clone().unwrap_or_default(),
            top_logprobs: self.top_logprobs.map_or(0, |top| top.count() as u64),
            top_p: Some(f64::from(job.how.top_p)),
            truncation: self.truncation.clone().unwrap_or_else(|| "disabled".to_owned()),
            usage: None,
            user: self.user.clone(),
            safety_identifier: self.safety_identifier.clone(),
            prompt_cache_key: self.prompt_cache_key.clone(),
            metadata: self.metadata.clone().unwrap_or_default(),
            background: false,
            service_tier: "default",
            honelm: None,
        }
    }

    /// Returns `true` if the response is kept.
    #[must_use]
    pub fn stores(&self) -> bool {
        self.store != Some(false)
    }

    /// Returns the form of the text, without omissions.
    fn text_settings(&self) -> TextSettings {
        let given = self.text.clone().unwrap_or_default();
        let any = || TextFormat { kind: "text".to_owned(), ..TextFormat::default() };
        TextSettings { format: Some(given.format.unwrap_or_else(any)), ..given }
    }

    /// Returns the choice of tools as it was given.
    fn tool_choice_json(&self) -> Value {
        match &self.tool_choice {
            None => json!("auto"),
            Some(NameOrObject::Name(name)) => json!(name),
            Some(NameOrObject::Object(object)) => json!(object),
        }
    }

    fn settings(&self) -> Settings {
        let wants_logprobs = self.include.iter().flatten().any(|name| name == LOGPROBS) || self.top_logprobs.is_some();
        Settings {
            max_tokens: self.max_output_tokens.map(|tokens| tokens.count()),
            temperature: self.temperature.map(|temperature| temperature.get()),
            top_p: self.top_p.map(|top_p| top_p.get()),
            logprobs: wants_logprobs.then(|| self.top_logprobs.map_or(0, |top| top.count())),
            ..Settings::default()
        }
    }

    /// Returns the functions that may be called.
    fn tools(&self, limits: &Limits) -> Result<Tools, ApiError> {
        let mut given = self.tools.clone().unwrap_or_default();
        if given.len() > limits.messages {
            let found = format!("found {} tools, expected at most {}", given.len(), limits.messages);
            return Err(ApiError::invalid("tools", found));
        }
        let choice = match &self.tool_choice {
            Some(NameOrObject::Object(object)) if object.kind == "allowed_tools" => {
                let allowed = object.tools.as_deref().unwrap_or_default();
                given.retain(|tool| allowed.iter().any(|other| other.name == tool.name));
                json!(object.mode.as_deref().unwrap_or("auto"))
            }
            _ => self.tool_choice_json(),
        };
        tools::read(Some(&json!(given)), Some(&choice))
    }

    fn constraint(&self) -> Result<Option<Constraint>, ApiError> {
        let Some(format) = self.text.as_ref().and_then(|text| text.format.as_ref()) else { return Ok(None) };
        match format.kind.as_str() {
            "text" => Ok(None),
            "json_object" => Ok(Some(Constraint::JsonObject)),
            "json_schema" => match &format.schema {
                Some(schema) => Ok(Some(Constraint::JsonSchema(schema.clone()))),
                None => Err(ApiError::invalid("text.format.schema", "found nothing, expected a JSON schema")),
            },
            other => {
                let found = format!("found {other:?}, expected \"text\", \"json_object\" or \"json_schema\"");
                Err(ApiError::invalid("text.format.type", found))
            }
        }
    }
}

/// Gives an item an id if it has none.
fn named(item: Item) -> Item {
    let prefix = match item.kind() {
        "message" => "msg_",
        "function_call" => "fc_",
        "function_call_output" => "fco_",
        "reasoning" => "rs_",
        _ => "item_",
    };
    Item { id: item.id.or_else(|| Some(ids::new(prefix))), ..item }
}

impl Item {
    /// Returns the type. An item without one that has a role is a message.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.kind.as_deref().unwrap_or("message")
    }
}

/// Returns the messages of a conversation, with the number of items that are ignored.
fn messages<'i>(
    instructions: Option<&str>,
    items: impl Iterator<Item = &'i Item>,
    images: bool,
) -> Result<(Vec<Message>, usize), ApiError> {
    let (mut turns, mut ignored) = (Turns::default(), 0);
    if let Some(text) = instructions.filter(|text| !text.is_empty()) {
        turns.system(text);
    }
    for (i, item) in items.enumerate() {
        let missing = |field: &str, expected: &str| {
            ApiError::invalid(format!("input[{i}].{field}"), format!("found nothing, expected {expected}"))
        };
        match item.kind() {
            "message" if images && has_images(item) => with_images(item, &format!("input[{i}].content"), &mut turns)?,
            "message" => {
                let text = text_of(item.content.as_ref(), &format!("input[{i}].content"))?;
                match item.role.as_deref() {
                    Some("user") => turns.user(&text),
                    Some("assistant") => turns.assistant(&text),
                    Some("system" | "developer") => turns.system(&text),
                    Some(other) => {
                        let expected = "expected \"user\", \"assistant\", \"system\" or \"developer\"";
                        return Err(ApiError::invalid(
                            format!("input[{i}].role"),
                            format!("found {other:?}, {expected}"),
                        ));
                    }
                    None => return Err(missing("role", "the role of a message")),
                }
            }
            "function_call" => {
                let id = item.call_id.as_deref().ok_or_else(|| missing("call_id", "the id of the call"))?;
                let name = item.name.as_deref().ok_or_else(|| missing("name", "the name of the function"))?;
                turns.call(id, name, item.arguments.as_deref().unwrap_or("{}"));
            }
            "function_call_output" => {
                let id = item.call_id.as_deref().ok_or_else(|| missing("call_id", "the id of the call"))?;
                let output = item.output.as_ref().ok_or_else(|| missing("output", "the result of the call"))?;
                turns.result(id, &text_of(Some(output), &format!("input[{i}].output"))?);
            }
            "reasoning" => {
                let place = format!("input[{i}].content");
                let text = match &item.content {
                    Some(content) => text_of(Some(content), &place)?,
                    None => joined(item.summary.as_deref().unwrap_or_default(), &place)?,
                };
                if !text.is_empty() {
                    turns.reasoning(&text);
                }
            }
            _ => ignored += 1,
        }
    }
    Ok((turns.finish(), ignored))
}

/// Returns the parts of a message of the user.
fn parts_of_user(item: &Item) -> &[ContentPart] {
    match &item.content {
        Some(TextOrList::List(parts)) if item.role.as_deref() == Some("user") => parts,
        _ => &[],
    }
}

fn has_images(item: &Item) -> bool {
    parts_of_user(item).iter().any(|part| part.image_url.is_some())
}

/// Adds a message of the user with images.
fn with_images(item: &Item, place: &str, turns: &mut Turns) -> Result<(), ApiError> {
    for part in parts_of_user(item) {
        match &part.image_url {
            Some(url) => turns.image(url),
            None => turns.user(&joined(std::slice::from_ref(part), place)?),
        }
    }
    Ok(())
}

fn text_of(content: Option<&TextOrList<ContentPart>>, place: &str) -> Result<String, ApiError> {
    match content {
        None => Ok(String::new()),
        Some(TextOrList::Text(text)) => Ok(text.clone()),
        Some(TextOrList::List(parts)) => joined(parts, place),
    }
}

/// Joins the texts of parts.
fn joined(parts: &[ContentPart], place: &str) -> Result<String, ApiError> {
    let mut text = String::new();
    for (i, part) in parts.iter().enumerate() {
        match part.kind.as_str() {
            "input_text" | "output_text" | "summary_text" | "reasoning_text" | "text" => {
                text.push_str(part.text.as_deref().unwrap_or_default());
            }
            "refusal" => text.push_str(part.refusal.as_deref().unwrap_or_default()),
            other => {
                let found = format!("found {other:?}, expected text: the model reads nothing else");
                return Err(ApiError::unsupported(format!("{place}[{i}].type"), found));
            }
        }
    }
    Ok(text)
}
